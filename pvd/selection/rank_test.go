package selection_test

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	. "github.com/pvdstack/pvdstack/pvd/selection"
)

// The order of package documentation, point by point: each PvD differs from the one before
// in one thing.
func TestOrder(t *testing.T) {
	w := newWorld(t)
	for _, p := range []struct {
		name  string
		edits []edit
	}{
		{"leaving", []edit{with(pvd.Ends, time.Now()), access(pvd.WLAN)}},
		{"late", nil},
		{"cellular", []edit{access(pvd.Cellular)}},
		{"lte", []edit{access("lte"), groups("home")}},
		{"wired", []edit{access(pvd.Wired)}},
		{"metric", []edit{with(pvd.Metric, 1), access(pvd.Wired)}},
		{"wlan", []edit{access(pvd.WLAN), with(pvd.Metric, 7)}},
		{"later", nil},
	} {
		w.add(p.name, p.edits...)
	}
	equal(t, "by default", w.ranked(Policy{}), "wired", "cellular", "lte", "late", "later", "metric", "wlan", "leaving")
	equal(t, "preferring wlan", w.ranked(Policy{}, Prefer(Technologies(pvd.WLAN))),
		"wlan", "wired", "cellular", "lte", "late", "later", "metric", "leaving")
	equal(t, "avoiding wired more than preferring home", w.ranked(Policy{}, Avoid(Technologies(pvd.Wired)), Prefer(InGroup("home"))),
		"lte", "cellular", "late", "later", "wlan", "wired", "metric", "leaving")
	equal(t, "preferring home more than avoiding wired", w.ranked(Policy{}, Prefer(InGroup("home")), Avoid(Technologies(pvd.Wired))),
		"lte", "cellular", "late", "later", "wlan", "wired", "metric", "leaving")
	equal(t, "without criteria", w.ranked(Policy{Criteria: []Criterion{}}),
		"late", "cellular", "lte", "wired", "metric", "wlan", "later", "leaving")
	equal(t, "by technology alone", w.ranked(Policy{Criteria: []Criterion{ByTechnology}}),
		"wired", "metric", "wlan", "cellular", "lte", "late", "later", "leaving")
}

// RFC 9622 section 6.2: musts exclude, preferences order, and the one stated first weighs
// more than all after it.
func TestLevels(t *testing.T) {
	w := newWorld(t)
	w.add("a", with(pvd.Metered, true), with(pvd.Speed, 100))
	w.add("b", with(pvd.Metered, false), with(pvd.Speed, 50))
	w.add("c")
	fast, slow := MinSpeed(100), MinSpeed(10)
	for _, tt := range []struct {
		rs   Requirements
		want []string
	}{
		{nil, []string{"a", "b", "c"}},
		{Requirements{Require(Metered)}, []string{"a"}},
		{Requirements{Prohibit(Metered)}, []string{"b", "c"}},
		{Requirements{Avoid(Metered)}, []string{"b", "c", "a"}},
		{Requirements{Ignore(Metered)}, []string{"a", "b", "c"}},
		{Requirements{Require(fast)}, []string{"a"}},
		{Requirements{Require(slow)}, []string{"a", "b"}}, // nobody knows of c
		{Requirements{Prohibit(slow)}, []string{"c"}},
		{Requirements{Avoid(Metered), Prefer(fast), Prefer(slow)}, []string{"b", "c", "a"}},
		{Requirements{Prefer(slow), Avoid(Metered), Prefer(fast)}, []string{"b", "a", "c"}},
		{Requirements{Prefer(fast), Avoid(Metered)}, []string{"a", "b", "c"}},
		{Requirements{Require(IPv6)}, nil},
		{Requirements{Prohibit(IPv4)}, nil},
	} {
		equal(t, tt.rs.String(), w.ranked(Policy{}, tt.rs...), tt.want...)
	}
}

// TestP14_LowerMetric and the next two are Windows Phone 7's.
func TestP14_LowerMetric(t *testing.T) {
	w := newWorld(t)
	w.add("slow", with(pvd.Metric, 50), access(pvd.Wired))
	w.add("fast", with(pvd.Metric, 10), access(pvd.Cellular))
	equal(t, "by metric", w.ranked(Policy{}), "fast", "slow")
}

func TestP15_DefaultOrderAndOverride(t *testing.T) {
	w := newWorld(t)
	w.add("gprs", access("gprs"))
	w.add("wlan", access(pvd.WLAN))
	w.add("wired", access(pvd.Wired))
	w.add("pigeon", access("pigeon"))
	equal(t, "default", w.ranked(Policy{}), "wired", "wlan", "gprs", "pigeon")
	equal(t, "overridden", w.ranked(Policy{Order: []pvd.Technology{pvd.Cellular, "pigeon"}}), "gprs", "pigeon", "wlan", "wired")
	equal(t, "a kind before its own", w.ranked(Policy{Order: []pvd.Technology{"pigeon", "gprs"}}), "pigeon", "gprs", "wlan", "wired")
	// An application's own mapping, or the operator's for it.
	m := w.manager(Config{
		Apps:  map[string]Policy{"voice": {Order: []pvd.Technology{pvd.Cellular}}},
		Rules: []Rule{{Apps: []string{"tv"}, Action: Choose().By(Policy{Order: []pvd.Technology{"pigeon"}})}, {Action: Choose()}},
	})
	w.selects(m, by("browser", to("192.0.2.1", 80)), "wired")
	w.selects(m, by("voice", to("192.0.2.1", 80)), "gprs")
	w.selects(m, by("tv", to("192.0.2.1", 80)), "pigeon")
}

func TestP16_RequestByTypeSpeedOrName(t *testing.T) {
	w := newWorld(t)
	w.add("umts", access("umts"), with(pvd.Speed, 384_000), id("apn.example"))
	w.add("wlan", access(pvd.WLAN), with(pvd.Speed, 54_000_000))
	last := w.add("wired", access(pvd.Wired), with(pvd.Speed, 1_000_000))
	for _, tt := range []struct {
		p    Property
		want []string
	}{
		{Technologies(pvd.WLAN), []string{"wlan"}},
		{AnyCellular, []string{"umts"}},
		{AnyWireless, []string{"wlan", "umts"}},
		{MinSpeed(1_000_000), []string{"wired", "wlan"}},
		{MinSpeed(1_000_001), []string{"wlan"}},
		{Named("umts"), []string{"umts"}},
		{Named("APN.Example."), []string{"umts"}},
		{Named(last.String()), []string{"wired"}},
		{Named("pvd#4"), nil},
		{Named("nobody"), nil},
		{Is(last), []string{"wired"}},
		{Has(pvd.HasDNS), nil},
	} {
		equal(t, tt.p.String(), w.ranked(Policy{}, Require(tt.p)), tt.want...)
	}
}

// TestP27_Netpolicy is Brew's: technology or group of them, IP version, network profile,
// and the best match by cost, speed, or other rules.
func TestP27_Netpolicy(t *testing.T) {
	w := newWorld(t)
	w.add("cdma", access("cdma"), with(pvd.Cost, 5), with(pvd.Speed, 1), groups("ims"))
	w.add("lte", access("lte"), with(pvd.Cost, 9), with(pvd.Speed, 9), groups("ims"), addresses("2001:db8::2/64"), routes("::/0"))
	w.add("wlan", access(pvd.WLAN), with(pvd.Speed, 5))
	cost, speed := Policy{Criteria: []Criterion{Lowest(pvd.Cost)}}, Policy{Criteria: []Criterion{Highest(pvd.Speed)}}
	equal(t, "any cellular by cost", w.ranked(cost, Require(AnyCellular)), "cdma", "lte")
	equal(t, "any cellular by speed", w.ranked(speed, Require(AnyCellular)), "lte", "cdma")
	equal(t, "any wireless by cost", w.ranked(cost, Require(AnyWireless)), "cdma", "lte", "wlan")
	equal(t, "any wireless by speed", w.ranked(speed, Require(AnyWireless)), "lte", "wlan", "cdma")
	equal(t, "IPv6 of a profile", w.ranked(cost, Require(InGroup("ims")), Require(IPv6)), "lte")
	equal(t, "IPv4 of a profile", w.ranked(cost, Require(InGroup("ims")), Require(IPv4)), "cdma")
}

func TestTraits(t *testing.T) {
	tentative := []pvd.AddressInfo{{Address: pvd.Address{Prefix: pfx("10.0.0.2/8")}, State: pvd.Tentative}}
	w := newWorld(t)
	w.add("full")
	w.add("onlink", routes())
	w.add("partial", routes("10.0.0.0/8"))
	w.add("walled", with(pvd.NoInternet, true))
	w.add("mixed", addresses("10.0.0.2/8"), routes("::/0"))
	w.add("six", addresses("2001:db8::2/64", "fe80::1/64"), routes("::/0"))
	w.add("local", addresses("fe80::1/64"))
	w.add("tentative", with(pvd.Addresses, tentative))
	w.add("nothing", down)
	w.add("portal", with(pvd.CaptivePortal, pvd.Portal{Captive: true}))
	for _, tt := range []struct {
		of   Trait
		want string
	}{
		{Available, "full onlink partial walled mixed six portal"},
		{IPv4, "full onlink partial walled mixed portal"},
		{IPv6, "six"},
		{Routed, "full partial walled six portal"},
		{Internet, "full six portal"},
		{Captive, "portal"},
		{Metered, ""},
		{0, ""},
		{200, ""},
	} {
		equal(t, tt.of.String(), w.ranked(Policy{}, Require(tt.of)), strings.Fields(tt.want)...)
	}
	equal(t, "whether usable or not", w.ranked(Policy{}, Ignore(Available), Prohibit(Routed)),
		"onlink", "mixed", "local", "tentative", "nothing")
}

// Requirements that nobody can fulfil, or that want two things at once, are refused, and
// it is said which.
func TestContradictions(t *testing.T) {
	wlan, wired, both := Technologies(pvd.WLAN), Technologies(pvd.Wired), Technologies(pvd.Wired, pvd.WLAN)
	has := Has(pvd.HasDNS)
	for _, tt := range []struct {
		rs   Requirements
		want string // empty: none
	}{
		{Requirements{Require(Metered), Prohibit(Metered)}, "require metered contradicts prohibit metered"},
		{Requirements{Prohibit(Metered), Require(Metered)}, "prohibit metered contradicts require metered"},
		{Requirements{Prefer(Metered), Avoid(Metered)}, "prefer metered contradicts avoid metered"},
		{Requirements{Require(Metered), Avoid(Metered)}, "require metered contradicts avoid metered"},
		{Requirements{Prohibit(has), Require(has)}, "contradicts"},
		{Requirements{Require(Metered), Ignore(Metered), Prefer(Metered)}, ""},
		{Requirements{Require(Internet), Prohibit(Routed)}, "require the internet contradicts prohibit a route"},
		{Requirements{Require(IPv4), Prohibit(Available)}, "contradicts"},
		{Requirements{Prohibit(Available)}, ""},
		{Requirements{Require(Internet), Avoid(Routed)}, ""}, // odd, but possible
		{Requirements{Prohibit(IPv4), Prohibit(IPv6)}, "require a usable address contradicts prohibit IPv4 contradicts prohibit IPv6"},
		{Requirements{Prohibit(IPv4), Ignore(Available), Prohibit(IPv6)}, ""},
		{Requirements{Require(wlan), Require(wired)}, "require wlan contradicts require wired"},
		{Requirements{Require(wlan), Require(both)}, ""},
		{Requirements{Prohibit(both), Require(wlan)}, "prohibit wired or wlan contradicts require wlan"},
		{Requirements{Require(both), Prohibit(wlan), Prohibit(wired)}, "require wired or wlan contradicts prohibit wlan contradicts prohibit wired"},
		{Requirements{Require(both), Prohibit(wlan)}, ""},
		{Requirements{Require(Technologies("lte")), Require(AnyCellular)}, ""},
		{Requirements{Require(Technologies("lte")), Prohibit(AnyWireless)}, "contradicts"},
		{Requirements{Require(AnyCellular), Prohibit(Technologies("lte"))}, ""},
		{Requirements{Require(Technologies("a", "b")), Require(Technologies("b", "c")), Require(Technologies("a", "c"))}, "contradicts"},
		{Requirements{Require(Technologies())}, "require no technology"},
		{Requirements{Require(MinSpeed(10)), Prohibit(MinSpeed(5))}, "require speed of at least 10 contradicts prohibit speed of at least 5"},
		{Requirements{Require(MinSpeed(5)), Prohibit(MinSpeed(10))}, ""},
		{Requirements{Require(AtLeast(pvd.Cost, 5)), Require(MaxCost(4))}, "require cost of at least 5 contradicts require cost of at most 4"},
		{Requirements{Require(AtLeast(pvd.Cost, 5)), Require(MaxCost(5))}, ""},
		{Requirements{Require(MaxLatency(time.Second)), Prohibit(MaxLatency(2 * time.Second))}, "latency of at most 1s"},
		{Requirements{Require(MaxCost(4)), Require(MinSpeed(9))}, ""},
		{Requirements{Require(Is(20)), Prohibit(Is(20))}, "require pvd#20 contradicts prohibit pvd#20"},
		{Requirements{Require(Is(20)), Prohibit(Is(21)), Prohibit(Metered)}, ""},
		{Requirements{Require(has), Require(IPv4)}, ""},
		{Requirements{Require(Is(20)), Require(Is(21))}, "require pvd#20 contradicts require pvd#21"},
		{Requirements{Ignore(Available), Prohibit(IPv4), Prohibit(IPv4), Prohibit(IPv6)}, ""},
		{Requirements{Require(Named("a")), Prohibit(Named("a"))}, `require the name "a" contradicts`},
		{Requirements{Require(Named("a")), Require(Named("a.example"))}, ""}, // a name and an ID
		{Requirements{Require(InGroup("a")), Prohibit(InGroup("a"))}, "contradicts"},
	} {
		err := tt.rs.Validate()
		var contradiction *ContradictionError
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%v: %v", tt.rs, err)
		case tt.want != "" && (!errors.As(err, &contradiction) || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%v: %v, want %q", tt.rs, err, tt.want)
		}
		if _, got := Rank(nil, tt.rs); (got == nil) != (err == nil) {
			t.Errorf("%v: Rank says %v", tt.rs, got)
		}
	}
}

func TestBadRequirements(t *testing.T) {
	many := make(Requirements, MaxRequirements+1)
	for i := range many {
		many[i] = Prefer(MinSpeed(uint64(i)))
	}
	if err := many[:MaxRequirements].Validate(); err != nil {
		t.Errorf("%d requirements: %v", MaxRequirements, err)
	}
	for _, rs := range []Requirements{many, {Requirement{}}, {Requirement{Level: 3, Property: IPv4}}, {Requirement{Level: -3, Property: IPv4}}} {
		if _, err := Best(nil, rs); err == nil {
			t.Errorf("%v: no error", rs)
		}
	}
	for _, p := range []Policy{
		{Tie: 9},
		{Criteria: []Criterion{{}}},
		{Groups: make([]Group, MaxGroups+1)},
		{Groups: []Group{{}}},
		{Groups: []Group{{Name: "a"}, {Name: "a"}}},
		{Groups: []Group{{Name: "a", Members: make([]string, MaxMembers+1)}}},
	} {
		if _, err := p.Rank(nil, nil); err == nil {
			t.Errorf("%+v: no error", p)
		}
	}
	if got := (Requirements{{}, {Level: 9, Property: Trait(99)}, Avoid(Metered)}).String(); got != "ignore nothing, level 9 trait 99, avoid metered" {
		t.Error(got)
	}
}

// The error says what was required, and what each PvD lacks.
func TestNoneError(t *testing.T) {
	w := newWorld(t)
	w.add("corp", access(pvd.WLAN), with(pvd.Metered, true))
	w.add("home", access(pvd.Wired))
	w.add("dead", down)
	_, err := Best(w.infos(), Requirements{Require(Technologies(pvd.WLAN)), Prohibit(Metered), Prefer(IPv6)})
	const want = "selection: no PvD fulfils: require a usable address, require wlan, prohibit metered; " +
		"corp does not: prohibit metered; home does not: require wlan; dead does not: require a usable address, require wlan"
	var none *NoneError
	if !errors.As(err, &none) || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	if !errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, pvd.ErrNoPvD) {
		t.Error("not as a network without route")
	}
	if len(none.Candidates) != 3 || none.Candidates[0].Name != "corp" || !none.Candidates[0].Ref.Attached() {
		t.Errorf("%+v", none.Candidates)
	}
	if _, err := Best(nil, nil); !strings.Contains(err.Error(), "there is none at all") {
		t.Error(err)
	}
	for range 10 {
		w.add("more", down)
	}
	if _, err := Best(w.infos(), Requirements{Require(IPv6)}); !strings.Contains(err.Error(), "; and 5 more") {
		t.Error(err)
	}
}

// What another package says of PvDs counts as any other element does (R18).
func TestElementsOfOthers(t *testing.T) {
	errorRate := pvd.NewKey[float64]("error rate", nil)
	w := newWorld(t)
	w.add("bad", with(errorRate, 0.2))
	w.add("good", with(errorRate, 0.001))
	w.add("unknown")
	equal(t, "at most", w.ranked(Policy{}, Require(AtMost(errorRate, 0.1))), "good")
	equal(t, "by it", w.ranked(Policy{Criteria: []Criterion{Lowest(errorRate)}}), "good", "bad", "unknown")
}

// A nil Info is nobody, and one that is given twice is there twice.
func TestOddInfos(t *testing.T) {
	w := newWorld(t)
	w.add("a")
	i := w.infos()[0]
	got, err := Rank([]*pvd.Info{nil, i, nil, i}, nil)
	if err != nil || len(got) != 2 || got[0] != i || got[1] != i {
		t.Errorf("%v, %v", got, err)
	}
}
