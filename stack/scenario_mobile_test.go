package stack_test

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addrsel"
	"github.com/pvdstack/pvdstack/pvd/selection"
)

// preferIPv4 has IPv4 destinations go before IPv6 (RFC 6724 section 10.3).
func preferIPv4() pvd.Element {
	table := slices.Clone(addrsel.DefaultPolicy())
	for i := range table {
		if table[i].Prefix == netip.MustParsePrefix("::ffff:0:0/96") {
			table[i].Precedence = 100
		}
	}
	return addrsel.Key.With(addrsel.Config{Policy: table})
}

// RFC 6419 section 3.1.1. P1, P2, P5, P6, P7, P8, P9: named access points that have all
// that a connection needs; which one an application is on is fixed, or asked for, or left
// to the system within a service network.
func TestP1_P2_P5_P6_P7_P9_P55_ScenarioS60(t *testing.T) {
	e := newEquipment(t)
	gprs := e.join("gprs", pvd.Access.With("gprs"), preferIPv4())
	e.join("mms", pvd.Access.With("gprs"))
	var asked atomic.Int32
	m := e.manage(selection.Config{
		Policy: selection.Policy{Groups: []selection.Group{{Name: "internet", Members: []string{"home wlan", "gprs"}}}},
		Rules: []selection.Rule{
			{Apps: []string{"mms"}, Action: named("mms")},
			{Apps: []string{"intranet"}, Action: selection.Ask()},
			{Action: selection.Choose(selection.Require(selection.InGroup("internet")))},
		},
		Ask: func(_ context.Context, q selection.Question) (pvd.Ref, error) {
			asked.Add(1)
			i := slices.IndexFunc(q.Choices, func(i *pvd.Info) bool { return i.Name() == "mms" })
			return q.Choices[i].Ref(), nil
		},
	})
	browser, mms := e.host.App("browser"), e.host.App("mms")

	// Fixed, or by the system; the addresses are the same.
	e.reach(mms, "tcp", site4+":80", "mms tcp4")
	e.reach(browser, "tcp", site4+":80", "gprs tcp4")
	e.reach(browser, "tcp", "["+site6+"]:80", "gprs tcp6")
	// Of a dual-stack access point IPv4 is preferred, where it is set up so.
	e.reach(browser, "tcp", "site.example:80", "gprs tcp4")
	e.reach(mms, "tcp", "site.example:80", "mms tcp6")
	// DNS is that of the access point.
	if _, err := browser.LookupNetIP(t.Context(), "ip", "who.gprs.test"); err != nil {
		t.Error(err)
	}
	if addrs, err := browser.LookupNetIP(t.Context(), "ip", "who.mms.test"); err == nil {
		t.Errorf("%v from a server of another access point", addrs)
	}
	// The user is asked once.
	intranet := e.host.App("intranet")
	for range 3 {
		e.reach(intranet, "tcp", "192.168.1.1:80", "mms tcp4")
	}
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}

	// Who is on one is told of a better one, and that it is lost, and connects anew.
	next, stop := iter.Pull2(m.Follow(t.Context(), selection.Requirements{selection.Require(selection.InGroup("internet"))}))
	defer stop()
	told := func(kind selection.EventKind, ref pvd.Ref) {
		t.Helper()
		if ev, err, _ := next(); err != nil || ev.Kind != kind || ev.Ref != ref {
			t.Fatalf("%+v, %v; want %v %v", ev, err, kind, ref)
		}
	}
	told(selection.Found, gprs)
	home := e.join("home wlan", pvd.Access.With(pvd.WLAN))
	told(selection.Better, home)
	e.reach(browser, "tcp", site4+":80", "home wlan tcp4")
	e.reach(e.host.In(gprs), "tcp", site4+":80", "gprs tcp4") // who was there may stay
	e.detach(home)
	told(selection.Lost, gprs)
	e.reach(browser, "tcp", site4+":80", "gprs tcp4")
	e.detach(gprs)
	told(selection.Lost, pvd.Null)
	e.fails(browser, "tcp", site4+":80", syscall.ENETUNREACH) // and not by mms
}

// RFC 6419 section 3.1.2. P10, P11, P12, P13: connections are opened for what has to be
// reached, by cost; they are shared, closed when idle, and taken by who has priority.
func TestP10_P11_P12_P13_ScenarioWindowsMobile(t *testing.T) {
	const idle = 30 * time.Millisecond
	e := newEquipment(t)
	vpn := e.offered("vpn", "", pvd.Access.With(pvd.VPN), pvd.Groups.With([]string{"work"}))
	csd := e.offered("dial-in", "modem", pvd.Cost.With(20))
	gprs := e.offered("gprs", "modem", pvd.Cost.With(5))
	internet := selection.Require(selection.MaxCost(100))
	m := e.manage(selection.Config{
		Providers: []selection.Provider{csd, gprs, vpn},
		IdleTime:  idle,
		Policy:    selection.Policy{Criteria: []selection.Criterion{selection.Lowest(pvd.Cost)}},
		Rules: []selection.Rule{
			{Domains: []string{"corp.example"}, Action: selection.Choose(selection.Require(selection.InGroup("work"))).Opening()},
			{Action: selection.Choose(internet).Opening()},
		},
	})
	outlook, browser := e.host.App("outlook"), e.host.App("browser")
	e.reach(browser, "tcp4", site4+":80", "gprs tcp4") // the cheaper one
	e.reach(outlook, "tcp4", "intranet.corp.example:80", "vpn tcp4")
	e.eventual("idle connections close", func() bool { return len(e.host.List()) == 0 })

	// Bundled, until somebody with priority needs what can not be shared.
	request := func(app, name string, priority int) *selection.Lease {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), longest)
		defer cancel()
		l, err := m.Acquire(ctx, selection.Request{
			App: app, Priority: priority, Requirements: selection.Requirements{internet, selection.Require(selection.Named(name))},
		})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	sync, mail := request("sync", "gprs", 1), request("mail", "gprs", 1)
	if sync.Ref() != mail.Ref() {
		t.Error("the connection is not shared")
	}
	conn := mustDial(t, e.host.In(sync.Ref()), "udp4", site4+":9")
	fax := request("fax", "dial-in", 2)
	for _, l := range []*selection.Lease{sync, mail} {
		if <-l.Done(); !errors.Is(l.Err(), selection.ErrPreempted) {
			t.Error(l.Err())
		}
	}
	if _, err := conn.Write([]byte("x")); !errors.Is(err, pvd.ErrNoPvD) {
		t.Errorf("the lower priority still has its connection: %v", err)
	}
	e.reach(e.host.In(fax.Ref()), "tcp4", site4+":80", "dial-in tcp4")
	back := make(chan *selection.Lease)
	go func() {
		l, err := m.Acquire(t.Context(), selection.Request{Priority: 1, Requirements: selection.Requirements{selection.Require(selection.Named("gprs"))}})
		if err != nil {
			t.Error(err)
		}
		back <- l
	}()
	fax.Release()
	l := <-back // the conflict has cleared
	e.reach(e.host.In(l.Ref()), "tcp4", site4+":80", "gprs tcp4")

	// The selection is valid as long as the attributes are.
	e.join("wlan", pvd.Access.With(pvd.WLAN), pvd.Cost.With(7))
	e.eventual("the manager knows of wlan", func() bool {
		refs, err := m.Rank(t.Context(), selection.Requirements{selection.Require(selection.Named("wlan"))})
		return err == nil && len(refs) == 1
	})
	e.reach(browser, "tcp4", site4+":80", "gprs tcp4")
	gprs.c.Elements = []pvd.Element{pvd.Cost.With(9)} // a tariff ends
	if err := e.host.Update(t.Context(), l.Ref(), gprs.c); err != nil {
		t.Fatal(err)
	}
	e.reach(browser, "tcp4", site4+":80", "wlan tcp4")
}

// RFC 6419 section 3.1.2. P14, P15, P16: the lower metric, then wired before wireless and
// WLAN before cellular, unless an application's mapping says otherwise.
func TestP14_P15_P16_ScenarioWindowsPhone7(t *testing.T) {
	e := newEquipment(t)
	e.join("umts", pvd.Access.With("umts"), pvd.Speed.With(384_000))
	wlan := e.join("wlan", pvd.Access.With(pvd.WLAN), pvd.Speed.With(54_000_000))
	dock := e.join("dock", pvd.Access.With(pvd.Wired), pvd.Speed.With(10_000_000))
	fast := selection.Choose(selection.Require(selection.MinSpeed(20_000_000)))
	e.manage(selection.Config{
		Apps: map[string]selection.Policy{"operator's": {Order: []pvd.Technology{pvd.Cellular}}},
		Rules: []selection.Rule{
			{Apps: []string{"3G"}, Action: selection.Choose(selection.Require(selection.AnyCellular))},
			{Apps: []string{"video"}, Action: fast},
			{Apps: []string{"by name"}, Action: named("umts")},
			{Action: selection.Choose()},
		},
	})
	for app, want := range map[string]string{
		"browser": "dock", "3G": "umts", "video": "wlan", "by name": "umts", "operator's": "umts",
	} {
		e.reach(e.host.App(app), "tcp4", site4+":80", want+" tcp4")
	}
	e.detach(dock)
	e.reach(e.host.App("browser"), "tcp4", site4+":80", "wlan tcp4")
	e.detach(wlan)
	e.reach(e.host.App("browser"), "tcp4", site4+":80", "umts tcp4")
	e.fails(e.host.App("video"), "tcp4", site4+":80", syscall.ENETUNREACH)
	e.join("slow wire", pvd.Access.With(pvd.Wired), pvd.Metric.With(50))
	e.reach(e.host.App("browser"), "tcp4", site4+":80", "umts tcp4") // which has the lower metric
}

// RFC 6419 section 3.1.3. P18, P19, P20, P21: each application picks its gateway; it picks
// the network by its source address, or the device does by cost, ToS and what the user
// prefers.
func TestP18_P19_P20_ScenarioBlackBerry(t *testing.T) {
	e := newEquipment(t)
	proxy := pvd.Proxy{Protocol: "http-connect", Address: "192.168.1.1:80"}
	e.join("enterprise", pvd.Proxies.With([]pvd.Proxy{proxy}), pvd.Cost.With(9))
	wlan := e.lay("wlan", func(c *pvd.Config) {
		c.Elements = []pvd.Element{pvd.Cost.With(1)}
		c.Addresses[0].Prefix = netip.MustParsePrefix("192.168.1.77/24")
	})
	e.attach(wlan)
	gateway := pvd.NewCondition("gateway", func(i *pvd.Info) bool {
		ps, _ := pvd.Proxies.Get(i)
		return slices.ContainsFunc(ps, func(p pvd.Proxy) bool { return p.Protocol == "http-connect" })
	})
	m := e.manage(selection.Config{
		Policy: selection.Policy{Criteria: []selection.Criterion{selection.Lowest(pvd.Cost)}},
		Rules: []selection.Rule{
			{Sources: []netip.Prefix{netip.MustParsePrefix("192.168.1.2/32")}, Action: named("enterprise")},
			{Sources: []netip.Prefix{netip.MustParsePrefix("192.168.1.77/32")}, Action: named("wlan")},
			{Apps: []string{"mail"}, Action: selection.Choose(selection.Require(selection.Has(gateway)))},
			{Apps: []string{"browser"}, Action: selection.Choose(selection.Prefer(selection.Has(gateway)))},
			{Apps: []string{"favourite"}, Action: selection.Choose(selection.Prefer(selection.Named("enterprise")))},
			{ToS: []selection.ToS{{Value: 0xb8, Mask: 0xfc}}, Action: named("enterprise")},
			{Action: selection.Choose()},
		},
	})
	for app, want := range map[string]string{"mail": "enterprise", "browser": "enterprise", "favourite": "enterprise", "game": "wlan"} {
		e.reach(e.host.App(app), "tcp4", site4+":80", want+" tcp4")
	}
	game := e.host.App("game")
	e.reach(game.In(pvd.Unspecified).WithToS(0xb8), "tcp4", site4+":80", "enterprise tcp4")
	for source, want := range map[string]string{"192.168.1.2:0": "enterprise tcp4", "192.168.1.77:0": "wlan tcp4"} {
		c, err := game.DialFrom(t.Context(), "tcp4", source, site4+":80")
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, _ := c.Read(b)
		_ = c.Close()
		if string(b[:n]) != want {
			t.Errorf("from %s by %q, want %q", source, b[:n], want)
		}
	}
	// The gateway that an application finds is that of the network it is on.
	ref, err := m.Best(t.Context(), selection.Requirements{selection.Require(selection.Has(gateway))})
	if err != nil {
		t.Fatal(err)
	}
	info, err := e.host.Info(ref)
	if err != nil {
		t.Fatal(err)
	}
	ps, _ := pvd.Proxies.Get(info)
	e.reach(e.host.In(ref), "tcp4", ps[0].Address, "enterprise tcp4")
	// DNS is that of each interface.
	if _, err := game.LookupNetIP(t.Context(), "ip", "who.wlan.test"); err != nil {
		t.Error(err)
	}
	if _, err := e.host.App("mail").LookupNetIP(t.Context(), "ip", "who.wlan.test"); err == nil {
		t.Error("the enterprise asked the WLAN's server")
	}
}

// RFC 6419 section 3.1.4. P22, P26: marks and rules, and a ConnectivityManager: routes by a
// named interface, permission, failover, notices, and a list of all there is.
func TestP22_P26_ScenarioAndroid(t *testing.T) {
	e := newEquipment(t)
	wifi := e.join("wifi", pvd.Access.With(pvd.WLAN))
	mobile := e.join("mobile", pvd.Access.With(pvd.Cellular))
	m := e.manage(selection.Config{
		Failover: &selection.Failover{Order: []selection.Property{selection.Technologies(pvd.WLAN), selection.AnyCellular}, Hold: -1},
		Rules:    []selection.Rule{{Marks: []selection.Mark{{Value: 0x1, Mask: 0xf}}, Action: named("mobile")}},
	})
	app := e.host.App("app")
	e.eventual("the default", func() bool { return e.host.Default() == wifi })
	e.reach(app, "tcp4", site4+":80", "wifi tcp4")
	e.reach(app.In(pvd.Unspecified).WithMark(0x31), "tcp4", site4+":80", "mobile tcp4")
	e.reach(app.In(pvd.Unspecified).WithMark(0x32), "tcp4", site4+":80", "wifi tcp4")

	// requestRouteToHost: one destination by one interface.
	if err := m.SetRules([]selection.Rule{{
		Destinations: []netip.Prefix{netip.MustParsePrefix("192.168.1.1/32")},
		Action:       selection.Choose(selection.Require(selection.AnyCellular)),
	}}); err != nil {
		t.Fatal(err)
	}
	e.reach(app, "tcp4", "192.168.1.1:80", "mobile tcp4")
	e.reach(app, "tcp4", site4+":80", "wifi tcp4")

	// Permission to use a feature.
	if err := e.host.SetPolicy(&pvd.Policy{Rules: []pvd.PolicyRule{{Apps: []string{"game"}, PvDs: []string{"mobile"}, What: pvd.Denied}}}); err != nil {
		t.Fatal(err)
	}
	e.fails(e.host.App("game"), "tcp4", "192.168.1.1:80", syscall.EACCES)

	// All interfaces, with type and availability.
	kinds := make(map[pvd.Technology]bool)
	for _, ref := range app.List() {
		info, err := app.Info(ref)
		if err != nil {
			t.Fatal(err)
		}
		kind, _ := pvd.Access.Get(info)
		kinds[kind] = pvd.HasAddr4.Holds(info)
	}
	if len(kinds) != 2 || !kinds[pvd.WLAN] || !kinds[pvd.Cellular] {
		t.Errorf("%v", kinds)
	}

	// Failover, and a notice of it.
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	next, stop := iter.Pull2(app.Watch(ctx, pvd.Filter{Kinds: []pvd.EventKind{pvd.DefaultChanged}}))
	defer stop()
	changedTo := func(want pvd.Ref) {
		t.Helper()
		for {
			ev, err, _ := next()
			if err != nil {
				t.Fatal(err)
			}
			if ev.Kind == pvd.DefaultChanged && ev.Ref == want {
				return
			}
		}
	}
	changedTo(wifi)
	if err := e.host.RemoveLink("wifi"); err != nil { // out of range: the PvD is there, its link is not
		t.Fatal(err)
	}
	changedTo(mobile)
	e.reach(app, "tcp4", site4+":80", "mobile tcp4")
	e.detach(mobile)
	changedTo(pvd.Null)
	e.fails(app, "tcp4", site4+":80", syscall.ENETUNREACH)
}

// RFC 6419 section 3.1.5. P27, P28, P29, P30: netpolicies, bound and unbound, a default one,
// and DNS in the netpolicy's network alone, one server after the other.
func TestP27_P28_P29_ScenarioBrew(t *testing.T) {
	e := newEquipment(t)
	e.join("cdma", pvd.Access.With("cdma"), pvd.Cost.With(2), pvd.Groups.With([]string{"carrier"}))
	e.attach(e.lay("lte", func(c *pvd.Config) {
		c.Elements = []pvd.Element{pvd.Access.With("lte"), pvd.Cost.With(5), pvd.Groups.With([]string{"carrier"})}
		c.Routes = []pvd.Route{{To: netip.MustParsePrefix("203.0.113.0/24")}} // no IPv6, and not everywhere
		c.Addresses = c.Addresses[:1]
	}))
	e.join("wlan", pvd.Access.With(pvd.WLAN), pvd.Cost.With(0))
	anyCellular := selection.Choose(selection.Require(selection.AnyCellular))
	byCost := selection.Policy{Criteria: []selection.Criterion{selection.Lowest(pvd.Cost)}}
	bySpeed := selection.Policy{Criteria: []selection.Criterion{selection.ByTechnology}, Order: []pvd.Technology{"lte", "cdma"}}
	m := e.manage(selection.Config{
		Policy: byCost,
		Rules: []selection.Rule{
			{Apps: []string{"unbound"}, Action: anyCellular.By(bySpeed)},
			{Apps: []string{"carrier"}, Action: selection.Choose(selection.Require(selection.InGroup("carrier")), selection.Require(selection.IPv6))},
			{Name: "default netpolicy", Action: selection.Choose(selection.Require(selection.AnyWireless))},
		},
	})

	// Started and bound: all packets take the one interface, with its source.
	ref, err := m.Best(t.Context(), selection.Requirements{selection.Require(selection.AnyCellular), selection.Require(selection.IPv4)})
	if err != nil {
		t.Fatal(err)
	}
	bound := e.host.App("bound")
	if err := bound.SetDefault(ref); err != nil {
		t.Fatal(err)
	}
	e.reach(bound, "tcp", site4+":80", "cdma tcp4")
	e.reach(bound, "tcp", "["+site6+"]:80", "cdma tcp6")

	// Unbound: each call by netpolicy and destination.
	unbound := e.host.App("unbound")
	e.reach(unbound, "tcp", site4+":80", "lte tcp4")
	e.reach(unbound, "tcp", "["+site6+"]:80", "cdma tcp6")
	e.reach(e.host.App("carrier"), "tcp", site4+":80", "cdma tcp4")
	e.reach(e.host.App("anything"), "tcp", site4+":80", "wlan tcp4")

	// A netpolicy for DNS alone.
	if _, err := bound.In(e.find("wlan")).LookupNetIP(t.Context(), "ip", "who.wlan.test"); err != nil {
		t.Error(err)
	}
	if _, err := bound.LookupNetIP(t.Context(), "ip", "who.wlan.test"); err == nil {
		t.Error("asked outside of the netpolicy")
	}
}

// find returns the PvD of a name.
func (e *equipment) find(name string) pvd.Ref {
	e.t.Helper()
	ref, err := e.host.Find(name)
	if err != nil {
		e.t.Fatal(err)
	}
	return ref
}

// P30: the first server of the interface, then the others, one after the other; never one
// of another interface.
func TestP30_ServersInTurn(t *testing.T) {
	t.Parallel()
	e := newEquipment(t)
	other := e.lay("other", nil)
	e.attach(other)
	peer := newHost(t)
	pipe(t, "brew", e.host, peer)
	silent := mustListenPacket(t, add(t, peer, config("brew", "192.168.1.201/24")), "udp", ":53")
	runDNS(t, add(t, peer, config("brew", "192.168.1.202/24")), map[string][]string{"name.test.": {"192.0.2.7"}})
	c := config("brew", "192.168.1.2/24")
	for _, a := range []string{"192.168.1.201:53", "192.168.1.202:53"} {
		c.DNS.Servers = append(c.DNS.Servers, netip.MustParseAddrPort(a))
	}
	n := e.host.In(e.attach(c))
	begin := time.Now()
	addrs, err := n.LookupNetIP(t.Context(), "ip4", "name.test")
	if err != nil || len(addrs) != 1 || addrs[0] != netip.MustParseAddr("192.0.2.7") {
		t.Errorf("%v, %v", addrs, err)
	}
	if took := time.Since(begin); took < time.Second/2 {
		t.Errorf("the second server was asked after %v already", took)
	}
	_ = silent.SetReadDeadline(time.Now().Add(longest))
	if _, _, err := silent.ReadFrom(make([]byte, 512)); err != nil {
		t.Error("the first server was not asked:", err)
	}
	if addrs, err := n.LookupNetIP(t.Context(), "ip4", "who.other.test"); err == nil {
		t.Errorf("%v by a server of another interface", addrs)
	}
}

// RFC 6419 section 3.1.6. P31: requirements are registered; the manager weighs availability,
// cost and stability, and shares.
func TestP31_ScenarioArena(t *testing.T) {
	stability := pvd.NewKey[uint8]("stability", nil)
	e := newEquipment(t)
	e.join("shaky", pvd.Cost.With(1), stability.With(10))
	steady := e.join("steady", pvd.Cost.With(1), stability.With(90))
	td := e.offered("td-scdma", "", pvd.Cost.With(9), stability.With(95))
	m := e.manage(selection.Config{
		Providers: []selection.Provider{td},
		IdleTime:  time.Millisecond,
		Policy:    selection.Policy{Criteria: []selection.Criterion{selection.Lowest(pvd.Cost), selection.Highest(stability)}},
		Rules:     []selection.Rule{{Action: selection.Choose().Opening()}},
	})
	app := e.host.App("app")
	e.reach(app, "tcp4", site4+":80", "steady tcp4")
	request := selection.Request{Requirements: selection.Requirements{selection.Require(selection.AtLeast(stability, 80))}}
	for range 2 {
		l, err := m.Acquire(t.Context(), request)
		if err != nil || l.Ref() != steady {
			t.Fatalf("%v, %v", l, err)
		}
		defer l.Release()
	}
	if e.attached("td-scdma") {
		t.Error("opened although there was one to share")
	}
	e.detach(steady)
	a, err := m.Acquire(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Acquire(t.Context(), request)
	if err != nil || a.Ref() != b.Ref() {
		t.Fatalf("not shared: %v", err)
	}
	e.reach(e.host.In(a.Ref()), "tcp4", site4+":80", "td-scdma tcp4")
	e.reach(app, "tcp4", site4+":80", "shaky tcp4") // who requires nothing takes the cheap one
	a.Release()
	b.Release()
	e.eventual("it closes", func() bool { return !e.attached("td-scdma") })
}
