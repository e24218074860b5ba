package stack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// FuzzSharedPacket gives a shared address packets of any content. Each is for one of those
// who have it, or all.
func FuzzSharedPacket(f *testing.F) {
	f.Add(uint8(17), uint16(0), []byte{0, 53, 0x80, 0, 0, 8, 0, 0})
	f.Add(uint8(6), uint16(0x2000), tcpTo(80, "10.0.0.9:80")[20:])
	f.Add(uint8(1), uint16(0), icmpTo(header.ICMPv4DstUnreachable, 0, "10.0.0.9", quote(udpTo(1, "10.0.0.9:1")))[20:])
	f.Add(uint8(17), uint16(0x2001), []byte{1})
	w := newWire(f, tun.IP)
	ps := w.share(3)
	f.Fuzz(func(t *testing.T, proto uint8, fragment uint16, payload []byte) {
		packet := ipPacket(proto, ip("10.0.0.9"), ip(leased), payload)
		binary.BigEndian.PutUint16(packet[6:], fragment)
		got := w.whoGets(ps, packet[:min(len(packet), headLen)])
		if !slices.Contains([]string{"[0]", "[1]", "[2]", "[0 1 2]"}, got) || got == "[0 1 2]" && fragment&0x1fff == 0 {
			t.Errorf("to %s", got)
		}
	})
}

// While PvDs with one address use the network in every way at once, none is given anything
// that it has not asked for: a packet that went to the wrong one would be refused there.
func TestSharedNothingStrays(t *testing.T) {
	for _, layer := range []tun.Layer{tun.Ethernet, tun.IP} {
		t.Run(fmt.Sprint(layer), func(t *testing.T) {
			near, far := tun.Pipe(tun.PipeConfig{Layer: layer})
			hosts := make([]*Host, 2)
			for i, l := range []tun.Link{near, far} {
				h, err := New(Config{})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := h.Close(); err != nil {
						t.Error(err)
					}
				})
				if err := h.AddLink("lab", l); err != nil {
					t.Fatal(err)
				}
				hosts[i] = h
			}
			var by []*domain
			add := func(h *Host, c pvd.Config) *domain {
				t.Helper()
				ref, err := h.Add(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				d, _ := h.domain(ref)
				return d
			}
			remote := add(hosts[1], pvd.Config{Name: "peer", Links: []string{"lab"}, Addresses: addresses("10.0.0.9/24")})
			peer := hosts[1].In(remote.ref)
			for i := range 4 {
				by = append(by, add(hosts[0], leaseOf(fmt.Sprintf("pvd%d", i))))
			}
			echo := func(l net.Listener) {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() { // until the peer closes
						defer c.Close()
						_, _ = io.Copy(c, c)
					}()
				}
			}
			server, err := peer.Listen(t.Context(), "tcp", ":80")
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			go echo(server)
			datagrams, err := peer.ListenPacket(t.Context(), "udp", ":53")
			if err != nil {
				t.Fatal(err)
			}
			defer datagrams.Close()
			go func() {
				b := make([]byte, 9000)
				for {
					n, from, err := datagrams.ReadFrom(b)
					if err != nil {
						return
					}
					_, _ = datagrams.WriteTo(b[:n], from)
				}
			}()
			exchange := func(n *Network, network, address string, size int) {
				c, err := n.DialContext(t.Context(), network, address)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				b := bytes.Repeat([]byte{byte(n.ref)}, size)
				if _, err := c.Write(b); err != nil {
					t.Error(err)
				}
				got := make([]byte, size)
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(b, got) {
					t.Errorf("%s %s: %v, or another one's", network, address, err)
				}
			}
			var all sync.WaitGroup
			for i, d := range by {
				n := hosts[0].In(d.ref)
				l, err := n.Listen(t.Context(), "tcp", fmt.Sprintf(":%d", 40000+i))
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				go echo(l)
				for range 5 {
					all.Go(func() {
						for range 10 {
							exchange(n, "tcp", "10.0.0.9:80", 5000)
							exchange(n, "udp", "10.0.0.9:53", 100)
							exchange(n, "udp", "10.0.0.9:53", 5000)
							exchange(peer, "tcp", fmt.Sprintf("%s:%d", leased, 40000+i), 1000)
							if _, err := n.Ping(t.Context(), ip("10.0.0.9")); err != nil {
								t.Error(err)
							}
						}
					})
				}
			}
			all.Wait()
			// On a busy machine a segment that has only been slow is repeated, and what comes of
			// that finds a connection that has ended. Both ends do that.
			again := remote.stk.Stats().TCP.Retransmits.Value()
			for _, d := range by {
				s := d.stk.Stats()
				excused := min(s.TCP.ResetsSent.Value(), again+s.TCP.Retransmits.Value())
				for what, n := range map[string]uint64{
					"datagrams to no socket": s.UDP.UnknownPortErrors.Value(),
					"segments refused":       s.TCP.ResetsSent.Value() - excused,
					"errors sent":            s.ICMP.V4.PacketsSent.DstUnreachable.Value(),
					"packets to others":      s.IP.InvalidDestinationAddressesReceived.Value(),
				} {
					if n != 0 {
						t.Errorf("%s: %d %s", d.name(), n, what)
					}
				}
			}
		})
	}
}

// FuzzShared has PvDs that share an address do things with ports, and compares who gets a
// packet with what a model says.
func FuzzShared(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	f.Add([]byte{0x11, 0, 0x12, 0, 0x21, 0, 0x83, 1, 0xc0, 2, 0xc1, 3, 0x91, 0})
	w := newWire(f, tun.IP)
	w.drain()
	ps := w.share(3)
	f.Fuzz(func(t *testing.T, script []byte) {
		m := newSharedModel(ps)
		defer m.close()
		m.memory = w.link.table.Load().shared[ip(leased)].memory
		for len(script) >= 2 {
			m.step(t, w, script[0], script[1])
			script = script[2:]
		}
		for _, port := range m.ports {
			for _, r := range m.remotes {
				if got, want := w.whoGets(ps, udpTo(port, r.String())), fmt.Sprintf("[%d]", m.whose(port, r)); got != want {
					t.Errorf("%v to port %d: to %s, want %s", r, port, got, want)
				}
				quoted := quote(udpPacket(netip.AddrPortFrom(ip(leased), port), r, ""))
				if got, want := w.whoGets(ps, icmpTo(header.ICMPv4DstUnreachable, 0, "10.0.0.77", quoted)), fmt.Sprintf("[%d]", m.whose(port, r)); got != want {
					t.Errorf("the error of %v and port %d: to %s, want %s", r, port, got, want)
				}
			}
		}
	})
}

// A sharedModel is what PvDs have open, in the plainest form.
type sharedModel struct {
	ps      ports
	ports   []uint16
	remotes []netip.AddrPort
	listens []map[uint16]*UDPConn
	flows   []map[modelFlow]*UDPConn
	sent    map[modelFlow]int
	memory  *sharedMemory
}

type modelFlow struct {
	port   uint16
	remote netip.AddrPort
}

func newSharedModel(ps ports) *sharedModel {
	m := &sharedModel{
		ps: ps, sent: make(map[modelFlow]int),
		ports:   []uint16{53, 500, 16000, 32511, 32512, 49024, 65535},
		remotes: []netip.AddrPort{addrPort("10.0.0.8:500"), addrPort("10.0.0.9:500"), addrPort("10.0.0.9:501")},
	}
	for range ps {
		m.listens = append(m.listens, make(map[uint16]*UDPConn))
		m.flows = append(m.flows, make(map[modelFlow]*UDPConn))
	}
	return m
}

func (m *sharedModel) close() {
	for i := range m.ps {
		for _, c := range m.listens[i] {
			_ = c.Close()
		}
		for _, c := range m.flows[i] {
			_ = c.Close()
		}
	}
	m.memory.mu.Lock()
	defer m.memory.mu.Unlock()
	m.memory.flows = recent[flow]{}
}

func (m *sharedModel) step(t *testing.T, w *wire, what, where byte) {
	i := int(what) % len(m.ps)
	f := modelFlow{m.ports[int(where&0xf)%len(m.ports)], m.remotes[int(where>>4)%len(m.remotes)]}
	own, listening := m.listens[i], m.listens[i][f.port]
	connected := false
	for g := range m.flows[i] {
		connected = connected || g.port == f.port
	}
	switch what >> 6 {
	case 0: // listen
		c, err := w.in(m.ps[i]).ListenPacket(t.Context(), "udp4", fmt.Sprintf(":%d", f.port))
		if (err == nil) != (listening == nil && !connected) {
			t.Errorf("%d listens at %d: %v", i, f.port, err)
		}
		if err == nil {
			own[f.port] = c.(*UDPConn)
		}
	case 1: // connect
		taken := false
		for j := range m.ps {
			by, sent := m.sent[f]
			taken = taken || j != i && (m.flows[j][f] != nil || sent && by == j && m.listens[j][f.port] != nil)
		}
		c, err := w.in(m.ps[i]).DialFrom(t.Context(), "udp4", fmt.Sprintf(":%d", f.port), f.remote.String())
		if (err == nil) != (listening == nil && !connected && !taken) {
			t.Errorf("%d connects %v: %v", i, f, err)
		}
		if err == nil {
			m.flows[i][f], m.sent[f] = c.(*UDPConn), i
		}
	case 2: // send
		if listening == nil {
			return
		}
		refused := false
		for j := range m.ps {
			by, noted := m.sent[f]
			refused = refused || j != i && (m.flows[j][f] != nil || noted && by == j && m.listens[j][f.port] != nil)
		}
		_, err := listening.WriteToUDPAddrPort([]byte("x"), f.remote)
		if refused != errors.Is(err, syscall.EADDRINUSE) || !refused && err != nil {
			t.Errorf("%d sends from %v: %v, want refused %v", i, f, err, refused)
		}
		if !refused {
			m.sent[f] = i
		}
	case 3: // close
		if listening != nil {
			_ = listening.Close()
			delete(own, f.port)
		}
		if c := m.flows[i][f]; c != nil {
			_ = c.Close()
			delete(m.flows[i], f)
		}
	}
}

// whose returns who has to get a packet.
func (m *sharedModel) whose(port uint16, remote netip.AddrPort) int {
	f := modelFlow{port, remote}
	for i := range m.ps {
		if m.flows[i][f] != nil {
			return i
		}
	}
	if i, ok := m.sent[f]; ok {
		return i
	}
	owner := -1
	for i, p := range m.ps {
		if low, high := p.domain.stk.PortRange(); low <= port && port <= high {
			owner = i
		}
	}
	if owner >= 0 && m.listens[owner][port] != nil {
		return owner
	}
	for i := range m.ps {
		if m.listens[i][port] != nil {
			return i
		}
	}
	return max(owner, 0)
}
