package ra

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

const (
	typeSolicitation  = 133
	typeAdvertisement = 134

	headerLen       = 16 // of an advertisement
	solicitationLen = 8  // without options
	protoICMPv6     = 58
)

// AllNodes and AllRouters are whom advertisements and solicitations are sent to.
var (
	AllNodes   = netip.MustParseAddr("ff02::1")
	AllRouters = netip.MustParseAddr("ff02::2")
)

// A Header is the fixed part of an advertisement (RFC 4861 section 4.2, RFC 4191 section
// 2.2). A number that is 0 is not specified by the router.
type Header struct {
	HopLimit   uint8
	Managed    bool           // M: addresses by DHCPv6
	Other      bool           // O: other configuration by DHCPv6
	Preference pvd.Preference // as a default router; medium where the bits are reserved
	Lifetime   time.Duration  // as a default router, 0 to 65,535 s; 0: not one
	Reachable  time.Duration  // in milliseconds
	Retransmit time.Duration  // in milliseconds
}

// An Advertisement is a router advertisement.
type Advertisement struct {
	Header
	Options []Option // at most one PvDOption
}

func parseHeader(b []byte) Header {
	h := Header{
		HopLimit:   b[4],
		Managed:    b[5]&0x80 != 0,
		Other:      b[5]&0x40 != 0,
		Lifetime:   time.Duration(binary.BigEndian.Uint16(b[6:])) * time.Second,
		Reachable:  time.Duration(binary.BigEndian.Uint32(b[8:])) * time.Millisecond,
		Retransmit: time.Duration(binary.BigEndian.Uint32(b[12:])) * time.Millisecond,
	}
	if h.Lifetime > 0 { // RFC 4191 section 2.2: else the preference is to be ignored
		h.Preference, _ = preference(b[5])
	}
	return h
}

func (h Header) append(b []byte) []byte {
	flags := preferenceBits(h.Preference)
	if h.Lifetime <= 0 {
		flags = 0
	}
	if h.Managed {
		flags |= 0x80
	}
	if h.Other {
		flags |= 0x40
	}
	b = append(b, typeAdvertisement, 0, 0, 0, h.HopLimit, flags)
	b = binary.BigEndian.AppendUint16(b, uint16(min(max(h.Lifetime/time.Second, 0), 1<<16-1)))
	b = binary.BigEndian.AppendUint32(b, milliseconds(h.Reachable))
	return binary.BigEndian.AppendUint32(b, milliseconds(h.Retransmit))
}

func milliseconds(d time.Duration) uint32 {
	return uint32(min(max(d/time.Millisecond, 0), 1<<32-1))
}

// ParseAdvertisement decodes an advertisement that [Packet.CheckAdvertisement] accepts.
// Options that are malformed are left out and told of by faults. An error, which is
// [ErrInvalid], means that nothing of the message may be used. The result shares no memory
// with b.
func ParseAdvertisement(b []byte) (Advertisement, []Fault, error) {
	if len(b) < headerLen || b[0] != typeAdvertisement {
		return Advertisement{}, nil, invalid("no advertisement")
	}
	if err := checkOptions(b[headerLen:]); err != nil {
		return Advertisement{}, nil, invalid("%v", err)
	}
	options, faults, err := parseOptions(b[headerLen:], false)
	if err != nil {
		return Advertisement{}, nil, invalid("%v", err)
	}
	return Advertisement{Header: parseHeader(b), Options: options}, faults, nil
}

// Append appends the ICMPv6 message of a, sent from src to dst, to b. The error says
// what can not be encoded. It does not care how long the message becomes: a router that
// has more to say than a link's MTU sends more than one (RFC 6980 section 5).
func (a Advertisement) Append(b []byte, src, dst netip.Addr) ([]byte, error) {
	if !src.Is6() || !dst.Is6() {
		return nil, fmt.Errorf("ra: advertisement from %s to %s: not IPv6", src, dst)
	}
	start := len(b)
	b, err := appendOptions(a.append(b), a.Options)
	if err != nil {
		return nil, err
	}
	PutChecksum(b[start:], src, dst)
	return b, nil
}

// AppendSolicitation appends a router solicitation (RFC 4861 section 4.1) from src to
// [AllRouters] to b. The hardware address goes in unless it is empty or src is
// unspecified, as the zero Addr is.
func AppendSolicitation(b []byte, src netip.Addr, mac net.HardwareAddr) []byte {
	if !src.IsValid() {
		src = netip.IPv6Unspecified()
	}
	start := len(b)
	b = append(b, typeSolicitation, 0, 0, 0, 0, 0, 0, 0)
	if len(mac) == 6 && !src.IsUnspecified() {
		b = append(append(b, typeSource, 1), mac...)
	}
	PutChecksum(b[start:], src, AllRouters)
	return b
}

// PutChecksum fills in the checksum of an ICMPv6 message, of 4 octets or more, from src to
// dst, which are valid.
func PutChecksum(message []byte, src, dst netip.Addr) {
	message[2], message[3] = 0, 0
	binary.BigEndian.PutUint16(message[2:], ^sum(message, src, dst))
}

// sum adds a message and its pseudo header (RFC 8200 section 8.1).
func sum(message []byte, src, dst netip.Addr) uint16 {
	s16, d16 := src.As16(), dst.As16()
	s := uint64(len(message)) + protoICMPv6
	for _, part := range [...][]byte{s16[:], d16[:], message} {
		for ; len(part) >= 2; part = part[2:] {
			s += uint64(part[0])<<8 | uint64(part[1])
		}
		if len(part) == 1 {
			s += uint64(part[0]) << 8
		}
	}
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
