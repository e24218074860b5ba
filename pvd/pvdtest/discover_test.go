package pvdtest

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/stack"
)

// explicit makes two LANs that are alike, each of which says which PvD it is.
func explicit(lab *Lab) map[string]*Router {
	routers := make(map[string]*Router)
	for _, name := range []string{"corp", "home"} {
		lan := lab.LAN(name, "192.168.1.0/24", "2001:db8:1::/64")
		lan.DNS("192.168.1.53 2001:db8:1::53", Zone{"wiki": "192.168.1.80 2001:db8:1::80"})
		lan.Web("192.168.1.80 2001:db8:1::80", name)
		s := lan.HTTPS("192.168.1.81 2001:db8:1::81", name+".example")
		s.PvD(Info{"noInternet": true, "dnsZones": []string{name + ".example"}})
		routers[name] = lan.Router("192.168.1.1 2001:db8:1::1", DHCPv4{}, RA{PvD: name + ".example", Legacy: true, HTTP: true})
	}
	return routers
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	routers := explicit(lab)
	h := lab.Host()
	h.Discover("corp", "home")
	for _, name := range []string{"corp", "home"} {
		n := h.Await(name+".example", pvd.HasAddr4, pvd.HasAddr6, pvd.HasDNS)
		for _, url := range []string{"http://192.168.1.80/", "http://[2001:db8:1::80]/", "http://wiki/"} {
			lab.Run(func() { Get(t, n, url).Is(name) })
		}
		h.Await(name+".example", pvd.NewCondition("additional information", func(i *pvd.Info) bool {
			v, ok := pvd.NoInternet.Get(i)
			return ok && v
		}))
		info, err := h.Host.Info(h.Ref(name + ".example"))
		if err != nil {
			t.Fatal(err)
		}
		if zones, _ := addinfo.DNSZones.Get(info); len(zones) != 1 || zones[0] != name+".example" {
			t.Errorf("zones %v", zones)
		}
	}
	lab.AssertIsolated()
	// A change of one is none of the other's. The routers' first advertisements are over.
	lab.Clock.Advance(40 * time.Second)
	before, err := h.Host.Info(h.Ref("home.example"))
	if err != nil {
		t.Fatal(err)
	}
	routers["corp"].Advertise(RA{PvD: "corp.example", Legacy: true, DNS: "2001:db8:1::54"})
	changed := pvd.NewCondition("the other name server", func(i *pvd.Info) bool {
		servers, _ := pvd.DNSServers.Get(i)
		return slices.ContainsFunc(servers, func(s netip.AddrPort) bool { return s.Addr().String() == "2001:db8:1::54" })
	})
	h.Await("corp.example", changed)
	if now, err := h.Host.Info(h.Ref("home.example")); err != nil || now != before {
		t.Errorf("the other PvD has changed: %v is %v, %v", before, now, err)
	}
	routers["corp"].ServeDHCPv4(DHCPv4{Withdraw: true})
	routers["corp"].Advertise(RA{PvD: "corp.example", DNS: "2001:db8:1::54", Valid: time.Second, Preferred: time.Second})
	routers["corp"].Withdraw()
	lab.Clock.Advance(2*time.Hour + time.Minute) // RFC 4862 section 5.5.3 (e)
	h.AwaitGone("corp.example")
	after, err := h.Host.Info(h.Ref("home.example"))
	if err != nil {
		t.Fatal(err)
	}
	if a, b := before.Ref(), after.Ref(); a != b {
		t.Errorf("the other PvD was %v and is %v", a, b)
	}
	n := h.Await("home.example")
	lab.Run(func() { Get(t, n, "http://wiki/").Is("home") })
	lab.AssertIsolated()
}

// TestDiscoverImplicit has two routers without PvD on one LAN, whose PvDs share a lease.
func TestDiscoverImplicit(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("home", "192.168.1.0/24", "2001:db8:1::/64")
	lan.DNS("192.168.1.53 2001:db8:1::53", Zone{"wiki": "192.168.1.80 2001:db8:1::80"})
	lan.Web("192.168.1.80 2001:db8:1::80", "home")
	lan.Router("192.168.1.1 2001:db8:1::1", DHCPv4{}, RA{})
	lan.Router("192.168.1.2 2001:db8:1::2", RA{Prefixes: "2001:db8:2::/64"})
	h := lab.Host()
	h.Discover("home")
	h.Await("home", pvd.HasAddr4)
	lab.Clock.Advance(10 * time.Second)
	refs := h.Host.On("home")
	if len(refs) != 2 {
		t.Fatalf("PvDs %v", refs)
	}
	for _, ref := range refs {
		var err error
		lab.Run(func() { err = h.Host.WaitReady(t.Context(), ref, pvd.HasAddr4, pvd.HasAddr6) })
		if err != nil {
			t.Fatal(err)
		}
		for _, url := range []string{"http://192.168.1.80/", "http://[2001:db8:1::80]/"} {
			lab.Run(func() { Get(t, h.Host.In(ref), url).Is("home") })
		}
	}
	lab.AssertIsolated()
}

// TestDiscoverManaged has addresses by DHCPv6, one that is taken among them.
func TestDiscoverManaged(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("home", "2001:db8:1::/64")
	lan.DNS("2001:db8:1::53", Zone{"wiki": "2001:db8:1::80"})
	lan.Web("2001:db8:1::80", "home")
	r := lan.Router("2001:db8:1::1",
		RA{PvD: "home.example", Managed: true, Prefixes: Nothing, DNS: Nothing, Options: []ra.Option{
			ra.PrefixInformation{Prefix: netip.MustParsePrefix("2001:db8:1::/64"), OnLink: true, Valid: time.Hour, Preferred: time.Hour},
		}},
		DHCPv6{Delegate: "2001:db8:8000::/40"})
	h := lab.Host()
	h.DiscoverAs("home", stack.Discovery{RA: true, DHCPv6: true, Prefixes: true})
	n := h.Await("home.example", pvd.HasDNS, pvd.HasAddr6)
	lab.Run(func() { Get(t, n, "http://[2001:db8:1::80]/").Is("home") })
	if got := r.Leases(); len(got) != 2 {
		t.Errorf("leases %v", got)
	}
	lab.AssertIsolated()
}

func TestDiscoverErrors(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]func(*Lab){
		"no such LAN":    func(l *Lab) { l.Host().Discover("nowhere") },
		"is not on":      func(l *Lab) { l.Host().Ref("nowhere") },
		"no such PvD":    func(l *Lab) { l.Host().Await("nowhere") },
		"does not go":    func(l *Lab) { l.LAN("a", "10.0.0.0/8"); l.Host("a").AwaitGone("a.example") },
		"without a name": func(l *Lab) { l.LAN("a", "10.0.0.0/8").HTTPS("10.0.0.1") },
	} {
		var got string
		Main("errors", writer(func(b []byte) { got += string(b) }), func(tb TB) { f(New(tb, ManualTime())) })
		if !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
