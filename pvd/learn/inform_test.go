package learn

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

const corp pvd.ID = "corp.example"

// object is additional information that is good for a day.
func object(w *world, prefixes ...string) *addinfo.Object {
	o := &addinfo.Object{ID: corp, Expires: w.clock.Now().Add(24 * time.Hour), Zones: []string{"corp.example"}, NoInternet: new(true)}
	for _, p := range prefixes {
		o.Prefixes = append(o.Prefixes, netip.MustParsePrefix(p))
	}
	return o
}

func (w *world) status() addinfo.Report {
	w.Helper()
	r, ok := element(w.named(string(corp)), addinfo.Status)
	if !ok {
		w.Fatalf("at %v: nothing is said of additional information", w.clock.now)
	}
	return r
}

func zones(p *Proposal) []string {
	zs, _ := element(p, addinfo.DNSZones)
	return zs
}

// usual is what the router of these tests says beside its PvD option.
func usual() []ra.Option { return []ra.Option{pio("2001:db8:1::/64"), rdnss("2001:db8:1::53")} }

func TestAdditionalInformation(t *testing.T) {
	w := newWorld(t)
	one := w.router("fe80::1")
	one.says(explicit(corp), usual())
	w.wait(time.Minute)
	if _, ok := element(w.only(), addinfo.Status); ok || len(w.asked) != 0 {
		t.Fatal("it is asked for without H flag")
	}
	one.says(withInfo(1), usual())
	if len(w.asked) != 1 || w.asked[0].Instance != w.only().Instance || w.status().State != addinfo.Fetching {
		t.Fatalf("asked %v, status %v", w.asked, w.status())
	}
	w.Done(succeed(object(w, "2001:db8:1::/48"))(w.asked[0]))
	w.follow()
	no, ok := element(w.only(), pvd.NoInternet)
	if !ok || !no || !slices.Equal(zones(w.only()), []string{"corp.example"}) || w.status().State != addinfo.Valid {
		t.Errorf("%+v", w.only().Elements)
	}

	// Another sequence number: what there was ends at once, and it is asked for again after
	// a delay of at most 2^10 ms, but 10 s after the last time.
	w.wait(5 * time.Second)
	one.says(withInfo(2), usual())
	if len(zones(w.only())) != 0 || w.status().State != addinfo.Waiting || w.status().Sequence != 2 {
		t.Errorf("%+v", w.only().Elements)
	}
	w.wait(4 * time.Second)
	if len(w.asked) != 1 {
		t.Error("asked too soon")
	}
	w.wait(2100 * time.Millisecond)
	if len(w.asked) != 2 {
		t.Fatalf("asked %d times", len(w.asked))
	}
	w.Done(succeed(object(w, "2001:db8:1::/48"))(w.asked[1]))
	w.follow()
	if len(zones(w.only())) != 1 {
		t.Error("it is not in force")
	}

	// The router advertises a prefix that it does not cover.
	one.says(withInfo(2), pio("2001:db8:5::/64"))
	if len(zones(w.only())) != 0 || w.status().State != addinfo.Refused || w.status().Reason != addinfo.NotCovered {
		t.Errorf("status %v", w.status())
	}
	one.says(withInfo(2), gone("2001:db8:5::/64"))
	w.wait(time.Hour)
	one.says(withInfo(2), usual())
	w.wait(time.Hour)
	one.says(withInfo(2), usual())
	if len(zones(w.only())) != 1 {
		t.Errorf("status %v", w.status())
	}

	// It expires, and is asked for before.
	w.wait(6 * time.Hour)
	one.says(withInfo(2), usual())
	for range 30 {
		w.wait(time.Hour)
		one.says(withInfo(2), usual())
	}
	if len(w.asked) != 3 || len(zones(w.only())) != 0 || w.status().State != addinfo.Fetching {
		t.Errorf("asked %d times, status %v", len(w.asked), w.status())
	}

	// Without the flag nothing counts.
	one.says(explicit(corp), usual())
	w.Done(succeed(object(w, "2001:db8:1::/48"))(w.asked[2]))
	w.follow()
	if _, ok := element(w.only(), addinfo.Status); ok || len(zones(w.only())) != 0 {
		t.Errorf("%+v", w.only().Elements)
	}
}

// TestInformationWaitsUntilReady has requests made only by PvDs that can make them.
func TestInformationWaitsUntilReady(t *testing.T) {
	w := newWorld(t)
	w.unready = true
	w.router("fe80::1").says(withInfo(1), usual(), ra.CaptivePortal("https://portal.example/api"))
	w.wait(time.Minute)
	if len(w.asked) != 0 || w.status().State != addinfo.Waiting {
		t.Fatalf("asked %v", w.asked)
	}
	if r, ok := element(w.only(), addinfo.PortalStatus); !ok || r.State != addinfo.PortalWaiting {
		t.Errorf("portal: %v", r)
	}
	w.unready = false
	w.follow()
	if len(w.asked) != 2 {
		t.Fatalf("asked %v", w.asked)
	}
}

func TestInformationOfAnEarlierAttachment(t *testing.T) {
	w := newWorld(t)
	one := w.router("fe80::1")
	one.says(withInfo(1), usual())
	w.down()
	w.wait(time.Minute)
	w.up()
	if len(w.asked) != 2 { // the new attachment asks anew, without the pause of the old one
		t.Fatalf("asked %d times", len(w.asked))
	}
	// So it is with captive portals.
	v := newWorld(t)
	v.router("fe80::1").says(usual(), ra.CaptivePortal("https://portal.example/api"))
	v.Done(Result{request: v.asked[0], answer: &addinfo.PortalAnswer{Portal: pvd.Portal{Captive: true}}})
	v.follow()
	v.down()
	v.up()
	if _, ok := element(v.only(), pvd.CaptivePortal); ok || len(v.asked) != 2 {
		t.Errorf("the portal of before counts; asked %d times", len(v.asked))
	}

	w.Done(succeed(object(w, "2001:db8::/32"))(w.asked[0]))
	w.follow()
	if len(zones(w.only())) != 0 || w.status().State != addinfo.Fetching {
		t.Error("what was asked before counts")
	}
	w.Done(succeed(object(w, "2001:db8::/32"))(w.asked[1]))
	w.follow()
	if len(zones(w.only())) != 1 {
		t.Error("what was asked now does not count")
	}
	one.says(withInfo(1), usual())
	w.wait(verifyWait)
	// What failed is not asked for again, unless it is another attachment.
	one.says(withInfo(2), usual())
	w.wait(12 * time.Second)
	w.Done(fail(addinfo.BadJSON)(w.asked[2]))
	w.follow()
	one.says(withInfo(3), usual())
	w.wait(time.Minute)
	if len(w.asked) != 3 || w.status().State != addinfo.Failed {
		t.Fatalf("asked %d times, status %v", len(w.asked), w.status())
	}
	w.down()
	w.up()
	if len(w.asked) != 4 {
		t.Error("it is not asked for in another attachment")
	}
}

// TestInformationEndsWithItsPvD has the PvD end while it is asked for, and begin again.
func TestInformationEndsWithItsPvD(t *testing.T) {
	w := newWorld(t)
	one := w.router("fe80::1")
	server := rdnss("2001:db8::53")
	over := server
	over.Lifetime = 0
	w.dhcp4 = leases("192.0.2.9/24")
	claim := withInfo(1)
	claim.Legacy = true
	one.says(claim, server)
	w.wait(20 * time.Second)
	if len(w.asked) != 1 {
		t.Fatalf("asked %v", w.asked)
	}
	first := w.only().Instance
	one.says(leaving, explicit(corp), over)
	w.called("lab") // the lease alone
	w.Done(succeed(object(w))(w.asked[0]))
	w.follow()
	one.says(claim, server)
	w.called(string(corp))
	if w.only().Instance == first || len(zones(w.only())) != 0 {
		t.Errorf("it is not another one: %+v", w.only())
	}
	w.wait(time.Minute)
	if len(w.asked) != 2 || w.asked[1].Instance != w.only().Instance {
		t.Errorf("asked %v", w.asked)
	}
}

// TestCertificateProblemIsVisible: shared with who looks at the PvD, not just logged.
func TestCertificateProblemIsVisible(t *testing.T) {
	w := newWorld(t)
	w.fetch = fail(addinfo.Certificate)
	one := w.router("fe80::1")
	one.says(withInfo(1), usual(), ra.CaptivePortal("https://portal.example/api"))
	w.wait(time.Hour / 2)
	r := w.status()
	if r.State != addinfo.Failed || r.Reason != addinfo.Certificate || r.Detail == "" || r.Failed.IsZero() {
		t.Errorf("status %+v", r)
	}
	p, ok := element(w.only(), addinfo.PortalStatus)
	if !ok || p.State != addinfo.PortalFailed || p.Reason != addinfo.Certificate {
		t.Errorf("portal %+v", p)
	}
	if _, ok := element(w.only(), pvd.CaptivePortal); ok {
		t.Error("there is a captive portal") // RFC 8908 section 4.1: as if there were none
	}
}

// TestPortalPrecedence has three places name the API of a captive portal (RFC 8910 section 3).
func TestPortalPrecedence(t *testing.T) {
	const inRA, in6, in4 = "https://ra.example/", "https://six.example/", "https://four.example/"
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24", func(o map[byte][]byte) { o[114] = []byte(in4) })
	w.wait(20 * time.Second)
	portal := func(want string) {
		t.Helper()
		if got := w.only().origin().Portal; got != want {
			t.Errorf("portal %q, want %q", got, want)
		}
	}
	portal(in4)
	base := gives("2001:db8:1::77")
	w.dhcp6 = with6(base, 103, in6)
	one := w.router("fe80::1")
	one.says(managed, forManaged("2001:db8:1::/64"))
	w.wait(20 * time.Second)
	portal(in6)
	if !w.remarked(`DHCPv4 names "https://four.example/", which is not "https://six.example/"`) {
		t.Errorf("nobody says so: %v", w.Remarks())
	}
	one.says(managed, forManaged("2001:db8:1::/64"), ra.CaptivePortal(inRA))
	portal(inRA)
	count := func() (n uint64) {
		for _, r := range w.Remarks() {
			n += r.Count
		}
		return n
	}
	before := count()
	for range 100 {
		w.observe()
		w.Advance()
	}
	if after := count(); after != before {
		t.Errorf("%d remarks though nothing was said", after-before)
	}
}

// TestPortalIsAsked follows a captive portal's session.
func TestPortalIsAsked(t *testing.T) {
	w := newWorld(t)
	one := w.router("fe80::1")
	one.says(usual(), ra.CaptivePortal("https://portal.example/api"))
	if len(w.asked) != 1 {
		t.Fatalf("asked %v", w.asked)
	}
	answer := func(r Request, captive bool) {
		a := &addinfo.PortalAnswer{Portal: pvd.Portal{API: "https://portal.example/api", User: "https://portal.example/", Captive: captive}}
		w.Done(Result{request: r, answer: a})
		w.follow()
	}
	answer(w.asked[0], true)
	if p, ok := element(w.only(), pvd.CaptivePortal); !ok || !p.Captive {
		t.Errorf("%+v", w.only().Elements)
	}
	w.wait(10 * time.Minute)
	if len(w.asked) < 2 {
		t.Fatal("it is not asked again")
	}
	answer(w.asked[len(w.asked)-1], false)
	if p, ok := element(w.only(), pvd.CaptivePortal); !ok || p.Captive {
		t.Errorf("%+v", w.only().Elements)
	}
	n := len(w.asked)
	one.says(usual(), ra.Unrestricted)
	w.wait(10 * time.Minute)
	one.says(usual(), ra.Unrestricted)
	if r, _ := element(w.only(), addinfo.PortalStatus); len(w.asked) != n || r.State != addinfo.PortalNone {
		t.Errorf("asked %d times more, portal %v", len(w.asked)-n, r)
	}
	if _, ok := element(w.only(), pvd.CaptivePortal); ok {
		t.Error("the network says that there is none")
	}
}

func TestNoInformationUnlessConfigured(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Information = false })
	w.router("fe80::1").says(withInfo(1), usual(), ra.CaptivePortal("https://portal.example/api"))
	w.wait(time.Hour / 2)
	if len(w.asked) != 0 {
		t.Errorf("asked %v", w.asked)
	}
	if w.only().origin().Portal == "" {
		t.Error("the portal is not even known")
	}
}

// A deadEnd is a PvD's network that leads nowhere.
type deadEnd struct{}

func (deadEnd) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("it leads nowhere")
}

// TestRequestsAreMade has requests fail in the PvD's network, and be repeated.
func TestRequestsAreMade(t *testing.T) {
	w := newWorld(t)
	f := &addinfo.Fetcher{Dialer: deadEnd{}, Roots: x509.NewCertPool(), Clock: pvd.SystemClock()}
	n := 0
	w.fetch = func(r Request) Result {
		n++
		return r.Do(t.Context(), f)
	}
	w.router("fe80::1").says(withInfo(1), usual(), ra.CaptivePortal("https://portal.example/api"))
	if r := w.status(); n != 2 || r.Reason != addinfo.Unreachable || !strings.Contains(r.Detail, "leads nowhere") {
		t.Errorf("%d requests: %v", n, r)
	}
	w.wait(time.Hour / 2)
	if n < 4 {
		t.Errorf("%d requests", n)
	}
}

// TestInformationExpiresByTheTimeOfDay has a machine's other clock stand still while it sleeps.
func TestInformationExpiresByTheTimeOfDay(t *testing.T) {
	w := newWorld(t)
	w.router("fe80::1").says(withInfo(1), usual())
	o := object(w, "2001:db8::/32")
	w.Done(succeed(o)(w.asked[0]))
	w.follow()
	if len(zones(w.only())) != 1 {
		t.Fatal("it is not in force")
	}
	w.clock.slept = 25 * time.Hour
	w.follow()
	if len(zones(w.only())) != 0 {
		t.Error("it has expired and is in force")
	}
}
