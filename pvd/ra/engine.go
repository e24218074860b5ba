package ra

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// A Config says how an [Engine] works.
type Config struct {
	// Link is the link's name. DNS servers with link-local addresses get it as their zone.
	Link string

	// MTU is the link's own in octets; an advertised one above it is refused. 0: not known.
	MTU int

	// Identifier makes stable addresses, the link-local ones included. Needed;
	// [StableIdentifiers] makes one.
	Identifier Identifier

	// Random returns 64 random bits. Needed; who can predict them can predict temporary
	// addresses.
	Random func() uint64

	// Temporary gives each prefix temporary addresses, too (RFC 8981), preferred and valid
	// for as long as TemporaryPreferred and TemporaryValid say. 0: a day and two.
	Temporary                          bool
	TemporaryPreferred, TemporaryValid time.Duration
}

// An Engine learns the PvDs of one link from router advertisements. It has no goroutine
// and no clock: its owner hands it packets and calls Advance at the moment that Next says.
// Moments must not go back. Its methods may not be called concurrently.
type Engine struct {
	cfg      Config
	domains  []*domain // the oldest first
	instance uint64
	solicit  solicitor
	rejected rejections

	deadline time.Duration // when something ends, or begins
	dated    bool          // deadline is right
	version  uint64
	snap     *Snapshot // nil: not made since the last change
}

// New returns an engine that knows nothing yet, and sends nothing before [Engine.LinkUp].
func New(cfg Config) (*Engine, error) {
	if cfg.Identifier == nil || cfg.Random == nil {
		return nil, errors.New("ra: an engine needs identifiers and random numbers")
	}
	if cfg.TemporaryPreferred == 0 {
		cfg.TemporaryPreferred = tempPreferred
	}
	if cfg.TemporaryValid == 0 {
		cfg.TemporaryValid = tempValid
	}
	if cfg.TemporaryPreferred <= 2*tempAdvance || cfg.TemporaryValid < cfg.TemporaryPreferred {
		return nil, fmt.Errorf("ra: temporary addresses preferred for %v and valid for %v: "+
			"more than %v are needed, and no more preferred than valid",
			cfg.TemporaryPreferred, cfg.TemporaryValid, 2*tempAdvance)
	}
	e := &Engine{cfg: cfg, snap: &Snapshot{}}
	e.solicit.random = func() float64 { return float64(cfg.Random()>>11) / (1 << 53) }
	return e, nil
}

// LinkUp begins to look for routers (RFC 4861 section 6.3.7, RFC 7559). What is known
// stays: whether it is the same link is for the owner to find out, who calls Reset if not.
func (e *Engine) LinkUp(now time.Duration) {
	e.advance(now)
	e.solicit.start(now)
}

// LinkDown ends the search for routers. Lifetimes go on.
func (e *Engine) LinkDown() { e.solicit.stop() }

// Resume is to be called when the machine has slept: what has expired goes, and routers are
// looked for as at LinkUp.
func (e *Engine) Resume(now time.Duration) { e.LinkUp(now) }

// Reset forgets all PvDs and what was rejected. The search for routers goes on as it is.
func (e *Engine) Reset() {
	if len(e.domains) > 0 {
		e.changed()
	}
	e.domains = nil
	e.rejected = rejections{}
}

// Next returns when Advance is to be called, and whether it is to be called at all. Any
// other call may change it.
func (e *Engine) Next() (at time.Duration, ok bool) {
	if !e.dated {
		e.deadline, e.dated = Infinite, true
		for _, d := range e.domains {
			e.deadline = min(e.deadline, d.next())
		}
	}
	at = min(e.deadline, e.solicit.next())
	return at, at != Infinite
}

// Advance does what is due, and reports whether a router solicitation is, which the
// caller sends ([AppendSolicitation]). It may be called at any time.
func (e *Engine) Advance(now time.Duration) (solicit bool) {
	e.advance(now)
	return e.solicit.take(now)
}

// advance ends what has expired.
func (e *Engine) advance(now time.Duration) {
	if at, ok := e.Next(); !ok || now < at || now < e.deadline {
		return
	}
	for _, d := range e.domains {
		if now >= d.next() {
			e.update(now, d)
		}
	}
	e.bury(now)
}

// update makes d what it is at this moment, after something of it may have changed.
func (e *Engine) update(now time.Duration, d *domain) {
	d.expire(now)
	e.autoconfigure(now, d)
	d.due = d.deadline(now)
	d.snap = nil
	e.changed()
}

// bury removes PvDs of which nothing is left.
func (e *Engine) bury(now time.Duration) {
	e.domains = slices.DeleteFunc(e.domains, func(d *domain) bool { return !d.alive(now) })
}

// changed notes that the last snapshot is out of date.
func (e *Engine) changed() {
	e.dated = false
	e.snap = nil
	e.version++
}

// Snapshot returns what is known.
func (e *Engine) Snapshot() *Snapshot {
	if e.snap == nil {
		s := &Snapshot{Version: e.version, PvDs: make([]*PvD, 0, len(e.domains))}
		for _, d := range e.domains {
			if d.snap == nil {
				d.snap = d.describe(e.cfg.Link)
			}
			s.PvDs = append(s.PvDs, d.snap)
		}
		e.snap = s
	}
	return e.snap
}

// Rejections returns what routers said that was not used, each kind once, the latest last,
// and how often there was any.
func (e *Engine) Rejections() (latest []Rejection, total uint64) {
	return slices.Clone(e.rejected.list), e.rejected.total
}

// SetReachable tells whether a router answers (RFC 4861 section 7.3). One that does not
// keeps what it advertised, but when there are too many routers it makes room first.
func (e *Engine) SetReachable(now time.Duration, router netip.Addr, reachable bool) {
	e.advance(now)
	for _, d := range e.domains {
		if r := d.router(router); r != nil && r.Unreachable == reachable {
			r.Unreachable = !reachable
			e.update(now, d)
		}
	}
}
