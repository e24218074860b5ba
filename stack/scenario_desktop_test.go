package stack_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/selection"
)

// RFC 6419 section 3.2.1.1. P32: the default route of the interface with the lowest metric;
// of several, the first, or all in turn by destination.
func TestP32_ScenarioWindowsMetrics(t *testing.T) {
	e := newEquipment(t)
	e.join("slow", pvd.Metric.With(50))
	e.join("first", pvd.Metric.With(10))
	e.join("second", pvd.Metric.With(10))
	xp := selection.Policy{Criteria: []selection.Criterion{selection.ByMetric}, Tie: selection.TieFirst}
	vista := selection.Policy{Criteria: []selection.Criterion{selection.ByMetric}, Tie: selection.TieSpread}
	e.manage(selection.Config{
		Apps:  map[string]selection.Policy{"xp": xp, "vista": vista},
		Rules: []selection.Rule{{Action: selection.Choose()}},
	})
	xpApp, vistaApp := e.host.App("xp").In(pvd.Unspecified), e.host.App("vista").In(pvd.Unspecified)
	used := make(map[pvd.Ref]int)
	for i := range 64 {
		to := fmt.Sprintf("198.51.100.%d:9", i)
		if ref := refOf(t, mustDial(t, xpApp, "udp", to)); ref != e.find("first") {
			t.Errorf("%s: %v", to, ref)
		}
		ref := refOf(t, mustDial(t, vistaApp, "udp", to))
		if again := refOf(t, mustDial(t, vistaApp, "udp", to)); again != ref {
			t.Errorf("%s: %v, then %v", to, ref, again)
		}
		used[ref]++
	}
	if len(used) != 2 || used[e.find("first")] < 8 || used[e.find("second")] < 8 {
		t.Errorf("spread like %v", used)
	}
	e.detach(e.find("first"))
	e.reach(e.host.App("xp"), "tcp", "["+site6+"]:80", "second tcp6")
	e.detach(e.find("second"))
	e.reach(e.host.App("vista"), "tcp", "["+site6+"]:80", "slow tcp6")
}

func refOf(t *testing.T, v any) pvd.Ref {
	t.Helper()
	ref, ok := pvd.Of(v)
	if !ok {
		t.Errorf("%v is in no PvD", v)
	}
	return ref
}

// RFC 6419 section 3.2.2.1. P41, P42: routing tables are PvDs, and the policy database is
// rules: by source, ToS, output interface and mark, and marks by protocol, destination and
// port. It tells overlapping address spaces apart.
func TestP41_P42_ScenarioLinuxPolicyRouting(t *testing.T) {
	e := newEquipment(t)
	main := e.join("main")
	for i, name := range []string{"uplink", "office", "voice", "lab"} {
		e.attach(e.lay(name, func(c *pvd.Config) {
			// All have 192.168.1.2, and one more address of their own.
			extra := netip.MustParsePrefix(fmt.Sprintf("192.168.1.%d/24", 100+i))
			c.Addresses = append(c.Addresses, pvd.Address{Prefix: extra})
		}))
	}
	if err := e.host.SetDefault(main); err != nil {
		t.Fatal(err)
	}
	table := func(name string) selection.Action { return named(name).OrNext() }
	m := e.manage(selection.Config{Rules: []selection.Rule{
		{Sources: []netip.Prefix{netip.MustParsePrefix("192.168.1.101/32")}, Action: table("office")},
		{ToS: []selection.ToS{{Value: 0x10}}, Action: table("voice")},
		{Links: []string{"lab"}, Action: table("lab")},
		{Marks: []selection.Mark{{Value: 7}}, Action: table("uplink")},
		{Networks: []string{"tcp"}, Ports: []selection.Ports{{First: 5060}}, Destinations: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, Action: table("voice")},
		{Apps: []string{"uidrange"}, Action: table("office")},
	}})
	app := e.host.App("app")
	plain := app.In(pvd.Unspecified)
	e.reach(app, "tcp4", "192.168.1.1:80", "main tcp4")
	e.reach(plain.WithToS(0x10), "tcp4", "192.168.1.1:80", "voice tcp4")
	e.reach(plain.WithMark(7), "tcp4", "192.168.1.1:80", "uplink tcp4")
	e.reach(plain.WithMark(7).WithToS(0x10), "tcp4", "192.168.1.1:80", "voice tcp4") // the earlier rule
	e.reach(app, "tcp4", site4+":5060", "voice tcp4")
	e.reach(app, "tcp6", "["+site6+"]:5060", "main tcp6")
	e.reach(app, "tcp6", "[2001:db8:1::1%lab]:80", "lab tcp6")
	e.reach(e.host.App("uidrange"), "tcp4", "192.168.1.1:80", "office tcp4")
	c, err := app.DialFrom(t.Context(), "tcp4", "192.168.1.101:0", "192.168.1.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if refOf(t, c) != e.find("office") {
		t.Errorf("in %v", refOf(t, c))
	}
	// A table that is not there is passed over.
	e.detach(e.find("uplink"))
	e.reach(plain.WithMark(7), "tcp4", "192.168.1.1:80", "main tcp4")
	if err := m.SetRules([]selection.Rule{{Action: selection.Refuse()}}); err != nil { // unreachable
		t.Fatal(err)
	}
	if _, err := hello(t.Context(), app, "tcp4", "192.168.1.1:80"); err == nil {
		t.Error("the rule refuses nothing")
	}
}

// RFC 6419 section 3.2.2.3. P24, P46, P53, P56: on other systems, what is configured last
// becomes everybody's routes and DNS. Here a PvD's configuration is its own, whatever comes
// when.
func TestP24_P53_P56_ScenarioLastOneDoesNotWin(t *testing.T) {
	for _, order := range [][2]string{{"a", "b"}, {"b", "a"}} {
		t.Run(order[0]+" first", func(t *testing.T) {
			e := newEquipment(t)
			configs := make(map[string]pvd.Config)
			refs := make(map[string]pvd.Ref)
			for _, name := range order {
				configs[name] = e.lay(name, nil)
				refs[name] = e.attach(configs[name])
			}
			e.manage(selection.Config{Failover: &selection.Failover{Order: []selection.Property{selection.Named("a"), selection.Named("b")}, Hold: -1}})
			e.eventual("the default", func() bool { return e.host.Default() == refs["a"] })
			before, err := e.host.Info(refs["a"])
			if err != nil {
				t.Fatal(err)
			}
			check := func(what string) {
				t.Helper()
				if after, err := e.host.Info(refs["a"]); err != nil || after != before {
					t.Errorf("%s: a is now %+v, %v", what, after, err)
				}
				if e.host.Default() != refs["a"] {
					t.Errorf("%s: the default is %v", what, e.host.Default())
				}
				e.reach(e.host.App("app"), "tcp", "site.example:80", "a tcp6")
				if _, err := e.host.In(pvd.SystemDefault).LookupNetIP(t.Context(), "ip", "who.a.test"); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				if _, err := e.host.In(pvd.SystemDefault).LookupNetIP(t.Context(), "ip", "who.b.test"); err == nil {
					t.Errorf("%s: b's server answers for a", what)
				}
			}
			check("at first")
			c := configs["b"]
			for _, change := range []struct {
				what string
				to   func()
			}{
				{"other servers", func() {
					c.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("192.168.1.1:5353")}
					c.DNS.Search = []string{"b.test"}
				}},
				{"other routes", func() {
					c.Routes = []pvd.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Preference: pvd.High}, {To: netip.MustParsePrefix("203.0.113.80/32")}}
				}},
				{"other addresses", func() {
					c.Addresses = []pvd.Address{{Prefix: netip.MustParsePrefix("192.168.1.99/24")}}
				}},
				{"no server", func() { c.DNS = pvd.DNS{} }},
			} {
				change.to()
				if err := e.host.Update(t.Context(), refs["b"], c); err != nil {
					t.Fatal(err)
				}
				check(change.what)
			}
			e.detach(refs["b"])
			check("b gone")
			e.attach(configs["b"])
			check("b again")
		})
	}
}
