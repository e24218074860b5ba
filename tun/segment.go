package tun

import (
	"encoding/binary"
	"fmt"
)

// gsoECN is set in gso_type where the first segment carries CWR
// (VIRTIO_NET_HDR_GSO_ECN). Segment keeps CWR to the first in any case.
const gsoECN GSO = 0x80

// TCP flags.
const (
	tcpFIN = 0x01
	tcpSYN = 0x02
	tcpRST = 0x04
	tcpPSH = 0x08
	tcpCWR = 0x80
)

// Segment does in software what m leaves to the receiver: it cuts a frame with GSO into
// packets, finishes the checksum of one with NeedsCsum, and calls emit with each result,
// a whole packet with whole checksums behind a copy of the link-layer header. A frame
// that needs nothing goes to emit as it is.
//
// What emit is given is valid until it returns. An error of emit ends the work and is
// returned. Any other error comes before emit's first call: the frame is malformed, m
// contradicts it, the packets would be more than [MaxSegments], or, wrapping ErrTooLong,
// they would be longer than mtu, which counts as Link.MTU does. Segment does not
// fragment. The old fragmentation offload for UDP (gso_type 3) is refused.
//
// Segment may write to frame.
func Segment(frame []byte, layer Layer, m Meta, mtu int, emit func(frame []byte) error) error {
	if m.GSO&^gsoECN != GSONone {
		return segmentGSO(frame, layer, m, mtu, emit)
	}
	if n := packetLen(frame, layer); n > mtu {
		return fmt.Errorf("%w: packet of %d octets, mtu %d", ErrTooLong, n, mtu)
	}
	if err := Complete(frame, layer, &m); err != nil {
		return err
	}
	return emit(frame)
}

// packetLen returns how much of frame counts towards an MTU. A VLAN tag does not.
func packetLen(frame []byte, layer Layer) int {
	if h, err := parseHeaders(frame, layer); err == nil {
		return h.end - h.net
	}
	if layer == Ethernet {
		return max(0, len(frame)-EthernetHeaderLen)
	}
	return len(frame)
}

func segmentGSO(frame []byte, layer Layer, m Meta, mtu int, emit func(frame []byte) error) error {
	s, err := newSegmenter(frame, layer, m)
	if err != nil {
		return fmt.Errorf("tun: segment: %w", err)
	}
	hdr, payload, size := s.hdr.payload, s.frame[s.hdr.payload:s.hdr.end], int(m.GSOSize)
	if n := hdr - s.hdr.net + min(size, len(payload)); n > mtu {
		return fmt.Errorf("tun: segment: %w: packets of %d octets, mtu %d", ErrTooLong, n, mtu)
	}
	buf := make([]byte, hdr+min(size, len(payload)))
	for i := 0; ; i++ {
		n := min(size, len(payload))
		copy(buf, frame[:hdr])
		copy(buf[hdr:], payload[:n])
		s.finish(buf[:hdr+n], i, i*size, n == len(payload))
		if err := emit(buf[:hdr+n]); err != nil {
			return err
		}
		if payload = payload[n:]; len(payload) == 0 {
			return nil
		}
	}
}

// A segmenter knows what is common to all segments of a frame.
type segmenter struct {
	frame []byte
	hdr   gsoHeaders
	id    uint16 // IPv4 identification of the first
	seq   uint32 // TCP sequence number of the first
	flags uint8  // TCP flags of the whole
}

type gsoHeaders struct {
	headers
	payload int // end of the transport header
}

// newSegmenter checks m against the frame.
func newSegmenter(frame []byte, layer Layer, m Meta) (*segmenter, error) {
	h, err := parseHeaders(frame, layer)
	if err != nil {
		return nil, err
	}
	var proto, version uint8
	switch gso := m.GSO &^ gsoECN; gso {
	case GSOTCP4:
		proto, version = protoTCP, 4
	case GSOTCP6:
		proto, version = protoTCP, 6
	case GSOUDP:
		proto, version = protoUDP, h.version
	default:
		return nil, fmt.Errorf("%w: gso_type %d is not supported", errMalformed, gso)
	}
	switch {
	case h.version == 0 || h.version != version || h.proto != proto:
		return nil, fmt.Errorf("%w: gso_type %#x on IP version %d, protocol %d", errMalformed, m.GSO, h.version, h.proto)
	case h.fragment, h.routed:
		return nil, fmt.Errorf("%w: gso_type %#x on a fragment or behind a routing header", errMalformed, m.GSO)
	case m.GSOSize == 0:
		return nil, fmt.Errorf("%w: gso_size 0", errMalformed)
	case m.Flags&NeedsCsum != 0 && int(m.CsumStart) != h.transport:
		return nil, fmt.Errorf("%w: csum_start %d, transport header at %d", errMalformed, m.CsumStart, h.transport)
	}
	s := &segmenter{frame: frame, hdr: gsoHeaders{headers: h}}
	if err := s.parseTransport(); err != nil {
		return nil, err
	}
	if n := h.end - s.hdr.payload; n > MaxSegments*int(m.GSOSize) {
		return nil, fmt.Errorf("%w: %d octets in segments of %d are more than %d segments", errMalformed, n, m.GSOSize, MaxSegments)
	}
	if version == 4 {
		s.id = binary.BigEndian.Uint16(frame[h.net+4:])
	}
	return s, nil
}

func (s *segmenter) parseTransport() error {
	t := s.frame[s.hdr.transport:s.hdr.end]
	if s.hdr.proto == protoUDP {
		if len(t) < udpLen {
			return fmt.Errorf("%w: no UDP header in %d octets", errMalformed, len(t))
		}
		s.hdr.payload = s.hdr.transport + udpLen
		return nil
	}
	if len(t) < tcpMinLen {
		return fmt.Errorf("%w: no TCP header in %d octets", errMalformed, len(t))
	}
	hdr := int(t[12]>>4) * 4
	if hdr < tcpMinLen || hdr > len(t) {
		return fmt.Errorf("%w: TCP header length %d, %d octets there", errMalformed, hdr, len(t))
	}
	s.hdr.payload = s.hdr.transport + hdr
	s.seq = binary.BigEndian.Uint32(t[4:])
	s.flags = t[13]
	if s.flags&(tcpSYN|tcpRST) != 0 {
		return fmt.Errorf("%w: TCP segment with SYN or RST to be segmented", errMalformed)
	}
	return nil
}

// finish sets what differs in packet number i, which carries the payload from offset on.
func (s *segmenter) finish(b []byte, i, offset int, last bool) {
	h := &s.hdr
	ip, t := b[h.net:], b[h.transport:]
	if h.version == 4 {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		binary.BigEndian.PutUint16(ip[4:], s.id+uint16(i))
		binary.BigEndian.PutUint16(ip[10:], 0)
		binary.BigEndian.PutUint16(ip[10:], ^fold(sum(ip[:h.transport-h.net], 0)))
	} else {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ipv6Len))
	}
	csum := udpCsumOffset
	if h.proto == protoTCP {
		csum = tcpCsumOffset
		binary.BigEndian.PutUint32(t[4:], s.seq+uint32(offset))
		flags := s.flags
		if !last {
			flags &^= tcpFIN | tcpPSH
		}
		if i > 0 {
			flags &^= tcpCWR // RFC 3168 section 6.1.2: once is what it means
		}
		t[13] = flags
	} else {
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	}
	binary.BigEndian.PutUint16(t[csum:], 0)
	c := ^fold(sum(t, pseudoSum(b, &h.headers, len(t))))
	if c == 0 && h.proto == protoUDP {
		c = 0xffff // 0 says that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(t[csum:], c)
}
