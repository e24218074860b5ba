package stack

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/learn"
)

// reconcile makes the registry's PvDs of the link what the machine proposes. What is refused
// is tried again after all others: an address may have had to leave one of them first. What
// is refused all the same is tried later.
func (a *agent) reconcile() {
	again := a.retryAt != 0 && a.clock.Monotonic() >= a.retryAt
	if a.machine.Version() == a.version && !again {
		return
	}
	a.version = a.machine.Version()
	proposals := a.machine.Proposals()
	for instance, at := range a.attached {
		if !slices.ContainsFunc(proposals, func(p *learn.Proposal) bool { return p.Instance == instance }) {
			a.detach(at)
			delete(a.attached, instance)
		}
	}
	todo := slices.DeleteFunc(proposals, func(p *learn.Proposal) bool {
		at := a.attached[p.Instance]
		return at != nil && at.proposal == p && (at.refused == nil || !again)
	})
	for len(todo) > 0 {
		refused := slices.DeleteFunc(slices.Clone(todo), func(p *learn.Proposal) bool { return a.attach(p) == nil })
		if len(refused) == len(todo) {
			break
		}
		todo = refused
	}
	a.retryAt = 0
	for _, at := range a.attached {
		if at.refused != nil {
			a.retryAt = a.clock.Monotonic() + refusedRetry
		}
	}
	for _, p := range todo {
		if a.ctx.Err() == nil {
			a.log.Warn("PvD refused", "op", "learn", "pvd", p.Config().Label(), "err", a.attached[p.Instance].refused)
		}
	}
}

// attach makes a PvD what a proposal says.
func (a *agent) attach(p *learn.Proposal) error {
	at := a.attached[p.Instance]
	if at == nil {
		at = &attachment{}
		a.attached[p.Instance] = at
	}
	at.proposal = p
	c := p.Config()
	at.refused = a.host.check(c)
	switch {
	case at.refused != nil:
	case at.ref == pvd.Unspecified:
		var ref pvd.Ref
		if ref, at.refused = a.host.registry.Add(a.ctx, p.Describe); at.refused == nil {
			at.ref = ref
			a.log.Info("PvD learned", "op", "learn", "pvd", c.Label())
		}
	default:
		at.refused = a.host.registry.Update(a.ctx, at.ref, p.Describe)
	}
	return at.refused
}

// detach removes a PvD that is over.
func (a *agent) detach(at *attachment) {
	if at.ref == pvd.Unspecified {
		return
	}
	if err := a.host.registry.Remove(context.Background(), at.ref); err != nil && a.ctx.Err() == nil {
		a.log.Warn("PvD not removed", "op", "learn", "pvd", at.proposal.Config().Label(), "err", err)
		return
	}
	a.log.Info("PvD is over", "op", "learn", "pvd", at.proposal.Config().Label())
}

// observe tells the machine what has become of its PvDs.
func (a *agent) observe() {
	for instance, at := range a.attached {
		d, err := a.host.domain(at.ref)
		if err != nil {
			continue
		}
		if o := d.observation(a.link.name); !sameObservation(o, at.seen) {
			at.seen = o
			a.machine.Observe(instance, o)
		}
	}
}

// observation is what there is to say of a PvD to who has proposed it for a link.
func (d *domain) observation(link string) (o learn.Observation) {
	p := d.plan.Load()
	routable := false
	for _, a := range p.addrs {
		switch addr := a.Prefix.Addr(); {
		case a.Link != link:
		case a.State == pvd.Duplicate:
			o.Duplicate = append(o.Duplicate, addr)
		case a.State.Usable():
			o.Usable = append(o.Usable, addr)
			routable = routable || !addr.IsLinkLocalUnicast()
		}
	}
	o.Ready = routable && len(p.dns.Servers) > 0
	info := d.info.Load()
	if l, ok := p.link(link); ok {
		origin, _ := learn.Learned.Get(info)
		for _, r := range origin.Routers {
			if l.port.hopless(r) {
				o.Unreachable = append(o.Unreachable, r)
			}
		}
	}
	return o
}

func sameObservation(a, b learn.Observation) bool {
	same := slices.Equal[[]netip.Addr]
	return a.Ready == b.Ready && same(a.Usable, b.Usable) && same(a.Duplicate, b.Duplicate) && same(a.Unreachable, b.Unreachable)
}

// Discover has the PvDs of a link learned from its network from now on, instead of as any
// Discover before said. They come and go as the network says; those that are there when
// learning ends, by a zero Discovery or [Host.RemoveLink], go. PvDs added by [Host.Add] are
// not touched.
func (h *Host) Discover(link string, c Discovery) error {
	h.learning.Lock()
	defer h.learning.Unlock()
	l, ok := h.link(link)
	if !ok {
		return fmt.Errorf("stack: there is no link %q", link)
	}
	if h.isClosed() {
		return ErrClosed
	}
	var next *agent
	if c.RA || c.DHCPv4 || c.DHCPv6 {
		var err error
		if next, err = newAgent(h, l, c); err != nil {
			return fmt.Errorf("stack: %w", err)
		}
	}
	l.stopLearning()
	if next == nil {
		return nil
	}
	return next.start()
}

// stopLearning ends the link's agent, if it has one. Not on the registry's writer.
func (l *hostLink) stopLearning() {
	if a := l.agent.Swap(nil); a != nil {
		a.stop()
	}
}

// stopLearning ends all agents.
func (h *Host) stopLearning() {
	h.learning.Lock()
	defer h.learning.Unlock()
	for _, name := range h.Links() {
		if l, ok := h.link(name); ok {
			l.stopLearning()
		}
	}
}
