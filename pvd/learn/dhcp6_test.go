package learn

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

var dns6 = netip.MustParseAddrPort("[2001:db8::5353]:53")

func count6(w *world, types ...dhcp6.Type) (n int) {
	for _, s := range w.sent6 {
		if slices.Contains(types, s.Type) {
			n++
		}
	}
	return n
}

// TestStatelessDHCPv6 is RFC 8801 section 3.4.1: what is not of one PvD is of all that have
// the O flag, and is asked for once.
func TestStatelessDHCPv6(t *testing.T) {
	w := newWorld(t)
	w.dhcp6 = gives("2001:db8:1::77")
	one, two, three := w.router("fe80::1"), w.router("fe80::2"), w.router("fe80::3")
	one.says(pio("2001:db8:1::/64"))
	w.wait(5 * time.Second)
	if len(w.sent6) != 0 {
		t.Fatal("it is asked without need")
	}
	two.says(other, pio("2001:db8:2::/64"), rdnss("2001:db8:2::53"))
	one.says(other, explicit("corp.example"), pio("2001:db8:3::/64"))
	three.says(pio("2001:db8:4::/64"))
	w.wait(5 * time.Second)
	if len(w.sent6) != 1 || w.sent6[0].Type != dhcp6.InformationRequest {
		t.Fatalf("sent %v", w.sent6)
	}
	if src := w.sent6[0].src; src != w.named("lab/fe80::2").linkLocal() {
		t.Errorf("asked from %v, want the address of a PvD that wants it", src)
	}
	for name, want := range map[string][]netip.AddrPort{
		"lab": nil, "lab/fe80::2": {dns6, netip.MustParseAddrPort("[2001:db8:2::53]:53")}, "corp.example": {dns6}, "lab/fe80::3": nil,
	} {
		if p := w.named(name); !slices.Equal(p.Servers, want) {
			t.Errorf("%s has servers %v, want %v", name, p.Servers, want)
		}
		if len(w.named(name).addresses()) != 1 {
			t.Errorf("%s has addresses %v", name, w.named(name).Addresses)
		}
	}
	// The flag goes, and with it what it brought.
	two.says(ra.Header{Lifetime: time.Hour}, pio("2001:db8:2::/64"))
	if p := w.named("lab/fe80::2"); len(p.Servers) != 1 {
		t.Errorf("servers %v", p.Servers)
	}
	if p := w.named("corp.example"); len(p.Servers) != 1 {
		t.Errorf("servers of the other %v", p.Servers)
	}
	one.says(explicit("corp.example"), pio("2001:db8:3::/64"))
	if p := w.named("corp.example"); len(p.Servers) != 0 {
		t.Errorf("servers of the other %v", p.Servers)
	}
	n := len(w.sent6)
	w.wait(30 * time.Hour)
	if len(w.sent6) != n {
		t.Error("it is asked for though nobody wants it")
	}
}

// TestDHCPv6WaitsForItsSource has the client speak only from an address that is past
// duplicate address detection.
func TestDHCPv6WaitsForItsSource(t *testing.T) {
	w := newWorld(t)
	w.lazy = true
	w.dhcp6 = gives("2001:db8:1::77")
	w.router("fe80::1").says(managed, forManaged("2001:db8:1::/64"))
	w.wait(time.Minute)
	if len(w.sent6) != 0 {
		t.Fatalf("sent %v", w.sent6)
	}
	w.lazy = false
	w.follow()
	w.wait(time.Minute)
	if len(w.sent6) != 1 || w.sent6[0].src != w.only().linkLocal() || len(w.only().addresses()) != 1 {
		t.Fatalf("sent %v", w.sent6)
	}
}

// TestStatefulDHCPv6 follows an address and a delegated prefix until they end.
func TestStatefulDHCPv6(t *testing.T) {
	w := newWorld(t)
	w.dhcp6 = gives("2001:db8:1::77")
	one := w.router("fe80::1")
	one.says(managed, forManaged("2001:db8:1::/64"))
	w.wait(5 * time.Second)
	p := w.only()
	as := p.addresses()
	if len(as) != 1 || as[0].Prefix != netip.MustParsePrefix("2001:db8:1::77/128") || as[0].Deprecated {
		t.Fatalf("addresses %+v", as)
	}
	granted := w.sent6[0].at
	until := func(d time.Duration) time.Time { return epoch.Add(granted + d) }
	if !as[0].PreferredUntil.Equal(until(3000*time.Second).Round(time.Second)) || !as[0].ValidUntil.Equal(until(4000*time.Second).Round(time.Second)) {
		t.Errorf("preferred until %v, valid until %v", as[0].PreferredUntil, as[0].ValidUntil)
	}
	if !slices.Contains(p.Routes, pvd.Route{To: netip.MustParsePrefix("2001:db8:1::/64"), Link: "lab"}) {
		t.Errorf("the prefix is not on the link: %v", p.Routes)
	}
	ds, ok := element(p, Delegated)
	if !ok || len(ds) != 1 || ds[0].Prefix != netip.MustParsePrefix("2001:db8:ff00::/56") || !ds[0].ValidUntil.Equal(as[0].ValidUntil) {
		t.Errorf("delegated %+v", ds)
	}
	if !slices.Equal(p.Servers, []netip.AddrPort{dns6}) {
		t.Errorf("servers %v", p.Servers)
	}
	if o := p.origin(); !o.Managed || o.Other {
		t.Errorf("origin %+v", o)
	}

	// It is renewed, and then it is not.
	w.wait(1100 * time.Second)
	if count6(w, dhcp6.Renew) != 1 || !w.only().addresses()[0].ValidUntil.After(as[0].ValidUntil) {
		t.Errorf("sent %v", w.sent6)
	}
	w.dhcp6 = nil
	one.says(ra.Header{Managed: true, Lifetime: 9000 * time.Second}, forManaged("2001:db8:1::/64"))
	as = w.only().addresses()
	w.wait(as[0].PreferredUntil.Sub(w.clock.Now()) - 2*time.Second)
	if w.only().addresses()[0].Deprecated {
		t.Error("deprecated too soon")
	}
	w.wait(3 * time.Second)
	if !w.only().addresses()[0].Deprecated {
		t.Error("not deprecated in time")
	}
	w.wait(as[0].ValidUntil.Sub(w.clock.Now()) - 2*time.Second)
	if len(w.only().addresses()) != 1 {
		t.Error("ended too soon")
	}
	w.wait(3 * time.Second)
	if p := w.only(); len(p.addresses()) != 0 || len(p.Servers) != 0 {
		t.Errorf("it has not ended: %+v, %v", p.addresses(), p.Servers)
	}
	if _, ok := element(w.only(), Delegated); ok {
		t.Error("the delegated prefix has not ended")
	}
}

// TestManagedFlagChanges has addresses by DHCPv6 begin with the flag and go on without it.
func TestManagedFlagChanges(t *testing.T) {
	w := newWorld(t)
	w.dhcp6 = gives("2001:db8:1::77")
	one := w.router("fe80::1")
	one.says(other, forManaged("2001:db8:1::/64"))
	w.wait(5 * time.Second)
	if len(w.only().addresses()) != 0 || len(w.only().Servers) != 1 {
		t.Fatalf("%+v", w.only())
	}
	one.says(managed, forManaged("2001:db8:1::/64"))
	w.wait(5 * time.Second)
	if len(w.only().addresses()) != 1 || len(w.only().Servers) != 1 || count6(w, dhcp6.Solicit) != 1 {
		t.Fatalf("%+v", w.only())
	}
	one.says(ra.Header{Lifetime: 9000 * time.Second}, forManaged("2001:db8:1::/64"))
	w.wait(3000 * time.Second)
	if len(w.only().addresses()) != 1 || count6(w, dhcp6.Renew) == 0 {
		t.Fatal("the lease does not go on")
	}
	w.dhcp6 = nil
	w.wait(5000 * time.Second)
	if len(w.only().addresses()) != 0 || w.only().Key.Router != one.addr {
		t.Fatalf("%+v", w.only())
	}
	n := len(w.sent6)
	w.wait(500 * time.Second)
	if len(w.sent6) != n {
		t.Error("it asks for addresses that nobody has said there are")
	}
}

// TestReleasesWithItsPvD has what a PvD has leased be given back when the PvD ends: once, since
// there is no address for an answer. Implicit PvDs that have DHCPv4 go on, but not their lease.
func TestReleasesWithItsPvD(t *testing.T) {
	for name, says := range map[string][]any{"explicit": {explicit(corp)}, "implicit, with IPv4": nil} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.dhcp4, w.dhcp6 = leases("192.0.2.9/24"), gives("2001:db8:1::77")
			one := w.router("fe80::1")
			one.says(append(says, managed, forManaged("2001:db8:1::/64"))...)
			w.wait(20 * time.Second)
			i := slices.IndexFunc(w.members, func(b *member) bool { return b.v6 != nil })
			src, _ := linkLocal(w.members[i])
			w.sent6 = nil
			gone := forManaged("2001:db8:1::/64")
			gone.Valid, gone.Preferred = 0, 0
			one.says(append(says, leaving, gone)...)
			w.wait(time.Hour)
			if w.called("lab"); len(w.clients6()) != 0 {
				t.Error("a client has outlived its PvD")
			}
			if len(w.sent6) != 1 || w.sent6[0].Type != dhcp6.Release || w.sent6[0].src != src ||
				!bytes.Contains(option6(w.sent6[0].Message, 3), netip.MustParseAddr("2001:db8:1::77").AsSlice()) {
				t.Errorf("sent %v from %v", w.sent6, src)
			}
			if record, _ := w.Lease(); bytes.Contains(record, []byte("dhcp6")) {
				t.Errorf("what was given back is kept: %s", record)
			}
		})
	}
}

// TestDeclinesDuplicates has somebody have the address that DHCPv6 gave.
func TestDeclinesDuplicates(t *testing.T) {
	w := newWorld(t)
	bad := netip.MustParseAddr("2001:db8:1::77")
	w.taken[bad] = true
	w.dhcp6 = gives("2001:db8:1::77")
	w.router("fe80::1").says(managed, forManaged("2001:db8:1::/64"))
	w.wait(3 * time.Second)
	if count6(w, dhcp6.Decline) == 0 || len(w.only().addresses()) != 0 {
		t.Fatalf("sent %v, addresses %v", w.sent6, w.only().addresses())
	}
	w.dhcp6 = gives("2001:db8:1::78")
	w.wait(time.Minute)
	if as := w.only().in("2001:db8:1::78/128"); len(as) != 1 {
		t.Errorf("addresses %v", w.only().addresses())
	}
}

// TestDuplicatesOfOwnMaking has somebody have the addresses that were made of a prefix.
func TestDuplicatesOfOwnMaking(t *testing.T) {
	w := newWorld(t)
	w.lazy = true
	w.router("fe80::1").says(pio("2001:db8:1::/64"))
	w.lazy = false
	first := w.only()
	for _, a := range first.Addresses {
		w.taken[a.Prefix.Addr()] = true
	}
	w.follow()
	second := w.only()
	if len(second.Addresses) != 2 || second.Instance != first.Instance {
		t.Fatalf("%+v", second)
	}
	for i, a := range second.Addresses {
		if a.Prefix.Addr() == first.Addresses[i].Prefix.Addr() {
			t.Errorf("%v is somebody else's", a.Prefix)
		}
	}
}

// TestSourceOfDHCPv6Changes has somebody else turn out to have the address that the client
// speaks from: it waits for another, and has its lease verified from there.
func TestSourceOfDHCPv6Changes(t *testing.T) {
	w, _ := full(t)
	old := w.only().linkLocal()
	w.lazy = true
	w.sent6 = nil
	w.Observe(w.only().Instance, Observation{Duplicate: []netip.Addr{old}})
	w.follow()
	w.wait(1200 * time.Second) // it would have renewed
	if len(w.sent6) != 0 {
		t.Fatalf("sent %v", w.sent6)
	}
	w.lazy = false
	w.follow()
	w.wait(5 * time.Second)
	own := w.only().linkLocal()
	if own == old || count6(w, dhcp6.Rebind) != 1 || w.sent6[0].src != own || len(w.only().in("2001:db8:1::77/128")) != 1 {
		t.Errorf("sent %v from %v", w.sent6, own)
	}
}

// TestTwoManagedPvDs has two PvDs with addresses by DHCPv6 on one link: each has its own, of
// its own prefix, by its own identity, from its own address.
func TestTwoManagedPvDs(t *testing.T) {
	w := newWorld(t)
	one, two := w.router("fe80::1"), w.router("fe80::2")
	one.says(managed, explicit("a.example"), forManaged("2001:db8:1::/64"))
	two.says(managed, explicit("b.example"), forManaged("2001:db8:2::/64"))
	a, b := w.named("a.example").linkLocal(), w.named("b.example").linkLocal()
	w.wait(3 * time.Second)
	ids := map[netip.Addr]string{}
	for _, s := range w.sent6 {
		if s.Type != dhcp6.Solicit {
			t.Fatalf("%v", s)
		}
		ids[s.src] = string(option6(s.Message, 1)) + string(option6(s.Message, 3)[:4])
	}
	if len(ids) != 2 || ids[a] == ids[b] {
		t.Fatalf("they ask as %q", ids)
	}
	last := func(src netip.Addr) (m sent6) {
		for _, s := range w.sent6 {
			if s.src == src {
				m = s
			}
		}
		return m
	}
	// A server has addresses of the first PvD only. The second one does not take them.
	w.dhcp6 = gives("2001:db8:1::77")
	w.wait(10 * time.Minute)
	if as := w.named("a.example").addresses(); len(as) != 1 || as[0].Prefix.Addr() != netip.MustParseAddr("2001:db8:1::77") {
		t.Errorf("the first has %v", as)
	}
	if p := w.named("b.example"); len(p.addresses()) != 0 || len(p.Servers) != 0 {
		t.Errorf("the second has %v, %v", p.addresses(), p.Servers)
	}
	if !w.remarked("DHCPv6 offers 2001:db8:1::77 to PvD \"b.example\"") {
		t.Errorf("nobody says so: %v", w.Remarks())
	}
	w.dhcp6 = nil
	w.answer6(last(b), gives("2001:db8:2::88")(last(b).Message))
	w.follow()
	if as := w.named("b.example").addresses(); len(as) != 1 || as[0].Prefix.Addr() != netip.MustParseAddr("2001:db8:2::88") {
		t.Errorf("the second has %v", as)
	}
	// What is sent to one is not the other's.
	w.dhcp6 = nil
	w.sent6 = nil
	w.wait(1000 * time.Second)
	renew := last(b)
	if renew.Type != dhcp6.Renew {
		t.Fatalf("%+v", renew)
	}
	ignored := w.member(w.named("b.example").Instance).v6.Ignored()
	before := w.named("b.example")
	forged := renew
	forged.src = a
	w.answer6(forged, gives("2001:db8:2::88")(renew.Message))
	w.follow()
	if w.named("b.example") != before || !same(ignored, w.member(before.Instance).v6.Ignored()) {
		t.Error("an answer to another address is taken")
	}
	// One ends: the other's goes on.
	one.says(leaving, explicit("a.example"), gone("2001:db8:1::/64"))
	w.called("b.example")
	if len(w.only().addresses()) != 1 {
		t.Error("the other's address is gone, too")
	}
}

// TestAddressesOutsideOfPrefixes is RFC 8801 section 3.4.1 where no prefix matches.
func TestAddressesOutsideOfPrefixes(t *testing.T) {
	for _, c := range []struct {
		what  string
		says  []any
		taken bool
	}{
		{"an implicit PvD", []any{managed, pio("2001:db8:1::/64")}, true},
		{"an implicit PvD without prefixes", []any{managed}, true},
		{"an explicit PvD", []any{managed, explicit("corp.example"), pio("2001:db8:1::/64")}, false},
		{"an explicit PvD without prefixes", []any{managed, explicit("corp.example")}, true},
	} {
		w := newWorld(t)
		w.dhcp6 = gives("2001:db8:2::77")
		w.router("fe80::1").says(c.says...)
		w.wait(time.Minute)
		if got := len(w.only().in("2001:db8:2::/64")) == 1; got != c.taken {
			t.Errorf("%s takes it: %v", c.what, got)
		}
		if !w.remarked("2001:db8:2::77") {
			t.Errorf("%s: nobody says so", c.what)
		}
	}
	// It is of another PvD's prefix, which has not sent us there.
	w := newWorld(t)
	w.dhcp6 = gives("2001:db8:2::77")
	w.router("fe80::1").says(managed, pio("2001:db8:1::/64"))
	w.router("fe80::2").says(pio("2001:db8:2::/64"))
	w.wait(time.Minute)
	if len(w.named("lab").in("2001:db8:2::/64")) != 0 || len(w.named("lab/fe80::2").in("2001:db8:2::77/128")) != 0 {
		t.Error("somebody takes it")
	}
}

// TestEncryptedServers has DNS servers by RFC 9463 from all who can name them.
func TestEncryptedServers(t *testing.T) {
	alpn := []byte{0, 1, 0, 4, 3, 'd', 'o', 't'}
	name := []byte("\x03dot\x07example\x00")
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24", func(o map[byte][]byte) {
		instance := append([]byte{0, 1, byte(len(name))}, name...)
		instance = append(append(append(instance, 4), server4.Addr().AsSlice()...), alpn...)
		o[162] = append([]byte{0, byte(len(instance))}, instance...)
	})
	of := func(priority uint16, addr string, params []byte) ra.EncryptedDNS {
		r := ra.Resolver{Priority: priority, Name: "dns.example", Params: params}
		if addr != "" {
			r.Addrs = []netip.Addr{netip.MustParseAddr(addr)}
		}
		return ra.EncryptedDNS{Resolver: r, Lifetime: time.Hour}
	}
	mandatory := append([]byte{0, 0, 0, 2, 0, 99}, alpn...)
	one := w.router("fe80::1")
	one.says(of(2, "fe80::53", alpn), of(1, "2001:db8::53", alpn), of(3, "2001:db8::54", mandatory))
	w.wait(20 * time.Second)
	got, _ := element(w.only(), pvd.EncryptedDNS)
	want := []pvd.EncryptedServer{
		{Priority: 1, Name: "dot.example", Addrs: []netip.Addr{server4.Addr()}, ALPN: []string{"dot"}},
		{Priority: 1, Name: "dns.example", Addrs: []netip.Addr{netip.MustParseAddr("2001:db8::53")}, ALPN: []string{"dot"}},
		{Priority: 2, Name: "dns.example", Addrs: []netip.Addr{netip.MustParseAddr("fe80::53%lab")}, ALPN: []string{"dot"}},
	}
	if !same(got, want) {
		t.Errorf("they are %+v, want %+v", got, want)
	}
	if !w.remarked("is mandatory and not known here") {
		t.Errorf("nobody says that one is left out: %v", w.Remarks())
	}
	refuse := Rules{{Match: Match{Link: "lab"}, Refuse: Refuse{DNS: true}}}
	if _, ok := element(refuse.Apply(w.only()), pvd.EncryptedDNS); ok {
		t.Error("they are there though DNS is refused")
	}
}

// TestDuplicatesAreNewsOnce has an owner repeat what it has said of a duplicate.
func TestDuplicatesAreNewsOnce(t *testing.T) {
	w, _ := full(t)
	w.lazy = true
	w.sent6 = nil
	before := w.only()
	o := Observation{Usable: []netip.Addr{before.linkLocal()}}
	for _, a := range before.addresses() {
		o.Duplicate = append(o.Duplicate, a.Prefix.Addr())
	}
	w.Observe(before.Instance, o)
	w.follow()
	first, sent := w.only(), len(w.sent6)
	for range 5 {
		w.Observe(first.Instance, o)
		w.follow()
	}
	if count6(w, dhcp6.Decline) != 1 || len(w.sent6) != sent || w.only() != first {
		t.Errorf("sent %v; it is %+v, was %+v", w.sent6, w.only(), first)
	}
	if len(first.in("192.0.2.0/24")) != 1 || len(first.in("2001:db8:1::/64")) != 1 || first.in("2001:db8:1::/64")[0] == before.in("2001:db8:1::/64")[0] {
		t.Errorf("%+v", first)
	}
}
