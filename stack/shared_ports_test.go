package stack

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

func rangeOf(p *port) string {
	low, high := p.domain.stk.PortRange()
	return fmt.Sprintf("%d-%d", low, high)
}

// The ephemeral ports are divided among those that share an address, equally and in the
// order of their age, and divided anew when one comes or goes. Who shares no more has all.
func TestSharedPortsAreDivided(t *testing.T) {
	w := newWire(t, tun.Ethernet)
	loner := w.add(pvd.Config{Name: "loner", Addresses: addresses("10.0.0.7/24")})
	ps := w.share(1)
	expect := func(want ...string) {
		t.Helper()
		got := make([]string, len(ps))
		for i, p := range ps {
			got[i] = rangeOf(p)
		}
		if !slices.Equal(got, want) || rangeOf(loner) != "16000-65535" || loner.domain.share.Load() != nil {
			t.Errorf("%v, want %v", got, want)
		}
	}
	expect("16000-65535")
	ps = append(ps, w.add(leaseOf("second")))
	expect("16000-40767", "40768-65535")
	ps = append(ps, w.add(leaseOf("third")))
	expect("16000-32511", "32512-49023", "49024-65535")
	if err := w.host.Remove(t.Context(), ps[0].domain.ref); err != nil {
		t.Fatal(err)
	}
	ps = ps[1:]
	expect("16000-40767", "40768-65535")
	// An Update takes the address away.
	c := leaseOf("second")
	c.Addresses = addresses("10.0.0.8/24")
	if err := w.host.Update(t.Context(), ps[0].domain.ref, c); err != nil {
		t.Fatal(err)
	}
	expect("16000-65535", "16000-65535")
	if ps[0].domain.share.Load() != nil || ps[1].domain.share.Load() != nil || len(w.host.ports.now) != 0 {
		t.Error("somebody still has a share")
	}
	// And gives it back: the older one goes first.
	if err := w.host.Update(t.Context(), ps[0].domain.ref, leaseOf("second")); err != nil {
		t.Fatal(err)
	}
	expect("16000-40767", "40768-65535")
}

// PvDs that have to do with each other by way of a third one have different ports too.
func TestSharedPortsOfAChain(t *testing.T) {
	w := newWire(t, tun.IP)
	near, far := tun.Pipe(tun.PipeConfig{Layer: tun.IP})
	defer far.Close()
	if err := w.host.AddLink("other", near); err != nil {
		t.Fatal(err)
	}
	a := w.add(leaseOf("a"))
	chain := leaseOf("chain")
	chain.Links = []string{"lab", "other"}
	chain.Addresses = append(chain.Addresses, pvd.Address{Prefix: prefix("10.9.0.1/24"), Link: "other", Shared: true})
	end := pvd.Config{Name: "end", Links: []string{"other"}, Addresses: []pvd.Address{{Prefix: prefix("10.9.0.1/24"), Shared: true}}}
	var ds []*domain
	for _, c := range []pvd.Config{chain, end} {
		ref, err := w.host.Add(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		d, err := w.host.domain(ref)
		if err != nil {
			t.Fatal(err)
		}
		ds = append(ds, d)
	}
	ds = append([]*domain{a.domain}, ds...)
	for i, want := range []string{"16000-32511", "32512-49023", "49024-65535"} {
		low, high := ds[i].stk.PortRange()
		if got := fmt.Sprintf("%d-%d", low, high); got != want {
			t.Errorf("%s: %s, want %s", ds[i].name(), got, want)
		}
	}
	if err := w.host.RemoveLink("other"); err != nil {
		t.Fatal(err)
	}
	if low, high := ds[2].stk.PortRange(); low != firstEphemeral || high != lastEphemeral {
		t.Errorf("the end has %d-%d when its link is gone", low, high)
	}
}

func TestSharersAreBounded(t *testing.T) {
	w := newWire(t, tun.IP)
	ps := w.share(maxSharers)
	seen := make(map[uint16]bool)
	for _, p := range ps {
		s := p.domain.share.Load()
		for port := s.low; ; port++ {
			if seen[port] {
				t.Fatalf("port %d is in two ranges", port)
			}
			if seen[port] = true; port == s.high {
				break
			}
		}
	}
	if len(seen) != 49536/64*64 {
		t.Errorf("%d ports are somebody's", len(seen))
	}
	_, err := w.host.Add(t.Context(), leaseOf("one more"))
	if err == nil || !strings.Contains(err.Error(), "one more") || !strings.Contains(err.Error(), "limit is 64") {
		t.Errorf("one more: %v", err)
	}
	if err := w.host.Remove(t.Context(), ps[5].domain.ref); err != nil {
		t.Fatal(err)
	}
	w.add(leaseOf("one more"))
}

// Ports that the stack chooses are in the PvD's range, and none at which another one has
// something open, from before the ports were divided or by choice.
func TestSharedPortsAreChosenInRange(t *testing.T) {
	w := newWire(t, tun.IP)
	w.drain()
	a := w.add(leaseOf("a"))
	before := make(map[uint16]bool) // open in a before there is b, all over the place
	for range 2000 {
		before[portOf(w.listenUDP(a, ":0"))] = true
	}
	b := w.add(leaseOf("b"))
	n := 0
	for port := range before {
		if port >= 40768 {
			n++
		}
		if got := w.whoGets(ports{a, b}, udpTo(port, "10.0.0.9:53")); got != "[0]" {
			t.Fatalf("port %d, open since before: to %s", port, got)
		}
	}
	if n < 500 {
		t.Fatalf("only %d of them are in the other's range", n)
	}
	check := func(what string, c net.Addr, low, high uint16) {
		t.Helper()
		if p := addrPortOf(c).Port(); p < low || p > high || before[p] {
			t.Errorf("%s: port %d, before %v", what, p, before[p])
		}
	}
	for range 300 {
		check("a's dial", w.dialUDP(a, "", "10.0.0.9:53").LocalAddr(), 16000, 40767)
		check("b's dial", w.dialUDP(b, "", "10.0.0.9:53").LocalAddr(), 40768, 65535)
		check("b's socket", w.listenUDP(b, ":0").LocalAddr(), 40768, 65535)
		check("b's bound socket", w.listenUDP(b, leased+":0").LocalAddr(), 40768, 65535)
		l, err := w.in(b).Listen(t.Context(), "tcp4", ":0")
		if err != nil {
			t.Fatal(err)
		}
		if p := addrPortOf(l.Addr()).Port(); p < 40768 {
			t.Errorf("b's listener: port %d", p)
		}
		_ = l.Close()
	}
}

// However PvDs come and go, no two have one port at a time that neither has asked for.
func TestSharedPortsStayApart(t *testing.T) {
	w := newWire(t, tun.IP)
	w.drain()
	ps := w.share(2)
	stop := make(chan struct{})
	var busy sync.WaitGroup
	var mu sync.Mutex
	held := make(map[uint16]*port)
	for _, p := range ps {
		for range 2 {
			busy.Go(func() {
				for open := []*UDPConn(nil); ; {
					select {
					case <-stop:
						return
					default:
					}
					c := w.listenUDP(p, ":0")
					mu.Lock()
					if by := held[portOf(c)]; by != nil {
						t.Errorf("port %d is %v's, and %v's", portOf(c), by.domain.name(), p.domain.name())
					}
					held[portOf(c)] = p
					mu.Unlock()
					if open = append(open, c); len(open) < 100 {
						continue
					}
					mu.Lock()
					delete(held, portOf(open[0]))
					mu.Unlock()
					_ = open[0].Close()
					open = open[1:]
				}
			})
		}
	}
	for range 100 {
		guest := w.add(leaseOf("guest"))
		w.dialUDP(guest, "", "10.0.0.9:53")
		if err := w.host.Remove(t.Context(), guest.domain.ref); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	busy.Wait()
}

// A PvD that has used up its own ports has no more, while the others have theirs.
func TestSharedRangeIsUsedUp(t *testing.T) {
	w := newWire(t, tun.IP)
	w.drain()
	ps := w.share(maxSharers) // 774 each
	open := make(map[uint16]bool)
	for range 774 {
		open[portOf(w.dialUDP(ps[3], "", "10.0.0.9:53"))] = true
	}
	if len(open) != 774 {
		t.Errorf("%d ports", len(open))
	}
	for _, network := range []string{"udp4", "tcp4"} {
		c, err := w.in(ps[3]).ListenPacket(t.Context(), "udp4", ":0")
		if !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("%s: %v, %v", network, c, err)
		}
	}
	if _, err := w.in(ps[3]).DialContext(t.Context(), "udp4", "10.0.0.9:54"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("dialling: %v", err)
	}
	w.dialUDP(ps[4], "", "10.0.0.9:53")
	w.listenUDP(ps[3], ":700") // by choice there is more
	if err := w.host.Remove(t.Context(), ps[0].domain.ref); err != nil {
		t.Fatal(err)
	}
	w.dialUDP(ps[3], "", "10.0.0.9:53") // 12 ports more
}

// Connections by choice of the same port are one PvD's only.
func TestSharedConnectionsByChoice(t *testing.T) {
	w := newWire(t, tun.IP)
	w.drain()
	ps := w.share(2)
	dial := func(p *port, to string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		c, err := w.in(p).DialFrom(ctx, "tcp4", ":5000", to)
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	begun := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := w.in(ps[0]).DialFrom(ctx, "tcp4", ":5000", "10.0.0.9:80")
		begun <- err
	}()
	f := flow{header.TCPProtocolNumber, 5000, ip("10.0.0.9"), 80}
	if !eventually(func() bool { return ps[0].holds(f, ip(leased)) == holdsFlow }) {
		t.Fatal("no handshake begins")
	}
	if err := dial(ps[1], "10.0.0.9:80"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the same ends: %v", err)
	}
	if err := dial(ps[1], "10.0.0.9:81"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("another port there: %v", err)
	}
	if got := w.whoGets(ps, tcpTo(5000, "10.0.0.9:80")); got != "[0]" {
		t.Errorf("the answer goes to %s", got)
	}
	cancel()
	if err := <-begun; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := dial(ps[1], "10.0.0.9:80"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the same ends when the other one has given up: %v", err)
	}
}

// A division gives all who have to do with each other different ports, whoever shares with
// whom, and nobody who shares with no one has any.
func TestDivide(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		ds := make([]*domain, 2+rng.IntN(20))
		for i := range ds {
			ds[i] = &domain{ref: pvd.Ref(1 + i)}
		}
		tables := make([]*linkTable, 1+rng.IntN(3))
		var pairs [][2]*domain
		for i := range tables {
			tables[i] = &linkTable{}
			for a := range rng.IntN(4) {
				sh := &sharing{addr: netip.AddrFrom4([4]byte{10, byte(i), 0, byte(a + 1)})}
				for _, d := range rng.Perm(len(ds))[:2+rng.IntN(min(4, len(ds)-1))] {
					for _, p := range sh.by {
						pairs = append(pairs, [2]*domain{p.domain, ds[d]})
					}
					sh.by = append(sh.by, &port{domain: ds[d]})
				}
				if tables[i].shared == nil {
					tables[i].shared = make(map[netip.Addr]*sharing)
				}
				tables[i].shared[sh.addr] = sh
			}
		}
		shares := divide(tables)
		in := make(map[*domain]bool)
		for _, p := range pairs {
			in[p[0]], in[p[1]] = true, true
			a, b := shares[p[0]], shares[p[1]]
			if a == nil || b == nil || a.low <= b.high && b.low <= a.high || !slices.Contains(a.others, p[1]) || len(a.others) != len(b.others) {
				t.Fatalf("%v and %v have %+v and %+v", p[0].ref, p[1].ref, a, b)
			}
		}
		if len(shares) != len(in) {
			t.Fatalf("%d have a part, %d share", len(shares), len(in))
		}
		for d, s := range shares {
			if n := int(s.high) - int(s.low) + 1; s.low < firstEphemeral || n != (lastEphemeral-firstEphemeral+1)/(len(s.others)+1) || slices.Contains(s.others, d) {
				t.Fatalf("%v has %+v", d.ref, s)
			}
		}
	}
}
