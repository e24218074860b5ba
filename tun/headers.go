package tun

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errMalformed reports a frame whose headers contradict its length, each other or its
// Meta.
var errMalformed = errors.New("malformed frame")

// EtherTypes and protocol numbers that are looked at here.
const (
	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806
	etherTypeVLAN = 0x8100 // IEEE 802.1Q
	etherTypeQinQ = 0x88a8 // IEEE 802.1ad
	etherTypeIPv6 = 0x86dd

	protoHopByHop = 0
	protoICMP     = 1
	protoTCP      = 6
	protoUDP      = 17
	protoRouting  = 43
	protoFragment = 44
	protoICMPv6   = 58
	protoDestOpts = 60

	vlanTagLen = 4
	ipv4MinLen = 20
	ipv6Len    = 40
	tcpMinLen  = 20
	udpLen     = 8
)

// headers says where in a frame what is.
type headers struct {
	net       int    // start of the network header
	transport int    // end of the network headers: where the transport header is, if any
	end       int    // end of the packet by its own length field; padding may follow
	etherType uint16 // of the packet, behind VLAN tags; set on IP links too
	version   uint8  // of IP; 0: something else, and then transport is net
	proto     uint8  // what is at transport, if this is IP and no later fragment
	fragment  bool   // a fragment, first or later
	later     bool   // a fragment that is not the first: nothing is known of transport
	routed    bool   // a routing header names another destination than the IPv6 header
}

// parseHeaders finds the headers of frame. What is not IP is no error; IP whose lengths
// do not fit is.
func parseHeaders(frame []byte, layer Layer) (headers, error) {
	var h headers
	switch {
	case len(frame) == 0:
		return h, fmt.Errorf("%w: empty", errMalformed)
	case layer == Ethernet:
		if len(frame) < EthernetHeaderLen {
			return h, fmt.Errorf("%w: %d octets are no Ethernet header", errMalformed, len(frame))
		}
		h.etherType = binary.BigEndian.Uint16(frame[12:])
		h.net = EthernetHeaderLen
		for range maxVLANTags {
			if h.etherType != etherTypeVLAN && h.etherType != etherTypeQinQ || len(frame) < h.net+vlanTagLen {
				break
			}
			h.etherType = binary.BigEndian.Uint16(frame[h.net+2:])
			h.net += vlanTagLen
		}
	case frame[0]>>4 == 4:
		h.etherType = etherTypeIPv4
	case frame[0]>>4 == 6:
		h.etherType = etherTypeIPv6
	default:
		return h, fmt.Errorf("%w: IP version %d", errMalformed, frame[0]>>4)
	}
	switch h.etherType {
	case etherTypeIPv4:
		return h, h.parseIPv4(frame)
	case etherTypeIPv6:
		return h, h.parseIPv6(frame)
	}
	h.transport, h.end = h.net, len(frame)
	return h, nil
}

func (h *headers) parseIPv4(frame []byte) error {
	p := frame[h.net:]
	if len(p) < ipv4MinLen || p[0]>>4 != 4 {
		return fmt.Errorf("%w: no IPv4 header in %d octets", errMalformed, len(p))
	}
	hdr, total := int(p[0]&15)*4, int(binary.BigEndian.Uint16(p[2:]))
	if hdr < ipv4MinLen || total < hdr || total > len(p) {
		return fmt.Errorf("%w: IPv4 header length %d, total length %d, %d octets there", errMalformed, hdr, total, len(p))
	}
	frag := binary.BigEndian.Uint16(p[6:])
	h.version, h.proto = 4, p[9]
	h.fragment, h.later = frag&0x3fff != 0, frag&0x1fff != 0
	h.transport, h.end = h.net+hdr, h.net+total
	return nil
}

func (h *headers) parseIPv6(frame []byte) error {
	p := frame[h.net:]
	if len(p) < ipv6Len || p[0]>>4 != 6 {
		return fmt.Errorf("%w: no IPv6 header in %d octets", errMalformed, len(p))
	}
	length := int(binary.BigEndian.Uint16(p[4:]))
	if length > len(p)-ipv6Len {
		return fmt.Errorf("%w: IPv6 payload length %d, %d octets there", errMalformed, length, len(p)-ipv6Len)
	}
	h.version, h.proto = 6, p[6]
	h.transport, h.end = h.net+ipv6Len, h.net+ipv6Len+length
	for range maxExtensionHeaders {
		ext := frame[h.transport:h.end]
		hdr := 8
		switch h.proto {
		case protoHopByHop, protoRouting, protoDestOpts:
			if len(ext) >= 4 {
				hdr = 8 + int(ext[1])*8
				h.routed = h.routed || h.proto == protoRouting && ext[3] != 0
			}
		case protoFragment:
			h.fragment = true
		default:
			return nil
		}
		if len(ext) < hdr {
			return fmt.Errorf("%w: IPv6 extension header %d: %d octets there", errMalformed, h.proto, len(ext))
		}
		later := h.proto == protoFragment && binary.BigEndian.Uint16(ext[2:])&^7 != 0
		h.proto = ext[0]
		h.transport += hdr
		if later {
			h.later = true
			return nil
		}
	}
	return fmt.Errorf("%w: more than %d IPv6 extension headers", errMalformed, maxExtensionHeaders)
}
