package selection_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	. "github.com/pvdstack/pvdstack/pvd/selection"
)

// checkRules compares the decisions of a manager with those of going through the rules
// one by one, as they are written.
func checkRules(t *testing.T, data []byte) {
	s := source(data)
	pick := func(from ...string) []string { // some of them
		var some []string
		for _, f := range from {
			if s.pick(4) == 0 {
				some = append(some, f)
			}
		}
		return some
	}
	var rules []Rule
	for i := range s.pick(12) {
		r := Rule{
			Apps: pick("", "mail"), Destinations: prefixes(pick("10.0.0.0/8", "10.1.0.0/16", "::/0", "0.0.0.0/0")...),
			Domains: pick("example", "Corp.example.", "b"), Networks: pick("tcp", "udp4", "udp"),
			Scopes: pick("dmz"), Links: pick("eth0", ""), Sources: prefixes(pick("10.0.0.2/32")...),
			Action: Use(pvd.Ref(100 + i)),
		}
		switch s.pick(4) {
		case 1:
			r.Ports = []Ports{{First: 80}}
		case 2:
			r.Ports = []Ports{{First: 80}, {First: 100, Last: 200}}
		}
		switch s.pick(5) {
		case 1:
			r.Marks = []Mark{{Value: 1}}
		case 2:
			r.Marks = []Mark{{Value: 2}, {Value: 0x100, Mask: 0xff00}}
		case 3:
			r.ToS = []ToS{{Value: 8, Mask: 0xfc}}
		}
		rules = append(rules, r)
	}
	w := newWorld(t)
	defer w.reg.Close()
	m := w.manager(Config{Rules: rules})
	defer m.Close()
	one := func(from ...string) string { return from[s.pick(len(from))] }
	for range 8 {
		c := pvd.Call{
			App: one("", "mail", "x"), Network: one("tcp", "udp", "udp4", "udp6", "tcp6", ""),
			Host:  one("", "10.1.2.3", "10.200.0.1", "192.0.2.1", "2001:db8::1", "a.Corp.example", "corp.example.", "b", "xb", "."),
			Scope: one("", "dmz"), Link: one("", "eth0"), Mark: uint32([]int{0, 1, 2, 0x1ff}[s.pick(4)]), ToS: uint8(s.pick(12)),
		}
		a, _ := netip.ParseAddr(c.Host)
		c.Remote = netip.AddrPortFrom(a, uint16([]int{0, 80, 100, 150, 201}[s.pick(5)]))
		if s.flip() {
			c.Local = netip.MustParseAddrPort("10.0.0.2:5")
		}
		want := pvd.Unspecified
		for i := range rules {
			if modelMeets(&rules[i], &c) {
				want = pvd.Ref(100 + i)
				break
			}
		}
		if got, err := m.SelectPvD(t.Context(), c); err != nil || got != want {
			t.Errorf("%+v: %v, %v, want %v\n%+v", c, got, err, want, rules)
		}
	}
}

// modelMeets is the meaning of a rule, condition by condition.
func modelMeets(r *Rule, c *pvd.Call) bool {
	host := strings.ToLower(strings.TrimSuffix(c.Host, "."))
	dest := c.Remote.Addr()
	somewhere := len(r.Destinations) == 0 && len(r.Domains) == 0
	for _, p := range r.Destinations {
		somewhere = somewhere || dest.IsValid() && p.Contains(dest)
	}
	for _, d := range r.Domains {
		d = strings.ToLower(strings.TrimSuffix(d, "."))
		somewhere = somewhere || !dest.IsValid() && (host == d || strings.HasSuffix(host, "."+d))
	}
	port := len(r.Ports) == 0
	for _, p := range r.Ports {
		port = port || c.Remote.Port() == p.First || p.Last != 0 && c.Remote.Port() >= p.First && c.Remote.Port() <= p.Last
	}
	network := len(r.Networks) == 0
	for _, n := range r.Networks {
		switch n {
		case "tcp":
			network = network || strings.HasPrefix(c.Network, "tcp")
		case "udp":
			network = network || strings.HasPrefix(c.Network, "udp")
		case "udp4":
			network = network || c.Network == "udp4" || c.Network == "udp" && dest.Is4()
		}
	}
	mark := len(r.Marks) == 0
	for _, m := range r.Marks {
		mark = mark || m.Mask == 0 && c.Mark == m.Value || m.Mask != 0 && c.Mark&m.Mask == m.Value
	}
	tos := len(r.ToS) == 0
	for _, v := range r.ToS {
		tos = tos || c.ToS&v.Mask == v.Value
	}
	source := len(r.Sources) == 0
	for _, p := range r.Sources {
		source = source || c.Local.IsValid() && p.Contains(c.Local.Addr())
	}
	listed := func(of []string, s string) bool { return len(of) == 0 || slices.Contains(of, s) }
	return somewhere && port && network && mark && tos && source &&
		listed(r.Apps, c.App) && listed(r.Scopes, c.Scope) && listed(r.Links, c.Link)
}

func TestRulesProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	n := 3000
	if testing.Short() {
		n = 300
	}
	for i := range n {
		data := make([]byte, 500)
		for j := range data {
			data[j] = byte(r.Uint32())
		}
		if checkRules(t, data); t.Failed() {
			t.Fatalf("case %d", i)
		}
	}
}

func FuzzRules(f *testing.F) {
	f.Add([]byte("some rules and some calls"))
	f.Fuzz(checkRules)
}

// Bad words in requirements, names and calls are no more than that.
func FuzzWords(f *testing.F) {
	f.Add("pvd#17", "wlan or lte", "[fe80::1%eth0]:80")
	f.Add("a..b", " or ", "::ffff:1.2.3.4")
	w := newWorld(f)
	w.add("a", access(pvd.WLAN))
	m := w.manager(Config{})
	infos := w.infos()
	f.Fuzz(func(t *testing.T, name, tech, host string) {
		rs := Requirements{Prefer(Named(name)), Avoid(InGroup(name)), Prefer(Technologies(pvd.Technology(tech)))}
		if got, err := Rank(infos, rs); err != nil || len(got) != 1 {
			t.Errorf("%v: %v, %v", rs, got, err)
		}
		_ = m.SetRules([]Rule{{Apps: []string{name}, Domains: []string{host}, Networks: []string{tech}}})
		if ref, err := m.SelectPvD(t.Context(), pvd.Call{App: name, Network: tech, Host: host, Scope: host}); err != nil || ref != pvd.Unspecified {
			t.Errorf("%v, %v", ref, err)
		}
	})
}
