package pvdtest

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/addinfo"
)

func TestInfo(t *testing.T) {
	t.Parallel()
	lab := New(t)
	lan := lab.LAN("corp", "2001:db8:1::/64")
	lan.Router("2001:db8:1::1", RA{PvD: "corp.example", HTTP: true})
	lan.DNS("2001:db8:1::53", Zone{})
	s := lan.HTTPS("2001:db8:1::80", "corp.example", "portal")
	s.PvD(Info{"dnsZones": []string{"corp.example"}, "noInternet": true})
	n := lab.Host("corp").Await("corp")
	f := &addinfo.Fetcher{Dialer: n, Roots: lab.CA()}
	o, err := f.Info(t.Context(), "corp.example")
	if err != nil {
		t.Fatal(err)
	}
	if o.ID != "corp.example" || !slices.Equal(o.Zones, []string{"corp.example"}) || !*o.NoInternet ||
		len(o.Prefixes) != 1 || o.Prefixes[0].String() != "2001:db8:1::/64" || time.Until(o.Expires) < 23*time.Hour {
		t.Errorf("%+v", o)
	}
	if got := s.Asked(); !slices.Equal(got, []string{"corp.example/.well-known/pvd"}) {
		t.Errorf("asked for %v", got)
	}
	// Another object.
	s.PvD(Info{"identifier": "other.example"})
	if _, err = f.Info(t.Context(), "corp.example"); addinfo.ReasonOf(err) != addinfo.OtherID {
		t.Errorf("%v", err)
	}
	s.PvD(Info{"expires": nil})
	if _, err = f.Info(t.Context(), "corp.example"); addinfo.ReasonOf(err) != addinfo.MissingKey {
		t.Errorf("%v", err)
	}
	s.Handle(WellKnownPvD, nil)
	if _, err = f.Info(t.Context(), "corp.example"); addinfo.ReasonOf(err) != addinfo.BadStatus {
		t.Errorf("%v", err)
	}
	s.Portal("/api", map[string]any{"captive": true, "user-portal-url": "https://portal.corp.example/login"})
	a, err := f.Portal(t.Context(), "https://portal.corp.example/api")
	if err != nil || !a.Portal.Captive {
		t.Errorf("%+v %v", a, err)
	}
	lab.AssertIsolated()
}

func TestInfoFaults(t *testing.T) {
	t.Parallel()
	lab := New(t)
	lan := lab.LAN("corp", "2001:db8:1::/64")
	lan.DNS("2001:db8:1::53", Zone{})
	s := lan.HTTPS("2001:db8:1::80", "pvd.corp.example")
	s.PvD(nil)
	n := lab.Host("corp").Await("corp")
	f := &addinfo.Fetcher{Dialer: n, Roots: lab.CA()}
	for fault, want := range map[Fault]addinfo.Reason{
		OtherName: addinfo.Certificate, WildcardName: addinfo.Certificate, Outdated: addinfo.Certificate,
		Stranger: addinfo.Certificate, ServerError: addinfo.BadStatus, WrongType: addinfo.BadType,
		Huge: addinfo.TooLarge, CutShort: addinfo.HTTP, Stalled: addinfo.Cancelled, NoFault: "",
	} {
		s.Break(fault)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if fault != Stalled {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), getTimeout)
		}
		_, err := f.Info(ctx, "pvd.corp.example")
		cancel()
		if addinfo.ReasonOf(err) != want {
			t.Errorf("%s: %v, want %q", fault, err, want)
		}
	}
	s.Break(NoFault)
	s.Handle("/", http.NotFoundHandler())
	// Its own authority only.
	other := &addinfo.Fetcher{Dialer: n, Roots: New(t).CA()}
	if _, err := other.Info(t.Context(), "pvd.corp.example"); addinfo.ReasonOf(err) != addinfo.Certificate {
		t.Errorf("by the authority of another lab: %v", err)
	}
	lab.AssertIsolated()
}

// TestInfoManualTime fetches in a lab whose clock goes by hand.
func TestInfoManualTime(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("corp", "192.168.1.0/24")
	lan.DNS("192.168.1.53", Zone{})
	s := lan.HTTPS("192.168.1.80", "corp.example")
	s.PvD(nil)
	n := lab.Host("corp").Await("corp")
	lab.Clock.Advance(time.Hour)
	f := &addinfo.Fetcher{Dialer: n, Roots: lab.CA(), Clock: lab.Clock}
	var err error
	lab.Run(func() { _, err = f.Info(t.Context(), "corp.example") })
	if err != nil {
		t.Error(err)
	}
	for range MaxAsked {
		s.ServeHTTP(discard{}, must(http.NewRequest(http.MethodGet, "https://corp.example/", nil)))
	}
	if got := len(s.Asked()); got != MaxAsked {
		t.Errorf("%d requests remembered", got)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// TestNames changes what the name servers answer.
func TestNames(t *testing.T) {
	t.Parallel()
	lab := New(t)
	lan := lab.LAN("corp", "192.168.1.0/24")
	lan.DNS("192.168.1.53", Zone{"a": "192.168.1.1"})
	n := lab.Host("corp").Await("corp")
	lookup := func(name string) string {
		as, err := n.LookupNetIP(t.Context(), "ip4", name)
		if err != nil {
			return "none"
		}
		return as[0].String()
	}
	if got := lookup("a"); got != "192.168.1.1" {
		t.Errorf("a is %s", got)
	}
	lan.Names(Zone{"b": "192.168.1.3", "www.example.net": "192.168.1.4", "c": ""})
	for name, want := range map[string]string{"b": "192.168.1.3", "www.example.net": "192.168.1.4", "c": "none"} {
		if got := lookup(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}
