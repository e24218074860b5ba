package stack_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// A recorder is an IP link that notes the type of service or traffic class of what is sent.
type recorder struct {
	tun.Link

	mu   sync.Mutex
	seen map[traffic][]uint8
}

// A traffic is the protocol of packets, and the port that they are for if they have one.
type traffic struct {
	proto uint8
	port  uint16
}

func (r *recorder) Send(bufs [][]byte, m tun.Meta) error {
	b := slices.Concat(bufs...)
	tos, proto, payload := b[1], b[9], b[20:]
	if b[0]>>4 == 6 {
		tos, proto, payload = b[0]<<4|b[1]>>4, b[6], b[40:] // RFC 8200 section 3
	}
	f := traffic{proto: proto}
	if proto == 6 || proto == 17 {
		f.port = binary.BigEndian.Uint16(payload[2:])
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = make(map[traffic][]uint8)
	}
	r.seen[f] = append(r.seen[f], tos)
	return r.Link.Send(bufs, m)
}

// take returns what has been noted of some traffic since the last time.
func (r *recorder) take(f traffic) []uint8 {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen[f]
	delete(r.seen, f)
	return seen
}

// toward returns the traffic to an address.
func toward(a net.Addr) traffic {
	switch a := a.(type) {
	case *net.TCPAddr:
		return traffic{6, uint16(a.Port)}
	case *net.UDPAddr:
		return traffic{17, uint16(a.Port)}
	default:
		return traffic{}
	}
}

// recorded returns a host, its PvD, one that faces it over an IP link, and what notes what
// the host sends.
func recorded(t *testing.T) (h *stack.Host, a, b *stack.Network, r *recorder) {
	t.Helper()
	h = newHost(t)
	peer := newHost(t)
	near, far := tun.Pipe(tun.PipeConfig{Layer: tun.IP})
	r = &recorder{Link: near}
	if err := h.AddLink("wire", r); err != nil {
		t.Fatal(err)
	}
	if err := peer.AddLink("wire", far); err != nil {
		t.Fatal(err)
	}
	// The source of what goes to 10.0.0.2 is not the one that gVisor would choose.
	a = add(t, h, config("wire", "172.16.0.1/16", "10.0.0.1/24", "fd00::1/64"))
	b = add(t, peer, config("wire", "10.0.0.2/24", "172.16.0.2/16", "fd00::2/64"))
	return h, a, b, r
}

// TestP42_ToS holds that every packet of what a Network with a ToS opens has it, and none of
// others.
func TestP42_ToS(t *testing.T) {
	const expedited = 46 << 2 // RFC 3246, without the two bits of RFC 3168
	h, a, b, r := recorded(t)
	for _, host := range []string{"10.0.0.2", "172.16.0.2", "fd00::2"} {
		for _, tos := range []uint8{0, expedited} {
			n := a.WithToS(tos)
			check := func(what string, f traffic, op func(), least int) {
				t.Helper()
				op()
				seen := r.take(f)
				if len(seen) < least || slices.ContainsFunc(seen, func(got uint8) bool { return got != tos }) {
					t.Errorf("%s to %s: sent %v, want at least %d times %d", what, host, seen, least, tos)
				}
			}
			addr, echo := netip.MustParseAddr(host), traffic{proto: 1}
			if addr.Is6() {
				echo.proto = 58
			}
			l := mustListen(t, b, "tcp", net.JoinHostPort(host, "0"))
			check("TCP", toward(l.Addr()), func() { echoOnce(t, mustDial(t, n, "tcp", l.Addr().String()), l) }, 3) // SYN, ACK, data
			check("ping", echo, func() {
				if _, err := n.Ping(t.Context(), addr); err != nil {
					t.Error(err)
				}
			}, 1)
			to := mustListenPacket(t, b, "udp", net.JoinHostPort(host, "0"))
			check("UDP", toward(to.LocalAddr()), func() {
				if _, err := mustDial(t, n, "udp", to.LocalAddr().String()).Write([]byte("x")); err != nil {
					t.Error(err)
				}
				datagram(t, to)
			}, 1)
			check("unconnected UDP", toward(to.LocalAddr()), func() {
				sendDatagram(t, mustListenPacket(t, n, "udp", ":0"), "x", to.LocalAddr().String())
				datagram(t, to)
			}, 1)
			all, err := h.In(pvd.All).WithToS(tos).ListenPacket(t.Context(), "udp", ":0")
			if err != nil {
				t.Fatal(err)
			}
			check("UDP in all PvDs", toward(to.LocalAddr()), func() {
				if _, err := all.WriteTo([]byte("x"), stack.NewAddr(a.PvD(), to.LocalAddr().(*net.UDPAddr).AddrPort())); err != nil {
					t.Error(err)
				}
				datagram(t, to)
			}, 1)
			_ = all.Close()
		}
	}
}

// echoOnce has the other end of c, which l accepts, get an octet, and ends both.
func echoOnce(t *testing.T, c net.Conn, l net.Listener) {
	t.Helper()
	got, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = got.SetReadDeadline(time.Now().Add(longest))
	if _, err := got.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

// TestP42_ToSOfAccepted holds that a connection has the ToS of the listener that it was
// accepted from.
func TestP42_ToSOfAccepted(t *testing.T) {
	h, a, b, r := recorded(t)
	for _, n := range []*stack.Network{a.WithToS(0xb8), h.In(pvd.All).WithToS(0xb8)} {
		l := mustListen(t, n, "tcp", ":0")
		client := mustDial(t, b, "tcp", netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), l.Addr().(*net.TCPAddr).AddrPort().Port()).String())
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		r.take(toward(client.LocalAddr())) // the handshake
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if seen := r.take(toward(client.LocalAddr())); len(seen) == 0 || slices.ContainsFunc(seen, func(got uint8) bool { return got != 0xb8 }) {
			t.Errorf("sent %v", seen)
		}
		_ = c.Close()
	}
}

// TestP42_MarkStaysInside holds that a mark is told to the selector and seen by nobody else.
func TestP42_MarkStaysInside(t *testing.T) {
	_, a, b, r := recorded(t)
	to := mustListenPacket(t, b, "udp", "10.0.0.2:0")
	c := mustDial(t, a.WithMark(0xffffffff), "udp", to.LocalAddr().String())
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	datagram(t, to)
	if seen := r.take(toward(to.LocalAddr())); !slices.Equal(seen, []uint8{0}) {
		t.Errorf("sent %v", seen)
	}
}
