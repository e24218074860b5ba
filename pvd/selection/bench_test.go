package selection_test

import (
	"fmt"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	. "github.com/pvdstack/pvdstack/pvd/selection"
)

// many returns a world of 10,000 PvDs that differ.
func many(b *testing.B) *world {
	w := newWorld(b)
	techs := []pvd.Technology{pvd.Wired, pvd.WLAN, pvd.Cellular, "lte"}
	for i := range 10_000 {
		w.add(fmt.Sprintf("pvd%d", i), access(techs[i%4]), with(pvd.Metric, uint32(i%7)), with(pvd.Speed, uint64(i)),
			with(pvd.Metered, i%3 == 0), groups(fmt.Sprintf("group%d", i%10)))
	}
	return w
}

// Selecting among 10,000 PvDs: at most 1 ms.
func BenchmarkSelect10000(b *testing.B) {
	w := many(b)
	for _, bm := range []struct {
		name string
		a    Action
	}{
		{"Plain", Choose()},
		{"Preferences", Choose(Require(AnyCellular), Require(MinSpeed(100)), Prohibit(Metered), Prefer(IPv4), Avoid(InGroup("group3")))},
		{"Named", Choose(Require(Named("pvd9999")))},
		{"Group", Choose(Require(InGroup("group7")))},
		{"Cost", Choose().By(Policy{Criteria: []Criterion{Lowest(pvd.Cost), Highest(pvd.Speed)}})},
		{"Spread", Choose().By(Policy{Tie: TieSpread})},
	} {
		b.Run(bm.name, func(b *testing.B) {
			m := w.manager(Config{Rules: []Rule{{Action: bm.a}}})
			call := to("192.0.2.1", 80)
			for b.Loop() {
				if _, err := m.SelectPvD(b.Context(), call); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Selecting where policy hides a half of them, by name, and what would be best: at most 1 ms.
func BenchmarkPermit10000(b *testing.B) {
	w := many(b)
	for _, what := range []pvd.Permission{pvd.Allowed, pvd.Denied} {
		b.Run(what.String(), func(b *testing.B) {
			p := &pvd.Policy{Default: pvd.Denied - what}
			for i := range 10 {
				r := pvd.PolicyRule{Apps: []string{"ga*"}, What: what}
				for n := range 500 {
					r.PvDs = append(r.PvDs, fmt.Sprintf("pvd%d", 10_000-1-(i*500+n)*2))
				}
				p.Rules = append(p.Rules, r)
			}
			may := p.Permits("game") // kept, as a host does
			m := w.manager(Config{
				Rules:  []Rule{{Action: Choose().By(Policy{Criteria: []Criterion{Highest(pvd.Speed)}})}},
				Permit: func(string) func(*pvd.Info) bool { return may },
			})
			for b.Loop() {
				if _, err := m.SelectPvD(b.Context(), pvd.Call{App: "game"}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A change among 10,000 PvDs, and selecting after each.
func BenchmarkChange10000(b *testing.B) {
	w := many(b)
	m := w.manager(Config{Rules: []Rule{{Action: Choose()}}})
	refs := w.reg.List()
	for i := 0; b.Loop(); i++ {
		w.update(refs[i%len(refs)], with(pvd.Cost, uint32(i)))
		if _, err := m.SelectPvD(b.Context(), pvd.Call{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRank10000(b *testing.B) {
	infos := many(b).infos()
	for b.Loop() {
		if _, err := Rank(infos, Requirements{Prefer(AnyCellular)}); err != nil {
			b.Fatal(err)
		}
	}
}

// 1,000 rules of each kind, of which the last one is met.
func BenchmarkRules1000(b *testing.B) {
	w := newWorld(b)
	for _, bm := range []struct {
		name string
		rule func(i int) Rule
	}{
		{"Apps", func(i int) Rule { return Rule{Apps: []string{fmt.Sprintf("app%d", i)}} }},
		{"Domains", func(i int) Rule { return Rule{Domains: []string{fmt.Sprintf("d%d.example", i)}} }},
		{"Prefixes", func(i int) Rule { return Rule{Destinations: prefixes(fmt.Sprintf("10.%d.%d.0/24", i/256, i%256))} }},
		{"Marks", func(i int) Rule { return Rule{Marks: []Mark{{Value: uint32(i)}}} }},
		{"MaskedMarks", func(i int) Rule { return Rule{Marks: []Mark{{Value: uint32(i) << 4, Mask: 0xfffff0}}} }},
	} {
		b.Run(bm.name, func(b *testing.B) {
			rules := make([]Rule, 1000)
			for i := range rules {
				rules[i] = bm.rule(i)
				rules[i].Action = Use(pvd.Ref(100 + i))
			}
			m := w.manager(Config{Rules: rules})
			call := pvd.Call{App: "app999", Network: "tcp", Host: "www.d999.example", Mark: 999}
			switch bm.name {
			case "Prefixes":
				call = to("10.3.231.1", 80)
			case "MaskedMarks":
				call.Mark = 999 << 4
			}
			for b.Loop() {
				if ref, err := m.SelectPvD(b.Context(), call); err != nil || ref != 100+999 {
					b.Fatal(ref, err)
				}
			}
		})
	}
}

// Nothing fulfils the first rule, and the next one decides.
func BenchmarkOrNext10000(b *testing.B) {
	w := many(b)
	m := w.manager(Config{Rules: []Rule{{Action: Choose(Require(InGroup("none"))).OrNext()}, {Action: Choose()}}})
	for b.Loop() {
		if _, err := m.SelectPvD(b.Context(), pvd.Call{}); err != nil {
			b.Fatal(err)
		}
	}
}
