package addinfo

import (
	"crypto/rand"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Schedule decides when the additional information of the PvDs on one link is asked for,
// and which of it is in force (RFC 8801 section 4.1). It lasts for one attachment to the
// link; a new attachment begins with [Schedule.Reset].
//
// Its owner tells it what router advertisements say, calls [Schedule.Poll] when
// [Schedule.Next] says so, carries out the requests, hands in each result by
// [Schedule.Done], and looks at what is in force after any of these. Its methods must not
// be called concurrently.
type Schedule struct {
	clock pvd.Clock
	rand  *mathrand.Rand

	entries    []*entry // in the order in which they came
	recent     []time.Duration
	failures   int
	attachment int
}

// An Advert is what the last router advertisement says of a PvD and its additional
// information.
type Advert struct {
	// HasInfo is the H flag. Where it is not set nothing is asked for, and Delay and
	// Sequence do not count.
	HasInfo bool

	// Delay is between 0 and 15.
	Delay uint8

	Sequence uint16

	// Prefixes are those of all the PvD's Prefix Information options that are in force.
	Prefixes []netip.Prefix
}

// A Request asks for the additional information of a PvD, by [Fetcher.Info].
type Request struct {
	ID pvd.ID

	entry      *entry
	attachment int
}

// entry is what is known of one PvD during the attachment.
type entry struct {
	id     pvd.ID
	advert Advert
	live   bool // the PvD is there
	ready  bool // it is there and can be used

	asked    bool          // there has been a request
	lastAsk  time.Duration // when
	inFlight bool
	stale    bool // the answer under way is one to an older sequence number

	want    bool          // a request is to be made
	wantAt  time.Duration // not before this
	retries int

	failed bool // for ever
	fault  *Fault
	at     time.Time // when the fault was

	object  *Object
	expires time.Duration
	refused *Fault // why the object is not in force

	changed bool
}

// NewSchedule returns a Schedule for a new attachment. The delays are drawn from random;
// nil is a source that nobody can predict.
func NewSchedule(clock pvd.Clock, random mathrand.Source) *Schedule {
	if random == nil {
		var seed [32]byte
		_, _ = rand.Read(seed[:]) // never fails
		random = mathrand.NewChaCha8(seed)
	}
	return &Schedule{clock: clock, rand: mathrand.New(random)}
}

// Reset forgets everything, failures included: the link is attached anew. Requests that
// are under way should be cancelled; what becomes of them does not count.
func (s *Schedule) Reset() {
	s.entries, s.recent, s.failures = nil, nil, 0
	s.attachment++
}

// Update takes in what a router advertisement says of the explicit PvD id, and reports
// false if there are MaxPvDs already and it is not one of them. a is copied.
func (s *Schedule) Update(id pvd.ID, a Advert) bool {
	now := s.clock.Monotonic()
	e := s.find(id)
	if e == nil || !e.live {
		if s.live() >= MaxPvDs {
			return false
		}
		if e == nil {
			s.forget(now)
			e = &entry{id: id}
			s.entries = append(s.entries, e)
		}
		e.live, e.ready = true, false
	}
	before, refused := e.advert, e.refused != nil
	if slices.Equal(a.Prefixes, before.Prefixes) {
		a.Prefixes = before.Prefixes // nearly always
	} else {
		a.Prefixes = slices.Clone(a.Prefixes)
	}
	a.Delay = min(a.Delay, maxDelay)
	e.advert = a
	switch {
	case !a.HasInfo:
		e.drop()
		e.want, e.stale = false, e.inFlight
	case !before.HasInfo || before.Sequence != a.Sequence:
		s.renew(e, now)
	}
	s.check(e)
	if before.HasInfo != a.HasInfo || before.Sequence != a.Sequence || refused != (e.refused != nil) {
		e.changed = true
	}
	return true
}

// renew makes e ask for what is new: at once the first time, after a random delay if it has
// asked before, so that hosts do not ask all at the same time.
func (s *Schedule) renew(e *entry, now time.Duration) {
	e.drop()
	e.stale = e.inFlight
	e.retries = 0
	if !e.asked {
		e.wish(now)
		return
	}
	most := time.Millisecond << (delayBase + e.advert.Delay)
	e.wish(now + s.uniform(most))
}

// uniform returns a duration between 0 and most, both included.
func (s *Schedule) uniform(most time.Duration) time.Duration {
	return time.Duration(s.rand.Int64N(int64(most) + 1))
}

// SetReady says whether the PvD can be used: it has an address that is past duplicate
// address detection and knows whom to ask for names. Without that nothing is asked for.
func (s *Schedule) SetReady(id pvd.ID, ready bool) {
	if e := s.find(id); e != nil && e.live && e.ready != ready {
		e.ready = ready
		e.changed = true
	}
}

// Remove says that the PvD is gone. Its failure is remembered until the end of the
// attachment.
func (s *Schedule) Remove(id pvd.ID) {
	e := s.find(id)
	if e == nil || !e.live {
		return
	}
	e.drop()
	e.live, e.ready, e.want, e.stale, e.advert = false, false, false, e.inFlight, Advert{}
	e.changed = true
	s.forget(s.clock.Monotonic())
}

// Next returns when Poll has something to do, and whether it ever has unless something
// else happens. A time that is past means now.
func (s *Schedule) Next() (at time.Duration, ok bool) {
	earliest := func(t time.Duration) {
		if !ok || t < at {
			at, ok = t, true
		}
	}
	for _, e := range s.entries {
		if e.object != nil {
			earliest(e.expires)
		}
		if t, due := s.due(e); due {
			earliest(t)
		}
	}
	return at, ok
}

// Poll ends what has expired and returns the requests that are to be made now. They count
// as made. The owner hands each one back to Done, whatever becomes of it.
func (s *Schedule) Poll() (requests []Request) {
	now := s.clock.Monotonic()
	for _, e := range s.entries {
		// The time of day is looked at too, since the other clock may stand still while a
		// machine sleeps.
		if e.object != nil && (now >= e.expires || !s.clock.Now().Before(e.object.Expires)) {
			e.drop()
			if !e.inFlight {
				e.wish(min(e.wantOr(now), now))
			}
			e.changed = true
		}
	}
	for {
		e := s.first(now)
		if e == nil {
			s.forget(now)
			return requests
		}
		e.want, e.inFlight, e.stale, e.asked, e.lastAsk = false, true, false, true, now
		if len(s.recent) == MaxRequests {
			s.recent = s.recent[1:]
		}
		s.recent = append(slices.Clip(s.recent), now)
		requests = append(requests, Request{ID: e.id, entry: e, attachment: s.attachment})
		e.changed = true
	}
}

// first returns the entry whose request has been due longest.
func (s *Schedule) first(now time.Duration) (first *entry) {
	for _, e := range s.entries {
		if t, ok := s.due(e); ok && t <= now && (first == nil || e.wantAt < first.wantAt) {
			first = e
		}
	}
	return first
}

// due returns when a request for e may be made, if one is to be made.
func (s *Schedule) due(e *entry) (at time.Duration, ok bool) {
	if !e.want || !e.ready || e.inFlight || e.failed || s.stopped() {
		return 0, false
	}
	at = e.wantAt
	if e.asked {
		at = max(at, e.lastAsk+MinInterval)
	}
	if len(s.recent) == MaxRequests {
		at = max(at, s.recent[0]+RequestWindow)
	}
	return at, true
}

func (s *Schedule) stopped() bool { return s.failures >= MaxFailures }

// Done takes in what has become of a request: an object, or a *[Fault] as [Fetcher.Info]
// returns it. Results of an earlier attachment do not count.
func (s *Schedule) Done(r Request, o *Object, err error) {
	e := r.entry
	if r.attachment != s.attachment || e == nil || !e.inFlight {
		return
	}
	now := s.clock.Monotonic()
	e.inFlight = false
	stale := e.stale
	e.stale = false
	switch fault := faultOf(err); {
	case fault != nil:
		s.fail(e, fault, now)
	case stale:
		// Only that it has not failed counts.
	default:
		s.take(e, o, now)
	}
	e.changed = true
	s.forget(now)
}

// fail takes in that a request has failed.
func (s *Schedule) fail(e *entry, fault *Fault, now time.Duration) {
	if fault.Reason == Cancelled {
		// The owner gave up; if it was not for good, ask again.
		if e.live && e.advert.HasInfo && !e.want {
			e.wish(now)
		}
		return
	}
	e.fault, e.at = fault, s.clock.Now()
	if fault.Transient() && e.retries < MaxRetries {
		if !e.want {
			e.wish(now + retryBase<<e.retries)
		}
		e.retries++
		return
	}
	e.drop()
	e.want, e.failed = false, true
	if s.failures++; s.failures == MaxFailures {
		for _, other := range s.entries {
			other.want, other.changed = false, true
		}
	}
}

// take puts an object in force that has just been retrieved.
func (s *Schedule) take(e *entry, o *Object, now time.Duration) {
	life := min(o.Expires.Sub(s.clock.Now()), maxLifetime)
	e.fault, e.retries = nil, 0
	e.object, e.expires = o, now+max(life, 0)
	if life > 0 {
		e.wish(now + life/2 + s.uniform(life-life/2))
	} else {
		e.wish(now)
	}
	s.check(e)
}

// check finds out whether the object may be used with what the router advertises.
func (s *Schedule) check(e *entry) {
	e.refused = nil
	if e.object != nil {
		e.refused = e.object.uncovered(e.advert.Prefixes)
	}
}

func (e *entry) wish(at time.Duration) { e.want, e.wantAt = true, at }

// wantOr returns when e wants to ask, or else t.
func (e *entry) wantOr(t time.Duration) time.Duration {
	if e.want {
		return e.wantAt
	}
	return t
}

func (e *entry) drop() { e.object, e.refused = nil, nil }

// Object returns the additional information of a PvD that is in force, nil if there is
// none.
func (s *Schedule) Object(id pvd.ID) *Object {
	if e := s.find(id); e != nil && e.live && e.refused == nil {
		return e.object
	}
	return nil
}

// Report returns what has become of the PvD's additional information, and false if the PvD
// is not there or offers none.
func (s *Schedule) Report(id pvd.ID) (r Report, ok bool) {
	e := s.find(id)
	if e == nil || !e.live || !e.advert.HasInfo {
		return Report{}, false
	}
	r = Report{State: Waiting, Sequence: e.advert.Sequence}
	fault := e.fault
	if fault != nil {
		r.Failed = e.at
	}
	switch {
	case e.failed:
		r.State = Failed
	case e.refused != nil:
		r.State, fault = Refused, e.refused
	case e.object != nil:
		r.State = Valid
	case s.stopped():
		r.State = Stopped
	case e.inFlight:
		r.State = Fetching
	}
	if e.object != nil {
		r.Expires, r.Ignored = e.object.Expires, len(e.object.Notes)
	}
	if fault != nil {
		r.Reason, r.Detail = fault.Reason, fault.detail()
	}
	return r, true
}

// Changes returns the PvDs whose Object or Report may not be what it was when Changes was
// called last. Those that the owner has removed are not among them.
func (s *Schedule) Changes() (ids []pvd.ID) {
	for _, e := range s.entries {
		if e.live && e.changed {
			ids = append(ids, e.id)
		}
		e.changed = false
	}
	return ids
}

func (s *Schedule) find(id pvd.ID) *entry {
	i := slices.IndexFunc(s.entries, func(e *entry) bool { return e.id == id })
	if i < 0 {
		return nil
	}
	return s.entries[i]
}

func (s *Schedule) live() (n int) {
	for _, e := range s.entries {
		if e.live {
			n++
		}
	}
	return n
}

// forget drops PvDs that are gone and about which nothing has to be remembered.
func (s *Schedule) forget(now time.Duration) {
	s.entries = slices.DeleteFunc(s.entries, func(e *entry) bool {
		recent := e.asked && now < e.lastAsk+MinInterval
		return !e.live && !e.inFlight && !e.failed && !recent
	})
}
