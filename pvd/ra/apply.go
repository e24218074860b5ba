package ra

import (
	"net/netip"
	"slices"
	"time"
)

func (u *arrival) apply() {
	u.applyHeader()
	u.applyPvD()
	for _, o := range u.options {
		switch o := o.(type) {
		case LinkAddress:
			u.r.MAC = o.MAC
		case PrefixInformation:
			u.applyPrefix(o)
		case MTU:
			u.applyMTU(o)
		case RouteInformation:
			u.applyRoute(o)
		case RDNSS:
			u.d.servers = applyItems(u, "DNS server", MaxServers, o.Servers, o.Lifetime,
				func(d *domain) *[]item[netip.Addr] { return &d.servers })
		case DNSSL:
			u.d.search = applyItems(u, "search domain", MaxSearch, o.Domains, o.Lifetime,
				func(d *domain) *[]item[string] { return &d.search })
		case PREF64:
			u.d.nat64 = applyItems(u, "NAT64 prefix", MaxNAT64, []netip.Prefix{o.Prefix}, o.Lifetime,
				func(d *domain) *[]item[netip.Prefix] { return &d.nat64 })
		case EncryptedDNS:
			u.applyResolver(o)
		case CaptivePortal:
			if u.d.portal != "" && u.d.portal != o {
				u.reject("captive portal %.100q of PvD %q: another takes its place (RFC 8910 section 3)", u.d.portal, u.d.key)
			}
			u.d.portal = o
		}
	}
}

// applyHeader takes what the header specifies; what it leaves open stays (RFC 4861
// section 6.3.4).
func (u *arrival) applyHeader() {
	h, d, r := u.header, u.d, u.r
	r.Heard = u.now
	r.until, r.preference = u.now+h.Lifetime, h.Preference
	r.managed, r.other = h.Managed, h.Other
	if h.HopLimit != 0 {
		d.hopLimit = max(h.HopLimit, MinHopLimit)
		u.clamped("hop limit", h.HopLimit != d.hopLimit, h.HopLimit, d.hopLimit)
	}
	if h.Reachable != 0 {
		d.reachable = min(max(h.Reachable, MinReachable), MaxReachable)
		u.clamped("reachable time", h.Reachable != d.reachable, h.Reachable, d.reachable)
	}
	if h.Retransmit != 0 {
		d.retransmit = min(max(h.Retransmit, MinRetransmit), MaxRetransmit)
		u.clamped("retransmission timer", h.Retransmit != d.retransmit, h.Retransmit, d.retransmit)
	}
}

func (u *arrival) clamped(what string, is bool, from, to any) {
	if is {
		u.reject("%s %v: taken as %v", what, from, to)
	}
}

func (u *arrival) applyPvD() {
	u.d.bare = 0
	if u.pvd == nil {
		return
	}
	p := *u.pvd
	p.Header, p.Options = nil, nil
	if !p.HTTP { // RFC 8801 section 3.1
		p.Delay, p.Sequence = 0, 0
	}
	u.d.option = &p
	if p.Legacy {
		u.d.bare = u.now + bareLifetime
	}
}

func (u *arrival) applyMTU(o MTU) {
	switch {
	case o < MinMTU:
		u.reject("MTU %d: %d is the least", o, MinMTU)
	case u.e.cfg.MTU != 0 && int64(o) > int64(u.e.cfg.MTU):
		u.reject("MTU %d: the link's is %d", o, u.e.cfg.MTU)
	case o > maxMessage:
		u.reject("MTU %d: no packet has so much", o)
	default:
		u.d.mtu = int(o)
	}
}

// applyRoute takes a route, after the header as RFC 4191 section 3.1 has it: one to ::/0
// takes the place of what the header says.
func (u *arrival) applyRoute(o RouteInformation) {
	d := u.d
	i := slices.IndexFunc(d.routes, func(r Route) bool { return r.To == o.Prefix && r.Via == u.router })
	if o.Prefix.Bits() == 0 && o.Lifetime == 0 {
		u.r.until = 0
	}
	n := Route{To: o.Prefix, Via: u.router, Preference: o.Preference, Until: u.until(o.Lifetime)}
	switch {
	case i >= 0:
		d.routes[i] = n // what has ended is removed afterwards
	case o.Lifetime == 0:
	case u.e.count(func(d *domain) int { return len(d.routes) }) >= MaxRoutes:
		u.reject("route to %s: the link has %d, which is the most", o.Prefix, MaxRoutes)
	default:
		d.routes = append(d.routes, n)
	}
}

// applyItems takes what has a lifetime and is otherwise of no consequence here. A lifetime
// of 0 ends what this router said itself (RFC 8106 section 5, RFC 8781 section 4).
func applyItems[T comparable](u *arrival, what string, most int, values []T, life time.Duration,
	list func(*domain) *[]item[T],
) []item[T] {
	items := *list(u.d)
	total := u.e.count(func(d *domain) int { return len(*list(d)) }) - len(items)
	for _, v := range values {
		i := slices.IndexFunc(items, func(i item[T]) bool { return i.value == v && i.router == u.router })
		switch {
		case i >= 0:
			items[i].until = u.until(life)
		case life == 0:
		case total+len(items) >= most:
			u.reject("%s %v: the link has %d, which is the most", what, v, most)
		default:
			items = append(items, item[T]{v, u.router, u.until(life)})
		}
	}
	return items
}

// applyPrefix takes a prefix (RFC 4861 section 6.3.4, RFC 4862 section 5.5.3).
func (u *arrival) applyPrefix(o PrefixInformation) {
	d := u.d
	i := slices.IndexFunc(d.prefixes, func(p *prefix) bool { return p.Prefix.Prefix == o.Prefix && p.Router == u.router })
	known := i >= 0
	if !known {
		if o.Valid == 0 {
			return
		}
		if u.e.count(func(d *domain) int { return len(d.prefixes) }) >= MaxPrefixes {
			u.reject("prefix %s: the link has %d, which is the most", o.Prefix, MaxPrefixes)
			return
		}
		i = len(d.prefixes)
		d.prefixes = append(d.prefixes, &prefix{Prefix: Prefix{Prefix: o.Prefix, Router: u.router}})
	}
	p := d.prefixes[i]
	u.move(p, known)
	if known {
		p.pause = max(p.pause, u.now-p.heard)
	}
	p.heard = u.now
	p.delegate = 0
	if o.Delegation && o.Preferred > 0 {
		p.delegate = u.until(o.Preferred)
	}
	if o.OnLink {
		p.OnLink = u.until(o.Valid) // without the flag nothing is said of it
	}
	if o.Autonomous && o.Prefix.Bits() != 64 {
		u.reject("prefix %s: no addresses of it, which takes 64 bits (RFC 4862 section 5.5.3)", o.Prefix)
		o.Autonomous = false
	}
	switch {
	case o.Autonomous && p.Autonomous:
		p.preferred = u.until(o.Preferred)
		u.shorten(p, o.Valid)
	case o.Autonomous:
		p.Autonomous = true
		p.preferred, p.Valid = u.until(o.Preferred), u.until(o.Valid)
	case !p.Autonomous:
		p.Valid = u.until(o.Valid)
	}
}

// shorten applies the two-hour rule of RFC 4862 section 5.5.3 to the addresses of p.
func (u *arrival) shorten(p *prefix, valid time.Duration) {
	left := p.Valid - u.now
	switch {
	case valid > twoHours || valid > left:
		p.Valid = u.until(valid)
	case left > twoHours:
		p.Valid = u.now + twoHours
	}
}

// move deprecates the addresses that other PvDs have of a prefix that is now p's PvD's.
// RFC 8801 section 3.4 has an address belong to the PvD of the last advertisement with its
// prefix. To the letter, PvDs that share a prefix would take it from each other with each
// advertisement; and that one does not have the prefix says nothing (RFC 4861 section 9).
// So it is time that tells one from the other, and until it has, both have addresses. A
// router that names the prefix in several PvDs by turns leaves each its addresses; one that
// has named it in this PvD twice, and meanwhile not in the other though that was overdue, has
// moved it. What another router has not repeated for too long has moved too. The next
// advertisement of the other PvD with the prefix makes its addresses preferred again.
func (u *arrival) move(p *prefix, known bool) {
	for _, d := range u.e.domains {
		if d == u.d {
			continue
		}
		for _, q := range d.prefixes {
			if q.Prefix.Prefix != p.Prefix.Prefix || q.preferred <= u.now {
				continue
			}
			silent := u.now - q.heard
			moved := known && q.Router == u.router && q.heard < p.heard && silent > 2*q.pause
			if moved || silent >= moveSilence {
				q.preferred = u.now
				u.e.update(u.now, d)
			}
		}
	}
}
