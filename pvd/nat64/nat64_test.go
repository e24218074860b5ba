package nat64_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/pvdstack/pvdstack/pvd/nat64"
)

// The examples of RFC 6052 section 2.4.
var examples = []struct{ prefix, addr string }{
	{"2001:db8::/32", "2001:db8:c000:221::"},
	{"2001:db8:100::/40", "2001:db8:1c0:2:21::"},
	{"2001:db8:122::/48", "2001:db8:122:c000:2:2100::"},
	{"2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"},
	{"2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"},
	{"2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"},
}

func TestSynthesizeAndExtract(t *testing.T) {
	v4 := netip.MustParseAddr("192.0.2.33")
	for _, x := range examples {
		p, want := netip.MustParsePrefix(x.prefix), netip.MustParseAddr(x.addr)
		got, err := nat64.Synthesize(p, v4)
		if err != nil || got != want {
			t.Errorf("%v: %v, %v; want %v", p, got, err, want)
		}
		if back, ok := nat64.Extract(p, want); !ok || back != v4 {
			t.Errorf("%v: %v has %v, %v in it; want %v", p, want, back, ok, v4)
		}
	}
}

func TestSynthesizeErrors(t *testing.T) {
	tests := []struct {
		prefix, addr string
		want         error
	}{
		{"64:ff9b::/96", "10.0.0.1", nat64.ErrNotGlobal},
		{"64:ff9b::/96", "192.168.1.1", nat64.ErrNotGlobal},
		{"64:ff9b::/96", "224.0.0.1", nat64.ErrNotGlobal},
		{"64:ff9b::/96", "8.8.8.8", nil},
		{"2001:db8::/96", "10.0.0.1", nil},
		{"2001:db8::/33", "8.8.8.8", nat64.ErrPrefix},
		{"10.0.0.0/32", "8.8.8.8", nat64.ErrPrefix},
		{"2001:db8:0:0:100::/96", "8.8.8.8", nat64.ErrPrefix}, // octet 8
		{"2001:db8::/96", "2001:db8::1", nat64.ErrPrefix},
	}
	for _, tt := range tests {
		_, err := nat64.Synthesize(netip.MustParsePrefix(tt.prefix), netip.MustParseAddr(tt.addr))
		if !errors.Is(err, tt.want) {
			t.Errorf("%s in %s: %v, want %v", tt.addr, tt.prefix, err, tt.want)
		}
	}
}

func TestPrefixes(t *testing.T) {
	parse := func(s ...string) (as []netip.Addr) {
		for _, x := range s {
			as = append(as, netip.MustParseAddr(x))
		}
		return as
	}
	tests := []struct {
		name  string
		addrs []netip.Addr
		want  []string
	}{
		{"none", nil, nil},
		{"well known", parse("64:ff9b::c000:aa", "64:ff9b::c000:ab"), []string{"64:ff9b::/96"}},
		{"two networks", parse("2001:db8:1::c000:aa", "2001:db8:122:c000:0:aa00::"), []string{"2001:db8:1::/96", "2001:db8:122::/48"}},
		{"none in it", parse("2001:db8::1"), nil},
		{"in two places", parse("2001:db8:c000:aa::c000:aa"), nil},
		{"an IPv4 address", parse("192.0.0.170"), nil},
	}
	for _, tt := range tests {
		var got []string
		for _, p := range nat64.Prefixes(tt.addrs) {
			got = append(got, p.String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// FuzzRoundTrip holds that what was made with a prefix is found again.
func FuzzRoundTrip(f *testing.F) {
	for _, x := range examples {
		p := netip.MustParsePrefix(x.prefix)
		b := p.Addr().As16()
		f.Add(b[:], p.Bits(), []byte{192, 0, 2, 33})
	}
	f.Fuzz(func(t *testing.T, prefix []byte, bits int, addr []byte) {
		a, ok := netip.AddrFromSlice(prefix)
		v4, ok4 := netip.AddrFromSlice(addr)
		if !ok || !ok4 || bits < 0 || bits > a.BitLen() {
			return
		}
		p := netip.PrefixFrom(a, bits)
		made, err := nat64.Synthesize(p, v4)
		if err != nil {
			return
		}
		if back, ok := nat64.Extract(p, made); !ok || back != v4.Unmap() {
			t.Fatalf("%v in %v is %v, in which there is %v, %v", v4, p, made, back, ok)
		}
	})
}
