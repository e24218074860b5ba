package selection_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	. "github.com/pvdstack/pvdstack/pvd/selection"
)

// A source makes decisions from a fuzzer's octets; when they run out all are 0.
type source []byte

func (s *source) pick(n int) int {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return int(b) % n
}

func (s *source) flip() bool { return s.pick(2) == 1 }

// A modelPvD is a PvD in the plainest terms.
type modelPvD struct {
	name           string
	tech           pvd.Technology
	metric         uint32
	speed, cost    int // -1: not known
	metered        bool
	noInternet     bool
	leaving        bool
	groups         []string
	addr4, addr6   bool
	route4, route6 bool
}

func (s *source) modelPvD(i int) modelPvD {
	p := modelPvD{
		name:   fmt.Sprintf("p%d", i),
		tech:   []pvd.Technology{"", pvd.Wired, pvd.WLAN, pvd.Cellular, "lte", "odd"}[s.pick(6)],
		metric: uint32(s.pick(3)), speed: s.pick(4) - 1, cost: s.pick(4) - 1,
	}
	bits := s.pick(256)
	p.metered, p.noInternet, p.leaving = bits&1 != 0, bits&2 != 0, bits&12 == 12
	p.addr4, p.addr6, p.route4, p.route6 = bits&16 == 0, bits&32 != 0, bits&64 != 0, bits&128 != 0
	for _, g := range []string{"g", "h"} {
		if s.pick(3) == 0 {
			p.groups = append(p.groups, g)
		}
	}
	return p
}

func (p *modelPvD) describe(b *pvd.Builder) {
	down(b)
	var addrs, rs []string
	for _, part := range []struct {
		on   bool
		to   *[]string
		what string
	}{
		{on: p.addr4, to: &addrs, what: "10.0.0.2/8"},
		{on: p.addr6, to: &addrs, what: "2001:db8::2/64"},
		{on: p.route4, to: &rs, what: "0.0.0.0/0"},
		{on: p.route6, to: &rs, what: "::/0"},
	} {
		if part.on {
			*part.to = append(*part.to, part.what)
		}
	}
	addresses(addrs...)(b)
	routes(rs...)(b)
	if p.tech != "" {
		access(p.tech)(b)
	}
	if p.metric > 0 {
		with(pvd.Metric, p.metric)(b)
	}
	if p.speed >= 0 {
		with(pvd.Speed, uint64(p.speed))(b)
	}
	if p.cost >= 0 {
		with(pvd.Cost, uint32(p.cost))(b)
	}
	if p.leaving {
		with(pvd.Ends, time.Unix(1, 0))(b)
	}
	with(pvd.Metered, p.metered)(b)
	with(pvd.NoInternet, p.noInternet)(b)
	groups(p.groups...)(b)
}

// A modelProperty is a property and what it literally means.
type modelProperty struct {
	Property

	of func(*modelPvD) bool
}

func (p *modelPvD) kind() pvd.Technology {
	if p.tech == "lte" {
		return pvd.Cellular
	}
	return p.tech
}

func modelProperties() []modelProperty {
	ps := []modelProperty{
		{Available, func(p *modelPvD) bool { return p.addr4 || p.addr6 }},
		{IPv4, func(p *modelPvD) bool { return p.addr4 }},
		{IPv6, func(p *modelPvD) bool { return p.addr6 }},
		{Routed, func(p *modelPvD) bool { return p.addr4 && p.route4 || p.addr6 && p.route6 }},
		{Internet, func(p *modelPvD) bool { return !p.noInternet && (p.addr4 && p.route4 || p.addr6 && p.route6) }},
		{Metered, func(p *modelPvD) bool { return p.metered }},
		{Technologies(pvd.WLAN), func(p *modelPvD) bool { return p.tech == pvd.WLAN }},
		{Technologies("lte"), func(p *modelPvD) bool { return p.tech == "lte" }},
		{Technologies("odd", pvd.Wired), func(p *modelPvD) bool { return p.tech == "odd" || p.tech == pvd.Wired }},
		{AnyCellular, func(p *modelPvD) bool { return p.kind() == pvd.Cellular }},
		{AnyWireless, func(p *modelPvD) bool { return p.kind() == pvd.Cellular || p.tech == pvd.WLAN }},
		{InGroup("h"), func(p *modelPvD) bool { return slices.Contains(p.groups, "h") }},
		{InGroup("g"), func(p *modelPvD) bool {
			return slices.Contains(p.groups, "g") || slices.Contains(groupG, p.name)
		}},
	}
	for n := range 3 {
		name := fmt.Sprintf("p%d", n)
		ps = append(
			ps,
			modelProperty{Named(name), func(p *modelPvD) bool { return p.name == name }},
			modelProperty{MinSpeed(uint64(n)), func(p *modelPvD) bool { return p.speed >= 0 && p.speed >= n }},
			modelProperty{AtMost(pvd.Speed, uint64(n)), func(p *modelPvD) bool { return p.speed >= 0 && p.speed <= n }},
			modelProperty{MaxCost(uint32(n)), func(p *modelPvD) bool { return p.cost >= 0 && p.cost <= n }},
			modelProperty{AtLeast(pvd.Cost, uint32(n)), func(p *modelPvD) bool { return p.cost >= 0 && p.cost >= n }},
		)
	}
	return ps
}

// groupG is the policy's order of the group g.
var groupG = []string{"p3", "p1"}

type modelRequirement struct {
	Requirement

	of func(*modelPvD) bool
}

func (s *source) modelRequirements() (rs []modelRequirement) {
	all := modelProperties()
	for range s.pick(6) {
		p := all[s.pick(len(all))]
		rs = append(rs, modelRequirement{Requirement{Level(s.pick(5)) - 2, p.Property}, p.of})
	}
	return rs
}

// modelRank is the order of the package's documentation, word by word.
func modelRank(ps []modelPvD, rs []modelRequirement, criteria []string) []string {
	said := slices.ContainsFunc(rs, func(r modelRequirement) bool { return r.Property == Available })
	fulfils := func(p *modelPvD) bool {
		if !said && !p.addr4 && !p.addr6 {
			return false
		}
		for _, r := range rs {
			if r.Level == Required && !r.of(p) || r.Level == Prohibited && r.of(p) {
				return false
			}
		}
		return true
	}
	order := []pvd.Technology{pvd.Wired, pvd.WLAN, pvd.Bluetooth, pvd.Cellular, pvd.VPN, pvd.Virtual}
	technology := func(p *modelPvD) int {
		if i := slices.Index(order, p.kind()); i >= 0 {
			return i
		}
		return len(order)
	}
	known := func(v int) int { // what is not known comes last
		if v < 0 {
			return 1 << 20
		}
		return v
	}
	before := func(a, b *modelPvD) bool {
		if a.leaving != b.leaving {
			return b.leaving
		}
		for _, r := range rs {
			if x, y := r.of(a), r.of(b); x != y && r.Level == Preferred {
				return x
			} else if x != y && r.Level == Avoided {
				return y
			}
		}
		for _, r := range rs {
			if r.Property != InGroup("g") || r.Level != Required {
				continue // the policy orders no other group
			}
			if x, y := modelPlace(a), modelPlace(b); x != y {
				return x < y
			}
		}
		for _, c := range criteria {
			var x, y int
			switch c {
			case "metric":
				x, y = int(a.metric), int(b.metric)
			case "technology":
				x, y = technology(a), technology(b)
			case "cost":
				x, y = known(a.cost), known(b.cost)
			case "speed":
				x, y = -a.speed, -b.speed
			}
			if x != y {
				return x < y
			}
		}
		return false // the order of attachment
	}
	var ranked []*modelPvD
	for i := range ps {
		if !fulfils(&ps[i]) {
			continue
		}
		at := len(ranked)
		for at > 0 && before(&ps[i], ranked[at-1]) {
			at--
		}
		ranked = slices.Insert(ranked, at, &ps[i])
	}
	var names []string
	for _, p := range ranked {
		names = append(names, p.name)
	}
	return names
}

func modelPlace(p *modelPvD) int {
	if i := slices.Index(groupG, p.name); i >= 0 {
		return i
	}
	return len(groupG)
}

// checkRank compares Rank with the model in one case.
func checkRank(t *testing.T, data []byte) {
	s := source(data)
	ps := make([]modelPvD, 1+s.pick(8))
	for i := range ps {
		ps[i] = s.modelPvD(i)
	}
	model := s.modelRequirements()
	names := [][]string{{"metric", "technology"}, {"cost", "speed"}, {"technology", "speed", "cost", "metric"}, {}}[s.pick(4)]
	named := map[string]Criterion{
		"metric": ByMetric, "technology": ByTechnology, "cost": Lowest(pvd.Cost), "speed": Highest(pvd.Speed),
	}
	policy := Policy{Criteria: []Criterion{}, Groups: []Group{{Name: "g", Members: groupG}}}
	for _, n := range names {
		policy.Criteria = append(policy.Criteria, named[n])
	}
	w := newWorld(t)
	defer w.reg.Close()
	for i := range ps {
		w.add(ps[i].name, ps[i].describe)
	}
	var rs Requirements
	for _, r := range model {
		rs = append(rs, r.Requirement)
	}
	infos := w.infos()
	got, err := policy.Rank(infos, rs)
	want := modelRank(ps, model, names)
	if contradiction, ok := errors.AsType[*ContradictionError](err); ok {
		musts := !slices.ContainsFunc(contradiction.Of, func(r Requirement) bool { return r.Level != Required && r.Level != Prohibited })
		if musts && len(want) > 0 {
			t.Errorf("%v: %q fulfil %v", err, want, rs)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	var gotNames []string
	for _, i := range got {
		gotNames = append(gotNames, i.Name())
	}
	if !slices.Equal(gotNames, want) {
		t.Errorf("%v by %q: %q, want %q\n%+v", rs, names, gotNames, want, ps)
	}
	// Of each two the same one is chosen as among all, unless they are tied.
	for i := range got {
		for j := range got[:i] {
			two := []modelPvD{ps[place(got[i])], ps[place(got[j])]}
			best, err := policy.Best([]*pvd.Info{got[i], got[j]}, rs)
			if want := modelRank(two, model, names); err != nil || best.Name() != want[0] {
				t.Errorf("%v: %v, %v of two, want %q", rs, best, err, want)
			}
		}
	}
	best, err := policy.Best(infos, rs)
	if len(want) == 0 && err == nil || len(want) > 0 && (err != nil || best.Name() != want[0]) {
		t.Errorf("%v: the best one is %v, %v; want %q", rs, best, err, want)
	}
}

// place returns which of the model's PvDs an Info is of.
func place(i *pvd.Info) int { return int(i.Name()[1] - '0') }

// Ranking is the documented order, in 10,000 random cases: it is total and stable, and
// nobody who fails a must is in it.
func TestRankProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	n := 10_000
	if testing.Short() {
		n = 1000
	}
	for i := range n {
		data := make([]byte, 160)
		for j := range data {
			data[j] = byte(r.Uint32())
		}
		if checkRank(t, data); t.Failed() {
			t.Fatalf("case %d", i)
		}
	}
}

func FuzzRank(f *testing.F) {
	f.Add([]byte("some PvDs and some requirements that somebody has of them"))
	f.Fuzz(checkRank)
}
