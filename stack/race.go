package stack

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A race connects to the one of several addresses that answers first (RFC 8305). The
// addresses come as they are found. Each has a head start before the next, which begins at
// once when one fails.
type race struct {
	*dialing

	found   chan found // never full
	sources int        // how many of those who find addresses have not said their last
	none    error      // why there are no addresses
	ready   bool       // attempts may begin

	waiting  []netip.Addr // in the order in which they are to be tried
	tried    []attempt
	outcomes chan outcome // never full
	running  int
	delayed  bool // the last attempt still has its head start
}

// found are some addresses, or that there are no more of them.
type found struct {
	addrs      []netip.Addr
	translated bool // they are not IPv4 addresses that would have to be
	over       bool
	err        error
}

// maxFound is how often something is found: addresses of two families, that these were all,
// and what IPv4 addresses are translated to, once for each time that there are some.
const maxFound = 5

// An attempt is to connect to one address.
type attempt struct {
	to       netip.Addr
	unusable bool // there was no way to it from the beginning
	err      error
}

// An outcome is what has become of an attempt.
type outcome struct {
	at  int // which
	c   net.Conn
	err error
}

// race connects to one of the host's addresses: those given, or those that its name is found
// to have. Of the errors that of the first address tells most.
func (dl *dialing) race(ctx context.Context, addrs []netip.Addr) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &race{
		dialing: dl, waiting: addrs, ready: len(addrs) > 0,
		found: make(chan found, maxFound), outcomes: make(chan outcome, maxAttempts),
	}
	defer r.finish(cancel)
	if !r.ready {
		r.lookup(ctx)
	}
	resolution, headStart := alarm{clock: dl.d.host.clock}, alarm{clock: dl.d.host.clock}
	defer resolution.stop()
	defer headStart.stop()
	for {
		if r.mayBegin(ctx) {
			r.begin(ctx)
			headStart.set(attemptDelay)
		}
		if r.over(ctx) {
			return nil, r.failure(ctx)
		}
		select {
		case f := <-r.found:
			if r.take(ctx, f); !r.ready {
				resolution.set(resolutionDelay)
			}
		case <-resolution.rang:
			resolution.stop()
			r.ready = true
		case <-headStart.rang:
			headStart.stop()
			r.delayed = false
		case o := <-r.outcomes:
			r.running--
			if o.err == nil {
				go closeLosers(r.outcomes, r.running)
				return o.c, nil
			}
			r.tried[o.at].err = o.err
			r.delayed = false
		}
	}
}

// finish ends what still runs, and waits for those who find addresses: whoever traces them is
// told before the call returns.
func (r *race) finish(cancel func()) {
	cancel()
	for r.sources > 0 {
		if f := <-r.found; f.over {
			r.sources--
		}
	}
}

// lookup has the addresses of the host's name come, those of each family as soon as they are
// known.
func (r *race) lookup(ctx context.Context) {
	r.sources++
	go func() { // ends with ctx
		err := r.d.resolver.LookupFamilies(ctx, r.family.ip(), r.host, func(addrs []netip.Addr) { r.found <- found{addrs: addrs} })
		if err != nil {
			err = r.d.lookupFailed(ctx, r.host, err)
		}
		r.found <- found{over: true, err: err}
	}()
}

// take takes what has been found. With the first addresses attempts may begin, but that those
// of IPv4 wait a moment for others of IPv6 (RFC 8305 section 3), where those are of use; and
// the other way round where the PvD's policy prefers IPv4.
func (r *race) take(ctx context.Context, f found) {
	if f.over {
		r.sources--
	}
	if f.err != nil {
		r.none = f.err
	}
	addrs := slices.DeleteFunc(f.addrs, func(a netip.Addr) bool { return !r.family.allows(a) })
	six := !f.translated && slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Is6() && !r.waitsFor4(a) })
	if !f.translated && r.translates(addrs) {
		r.sources++
		go func() { // ends with ctx
			r.found <- found{addrs: r.translate(ctx, addrs), translated: true, over: true}
		}()
	} else {
		r.add(addrs)
	}
	four := f.translated || slices.ContainsFunc(addrs, netip.Addr.Is4)
	r.ready = r.ready || six || r.sources == 0 || four && !r.waitsFor6()
}

// waitsFor6 reports whether IPv6 addresses may be preferred, so that IPv4 has to wait.
func (r *race) waitsFor6() bool {
	return r.family == anyFamily && !r.local.Addr().Is4() && !r.d.lacks(false, r.local.Addr()) && !r.prefers4(anyGlobal6)
}

// waitsFor4 reports whether IPv4 addresses may be preferred to an IPv6 one, so that this has
// to wait.
func (r *race) waitsFor4(a netip.Addr) bool {
	return r.family == anyFamily && !r.local.Addr().Is6() && !r.d.lacks(true, r.local.Addr()) && r.prefers4(a)
}

// prefers4 reports whether the PvD's policy prefers IPv4 destinations to an IPv6 one
// (RFC 6724 section 6, rule 6).
func (r *race) prefers4(a netip.Addr) bool {
	s := r.d.plan.Load().selector
	return s.Precedence(netip.IPv4Unspecified()) > s.Precedence(a)
}

// anyGlobal6 stands for IPv6 destinations that are not known yet.
var anyGlobal6 = netip.MustParseAddr("2000::")

// add puts addresses among those that are to be tried: by RFC 6724, with the families taking
// turns (RFC 8305 section 4).
func (r *race) add(addrs []netip.Addr) {
	for _, a := range addrs {
		if !slices.Contains(r.waiting, a) && !slices.ContainsFunc(r.tried, func(t attempt) bool { return t.to == a }) {
			r.waiting = append(r.waiting, a)
		}
	}
	var last netip.Addr
	if n := len(r.tried); n > 0 {
		last = r.tried[n-1].to
	}
	r.d.sortDestinations(r.local.Addr(), r.waiting)
	alternate(r.waiting, last)
}

// mayBegin reports whether it is the next address's turn.
func (r *race) mayBegin(ctx context.Context) bool {
	return r.ready && !r.delayed && len(r.waiting) > 0 && r.running < maxAttempts && ctx.Err() == nil
}

// begin tries the next address.
func (r *race) begin(ctx context.Context) {
	at, to := len(r.tried), r.waiting[0]
	r.tried = append(r.tried, attempt{to: to, unusable: r.d.target(r.d.plan.Load(), r.local.Addr(), to).Unusable})
	r.waiting = r.waiting[1:]
	r.running++
	r.delayed = true
	go func() { // ends with ctx
		c, err := r.dialOne(ctx, netip.AddrPortFrom(to, r.port))
		r.outcomes <- outcome{at, c, err}
	}()
}

// over reports whether nothing is left that could lead to a connection.
func (r *race) over(ctx context.Context) bool {
	return r.sources == 0 && r.running == 0 && (len(r.waiting) == 0 || ctx.Err() != nil)
}

// failure returns why there is no connection: the error of the first address, but of one
// that there was no way to, only if there was to none.
func (r *race) failure(ctx context.Context) error {
	if len(r.tried) > 0 {
		first := max(0, slices.IndexFunc(r.tried, func(t attempt) bool { return !t.unusable }))
		t := r.tried[first]
		return r.error(netip.AddrPortFrom(t.to, r.port), t.err)
	}
	switch {
	case len(r.waiting) > 0:
		return r.error(netip.AddrPortFrom(r.waiting[0], r.port), contextError(ctx))
	case r.none != nil:
		return r.error(netip.AddrPort{}, r.none)
	}
	return r.error(netip.AddrPort{}, &net.AddrError{Err: "no suitable address found", Addr: r.host})
}

// closeLosers closes what n attempts, which have been cancelled, connected all the same.
// It ends with the last of them.
func closeLosers(outcomes <-chan outcome, n int) {
	for range n {
		if o := <-outcomes; o.err == nil {
			_ = o.c.Close() // nobody has used it
		}
	}
}

// alternate orders addresses so that the families take turns, beginning with that of the
// first, or with the other one if the last address before them was of the first's (RFC 8305
// section 4). Within a family their order stays.
func alternate(addrs []netip.Addr, last netip.Addr) {
	var turns [2][]netip.Addr
	for _, a := range addrs {
		other := 0
		if a.Is4() != addrs[0].Is4() {
			other = 1
		}
		turns[other] = append(turns[other], a)
	}
	turn := 0
	if len(addrs) > 0 && last.IsValid() && last.Is4() == addrs[0].Is4() {
		turn = 1
	}
	for i := range addrs {
		if len(turns[turn]) == 0 {
			turn = 1 - turn
		}
		addrs[i], turns[turn] = turns[turn][0], turns[turn][1:]
		turn = 1 - turn
	}
}

// An alarm goes off once each time that it is set.
type alarm struct {
	clock pvd.Clock
	rang  chan struct{} // closed when it goes off; nil: not set
	timer pvd.Timer
}

func (a *alarm) set(d time.Duration) {
	a.stop()
	rang := make(chan struct{})
	a.rang, a.timer = rang, a.clock.AfterFunc(d, func() { close(rang) })
}

func (a *alarm) stop() {
	if a.rang != nil {
		a.timer.Stop()
		a.rang = nil
	}
}
