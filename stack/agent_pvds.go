package stack

import (
	"context"
	"errors"
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
	refused := false
	for _, at := range a.attached {
		refused = refused || at.refused != nil
	}
	switch {
	case !refused:
		a.retryAt = 0
	case a.retryAt == 0 || again: // what other PvDs change meanwhile does not put it off
		a.retryAt = a.clock.Monotonic() + refusedRetry
	}
	for _, p := range todo {
		if a.ctx.Err() == nil {
			a.log.Warn("PvD refused", "op", "learn", "pvd", label(p), "err", a.attached[p.Instance].refused)
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
	had := at.ref
	if id := p.Key.ID; id != "" && a.config.Rules.Merged(id) {
		at.ref, at.refused = a.host.unions.put(a.ctx, a.host, p)
	} else {
		at.ref, at.refused = a.host.propose(a.ctx, at.ref, learn.Union{p})
	}
	if had != pvd.Unspecified && errors.Is(at.refused, pvd.ErrNoPvD) {
		at.refused = nil // somebody has removed it: it stays so until it is another attachment
	}
	if had == pvd.Unspecified && at.refused == nil {
		a.log.Info("PvD learned", "op", "learn", "pvd", label(p))
	}
	return at.refused
}

// propose makes a PvD what a union says, a new one if ref is unspecified, and returns its
// Ref.
func (h *Host) propose(ctx context.Context, ref pvd.Ref, u learn.Union) (pvd.Ref, error) {
	if err := h.check(u.Config()); err != nil {
		return ref, err
	}
	if ref == pvd.Unspecified {
		return h.registry.Add(ctx, u.Describe)
	}
	return ref, h.registry.Update(ctx, ref, u.Describe)
}

func label(p *learn.Proposal) string { return learn.Union{p}.Config().Label() }

// detach removes a PvD that is over.
func (a *agent) detach(at *attachment) {
	if at.ref == pvd.Unspecified {
		return
	}
	// The agent may be ending, but what it has learned has to go in any case.
	ctx := context.WithoutCancel(a.ctx)
	var err error
	if id := at.proposal.Key.ID; id != "" && a.config.Rules.Merged(id) {
		err = a.host.unions.drop(ctx, a.host, at.proposal)
	} else {
		err = a.host.registry.Remove(ctx, at.ref)
	}
	if err != nil && !errors.Is(err, pvd.ErrNoPvD) {
		a.log.Warn("PvD not removed", "op", "learn", "pvd", label(at.proposal), "err", err)
		return
	}
	a.log.Info("PvD is over", "op", "learn", "pvd", label(at.proposal))
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
		origins, _ := learn.Learned.Get(info)
		for _, origin := range origins {
			for _, r := range origin.Routers {
				if origin.Link == link && l.port.hopless(r) {
					o.Unreachable = append(o.Unreachable, r)
				}
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

// Remarks returns what was not used of what a link's network has said since its PvDs have
// been learned, and why: the latest of each kind. The error says that nothing is learned
// there.
func (h *Host) Remarks(link string) (remarks []learn.Remark, err error) {
	l, ok := h.link(link)
	if !ok {
		return nil, fmt.Errorf("stack: there is no link %q", link)
	}
	if a := l.agent.Load(); a != nil {
		done := make(chan struct{})
		select {
		case a.asks <- func() { remarks = a.machine.Remarks(); close(done) }:
			<-done
			return remarks, nil
		case <-a.done:
		}
	}
	return nil, fmt.Errorf("stack: link %q: nothing is learned", link)
}
