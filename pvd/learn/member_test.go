package learn

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// TestImplicitPvD has one router and a DHCPv4 server: one PvD of both families (RFC
// 7556 section 2.2).
func TestImplicitPvD(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24")
	w.router("fe80::1").says(pio("2001:db8:1::/64"), rdnss("2001:db8:1::53"))
	w.wait(20 * time.Second)
	p := w.only()
	if p.Name != "lab" || p.Key.Router != netip.MustParseAddr("fe80::1") || p.Key.Explicit() {
		t.Errorf("it is %q, %v", p.Name, p.Key)
	}
	v4, v6 := p.in("192.0.2.0/24"), p.in("2001:db8:1::/64")
	if len(v4) != 1 || len(v6) != 1 || len(p.Addresses) != 3 || v4[0].Shared || v4[0].Prefix != netip.MustParsePrefix("192.0.2.9/24") {
		t.Errorf("addresses %+v", p.Addresses)
	}
	if v6[0].Prefix.Bits() != 64 || v6[0].ValidUntil.IsZero() || !v6[0].PreferredUntil.Before(v6[0].ValidUntil) {
		t.Errorf("of the prefix: %+v", v6)
	}
	if !p.leads("::/0", "fe80::1") || !p.leads("0.0.0.0/0", "192.0.2.1") {
		t.Errorf("routes %v", p.Routes)
	}
	if want := servers("192.0.2.1", "2001:db8:1::53"); !slices.Equal(p.Servers, want) { // RFC 8106 section 5.3.1
		t.Errorf("servers %v, want %v", p.Servers, want)
	}
	o := p.origin()
	if o.Server4 != server4.Addr() || o.Shared != 1 || !slices.Equal(o.Routers, []netip.Addr{netip.MustParseAddr("fe80::1")}) {
		t.Errorf("origin %+v", o)
	}
	if want := v4[0].ValidUntil; !o.Lease4.Equal(want) || want.Before(w.clock.Now().Add(50*time.Minute)) || want.After(w.clock.Now().Add(time.Hour)) {
		t.Errorf("leased until %v, and the address until %v", o.Lease4, want)
	}
}

// TestBarePvD has a PvD with nothing but a lease grow into the first implicit one, and go
// back to that when the router goes: all the time it is the same.
func TestBarePvD(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24")
	w.wait(20 * time.Second)
	bare := w.only()
	if bare.Key.Router.IsValid() || bare.Key.Explicit() || bare.Name != "lab" || len(bare.Addresses) != 1 {
		t.Fatalf("%+v", bare)
	}
	one := w.router("fe80::1")
	one.says(pio("2001:db8:1::/64"))
	p := w.only()
	if p.Instance != bare.Instance || p.Name != "lab" || p.Key.Router != one.addr || len(p.Addresses) != 3 {
		t.Fatalf("it became %+v", p)
	}
	one.says(leaving, gone("2001:db8:1::/64"))
	w.wait(2*time.Hour + time.Minute) // the two-hour rule; the lease is renewed meanwhile
	p = w.only()
	if p.Instance != bare.Instance || p.Name != "lab" || p.Key.Router.IsValid() || len(p.Addresses) != 1 || len(p.in("192.0.2.0/24")) != 1 {
		t.Fatalf("it became %+v", p)
	}
	// It is nobody's in particular: the next router may have it, whoever that is.
	two := w.router("fe80::2")
	two.says(pio("2001:db8:2::/64"))
	if p = w.only(); p.Instance != bare.Instance || p.Key.Router != two.addr {
		t.Fatalf("it became %+v", p)
	}
}

func TestBarePvDEndsWithItsLease(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24")
	w.wait(20 * time.Second)
	first := w.only().Instance
	w.dhcp4 = nil
	w.wait(lease4Time * time.Second)
	w.called()
	w.dhcp4 = leases("192.0.2.9/24")
	w.wait(10 * time.Minute)
	if w.only().Instance == first {
		t.Error("a PvD that ended and came again is the same")
	}
}

// TestSharedLease has several implicit PvDs share the lease (RFC 8801 section 3.4.2), which
// stays as long as there is one of them.
func TestSharedLease(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24")
	one, two := w.router("fe80::1"), w.router("fe80::2")
	one.says(pio("2001:db8:1::/64"))
	two.says(pio("2001:db8:2::/64"))
	w.wait(20 * time.Second)
	w.called("lab", "lab/fe80::2")
	for _, p := range w.Proposals() {
		if v4 := p.in("192.0.2.0/24"); len(v4) != 1 || !v4[0].Shared || p.origin().Shared != 2 {
			t.Errorf("%s has %+v, origin %+v", p.Name, v4, p.origin())
		}
	}
	if len(w.named("lab").in("2001:db8:2::/64")) != 0 || len(w.named("lab/fe80::2").in("2001:db8:1::/64")) != 0 {
		t.Error("the prefixes are mixed")
	}
	if w.named("lab").linkLocal() == w.named("lab/fe80::2").linkLocal() {
		t.Error("they have one link-local address")
	}
	one.says(leaving, gone("2001:db8:1::/64"))
	w.wait(time.Hour)
	two.says(pio("2001:db8:2::/64"))
	w.wait(time.Hour + time.Second)
	w.called("lab/fe80::2")
	if v4 := w.only().in("192.0.2.0/24"); len(v4) != 1 || v4[0].Shared {
		t.Errorf("the one that remains has %+v", v4)
	}
}

// TestExplicitLease has the PvD with the L flag take the lease from whoever has it.
func TestExplicitLease(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24")
	w.wait(20 * time.Second)
	w.called("lab")
	one, two, three := w.router("fe80::1"), w.router("fe80::2"), w.router("fe80::3")
	one.says(legacy("corp.example"), pio("2001:db8:1::/64"))
	w.called("corp.example") // at once, and nothing is left of the other
	corp := w.only()
	if v4 := corp.in("192.0.2.0/24"); len(v4) != 1 || v4[0].Shared || !corp.origin().Legacy || corp.Name != "" {
		t.Errorf("%+v", corp)
	}
	two.says(pio("2001:db8:2::/64"))
	w.called("corp.example", "lab")
	if len(w.named("lab").in("192.0.2.0/24")) != 0 || w.named("lab").origin().Server4.IsValid() {
		t.Error("the implicit PvD has the lease, too")
	}
	// A second claim is a misconfiguration: no explicit PvD has it, all implicit ones do.
	three.says(legacy("other.example"), pio("2001:db8:3::/64"))
	w.called("corp.example", "lab", "other.example")
	for _, p := range w.Proposals() {
		if has := len(p.in("192.0.2.0/24")) == 1; has != (p.Name == "lab") {
			t.Errorf("%q has the lease: %v", p.Key, has)
		}
	}
	if !w.remarked("several explicit PvDs claim DHCPv4") {
		t.Errorf("nobody says so: %+v", w.Remarks())
	}
	// It is the first one's again when the other gives up the flag.
	three.says(explicit("other.example"), pio("2001:db8:3::/64"))
	if len(w.named("corp.example").in("192.0.2.0/24")) != 1 || len(w.named("lab").in("192.0.2.0/24")) != 0 {
		t.Error("the lease does not come back")
	}
}

// TestConflictWithoutImplicit has two explicit PvDs claim the lease where there is no implicit
// one: it makes one of its own.
func TestConflictWithoutImplicit(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24")
	w.wait(20 * time.Second)
	bare := w.only().Instance
	w.router("fe80::1").says(legacy("a.example"))
	w.called("a.example")
	w.router("fe80::2").says(legacy("b.example"))
	w.called("a.example", "b.example", "lab")
	if p := w.named("lab"); p.Instance == bare || len(p.in("192.0.2.0/24")) != 1 || p.Key.Router.IsValid() {
		t.Errorf("%+v", p)
	}
	if len(w.named("a.example").in("192.0.2.0/24"))+len(w.named("b.example").in("192.0.2.0/24")) != 0 {
		t.Error("an explicit PvD has it")
	}
}

// TestLeaseMovesWithTheFlag has one explicit PvD give the L flag up and another take it.
func TestLeaseMovesWithTheFlag(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24")
	one := w.router("fe80::1")
	one.says(legacy("a.example"), pio("2001:db8:1::/64"))
	one.says(explicit("b.example"), pio("2001:db8:2::/64"))
	w.wait(20 * time.Second)
	has := func(name string) bool { return len(w.named(name).in("192.0.2.0/24")) == 1 }
	if !has("a.example") || has("b.example") {
		t.Fatal("it is not the first one's")
	}
	instances := []uint64{w.named("a.example").Instance, w.named("b.example").Instance}
	one.says(explicit("a.example"), pio("2001:db8:1::/64"))
	one.says(legacy("b.example"), pio("2001:db8:2::/64"))
	w.called("a.example", "b.example") // in between it was that of a PvD of its own
	if has("a.example") || !has("b.example") {
		t.Error("it is not the second one's")
	}
	if !slices.Equal(instances, []uint64{w.named("a.example").Instance, w.named("b.example").Instance}) {
		t.Error("they are other PvDs now")
	}
}

// TestNames says that names are unique, and that each is its PvD's until that ends.
func TestNames(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24")
	r := map[int]*router{}
	for i, a := range []string{"fe80::1", "fe80::2", "fe80::3", "fe80::4"} {
		r[i+1] = w.router(a)
	}
	server := rdnss("2001:db8::53")
	gone := server
	gone.Lifetime = 0 // which ends it at once
	r[1].says(server)
	r[2].says(server)
	w.wait(20 * time.Second)
	w.called("lab", "lab/fe80::2")
	second := w.named("lab/fe80::2").Instance
	r[1].says(leaving, gone)
	w.called("lab/fe80::2")
	r[2].says(leaving, gone)
	w.called("lab/fe80::2") // nothing but the lease is left of it
	r[3].says(server)
	w.called("lab/fe80::2")
	r[4].says(server)
	w.called("lab/fe80::2", "lab")
	r[2].says(server) // another PvD with a name that somebody has
	w.called("lab/fe80::2", "lab", "lab/fe80::2/2")
	if w.named("lab/fe80::2").Instance != second || w.named("lab/fe80::2").Key.Router != r[3].addr {
		t.Error("the name is not that of the PvD that had it first")
	}
	r[4].says(leaving, gone)
	r[1].says(server)
	w.called("lab/fe80::2", "lab/fe80::2/2", "lab")
}

// TestOldestBecomesBare has all routers go at once: of the PvDs that share the lease the
// oldest goes on.
func TestOldestBecomesBare(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24")
	server := rdnss("2001:db8::53")
	w.router("fe80::1").says(server)
	w.router("fe80::2").says(server)
	w.wait(20 * time.Second)
	first := w.named("lab").Instance
	w.down()
	w.wait(time.Minute)
	w.up()
	w.wait(verifyWait + time.Second) // neither is heard
	if p := w.only(); p.Instance != first || p.Name != "lab" || p.Key.Router.IsValid() {
		t.Errorf("%+v", p)
	}
}

// TestBarePvDIsNobodys has the PvD with the lease go, and one without it: what is made of the
// lease alone is neither of them.
func TestBarePvDIsNobodys(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24")
	one := w.router("fe80::1")
	one.says(legacy(corp))
	one.says()
	w.wait(20 * time.Second)
	w.called(string(corp), "lab")
	implicit := w.named("lab").Instance
	w.down()
	w.up()
	w.wait(verifyWait + time.Second)
	if p := w.only(); p.Instance == implicit || len(p.in("192.0.2.0/24")) != 1 {
		t.Errorf("%+v", p)
	}
}

// TestLastAdvertisementHasThePrefix is RFC 8801 section 3.4: an address is that of the PvD
// whose advertisement had its prefix last.
func TestLastAdvertisementHasThePrefix(t *testing.T) {
	w := newWorld(t)
	one := w.router("fe80::1")
	one.says(explicit("a.example"), pio("2001:db8:1::/64"), rdnss("2001:db8::1"))
	a := w.named("a.example").in("2001:db8:1::/64")[0]
	for range 3 {
		w.wait(10 * time.Minute)
		one.says(explicit("a.example"), rdnss("2001:db8::1"))
		one.says(explicit("b.example"), pio("2001:db8:1::/64"))
	}
	was, is := w.named("a.example").in("2001:db8:1::/64"), w.named("b.example").in("2001:db8:1::/64")
	if len(was) != 1 || !was[0].Deprecated || was[0].Prefix != a.Prefix {
		t.Errorf("the first PvD has %+v", was)
	}
	if len(is) != 1 || is[0].Deprecated || is[0].Prefix == a.Prefix {
		t.Errorf("the second PvD has %+v", is)
	}
}

// TestEnds has things end at their moment, and the PvD with the last of them.
func TestEnds(t *testing.T) {
	w := newWorld(t)
	one := w.router("fe80::1")
	p := pio("2001:db8:1::/64")
	p.Preferred, p.Valid = 100*time.Second, 200*time.Second
	search := ra.DNSSL{Domains: []string{"corp.example"}, Lifetime: 300 * time.Second}
	one.says(ra.Header{Lifetime: 50 * time.Second}, p, search)
	began := w.clock.now
	at := func(s time.Duration) *Proposal {
		w.wait(began + s*time.Second - w.clock.now)
		return w.only()
	}
	if p := at(49); !p.leads("::/0", "fe80::1") || p.in("2001:db8:1::/64")[0].Deprecated || len(p.Search) != 1 {
		t.Errorf("%+v", p)
	}
	if p := at(50); p.leads("::/0", "fe80::1") {
		t.Errorf("the router is one still: %v", p.Routes)
	}
	if p := at(99); p.in("2001:db8:1::/64")[0].Deprecated {
		t.Error("deprecated too soon")
	}
	if p := at(100); !p.in("2001:db8:1::/64")[0].Deprecated {
		t.Error("not deprecated")
	}
	if p := at(199); len(p.in("2001:db8:1::/64")) != 1 {
		t.Error("the address ended too soon")
	}
	if p := at(200); len(p.in("2001:db8:1::/64")) != 0 {
		t.Error("the address has not ended")
	}
	at(299)
	w.wait(time.Second)
	w.called()
}

func gone(prefix string) (o ra.PrefixInformation) {
	o = pio(prefix)
	o.Valid, o.Preferred = 0, 0
	return o
}

func TestMTU(t *testing.T) {
	mtu4 := func(mtu byte) func(map[byte][]byte) {
		return func(o map[byte][]byte) { o[26] = []byte{2, mtu} } // 512 and more
	}
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24", mtu4(64))
	w.wait(20 * time.Second)
	if p := w.only(); p.MTU != 576 {
		t.Errorf("MTU %d, want 576", p.MTU)
	}
	one := w.router("fe80::1")
	one.says()
	if p := w.only(); p.MTU != 0 { // too little for IPv6, and nobody else says anything
		t.Errorf("MTU %d", p.MTU)
	}
	one.says(ra.MTU(1400))
	if p := w.only(); p.MTU != 1400 {
		t.Errorf("MTU %d, want 1400", p.MTU)
	}
	if _, ok := element(w.only(), pvd.HopLimit); ok {
		t.Error("a hop limit that nobody has named")
	}
}
