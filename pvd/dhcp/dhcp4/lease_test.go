package dhcp4

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

func lease(t *testing.T, change ...func(*Message)) *Lease {
	t.Helper()
	m, err := Parse(reply(&Message{}, Ack, change...).Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLease(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestTimes(t *testing.T) {
	for _, tt := range []struct{ lease, t1, t2, wantT1, wantT2 uint32 }{
		{3600, 1800, 3150, 1800, 3150},
		{3600, 0, 0, 1800, 3150},       // absent or 0: the defaults
		{3600, 100, 200, 100, 200},     // as the server has it
		{3600, 0, 1000, 500, 1000},     // half of the lease is after T2
		{3600, 2000, 1000, 500, 1000},  // T1 > T2
		{3600, 1000, 1000, 500, 1000},  // T1 = T2
		{3600, 100, 3600, 100, 3150},   // T2 = lease
		{3600, 100, 9999, 100, 3150},   // T2 > lease
		{3600, 9999, 9999, 1800, 3150}, // both
	} {
		var change []func(*Message)
		if tt.t1 > 0 {
			change = append(change, option(optT1, seconds(tt.t1)...))
		}
		if tt.t2 > 0 {
			change = append(change, option(optT2, seconds(tt.t2)...))
		}
		l := lease(t, append(change, option(optLeaseTime, seconds(tt.lease)...))...)
		if l.T1 != time.Duration(tt.wantT1)*time.Second || l.T2 != time.Duration(tt.wantT2)*time.Second {
			t.Errorf("%+v: T1 %v, T2 %v", tt, l.T1, l.T2)
		}
	}
}

func route(to, via string, metric uint32) pvd.Route {
	r := pvd.Route{To: netip.MustParsePrefix(to), Metric: metric}
	if via != "" {
		r.Via = netip.MustParseAddr(via)
	}
	return r
}

func TestRoutes(t *testing.T) {
	gateway := route("0.0.0.0/0", "192.0.2.1", 0)
	tests := []struct {
		name     string
		change   []func(*Message)
		want     []pvd.Route
		problems int
	}{
		{"router", nil, []pvd.Route{gateway}, 0},
		{"none", []func(*Message){option(optRouters)}, nil, 0},
		{
			"two routers, one twice",
			[]func(*Message){option(optRouters, 192, 0, 2, 1, 192, 0, 2, 2, 192, 0, 2, 1)},
			[]pvd.Route{gateway, route("0.0.0.0/0", "192.0.2.2", 1)},
			0,
		},
		{"router outside", []func(*Message){option(optRouters, 198, 51, 100, 1)}, nil, 1},
		{"router is the address", []func(*Message){option(optRouters, 192, 0, 2, 77)}, nil, 1},
		{"router multicast", []func(*Message){option(optRouters, 224, 0, 0, 2)}, nil, 1},
		{"router of 5 octets", []func(*Message){option(optRouters, 192, 0, 2, 1, 0)}, nil, 1},
		{
			"static",
			[]func(*Message){option(optStaticRoutes, 10, 0, 0, 0, 192, 0, 2, 3, 172, 16, 5, 0, 192, 0, 2, 4)},
			[]pvd.Route{route("10.0.0.0/8", "192.0.2.3", 0), route("172.16.5.0/32", "192.0.2.4", 0), gateway},
			0,
		},
		{"static default", []func(*Message){option(optStaticRoutes, 0, 0, 0, 0, 192, 0, 2, 3)}, []pvd.Route{gateway}, 1},
		{
			"classless over routers and static",
			[]func(*Message){
				option(optClasslessRoute, 8, 10, 192, 0, 2, 9, 0, 192, 0, 2, 8, 32, 198, 51, 100, 1, 0, 0, 0, 0),
				option(optStaticRoutes, 172, 16, 0, 0, 192, 0, 2, 3),
			},
			[]pvd.Route{route("10.0.0.0/8", "192.0.2.9", 0), route("0.0.0.0/0", "192.0.2.8", 0), route("198.51.100.1/32", "", 0)},
			0,
		},
		{
			"classless with bits beyond the width",
			[]func(*Message){option(optClasslessRoute, 20, 10, 1, 255, 192, 0, 2, 9)},
			[]pvd.Route{route("10.1.240.0/20", "192.0.2.9", 0)},
			0,
		},
		{"classless cut short", []func(*Message){option(optClasslessRoute, 24, 10, 1, 2, 192, 0, 2)}, []pvd.Route{gateway}, 1},
		{"classless width 33", []func(*Message){option(optClasslessRoute, 33, 10, 1, 2, 3, 4, 192, 0, 2, 1)}, []pvd.Route{gateway}, 1},
		{
			"classless in halves",
			[]func(*Message){option(optClasslessRoute, 1, 0, 192, 0, 2, 9, 1, 128, 192, 0, 2, 9)},
			[]pvd.Route{route("0.0.0.0/1", "192.0.2.9", 0), route("128.0.0.0/1", "192.0.2.9", 0)},
			0,
		},
		{"classless to 0/8", []func(*Message){option(optClasslessRoute, 8, 0, 192, 0, 2, 1)}, nil, 1},
		{"classless empty", []func(*Message){func(m *Message) { m.Options[optClasslessRoute] = []byte{} }}, []pvd.Route{gateway}, 1},
		{"classless by 127.0.0.1", []func(*Message){option(optClasslessRoute, 8, 10, 127, 0, 0, 1)}, nil, 1},
		{
			"classless twice",
			[]func(*Message){option(optClasslessRoute, 8, 10, 192, 0, 2, 9, 8, 10, 192, 0, 2, 9)},
			[]pvd.Route{route("10.0.0.0/8", "192.0.2.9", 0)},
			0,
		},
		{"static of 7 octets", []func(*Message){option(optStaticRoutes, 10, 0, 0, 0, 192, 0, 2)}, []pvd.Route{gateway}, 1},
		{"classless to 127/8", []func(*Message){option(optClasslessRoute, 8, 127, 192, 0, 2, 1)}, nil, 1},
		{"classless to multicast", []func(*Message){option(optClasslessRoute, 4, 224, 192, 0, 2, 1)}, nil, 1},
		{
			"router of a /32 by a route on the link",
			[]func(*Message){
				option(optMask, 255, 255, 255, 255),
				option(optClasslessRoute, 32, 198, 51, 100, 1, 0, 0, 0, 0, 0, 198, 51, 100, 1),
			},
			[]pvd.Route{route("198.51.100.1/32", "", 0), route("0.0.0.0/0", "198.51.100.1", 0)},
			0,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := lease(t, tt.change...)
			if !slices.Equal(l.Routes, tt.want) || len(l.Problems) != tt.problems {
				t.Errorf("routes %v, problems %q, want %v and %d", l.Routes, l.Problems, tt.want, tt.problems)
			}
		})
	}
}

func TestManyOfEach(t *testing.T) {
	var routes, servers []byte
	for i := range 400 {
		routes = append(routes, 24, 10, byte(i>>8), byte(i), 192, 0, 2, 1)
		servers = append(servers, 198, 51, byte(i>>8), byte(i))
	}
	l := lease(t, option(optClasslessRoute, routes...), option(optDNS, servers...))
	if len(l.Routes) != MaxRoutes || len(l.DNS) != MaxDNS || len(l.Problems) != 2 {
		t.Errorf("%d routes, %d servers, problems %q", len(l.Routes), len(l.DNS), l.Problems)
	}
	l = lease(t, option(optClasslessRoute), option(optRouters, bytes.Repeat([]byte{192, 0, 2, 1, 192, 0, 2, 2}, 90)...))
	if len(l.Routes) != 2 {
		t.Errorf("routes %v", l.Routes)
	}
}

func TestOtherOptions(t *testing.T) {
	search := []byte("\x03eng\x05Apple\x03com\x00\x09marketing\xc0\x04") // RFC 3397 section 3
	tests := []struct {
		name   string
		change func(*Message)
		good   func(*Lease) bool
		bad    bool
	}{
		{"search", option(optSearch, search...), func(l *Lease) bool {
			return slices.Equal(l.SearchList(), []string{"eng.apple.com", "marketing.apple.com"})
		}, false},
		{"search loops", option(optSearch, 1, 'a', 0xc0, 0), func(l *Lease) bool { return l.Search == nil }, true},
		{"search forward", option(optSearch, 0xc0, 2, 1, 'a', 0), func(l *Lease) bool { return l.Search == nil }, true},
		{"search cut short", option(optSearch, 5, 'a'), func(l *Lease) bool { return l.Search == nil }, true},
		{"domain", option(optDomain, []byte("Example.COM.\x00")...), func(l *Lease) bool {
			return l.Domain == "example.com" && slices.Equal(l.SearchList(), []string{"example.com"})
		}, false},
		{"domain with a line feed", option(optDomain, []byte("a\nb")...), func(l *Lease) bool { return l.Domain == "" }, true},
		{"MTU", option(optMTU, 5, 0), func(l *Lease) bool { return l.MTU == 1280 }, false},
		{"MTU 575", option(optMTU, 2, 63), func(l *Lease) bool { return l.MTU == 0 }, true},
		{"MTU of 1 octet", option(optMTU, 2), func(l *Lease) bool { return l.MTU == 0 }, true},
		{"DNS with 0.0.0.0", option(optDNS, 0, 0, 0, 0, 192, 0, 2, 5), func(l *Lease) bool {
			return len(l.DNS) == 1 && l.DNS[0] == netip.MustParseAddr("192.0.2.5")
		}, true},
		{"portal", option(optPortal, []byte("https://example.com/api")...), func(l *Lease) bool { return l.Portal == "https://example.com/api" }, false},
		{"no portal", option(optPortal, []byte("urn:ietf:params:capport:unrestricted")...), func(l *Lease) bool {
			return l.Portal == "urn:ietf:params:capport:unrestricted"
		}, false},
		{"portal by http", option(optPortal, []byte("http://example.com/")...), func(l *Lease) bool { return l.Portal == "" }, true},
		{"resolver", option(optResolvers, 0, 19, 0, 1, 5, 3, 'd', 'n', 's', 0, 4, 192, 0, 2, 5, 0, 1, 0, 2, 1, 'h'), func(l *Lease) bool {
			return len(l.Resolvers) == 1 && l.Resolvers[0].Name == "dns" && l.Resolvers[0].Addrs[0] == netip.MustParseAddr("192.0.2.5")
		}, false},
		{"resolver cut short", option(optResolvers, 0, 99, 0, 1), func(l *Lease) bool { return len(l.Resolvers) == 0 }, true},
		{"no mask", option(optMask), func(l *Lease) bool { return l.Addr.Bits() == 24 }, false},
		{"no mask, class A", func(m *Message) { m.Your = netip.MustParseAddr("10.1.2.3"); option(optMask)(m) }, func(l *Lease) bool { return l.Addr.Bits() == 8 }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := lease(t, tt.change)
			if !tt.good(l) || (len(l.Problems) > 0) != tt.bad {
				t.Errorf("%+v", l)
			}
			// What is bad costs nothing else.
			if tt.name != "no mask, class A" && len(l.Routes) != 1 {
				t.Errorf("routes %v", l.Routes)
			}
		})
	}
}

// TestOverload: options in the fields for names, and one in three pieces over all fields.
func TestOverload(t *testing.T) {
	domain := "a23456789.b23456789.c23456789.example"
	m := reply(&Message{}, Ack, option(optOverload, 3), option(optDomain, []byte(domain[:10])...))
	b := m.Append(nil)
	copy(b[fileAt:], append([]byte{optDomain, 10}, domain[10:20]...))
	copy(b[fileAt+12:], []byte{optMTU, 2, 5, 220, optEnd, 99})
	copy(b[snameAt:], append([]byte{optPad, optDomain, byte(len(domain) - 20)}, domain[20:]...))
	b[snameAt+3+len(domain)-20] = optEnd
	got, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLease(got, 0)
	if err != nil || l.Domain != domain || l.MTU != 1500 {
		t.Errorf("domain %q, MTU %d, %v", l.Domain, l.MTU, err)
	}
	for o, want := range map[byte]string{1: domain[:20], 2: domain[:10] + domain[20:]} {
		i := bytes.Index(b, []byte{optOverload, 1})
		b[i+2] = o
		if got, err = Parse(b); err != nil || string(got.Options[optDomain]) != want {
			t.Errorf("overload %d: %q, %v, want %q", o, got.Options[optDomain], err, want)
		}
	}
	b[bytes.Index(b, []byte{optOverload, 1})+2] = 2
	b[snameAt+2] = 200
	if _, err := Parse(b); err == nil {
		t.Error("an option may reach beyond its field")
	}
}

func TestLongOptions(t *testing.T) {
	for _, n := range []int{0, 1, 255, 256, 510, 511, 2040} {
		want := bytes.Repeat([]byte{7}, n)
		m := reply(&Message{}, Ack, func(m *Message) { m.Options[200] = want })
		got, err := Parse(m.Append(nil))
		if v, ok := got.Options[200]; err != nil || !ok || !bytes.Equal(v, want) {
			t.Errorf("option of %d octets came as %d, %v", n, len(v), err)
		}
	}
	if _, err := Parse(make([]byte, maxMessage+1)); err == nil {
		t.Error("a message may be of any length")
	}
}

func TestRecord(t *testing.T) {
	wall := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	w := newWorld(t)
	l := w.bind()
	b, err := l.Record(wall, w.now)
	if err != nil {
		t.Fatal(err)
	}
	// Another program, an hour less a minute after the lease began.
	age := w.now - l.Obtained
	later := wall.Add(59*time.Minute - age)
	got, err := ParseRecord(b, later, 5*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if got.Addr != l.Addr || got.Server != l.Server || !slices.Equal(got.Routes, l.Routes) || got.Expires != 6*time.Minute {
		t.Errorf("%+v, was %+v", got, l)
	}
	again, err := got.Record(later, 5*time.Minute)
	if err != nil || !bytes.Equal(b, again) {
		t.Errorf("%s became %s, %v", b, again, err)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	with := func(f func(*record)) []byte {
		r := r
		r.Message = bytes.Clone(r.Message)
		f(&r)
		b, _ := json.Marshal(r)
		return b
	}
	for name, b := range map[string][]byte{
		"not JSON":  []byte("{"),
		"empty":     nil,
		"version":   with(func(r *record) { r.Version = 2 }),
		"future":    with(func(r *record) { r.Obtained = later.Add(time.Second) }),
		"expired":   with(func(r *record) { r.Obtained = later.Add(-time.Hour) }),
		"message":   with(func(r *record) { r.Message = r.Message[:200] }),
		"request":   with(func(r *record) { r.Message[0] = 1 }),
		"offer":     with(func(r *record) { r.Message = bytes.Replace(r.Message, []byte{53, 1, 5}, []byte{53, 1, 2}, 1) }),
		"multicast": with(func(r *record) { r.Message[16] = 224 }),
		"huge":      []byte(`{"x":"` + strings.Repeat("a", maxRecord) + `"}`),
	} {
		if _, err := ParseRecord(b, later, 0); err == nil || !strings.HasPrefix(err.Error(), "dhcp4: lease record: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
