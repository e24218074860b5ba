package pvdtest

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
)

// newNode6 plugs a node in that has a DHCPv6 client.
func newNode6(t testing.TB, n *LAN, change ...func(*dhcp6.Config)) *node {
	t.Helper()
	s := newNode(t, n)
	cfg := dhcp6.Config{DUID: append([]byte{0, 3, 0, 1}, s.ifc.mac[:]...), IAID: 7, Addresses: true, Rand: source(s.ifc.mac)}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if s.d6, err = dhcp6.New(cfg); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *node) lease6() *dhcp6.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.d6.Lease()
}

func (s *node) state6() (dhcp6.State, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.d6.State()
}

func TestLease6(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	for _, name := range []string{"corp", "home"} {
		lan := lab.LAN(name, "2001:db8:1::/64")
		lan.DNS("2001:db8:1::53", Zone{})
		r := lan.Router("2001:db8:1::1", DHCPv6{
			Search: "a.example b.example", Portal: "https://portal.example/api", T1: 10 * time.Minute, T2: 20 * time.Minute,
			Delegate: "2001:db8:8000::/40", DelegateBits: 56, Preference: 9,
		})
		s := newNode6(t, lan, func(c *dhcp6.Config) { c.Prefixes = true })
		s.up()
		lab.Clock.Advance(bindTime)
		l := s.lease6()
		if l == nil {
			state, why := s.state6()
			t.Fatalf("%s: no lease: %v %s", name, state, why)
		}
		// The same on both LANs.
		if len(l.Addrs) != 1 || l.Addrs[0].Prefix.String() != "2001:db8:1::100/128" || l.Addrs[0].Valid-l.Info.Obtained != time.Hour ||
			l.Addrs[0].Preferred-l.Info.Obtained != 30*time.Minute || l.T1-l.Info.Obtained != 10*time.Minute ||
			len(l.Prefixes) != 1 || l.Prefixes[0].Prefix.String() != "2001:db8:8000::/56" || len(l.Problems) != 0 {
			t.Errorf("%s: %+v", name, l)
		}
		if i := l.Info; len(i.DNS) != 1 || i.DNS[0].String() != "2001:db8:1::53" || len(i.Search) != 2 ||
			i.Portal != "https://portal.example/api" || len(i.Problems) != 0 {
			t.Errorf("%s: %+v", name, i)
		}
		if got := fmt.Sprint(r.Leases()); got != "[2001:db8:1::100/128 2001:db8:8000::/56]" {
			t.Errorf("the server knows of %s", got)
		}
		// What is delegated leads to who has it, from elsewhere on the LAN too.
		r.mu.Lock()
		ifc, via, ok := r.core.lookup(netip.MustParseAddr("2001:db8:8000:77::1"))
		r.mu.Unlock()
		if !ok || ifc.lan != name || via != s.ll() {
			t.Errorf("the way to the delegated prefix is %v, %t", via, ok)
		}
		other := newNode6(t, lan, func(c *dhcp6.Config) { c.Prefixes = true })
		other.up()
		lab.Clock.Advance(bindTime)
		if l := other.lease6(); l == nil || l.Addrs[0].Prefix.String() != "2001:db8:1::101/128" || l.Prefixes[0].Prefix.String() != "2001:db8:8000:100::/56" {
			t.Errorf("another has %+v", l)
		}
		s.do(func(now time.Duration) { s.d6.Release(now) })
		lab.Settle()
		if got := fmt.Sprint(r.Leases()); got != "[2001:db8:1::101/128 2001:db8:8000:100::/56]" {
			t.Errorf("after a release the server knows of %s", got)
		}
	}
}

func TestLease6RenewAndEnd(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("corp", "2001:db8:1::/64")
	r := lan.Router("2001:db8:1::1", DHCPv6{Rapid: true})
	s := newNode6(t, lan, func(c *dhcp6.Config) { c.RapidCommit = true })
	s.up()
	lab.Clock.Advance(2 * time.Second)
	if s.lease6() == nil || r.Stats()[countAnswered] > 2 { // with that about the link-local address
		t.Fatalf("no rapid commit: %v", r.Stats())
	}
	lab.Clock.Advance(24 * time.Hour)
	first := s.lease6()
	if first == nil || first.Addrs[0].Valid < 24*time.Hour {
		t.Fatalf("not renewed for a day: %+v", first)
	}
	r.ServeDHCPv6(DHCPv6{Silent: true})
	lab.Clock.Advance(30 * time.Minute)
	r.ServeDHCPv6(DHCPv6{})
	lab.Clock.Advance(15 * time.Minute)
	if l := s.lease6(); l == nil || l.Addrs[0].Prefix != first.Addrs[0].Prefix || l.Addrs[0].Valid == first.Addrs[0].Valid {
		t.Errorf("not rebound or renewed: %+v", l)
	}
	// Still on the link.
	s.do(func(now time.Duration) { s.d6.LinkDown(); s.d6.LinkUp(now) })
	lab.Clock.Advance(2 * time.Second)
	if state, why := s.state6(); state != dhcp6.Bound {
		t.Errorf("not confirmed: %v %s", state, why)
	}
	// Another pool: the old address is taken away, and another is given.
	r.ServeDHCPv6(DHCPv6{Pool: "2001:db8:1::200"})
	lab.Clock.Advance(time.Hour)
	if l := s.lease6(); l == nil || len(l.Addrs) != 1 || l.Addrs[0].Prefix.String() != "2001:db8:1::200/128" {
		t.Errorf("%+v, want another address", l)
	}
	r.ServeDHCPv6(DHCPv6{Withdraw: true})
	lab.Clock.Advance(30 * time.Minute)
	if l := s.lease6(); l != nil {
		t.Errorf("not taken away: %+v", l)
	}
	r.ServeDHCPv6(DHCPv6{Status: dhcp6.UnspecFail})
	lab.Clock.Advance(2 * time.Hour)
	if l := s.lease6(); l != nil {
		t.Errorf("a lease by failure: %+v", l)
	}
	r.ServeDHCPv6(DHCPv6{})
	lab.Clock.Advance(2 * time.Hour)
	l := s.lease6()
	if l == nil {
		t.Fatal("no lease after all")
	}
	// A duplicate: it gets another.
	s.do(func(now time.Duration) { s.d6.Decline(now, l.Addrs[0].Prefix.Addr()) })
	lab.Clock.Advance(time.Minute)
	if again := s.lease6(); again == nil || again.Addrs[0].Prefix == l.Addrs[0].Prefix {
		t.Errorf("after declining %v: %+v", l.Addrs, again)
	}
}

// TestNotOnLink confirms an address of elsewhere.
func TestNotOnLink(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("corp", "2001:db8:1::/64")
	r := lan.Router("2001:db8:1::1", RA{Prefixes: "2001:db8:2::/64"}, DHCPv6{Pool: "2001:db8:2::9"})
	s := newNode6(t, lan)
	s.up()
	lab.Clock.Advance(bindTime)
	l := s.lease6()
	if l == nil || l.Addrs[0].Prefix.String() != "2001:db8:2::9/128" {
		t.Fatalf("%+v", l)
	}
	r.later(func() { // as on another link
		ifc := r.core.ifaces[0]
		ifc.prefixes = slices.DeleteFunc(slices.Clone(ifc.prefixes), func(p netip.Prefix) bool { return p.Contains(l.Addrs[0].Prefix.Addr()) })
	})
	r.ServeDHCPv6(DHCPv6{})
	s.do(func(now time.Duration) { s.d6.LinkDown(); s.d6.LinkUp(now) })
	lab.Clock.Advance(time.Minute)
	if l := s.lease6(); l == nil || l.Addrs[0].Prefix.String() != "2001:db8:1::100/128" {
		t.Errorf("%+v, want an address of this link", l)
	}
}

func TestStateless6(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("corp", "192.168.1.0/24") // no IPv6 but link-local
	r := lan.Router("192.168.1.1", DHCPv6{
		Stateless: true, DNS: "2001:db8::53", Refresh: 20 * time.Minute, Options: []dhcp6.Option{{Code: 253, Data: []byte{1}}},
	})
	s := newNode6(t, lan, func(c *dhcp6.Config) { c.Addresses = false })
	wants := newNode6(t, lan)
	s.up()
	wants.up()
	lab.Clock.Advance(bindTime)
	s.mu.Lock()
	i := s.d6.Info()
	s.mu.Unlock()
	if i == nil || len(i.DNS) != 1 || i.Expires-i.Obtained > time.Hour { // it is kept for longer than it is fresh
		t.Errorf("%+v", i)
	}
	if l := wants.lease6(); l != nil {
		t.Errorf("a stateless server has given %+v", l)
	}
	if r.Stats()[dropUnsupported] == 0 {
		t.Error("nobody has asked for an address: the test tests nothing")
	}
}

// TestLease6Full fills the pool, and the table of leases.
func TestLease6Full(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("corp", "2001:db8:1::/64")
	r := lan.Router("2001:db8:1::1", DHCPv6{Size: 2, Delegate: "2001:db8:8000::/36"})
	s := newNode(t, lan)
	solicit := func(i, code int) *dhcp6.Message {
		id := binary.BigEndian.AppendUint32(nil, uint32(i))
		m := &dhcp6.Message{Type: dhcp6.Solicit, Options: []dhcp6.Option{
			{Code: opt6ClientID, Data: append([]byte{0, 1}, id...)}, {Code: uint16(code), Data: append(id, make([]byte, 8)...)},
		}}
		var got *dhcp6.Message
		r.later(func() { got = r.core.dhcp6.answer(r.core, m, s.ll()) })
		return got
	}
	status := func(m *dhcp6.Message) dhcp6.Status {
		for _, o := range m.Options {
			if len(o.Data) == iaHeaderLen+6 && (o.Code == opt6IANA || o.Code == opt6IAPD) {
				return dhcp6.Status(o.Data[iaHeaderLen+5])
			}
		}
		return dhcp6.Success
	}
	for i := range 3 {
		if got := status(solicit(i, opt6IANA)); (got == dhcp6.NoAddrsAvail) != (i == 2) {
			t.Errorf("address %d: %v", i, got)
		}
	}
	r.ServeDHCPv6(DHCPv6{Size: maxLeases, Delegate: "2001:db8:8000::/36"})
	for i := range maxLeases - 2 {
		if got := status(solicit(i, opt6IAPD)); got != dhcp6.Success {
			t.Fatalf("prefix %d: %v", i, got)
		}
	}
	if got := status(solicit(maxLeases, opt6IAPD)); got != dhcp6.NoPrefixAvail {
		t.Errorf("with a full table: %v", got)
	}
	lab.Clock.Advance(offerHold + time.Second)
	if got := status(solicit(maxLeases, opt6IAPD)); got != dhcp6.Success {
		t.Errorf("with a table of offers that nobody has taken: %v", got)
	}
}

func TestFollowing(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		"2001:db8::/64": "2001:db8:0:1::/64", "2001:db8:0:ffff::/64": "2001:db8:1::/64", "2001:db8::/61": "2001:db8:0:8::/61",
		"2001:db8::1/128": "2001:db8::2/128", "2001:db8:0:ff00::/56": "2001:db8:1::/56", "2000::/3": "4000::/3",
	} {
		if got := following(netip.MustParsePrefix(from)); got.String() != want {
			t.Errorf("%s is followed by %v, want %s", from, got, want)
		}
	}
}

func TestDHCPv6Errors(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]DHCPv6{
		"where the router is not":     {Pool: "2001:db8:2::1"},
		"256 is the most":             {Size: 257},
		"unable to parse":             {DNS: "dns"},
		"not of IPv6":                 {DNS: "192.168.1.53"},
		"can not be delegated":        {Delegate: "2001:db8::/48", DelegateBits: 40},
		`name "a..example`:            {Search: "a..example"},
		"can not be delegated of 192": {Delegate: "192.168.0.0/16"},
	} {
		var got string
		Main("errors", writer(func(b []byte) { got += string(b) }), func(tb TB) {
			New(tb).LAN("home", "2001:db8:1::/64").Router("2001:db8:1::1", d)
		})
		if !strings.Contains(got, want) {
			t.Errorf("%+v: %q, want %q", d, got, want)
		}
	}
}
