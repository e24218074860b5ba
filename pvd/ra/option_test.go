package ra_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// TestOptions encodes each option and decodes it again.
func TestOptions(t *testing.T) {
	p60 := netip.MustParsePrefix("2001:db8:0:fff0::/60")
	options := []ra.Option{
		ra.LinkAddress{MAC: macA},
		pio(prefix1, long, time.Hour),
		ra.PrefixInformation{Prefix: p60, Router: true, Delegation: true, Valid: ra.Infinite, Preferred: ra.Infinite},
		ra.MTU(1400),
		ra.RouteInformation{Prefix: p60, Preference: pvd.High, Lifetime: time.Hour},
		ra.RouteInformation{Prefix: netip.MustParsePrefix("::/0"), Preference: pvd.Low, Lifetime: ra.Infinite},
		ra.RouteInformation{Prefix: netip.MustParsePrefix("2001:db8::1/128"), Lifetime: 0},
		ra.RDNSS{Servers: []netip.Addr{netip.MustParseAddr("2001:db8::53"), routerA}, Lifetime: time.Minute},
		ra.DNSSL{Domains: []string{"example.com", "a.example"}, Lifetime: ra.Infinite},
		ra.PREF64{Prefix: netip.MustParsePrefix("64:ff9b::/96"), Lifetime: 65528 * time.Second},
		ra.PREF64{Prefix: netip.MustParsePrefix("2001:db8::/32"), Lifetime: 8 * time.Second},
		ra.CaptivePortal("https://portal.example/api?x=1"),
		ra.Unrestricted,
		dot(1, "dot.example", server1, routerA),
		ra.EncryptedDNS{Resolver: ra.Resolver{Name: "alias.example"}, Lifetime: ra.Infinite},
		ra.EncryptedDNS{Resolver: ra.Resolver{Priority: 7, Name: "by-name.example"}},
		ra.EncryptedDNS{Resolver: ra.Resolver{Priority: 7, Name: "a.example", Addrs: []netip.Addr{server1}}, Lifetime: time.Second},
		ra.Raw{200, 1, 1, 2, 3, 4, 5, 6},
	}
	want := ra.Advertisement{
		Header: ra.Header{
			HopLimit: 64, Managed: true, Preference: pvd.Low, Lifetime: 9000 * time.Second,
			Reachable: 30 * time.Second, Retransmit: time.Second,
		},
		Options: options,
	}
	got, faults, err := ra.ParseAdvertisement(packet(t, routerA, want).Message)
	if err != nil || len(faults) > 0 {
		t.Fatal(faults, err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// dot is a resolver that speaks DNS over TLS on port 8853.
func dot(priority uint16, name string, addrs ...netip.Addr) ra.EncryptedDNS {
	return ra.EncryptedDNS{
		Resolver: ra.Resolver{
			Priority: priority, Name: name, Addrs: addrs,
			Params: []byte("\x00\x01\x00\x04\x03dot" + "\x00\x03\x00\x02\x22\x95"),
		},
		Lifetime: time.Hour,
	}
}

// TestMalformedOptions puts each malformed option between good ones, outside and inside
// a PvD option: the good ones apply.
func TestMalformedOptions(t *testing.T) {
	prefixOption := func(change func(b []byte)) string {
		b := octets(t, "03 04 40 c0 00000e10 00000e10 00000000 20010db8000900000000000000000000")
		change(b)
		return fmt.Sprintf("%x", b)
	}
	// A resolver a.b at 2001:db8::53 with ALPN "dot".
	resolverOption := func(change func(b []byte)) string {
		b := octets(t, "90 06 0001 00000e10 0005 0161016200 0010 20010db8000000000000000000000053 0008 00010004 03646f74 0000000000")
		change(b)
		return fmt.Sprintf("%x", b)
	}
	tests := []struct{ name, option string }{
		{"prefix of 24 octets", "03 03" + strings.Repeat("00", 22)},
		{"prefix of length 129", prefixOption(func(b []byte) { b[2] = 129 })},
		{"prefix preferred longer than valid", prefixOption(func(b []byte) { b[11]++ })},
		{"prefix link-local", prefixOption(func(b []byte) { b[16], b[17] = 0xfe, 0x80 })},
		{"prefix multicast", prefixOption(func(b []byte) { b[16] = 0xff })},
		{"prefix ::/0", prefixOption(func(b []byte) { b[2] = 0 })},
		{"MTU of 16 octets", "05 02" + strings.Repeat("00", 14)},
		{"link-layer address of 16 octets", "01 02" + strings.Repeat("02", 14)},
		{"route with the reserved preference", "18 02 30 10 00000e10 20010db800090000"},
		{"route too short for its prefix", "18 02 41 00 00000e10 20010db800090000"},
		{"route without prefix", "18 01 01 00 00000e10"},
		{"route of length 129", "18 03 81 00 00000e10" + strings.Repeat("20", 16)},
		{"route of 32 octets", "18 04 30 00 00000e10" + strings.Repeat("20", 24)},
		{"route to multicast", "18 02 10 00 00000e10 ff02000000000000"},
		{"server option without server", "19 01 0000 00000e10"},
		{"server option with half a server", "19 02 0000 00000e10 20010db800000000"},
		{"server multicast", "19 03 0000 00000e10 ff020000000000000000000000000001"},
		{"server ::", "19 03 0000 00000e10" + strings.Repeat("00", 16)},
		{"search list of 8 octets", "1f 01 0000 00000e10"},
		{"search list without name", "1f 02 0000 00000e10 0000000000000000"},
		{"search list cut", "1f 02 0000 00000e10 0761626364656667"},
		{"search list with a long label", "1f 02 0000 00000e10 4061626364656600"},
		{"search list compressed", "1f 02 0000 00000e10 0161c00000000000"},
		{"search list with a dot in a label", "1f 02 0000 00000e10 03612e6200000000"},
		{"search list with a space", "1f 02 0000 00000e10 0361206200000000"},
		{"search list with an escape", "1f 02 0000 00000e10 031b5b4a00000000"},
		{"NAT64 of 8 octets", "26 01 0708 0064ff9b"},
		{"NAT64 with length code 6", "26 02 070e 0064ff9b 0000000000000000"},
		{"NAT64 with length code 7", "26 02 070f 0064ff9b 0000000000000000"},
		{"NAT64 multicast", "26 02 0708 ff64ff9b 0000000000000000"},
		{"resolver of 8 octets", "90 01 0001 00000e10"},
		{"resolver without name", "90 02 0001 00000e10 0000 000000000000"},
		{"resolver with the root's name", "90 02 0001 00000e10 0001 00 0000000000"},
		{"resolver with a name behind the end", resolverOption(func(b []byte) { b[8] = 1 })},
		{"resolver with a name cut", resolverOption(func(b []byte) { b[12] = 9 })},
		{"resolver with two names", resolverOption(func(b []byte) { b[12] = 0 })},
		{"resolver compressed", resolverOption(func(b []byte) { b[12] = 0xc0 })},
		{"resolver with a space in its name", resolverOption(func(b []byte) { b[11] = ' ' })},
		{"resolver with half an address", resolverOption(func(b []byte) { b[16] = 8 })},
		{"resolver with addresses behind the end", resolverOption(func(b []byte) { b[15] = 1 })},
		{"resolver multicast", resolverOption(func(b []byte) { b[17] = 0xff })},
		{"resolver on the host", resolverOption(func(b []byte) { clear(b[17:33]); b[32] = 1 })},
		{"resolver without address", "90 03 0001 00000e10 0003 016100 0000 0004 00010000 000000"},
		{"resolver an alias with addresses", resolverOption(func(b []byte) { b[3] = 0 })},
		{"resolver with parameters behind the end", resolverOption(func(b []byte) { b[34] = 0x40 })},
		{"resolver with octets behind the parameters", "90 07" + resolverOption(func([]byte) {})[4:] + "0000000000000000"},
		{"resolver with a parameter cut", resolverOption(func(b []byte) { b[38] = 5 })},
		{"resolver with half a parameter", resolverOption(func(b []byte) { b[34] = 7; b[38] = 0 })},
		{"resolver with an IPv4 hint", resolverOption(func(b []byte) { b[36] = 4 })},
		{"resolver with an IPv6 hint", resolverOption(func(b []byte) { b[36] = 6 })},
		{"resolver with parameters out of order", resolverOption(func(b []byte) { b[38] = 0; clear(b[39:]) })},
		{"portal empty", "25 01 000000000000"},
		{"portal http", "25 02 687474703a2f2f612f" + "0000000000"},
		{"portal with a malformed host", "25 02 68747470733a2f2f257a7a2f 0000"},
		{"portal with a control character", "25 02 68747470733a2f2f611b00000000"},
		{"portal with a NUL within", "25 02 68747470733a2f2f610061000000"},
	}
	for _, tt := range tests {
		bad := octets(t, tt.option)
		for _, nested := range []bool{false, true} {
			options := []ra.Option{
				pio(prefix1, long, long), ra.Raw(bad),
				ra.RDNSS{Servers: []netip.Addr{netip.MustParseAddr("2001:db8::53")}, Lifetime: long},
			}
			if len(bad) != int(bad[1])*8 {
				t.Fatalf("%s: the test has %d octets", tt.name, len(bad))
			}
			if nested {
				options = []ra.Option{ra.PvDOption{ID: "x.example", Options: options}}
			}
			w := newWorld(t)
			w.hear(routerA, header(long, options...))
			p := w.only()
			list, total := w.Rejections()
			if total != 1 {
				t.Errorf("%s, nested %t: rejections %v", tt.name, nested, list)
			}
			if len(p.Prefixes) != 1 || len(p.Servers) != 1 || len(p.Routes) != 1 ||
				len(p.Search)+len(p.NAT64)+len(p.Portal)+len(p.Resolvers)+p.MTU != 0 || p.Routers[0].MAC != nil {
				t.Errorf("%s, nested %t: got %+v", tt.name, nested, p)
			}
		}
	}
}

// TestLongOptions has options of 256 octets and more, which other code has lost
// advertisements by.
func TestLongOptions(t *testing.T) {
	server := func(i int) netip.Addr {
		a := netip.MustParseAddr("2001:db8::").As16()
		a[15] = byte(i + 1)
		return netip.AddrFrom16(a)
	}
	for size := 256; size <= ra.MaxOption; size += 8 {
		unknown := make(ra.Raw, size)
		unknown[0], unknown[1] = 200, byte(size/8)
		options := []ra.Option{unknown, pio(prefix1, long, long)}
		if (size-8)%16 == 0 {
			var s []netip.Addr
			for i := range (size - 8) / 16 {
				s = append(s, server(i))
			}
			options = append(options, ra.RDNSS{Servers: s, Lifetime: long})
		}
		// 47 octets are around the value of a parameter, and one of padding.
		options = append(options, ra.EncryptedDNS{Resolver: ra.Resolver{
			Priority: 1, Name: "example.org", Addrs: []netip.Addr{server1},
			Params: append([]byte{0, 7, byte((size - 48) >> 8), byte(size - 48)}, make([]byte, size-48)...),
		}})
		options = append(options, ra.CaptivePortal("https://a/"+strings.Repeat("x", size-12)))
		domains := slices.Repeat([]string{strings.Repeat("d", 6)}, (size-8)/8)
		options = append(options, ra.DNSSL{Domains: domains, Lifetime: long})
		inner := make(ra.Raw, size-24) // 24 are the PvD option's own
		inner[0], inner[1] = 201, byte(len(inner)/8)
		options = append(options, ra.PvDOption{ID: "example.org", Options: []ra.Option{inner}})

		want := header(long, options...)
		p := packet(t, routerA, want)
		if err := p.CheckAdvertisement(); err != nil {
			t.Fatal(size, err)
		}
		got, faults, err := ra.ParseAdvertisement(p.Message)
		if err != nil || len(faults) > 0 || !reflect.DeepEqual(got, want) {
			t.Fatalf("options of %d octets: %v %v", size, faults, err)
		}
	}
}

// TestEncodeRefuses has what no option can carry.
func TestEncodeRefuses(t *testing.T) {
	for _, o := range []ra.Option{
		ra.LinkAddress{},
		ra.PrefixInformation{},
		pio(netip.MustParsePrefix("10.0.0.0/8"), long, long),
		ra.RouteInformation{},
		ra.RDNSS{},
		ra.RDNSS{Servers: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
		ra.RDNSS{Servers: make([]netip.Addr, 128)},
		ra.DNSSL{},
		ra.DNSSL{Domains: []string{"a..b"}},
		ra.DNSSL{Domains: slices.Repeat([]string{strings.Repeat("d", 63)}, 40)},
		ra.PREF64{Prefix: netip.MustParsePrefix("2001:db8::/33")},
		ra.CaptivePortal("http://a/"),
		ra.CaptivePortal("https://a/" + strings.Repeat("x", ra.MaxOption-2)),
		ra.EncryptedDNS{},
		ra.EncryptedDNS{Resolver: ra.Resolver{Priority: 1, Name: "a..b"}},
		dot(0, "a.example", server1),
		dot(1, "a.example"),
		dot(1, "a.example", netip.MustParseAddr("192.0.2.1")),
		dot(1, "a.example", slices.Repeat([]netip.Addr{server1}, 128)...),
		dot(1, "a.example", slices.Repeat([]netip.Addr{server1}, 4096)...),
		ra.EncryptedDNS{Resolver: ra.Resolver{Priority: 1, Name: "a", Addrs: []netip.Addr{server1}, Params: []byte{0, 4, 0, 0}}},
		ra.Raw{200, 2, 0, 0, 0, 0, 0, 0},
		ra.Raw{},
		ra.PvDOption{},
		ra.PvDOption{ID: "a..b"},
		ra.PvDOption{ID: "a.example", Delay: 16},
		ra.PvDOption{ID: "a.example", Options: []ra.Option{ra.PvDOption{ID: "b.example"}}},
		ra.PvDOption{ID: "a.example", Options: []ra.Option{make(ra.Raw, 0)}},
		ra.PvDOption{ID: "a.example", Options: []ra.Option{append(ra.Raw{200, 255}, make([]byte, ra.MaxOption-2)...)}},
	} {
		if b, err := header(long, o).Append(nil, routerA, ra.AllNodes); err == nil {
			t.Errorf("%T %v: no error, but %x", o, o, b)
		}
	}
}

// TestNoAddresses encodes messages that come from nowhere.
func TestNoAddresses(t *testing.T) {
	if _, err := header(long).Append(nil, netip.Addr{}, ra.AllNodes); err == nil {
		t.Error("no error for an advertisement without source")
	}
	want := ra.AppendSolicitation(nil, netip.IPv6Unspecified(), macA)
	if got := ra.AppendSolicitation(nil, netip.Addr{}, macA); !slices.Equal(got, want) {
		t.Errorf("solicitation %x, want %x", got, want)
	}
}

// TestRoundedLifetime has RFC 8781 section 4.1: rounded up to units of 8 s.
func TestRoundedLifetime(t *testing.T) {
	for life, want := range map[time.Duration]time.Duration{
		0: 0, time.Second: 8 * time.Second, 8 * time.Second: 8 * time.Second, 9 * time.Second: 16 * time.Second,
		ra.Infinite: 65528 * time.Second,
	} {
		o := ra.PREF64{Prefix: netip.MustParsePrefix("64:ff9b::/96"), Lifetime: life}
		a, _, err := ra.ParseAdvertisement(packet(t, routerA, header(long, o)).Message)
		if err != nil {
			t.Fatal(err)
		}
		if got := a.Options[0].(ra.PREF64).Lifetime; got != want {
			t.Errorf("%v: %v on the wire, want %v", life, got, want)
		}
	}
}
