package stack

import (
	"fmt"
	"slices"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// detach removes a PvD.
func (h *Host) detach(info *pvd.Info) error {
	d, err := h.domain(info.Ref())
	if err != nil {
		return err
	}
	h.mu.Lock()
	delete(h.domains, d.ref)
	h.mu.Unlock()
	return d.dismantle()
}

// dismantle takes the domain apart, in an order in which nothing hangs and peers learn
// of it: nothing new begins, blocked calls return our error, nothing more is received,
// everything is aborted while its resets can still leave, and then the stack goes.
func (d *domain) dismantle() error {
	d.gate.Lock()
	close(d.gone)
	d.gate.Unlock()
	_ = d.resolver.Close() // never fails
	d.retirement.disarm()
	d.loop.Do(func() { d.loopErr = pvd.ErrNoPvD })
	for _, j := range d.host.everyJoiner() {
		j.left(d)
	}
	nics := *d.nics.Load()
	for _, p := range nics {
		p.leaveTable()
	}
	d.host.dividePorts(nil)
	for _, p := range nics {
		p.link.quiesce()
	}
	d.endpoints.endAll(func(*socket) error { return pvd.ErrNoPvD })
	d.abort(func(tcpip.FullAddress) bool { return true })
	err := d.destroy()
	for _, p := range nics {
		p.close()
		d.removeMAC(p)
	}
	return err
}

// leaveTable has nothing more received for the port, and nothing wait to be sent by it.
// What its link's reader is just at is to be waited for.
func (p *port) leaveTable() {
	p.hurry.Store(true)
	delete(p.link.plans, p)
	if t, err := p.link.tableWith(nil, p); err == nil {
		p.link.install(t) // fewer PvDs never conflict
	}
}

func (d *domain) removeMAC(p *port) {
	s, ok := p.link.link.(tun.Station)
	if !ok || p.mac == nil {
		return
	}
	if err := s.RemoveMAC(p.mac); err != nil {
		d.log.Warn("hardware address not removed", "op", "remove", "link", p.link.name, "err", err)
	}
}

// endLost ends whatever stands on what the plan, which has just been replaced, no longer has:
// the addresses that are leaving, and links. Nothing is received for those any more.
func (d *domain) endLost(leaving []pvd.AddressInfo) {
	d.gate.Lock()
	d.gate.Unlock() //nolint:staticcheck // what came into being by the old plan is there now
	for _, p := range *d.nics.Load() {
		p.link.quiesce()
	}
	d.endpoints.endAll((*socket).lost)
	plan := d.plan.Load()
	d.abort(func(a tcpip.FullAddress) bool {
		if _, ok := plan.linkOfNIC(a.NIC); !ok && a.NIC > loopbackNIC {
			return true
		}
		return slices.ContainsFunc(leaving, func(l pvd.AddressInfo) bool {
			own := l.Prefix.Addr()
			return a.Addr == toAddr(own) && (a.NIC == d.ports[l.Link].nic || !plan.has(own))
		})
	})
}

// destroy ends the stack's goroutines, and waits for them within reason: gVisor's own
// waiting has no end.
func (d *domain) destroy() error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.stk.Destroy()
	}()
	late := make(chan struct{})
	t := d.host.clock.AfterFunc(destroyWait, func() { close(late) })
	defer t.Stop()
	select {
	case <-done:
		return nil
	case <-late:
		return fmt.Errorf("stack: PvD %s: the stack's goroutines have not ended after %v", d.name(), destroyWait)
	}
}

// abort aborts the transport endpoints whose local address matches, those that no
// application has yet or any more included, until there are none.
func (d *domain) abort(match func(tcpip.FullAddress) bool) {
	end := time.Now().Add(abortWait)
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		n := 0
		for _, list := range [][]gstack.TransportEndpoint{d.stk.RegisteredEndpoints(), d.stk.CleanupEndpoints()} {
			for _, e := range list {
				ep, ok := e.(tcpip.Endpoint)
				if !ok {
					continue
				}
				a, _ := ep.GetLocalAddress() // none yet: the zero address
				if match(a) {
					ep.Abort()
					n++
				}
			}
		}
		if n == 0 || time.Now().After(end) {
			return
		}
		time.Sleep(pause) // gVisor's workers take them down; there is nothing to wait on
	}
}
