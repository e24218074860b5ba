package steer_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
	"github.com/pvdstack/pvdstack/pvd/steer"
)

// registry returns a host with PvDs of these names, each with its zones.
func registry(t *testing.T, names []string, zones map[string][]string) (*pvd.Registry, map[string]pvd.Ref) {
	t.Helper()
	r := pvd.NewRegistry(pvd.RegistryConfig{})
	t.Cleanup(r.Close)
	refs := make(map[string]pvd.Ref)
	for _, n := range names {
		ref, err := r.Add(t.Context(), func(b *pvd.Builder) {
			b.SetName(n)
			b.SetID(pvd.ID(n + ".example"))
			if z := zones[n]; z != nil {
				addinfo.DNSZones.Set(b, z)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		refs[n] = ref
	}
	return r, refs
}

func TestP36_P38_LongestSuffixWins(t *testing.T) {
	r, refs := registry(t, []string{"corp", "lab", "hotel", "home"}, map[string][]string{
		"lab": {"lab.corp.test", "deep.eng.corp.test."}, "hotel": {"corp.test", "bank.test"},
	})
	s, err := steer.New(steer.Config{
		Host:    r,
		Table:   []steer.Entry{{"corp.test", "corp"}, {"Eng.Corp.Test.", "home.example"}, {"gone.test", "nobody"}},
		Trusted: func(i *pvd.Info) bool { return i.Name() != "hotel" },
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		host, want string
	}{
		{"corp.test", "corp"},
		{"WIKI.corp.test.", "corp"},
		{"notcorp.test", ""},
		{"test", ""},
		{"x.lab.corp.test", "lab"},      // a claim with a longer suffix than the entry's
		{"eng.corp.test", "home"},       // by ID
		{"a.deep.eng.corp.test", "lab"}, // likewise
		{"www.bank.test", ""},           // claimed by one that is not trusted
		{"10.0.0.1", ""},                // no name
		{"2001:db8::1", ""},             //
		{"", ""},                        //
		{"x.gone.test", "!"},            // an entry's PvD that is not there: no fallback
		{"gone.test.corp.test", "corp"}, //
	}
	for _, tt := range tests {
		ref, err := s.SelectPvD(t.Context(), pvd.Call{Host: tt.host})
		switch {
		case tt.want == "!":
			if !errors.Is(err, pvd.ErrNoPvD) {
				t.Errorf("%q: %v, %v, want ErrNoPvD", tt.host, ref, err)
			}
		case err != nil || ref != refs[tt.want]:
			t.Errorf("%q: %v, %v, want %q (%v)", tt.host, ref, err, tt.want, refs[tt.want])
		}
	}
}

// next is a selector with one opinion.
type next pvd.Ref

func (n next) SelectPvD(context.Context, pvd.Call) (pvd.Ref, error) { return pvd.Ref(n), nil }

func TestNextSelector(t *testing.T) {
	r, refs := registry(t, []string{"corp", "home"}, nil)
	s, err := steer.New(steer.Config{Host: r, Table: []steer.Entry{{"corp.test", "corp"}}, Next: next(refs["home"])})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{"a.corp.test": "corp", "elsewhere.test": "home", "192.0.2.1": "home"} {
		if ref, err := s.SelectPvD(t.Context(), pvd.Call{Host: host}); err != nil || ref != refs[want] {
			t.Errorf("%s: %v, %v, want %s", host, ref, err, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	many := make([]steer.Entry, steer.MaxEntries+1)
	for i := range many {
		many[i] = steer.Entry{Suffix: fmt.Sprintf("d%d.test", i), PvD: "x"}
	}
	for _, table := range [][]steer.Entry{{{"", "x"}}, {{"a.test", ""}}, {{"a.test", "x"}, {"A.test.", "y"}}, many} {
		if _, err := steer.New(steer.Config{Table: table}); err == nil {
			t.Errorf("a table of %d entries is taken", len(table))
		}
	}
	if _, err := steer.New(steer.Config{Table: many[1:]}); err != nil {
		t.Error(err)
	}
}

// TestFigure4 holds the cases of RFC 6731 figure 4.
func TestFigure4(t *testing.T) {
	const a, b = pvd.Ref(101), pvd.Ref(102)
	domains := []string{"corp.test"}
	tests := []struct {
		a, b              steer.Claim
		general, specific []pvd.Ref
	}{
		{steer.Claim{}, steer.Claim{}, []pvd.Ref{a, b}, []pvd.Ref{a, b}},
		{steer.Claim{}, steer.Claim{Preference: pvd.High, Domains: domains}, []pvd.Ref{a, b}, []pvd.Ref{a, b}},
		{steer.Claim{Preference: pvd.Low}, steer.Claim{}, []pvd.Ref{b, a}, []pvd.Ref{b, a}},
		{steer.Claim{Preference: pvd.Low, Domains: domains}, steer.Claim{}, []pvd.Ref{b, a}, []pvd.Ref{a, b}},
	}
	for i, tt := range tests {
		tt.a.PvD, tt.a.Default, tt.a.Trusted = a, true, true
		tt.b.PvD, tt.b.Default = b, true
		for _, claims := range [][]steer.Claim{{tt.a, tt.b}, {tt.b, tt.a}} {
			if got := steer.Order(claims, "www.elsewhere.test"); !slices.Equal(got, tt.general) {
				t.Errorf("case %d, any name: %v, want %v", i+1, got, tt.general)
			}
			if got := steer.Order(claims, "www.corp.test"); !slices.Equal(got, tt.specific) {
				t.Errorf("case %d, name in the domain: %v, want %v", i+1, got, tt.specific)
			}
		}
	}
	// One that is no default is asked for its own names only.
	only := []steer.Claim{{PvD: a, Domains: domains, Trusted: true}}
	if got := steer.Order(only, "elsewhere.test"); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestP39_OneListForAll has one PvD's servers be asked for every name, whatever other PvDs
// claim: what is in the table goes before it.
func TestP39_OneListForAll(t *testing.T) {
	r, refs := registry(t, []string{"corp", "home"}, map[string][]string{"home": {"home.test"}})
	s, err := steer.New(steer.Config{
		Host: r, Table: []steer.Entry{{".", "corp"}, {"home.test", "corp"}},
		Trusted: func(*pvd.Info) bool { return true }, Next: next(refs["home"]),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"a.home.test", "www.example", "single"} {
		if ref, err := s.SelectPvD(t.Context(), pvd.Call{Host: host}); err != nil || ref != refs["corp"] {
			t.Errorf("%s: %v, %v, want corp", host, ref, err)
		}
	}
}

// TestFind has the PvDs of entries found by somebody else, who may know better.
func TestFind(t *testing.T) {
	lost := errors.New("lost")
	s, err := steer.New(steer.Config{
		Table: []steer.Entry{{Suffix: "corp.example", PvD: "corp"}, {Suffix: "lost.example", PvD: "lost"}},
		Find: func(name string) (pvd.Ref, error) {
			if name == "lost" {
				return pvd.Unspecified, lost
			}
			return 1 << 20, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if ref, err := s.SelectPvD(t.Context(), pvd.Call{Host: "www.corp.example"}); err != nil || ref != 1<<20 {
		t.Errorf("%v, %v", ref, err)
	}
	if _, err := s.SelectPvD(t.Context(), pvd.Call{Host: "lost.example"}); !errors.Is(err, lost) || err.Error() != `names in "lost.example.": lost` {
		t.Error(err)
	}
}
