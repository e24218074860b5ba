package stack_test

import (
	"errors"
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// A pump is a transfer that goes on until it is told to end.
type pump struct {
	name     string
	received atomic.Int64
	stop     func()
}

// startPump begins a transfer over a new connection.
func startPump(t *testing.T, name string, from, to node, addr string) *pump {
	t.Helper()
	c, s := join(t, from, to, addr)
	p := &pump{name: name}
	done := make(chan struct{})
	var both sync.WaitGroup
	p.stop = sync.OnceFunc(func() {
		close(done)
		both.Wait()
	})
	t.Cleanup(p.stop)
	both.Go(func() {
		defer c.Close()
		stream, buf := pattern(1), make([]byte, 16<<10)
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Millisecond): // others need the processor, too
			}
			_, _ = stream.Read(buf)
			if _, err := c.Write(buf); err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
		}
	})
	both.Go(func() {
		defer s.Close()
		stream, buf, want := pattern(1), make([]byte, 64<<10), make([]byte, 64<<10)
		for {
			n, err := s.Read(buf)
			_, _ = stream.Read(want[:n])
			if string(buf[:n]) != string(want[:n]) {
				t.Errorf("%s: the octets after %d are not those that were sent", name, p.received.Load())
				return
			}
			p.received.Add(int64(n))
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Errorf("%s: after %d octets: %v", name, p.received.Load(), err)
				}
				return
			}
		}
	})
	return p
}

// healPatience is how long a transfer may take to go on after its link is back: a few
// retransmission timeouts, and much less than it takes a neighbour to be doubted.
const healPatience = 15 * time.Second

// advance waits until much more has arrived than so far.
func (p *pump) advance(t *testing.T) {
	t.Helper()
	goal := p.received.Load() + 256<<10
	for end := time.Now().Add(healPatience); p.received.Load() < goal; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not go on within %v", p.name, healPatience)
		}
	}
}

// A healSide is a kernel that a PvD talks to, and their addresses.
type healSide struct {
	ns                       *tuntest.NS
	own4, peer4, own6, peer6 string
}

// upload starts transfers from a PvD to a kernel, in both families.
func (s healSide) upload(t *testing.T, name string, n node) []*pump {
	t.Helper()
	return []*pump{
		startPump(t, name+" up", n, kernel{s.ns}, s.peer4),
		startPump(t, name+" up, IPv6", n, kernel{s.ns}, s.peer6),
	}
}

// download starts transfers from a kernel to a PvD, in both families.
func (s healSide) download(t *testing.T, name string, n node) []*pump {
	t.Helper()
	return []*pump{
		startPump(t, name+" down", kernel{s.ns}, n, s.own4),
		startPump(t, name+" down, IPv6", kernel{s.ns}, n, s.own6),
	}
}

// TestSystemLinkHeals takes a link's device away under transfers, and brings it back, or
// another one. They go on, and those of the PvD beside never stop.
func TestSystemLinkHeals(t *testing.T) {
	type ends struct{ box, ns *tuntest.NS }
	for _, tt := range []struct {
		name, kind string
		down, up   func(ends)
	}{
		{
			"TAP set down", kindTAP,
			func(e ends) { e.ns.IP("link", "set", "dev", "dev", "down") },
			func(e ends) { e.ns.IP("link", "set", "dev", "dev", "up") },
		},
		{
			"TAP deleted", kindTAP,
			func(e ends) { e.ns.IP("link", "del", "dev", "dev") },
			func(e ends) {
				eventually(t, "the device is made anew", func() bool {
					return e.ns.Command("ip", "link", "show", "dev", "dev", "up").Run() == nil
				})
			},
		},
		{
			"TUN deleted", kindTUN,
			func(e ends) { e.ns.IP("link", "del", "dev", "dev") },
			func(e ends) {
				eventually(t, "the device is made anew", func() bool {
					return e.ns.Command("ip", "link", "show", "dev", "dev", "up").Run() == nil
				})
			},
		},
		{
			"interface set down", kindPacket,
			func(e ends) { e.box.IP("link", "set", "dev", "a", "down") },
			func(e ends) { e.box.IP("link", "set", "dev", "a", "up") },
		},
		{
			"peer set down", kindPacket,
			func(e ends) { e.ns.IP("link", "set", "dev", "dev", "down") },
			func(e ends) { e.ns.IP("link", "set", "dev", "dev", "up") },
		},
		{
			"interface deleted", kindPacket,
			func(e ends) { e.box.IP("link", "del", "dev", "a") },
			func(e ends) { tuntest.Veth(e.box, "a", e.ns, "dev") },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			sides := map[string]healSide{}
			for i, link := range []string{"a", "b"} {
				ns := tuntest.NewNS(t)
				ns.Sysctl("net.ipv6.conf.all.keep_addr_on_down", "1")
				r.wire(link, tt.kind, ns, "dev", 1500)
				net4, net6 := "192.0."+strconv.Itoa(2+i)+".", "2001:db8:"+link+"::"
				s := healSide{ns, net4 + "2", net4 + "1", net6 + "2", net6 + "1"}
				addrs(ns, "dev", s.peer4+"/24", s.peer6+"/64")
				sides[link] = s
			}
			a, b := sides["a"], sides["b"]
			networks := r.add(config("a", a.own4+"/24", a.own6+"/64"), config("b", b.own4+"/24", b.own6+"/64"))
			hit, beside := a.upload(t, "hit", networks[0]), b.upload(t, "beside", networks[1])
			for _, more := range []bool{false, true} {
				if more { // at first the kernel has nothing to say of itself
					hit = append(hit, a.download(t, "hit", networks[0])...)
					beside = append(beside, b.download(t, "beside", networks[1])...)
				}
				for _, p := range slices.Concat(hit, beside) {
					p.advance(t)
				}
				e := ends{r.box, a.ns}
				tt.down(e)
				for _, p := range beside {
					p.advance(t)
				}
				tt.up(e)
				for _, had := range []string{a.peer4 + "/24", a.peer6 + "/64"} {
					a.ns.IP("addr", "replace", had, "dev", "dev", "nodad")
				}
				for _, p := range slices.Concat(hit, beside) {
					p.advance(t)
				}
			}
			for _, p := range slices.Concat(hit, beside) {
				p.stop()
			}
			if t.Failed() {
				t.Logf("%v", r.host.Stats())
			}
		})
	}
}
