package selection_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	. "github.com/pvdstack/pvdstack/pvd/selection"
)

// chooseNamed is the action that takes a PvD by its name.
func chooseNamed(name string) Action { return Choose(Require(Named(name))) }

// P41, P42: a call is decided by any of what is known of it, and by the first rule that
// it meets.
func TestP41_RuleSelectors(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"app", "dst", "name", "port", "ports", "proto", "mark", "masked", "tos", "dscp", "scope", "link", "src", "two", "six"} {
		w.add(name)
	}
	m := w.manager(Config{Rules: []Rule{
		{Apps: []string{"mail"}, Ports: []Ports{{First: 993}}, Action: chooseNamed("two")},
		{Apps: []string{"mail", "chat"}, Action: chooseNamed("app")},
		{Destinations: prefixes("10.0.0.0/8", "2001:db8::/32"), Domains: []string{"Corp.example."}, Action: chooseNamed("dst")},
		{Domains: []string{"example.com"}, Action: chooseNamed("name")},
		{Ports: []Ports{{First: 53}, {First: 853}}, Action: chooseNamed("port")},
		{Ports: []Ports{{6000, 6009}}, Action: chooseNamed("ports")},
		{Networks: []string{"udp6"}, Action: chooseNamed("six")},
		{Networks: []string{"udp"}, Action: chooseNamed("proto")},
		{Marks: []Mark{{Value: 7}}, Action: chooseNamed("mark")},
		{Marks: []Mark{{Value: 0x100, Mask: 0xff00}}, Action: chooseNamed("masked")},
		{ToS: []ToS{{Value: 0x10}}, Action: chooseNamed("tos")},
		{ToS: []ToS{{Value: 0xb8, Mask: 0xfc}}, Action: chooseNamed("dscp")},
		{Scopes: []string{"dmz"}, Action: chooseNamed("scope")},
		{Links: []string{"eth0"}, Action: chooseNamed("link")},
		{Sources: prefixes("172.16.0.0/12"), Action: chooseNamed("src")},
	}})
	plain := to("192.0.2.1", 80)
	with := func(change func(*pvd.Call)) pvd.Call {
		c := plain
		change(&c)
		return c
	}
	for _, tt := range []struct {
		call pvd.Call
		want string
	}{
		{plain, "unspecified"},
		{pvd.Call{}, "unspecified"},
		{by("mail", plain), "app"},
		{by("mail", to("10.1.2.3", 993)), "two"},
		{by("Mail", plain), "unspecified"},
		{to("10.1.2.3", 80), "dst"},
		{to("::ffff:10.1.2.3", 80), "dst"},
		{to("0.0.0.0", 80), "unspecified"},
		{to("2001:db8::5", 80), "dst"},
		{to("11.1.2.3", 80), "unspecified"},
		{to("wiki.corp.example", 80), "dst"},
		{to("WIKI.CORP.EXAMPLE.", 80), "dst"},
		{to("example.com", 80), "name"},
		{to("a.b.example.com", 80), "name"},
		{to("badexample.com", 80), "unspecified"},
		{to("com", 80), "unspecified"},
		{to("192.0.2.1", 53), "port"},
		{to("192.0.2.1", 853), "port"},
		{to("192.0.2.1", 6009), "ports"},
		{to("192.0.2.1", 6010), "unspecified"},
		{with(func(c *pvd.Call) { c.Network = "udp" }), "proto"},
		{with(func(c *pvd.Call) { c.Network = "udp4" }), "proto"},
		{with(func(c *pvd.Call) {
			c.Network, c.Remote, c.Host = "udp", netip.MustParseAddrPort("[2001:dba::1]:80"), ""
		}), "six"},
		{with(func(c *pvd.Call) { c.Network, c.Remote, c.Host = "udp6", netip.AddrPort{}, "n.example" }), "six"},
		{with(func(c *pvd.Call) { c.Mark = 7 }), "mark"},
		{with(func(c *pvd.Call) { c.Mark = 0x1ff }), "masked"},
		{with(func(c *pvd.Call) { c.Mark = 0x107 }), "masked"},
		{with(func(c *pvd.Call) { c.Mark = 8 }), "unspecified"},
		{with(func(c *pvd.Call) { c.ToS = 0x10 }), "tos"},
		{with(func(c *pvd.Call) { c.ToS = 0xbb }), "dscp"},
		{with(func(c *pvd.Call) { c.Scope = "dmz" }), "scope"},
		{with(func(c *pvd.Call) { c.Link = "eth0" }), "link"},
		{with(func(c *pvd.Call) { c.Local = netip.MustParseAddrPort("172.31.0.1:0") }), "src"},
		{with(func(c *pvd.Call) { c.Local = netip.MustParseAddrPort("172.32.0.1:0") }), "unspecified"},
	} {
		w.selects(m, tt.call, tt.want)
	}
	// Other rules hold from the next call on.
	if err := m.SetRules([]Rule{{Action: Refuse()}}); err != nil {
		t.Fatal(err)
	}
	w.selects(m, plain, "null")
	if err := m.SetRules([]Rule{{Ports: []Ports{{9, 8}}}}); err == nil {
		t.Error("a bad rule was taken")
	}
	w.selects(m, plain, "null")
}

func prefixes(of ...string) []netip.Prefix {
	ps := make([]netip.Prefix, len(of))
	for i, p := range of {
		ps[i] = netip.MustParsePrefix(p)
	}
	return ps
}

func TestActions(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("a"), w.add("b")
	gone := w.add("gone")
	w.remove(gone)
	lacking := Choose(Require(IPv6))
	for _, tt := range []struct {
		name  string
		rules []Rule
		want  string
		err   error
	}{
		{"no rule", nil, "unspecified", nil},
		{"use", []Rule{{Action: Use(b)}, {Action: Use(a)}}, "b", nil},
		{"use what is gone", []Rule{{Action: Use(gone)}}, gone.String(), nil}, // an error of the call itself
		{"refuse", []Rule{{Action: Refuse()}, {Action: Use(a)}}, "null", nil},
		{"pass", []Rule{{Action: Pass()}, {Action: Use(a)}}, "unspecified", nil},
		{"system default", []Rule{{Action: Use(pvd.SystemDefault)}}, "default", nil},
		{"choose", []Rule{{Action: Choose(Prohibit(Named("a")))}}, "b", nil},
		{"nobody", []Rule{{Name: "six", Action: lacking}, {Action: Use(a)}}, "", syscall.ENETUNREACH},
		{"the next rule", []Rule{{Action: lacking.OrNext()}, {Action: Use(a)}}, "a", nil},
		{"no next rule", []Rule{{Action: lacking.OrNext()}}, "unspecified", nil},
		{"nobody to ask", []Rule{{Action: Ask()}}, "", ErrNoAnswer},
	} {
		m := w.manager(Config{Rules: tt.rules})
		ref, err := m.SelectPvD(t.Context(), to("192.0.2.1", 80))
		if tt.err != nil {
			if !errors.Is(err, tt.err) || ref != pvd.Null {
				t.Errorf("%s: %v, %v, want %v", tt.name, ref, err, tt.err)
			}
			if tt.rules[0].Name != "" && !strings.HasPrefix(err.Error(), `rule "six": `) {
				t.Errorf("%s: %v does not say which rule", tt.name, err)
			}
			continue
		}
		if got := w.name(ref); err != nil || got != tt.want {
			t.Errorf("%s: %s, %v, want %s", tt.name, got, err, tt.want)
		}
	}
}

func TestBadRules(t *testing.T) {
	m := newWorld(t).manager(Config{})
	long := []string{strings.Repeat("x", 256)}
	for _, r := range []Rule{
		{Destinations: []netip.Prefix{{}}},
		{Destinations: prefixes("10.0.0.1/8")},
		{Destinations: prefixes("::ffff:10.0.0.0/104")},
		{Sources: prefixes("10.0.0.1/8")},
		{Domains: []string{""}},
		{Domains: []string{"a..b"}},
		{Ports: []Ports{{}}},
		{Ports: []Ports{{5, 4}}},
		{Networks: []string{""}},
		{Marks: []Mark{{Value: 3, Mask: 1}}},
		{ToS: []ToS{{Value: 3, Mask: 1}}},
		{Apps: long},
		{Scopes: long},
		{Links: long},
		{Action: Use(pvd.All)},
		{Action: Use(pvd.Unspecified)},
		{Action: Pass().OrNext()},
		{Action: Refuse().Opening()},
		{Action: Choose(Requirement{})},
		{Action: Ask(Require(Metered), Prohibit(Metered))},
		{Action: Choose().By(Policy{Tie: 9})},
	} {
		if err := m.SetRules([]Rule{{}, {Name: "bad"}, r}); err == nil || !strings.Contains(err.Error(), "rule 3") {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if err := m.SetRules(make([]Rule, MaxRules)); err != nil {
		t.Error(err)
	}
	if err := m.SetRules(make([]Rule, MaxRules+1)); err == nil {
		t.Error("no limit")
	}
}

// P10: the connection is one that leads to the destination network, and of those the
// cheapest.
func TestP10_DestinationByCost(t *testing.T) {
	w := newWorld(t)
	w.add("gprs", with(pvd.Cost, 10))
	w.add("free, but local", addresses("10.1.0.2/16"), routes("10.0.0.0/8"), with(pvd.Cost, 0))
	w.add("wlan", with(pvd.Cost, 2), addresses("192.168.1.2/24", "2001:db8::2/64"))
	m := w.manager(Config{Rules: []Rule{{Action: Choose().By(Policy{Criteria: []Criterion{Lowest(pvd.Cost)}})}}})
	w.selects(m, to("10.1.2.3", 80), "free, but local")
	w.selects(m, to("10.9.2.3", 80), "free, but local")
	w.selects(m, to("192.0.2.1", 80), "wlan")
	w.selects(m, to("2001:db8::9", 80), "wlan") // on its link
	w.selects(m, to("::ffff:10.9.2.3", 80), "free, but local")
	w.selects(m, to("name.example", 80), "free, but local") // nobody knows where that is
	c := to("name.example", 80)
	c.Network = "tcp6"
	w.selects(m, c, "wlan")
	// Where nobody leads there, the call fails where the rule sends it.
	w.selects(m, to("2001:db8:ffff::9", 80), "free, but local")
}

// P28: who is bound to nothing has each call decided by the policy and its destination;
// the same address on several PvDs does no harm (P9).
func TestP28_UnboundPerCall(t *testing.T) {
	w := newWorld(t)
	w.add("umts", access("umts"), routes("0.0.0.0/0"))
	w.add("lte", access("lte"), routes("10.0.0.0/8"))
	w.add("wlan", access(pvd.WLAN))
	m := w.manager(Config{Rules: []Rule{
		{Apps: []string{"dialler"}, Action: Choose(Require(AnyCellular), Require(IPv4))},
		{Action: Choose(Require(AnyWireless))}, // P29: the default netpolicy
	}})
	w.selects(m, by("dialler", to("10.0.0.1", 5060)), "umts")
	w.selects(m, by("dialler", to("192.0.2.1", 5060)), "umts")
	w.update(w.reg.List()[0], with(pvd.Metric, 9))
	w.selects(m, by("dialler", to("10.0.0.1", 5060)), "lte")
	w.selects(m, by("dialler", to("192.0.2.1", 5060)), "umts")
	w.selects(m, by("anything else", to("10.0.0.1", 80)), "wlan")
}

func TestP29_DefaultNetpolicy(t *testing.T) {
	w := newWorld(t)
	w.add("cdma", access("cdma"))
	wlan := w.add("wlan", access(pvd.WLAN))
	m := w.manager(Config{Rules: []Rule{{Name: "as provisioned", Action: Choose(Prefer(Technologies(pvd.WLAN)))}}})
	w.selects(m, pvd.Call{}, "wlan")
	w.remove(wlan)
	w.selects(m, pvd.Call{}, "cdma") // it depends on what there is
}

// P32, RFC 4311: a tie goes to the first, or is spread over all by destination.
func TestP32_Ties(t *testing.T) {
	w := newWorld(t)
	w.add("worse", with(pvd.Metric, 5))
	first := w.add("first")
	w.add("second")
	w.add("third")
	m := w.manager(Config{Rules: []Rule{{Apps: []string{"spread"}, Action: Choose().By(Policy{Tie: TieSpread})}, {Action: Choose()}}})
	const n = 300
	got, counts := make([]string, n), map[string]int{}
	for i := range n {
		c := to(fmt.Sprintf("192.0.2.%d", i%250), uint16(i))
		if i >= 250 {
			c = to(fmt.Sprintf("host%d.example", i), 80)
		}
		w.selects(m, c, "first")
		ref, err := m.SelectPvD(t.Context(), by("spread", c))
		if err != nil {
			t.Fatal(err)
		}
		again, _ := m.SelectPvD(t.Context(), by("spread", c))
		if again != ref {
			t.Errorf("%v goes to %v, then to %v", c.Host, ref, again)
		}
		got[i] = w.name(ref)
		counts[got[i]]++
	}
	for _, name := range []string{"first", "second", "third"} {
		if counts[name] < n/6 {
			t.Errorf("%s has %d of %d", name, counts[name], n)
		}
	}
	w.selects(m, by("spread", pvd.Call{}), "first")
	w.remove(first)
	moved := 0
	for i := range 250 {
		ref, err := m.SelectPvD(t.Context(), by("spread", to(fmt.Sprintf("192.0.2.%d", i), 80)))
		if err != nil {
			t.Fatal(err)
		}
		if now := w.name(ref); now == "worse" || got[i] != "first" && now != got[i] {
			moved++
		}
	}
	if moved > 0 {
		t.Errorf("%d destinations moved that had no reason to", moved)
	}
}

// P20: a single stack maps applications to interfaces by cost, ToS and what the user
// prefers.
func TestP20_AppCostToS(t *testing.T) {
	w := newWorld(t)
	w.add("dear", with(pvd.Cost, 10), with(pvd.Latency, 1))
	w.add("cheap", with(pvd.Cost, 1), with(pvd.Latency, 100))
	m := w.manager(Config{
		Policy: Policy{Criteria: []Criterion{Lowest(pvd.Cost)}},
		Rules: []Rule{
			{Apps: []string{"favourite"}, Action: Choose(Prefer(Named("dear")))},
			{ToS: []ToS{{Value: 0xb8, Mask: 0xfc}}, Action: Choose().By(Policy{Criteria: []Criterion{Lowest(pvd.Latency)}})},
			{Action: Choose()},
		},
	})
	w.selects(m, by("browser", to("192.0.2.1", 80)), "cheap")
	w.selects(m, by("favourite", to("192.0.2.1", 80)), "dear")
	voice := to("192.0.2.1", 80)
	voice.ToS = 0xb8
	w.selects(m, by("browser", voice), "dear")
}

// The context ends a selection that waits.
func TestSelectCancelled(t *testing.T) {
	w := newWorld(t)
	m := w.manager(Config{Rules: []Rule{{Action: Ask()}}, Ask: func(ctx context.Context, _ Question) (pvd.Ref, error) {
		<-ctx.Done()
		return pvd.Null, ctx.Err()
	}})
	w.add("a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.SelectPvD(ctx, pvd.Call{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
