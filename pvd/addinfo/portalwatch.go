package addinfo

import (
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A PortalState says what has become of asking a captive portal's API.
type PortalState string

// The states of asking an API.
const (
	// PortalWaiting: it has not answered yet.
	PortalWaiting PortalState = "waiting"
	// PortalKnown: it has answered.
	PortalKnown PortalState = "known"
	// PortalNone: the network says that it has no captive portal.
	PortalNone PortalState = "none"
	// PortalFailed: it must not be used, as though there were none (RFC 8908 section 4.1).
	PortalFailed PortalState = "failed"
)

// A PortalReport is what has become of asking a captive portal's API. An answer stays in
// force when a later request fails (RFC 8908 section 5): then the state is PortalKnown and
// Reason says what has failed.
type PortalReport struct {
	State  PortalState
	Reason Reason
	Detail string
	Failed time.Time // when the last failure was
}

// String returns the report in a line.
func (r PortalReport) String() string { return line(string(r.State), r.Reason, r.Detail) }

// A PortalWatch decides when the API of a PvD's captive portal is asked, and keeps what it
// has said last. Its owner does as that of a [Schedule]. Its methods must not be called
// concurrently.
type PortalWatch struct {
	clock pvd.Clock
	api   string
	ready bool
	epoch int // of the API

	asked    bool
	lastAsk  time.Duration
	inFlight bool
	want     bool
	wantAt   time.Duration
	again    bool // asked for while a request is under way
	retries  int

	state  PortalState
	answer *PortalAnswer
	fault  *Fault
	at     time.Time
}

// A PortalRequest asks the API at URL, by [Fetcher.Portal].
type PortalRequest struct {
	URL   string
	epoch int
}

// NewPortalWatch returns a PortalWatch that knows of no API.
func NewPortalWatch(clock pvd.Clock) *PortalWatch { return &PortalWatch{clock: clock} }

// SetAPI gives the URL that the network has for the API, as it came; "" if it has none,
// [Unrestricted] if it says that there is no captive portal. A different URL starts over.
func (w *PortalWatch) SetAPI(url string) {
	if url != w.api {
		w.api = url
		w.Reset()
	}
}

// Reset starts over with the same URL: the link is attached anew.
func (w *PortalWatch) Reset() {
	w.epoch++
	w.asked, w.inFlight, w.want, w.again, w.retries = false, false, false, false, 0
	w.answer, w.fault = nil, nil
	switch w.api {
	case "":
		w.state = ""
	case Unrestricted:
		w.state = PortalNone
	default:
		w.state = PortalWaiting
		w.wish(w.clock.Monotonic())
	}
}

// SetReady says whether the PvD can be used. Without that the API is not asked.
func (w *PortalWatch) SetReady(ready bool) { w.ready = ready }

// Ask makes the API be asked soon: somebody has been at the portal, or wants to know.
func (w *PortalWatch) Ask() {
	if w.inFlight {
		w.again = true
		return
	}
	if w.state == PortalWaiting || w.state == PortalKnown {
		w.wish(w.clock.Monotonic())
	}
}

func (w *PortalWatch) wish(at time.Duration) { w.want, w.wantAt = true, at }

// Next returns when Poll has a request, and whether it ever has unless something else
// happens. A time that is past means now.
func (w *PortalWatch) Next() (at time.Duration, ok bool) {
	if !w.want || !w.ready || w.inFlight {
		return 0, false
	}
	if w.asked {
		return max(w.wantAt, w.lastAsk+PortalMinInterval), true
	}
	return w.wantAt, true
}

// Poll returns a request if one is to be made now. The owner hands it back to Done.
func (w *PortalWatch) Poll() (PortalRequest, bool) {
	now := w.clock.Monotonic()
	if at, ok := w.Next(); !ok || now < at {
		return PortalRequest{}, false
	}
	w.want, w.inFlight, w.asked, w.lastAsk = false, true, true, now
	return PortalRequest{URL: w.api, epoch: w.epoch}, true
}

// Done takes in what has become of a request: an answer, or a *[Fault] as [Fetcher.Portal]
// returns it. It does nothing if the API has changed meanwhile.
func (w *PortalWatch) Done(r PortalRequest, a *PortalAnswer, err error) {
	if r.epoch != w.epoch || !w.inFlight {
		return
	}
	now := w.clock.Monotonic()
	w.inFlight = false
	if fault := faultOf(err); fault != nil {
		w.fail(fault, now)
	} else {
		w.state, w.answer, w.fault, w.retries = PortalKnown, a, nil, 0
		if a.Portal.Captive {
			w.wish(now + PortalCaptiveInterval)
		} else if !a.Session.Until.IsZero() {
			w.wish(now + max(0, a.Session.Until.Sub(w.clock.Now())))
		}
	}
	if w.again {
		w.again = false
		w.Ask()
	}
}

func (w *PortalWatch) fail(fault *Fault, now time.Duration) {
	if fault.Reason == Cancelled {
		w.wish(now)
		return
	}
	w.fault, w.at = fault, w.clock.Now()
	switch fault.Reason {
	case Certificate, NoRoots, BadName:
		w.state, w.answer = PortalFailed, nil
		return
	default:
	}
	w.wish(now + min(portalRetryBase<<w.retries, portalRetryMax))
	w.retries = min(w.retries+1, 16)
}

// Answer returns what the API has said last, nil if nothing is in force.
func (w *PortalWatch) Answer() *PortalAnswer { return w.answer }

// Report returns what has become of asking, and false if there is no API to ask.
func (w *PortalWatch) Report() (PortalReport, bool) {
	if w.state == "" {
		return PortalReport{}, false
	}
	r := PortalReport{State: w.state}
	if w.fault != nil {
		r.Reason, r.Detail, r.Failed = w.fault.Reason, w.fault.detail(), w.at
	}
	return r, true
}
