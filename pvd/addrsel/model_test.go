package addrsel_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/pvdstack/pvdstack/pvd/addrsel"
)

// A model is RFC 6724 read word by word: slow, and written without a look at how the
// package does it.
type model struct {
	policy []addrsel.Row // in the order written; the longest match is looked for
	off    addrsel.Rules
	public bool
	careOf bool
}

func (m *model) entry(a netip.Addr) (best addrsel.Row) {
	same := func(a, b [16]byte, n int) bool {
		for i := range n {
			if (a[i/8]^b[i/8])>>(7-i%8)&1 != 0 {
				return false
			}
		}
		return true
	}
	longest := -1
	for _, r := range m.policy {
		n := r.Prefix.Bits()
		if r.Prefix.Addr().Is4() {
			n += 96
		}
		if n > longest && same(a.As16(), r.Prefix.Addr().As16(), n) {
			best, longest = r, n
		}
	}
	return best
}

func modelScope(a netip.Addr) int {
	if a.Is4() {
		if b := a.As4(); b[0] == 127 || b[0] == 169 && b[1] == 254 {
			return 2
		}
		return 14
	}
	b := a.As16()
	switch {
	case b[0] == 0xff:
		return int(b[1] & 15)
	case a == netip.IPv6Loopback(), b[0] == 0xfe && b[1]&0xc0 == 0x80:
		return 2
	case b[0] == 0xfe && b[1]&0xc0 == 0xc0:
		return 5
	}
	return 14
}

func modelCommon(s netip.Prefix, d netip.Addr) int {
	n := 0
	for n < s.Bits() && netip.PrefixFrom(s.Addr(), n+1).Contains(d) {
		n++
	}
	return n
}

// A verdict is the outcome of comparing a with b by one rule.
type verdict int

const (
	tie verdict = iota
	preferA
	preferB
)

// either is preferA if only a has something, preferB if only b has, else a tie.
func either(a, b bool) verdict {
	switch {
	case a && !b:
		return preferA
	case b && !a:
		return preferB
	}
	return tie
}

// deprecated leaves out IPv4 addresses, mapped and compatible ones among them.
func deprecated(c addrsel.Candidate) bool {
	b := c.Prefix.Addr().As16()
	return c.Deprecated && [10]byte(b[:10]) != [10]byte{}
}

// home is rule 4 of both sections.
func home(a, b addrsel.Candidate) verdict {
	both := func(c addrsel.Candidate) bool { return c.Home && c.CareOf }
	if v := either(both(a), both(b)); v != tie {
		return v
	}
	return either(a.Home && !b.Home, b.Home && !a.Home)
}

// sourceRules are the rules of section 5, in order.
func (m *model) sourceRules(a, b addrsel.Candidate, d netip.Addr) []verdict {
	sa, sb := a.Prefix.Addr(), b.Prefix.Addr()
	rules := []struct {
		rule addrsel.Rules
		v    func() verdict
	}{
		{addrsel.SourceSame, func() verdict { return either(sa == d, sb == d) }},
		{addrsel.SourceScope, func() verdict {
			switch {
			case modelScope(sa) < modelScope(sb):
				if modelScope(sa) < modelScope(d) {
					return preferB
				}
				return preferA
			case modelScope(sb) < modelScope(sa):
				if modelScope(sb) < modelScope(d) {
					return preferA
				}
				return preferB
			}
			return tie
		}},
		{addrsel.SourceDeprecated, func() verdict { return either(!deprecated(a), !deprecated(b)) }},
		{addrsel.SourceHome, func() verdict {
			if m.careOf && !(a.Home && a.CareOf) && !(b.Home && b.CareOf) {
				return home(b, a)
			}
			return home(a, b)
		}},
		{addrsel.SourceOutgoing, func() verdict { return either(a.Outgoing, b.Outgoing) }},
		{addrsel.SourceAdvertised, func() verdict { return either(a.Advertised, b.Advertised) }},
		{addrsel.SourceLabel, func() verdict {
			return either(m.entry(sa).Label == m.entry(d).Label, m.entry(sb).Label == m.entry(d).Label)
		}},
		{addrsel.SourceTemporary, func() verdict {
			if m.public {
				return either(!a.Temporary, !b.Temporary)
			}
			return either(a.Temporary, b.Temporary)
		}},
		{addrsel.SourceLongest, func() verdict {
			ca, cb := modelCommon(a.Prefix, d), modelCommon(b.Prefix, d)
			return either(ca > cb, cb > ca)
		}},
	}
	var vs []verdict
	for _, r := range rules {
		if m.off&r.rule == 0 {
			vs = append(vs, r.v())
		}
	}
	return vs
}

// first returns what the first rule that decides says.
func first(vs []verdict) verdict {
	for _, v := range vs {
		if v != tie {
			return v
		}
	}
	return tie
}

// choose sorts the candidates, literally, and takes the front.
func (m *model) choose(cs []addrsel.Candidate, d netip.Addr) addrsel.Candidate {
	cs = slices.Clone(cs)
	for sorted := false; !sorted; {
		sorted = true
		for i := 1; i < len(cs); i++ {
			if first(m.sourceRules(cs[i-1], cs[i], d)) == preferB {
				cs[i-1], cs[i], sorted = cs[i], cs[i-1], false
			}
		}
	}
	return cs[0]
}

// destinationRules are rules 1 to 9 of section 6, in order.
func (m *model) destinationRules(a, b addrsel.Target) []verdict {
	sourced := !a.Unusable && !b.Unusable
	matching := func(t addrsel.Target) bool { return modelScope(t.Addr) == modelScope(t.Source.Prefix.Addr()) }
	labelled := func(t addrsel.Target) bool { return m.entry(t.Addr).Label == m.entry(t.Source.Prefix.Addr()).Label }
	rules := []struct {
		rule   addrsel.Rules
		source bool // whether it is about sources
		v      func() verdict
	}{
		{addrsel.DestUnusable, false, func() verdict { return either(!a.Unusable, !b.Unusable) }},
		{addrsel.DestScope, true, func() verdict { return either(matching(a), matching(b)) }},
		{addrsel.DestDeprecated, true, func() verdict { return either(!deprecated(a.Source), !deprecated(b.Source)) }},
		{addrsel.DestHome, true, func() verdict { return home(a.Source, b.Source) }},
		{addrsel.DestLabel, true, func() verdict { return either(labelled(a), labelled(b)) }},
		{addrsel.DestPrecedence, false, func() verdict {
			pa, pb := m.entry(a.Addr).Precedence, m.entry(b.Addr).Precedence
			return either(pa > pb, pb > pa)
		}},
		{addrsel.DestNative, false, func() verdict { return either(!a.Tunnel, !b.Tunnel) }},
		{addrsel.DestSmaller, false, func() verdict {
			return either(modelScope(a.Addr) < modelScope(b.Addr), modelScope(b.Addr) < modelScope(a.Addr))
		}},
		{addrsel.DestLongest6, true, func() verdict { return longest(a, b, a.Addr.Is6() && b.Addr.Is6()) }},
		{addrsel.DestLongest4, true, func() verdict { return longest(a, b, a.Addr.Is4() && b.Addr.Is4()) }},
	}
	var vs []verdict
	for _, r := range rules {
		if m.off&r.rule == 0 && (sourced || !r.source) {
			vs = append(vs, r.v())
		}
	}
	return vs
}

func longest(a, b addrsel.Target, applies bool) verdict {
	if !applies {
		return tie
	}
	ca, cb := modelCommon(a.Source.Prefix, a.Addr), modelCommon(b.Source.Prefix, b.Addr)
	return either(ca > cb, cb > ca)
}

// A world makes random addresses that have much in common.
type world struct{ *rand.Rand }

func (w world) pick(from ...string) netip.Addr { return ip(from[w.IntN(len(from))]) }

func (w world) addr6() netip.Addr {
	b := w.pick("fe80::", "fec0::", "2001:db8::", "2001:db8::", "2001::", "2002:c633:6401::", "fd11::", "fd22::", "3ffe::", "::").As16()
	b[5], b[7], b[15] = byte(w.IntN(2)), byte(w.IntN(3)), byte(2+w.IntN(4))
	return netip.AddrFrom16(b)
}

func (w world) addr4() netip.Addr {
	b := w.pick("169.254.0.0", "10.0.0.0", "198.51.100.0").As4()
	b[2], b[3] = b[2]+byte(w.IntN(2)), byte(1+w.IntN(9))
	return netip.AddrFrom4(b)
}

func (w world) destination() netip.Addr {
	switch w.IntN(8) {
	case 0, 1, 2:
		return w.addr4()
	case 3:
		return w.pick("ff02::1", "ff05::2", "ff08::3", "ff0e::4")
	}
	return w.addr6()
}

func (w world) candidate(v4 bool) addrsel.Candidate {
	a, n := w.addr6(), []int{128, 64, 64, 48, 10}[w.IntN(5)]
	if v4 {
		a, n = w.addr4(), []int{32, 24, 16, 8}[w.IntN(4)]
	}
	return addrsel.Candidate{
		Prefix: netip.PrefixFrom(a, n), Deprecated: w.IntN(3) == 0, Home: w.IntN(4) == 0, CareOf: w.IntN(4) == 0,
		Temporary: w.IntN(2) == 0, Outgoing: w.IntN(3) > 0, Advertised: w.IntN(2) == 0,
	}
}

// config returns a random policy, and the model of it.
func (w world) config() (addrsel.Config, *model) {
	c := addrsel.Config{PreferPublic: w.IntN(4) == 0, PreferCareOf: w.IntN(4) == 0}
	if w.IntN(2) == 0 {
		a, b := w.Uint32(), w.Uint32() // a quarter of the rules
		c.Off = addrsel.Rules(a&b) & (addrsel.DestLongest4<<1 - 1)
	}
	if w.IntN(2) == 0 {
		c.Policy = []addrsel.Row{row("::/0", uint32(w.IntN(3)), 1)}
		for _, p := range []string{"fe80::/10", "2001:db8::/32", "2001:db8:1::/47", "2002::/16", "fc00::/7", "fd11::/16", "10.0.0.0/8", "::ffff:0:0/96", "ff00::/8"} {
			if w.IntN(2) == 0 {
				c.Policy = append(c.Policy, row(p, uint32(w.IntN(3)), uint32(w.IntN(3))))
			}
		}
		w.Shuffle(len(c.Policy), func(i, j int) { c.Policy[i], c.Policy[j] = c.Policy[j], c.Policy[i] })
	}
	m := &model{policy: c.Policy, off: c.Off, public: c.PreferPublic, careOf: c.PreferCareOf}
	if len(m.policy) == 0 {
		m.policy = addrsel.DefaultPolicy()
	}
	return c, m
}

// The source is the one that section 5, done literally, comes to.
func TestSourcesAgainstModel(t *testing.T) {
	w := world{rand.New(rand.NewPCG(6724, 5))}
	decided := make(map[netip.Addr]bool)
	for range 10_000 {
		c, m := w.config()
		s, d := selector(t, c), w.destination()
		var cs []addrsel.Candidate
		for range 1 + w.IntN(8) {
			cs = append(cs, w.candidate(d.Is4()))
		}
		got, _ := source(s, cs, d)
		want := m.choose(cs, d)
		if got != want {
			t.Fatalf("to %v of %v: %+v, the model has %+v\n%+v", d, cs, got, want, c)
		}
		decided[got.Prefix.Addr()] = true
	}
	if len(decided) < 50 {
		t.Errorf("only %d addresses were ever chosen: the cases are too much alike", len(decided))
	}
}

// The order is one that section 6 allows for every pair, and is the literal one where
// rule 9 does not compare some pairs and leave others.
func TestDestinationsAgainstModel(t *testing.T) {
	w := world{rand.New(rand.NewPCG(6724, 6))}
	for range 10_000 {
		c, m := w.config()
		s := selector(t, c)
		family := w.IntN(3) // IPv4, IPv6, both
		var ts []addrsel.Target
		for range 2 + w.IntN(6) {
			d := w.destination()
			for family != 2 && d.Is4() != (family == 0) {
				d = w.destination()
			}
			ts = append(ts, addrsel.Target{Addr: d, Unusable: w.IntN(6) == 0 && c.Off&addrsel.DestUnusable == 0, Source: w.candidate(d.Is4()), Tunnel: w.IntN(4) == 0})
		}
		got := slices.Clone(ts)
		s.Sort(got)
		for i, a := range got {
			for _, b := range got[i+1:] {
				if a.Addr.Is4() == b.Addr.Is4() && first(m.destinationRules(a, b)) == preferB {
					t.Fatalf("%+v stands before %+v\n%+v", a, b, c)
				}
			}
		}
		if family == 2 {
			for i, a := range got[:len(got)-1] {
				if b := got[i+1]; first(m.destinationRules(a, b)) == preferB {
					t.Fatalf("%+v stands before %+v\n%+v", a, b, c)
				}
			}
			continue
		}
		if want := m.sort(ts); !slices.Equal(got, want) {
			t.Fatalf("got  %+v\nwant %+v\n%+v", got, want, c)
		}
	}
}

// sort puts each destination behind the last one that is not worse (rule 10).
func (m *model) sort(ts []addrsel.Target) (out []addrsel.Target) {
	for _, t := range ts {
		at := len(out)
		for at > 0 && first(m.destinationRules(out[at-1], t)) == preferB {
			at--
		}
		out = slices.Insert(out, at, t)
	}
	return out
}
