package ra

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Receive takes a packet with a router advertisement. An error, which is [ErrInvalid],
// says why nothing of it was used; what else was not used is told by Rejections only.
func (e *Engine) Receive(now time.Duration, p Packet) error {
	e.advance(now)
	a, err := e.parse(now, p)
	if err != nil {
		e.reject(now, p.Src, err.Error())
		return err
	}
	u := arrival{e: e, now: now, router: p.Src, header: a.Header}
	u.sort(a)
	if !u.open() {
		return nil
	}
	u.apply()
	d := u.d
	e.update(now, d)
	if u.defaults(d) {
		e.solicit.success()
	}
	if !d.alive(now) {
		e.bury(now)
	}
	return nil
}

func (e *Engine) parse(now time.Duration, p Packet) (Advertisement, error) {
	if err := p.CheckAdvertisement(); err != nil {
		return Advertisement{}, err
	}
	a, faults, err := ParseAdvertisement(p.Message)
	for _, f := range faults {
		e.reject(now, p.Src, f.String())
	}
	return a, err
}

func (e *Engine) reject(now time.Duration, router netip.Addr, why string) {
	e.rejected.add(now, router, why)
}

// An arrival is what one advertisement does to its PvD.
type arrival struct {
	e      *Engine
	now    time.Duration
	router netip.Addr

	header  Header
	pvd     *PvDOption
	options []Option // those of the PvD option last, so that they win

	d *domain
	r *router
}

func (u *arrival) reject(format string, args ...any) {
	u.e.reject(u.now, u.router, fmt.Sprintf(format, args...))
}

// until is when a lifetime ends that begins now.
func (u *arrival) until(life time.Duration) time.Duration {
	if life == Infinite {
		return Infinite
	}
	return u.now + life
}

// sort finds what the PvD option changes in an advertisement (RFC 8801 section 3.4).
func (u *arrival) sort(a Advertisement) {
	for _, o := range a.Options {
		if p, ok := o.(PvDOption); ok {
			u.pvd = &p
		}
	}
	if u.pvd == nil {
		u.options = a.Options
		return
	}
	if u.pvd.Header != nil {
		u.header = *u.pvd.Header
	}
	for _, o := range a.Options {
		switch o := o.(type) {
		case PvDOption:
		case PrefixInformation:
			// The two-hour rule would hold the outer lifetime against the inner one.
			if !slices.ContainsFunc(u.pvd.Options, func(in Option) bool {
				p, ok := in.(PrefixInformation)
				return ok && p.Prefix == o.Prefix
			}) {
				u.options = append(u.options, o)
			}
		default:
			u.options = append(u.options, o)
		}
	}
	u.options = append(u.options, u.pvd.Options...)
}

// open finds the advertisement's PvD and router or, where there is room, adds them.
func (u *arrival) open() bool {
	key := Key{Router: u.router}
	if u.pvd != nil {
		key = Key{ID: u.pvd.ID}
	}
	e := u.e
	if i := slices.IndexFunc(e.domains, func(d *domain) bool { return d.key == key }); i >= 0 {
		u.d = e.domains[i]
		if u.r = u.d.router(u.router); u.r != nil {
			return true
		}
	}
	if u.d == nil && len(e.domains) >= MaxPvDs && !e.makeRoom(u.now, true) {
		u.reject("PvD %q: the link has %d, which is the most", key, MaxPvDs)
		return false
	}
	if e.count(func(d *domain) int { return len(d.routers) }) >= MaxRouters && !e.makeRoom(u.now, false) {
		u.reject("router for PvD %q: the link has %d, which is the most", key, MaxRouters)
		return false
	}
	if u.d != nil && !slices.Contains(e.domains, u.d) {
		u.d = nil // it made the room
	}
	if u.d == nil {
		e.instance++
		u.d = &domain{key: key, instance: e.instance, since: u.now}
		e.domains = append(e.domains, u.d)
	}
	u.r = &router{Router: Router{Addr: u.router}}
	u.d.routers = append(u.d.routers, u.r)
	return true
}

// makeRoom drops the router that has been known the longest of those that do not answer:
// where whole is set one whose PvD goes with it. It reports whether there was one.
func (e *Engine) makeRoom(now time.Duration, whole bool) bool {
	for _, d := range e.domains {
		for _, r := range d.routers {
			if !r.Unreachable || whole && len(d.routers) > 1 {
				continue
			}
			d.forget(r.Addr)
			e.update(now, d)
			e.bury(now)
			return true
		}
	}
	return false
}

// count adds up something of all PvDs.
func (e *Engine) count(of func(*domain) int) (n int) {
	for _, d := range e.domains {
		n += of(d)
	}
	return n
}

// defaults reports whether the advertisement's router is a default router now.
func (u *arrival) defaults(d *domain) bool {
	return u.r.until > u.now || slices.ContainsFunc(d.routes, func(r Route) bool {
		return r.Via == u.router && r.To.Bits() == 0
	})
}
