package addinfo

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

const api = "https://example.org/captive-portal/api/X54PD39JV"

// TestParsePortal has the examples of RFC 8908 section 6.
func TestParsePortal(t *testing.T) {
	tests := []struct {
		body string
		want PortalAnswer
	}{
		{`{
      "captive": true,
      "user-portal-url": "https://example.org/portal.html"
   }`, PortalAnswer{Portal: pvd.Portal{API: api, User: "https://example.org/portal.html", Captive: true}}},
		{`{
      "captive": false,
      "user-portal-url": "https://example.org/portal.html",
      "venue-info-url": "https://flight.example.com/entertainment",
      "seconds-remaining": 326,
      "can-extend-session": true
   }`, PortalAnswer{
			Portal:  pvd.Portal{API: api, User: "https://example.org/portal.html"},
			Session: Session{Venue: "https://flight.example.com/entertainment", CanExtend: true, Until: now.Add(326 * time.Second)},
		}},
		{`{"captive":false,"bytes-remaining":18446744073709551615,"vendor-x":{"captive":true},"Captive":1}`, PortalAnswer{
			Portal:  pvd.Portal{API: api},
			Session: Session{Bytes: math.MaxUint64, Limited: true},
		}},
		{`{"captive":false,"bytes-remaining":0,"seconds-remaining":1.5e1}`, PortalAnswer{
			Portal:  pvd.Portal{API: api},
			Session: Session{Limited: true, Until: now.Add(15 * time.Second)},
		}},
		{`{"captive":false,"seconds-remaining":1e15,"venue-info-url":"http://venue.example/"}`, PortalAnswer{
			Portal:  pvd.Portal{API: api},
			Session: Session{Venue: "http://venue.example/", Until: now.Add(maxLifetime)},
		}},
	}
	for _, tt := range tests {
		if a, err := ParsePortal([]byte(tt.body), api, now); err != nil || !reflect.DeepEqual(*a, tt.want) {
			t.Errorf("%s: %+v, %v\nwant %+v", tt.body, a, err, tt.want)
		}
	}
}

func TestParsePortalRefuses(t *testing.T) {
	tests := []struct {
		body   string
		reason Reason
	}{
		{``, BadJSON},
		{`[]`, BadJSON},
		{`{"captive":true,}`, BadJSON},
		{`{"captive":true,"captive":false}`, BadJSON},
		{`{}`, MissingKey},
		{`{"Captive":true}`, MissingKey},
		{`{"captive":"true"}`, BadValue},
		{`{"captive":1}`, BadValue},
		{`{"captive":null}`, BadValue},
	}
	for _, tt := range tests {
		if a, err := ParsePortal([]byte(tt.body), api, now); a != nil || ReasonOf(err) != tt.reason {
			t.Errorf("%s: %+v, %v, want %q", tt.body, a, err, tt.reason)
		}
	}
}

func TestParsePortalNotes(t *testing.T) {
	tests := []struct{ key, value string }{
		{"user-portal-url", `1`},
		{"user-portal-url", `""`},
		{"user-portal-url", `"http://example.org/"`},
		{"user-portal-url", `"javascript:alert(1)"`},
		{"user-portal-url", `"https:///path"`},
		{"user-portal-url", `"https://user@example.org/"`},
		{"user-portal-url", `"https://example.org/\u001b[31m"`},
		{"user-portal-url", `"https://example.org/` + strings.Repeat("x", MaxURL) + `"`},
		{"venue-info-url", `"ftp://example.org/"`},
		{"venue-info-url", `{}`},
		{"can-extend-session", `"yes"`},
		{"seconds-remaining", `"326"`},
		{"seconds-remaining", `-1`},
		{"seconds-remaining", `1.5`},
		{"seconds-remaining", `1e300`},
		{"bytes-remaining", `true`},
		{"bytes-remaining", `-0.5`},
		{"bytes-remaining", `18446744073709551616`},
	}
	for _, tt := range tests {
		a, err := ParsePortal([]byte(fmt.Sprintf(`{"captive":true,%q:%s}`, tt.key, tt.value)), api, now)
		if err != nil || a.Portal != (pvd.Portal{API: api, Captive: true}) || a.Session != (Session{}) || len(a.Notes) != 1 || a.Notes[0].Where != tt.key {
			t.Errorf("%s %s: %+v, %v", tt.key, tt.value, a, err)
		}
	}
}

// portalBench is a PortalWatch in virtual time.
type portalBench struct {
	t     *testing.T
	clock *testClock
	w     *PortalWatch
}

func newPortalBench(t *testing.T) *portalBench {
	b := &portalBench{t: t, clock: newClock()}
	b.w = NewPortalWatch(b.clock)
	return b
}

// after holds that the next request is to be made in exactly d, and makes it.
func (b *portalBench) after(d time.Duration) PortalRequest {
	b.t.Helper()
	at, ok := b.w.Next()
	if !ok {
		b.t.Fatalf("nothing will ever be asked, want it in %v", d)
	}
	if wait := max(0, at-b.clock.Monotonic()); wait != d {
		b.t.Errorf("the next is in %v, want %v", wait, d)
	}
	if d > 0 {
		b.clock.advance(d - 1)
		if _, ok := b.w.Poll(); ok {
			b.t.Errorf("asked too early")
		}
		b.clock.advance(1)
	}
	r, ok := b.w.Poll()
	if !ok {
		b.t.Fatal("Next and Poll do not agree")
	}
	return r
}

func (b *portalBench) never() {
	b.t.Helper()
	if at, ok := b.w.Next(); ok {
		b.t.Errorf("the next is in %v, want none", at-b.clock.Monotonic())
	}
	if r, ok := b.w.Poll(); ok {
		b.t.Errorf("%v is asked", r)
	}
}

func (b *portalBench) state(want PortalState, reason Reason, captive any) {
	b.t.Helper()
	r, ok := b.w.Report()
	if ok != (want != "") || r.State != want || r.Reason != reason {
		b.t.Errorf("%v, want %q, reason %q", r, want, reason)
	}
	var has any
	if a := b.w.Answer(); a != nil {
		has = a.Portal.Captive
	}
	if has != captive {
		b.t.Errorf("captive: %v, want %v", has, captive)
	}
}

var (
	captive = &PortalAnswer{Portal: pvd.Portal{API: api, Captive: true}}
	free    = &PortalAnswer{Portal: pvd.Portal{API: api}}
)

func TestPortalWatch(t *testing.T) {
	b := newPortalBench(t)
	b.w.SetReady(true)
	b.never()
	b.state("", "", nil)
	b.w.SetAPI(Unrestricted)
	b.never()
	b.state(PortalNone, "", nil)
	b.w.Ask()
	b.never()

	b.w.SetReady(false)
	b.w.SetAPI(api)
	b.never()
	b.state(PortalWaiting, "", nil)
	b.w.SetReady(true)
	r := b.after(0)
	if r.URL != api {
		t.Errorf("asks %s", r.URL)
	}
	b.never() // one at a time
	b.w.Done(r, captive, nil)
	b.state(PortalKnown, "", true)
	r = b.after(PortalCaptiveInterval)
	b.w.Done(r, captive, nil)
	b.w.Ask()
	r = b.after(PortalMinInterval)
	b.w.Done(r, &PortalAnswer{Portal: free.Portal, Session: Session{Until: b.clock.Now().Add(326 * time.Second)}}, nil)
	b.state(PortalKnown, "", false)
	b.w.SetAPI(api) // again, as each router advertisement has it
	r = b.after(326 * time.Second)
	b.state(PortalKnown, "", false)
	b.w.Done(r, &PortalAnswer{Portal: free.Portal, Session: Session{Until: b.clock.Now().Add(time.Second)}}, nil)
	r = b.after(PortalMinInterval)
	b.w.Done(r, free, nil)
	b.never()
	b.clock.advance(year)
	b.w.Ask()
	r = b.after(0)
	b.w.Ask() // somebody logs in meanwhile: the answer may be too old
	b.w.Done(r, free, nil)
	r = b.after(PortalMinInterval)

	b.w.SetAPI("https://other.example/")
	b.state(PortalWaiting, "", nil)
	b.w.Done(r, captive, nil) // of the other one
	b.state(PortalWaiting, "", nil)
	r = b.after(0)
	if r.URL != "https://other.example/" {
		t.Errorf("asks %s", r.URL)
	}
	b.w.SetAPI("")
	b.never()
	b.state("", "", nil)
}

// TestPortalFailures: what was said last stays in force, and the API is asked ever less often.
func TestPortalFailures(t *testing.T) {
	b := newPortalBench(t)
	b.w.SetReady(true)
	b.w.SetAPI(api)
	r := b.after(0)
	for wait := portalRetryBase; wait < 2*portalRetryMax; wait *= 2 {
		b.w.Done(r, nil, &Fault{Reason: BadStatus, Where: "h", Detail: "status 500"})
		b.state(PortalWaiting, BadStatus, nil)
		r = b.after(min(wait, portalRetryMax))
	}
	for range 100 {
		b.w.Done(r, nil, &Fault{Reason: Timeout})
		r = b.after(portalRetryMax)
	}
	b.w.Done(r, captive, nil)
	b.state(PortalKnown, "", true)
	b.w.Done(b.after(PortalCaptiveInterval), nil, &Fault{Reason: BadJSON, Detail: "not"})
	b.state(PortalKnown, BadJSON, true)
	if r, _ := b.w.Report(); r.String() != "known: json: not" {
		t.Errorf("%q", r)
	}
	b.w.Done(b.after(portalRetryBase), nil, &Fault{Reason: Cancelled})
	b.state(PortalKnown, BadJSON, true)
	b.w.Done(b.after(PortalMinInterval), free, nil)
	b.state(PortalKnown, "", false)
}

// TestPortalCertificate: with a bad certificate it is as though there were no API.
func TestPortalCertificate(t *testing.T) {
	for _, reason := range []Reason{Certificate, NoRoots, BadName} {
		b := newPortalBench(t)
		b.w.SetReady(true)
		b.w.SetAPI(api)
		b.w.Done(b.after(0), captive, nil)
		b.w.Done(b.after(PortalCaptiveInterval), nil, &Fault{Reason: reason})
		b.state(PortalFailed, reason, nil)
		b.w.Ask()
		b.never()
		b.w.Reset()
		b.w.Done(b.after(0), captive, nil)
		b.state(PortalKnown, "", true)
	}
}
