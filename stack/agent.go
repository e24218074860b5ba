package stack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/tun"
)

// An agent learns the PvDs of one link: it gives what arrives to a [learn.Machine], sends
// what that has to say, and has the registry make of its proposals what can be made.
type agent struct {
	host   *Host
	link   *hostLink
	log    *slog.Logger
	config Discovery
	mac    net.HardwareAddr // nil on an IP link
	clock  *wakefulClock

	frames  chan []byte // what the link's reader has for the agent
	wake    chan struct{}
	changed atomic.Bool // the link may have been down since the agent looked last
	results chan learn.Result
	asks    chan func() // what others want of the machine

	ctx    context.Context //nolint:containedctx // ends with the agent
	cancel context.CancelFunc
	done   chan struct{} // closed when run has ended

	// The rest is run's.
	machine   *learn.Machine
	up        bool
	timer     pvd.Timer
	version   uint64 // of the proposals that attached follows
	attached  map[uint64]*attachment
	retryAt   time.Duration  // when refused proposals are tried again; 0: there are none
	fetches   sync.WaitGroup // requests under way, each of which ends with ctx
	captureID int
}

// An attachment is what has become of one of the machine's PvDs.
type attachment struct {
	ref      pvd.Ref         // Unspecified: it has been refused
	proposal *learn.Proposal // the latest that was applied or refused
	refused  error
	seen     learn.Observation
}

// newAgent prepares an agent. The link's reader has frames for it once the link refers to
// it, and its goroutine is started by start.
func newAgent(h *Host, l *hostLink, c Discovery) (*agent, error) {
	a := &agent{
		host: h, link: l, log: h.log.With("link", l.name), config: c,
		clock:    &wakefulClock{Clock: h.clock, suspended: h.suspended},
		frames:   make(chan []byte, agentQueue),
		wake:     make(chan struct{}, 1),
		results:  make(chan learn.Result),
		asks:     make(chan func()),
		done:     make(chan struct{}),
		attached: make(map[uint64]*attachment),
	}
	a.clock.look()
	if l.link.Layer() == tun.Ethernet {
		if a.mac = l.link.HardwareAddr(); a.mac == nil {
			a.mac = h.stationOf("", l.name, 0)
		}
	}
	var err error
	a.machine, err = learn.New(learn.Config{
		Link: l.name, HardwareAddr: a.mac, MTU: l.link.MTU(), Secret: h.secret, Clock: a.clock,
		RA: c.RA, DHCPv4: c.DHCPv4, DHCPv6: c.DHCPv6,
		Temporary: c.Temporary, Prefixes: c.Prefixes, IPv6Only: c.IPv6Only, Information: c.Information,
		Rules: c.Rules, Lease: a.loadLease(),
	})
	if err != nil {
		return nil, err
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a, nil
}

func (a *agent) start() error {
	if s, ok := a.link.link.(tun.Station); ok && a.mac != nil {
		if err := s.AddMAC(a.mac); err != nil {
			return fmt.Errorf("stack: link %q: %w", a.link.name, err)
		}
	}
	if c := a.host.capture; c != nil {
		a.captureID = c.Interface(a.link.name, a.link.link.Layer())
	}
	a.link.agent.Store(a)
	go a.run()
	return nil
}

// stop ends the agent and the PvDs that it has learned. Not on the registry's writer.
func (a *agent) stop() {
	a.cancel()
	<-a.done
}

// poke has the agent look around: at its PvDs, the link's state and the time. It never
// waits, and may be called with any lock held.
func (a *agent) poke() {
	select {
	case a.wake <- struct{}{}:
	default: // it is about to
	}
}

// run is the agent's goroutine. It ends with ctx.
func (a *agent) run() {
	defer close(a.done)
	a.timer = a.clock.AfterFunc(0, a.poke)
	defer a.timer.Stop()
	a.followLink() // nobody need poke for a link that is up: act may stop the timer before
	for {
		a.act()
		select {
		case f := <-a.frames:
			a.receive(f)
			a.drain()
		case <-a.wake:
			if a.clock.look() {
				a.machine.Resume()
			}
			a.followLink()
			a.observe()
		case r := <-a.results:
			a.machine.Done(r)
		case f := <-a.asks:
			f()
		case <-a.ctx.Done():
			a.end()
			return
		}
	}
}

// receive takes in a frame. A redirect is for the PvD that it was sent to.
func (a *agent) receive(f []byte) {
	ethernet := a.mac != nil
	if learn.KindOf(ethernet, f) != learn.Redirect {
		a.machine.Receive(f)
		return
	}
	r, err := learn.ParseRedirect(ethernet, f)
	if err == nil && ethernet {
		err = a.link.redirect(mac(f[6:12]), r)
	}
	if err != nil {
		a.log.Debug("redirect ignored", "op", "learn", "err", err)
	}
}

// drain takes in what else has arrived, so that what follows from it is done once.
func (a *agent) drain() {
	for range agentQueue {
		select {
		case f := <-a.frames:
			a.receive(f)
		default:
			return
		}
	}
}

// act does what is due.
func (a *agent) act() {
	a.machine.Advance()
	a.speak()
	for _, r := range a.machine.Requests() {
		a.fetch(r)
	}
	a.reconcile()
	a.saveLease()
	a.setTimer()
}

// speak sends what the machine has to say.
func (a *agent) speak() {
	for _, f := range a.machine.Frames() {
		bufs := [][]byte{f}
		if err := a.link.link.Send(bufs, tun.Meta{}); err != nil {
			// Everything that matters is repeated.
			a.log.Debug("not sent", "op", "learn", "err", err)
			continue
		}
		if c := a.host.capture; c != nil {
			c.Write(a.captureID, tun.Out, a.host.clock.Now(), bufs, tun.Meta{})
		}
	}
	for _, d := range a.machine.Datagrams() {
		if err := a.sendIn(d); err != nil {
			a.log.Debug("not sent", "op", "learn", "err", err)
		}
	}
}

// sendIn sends a datagram by the routes of one of the agent's PvDs.
func (a *agent) sendIn(d learn.Datagram) error {
	at := a.attached[d.Instance]
	if at == nil || at.ref == pvd.Unspecified {
		return pvd.ErrNoPvD
	}
	c, err := a.host.In(at.ref).ListenPacket(a.ctx, "udp4", d.Src.String())
	if err != nil {
		return err
	}
	_, err = c.WriteTo(d.Payload, net.UDPAddrFromAddrPort(d.Dst))
	return errors.Join(err, c.Close())
}

// fetch makes a request in a goroutine of its own, which ends with the answer or with the
// agent.
func (a *agent) fetch(r learn.Request) {
	ref := pvd.Null // the request fails, and may be repeated
	if at := a.attached[r.Instance]; at != nil && at.ref != pvd.Unspecified {
		ref = at.ref
	}
	f := &addinfo.Fetcher{Dialer: a.host.In(ref), Roots: a.config.Roots, Clock: a.host.clock}
	a.fetches.Go(func() {
		res := r.Do(a.ctx, f)
		select {
		case a.results <- res:
		case <-a.ctx.Done():
		}
	})
}

// followLink tells the machine when the link has come or gone, also when it has gone and is
// there again: it may lead elsewhere now.
func (a *agent) followLink() {
	if a.changed.Swap(false) && a.up {
		a.up = false
		a.machine.LinkDown()
	}
	up := a.link.up.Load()
	if up == a.up {
		return
	}
	a.up = up
	if up {
		a.machine.LinkUp()
	} else {
		a.machine.LinkDown()
	}
}

func (a *agent) setTimer() {
	now := a.clock.Monotonic()
	wait := time.Duration(-1)
	sooner := func(at time.Duration) {
		if d := max(0, at-now); wait < 0 || d < wait {
			wait = d
		}
	}
	if at, ok := a.machine.Next(); ok {
		sooner(at)
	}
	if a.retryAt != 0 {
		sooner(a.retryAt)
	}
	if a.host.suspended != nil {
		sooner(now + suspendCheck)
	}
	if wait < 0 {
		a.timer.Stop()
		return
	}
	a.timer.Reset(wait)
}

// end gives leases back, unless they are kept, and removes the agent's PvDs.
func (a *agent) end() {
	a.link.agent.CompareAndSwap(a, nil)
	if a.config.Leases == nil {
		a.machine.Release()
		a.speak()
	}
	for _, at := range a.attached {
		a.detach(at)
	}
	if s, ok := a.link.link.(tun.Station); ok && a.mac != nil {
		if err := s.RemoveMAC(a.mac); err != nil {
			a.log.Debug("hardware address not removed", "op", "learn", "err", err)
		}
	}
	a.fetches.Wait()
}

// A wakefulClock goes on while the machine sleeps, as far as it has been told to look.
type wakefulClock struct {
	pvd.Clock
	suspended func() time.Duration // nil: nobody knows

	mu    sync.Mutex
	slept time.Duration
}

// look finds out whether the machine has slept since the last time.
func (c *wakefulClock) look() bool {
	if c.suspended == nil {
		return false
	}
	slept := c.suspended()
	c.mu.Lock()
	defer c.mu.Unlock()
	if slept-c.slept < minSleep {
		return false
	}
	c.slept = slept
	return true
}

func (c *wakefulClock) Monotonic() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Clock.Monotonic() + c.slept
}

// Leases keep one record for a link.

func (a *agent) loadLease() []byte {
	if a.config.Leases == nil {
		return nil
	}
	b, err := a.config.Leases.Load(a.link.name)
	if err != nil {
		a.log.Warn("no lease from before", "op", "learn", "err", err)
	}
	return b
}

func (a *agent) saveLease() {
	record, changed := a.machine.Lease()
	if !changed || a.config.Leases == nil {
		return
	}
	if err := a.config.Leases.Save(a.link.name, record); err != nil {
		a.log.Warn("lease not kept", "op", "learn", "err", err)
	}
}
