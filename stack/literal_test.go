package stack

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseLiteral(t *testing.T) {
	for s, want := range map[string]literal{
		"192.168.1.1":          {netip.MustParseAddr("192.168.1.1"), ""},
		"192.168.1.1%corp":     {netip.MustParseAddr("192.168.1.1"), "corp"},
		"192.168.1.1%pvd#17":   {netip.MustParseAddr("192.168.1.1"), "pvd#17"},
		"::ffff:10.0.0.1%corp": {netip.MustParseAddr("10.0.0.1"), "corp"},
		"fe80::1%lab":          {netip.MustParseAddr("fe80::1"), "lab"},
		"fe80::1%a%b":          {netip.MustParseAddr("fe80::1"), "a%b"},
		"2001:db8::1%x.y":      {netip.MustParseAddr("2001:db8::1"), "x.y"},
	} {
		if got, ok := parseLiteral(s); !ok || got != want {
			t.Errorf("%q: %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "%", "%corp", "192.168.1.1%", "fe80::1%", "wiki", "wiki%corp", "192.168.1%corp", "[::1]"} {
		if got, ok := parseLiteral(s); ok {
			t.Errorf("%q is taken for %v", s, got)
		}
	}
}

// FuzzParseLiteral holds that what package netip takes for an address is the same one here,
// that nothing else is but for the zones of IPv4, and that what is written out is read back.
func FuzzParseLiteral(f *testing.F) {
	for _, s := range []string{
		"", "192.168.1.1", "192.168.1.1%corp", "192.168.1.1%", "fe80::1%corp.example.com", "::ffff:1.2.3.4%x",
		"2001:db8::1%pvd#17", "wiki.example", "1.2.3.4%%", "::%%", "%", "fe80::1%25eth0", "::1%\x00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, ok := parseLiteral(s)
		a, err := netip.ParseAddr(s)
		bare, zone, _ := strings.Cut(s, "%")
		switch {
		case !ok:
			if err == nil {
				t.Fatalf("%q is no literal, but %v", s, a)
			}
			return
		case !l.addr.IsValid(), l.addr.Zone() != "", l.addr.Is4In6(), l.zone != zone:
			t.Fatalf("%q: %#v", s, l)
		case err == nil && a.WithZone("").Unmap() != l.addr:
			t.Fatalf("%q: %v, want %v", s, l, a)
		case err != nil && !strings.Contains(bare, "."):
			t.Fatalf("%q: %v, want %v", s, l, err) // only IPv4 has more
		}
		out := l.addr.String()
		if l.zone != "" {
			out += "%" + l.zone
		}
		if again, ok := parseLiteral(out); !ok || again != l {
			t.Fatalf("%q is read as %v, written as %q and read as %v", s, l, out, again)
		}
	})
}
