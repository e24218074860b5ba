package tun

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
)

// A Predicate picks frames. It may be called concurrently where it is used on several
// links or in both directions.
type Predicate func(Frame) bool

// A Frame is a whole packet with whole checksums, no longer than a segment, as a
// [Predicate] sees it. Its methods answer with zero values what the frame has not.
type Frame struct {
	data  []byte
	layer Layer
	h     headers
}

// NewFrame returns data, which begins with what layer says, as a Frame that refers to it.
func NewFrame(data []byte, layer Layer) Frame {
	h, err := parseHeaders(data, layer)
	if err != nil {
		h = headers{} // nothing that only looks like a header is believed
	}
	return Frame{data: data, layer: layer, h: h}
}

// Bytes returns the frame from its first octet on. A predicate must neither change nor
// keep it.
func (f Frame) Bytes() []byte { return f.data }

// Layer returns what the frame begins with.
func (f Frame) Layer() Layer { return f.layer }

// EtherType returns the type of the packet in the frame, behind VLAN tags; for IP it is
// given on IP links too.
func (f Frame) EtherType() uint16 { return f.h.etherType }

// Protocol returns the number of the protocol above IP, behind IPv6 extension headers,
// and whether there is one.
func (f Frame) Protocol() (uint8, bool) { return f.h.proto, f.h.version != 0 }

// Src returns the source address of an IP packet.
func (f Frame) Src() netip.Addr { return f.addr(12, 8) }

// Dst returns the destination address of an IP packet.
func (f Frame) Dst() netip.Addr { return f.addr(16, 24) }

func (f Frame) addr(at4, at6 int) netip.Addr {
	switch f.h.version {
	case 4:
		return netip.AddrFrom4([4]byte(f.data[f.h.net+at4:]))
	case 6:
		return netip.AddrFrom16([16]byte(f.data[f.h.net+at6:]))
	}
	return netip.Addr{}
}

// Ports returns the ports of a TCP segment or UDP datagram, and whether there are any.
func (f Frame) Ports() (src, dst uint16, ok bool) {
	t := f.transport(protoTCP)
	if t == nil {
		t = f.transport(protoUDP)
	}
	if len(t) < 4 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(t), binary.BigEndian.Uint16(t[2:]), true
}

// transport returns the packet from its transport header on, if that is proto's.
func (f Frame) transport(proto uint8) []byte {
	if f.h.version == 0 || f.h.proto != proto || f.h.later {
		return nil
	}
	return f.data[f.h.transport:f.h.end]
}

func (f Frame) tcpFlag(flag uint8) bool {
	t := f.transport(protoTCP)
	return len(t) >= tcpMinLen && t[13]&flag != 0
}

func (f Frame) isProto(p ...uint8) bool {
	for _, p := range p {
		if f.h.version != 0 && f.h.proto == p {
			return true
		}
	}
	return false
}

// TCP picks TCP segments.
func TCP(f Frame) bool { return f.isProto(protoTCP) }

// UDP picks UDP datagrams, all fragments included.
func UDP(f Frame) bool { return f.isProto(protoUDP) }

// ICMP picks ICMP and, neighbour discovery included, ICMPv6.
func ICMP(f Frame) bool {
	return f.h.version == 4 && f.isProto(protoICMP) || f.h.version == 6 && f.isProto(protoICMPv6)
}

// ARP picks ARP.
func ARP(f Frame) bool { return f.h.etherType == etherTypeARP }

// SYN picks TCP segments with SYN, the answering SYN with ACK among them.
func SYN(f Frame) bool { return f.tcpFlag(tcpSYN) }

// FIN picks TCP segments with FIN.
func FIN(f Frame) bool { return f.tcpFlag(tcpFIN) }

// RST picks TCP segments with RST.
func RST(f Frame) bool { return f.tcpFlag(tcpRST) }

// From picks IP packets whose source is in p.
func From(p netip.Prefix) Predicate {
	return func(f Frame) bool { return p.Contains(f.Src()) }
}

// To picks IP packets whose destination is in p.
func To(p netip.Prefix) Predicate {
	return func(f Frame) bool { return p.Contains(f.Dst()) }
}

// Port picks TCP segments and UDP datagrams from or to a port.
func Port(port uint16) Predicate {
	return func(f Frame) bool {
		src, dst, ok := f.Ports()
		return ok && (src == port || dst == port)
	}
}

// Nth picks one frame: number n, counted from 1, of those that p picks. The count goes on
// over everything that the returned predicate is used for.
func Nth(n int, p Predicate) Predicate {
	var count atomic.Int64
	return func(f Frame) bool {
		return p(f) && count.Add(1) == int64(n)
	}
}

// And picks what all of ps pick. They are asked in their order, up to the first that does
// not.
func And(ps ...Predicate) Predicate {
	return func(f Frame) bool {
		for _, p := range ps {
			if !p(f) {
				return false
			}
		}
		return true
	}
}

// Or picks what any of ps picks. They are asked in their order, up to the first that does.
func Or(ps ...Predicate) Predicate {
	return func(f Frame) bool {
		for _, p := range ps {
			if p(f) {
				return true
			}
		}
		return false
	}
}

// Not picks what p does not.
func Not(p Predicate) Predicate {
	return func(f Frame) bool { return !p(f) }
}
