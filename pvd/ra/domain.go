package ra

import (
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A domain is a PvD as the engine keeps it.
type domain struct {
	key      Key
	instance uint64
	since    time.Duration
	option   *PvDOption    // see PvD
	bare     time.Duration // until when the claim to DHCPv4 alone keeps the PvD

	routers  []*router
	prefixes []*prefix
	routes   []Route // those of route information options
	servers  []item[netip.Addr]
	search   []item[string]
	nat64    []item[netip.Prefix]
	resolve  []resolver

	portal     CaptivePortal
	mtu        int
	hopLimit   uint8
	reachable  time.Duration
	retransmit time.Duration

	linkLocal *address
	auto      []*autoconf

	due  time.Duration // what deadline returned last
	snap *PvD          // nil: changed since
}

// A router is one that speaks for the PvD. Until is its lifetime as a default router.
type router struct {
	Router
	until          time.Duration
	preference     pvd.Preference
	managed, other bool
}

// A prefix is one of one router.
type prefix struct {
	Prefix
	preferred time.Duration // as RFC 4862 has it; 0 where no address is to be made
	delegate  time.Duration // until when Delegation is
	heard     time.Duration // when the router last advertised it
	pause     time.Duration // the longest time that it took to advertise it again
}

// An item is anything else that one router gives for a while.
type item[T comparable] struct {
	value  T
	router netip.Addr
	until  time.Duration
}

func (d *domain) router(a netip.Addr) *router {
	for _, r := range d.routers {
		if r.Addr == a {
			return r
		}
	}
	return nil
}

func (d *domain) next() time.Duration { return d.due }

// routerAddr names a router for what is told of the PvD.
func (d *domain) routerAddr() netip.Addr {
	if len(d.routers) == 0 {
		return d.key.Router
	}
	return d.routers[0].Addr
}

// expire removes what has ended.
func (d *domain) expire(now time.Duration) {
	d.prefixes = slices.DeleteFunc(d.prefixes, func(p *prefix) bool {
		if p.OnLink <= now {
			p.OnLink = 0
		}
		p.Delegation = p.delegate > now
		return p.OnLink <= now && p.Valid <= now
	})
	d.routes = slices.DeleteFunc(d.routes, func(r Route) bool { return r.Until <= now })
	d.servers = expireItems(d.servers, now)
	d.search = expireItems(d.search, now)
	d.nat64 = expireItems(d.nat64, now)
	d.resolve = slices.DeleteFunc(d.resolve, func(r resolver) bool { return r.until <= now })
	d.routers = slices.DeleteFunc(d.routers, func(r *router) bool {
		if r.until <= now {
			r.until, r.preference = 0, pvd.Medium
		}
		return r.until <= now && d.bare <= now && !d.has(r.Addr)
	})
}

func expireItems[T comparable](items []item[T], now time.Duration) []item[T] {
	return slices.DeleteFunc(items, func(i item[T]) bool { return i.until <= now })
}

// has reports whether anything but a default route is of a router.
func (d *domain) has(a netip.Addr) bool {
	return slices.ContainsFunc(d.prefixes, func(p *prefix) bool { return p.Router == a }) ||
		slices.ContainsFunc(d.routes, func(r Route) bool { return r.Via == a }) ||
		ofRouter(d.servers, a) || ofRouter(d.search, a) || ofRouter(d.nat64, a) ||
		slices.ContainsFunc(d.resolve, func(r resolver) bool { return r.router == a })
}

func ofRouter[T comparable](items []item[T], a netip.Addr) bool {
	return slices.ContainsFunc(items, func(i item[T]) bool { return i.router == a })
}

// forget ends all that is of a router, which makes room for another.
func (d *domain) forget(a netip.Addr) {
	d.routers = slices.DeleteFunc(d.routers, func(r *router) bool { return r.Addr == a })
	if len(d.routers) == 0 {
		d.bare = 0
	}
	for _, p := range d.prefixes {
		if p.Router == a {
			p.OnLink, p.Valid, p.preferred, p.delegate = 0, 0, 0, 0
		}
	}
	d.routes = slices.DeleteFunc(d.routes, func(r Route) bool { return r.Via == a })
	d.servers = slices.DeleteFunc(d.servers, func(i item[netip.Addr]) bool { return i.router == a })
	d.search = slices.DeleteFunc(d.search, func(i item[string]) bool { return i.router == a })
	d.nat64 = slices.DeleteFunc(d.nat64, func(i item[netip.Prefix]) bool { return i.router == a })
	d.resolve = slices.DeleteFunc(d.resolve, func(r resolver) bool { return r.router == a })
}

// alive reports whether anything of the PvD is left.
func (d *domain) alive(now time.Duration) bool { return d.until() > now }

// until is when the last thing of the PvD ends. Addresses end with their prefixes.
func (d *domain) until() time.Duration {
	last := d.bare
	for _, r := range d.routers {
		last = max(last, r.until)
	}
	for _, p := range d.prefixes {
		last = max(last, p.OnLink, p.Valid)
	}
	for _, r := range d.routes {
		last = max(last, r.Until)
	}
	for _, r := range d.resolve {
		last = max(last, r.until)
	}
	return max(last, lastItem(d.servers), lastItem(d.search), lastItem(d.nat64))
}

func lastItem[T comparable](items []item[T]) (last time.Duration) {
	for _, i := range items {
		last = max(last, i.until)
	}
	return last
}

// deadline is when the next thing of the PvD ends or begins.
func (d *domain) deadline(now time.Duration) time.Duration {
	next := Infinite
	at := func(moments ...time.Duration) {
		for _, m := range moments {
			if m > now {
				next = min(next, m)
			}
		}
	}
	at(d.bare)
	for _, r := range d.routers {
		at(r.until)
	}
	for _, p := range d.prefixes {
		at(p.OnLink, p.Valid, p.delegate)
	}
	for _, r := range d.routes {
		at(r.Until)
	}
	for _, i := range d.servers {
		at(i.until)
	}
	for _, i := range d.search {
		at(i.until)
	}
	for _, i := range d.nat64 {
		at(i.until)
	}
	for _, r := range d.resolve {
		at(r.until)
	}
	for _, c := range d.auto {
		at(c.stable.Preferred, c.stable.Valid, c.regenerate)
		for _, a := range c.temporary {
			at(a.Preferred, a.Valid)
		}
	}
	return next
}
