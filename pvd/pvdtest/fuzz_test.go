package pvdtest

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// FuzzRouter feeds a router frames, with what their senders say of offloads. Whatever
// comes in, nothing malformed may leave. The data are frames of the form
//
//	flags, meta's fields (8), length (2), octets
//
// where bit 0 of flags is the interface, bit 1 keeps Meta, bit 2 lets a second go by,
// and bit 3 corrects the IPv4 header's checksum, which mutation breaks.
func FuzzRouter(f *testing.F) {
	b := newBench(f)
	record := func(flags byte, frames ...[]byte) []byte {
		var data []byte
		for _, fr := range frames {
			data = append(data, flags, 0, 0, 0, 0, 0, 0, 0, 0)
			data = binary.BigEndian.AppendUint16(data, uint16(len(fr)))
			data = append(data, fr...)
		}
		return data
	}
	target := netip.MustParseAddr("2001:db8:1::1")
	far := netip.MustParseAddr("203.0.113.1")
	st := &iface{mac: insideMAC}
	sent := packetTo(b.in, insideMAC, protoUDP, inside4, outside4, udp(5000, 53, "question"))
	f.Add(record(8, sent))
	f.Add(record(8, packetTo(b.in, insideMAC, protoTCP, inside4, outside4, tcp(5000, 80, 2, ""))))
	f.Add(record(8, packetTo(b.in, insideMAC, protoICMP, inside4, outside4, echo(icmpEcho, 5000, "ping"))))
	f.Add(record(8, packetTo(b.in, insideMAC, protoICMP, inside4, netip.MustParseAddr("192.168.1.1"), echo(icmpEcho, 1, "ping"))))
	f.Add(record(8, packetTo(b.in, insideMAC, protoTCP, inside4, netip.MustParseAddr("192.168.1.1"), tcp(5000, 80, 2, ""))))
	f.Add(record(8, packetTo(b.in, insideMAC, protoUDP, inside4, far, udp(1, 2, ""))))
	f.Add(record(12, packetTo(b.in, insideMAC, protoUDP, inside4, netip.MustParseAddr("198.51.100.9"), udp(1, 2, ""))))
	f.Add(record(8, fragmentsOf(packetTo(b.in, insideMAC, protoUDP, inside4, outside4, udp(1, 2, string(make([]byte, 100)))), 64)...))
	f.Add(record(9, packetTo(b.out, outsideMAC, protoICMP, outside4, natted4, icmpError(3, 4, 1280, sent[14:]))))
	f.Add(record(0, packetTo(b.in, insideMAC, protoTCP, inside6, outside6, tcp(5000, 80, 2, ""))))
	f.Add(record(0, packetTo(b.in, insideMAC, protoICMPv6, inside6, target, echo(icmp6Echo, 1, "ping"))))
	f.Add(record(0, st.ndPacket(ndSolicit, 0, target, inside6, solicitedNode(target), multicastMAC(solicitedNode(target)), optSourceLL)))
	f.Add(record(0, st.ndPacket(ndAdvertise, ndOverride, inside6, inside6, target, b.in.mac, optTargetLL)))
	arp := b.in.newFrame(broadcastMAC, etherARP, arpLen)
	copy(arp[14:], []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 16, 192, 168, 1, 9, 0, 0, 0, 0, 0, 0, 192, 168, 1, 1})
	f.Add(record(0, arp))

	f.Fuzz(func(t *testing.T, data []byte) {
		b := newBench(t)
		clock := &stepClock{}
		b.core.clock = clock
		check := func(outs []output) {
			for _, o := range outs {
				if o.meta == (tun.Meta{}) {
					checkHeaders(t, o)
				}
			}
		}
		b.core.later = func(fn func()) {
			b.core.outs = nil
			fn()
			check(b.core.outs)
		}
		for len(data) >= 11 {
			flags, meta := data[0], data[1:9]
			n := min(int(binary.BigEndian.Uint16(data[9:])), len(data)-11, tun.MaxFrame)
			frame := data[11 : 11+n]
			data = data[11+n:]
			var m tun.Meta
			if flags&2 != 0 {
				m = tun.Meta{
					Flags: tun.Flags(meta[0] & 3), GSO: tun.GSO(meta[1]), GSOSize: uint16(meta[3]) * 8,
					CsumStart: uint16(meta[4])<<4 | uint16(meta[5]), CsumOffset: binary.BigEndian.Uint16(meta[6:]),
				}
			}
			ifc := []*iface{b.in, b.out}[flags&1]
			if flags&8 != 0 && n >= 34 && frame[14]>>4 == 4 && hlen4(frame[14:]) <= n-14 {
				frame = append([]byte(nil), frame...)
				putIP4Checksum(frame[14:])
			}
			check(b.feed(ifc, frame, m))
			if flags&4 != 0 {
				clock.step(time.Second)
			}
		}
	})
}

// A stepClock makes the calls that are due in the goroutine that steps it.
type stepClock struct {
	pvd.Clock
	now    time.Duration
	timers []*stepTimer
}

type stepTimer struct {
	pvd.Timer
	when time.Duration
	f    func()
}

func (c *stepClock) Monotonic() time.Duration { return c.now }

func (c *stepClock) AfterFunc(d time.Duration, f func()) pvd.Timer {
	t := &stepTimer{when: c.now + d, f: f}
	c.timers = append(c.timers, t)
	return t
}

func (t *stepTimer) Stop() bool { t.f = func() {}; return true }

func (c *stepClock) step(d time.Duration) {
	c.now += d
	timers := c.timers
	c.timers = nil
	for _, t := range timers {
		if t.when <= c.now {
			t.f()
		} else {
			c.timers = append(c.timers, t)
		}
	}
}

// checkHeaders verifies what has to be right whatever came in: the addresses of the
// frame, the lengths, the hop limit and the header's checksum.
func checkHeaders(t *testing.T, o output) {
	if mac(o.frame[6:12]) != o.via.mac || len(o.frame) > o.via.mtu+tun.EthernetHeaderLen {
		t.Fatalf("frame of %d octets from %x", len(o.frame), o.frame[6:12])
	}
	ip := ipOf(o)
	var got []byte
	var why string
	switch binary.BigEndian.Uint16(o.frame[12:]) {
	case etherARP:
		return
	case etherIPv4:
		got, why = trim4(ip)
		if why == "" && (ip[8] == 0 || !isHost4(src4(ip)) || !isHost4(dst4(ip))) {
			why = "addresses or TTL"
		}
	case etherIPv6:
		got, why = trim6(ip)
		if why == "" && (ip[7] == 0 || src6(ip).IsUnspecified() || src6(ip).IsLoopback()) {
			why = "addresses or hop limit"
		}
	default:
		why = "type"
	}
	if why != "" || len(got) != len(ip) {
		t.Fatalf("%s: %x", why, o.frame)
	}
}
