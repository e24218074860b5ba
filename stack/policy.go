package stack

import (
	"context"
	"fmt"
	"syscall"

	"github.com/pvdstack/pvdstack/pvd"
)

// SetPolicy makes p, of which it takes a copy, what the host's Apps are held to from the
// next call on; nil lets them use everything, as at first. What they have open stays as it
// is, except that sockets in [pvd.All] leave the PvDs that the App may no longer use, and
// join those that it may use now. The host itself, by [Host.In], may do everything.
//
// The error is what [pvd.Policy.Validate] finds, or [ErrClosed].
func (h *Host) SetPolicy(p *pvd.Policy) error {
	if err := p.Validate(); err != nil {
		return fmt.Errorf("stack: %w", err)
	}
	return h.do(func() error {
		h.setPolicy(p)
		h.mu.RLock()
		var all []*domain
		for _, d := range h.domains {
			all = append(all, d)
		}
		h.mu.RUnlock()
		for _, d := range all {
			h.rejoin(d)
		}
		return nil
	})
}

// setPolicy has effect on calls to come, and on those who watch.
func (h *Host) setPolicy(p *pvd.Policy) {
	h.policy.Store(p.Clone())
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.replaced != nil {
		h.replaced()
	}
	h.inForce, h.replaced = context.WithCancel(context.Background())
}

// policyInForce returns a context that ends when there is another policy.
func (h *Host) policyInForce() context.Context {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.inForce
}

// rejoin has the sockets in all PvDs join d or leave it, as policy has it now. It runs on
// the registry's writer.
func (h *Host) rejoin(d *domain) {
	for _, j := range h.everyJoiner() {
		if err := j.join(d); err != nil {
			d.log.Error("a listener in all PvDs can not be in this one", "op", "policy", "err", err)
		}
	}
}

// permission returns what policy lets the application do with a PvD. No application is the
// host itself.
func (a *App) permission(i *pvd.Info) pvd.Permission {
	if a == nil {
		return pvd.Allowed
	}
	return a.host.policy.Load().Permission(a.name, i)
}

// permit returns why the application may not use d now, nil if it may.
func (a *App) permit(d *domain) error {
	if a == nil {
		return nil
	}
	p := a.host.policy.Load()
	if p == nil {
		return nil
	}
	switch p.Permission(a.name, d.info.Load()) {
	case pvd.Allowed:
	case pvd.Hidden:
		return pvd.ErrNoPvD
	default:
		return syscall.EACCES
	}
	if !p.MayBridge(a.name) && a.isElsewhere(d.ref) {
		return syscall.EACCES
	}
	return nil
}

// mayBridge reports whether the application may be in several PvDs at once.
func (a *App) mayBridge() bool {
	return a == nil || a.host.policy.Load().MayBridge(a.name)
}

// maySendAcross reports whether the application may send with a source address of one PvD
// through another.
func (a *App) maySendAcross() bool {
	return a == nil || a.host.policy.Load().MaySendAcross(a.name)
}
