package ra_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/ra"
)

// TestTwoHours has each case of RFC 4862 section 5.5.3 e.
func TestTwoHours(t *testing.T) {
	for _, tt := range []struct {
		name            string
		left, got, want time.Duration
	}{
		{"longer", time.Hour, 3 * time.Hour, 3 * time.Hour},
		{"longer than what is left, short", 10 * time.Minute, time.Hour, time.Hour},
		{"shorter, above two hours", 10 * time.Hour, 3 * time.Hour, 3 * time.Hour},
		{"just above two hours", 10 * time.Hour, 2*time.Hour + time.Second, 2*time.Hour + time.Second},
		{"two hours", 10 * time.Hour, 2 * time.Hour, 2 * time.Hour},
		{"shorter than two hours", 10 * time.Hour, time.Minute, 2 * time.Hour},
		{"shorter with just above two hours left", 2*time.Hour + time.Second, time.Minute, 2 * time.Hour},
		{"zero", 10 * time.Hour, 0, 2 * time.Hour},
		{"shorter with less than two hours left", time.Hour, time.Minute, time.Hour},
		{"zero with less than two hours left", time.Hour, 0, time.Hour},
		{"zero instead of infinity", ra.Infinite, 0, 2 * time.Hour},
		{"infinity", time.Hour, ra.Infinite, ra.Infinite},
	} {
		w := newWorld(t)
		w.run(time.Minute)
		w.hear(routerA, header(long, pio(prefix1, tt.left, min(tt.left, 30*time.Minute))))
		w.hear(routerA, header(long, pio(prefix1, tt.got, 0)))
		as := addressesIn(w.only(), prefix1)
		want := tt.want
		if want != ra.Infinite {
			want += w.now
		}
		if len(as) != 1 || as[0].Valid != want || !as[0].Deprecated {
			t.Errorf("%s: %+v, want deprecated and valid until %v", tt.name, as, want)
		}
	}
}

// TestDeprecation lets the preferred lifetime end, and begin again.
func TestDeprecation(t *testing.T) {
	w := newWorld(t)
	a := header(long, pio(prefix1, 3*time.Hour, time.Hour))
	w.hear(routerA, a)
	address := func() ra.Address {
		t.Helper()
		as := addressesIn(w.only(), prefix1)
		if len(as) != 1 {
			t.Fatalf("addresses %+v", as)
		}
		return as[0]
	}
	first := address()
	w.run(time.Hour - 1)
	if address().Deprecated {
		t.Error("deprecated too soon")
	}
	before := w.Snapshot()
	w.run(1)
	if !address().Deprecated {
		t.Error("not deprecated")
	}
	if c := w.Snapshot().Changes(before); len(c) != 1 || c[0].Refreshed() {
		t.Errorf("changes %+v", c)
	}
	w.hear(routerA, a)
	if got := address(); got.Deprecated || got.Prefix != first.Prefix || got.Preferred != w.now+time.Hour {
		t.Errorf("refreshed %+v, was %+v", got, first)
	}
	w.run(3 * time.Hour)
	if as := addressesIn(w.only(), prefix1); len(as) != 0 {
		t.Errorf("addresses %+v, none is valid", as)
	}
	w.hear(routerA, a)
	if got := address(); got.Prefix != first.Prefix {
		t.Errorf("address %+v, was %+v: not stable", got, first)
	}
}

// TestNoAddress has prefixes of which none is made (RFC 4862 section 5.5.3 a to d).
func TestNoAddress(t *testing.T) {
	p63 := netip.MustParsePrefix("2001:db8::/63")
	for name, o := range map[string]ra.PrefixInformation{
		"without the A-flag": {Prefix: prefix1, OnLink: true, Valid: long, Preferred: long},
		"not valid at all":   pio(prefix1, 0, 0),
		"of 63 bits":         pio(p63, long, long),
	} {
		w := newWorld(t)
		w.hear(routerA, header(long, o))
		if as := w.only().Addresses; len(as) != 1 {
			t.Errorf("%s: addresses %+v", name, as)
		}
	}
}

// TestDelegationFlag has RFC 9762: the P flag lasts as long as the prefix is preferred, and
// does not keep a host that uses no delegated prefixes from making addresses.
func TestDelegationFlag(t *testing.T) {
	w := newWorld(t)
	say := func(p bool, valid, preferred time.Duration) {
		o := pio(prefix1, valid, preferred)
		o.Delegation = p
		w.hear(routerA, header(long, o))
	}
	check := func(when string, want bool) {
		t.Helper()
		p := w.only()
		if len(p.Prefixes) != 1 || p.Prefixes[0].Delegation != want || len(addressesIn(p, prefix1)) != 1 {
			t.Errorf("%s: %+v, addresses %+v", when, p.Prefixes, p.Addresses)
		}
	}
	say(true, 3*time.Hour, time.Hour)
	check("at first", true)
	w.run(time.Hour - 1)
	check("before it is deprecated", true)
	w.run(1)
	check("deprecated", false)
	say(true, 3*time.Hour, time.Hour)
	check("preferred again", true)
	say(true, 3*time.Hour, 0)
	check("deprecated by the router", false)
	say(true, ra.Infinite, ra.Infinite)
	check("for ever", true)
	say(false, 3*time.Hour, time.Hour)
	check("without the flag", false)

	// Without the A flag too, and not for a link-local prefix.
	w = newWorld(t)
	w.hear(routerA, header(long, ra.PrefixInformation{Prefix: prefix1, Delegation: true, Valid: 2 * time.Hour, Preferred: time.Hour}))
	if p := w.only(); len(p.Prefixes) != 1 || !p.Prefixes[0].Delegation || len(p.Addresses) != 1 {
		t.Errorf("without the A flag %+v", p)
	}
	before := w.Snapshot()
	w.run(time.Hour)
	if c := w.Snapshot().Changes(before); len(c) != 1 || c[0].Refreshed() {
		t.Errorf("its end is no change: %+v", c)
	}
}

func TestDuplicates(t *testing.T) {
	w := newWorld(t)
	w.hear(routerA, header(long, pio(prefix1, long, long), pio(prefix2, long, long)))
	other := addressesIn(w.only(), prefix2)[0]
	seen := map[netip.Addr]bool{}
	for try := range 4 {
		as := addressesIn(w.only(), prefix1)
		if len(as) != 1 || seen[as[0].Prefix.Addr()] || int(as[0].Attempt) != try {
			t.Fatalf("attempt %d: addresses %+v", try, as)
		}
		seen[as[0].Prefix.Addr()] = true
		w.Duplicate(w.now, implicitB, as[0].Prefix.Addr()) // somebody else's
		w.Duplicate(w.now, implicitA, as[0].Prefix.Addr())
	}
	if as := addressesIn(w.only(), prefix1); len(as) != 0 {
		t.Errorf("addresses %+v after three retries", as)
	}
	w.rejected("RFC 7217")
	w.hear(routerA, header(long, pio(prefix1, long, long)))
	if as := addressesIn(w.only(), prefix1); len(as) != 0 {
		t.Errorf("addresses %+v after another advertisement", as)
	}
	if got := addressesIn(w.only(), prefix2)[0]; got != other {
		t.Errorf("another prefix's address is %+v, was %+v", got, other)
	}

	ll := w.only().Addresses[0]
	w.Duplicate(w.now, implicitA, ll.Prefix.Addr())
	if got := w.only().Addresses[0]; got.Prefix == ll.Prefix || !got.Prefix.Addr().IsLinkLocalUnicast() || got.Attempt != 1 {
		t.Errorf("link-local address %+v, was %+v", got, ll)
	}
}

// TestStableIdentifiers changes one input of RFC 7217 section 5 at a time.
func TestStableIdentifiers(t *testing.T) {
	of := ra.StableIdentifiers([]byte("secret"), "lan")
	base := of(prefix1, implicitA, 0)
	if base != ra.StableIdentifiers([]byte("secret"), "lan")(prefix1, implicitA, 0) {
		t.Error("not stable")
	}
	for name, id := range map[string][8]byte{
		"prefix":    of(prefix2, implicitA, 0),
		"router":    of(prefix1, implicitB, 0),
		"explicit":  of(prefix1, explicit("a"), 0),
		"counter":   of(prefix1, implicitA, 1),
		"interface": ra.StableIdentifiers([]byte("secret"), "wan")(prefix1, implicitA, 0),
		"secret":    ra.StableIdentifiers([]byte("Secret"), "lan")(prefix1, implicitA, 0),
	} {
		if id == base {
			t.Errorf("another %s gives the same identifier", name)
		}
	}
}

// TestReservedIdentifiers has those of RFC 5453, which are passed over.
func TestReservedIdentifiers(t *testing.T) {
	for _, tt := range []struct {
		id uint64
		ok bool
	}{
		{0, false},
		{1, true},
		{0x02005efffe000000, false},
		{0x02005efffe005213, false},
		{0x02005efffe005214, true},
		{0xfdffffffffffff7f, true},
		{0xfdffffffffffff80, false},
		{0xfdffffffffffffff, false},
		{0xfe00000000000000, true},
	} {
		w := newWorld(t, func(c *ra.Config) {
			c.Identifier = func(_ netip.Prefix, _ ra.Key, counter uint8) (id [8]byte) {
				binary.BigEndian.PutUint64(id[:], tt.id+uint64(counter)<<32)
				return id
			}
		})
		w.hear(routerA, header(long, pio(prefix1, long, long)))
		as := addressesIn(w.only(), prefix1)
		if len(as) != 1 || as[0].Attempt == 0 != tt.ok {
			t.Errorf("%#x: %+v", tt.id, as)
		}
	}
	w := newWorld(t, func(c *ra.Config) {
		c.Identifier = func(netip.Prefix, ra.Key, uint8) [8]byte { return [8]byte{} }
	})
	w.hear(routerA, header(long, pio(prefix1, long, long)))
	if as := w.only().Addresses; len(as) != 0 {
		t.Errorf("addresses %+v of an identifier that is always reserved", as)
	}
}

// temporaries are a PvD's temporary addresses, all and those that are preferred.
func temporaries(p *ra.PvD) (all, preferred []ra.Address) {
	for _, a := range p.Addresses {
		if a.Temporary {
			all = append(all, a)
			if !a.Deprecated {
				preferred = append(preferred, a)
			}
		}
	}
	return all, preferred
}

// TestTemporary runs for a month with temporary addresses (RFC 8981 sections 3.4 and 3.5).
func TestTemporary(t *testing.T) {
	w := newWorld(t, func(c *ra.Config) { c.Temporary = true })
	seen := map[netip.Addr]time.Duration{}
	desync := map[time.Duration]bool{}
	for w.now < 30*24*time.Hour {
		w.hear(routerA, header(long, pio(prefix1, 7*24*time.Hour, 3*24*time.Hour)))
		all, preferred := temporaries(w.only())
		if len(preferred) == 0 || len(preferred) > 2 || len(all) > 4 {
			t.Fatalf("at %v %d addresses, %d preferred", w.now, len(all), len(preferred))
		}
		for _, a := range all {
			born, known := seen[a.Prefix.Addr()]
			if !known {
				born = w.now
				seen[a.Prefix.Addr()] = born
				desync[a.Preferred-w.now] = true
			}
			if a.Preferred > born+24*time.Hour || a.Valid > born+48*time.Hour {
				t.Fatalf("at %v, born at %v: %+v", w.now, born, a)
			}
		}
		w.run(10 * time.Minute)
	}
	if n := len(seen); n < 30 || n > 50 {
		t.Errorf("%d addresses in 30 days", n)
	}
	if len(desync) < 2 {
		t.Error("all are preferred for the same time")
	}
}

// TestTemporaryOverlap looks at the moment of regeneration: the next address is there
// REGEN_ADVANCE before the one before is deprecated.
func TestTemporaryOverlap(t *testing.T) {
	w := newWorld(t, func(c *ra.Config) { c.Temporary = true })
	w.hear(routerA, header(long, pio(prefix1, ra.Infinite, ra.Infinite)))
	first, _ := temporaries(w.only())
	w.run(first[0].Preferred - 5*time.Second - 1)
	if all, _ := temporaries(w.only()); len(all) != 1 {
		t.Fatalf("%+v too soon", all)
	}
	w.run(1)
	if _, preferred := temporaries(w.only()); len(preferred) != 2 {
		t.Fatalf("%+v 5 s ahead", preferred)
	}
	w.run(5 * time.Second)
	if all, preferred := temporaries(w.only()); len(all) != 2 || len(preferred) != 1 || !all[0].Deprecated {
		t.Fatalf("%+v", all)
	}
	w.run(first[0].Valid - w.now)
	for _, a := range w.only().Addresses {
		if a.Prefix == first[0].Prefix {
			t.Errorf("%+v is still there", a)
		}
	}
}

// TestTemporaryShort has prefixes that are preferred for too short a time.
func TestTemporaryShort(t *testing.T) {
	w := newWorld(t, func(c *ra.Config) { c.Temporary = true })
	w.hear(routerA, header(long, pio(prefix1, long, 5*time.Second)))
	if all, _ := temporaries(w.only()); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	w.hear(routerA, header(long, pio(prefix1, long, 6*time.Second)))
	if all, _ := temporaries(w.only()); len(all) != 1 {
		t.Errorf("%+v, want one", all)
	}
	// Deprecated by the router: none takes its place at once.
	w.hear(routerA, header(long, pio(prefix1, long, 0)))
	if all, preferred := temporaries(w.only()); len(all) != 1 || len(preferred) != 0 {
		t.Errorf("%+v, want one that is deprecated", all)
	}
}

func TestTemporaryDuplicates(t *testing.T) {
	w := newWorld(t, func(c *ra.Config) { c.Temporary = true })
	w.hear(routerA, header(long, pio(prefix1, long, long)))
	stable := addressesIn(w.only(), prefix1)[0]
	for try := range 4 {
		all, _ := temporaries(w.only())
		if len(all) != 1 {
			t.Fatalf("attempt %d: %+v", try, all)
		}
		w.Duplicate(w.now, implicitA, all[0].Prefix.Addr())
	}
	w.rejected("RFC 8981")
	w.hear(routerA, header(long, pio(prefix1, long, long)))
	if all, _ := temporaries(w.only()); len(all) != 0 {
		t.Errorf("%+v after three retries", all)
	}
	if got := addressesIn(w.only(), prefix1); len(got) != 1 || got[0].Prefix != stable.Prefix {
		t.Errorf("stable address %+v, was %+v", got, stable)
	}
}

// TestTemporaryDuplicatesInARow has duplicates with a good address in between, which are
// counted anew.
func TestTemporaryDuplicatesInARow(t *testing.T) {
	w := newWorld(t, func(c *ra.Config) { c.Temporary = true })
	w.hear(routerA, header(long, pio(prefix1, ra.Infinite, ra.Infinite)))
	for range 5 {
		for range 2 {
			all, _ := temporaries(w.only())
			w.Duplicate(w.now, implicitA, all[len(all)-1].Prefix.Addr())
		}
		all, preferred := temporaries(w.only())
		if len(preferred) == 0 {
			t.Fatalf("at %v %+v", w.now, all)
		}
		w.hear(routerA, header(long, pio(prefix1, ra.Infinite, ra.Infinite)))
		w.run(preferred[len(preferred)-1].Preferred - 5*time.Second - w.now)
	}
}

// TestTemporaryMost gives temporary addresses so short a time that there would be more
// than MaxTemporary.
func TestTemporaryMost(t *testing.T) {
	w := newWorld(t, func(c *ra.Config) {
		c.Temporary, c.TemporaryPreferred, c.TemporaryValid = true, time.Minute, time.Hour
	})
	w.hear(routerA, header(long, pio(prefix1, long, long)))
	most := 0
	for range 120 {
		all, _ := temporaries(w.only())
		most = max(most, len(all))
		w.run(time.Minute)
	}
	if most != ra.MaxTemporary {
		t.Errorf("%d temporary addresses, want %d at most", most, ra.MaxTemporary)
	}
	for _, c := range []ra.Config{
		{},
		{Identifier: ra.StableIdentifiers(nil, "")},
		{
			Identifier: ra.StableIdentifiers(nil, ""), Random: func() uint64 { return 0 },
			TemporaryPreferred: time.Hour, TemporaryValid: time.Minute,
		},
		{
			Identifier: ra.StableIdentifiers(nil, ""), Random: func() uint64 { return 0 },
			TemporaryPreferred: time.Second,
		},
	} {
		if _, err := ra.New(c); err == nil {
			t.Errorf("no error for %+v", c)
		}
	}
}
