package addrsel_test

import (
	"net/netip"
	"testing"

	"github.com/pvdstack/pvdstack/pvd/addrsel"
)

// Each rule decides between two sources, and without the rule the next one that tells them
// apart does, for the other one.
func TestSourceRulesOneByOne(t *testing.T) {
	tests := []struct {
		name, dst, with, without string
		rule                     addrsel.Rules
	}{
		{"1", "2001:db8:1::1", "2001:db8:1::1 deprecated", "2001:db8:2::1", addrsel.SourceSame},
		{"2 too small", "2001:db8:1::1", "2001:db8:2::1 deprecated", "fe80::1", addrsel.SourceScope},
		{"2 too large", "fe80::9", "fe80::1 deprecated", "2001:db8:2::1", addrsel.SourceScope},
		{"2 larger of the small", "ff0e::1", "fec0::1 deprecated", "fe80::1", addrsel.SourceScope},
		{"3", "2001:db8:1::1", "2001:db8:2::1", "2001:db8:3::1 deprecated home", addrsel.SourceDeprecated},
		{"4", "2001:db8:1::1", "2001:db8:2::1 home elsewhere", "2001:db8:3::1", addrsel.SourceHome},
		{"4 both", "2001:db8:1::1", "2001:db8:2::1 home care-of elsewhere", "2001:db8:3::1 home", addrsel.SourceHome},
		{"5", "2001:db8:1::1", "2001:db8:2::1", "2001:db8:3::1 elsewhere advertised", addrsel.SourceOutgoing},
		{"5.5", "2001:db8:1::1", "2002::1 advertised", "2001:db8:3::1", addrsel.SourceAdvertised},
		{"6", "2001:db8:1::1", "2001:db8:2::1", "2002::1 temporary", addrsel.SourceLabel},
		{"7", "2001:db8:1::1", "2001:db8:2::1 temporary", "2001:db8:1::2", addrsel.SourceTemporary},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cs := candidates(tt.with + "," + tt.without)
			if got, _ := source(addrsel.Default(), cs, ip(tt.dst)); got != cs[0] {
				t.Errorf("with the rule: %v", got)
			}
			if got, _ := source(selector(t, addrsel.Config{Off: tt.rule}), cs, ip(tt.dst)); got != cs[1] {
				t.Errorf("without the rule: %v", got)
			}
		})
	}
	t.Run("8", func(t *testing.T) {
		cs, dst := candidates("2001:db8:9::1, 2001:db8:1::2"), ip("2001:db8:1::1")
		if got, _ := source(addrsel.Default(), cs, dst); got != cs[1] {
			t.Errorf("with the rule: %v", got)
		}
		if got, _ := source(selector(t, addrsel.Config{Off: addrsel.SourceLongest}), cs, dst); got != cs[0] {
			t.Errorf("without the rule: %v is not the first", got)
		}
	})
}

// CommonPrefixLen ends with the source's own prefix (RFC 6724 section 2.2).
func TestRule8EndsWithThePrefix(t *testing.T) {
	for _, tt := range []struct{ a, b, dst string }{
		{"2001:db8::2/32", "2001:db8::1:3/32", "2001:db8::1:4"},
		{"fe80::1/64", "fe80::2:1/64", "fe80::2:2"},
		{"10.0.0.2/24", "10.0.0.9/24", "10.0.0.8"},
	} {
		cs := []addrsel.Candidate{{Prefix: netip.MustParsePrefix(tt.a)}, {Prefix: netip.MustParsePrefix(tt.b)}}
		if got, _ := source(addrsel.Default(), cs, ip(tt.dst)); got != cs[0] {
			t.Errorf("to %s: %v, although they are equal within their prefixes", tt.dst, got)
		}
	}
}

func TestReversedRules(t *testing.T) {
	public := candidates("2001:db8:1::1 temporary, 2001:db8:1::2")
	if got, _ := source(selector(t, addrsel.Config{PreferPublic: true}), public, ip("2001:db8::1")); got != public[1] {
		t.Errorf("public: %v", got)
	}
	careOf := candidates("2001:db8:1::1 home, 2001:db8:1::2 care-of, 2001:db8:1::3 home care-of")
	s := selector(t, addrsel.Config{PreferCareOf: true})
	if got, _ := source(s, careOf[:2], ip("2001:db8::1")); got != careOf[1] {
		t.Errorf("care-of: %v", got)
	}
	if got, _ := source(s, careOf, ip("2001:db8::1")); got != careOf[2] {
		t.Errorf("at home: %v", got)
	}
}

// S60 and Windows before Vista take the first address of the interface, whatever it is
// (RFC 6419 sections 3.1.1 and 3.2.1.2).
func TestP33_FirstAddress(t *testing.T) {
	cs := candidates("fe80::1 deprecated, 2001:db8:1::1, 2001:db8:1::2 temporary")
	if got, _ := source(selector(t, addrsel.Config{FirstAddress: true}), cs, ip("2001:db8:1::2")); got != cs[0] {
		t.Errorf("%v is not the first", got)
	}
}

// IPv4 addresses are never deprecated, nor are those that stand for one.
func TestIPv4IsPreferred(t *testing.T) {
	for _, s := range []string{"10.0.0.1", "::ffff:10.0.0.1", "::1", "::10.0.0.1"} {
		a := addrsel.Candidate{Prefix: netip.PrefixFrom(ip(s), 8), Deprecated: true}
		b := a
		b.Deprecated = false
		q := addrsel.Default().For(ip("192.0.2.1"))
		if q.Rank(&a) != q.Rank(&b) {
			t.Errorf("%s counts as deprecated", s)
		}
	}
}

// Android 2.2 has all rules but 3, 4 and 7, and does not sort IPv4 by rule 9
// (RFC 6419 section 3.1.4, whose rule 7 is that for destinations).
func TestP25_Android22(t *testing.T) {
	android := selector(t, addrsel.Config{Off: addrsel.SourceDeprecated | addrsel.SourceHome | addrsel.SourceTemporary |
		addrsel.DestDeprecated | addrsel.DestHome | addrsel.DestNative | addrsel.DestLongest4})
	for _, tt := range []struct{ candidates, dst, standard, android string }{
		{"2001:db8:1::1 deprecated, 2001:db8:2::1", "2001:db8:1::9", "2001:db8:2::1", "2001:db8:1::1"},
		{"2001:db8:1::1, 2001:db8:2::1 home", "2001:db8:1::9", "2001:db8:2::1", "2001:db8:1::1"},
		{"2001:db8:1::1, 2001:db8:2::1 temporary", "2001:db8:1::9", "2001:db8:2::1", "2001:db8:1::1"},
		{"fe80::1, 2001:db8:2::1", "2001:db8:1::9", "2001:db8:2::1", "2001:db8:2::1"},
		{"2002::1, 2001:db8:2::1", "2002:1::9", "2002::1", "2002::1"},
	} {
		cs := candidates(tt.candidates)
		if got, _ := source(addrsel.Default(), cs, ip(tt.dst)); got.Prefix.Addr() != ip(tt.standard) {
			t.Errorf("%s to %s: %v by default", tt.candidates, tt.dst, got)
		}
		if got, _ := source(android, cs, ip(tt.dst)); got.Prefix.Addr() != ip(tt.android) {
			t.Errorf("%s to %s: %v on Android", tt.candidates, tt.dst, got)
		}
	}
	for _, tt := range []struct{ sources, dst, standard, android string }{
		{"10.0.0.2", "192.0.2.1, 10.0.0.9", "10.0.0.9 src 10.0.0.2, 192.0.2.1 src 10.0.0.2", "192.0.2.1 src 10.0.0.2, 10.0.0.9 src 10.0.0.2"},
		{
			"2001:db8:1::2, fe80::2 deprecated", "2001:db8:1::1, fe80::1",
			"2001:db8:1::1 src 2001:db8:1::2, fe80::1 src fe80::2", "fe80::1 src fe80::2, 2001:db8:1::1 src 2001:db8:1::2",
		},
		{
			"2001:db8:1::2", "2001:db8:3::1, 2001:db8:1::1",
			"2001:db8:1::1 src 2001:db8:1::2, 2001:db8:3::1 src 2001:db8:1::2", "2001:db8:1::1 src 2001:db8:1::2, 2001:db8:3::1 src 2001:db8:1::2",
		},
	} {
		cs := candidates(tt.sources)
		if got := sorted(addrsel.Default(), cs, tt.dst); got != tt.standard {
			t.Errorf("%s by default: %s", tt.dst, got)
		}
		if got := sorted(android, cs, tt.dst); got != tt.android {
			t.Errorf("%s on Android: %s", tt.dst, got)
		}
	}
}
