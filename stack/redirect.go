package stack

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pvdstack/pvdstack/pvd/ra"
)

// A redirectTable has what routers on a port's link have said of better first hops
// (RFC 4861 section 8.3). It is no part of the forwarding table, but changes what that says:
// a redirect counts only where the table still leads to the router that gave it.
//
// The table is replaced as a whole, so that lookups take no lock, and none where it is
// empty cost more than to see that.
type redirectTable struct {
	mu  sync.Mutex // held by who changes it
	all atomic.Pointer[map[redirectKey]redirected]
}

// A redirectKey is what a redirect is for. One to another router is for the one source it
// was sent to (RFC 8028 section 3.4). That a destination is on the link is true of all
// sources, for which the zero Addr stands.
type redirectKey struct{ src, dst netip.Addr }

// A redirected is where a redirect leads.
type redirected struct {
	hop    netip.Addr
	router netip.Addr    // what the forwarding table said, and has to say still
	source netip.Addr    // whom the redirect was sent to
	until  time.Duration // by the host's clock
}

// errNotRedirected is why a redirect that is valid in itself is not followed.
var errNotRedirected = errors.New("redirect not followed")

// redirect follows what a router on the link says, if it is the first hop from the source
// to the destination (RFC 4861 section 8.1). Anything else changes nothing, and is an error
// that says why. Weak hosts do not follow redirects: what leaves by one link may have come
// from an address on another, whose router is none of the redirect's.
//
// The hardware address in the message is not used. To resolve the target takes one more
// packet, and believes the target only.
func (p *port) redirect(r ra.Redirect) error {
	refuse := func(why string, of netip.Addr) error {
		return fmt.Errorf("stack: %w: %s from %s for %s to %s: %s: %v",
			errNotRedirected, r.Source, r.Router, r.Destination, r.Target, why, of)
	}
	t := &p.redirects
	t.mu.Lock()
	defer t.mu.Unlock()
	e := p.egress.Load() // with the lock held: whoever replaces it reviews the table afterwards
	switch _, own := e.own[r.Source]; {
	case p.mac == nil || e.weak:
		return refuse("not on this kind of link or host", r.Source)
	case !own:
		return refuse("not an address of the PvD", r.Source)
	case needsLink(r.Destination):
		return refuse("on the link by itself", r.Destination)
	}
	if _, own := e.own[r.Target]; own || p.link.table.Load().ownedByOther(r.Target, p) {
		return refuse("an address of this host", r.Target)
	}
	router, ok := p.routerFor(r.Source, r.Destination)
	if hop := p.redirected(r.Source, r.Destination, router); !ok || hop != r.Router {
		return refuse("not the first hop", r.Router)
	}
	key := redirectKey{r.Source, r.Destination}
	if r.OnLink() {
		key.src = netip.Addr{}
	}
	now := p.domain.host.clock.Monotonic()
	next := t.since(now)
	// An earlier one for the same is over, also if it was of the other kind.
	delete(next, redirectKey{r.Source, r.Destination})
	if _, again := next[key]; !again && len(next) >= maxRedirects {
		delete(next, oldestRedirect(next))
	}
	next[key] = redirected{r.Target, router, r.Source, now + redirectLifetime}
	t.store(next)
	return nil
}

// redirected returns the next hop for packets that the forwarding table sends to router:
// that one itself, or where it has redirected them to. A hop that does not answer is as
// good as none.
func (p *port) redirected(src, dst, router netip.Addr) netip.Addr {
	all := p.redirects.all.Load()
	if all == nil {
		return router
	}
	r, ok := (*all)[redirectKey{src, dst}]
	if !ok || r.router != router {
		if r, ok = (*all)[redirectKey{netip.Addr{}, dst}]; !ok {
			return router
		}
	}
	if r.until <= p.domain.host.clock.Monotonic() || p.hopless(r.hop) {
		return router
	}
	return r.hop
}

// reviewRedirects forgets the redirects of sources that are the PvD's no longer, and of
// routers that are not the first hop any more. It is called after each change of either.
func (p *port) reviewRedirects() {
	t := &p.redirects
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all.Load() == nil {
		return
	}
	own := p.egress.Load().own
	next := t.since(p.domain.host.clock.Monotonic())
	maps.DeleteFunc(next, func(k redirectKey, r redirected) bool {
		router, ok := p.routerFor(r.source, k.dst)
		_, mine := own[r.source]
		return !ok || !mine || router != r.router
	})
	t.store(next)
}

// clear forgets everything, since it may be another link now.
func (t *redirectTable) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all.Store(nil)
}

// since returns a copy of what lasts longer than now. The lock is held.
func (t *redirectTable) since(now time.Duration) map[redirectKey]redirected {
	next := make(map[redirectKey]redirected)
	if all := t.all.Load(); all != nil {
		for k, r := range *all {
			if r.until > now {
				next[k] = r
			}
		}
	}
	return next
}

// store makes a table the one that counts. The lock is held.
func (t *redirectTable) store(next map[redirectKey]redirected) {
	if len(next) == 0 {
		t.all.Store(nil)
		return
	}
	t.all.Store(&next)
}

func oldestRedirect(all map[redirectKey]redirected) redirectKey {
	return slices.MinFunc(slices.Collect(maps.Keys(all)), func(a, b redirectKey) int {
		return int(all[a].until - all[b].until)
	})
}

// redirect gives a redirect that was heard on the link to the PvD that it is for. Where
// several have the address it was sent to, it is for the one whose station src may be.
func (l *hostLink) redirect(src mac, r ra.Redirect) error {
	t := l.table.Load()
	owners := t.owners[r.Source]
	if len(owners) > 1 {
		owners = owners.hearing(t, src)
	}
	for _, p := range owners {
		if t.elsewhere[portAddr{p, r.Source}] == nil {
			return p.redirect(r)
		}
	}
	return fmt.Errorf("stack: %w: %s on link %q: no PvD's", errNotRedirected, r.Source, l.name)
}
