// Package probe listens on a link and tells which PvDs its network would make, from what, and
// what was not used of what it says. It attaches nothing: there is no stack.
package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/tun"
)

// A Config says what to probe.
type Config struct {
	Name     string // the link's, as the rules know it
	Link     tun.Link
	Discover config.Discover
	Rules    learn.Rules
	For      time.Duration // how long to listen
	Clock    pvd.Clock
}

// A prober is one probe under way. All of it is Run's goroutine's but what frames carries.
type prober struct {
	Config
	mac     net.HardwareAddr // nil on an IP link
	machine *learn.Machine
	up      bool
	down    error // why it is not, if known
	heard   heard
	server  [6]byte // who DHCPv4 answers came from
}

// Run listens until the time is over or ctx ends, whichever comes first, gives back what it
// has leased and reports. It closes the link.
func Run(ctx context.Context, c Config) (r *Report, err error) {
	p := &prober{Config: c}
	frames := make(chan []byte, maxFrames)
	received := make(chan error, 1)
	// It ends when the link is closed.
	go func() { received <- p.receive(frames) }()
	defer func() {
		err = errors.Join(err, c.Link.Close())
		if e := <-received; !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}()
	if err := p.open(); err != nil {
		return nil, err
	}
	began := c.Clock.Monotonic()
	if err := p.listen(ctx, frames, began+c.For); err != nil {
		return nil, err
	}
	r = p.report(c.Clock.Monotonic() - began)
	p.machine.Release()
	p.speak()
	return r, nil
}

// open prepares the machine, with a hardware address and identifiers of its own that nobody
// has seen or will see again.
func (p *prober) open() error {
	if p.Link.Layer() == tun.Ethernet {
		if p.mac = p.Link.HardwareAddr(); p.mac == nil {
			p.mac = make(net.HardwareAddr, 6)
			if _, err := rand.Read(p.mac); err != nil {
				return err
			}
			p.mac[0] = p.mac[0]&^1 | 2 // one station's, administered locally
		}
		if s, ok := p.Link.(tun.Station); ok {
			if err := s.AddMAC(p.mac); err != nil {
				return err
			}
		}
	}
	secret := make([]byte, 16)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	d := p.Discover
	var err error
	p.machine, err = learn.New(learn.Config{
		Link: p.Name, HardwareAddr: p.mac, MTU: p.Link.MTU(), Secret: secret, Clock: p.Clock,
		RA: d.RA, DHCPv4: d.DHCP4, DHCPv6: d.DHCP6,
		Temporary: d.Temporary, Prefixes: d.Prefixes, IPv6Only: d.IPv6Only, Rules: p.Rules,
	})
	return err
}

// receive hands over what arrives, until the link is closed. What there is no room for is
// lost: nobody floods a link with what matters here.
func (p *prober) receive(frames chan<- []byte) error {
	buf := make([]byte, tun.MaxFrame)
	for {
		var m tun.Meta
		n, err := p.Link.Recv([][]byte{buf}, &m)
		if err != nil {
			return err
		}
		frame := buf[:n]
		if n > learn.MaxFrame || tun.Complete(frame, p.Link.Layer(), &m) != nil {
			continue
		}
		select {
		case frames <- append([]byte(nil), frame...):
		default:
		}
	}
}

// listen has the machine learn until a moment.
func (p *prober) listen(ctx context.Context, frames <-chan []byte, until time.Duration) error {
	wake := make(chan struct{}, 1)
	timer := p.Clock.AfterFunc(0, func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	defer timer.Stop()
	events := p.Link.Events()
	p.follow(tun.Event{Up: true}) // if it is not, the first event says so
	for {
		now := p.Clock.Monotonic()
		if now >= until || ctx.Err() != nil {
			return nil
		}
		p.act()
		wait := until - now
		if at, ok := p.machine.Next(); ok {
			wait = min(wait, max(0, at-now))
		}
		timer.Reset(wait)
		select {
		case f := <-frames:
			p.take(f)
		case e, ok := <-events:
			if !ok {
				return net.ErrClosed
			}
			p.follow(e)
		case <-wake:
		case <-ctx.Done():
		}
	}
}

// follow tells the machine when the link has come or gone.
func (p *prober) follow(e tun.Event) {
	p.down = e.Err
	if e.Up == p.up {
		return
	}
	if p.up = e.Up; p.up {
		p.machine.LinkUp()
	} else {
		p.machine.LinkDown()
	}
}

// take takes in a frame.
func (p *prober) take(f []byte) {
	kind := learn.KindOf(p.mac != nil, f)
	if kind == learn.Other {
		p.answer(f)
		return
	}
	if kind == learn.DHCPv4 && p.mac != nil {
		p.server = station(f)
	}
	p.heard.note(kind, f, p.mac != nil)
	p.machine.Receive(f)
}

// act does what is due. That an address is the machine's own is taken for granted: nobody is
// going to use it.
func (p *prober) act() {
	p.machine.Advance()
	for _, s := range p.machine.Proposals() {
		var own []netip.Addr
		for _, a := range s.Addresses {
			own = append(own, a.Prefix.Addr())
		}
		p.machine.Observe(s.Instance, learn.Observation{Usable: own})
	}
	p.speak()
}

func (p *prober) speak() {
	for _, f := range p.machine.Frames() {
		p.send(f)
	}
	for _, d := range p.machine.Datagrams() {
		p.datagram(d)
	}
}

// send sends a frame. Everything that matters is repeated.
func (p *prober) send(f []byte) { _ = p.Link.Send([][]byte{f}, tun.Meta{}) }

// silent says why nothing could be heard, nil if it could.
func (p *prober) silent() error {
	if p.up || len(p.heard) > 0 {
		return nil
	}
	return errors.Join(errors.New("the link is down"), p.down)
}

// Summary returns a line about the whole.
func (r *Report) Summary() string {
	n := len(r.PvDs)
	plural := "s"
	if n == 1 {
		plural = ""
	}
	return fmt.Sprintf("%d PvD%s learned on %s in %v", n, plural, r.Link, time.Duration(r.Seconds*float64(time.Second)).Round(time.Second/10))
}
