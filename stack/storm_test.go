package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// A storm is a host on which everything changes at once: PvDs, their addresses and links,
// and the links themselves, under traffic. far is the host at the other end of every link.
type storm struct {
	t         *testing.T
	host, far *Host
	links     []string
	slots     []stormSlot
}

// A stormSlot is a PvD that comes, changes and goes, as the one goroutine knows it that
// makes it do so.
type stormSlot struct {
	ref    pvd.Ref
	config pvd.Config
}

// The far end of every link, which echoes.
const (
	stormPeer4 = "10.0.255.254"
	stormPeer6 = "2001:db8::ffff"
)

// TestStorm changes everything at random, by several goroutines and under traffic, and
// then holds what there is against what was asked for.
func TestStorm(t *testing.T) {
	rounds := 150
	if testing.Short() {
		rounds = 25
	}
	s := newStorm(t)
	ctx, calm := context.WithCancel(t.Context())
	traffic := s.traffic(ctx)
	changes := s.changes(rounds)
	changes.Wait()
	calm()
	traffic.Wait()
	s.check()
}

// Close ends a storm, and nothing of it is left.
func TestCloseInAStorm(t *testing.T) {
	for range 5 {
		s := newStorm(t)
		traffic, changes := s.traffic(t.Context()), s.changes(100)
		time.Sleep(20 * time.Millisecond)
		if err := s.host.Close(); err != nil {
			t.Error(err)
		}
		traffic.Wait()
		changes.Wait()
		if len(s.host.domains)+len(s.host.links)+len(s.host.joiners) != 0 {
			t.Errorf("left: PvDs %v, links %v, %d joiners", s.host.domains, s.host.links, len(s.host.joiners))
		}
	}
}

func newStorm(t *testing.T) *storm {
	t.Helper()
	tuntest.CheckLeaks(t)
	s := &storm{t: t, host: newStormHost(t), far: newStormHost(t), links: []string{"ether0", "ether1", "ip0", "ip1"}, slots: make([]stormSlot, 4)}
	for _, name := range s.links {
		s.attach(name)
	}
	return s
}

// traffic goes on until ctx ends, or the host is closed.
func (s *storm) traffic(ctx context.Context) *sync.WaitGroup {
	var wg sync.WaitGroup
	wg.Go(func() { s.listenEverywhere(ctx) })
	for i := range uint64(2) {
		wg.Go(func() { s.talk(ctx, rand.New(rand.NewPCG(2, i))) })
	}
	return &wg
}

// changes are made as many times, or until the host is closed.
func (s *storm) changes(rounds int) *sync.WaitGroup {
	var wg sync.WaitGroup
	for i := range s.slots {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range rounds {
				s.change(i, r)
			}
		})
	}
	wg.Go(func() {
		r := rand.New(rand.NewPCG(3, 0))
		for range rounds {
			name := s.links[r.IntN(len(s.links))]
			s.detach(name)
			time.Sleep(time.Duration(r.IntN(3)) * time.Millisecond)
			s.attach(name)
		}
	})
	return &wg
}

func newStormHost(t *testing.T) *Host {
	t.Helper()
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// attach adds a link, and at its far end a PvD that echoes.
func (s *storm) attach(name string) {
	c := tun.PipeConfig{Layer: tun.Ethernet}
	if strings.HasPrefix(name, "ip") {
		c.Layer = tun.IP
	}
	near, far := tun.Pipe(c)
	if err := s.host.AddLink(name, near); err != nil {
		s.unlessClosed(err)
		_ = near.Close() // it is still ours
	}
	if err := s.far.AddLink(name, far); err != nil {
		s.t.Error(err)
	}
	ref, err := s.far.Add(s.t.Context(), pvd.Config{Name: name, Links: []string{name}, Addresses: addresses(stormPeer4+"/16", stormPeer6+"/64")})
	if err != nil {
		s.t.Error(err)
		return
	}
	l, err := s.far.In(ref).Listen(s.t.Context(), "tcp", ":7")
	if err != nil {
		s.t.Error(err)
		return
	}
	go echoAll(l)
}

// echoAll ends with the listener.
func echoAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(c, c)
		}()
	}
}

// detach takes a link and its far end away.
func (s *storm) detach(name string) {
	for _, ref := range s.far.List() {
		if info, err := s.far.Info(ref); err == nil && info.Name() == name {
			if err := s.far.Remove(s.t.Context(), ref); err != nil {
				s.t.Error(err)
			}
		}
	}
	s.unlessClosed(s.host.RemoveLink(name))
	if err := s.far.RemoveLink(name); err != nil {
		s.t.Error(err)
	}
}

// unlessClosed reports an error of the host's, unless that is closed.
func (s *storm) unlessClosed(err error) {
	if err != nil && !s.host.isClosed() {
		s.t.Error(err)
	}
}

// change does something to the PvD of a slot.
func (s *storm) change(i int, r *rand.Rand) {
	slot := &s.slots[i]
	c := s.config(i, r)
	var err error
	switch {
	case slot.ref == 0:
		var ref pvd.Ref
		if ref, err = s.host.Add(s.t.Context(), c); err == nil {
			*slot = stormSlot{ref, c}
		}
	case r.IntN(4) == 0:
		if err = s.host.Remove(s.t.Context(), slot.ref); err == nil {
			*slot = stormSlot{}
		}
	default:
		if err = s.host.Update(s.t.Context(), slot.ref, c); err == nil {
			slot.config = c
		}
	}
	// A link may just be away, and an address another PvD's.
	if err != nil && !strings.Contains(err.Error(), "there is no link") && !strings.Contains(err.Error(), "both have") {
		s.unlessClosed(fmt.Errorf("slot %d: %w", i, err))
	}
}

// config returns some configuration for a slot, whose addresses are mostly its own.
func (s *storm) config(i int, r *rand.Rand) pvd.Config {
	c := pvd.Config{Name: fmt.Sprintf("slot %d", i), MTU: []int{0, 1280, 1400}[r.IntN(3)]}
	if r.IntN(4) == 0 {
		c.Name += " renamed"
	}
	for _, k := range r.Perm(len(s.links))[:1+r.IntN(3)] {
		link := s.links[k]
		c.Links = append(c.Links, link)
		for range r.IntN(3) {
			subnet, host := i, 1+r.IntN(3)
			if r.IntN(8) == 0 {
				subnet = r.IntN(len(s.slots))
			}
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(subnet), byte(host)}), 16+r.IntN(2)*8)
			if r.IntN(3) == 0 {
				p = netip.MustParsePrefix(fmt.Sprintf("2001:db8::%x:%x/64", subnet+1, host))
			}
			a := pvd.Address{Prefix: p, Link: link}
			if !slices.ContainsFunc(c.Addresses, func(o pvd.Address) bool { return o.Prefix.Addr() == p.Addr() && o.Link == link }) {
				c.Addresses = append(c.Addresses, a)
			}
		}
		if r.IntN(2) == 0 {
			c.Routes = append(c.Routes, pvd.Route{To: prefix("10.0.0.0/8"), Link: link}, pvd.Route{To: prefix("2001:db8::/32"), Link: link})
		}
	}
	return c
}

// talk uses whichever PvDs there are, until the storm is over.
func (s *storm) talk(ctx context.Context, r *rand.Rand) {
	for ctx.Err() == nil && !s.host.isClosed() {
		refs := s.host.List()
		if len(refs) == 0 {
			time.Sleep(time.Millisecond)
			continue
		}
		n := s.host.In(refs[r.IntN(len(refs))])
		peer := []string{stormPeer4, stormPeer6}[r.IntN(2)]
		if err := echoOnce(ctx, n, peer, 100*time.Millisecond); !stormy(err) {
			s.t.Errorf("echo from %s: %v", peer, err)
		}
		if c, err := n.ListenPacket(ctx, "udp", ":0"); err == nil {
			_, err := c.(*UDPConn).WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(ip(stormPeer4), 9))
			if !stormy(err) {
				s.t.Errorf("datagram: %v", err)
			}
			_ = c.Close()
		} else if !stormy(err) {
			s.t.Errorf("socket: %v", err)
		}
	}
}

func echoOnce(ctx context.Context, n *Network, peer string, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	c, err := n.DialContext(ctx, "tcp", net.JoinHostPort(peer, "7"))
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(wait))
	if _, err := c.Write([]byte("echo")); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 4))
	return err
}

// stormy reports whether an error is one of those that changes explain.
func stormy(err error) bool {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	for _, e := range []error{
		pvd.ErrNoPvD, os.ErrDeadlineExceeded, context.Canceled, syscall.ENETDOWN, syscall.ENETUNREACH, syscall.EHOSTUNREACH,
		syscall.EADDRNOTAVAIL, syscall.ECONNREFUSED, syscall.ECONNRESET,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// listenEverywhere has listeners come and go in all PvDs, those that appear in the
// meantime included.
func (s *storm) listenEverywhere(ctx context.Context) {
	for ctx.Err() == nil && !s.host.isClosed() {
		l, err := s.host.In(pvd.All).Listen(ctx, "tcp", ":0")
		if err != nil {
			if !stormy(err) {
				s.unlessClosed(fmt.Errorf("listening everywhere: %w", err))
			}
			continue
		}
		go echoAll(l)
		time.Sleep(5 * time.Millisecond)
		if err := l.Close(); err != nil {
			s.unlessClosed(fmt.Errorf("listening everywhere: %w", err))
		}
	}
}

// check holds what there is against what was asked for.
func (s *storm) check() {
	t := s.t
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var alive []pvd.Ref
	onLink := make(map[string]int)
	for i, slot := range s.slots {
		if slot.ref == 0 {
			continue
		}
		alive = append(alive, slot.ref)
		for _, l := range slot.config.Links {
			onLink[l]++
		}
		if err := s.host.WaitReady(ctx, slot.ref); err != nil {
			t.Errorf("slot %d: %v", i, err)
			continue
		}
		s.checkSlot(i, slot)
	}
	if got := s.host.List(); len(got) != len(alive) || len(s.host.domains) != len(alive) {
		t.Errorf("PvDs %v, asked for %v", got, alive)
	}
	for _, name := range s.links {
		l, _ := s.host.link(name)
		if n := len(l.table.Load().ports); n != onLink[name] || len(l.plans) != n {
			t.Errorf("link %s has %d ports and %d plans, want %d", name, n, len(l.plans), onLink[name])
		}
	}
	if n := len(s.host.everyJoiner()); n != 0 {
		t.Errorf("%d sockets are in all PvDs", n)
	}
}

func (s *storm) checkSlot(i int, slot stormSlot) {
	t := s.t
	d, err := s.host.domain(slot.ref)
	if err != nil {
		t.Errorf("slot %d: %v", i, err)
		return
	}
	info, err := s.host.Info(slot.ref)
	if err != nil || info.Name() != slot.config.Name || d.name() != slot.config.Name {
		t.Errorf("slot %d is called %v, %v", i, info, err)
	}
	want := make(map[pvd.Address]bool)
	for _, a := range slot.config.Addresses {
		want[a] = true
	}
	listed, _ := pvd.Addresses.Get(info)
	for _, a := range listed {
		if !a.Automatic && !want[a.Address] || !a.State.Usable() {
			t.Errorf("slot %d has %+v", i, a)
		}
		delete(want, a.Address)
	}
	if len(want) > 0 {
		t.Errorf("slot %d lacks %v", i, want)
	}
	if n := len(*d.nics.Load()); n != len(slot.config.Links) || len(d.ports) != n {
		t.Errorf("slot %d has %d NICs and %d ports, want %d", i, n, len(d.ports), len(slot.config.Links))
	}
	held := d.stk.AllAddresses()
	for _, p := range *d.nics.Load() {
		var there, asked []netip.Addr
		for _, a := range held[p.nic] {
			if addr := fromAddr(a.AddressWithPrefix.Address); addr != limitedBroadcast { // gVisor's own
				there = append(there, addr)
			}
		}
		for _, a := range listed {
			if a.Link == p.link.name {
				asked = append(asked, a.Prefix.Addr())
				if !p.link.table.Load().owners[a.Prefix.Addr()].has(p) || !p.owns(a.Prefix.Addr()) {
					t.Errorf("slot %d: %v is not its own on %s", i, a.Prefix, a.Link)
				}
			}
		}
		slices.SortFunc(there, netip.Addr.Compare)
		slices.SortFunc(asked, netip.Addr.Compare)
		if !slices.Equal(there, asked) || len(p.egress.Load().own) != len(asked) {
			t.Errorf("slot %d: the stack has %v on %s, asked for %v", i, there, p.link.name, asked)
		}
		if want := min(1500, max(slot.config.MTU, 0)); slot.config.MTU != 0 && int(p.MTU()) != want {
			t.Errorf("slot %d: MTU %d, want %d", i, p.MTU(), want)
		}
	}
	for _, peer := range []string{stormPeer4, stormPeer6} {
		// What the rules say has a way there has to have one.
		if _, err := d.path(t.Context(), netip.Addr{}, ip(peer)); err != nil {
			continue
		}
		if err := echoOnce(t.Context(), s.host.In(slot.ref), peer, 10*time.Second); err != nil {
			t.Errorf("slot %d to %s: %v", i, peer, err)
		}
	}
}
