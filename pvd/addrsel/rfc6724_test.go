package addrsel_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/pvd/addrsel"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// candidate parses an address with its properties behind it. Prefixes are of the usual
// length.
func candidate(s string) addrsel.Candidate {
	f := strings.Fields(s)
	a := ip(f[0])
	n := 64
	if a.Is4() {
		n = 24
	}
	c := addrsel.Candidate{Prefix: netip.PrefixFrom(a, n), Outgoing: true}
	for _, p := range f[1:] {
		switch p {
		case "deprecated":
			c.Deprecated = true
		case "home":
			c.Home = true
		case "care-of":
			c.CareOf = true
		case "temporary":
			c.Temporary = true
		case "elsewhere":
			c.Outgoing = false
		case "advertised":
			c.Advertised = true
		default:
			panic(p)
		}
	}
	return c
}

func candidates(list string) []addrsel.Candidate {
	var cs []addrsel.Candidate
	for s := range strings.SplitSeq(list, ",") {
		cs = append(cs, candidate(s))
	}
	return cs
}

// source chooses from candidates of the destination's family; ok is false if there are
// none.
func source(s *addrsel.Selector, cs []addrsel.Candidate, dst netip.Addr) (best addrsel.Candidate, ok bool) {
	q := s.For(dst)
	var most addrsel.Rank
	for _, c := range cs {
		if c.Prefix.Addr().Is4() != dst.Is4() {
			continue
		}
		if r := q.Rank(&c); !ok || r > most {
			best, most, ok = c, r, true
		}
	}
	return best, ok
}

// sorted orders destinations and returns each with its source, as RFC 6724 writes it.
func sorted(s *addrsel.Selector, cs []addrsel.Candidate, dsts string) string {
	var ts []addrsel.Target
	for d := range strings.SplitSeq(dsts, ",") {
		t := addrsel.Target{Addr: ip(strings.TrimSpace(d))}
		var ok bool
		t.Source, ok = source(s, cs, t.Addr)
		t.Unusable = !ok
		ts = append(ts, t)
	}
	s.Sort(ts)
	var out []string
	for _, t := range ts {
		if t.Unusable {
			out = append(out, t.Addr.String())
		} else {
			out = append(out, t.Addr.String()+" src "+t.Source.Prefix.Addr().String())
		}
	}
	return strings.Join(out, ", ")
}

func selector(t testing.TB, c addrsel.Config) *addrsel.Selector {
	t.Helper()
	s, err := addrsel.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// policy is the default table with other rows, which replace those of the same prefix.
func policy(rows ...addrsel.Row) addrsel.Config {
	table := slices.DeleteFunc(addrsel.DefaultPolicy(), func(d addrsel.Row) bool {
		return slices.ContainsFunc(rows, func(r addrsel.Row) bool { return r.Prefix == d.Prefix })
	})
	return addrsel.Config{Policy: append(table, rows...)}
}

func row(p string, precedence, label uint32) addrsel.Row {
	return addrsel.Row{Prefix: netip.MustParsePrefix(p), Precedence: precedence, Label: label}
}

// All examples of RFC 6724 section 10, with its misprints corrected: in 10.1 the first
// result lacks ":3", and in 10.6 the destination ff00:1 is no address.
func TestRFC6724Section10Sources(t *testing.T) {
	tests := []struct{ name, dst, candidates, want string }{
		{"10.1 appropriate scope", "2001:db8:1::1", "2001:db8:3::1, fe80::1", "2001:db8:3::1"},
		{"10.1 appropriate scope, multicast", "ff05::1", "2001:db8:3::1, fe80::1", "2001:db8:3::1"},
		{"10.1 same address", "2001:db8:1::1", "2001:db8:1::1 deprecated, 2001:db8:2::1", "2001:db8:1::1"},
		{"10.1 scope before deprecation", "fe80::1", "fe80::2 deprecated, 2001:db8:1::1", "fe80::2"},
		{"10.1 longest prefix", "2001:db8:1::1", "2001:db8:1::2, 2001:db8:3::2", "2001:db8:1::2"},
		{"10.1 home address", "2001:db8:1::1", "2001:db8:1::2 care-of, 2001:db8:3::2 home", "2001:db8:3::2"},
		{"10.1 matching label", "2002:c633:6401::1", "2002:c633:6401::d5e3:7953:13eb:22e8 temporary, 2001:db8:1::2", "2002:c633:6401::d5e3:7953:13eb:22e8"},
		{"10.1 temporary address", "2001:db8:1::d5e3:0:0:1", "2001:db8:1::2, 2001:db8:1::d5e3:7953:13eb:22e8 temporary", "2001:db8:1:0:d5e3:7953:13eb:22e8"},
	}
	ula := selector(t, policy(row("fd11:1111:1111::/48", 45, 14)))
	check := func(t *testing.T, s *addrsel.Selector, dst, from, want string) {
		t.Helper()
		cs := candidates(from)
		for range 2 {
			if got, _ := source(s, cs, ip(dst)); got.Prefix.Addr() != ip(want) {
				t.Errorf("to %s of %v: %v, want %s", dst, cs, got.Prefix.Addr(), want)
			}
			slices.Reverse(cs) // the order of candidates does not matter
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, addrsel.Default(), tt.dst, tt.candidates, tt.want) })
	}
	t.Run("10.6 multicast", func(t *testing.T) {
		check(t, ula, "ff0e::1", "2001:db8:1::1, fd11:1111:1111:1::1", "2001:db8:1::1")
	})
}

func TestRFC6724Section10Destinations(t *testing.T) {
	standard := addrsel.Config{}
	prefer4 := policy(row("::ffff:0:0/96", 100, 4))
	preferGlobal := policy(row("fe80::/10", 33, 1))
	twoISPs := policy(row("2001:db8:1aaa::/48", 43, 6), row("2001:db8:1bbb::/48", 43, 6))
	ula := policy(row("fd11:1111:1111::/48", 45, 14))
	sixToFour := policy(row("2002:c633:6401::/48", 45, 14))
	tests := []struct {
		name              string
		config            addrsel.Config
		sources, dst, out string
	}{
		{
			"10.2 matching scope", standard, "2001:db8:1::2, fe80::1, 169.254.13.78", "2001:db8:1::1, 198.51.100.121",
			"2001:db8:1::1 src 2001:db8:1::2, 198.51.100.121 src 169.254.13.78",
		},
		{
			"10.2 matching scope, IPv4", standard, "fe80::1, 198.51.100.117", "2001:db8:1::1, 198.51.100.121",
			"198.51.100.121 src 198.51.100.117, 2001:db8:1::1 src fe80::1",
		},
		{
			"10.2 precedence", standard, "2001:db8:1::2, fe80::1, 10.1.2.4", "2001:db8:1::1, 10.1.2.3",
			"2001:db8:1::1 src 2001:db8:1::2, 10.1.2.3 src 10.1.2.4",
		},
		{
			"10.2 smaller scope", standard, "2001:db8:1::2, fe80::2", "2001:db8:1::1, fe80::1",
			"fe80::1 src fe80::2, 2001:db8:1::1 src 2001:db8:1::2",
		},
		{
			"10.2 home address", standard, "2001:db8:1::2 care-of, 2001:db8:3::1 home, fe80::2 care-of", "2001:db8:1::1, fe80::1",
			"2001:db8:1::1 src 2001:db8:3::1, fe80::1 src fe80::2",
		},
		{
			"10.2 deprecated", standard, "2001:db8:1::2, fe80::2 deprecated", "2001:db8:1::1, fe80::1",
			"2001:db8:1::1 src 2001:db8:1::2, fe80::1 src fe80::2",
		},
		{
			"10.2 longest prefix", standard, "2001:db8:1::2, 2001:db8:3f44::2, fe80::2", "2001:db8:1::1, 2001:db8:3ffe::1",
			"2001:db8:1::1 src 2001:db8:1::2, 2001:db8:3ffe::1 src 2001:db8:3f44::2",
		},
		{
			"10.2 matching label", standard, "2002:c633:6401::2, fe80::2", "2002:c633:6401::1, 2001:db8:1::1",
			"2002:c633:6401::1 src 2002:c633:6401::2, 2001:db8:1::1 src 2002:c633:6401::2",
		},
		{
			"10.2 precedence, 6to4", standard, "2002:c633:6401::2, 2001:db8:1::2, fe80::2", "2002:c633:6401::1, 2001:db8:1::1",
			"2001:db8:1::1 src 2001:db8:1::2, 2002:c633:6401::1 src 2002:c633:6401::2",
		},

		{
			"10.3 unchanged, scope", prefer4, "2001:db8::2, fe80::1, 169.254.13.78", "2001:db8::1, 198.51.100.121",
			"2001:db8::1 src 2001:db8::2, 198.51.100.121 src 169.254.13.78",
		},
		{
			"10.3 unchanged, IPv4", prefer4, "fe80::1, 198.51.100.117", "2001:db8::1, 198.51.100.121",
			"198.51.100.121 src 198.51.100.117, 2001:db8::1 src fe80::1",
		},
		{
			"10.3 IPv4 first", prefer4, "2001:db8::2, fe80::1, 10.1.2.4", "2001:db8::1, 10.1.2.3",
			"10.1.2.3 src 10.1.2.4, 2001:db8::1 src 2001:db8::2",
		},

		{
			"10.4 global first", preferGlobal, "2001:db8::2, fe80::2", "2001:db8::1, fe80::1",
			"2001:db8::1 src 2001:db8::2, fe80::1 src fe80::2",
		},
		{
			"10.4 unchanged, deprecated", preferGlobal, "2001:db8::2 deprecated, fe80::2", "2001:db8::1, fe80::1",
			"fe80::1 src fe80::2, 2001:db8::1 src 2001:db8::2",
		},

		{
			"10.5 default, site B", standard, "2001:db8:1aaa::a, 2001:db8:70aa::a, fe80::a", "2001:db8:1bbb::b, 2001:db8:70bb::b",
			"2001:db8:70bb::b src 2001:db8:70aa::a, 2001:db8:1bbb::b src 2001:db8:1aaa::a",
		},
		{
			"10.5 default, site C", standard, "2001:db8:1aaa::a, 2001:db8:70aa::a, fe80::a", "2001:db8:1ccc::c, 2001:db8:6ccc::c",
			"2001:db8:1ccc::c src 2001:db8:1aaa::a, 2001:db8:6ccc::c src 2001:db8:70aa::a",
		},
		{
			"10.5 site B", twoISPs, "2001:db8:1aaa::a, 2001:db8:70aa::a, fe80::a", "2001:db8:1bbb::b, 2001:db8:70bb::b",
			"2001:db8:1bbb::b src 2001:db8:1aaa::a, 2001:db8:70bb::b src 2001:db8:70aa::a",
		},
		{
			"10.5 site C", twoISPs, "2001:db8:1aaa::a, 2001:db8:70aa::a, fe80::a", "2001:db8:1ccc::c, 2001:db8:6ccc::c",
			"2001:db8:6ccc::c src 2001:db8:70aa::a, 2001:db8:1ccc::c src 2001:db8:70aa::a",
		},

		{
			"10.6 default", standard, "2001:db8:1::1, fd11:1111:1111:1::1", "2001:db8:2::2, fd22:2222:2222:2::2",
			"2001:db8:2::2 src 2001:db8:1::1, fd22:2222:2222:2::2 src fd11:1111:1111:1::1",
		},
		{
			"10.6 unchanged", ula, "2001:db8:1::1, fd11:1111:1111:1::1", "2001:db8:2::2, fd22:2222:2222:2::2",
			"2001:db8:2::2 src 2001:db8:1::1, fd22:2222:2222:2::2 src fd11:1111:1111:1::1",
		},
		{
			"10.6 ULA first", ula, "2001:db8:1::1, fd11:1111:1111:1::1", "2001:db8:2::2, fd11:1111:1111:2::2",
			"fd11:1111:1111:2::2 src fd11:1111:1111:1::1, 2001:db8:2::2 src 2001:db8:1::1",
		},

		{
			"10.7 default", standard, "2002:c633:6401::2, 10.1.2.3", "2001:db8:1::1, 203.0.113.1",
			"203.0.113.1 src 10.1.2.3, 2001:db8:1::1 src 2002:c633:6401::2",
		},
		{
			"10.7 6to4 first", sixToFour, "2002:c633:6401:1::1, 10.1.2.3", "2002:c633:6401:2::2, 203.0.113.1",
			"2002:c633:6401:2::2 src 2002:c633:6401:1::1, 203.0.113.1 src 10.1.2.3",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, cs := selector(t, tt.config), candidates(tt.sources)
			if got := sorted(s, cs, tt.dst); got != tt.out {
				t.Errorf("got  %s\nwant %s", got, tt.out)
			}
			// The rules decide, not the order in which the destinations came.
			a, b, _ := strings.Cut(tt.dst, ", ")
			if got := sorted(s, cs, b+", "+a); got != tt.out {
				t.Errorf("reversed: got %s\nwant %s", got, tt.out)
			}
		})
	}
}
