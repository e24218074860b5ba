package addrsel_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addrsel"
)

func TestValidate(t *testing.T) {
	many := make([]addrsel.Row, addrsel.MaxRows+1)
	scopes := make([]addrsel.Scope4, addrsel.MaxScopes+1)
	for i := range many {
		many[i] = row(fmt.Sprintf("2001:db8:%x::/48", i), 1, 1)
		scopes[i] = addrsel.Scope4{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i)}), 32), Scope: 2}
	}
	scope := func(p string, s addrsel.Scope) []addrsel.Scope4 {
		return []addrsel.Scope4{{Prefix: netip.MustParsePrefix(p), Scope: s}}
	}
	for _, tt := range []struct {
		c    addrsel.Config
		want string
	}{
		{addrsel.Config{}, ""},
		{addrsel.Config{Policy: addrsel.DefaultPolicy(), Off: addrsel.DestLongest, Order: addrsel.SourceFirst}, ""},
		{addrsel.Config{Policy: many[1:]}, ""},
		{addrsel.Config{Policy: many}, "policy: 257 rows, the limit is 256"},
		{addrsel.Config{Policy: []addrsel.Row{{}}}, "policy: invalid Prefix is not a valid prefix"},
		{addrsel.Config{Policy: []addrsel.Row{row("10.0.0.0/8", 1, 1), row("::ffff:10.1.0.0/104", 1, 1)}}, "policy: ::ffff:10.1.0.0/104 stands twice"},
		{addrsel.Config{Policy: []addrsel.Row{row("::/0", 1<<31, 1)}}, "policy: ::/0: precedence and label are at most 2147483647"},
		{addrsel.Config{Policy: []addrsel.Row{row("::/0", 1, 1<<31)}}, "policy: ::/0: precedence and label are at most 2147483647"},
		{addrsel.Config{Scopes4: scopes[1:]}, ""},
		{addrsel.Config{Scopes4: scopes}, "scopes of IPv4 addresses: 257 prefixes, the limit is 256"},
		{addrsel.Config{Scopes4: scope("2001:db8::/32", 2)}, "scopes of IPv4 addresses: 2001:db8::/32 is not an IPv4 prefix"},
		{addrsel.Config{Scopes4: scope("::/0", 2)}, "scopes of IPv4 addresses: ::/0 is not an IPv4 prefix"},
		{addrsel.Config{Scopes4: scope("10.0.0.0/8", 16)}, "scopes of IPv4 addresses: 10.0.0.0/8: scope 16 is above 15"},
		{addrsel.Config{Scopes4: append(scope("10.0.0.0/8", 1), scope("10.1.0.0/8", 1)...)}, "scopes of IPv4 addresses: 10.1.0.0/8 stands twice"},
		{addrsel.Config{Off: 1 << 30}, "off: 0x40000000 is no rule"},
		{addrsel.Config{Order: 3}, "order 3 is none"},
	} {
		err := tt.c.Validate()
		if got := fmt.Sprint(err); got != tt.want && !(err == nil && tt.want == "") {
			t.Errorf("%v, want %q", err, tt.want)
		}
		if s, err := addrsel.New(tt.c); (err == nil) != (tt.want == "") || (s == nil) != (err != nil) {
			t.Errorf("New: %v, %v", s, err)
		}
	}
}

// What a PvD carries under the key is its own copy.
func TestKey(t *testing.T) {
	c := policy(row("10.0.0.0/8", 1, 2))
	c.Scopes4 = []addrsel.Scope4{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Scope: addrsel.SiteLocal}}
	e := addrsel.Key.With(c)
	want := c.Clone()
	c.Policy[0].Label, c.Scopes4[0].Scope = 99, 1
	if got := e.Value(); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	if k, ok := pvd.KeyNamed("address selection"); !ok || k != addrsel.Key.Any() {
		t.Errorf("%v, %v", k, ok)
	}
}

func TestTable(t *testing.T) {
	for _, tt := range []struct {
		addr              string
		precedence, label uint32
	}{
		{"::1", 50, 0},
		{"2001:db8::1", 40, 1},
		{"ff02::1", 40, 1},
		{"fe80::1%lan", 40, 1},
		{"10.0.0.1", 35, 4},
		{"::ffff:10.0.0.1", 35, 4},
		{"2002:a00::1", 30, 2},
		{"2001:0:1::1", 5, 5},
		{"fd00::1", 3, 13},
		{"::10.0.0.1", 1, 3},
		{"fec0::1", 1, 11},
		{"3ffe::1", 1, 12},
	} {
		s := addrsel.Default()
		if p, l := s.Precedence(ip(tt.addr)), s.Label(ip(tt.addr)); p != tt.precedence || l != tt.label {
			t.Errorf("%s: %d, %d", tt.addr, p, l)
		}
	}
	// An IPv4 row, and what no row is for.
	s := selector(t, addrsel.Config{Policy: []addrsel.Row{row("10.0.0.0/8", 7, 8), row("10.1.0.0/16", 9, 10)}})
	for addr, want := range map[string]string{"10.2.0.1": "7 8", "10.1.0.1": "9 10", "192.0.2.1": "40 1", "::1": "40 1"} {
		if got := fmt.Sprint(s.Precedence(ip(addr)), s.Label(ip(addr))); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}

func TestScope(t *testing.T) {
	s := addrsel.Default()
	own := selector(t, addrsel.Config{Scopes4: []addrsel.Scope4{
		{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Scope: addrsel.SiteLocal},
		{Prefix: netip.MustParsePrefix("::ffff:10.1.0.0/112"), Scope: 8},
	}})
	for _, tt := range []struct {
		addr     string
		def, own addrsel.Scope
	}{
		{"::1", 2, 2},
		{"fe80::1%lan", 2, 2},
		{"fec0::1%lan", 5, 5},
		{"fd00::1", 14, 14},
		{"2001:db8::1", 14, 14},
		{"ff01::1", 1, 1},
		{"ff02::1", 2, 2},
		{"ff05::1", 5, 5},
		{"ff08::1", 8, 8},
		{"ff0e::1", 14, 14},
		{"224.0.0.1", 2, 2},
		{"239.0.0.1", 14, 14},
		{"127.0.0.1", 2, 14},
		{"169.254.1.1", 2, 14},
		{"10.0.0.1", 14, 5},
		{"::ffff:10.1.0.1", 14, 8},
		{"100.64.0.1", 14, 14},
		{"192.168.0.1", 14, 14},
	} {
		if a, b := s.Scope(ip(tt.addr)), own.Scope(ip(tt.addr)); a != tt.def || b != tt.own {
			t.Errorf("%s: %d and %d, want %d and %d", tt.addr, a, b, tt.def, tt.own)
		}
	}
}

func TestDefaultIsTheZeroConfig(t *testing.T) {
	if !reflect.DeepEqual(addrsel.Default(), selector(t, addrsel.Config{})) {
		t.Error("it is not")
	}
	if got := strings.Count(fmt.Sprint(addrsel.DefaultPolicy()), "/"); got != 9 {
		t.Errorf("%d rows", got)
	}
}
