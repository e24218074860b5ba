package pvdtest

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// A Host is a host under test: a [stack.Host] with a link on each of some LANs and, to
// begin with, one PvD on each link. The link and the PvD are named as the LAN; the PvD's ID
// is the LAN's domain. Links that a test adds or removes by itself are its own affair;
// PvDs that it adds, changes or removes are watched all the same.
type Host struct {
	// Host is the stack under test.
	Host *stack.Host

	lab   *Lab
	name  string
	refs  map[string]pvd.Ref // by LAN
	links map[string]*Link   // by LAN

	owners *owners
	stop   context.CancelFunc
	wg     sync.WaitGroup
}

// A Link is a link of a host under test, by which faults are injected.
type Link struct {
	lab   *Lab
	name  string
	cable *cable
	seen  *senders
}

// Host makes a host with a link and a PvD on each of the named LANs, with an address of
// each of the LAN's prefixes, its routers, its name servers and its domain as they are by
// now. It does not wait for duplicate address detection: Await does.
func (l *Lab) Host(lans ...string) *Host {
	l.tb.Helper()
	l.mu.Lock()
	name := fmt.Sprintf("host%d", len(l.hosts)+1)
	l.mu.Unlock()
	s, err := stack.New(stack.Config{Clock: l.clock, Logger: l.log.With("host", name), Secret: l.secret(name)})
	if err != nil {
		l.tb.Fatalf("pvdtest: %s: %v", name, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	h := &Host{
		Host: s, lab: l, name: name, stop: stop,
		refs: make(map[string]pvd.Ref), links: make(map[string]*Link), owners: newOwners(),
	}
	// Ends with stop.
	h.wg.Go(func() { h.owners.watch(ctx, s) })
	l.mu.Lock()
	l.hosts = append(l.hosts, h)
	l.mu.Unlock()
	for _, lan := range lans {
		if err := h.join(lan); err != nil {
			l.tb.Fatalf("pvdtest: %s: %s: %v", name, lan, err)
		}
	}
	return h
}

// join gives the host a link and a PvD on a LAN.
func (h *Host) join(lan string) error {
	h.lab.mu.Lock()
	n := h.lab.lans[lan]
	h.lab.mu.Unlock()
	switch {
	case n == nil:
		return fmt.Errorf("no such LAN")
	case h.links[lan] != nil:
		return fmt.Errorf("named twice")
	}
	ps, err := n.lease(h.name)
	if err != nil {
		return err
	}
	if err := h.plug(n); err != nil {
		return err
	}
	config := n.config(lan, ps)
	config.ID, config.Name = pvd.ID(n.Domain()), lan
	ref, err := h.Host.Add(context.Background(), config)
	if err != nil {
		return err
	}
	h.refs[lan] = ref
	h.owners.sample(h.Host)
	h.lab.note("host joined", "host", h.name, "lan", lan, "pvd", ref, "addrs", ps)
	return nil
}

// plug gives the host a link on a LAN.
func (h *Host) plug(n *LAN) error {
	seen := newSenders()
	c, err := h.lab.cable(n, n.name+"/"+h.name, func(dir tun.Direction, bufs [][]byte, m tun.Meta) {
		if seen.observe(dir, bufs, m) {
			h.owners.look()
		}
	})
	if err != nil {
		return err
	}
	h.links[n.name] = &Link{lab: h.lab, name: n.name, cable: c, seen: seen}
	return h.Host.AddLink(n.name, c.far)
}

// Ref returns the PvD that the host was given on a LAN, by the LAN's name or the PvD's ID,
// or one that it has learned, as Await finds it.
func (h *Host) Ref(name string) pvd.Ref {
	h.lab.tb.Helper()
	ref, err := h.find(name)
	if err != nil {
		h.lab.tb.Fatalf("pvdtest: %s is not on %q and has no such PvD: %v", h.name, name, err)
	}
	return ref
}

// In returns the network of the PvD on a LAN, ready or not.
func (h *Host) In(name string) *stack.Network {
	h.lab.tb.Helper()
	return h.Host.In(h.Ref(name))
}

// Await waits until the PvD on a LAN has what the LAN can give it, and all the lab's
// machines are there, and returns its network. The name is that of a LAN, or the ID or the
// name of a PvD that the host learns, which has to come first. Beside an address that can be
// used it needs to have what conds say: what is learned comes bit by bit. It fails the test
// if that takes longer than a duplicate address detection does.
func (h *Host) Await(name string, conds ...pvd.Condition) *stack.Network {
	h.lab.tb.Helper()
	var ref pvd.Ref
	var err error
	h.lab.Run(func() {
		ctx, cancel := h.lab.patience()
		defer cancel()
		if ref, err = h.await(ctx, name, conds); err == nil {
			err = h.lab.awaitMachines(ctx)
		}
	})
	if err != nil {
		h.lab.tb.Fatalf("pvdtest: %s: %v", h.name, err)
	}
	return h.Host.In(ref)
}

// conditions are what there has to be, given what the PvD was configured with.
func (h *Host) conditions(ref pvd.Ref) []pvd.Condition {
	info, err := h.Host.Info(ref)
	if err != nil {
		return nil // WaitReady will say why
	}
	var conds []pvd.Condition
	addrs, _ := pvd.Addresses.Get(info)
	for _, v6 := range []bool{false, true} {
		cond := map[bool]pvd.Condition{false: pvd.HasAddr4, true: pvd.HasAddr6}[v6]
		if slices.ContainsFunc(addrs, func(a pvd.AddressInfo) bool {
			return a.Prefix.Addr().Is6() == v6 && !a.Prefix.Addr().IsLinkLocalUnicast()
		}) {
			conds = append(conds, cond)
		}
	}
	return conds
}

// Link returns the host's link on a LAN.
func (h *Host) Link(lan string) *Link {
	h.lab.tb.Helper()
	l := h.links[lan]
	if l == nil {
		h.lab.tb.Fatalf("pvdtest: %s has no link on %q", h.name, lan)
	}
	return l
}

// Impair makes i befall what passes the link from now on, both ways. The zero Impairment
// ends it.
func (l *Link) Impair(i tun.Impairment) {
	l.lab.tb.Helper()
	l.ImpairOut(i)
	l.ImpairIn(i)
}

// ImpairOut makes i befall what the host sends.
func (l *Link) ImpairOut(i tun.Impairment) {
	l.lab.tb.Helper()
	l.set(l.cable.out, "out", i)
}

// ImpairIn makes i befall what the host is sent.
func (l *Link) ImpairIn(i tun.Impairment) {
	l.lab.tb.Helper()
	// The far end of the cable sends what the host receives.
	l.set(l.cable.in, "in", i)
}

func (l *Link) set(end *tun.Impaired, way string, i tun.Impairment) {
	l.lab.tb.Helper()
	if err := end.Set(i, tun.Impairment{}); err != nil {
		l.lab.tb.Fatalf("pvdtest: %v", err)
	}
	i.Drop = nil // a function says nothing in a log
	l.lab.note("impaired", "link", l.name, "way", way, "by", fmt.Sprintf("%+v", i))
}

// Counters returns what has befallen the frames that the host has sent and was sent.
func (l *Link) Counters() (out, in tun.ImpairCounters) {
	out, _ = l.cable.out.Counters()
	in, _ = l.cable.in.Counters()
	return out, in
}

// describe writes what the host consists of.
func (h *Host) describe(w io.Writer) error {
	s := h.Host.Stats()
	for _, ref := range h.Host.List() {
		info, err := h.Host.Info(ref)
		if err != nil {
			continue // removed since
		}
		addrs, _ := pvd.Addresses.Get(info)
		routes, _ := pvd.Routes.Get(info)
		servers, _ := pvd.DNSServers.Get(info)
		search, _ := pvd.DNSSearch.Get(info)
		_, err = fmt.Fprintf(w, "%v %s id=%q version=%d\n  addresses %v\n  routes %v\n  dns %v search %v\n  counters %v\n",
			ref, info.Name(), info.ID(), info.Version(), addrs, routes, servers, search, s.PvDs[info.Name()])
		if err != nil {
			return err
		}
	}
	for name, counts := range s.Links {
		if _, err := fmt.Fprintf(w, "link %s %v\n", name, counts); err != nil {
			return err
		}
	}
	return nil
}

// close ends the host under test, which must not hang.
func (h *Host) close() {
	h.stop()
	h.wg.Wait()
	done := make(chan error, 1)
	go func() { done <- h.Host.Close() }()
	select {
	case err := <-done:
		if err != nil {
			h.lab.tb.Errorf("pvdtest: closing %s: %v", h.name, err)
		}
	case <-time.After(closeTimeout):
		h.lab.tb.Errorf("pvdtest: closing %s takes longer than %v", h.name, closeTimeout)
	}
}
