package pvdtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// Discover gives the host a link on each of the named LANs, where it has none yet, and has
// it learn there whatever there is to learn: from router advertisements, by DHCP of both
// versions, from additional information and captive portals, with the lab's authority as
// trust anchor. What it has learned is waited for by Await.
func (h *Host) Discover(lans ...string) {
	h.lab.tb.Helper()
	for _, lan := range lans {
		h.DiscoverAs(lan, stack.Discovery{RA: true, DHCPv4: true, DHCPv6: true, Information: true})
	}
}

// DiscoverAs is Discover on one LAN of what d says. Trust anchors that it does not have are
// the lab's.
func (h *Host) DiscoverAs(lan string, d stack.Discovery) {
	h.lab.tb.Helper()
	if d.Roots == nil && d.Information {
		d.Roots = h.lab.CA()
	}
	if err := h.discover(lan, d); err != nil {
		h.lab.tb.Fatalf("pvdtest: %s: %s: %v", h.name, lan, err)
	}
}

func (h *Host) discover(lan string, d stack.Discovery) error {
	if h.links[lan] == nil {
		h.lab.mu.Lock()
		n := h.lab.lans[lan]
		h.lab.mu.Unlock()
		if n == nil {
			return errors.New("no such LAN")
		}
		if err := h.plug(n); err != nil {
			return err
		}
	}
	h.lab.note("host learns", "host", h.name, "lan", lan)
	return h.Host.Discover(lan, d)
}

// find returns the PvD of a name: that of a LAN, an ID, or what a PvD is called. The name of
// a LAN on which the host learns is that of the first PvD that is there.
func (h *Host) find(name string) (pvd.Ref, error) {
	for lan, ref := range h.refs {
		if lan == name || h.lab.lans[lan].Domain() == name {
			return ref, nil
		}
	}
	ref, err := h.Host.Find(name)
	if errors.Is(err, pvd.ErrNoPvD) && h.links[name] != nil {
		if on := h.Host.On(name); len(on) > 0 {
			return on[0], nil
		}
	}
	return ref, err
}

// hasAddr is an address by which others can be reached.
var hasAddr = pvd.NewCondition("usable address", func(i *pvd.Info) bool {
	return pvd.HasAddr4.Holds(i) || pvd.HasAddr6.Holds(i)
})

// await waits until there is a PvD of the name for which all conditions hold.
func (h *Host) await(ctx context.Context, name string, conds []pvd.Condition) (pvd.Ref, error) {
	last := errors.New("there is no such PvD")
	for _, err := range h.Host.Watch(ctx, pvd.Filter{}) {
		if errors.Is(err, pvd.ErrLagged) {
			continue // what is there comes again
		}
		if err != nil {
			break
		}
		ref, err := h.find(name)
		if errors.Is(err, pvd.ErrNoPvD) {
			continue
		}
		if err != nil {
			return pvd.Null, err
		}
		all := append([]pvd.Condition{pvd.Settled, hasAddr}, conds...)
		err = h.Host.WaitReady(ctx, ref, append(all, h.conditions(ref)...)...)
		if err == nil {
			return ref, nil
		}
		last = err
		if !errors.Is(err, pvd.ErrNoPvD) {
			break
		}
	}
	return pvd.Null, fmt.Errorf("%q: %w", name, last)
}

// AwaitGone waits until there is no PvD of the name: an ID, or what it is called.
func (h *Host) AwaitGone(name string) {
	h.lab.tb.Helper()
	var err error
	h.lab.Run(func() {
		ctx, cancel := h.lab.patience()
		defer cancel()
		for _, err = range h.Host.Watch(ctx, pvd.Filter{}) {
			if err != nil && !errors.Is(err, pvd.ErrLagged) {
				return
			}
			err = nil
			if _, e := h.Host.Find(name); errors.Is(e, pvd.ErrNoPvD) {
				return
			}
		}
	})
	if err != nil {
		h.lab.tb.Fatalf("pvdtest: %s: %q does not go: %v", h.name, name, err)
	}
}
