package learn

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
)

func count4(w *world, types ...dhcp4.Type) (n int) {
	for _, s := range w.sent4 {
		if slices.Contains(types, s.Type()) {
			n++
		}
	}
	return n
}

// full is a link with a router, DHCPv4 and DHCPv6.
func full(t testing.TB, change ...func(*Config)) (*world, *router) {
	t.Helper()
	w := newWorld(t, change...)
	w.dhcp4 = leases("192.0.2.9/24")
	w.dhcp6 = gives("2001:db8:1::77")
	one := w.router("fe80::1")
	one.says(managed, pio("2001:db8:1::/64"))
	w.wait(20 * time.Second)
	if p := w.only(); len(p.addresses()) != 3 {
		t.Fatalf("%+v", p)
	}
	return w, one
}

func TestSolicitsRouters(t *testing.T) {
	w := newWorld(t)
	w.wait(time.Minute)
	if n := len(w.solicited); n < 4 || w.solicited[0] > time.Hour+time.Second {
		t.Errorf("solicited at %v", w.solicited)
	}
	w.router("fe80::1").says()
	n := len(w.solicited)
	w.wait(20 * time.Minute)
	if len(w.solicited) != n {
		t.Errorf("solicited at %v", w.solicited[n:])
	}
	w.down()
	w.wait(time.Hour)
	if len(w.solicited) != n {
		t.Error("solicited without link")
	}
}

// TestLinkComesBack has the link come back to the same network: all that there was goes on,
// and is verified.
func TestLinkComesBack(t *testing.T) {
	w, one := full(t)
	before := w.only()
	w.down()
	w.wait(time.Minute)
	if w.only() != before {
		t.Fatal("what was learned does not stay")
	}
	w.sent4, w.sent6, w.solicited = nil, nil, nil
	w.up()
	w.wait(3 * time.Second)
	one.says(managed, pio("2001:db8:1::/64"))
	w.wait(time.Minute)
	after := w.only()
	if after.Instance != before.Instance || len(after.addresses()) != 3 {
		t.Errorf("%+v", after)
	}
	if count4(w, dhcp4.Discover) != 0 || count4(w, dhcp4.Request) != 1 || count6(w, dhcp6.Solicit) != 0 || count6(w, dhcp6.Rebind) != 1 {
		t.Errorf("sent %v, %v", w.sent4, w.sent6)
	}
	if len(w.solicited) == 0 {
		t.Error("routers are not solicited")
	}
}

// TestLinkComesBackElsewhere has the link come back to another network, whose router has
// another address.
func TestLinkComesBackElsewhere(t *testing.T) {
	w, _ := full(t)
	before := w.only()
	w.down()
	w.wait(time.Minute)
	w.dhcp4, w.dhcp6 = refuses, nil
	w.up()
	two := w.router("fe80::2")
	two.says(pio("2001:db8:2::/64"))
	w.dhcp4 = refuses
	w.wait(verifyWait - time.Second)
	w.called("lab", "lab/fe80::2")
	if len(w.named("lab").in("192.0.2.0/24")) != 0 {
		t.Error("the lease of the other network is still there")
	}
	w.wait(2 * time.Second)
	w.called("lab/fe80::2")
	if p := w.only(); p.Instance == before.Instance || len(p.in("2001:db8:1::/64")) != 0 {
		t.Errorf("%+v", p)
	}
}

// TestLinkComesBackToAnotherStation has the router be another one of the same address.
func TestLinkComesBackToAnotherStation(t *testing.T) {
	w, one := full(t)
	w.dhcp6 = nil
	before := w.only()
	one.says(managed, pio("2001:db8:9::/64"))
	w.down()
	w.wait(time.Minute)
	w.up()
	one.mac = net.HardwareAddr{2, 0, 0, 2, 0, 1}
	one.says(managed, pio("2001:db8:2::/64"))
	p := w.only()
	if p.Instance == before.Instance || len(p.in("2001:db8:1::/64"))+len(p.in("2001:db8:9::/64")) != 0 || len(p.in("2001:db8:2::/64")) != 1 {
		t.Fatalf("%+v", p)
	}
	// Later the router may change its hardware address as it likes.
	w.wait(verifyWait)
	one.mac = net.HardwareAddr{2, 0, 0, 3, 0, 1}
	one.says(managed, pio("2001:db8:2::/64"))
	if w.only().Instance != p.Instance {
		t.Error("it is another PvD")
	}
}

// TestLeaseOfAnotherNetwork has the link come back to a network with other routers and no
// DHCPv4: the lease of before is not that network's.
func TestLeaseOfAnotherNetwork(t *testing.T) {
	for _, c := range []struct {
		what  string
		says  func(w *world, one *router)
		keeps bool
	}{
		{"another router", func(w *world, _ *router) { w.router("fe80::2").says(pio("2001:db8:2::/64")) }, false},
		{"another station of the same address", func(_ *world, one *router) {
			one.mac = net.HardwareAddr{2, 0, 0, 2, 0, 1}
			one.says(pio("2001:db8:2::/64"))
		}, false},
		{"the same router and another", func(w *world, one *router) {
			one.says(pio("2001:db8:1::/64"))
			w.router("fe80::2").says(pio("2001:db8:2::/64"))
		}, true},
		{"no router", func(*world, *router) {}, true}, // nothing speaks against it
		{"one of the same routers and another", func(w *world, _ *router) {
			w.router("fe80::9").says(pio("2001:db8:1::/64"))
			w.router("fe80::2").says(pio("2001:db8:2::/64"))
		}, true},
		{"another router, and a server that confirms the lease", func(w *world, _ *router) {
			w.router("fe80::2").says(pio("2001:db8:2::/64"))
			w.dhcp4 = leases("192.0.2.9/24")
		}, true},
	} {
		w, one := full(t)
		w.router("fe80::9").says(pio("2001:db8:1::/64"))
		w.dhcp4, w.dhcp6 = nil, nil
		w.down()
		w.wait(time.Minute)
		w.up()
		c.says(w, one)
		w.wait(verifyWait - time.Second)
		w.sent4 = nil
		w.wait(time.Second)
		has := slices.ContainsFunc(w.Proposals(), func(p *Proposal) bool { return len(p.in("192.0.2.0/24")) > 0 })
		if has != c.keeps {
			t.Errorf("%s: the lease is there: %v", c.what, has)
		}
		if n := count4(w, dhcp4.Discover); n != 0 && c.keeps {
			t.Errorf("%s: %d times looked for a server", c.what, n)
		}
		w.sent4 = nil
		w.dhcp4 = leases("192.0.2.10/24")
		w.wait(2 * time.Minute)
		if n := count4(w, dhcp4.Discover); n != 1 && !c.keeps {
			t.Errorf("%s: %d times looked for a server", c.what, n)
		}
	}
}

// TestMovedInformation has what was asked for by the PvD of another network not count.
func TestMovedInformation(t *testing.T) {
	w := newWorld(t)
	one := w.router("fe80::1")
	one.says(withInfo(1), usual())
	w.down()
	w.up()
	one.mac = net.HardwareAddr{2, 0, 0, 2, 0, 1}
	one.says(withInfo(1), usual())
	if len(w.asked) != 3 {
		t.Fatalf("asked %d times", len(w.asked))
	}
	w.Done(succeed(object(w, "2001:db8::/32"))(w.asked[1]))
	w.follow()
	if len(zones(w.only())) != 0 {
		t.Error("what the other network has said counts")
	}
}

// TestSilentRouterIsAskedAgain has one of two routers be heard after the link came back, which
// ends the usual search.
func TestSilentRouterIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	one, two := w.router("fe80::1"), w.router("fe80::2")
	one.says(pio("2001:db8:1::/64"))
	two.says(pio("2001:db8:2::/64"))
	w.wait(10 * time.Second)
	w.down()
	w.up()
	began := w.clock.now
	w.wait(time.Second)
	w.solicited = nil
	one.says(pio("2001:db8:1::/64"))
	w.wait(8 * time.Second)
	if want := []time.Duration{began + verifyInterval, began + 2*verifyInterval}; !slices.Equal(w.solicited, want) {
		t.Errorf("solicited at %v, want %v", w.solicited, want)
	}
	two.says(pio("2001:db8:2::/64"))
	w.wait(time.Minute)
	w.called("lab", "lab/fe80::2")
	if len(w.solicited) != 2 {
		t.Errorf("solicited at %v", w.solicited)
	}
}

// TestLinkFlaps has the link go while it is being found out where it leads.
func TestLinkFlaps(t *testing.T) {
	w, _ := full(t)
	before := w.only()
	w.down()
	w.up()
	w.wait(3 * time.Second)
	w.down()
	w.wait(10 * time.Minute)
	if w.only().Instance != before.Instance || !w.only().leads("::/0", "fe80::1") {
		t.Fatal("routers are forgotten that nobody could hear")
	}
	w.up()
	w.wait(verifyWait + time.Second)
	if p := w.only(); p.Key.Router.IsValid() || len(p.in("192.0.2.0/24")) != 1 {
		t.Errorf("%+v", p)
	}
}

// TestResume has lifetimes count while the machine sleeps, and all be verified afterwards.
func TestResume(t *testing.T) {
	w, one := full(t)
	before := w.only()
	w.sent4, w.sent6, w.solicited = nil, nil, nil
	w.clock.now += 20 * time.Minute
	w.resume()
	one.says(managed, pio("2001:db8:1::/64"))
	w.wait(verifyWait + time.Second)
	if p := w.only(); p.Instance != before.Instance || len(p.addresses()) != 3 {
		t.Errorf("%+v", p)
	}
	if count4(w, dhcp4.Request) != 1 || count6(w, dhcp6.Rebind) != 1 || len(w.solicited) == 0 {
		t.Errorf("sent %v, %v, solicited at %v", w.sent4, w.sent6, w.solicited)
	}

	w.dhcp4, w.dhcp6 = nil, nil
	w.clock.now += 3 * time.Hour
	w.resume()
	w.called() // all of it is over
}

// TestResumeElsewhere has the machine wake up in another network, without the link ever having
// gone.
func TestResumeElsewhere(t *testing.T) {
	w, _ := full(t)
	before := w.only().Instance
	w.dhcp4, w.dhcp6 = refuses, nil
	w.clock.now += time.Minute
	w.resume()
	w.router("fe80::2").says(pio("2001:db8:2::/64"))
	w.wait(verifyWait + time.Second)
	if p := w.only(); p.Instance == before || len(p.addresses()) != 1 {
		t.Errorf("%+v", p)
	}
}

// TestReset has nothing of a network be left that is over.
func TestReset(t *testing.T) {
	w, _ := full(t)
	if record, changed := w.Lease(); record == nil || !changed {
		t.Errorf("leases %s, %v", record, changed)
	}
	w.dhcp4, w.dhcp6 = nil, nil
	w.wait(5 * time.Hour)
	w.called()
	if len(w.members) != 0 || len(w.clients6()) != 0 || w.again != nil {
		t.Errorf("%+v", w.Machine)
	}
	if record, changed := w.Lease(); record != nil || !changed {
		t.Errorf("leases %s, %v", record, changed)
	}
}

// TestRelease gives leases back without a PvD, which would have to find its neighbours first:
// what DHCPv4 has given goes to the station that the last DHCPACK came from.
func TestRelease(t *testing.T) {
	w, _ := full(t)
	w.station4[5]++
	w.wait(lease4Time * time.Second * 2 / 3) // it has been renewed
	acked := w.station4
	w.station4[5]++
	w.answer4(leases("192.0.2.10/24")(w.sent4[len(w.sent4)-1].Message)) // which nobody waits for
	w.sent4, w.sent6 = nil, nil
	w.Release()
	if len(w.Datagrams()) > 0 {
		t.Error("a PvD is to send something")
	}
	w.follow()
	if count4(w, dhcp4.Release) != 1 || count6(w, dhcp6.Release) != 1 {
		t.Fatalf("sent %v, %v", w.sent4, w.sent6)
	}
	if s := w.sent4[0]; s.station != acked || s.src != netip.MustParseAddrPort("192.0.2.9:68") || s.dst != server4 {
		t.Errorf("%v to %v of station %x, want %x", s.src, s.dst, s.station, acked)
	}
}

// TestReleaseUnconfirmed gives back what was leased before and nobody has confirmed: the
// server's station is not known.
func TestReleaseUnconfirmed(t *testing.T) {
	w, _ := full(t)
	record, _ := w.Lease()
	w = restart(t, w, record)
	w.wait(time.Minute)
	w.called("lab")
	w.sent4 = nil
	w.Release()
	w.follow()
	if len(w.sent4) != 1 || w.sent4[0].Type() != dhcp4.Release || w.sent4[0].station != broadcastMAC || w.sent4[0].dst != server4 {
		t.Errorf("sent %+v", w.sent4)
	}
}

// TestReleaseWhileProbing gives a lease back whose address is nobody's yet, so that no PvD
// can send from it.
func TestReleaseWhileProbing(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24")
	for w.v4.Tentative() == nil {
		w.wait(100 * time.Millisecond)
	}
	w.called()
	w.sent4 = nil
	w.Release()
	w.follow()
	if len(w.sent4) != 1 || w.sent4[0].Type() != dhcp4.Release || w.sent4[0].Client != netip.MustParseAddr("192.0.2.9") {
		t.Errorf("sent %v", w.sent4)
	}
}

// TestRenewsInItsPvD has what is sent to the server alone go by the routes of a PvD.
func TestRenewsInItsPvD(t *testing.T) {
	w, _ := full(t)
	w.sent4 = nil
	w.wait(lease4Time * time.Second / 2)
	i := slices.IndexFunc(w.sent4, func(s sent4) bool { return s.instance != 0 })
	if i < 0 || w.sent4[i].dst != server4 || w.sent4[i].src != netip.MustParseAddrPort("192.0.2.9:68") || w.sent4[i].Type() != dhcp4.Request {
		t.Errorf("sent %v", w.sent4)
	}
}

// restart returns a world with a machine that has a record of the leases of another.
func restart(t *testing.T, w *world, record []byte) *world {
	t.Helper()
	return newWorld(t, func(c *Config) {
		c.Lease = record
		c.Clock = &virtualClock{now: w.clock.now + time.Minute}
	})
}

func TestLeasesSurviveRestart(t *testing.T) {
	w, _ := full(t)
	record, changed := w.Lease()
	if !changed || len(record) == 0 {
		t.Fatalf("record %s, %v", record, changed)
	}
	if _, changed := w.Lease(); changed {
		t.Error("it changes without reason")
	}
	v := restart(t, w, record)
	if _, changed := v.Lease(); changed {
		t.Error("it changes before anything is known")
	}
	v.dhcp4 = leases("192.0.2.9/24")
	v.dhcp6 = gives("2001:db8:1::77")
	v.router("fe80::1").says(managed, pio("2001:db8:1::/64"))
	v.wait(20 * time.Second)
	if p := v.only(); len(p.addresses()) != 3 {
		t.Errorf("%+v", p)
	}
	if count4(v, dhcp4.Discover) != 0 || count4(v, dhcp4.Request) != 1 || count6(v, dhcp6.Solicit) != 0 || count6(v, dhcp6.Rebind) != 1 {
		t.Errorf("sent %v, %v", v.sent4, v.sent6)
	}
	next, changed := v.Lease()
	if !changed || bytes.Equal(next, record) {
		t.Errorf("record %s, %v", next, changed)
	}

	// Nobody answers: the leases go on until they are over.
	u := restart(t, v, next)
	u.router("fe80::1").says(managed, pio("2001:db8:1::/64"))
	u.wait(2 * time.Minute)
	if p := u.only(); len(p.addresses()) != 3 {
		t.Errorf("%+v", p)
	}
}

// TestRecordKeepsWhatIsNotKnownYet has a restart follow a restart before the leases could be
// verified, and of two PvDs only one be there again.
func TestRecordKeepsWhatIsNotKnownYet(t *testing.T) {
	w, _ := full(t)
	two := w.router("fe80::2")
	two.says(managed, explicit(corp), pio("2001:db8:2::/64"))
	w.dhcp6 = gives("2001:db8:2::88")
	w.wait(20 * time.Second)
	record, _ := w.Lease()
	v := restart(t, w, record)
	v.dhcp6 = gives("2001:db8:2::88")
	v.router("fe80::2").says(managed, explicit(corp), pio("2001:db8:2::/64"))
	v.wait(3 * time.Second)
	record, changed := v.Lease()
	if !changed {
		t.Fatal("that the second PvD's lease was verified is not recorded")
	}
	u := restart(t, v, record)
	u.dhcp6 = nil
	u.dhcp4 = nil
	u.router("fe80::1").says(managed, pio("2001:db8:1::/64"))
	u.router("fe80::2").says(managed, explicit(corp), pio("2001:db8:2::/64"))
	u.wait(2 * time.Minute)
	if len(u.named("lab").in("2001:db8:1::77/128")) != 1 || len(u.named("lab").in("192.0.2.9/32")) != 1 || len(u.named(string(corp)).in("2001:db8:2::88/128")) != 1 {
		t.Errorf("%+v", u.Proposals())
	}
}

// TestRefusedLeaseIsForgotten has the server refuse the lease from before.
func TestRefusedLeaseIsForgotten(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24")
	w.wait(20 * time.Second)
	record, _ := w.Lease()
	v := restart(t, w, record)
	v.dhcp4 = refuses
	v.wait(20 * time.Second)
	if record, changed := v.Lease(); record != nil || !changed {
		t.Errorf("record %s, %v", record, changed)
	}
}

func TestBadRecords(t *testing.T) {
	w, _ := full(t)
	record, _ := w.Lease()
	for what, r := range map[string][]byte{
		"cut short":       record[:len(record)-1],
		"no JSON":         []byte("lease"),
		"another version": bytes.Replace(record, []byte(`"version":1`), []byte(`"version":2`), 1),
		"too long":        append(bytes.Repeat([]byte(" "), maxRecord), record...),
		"bad parts":       []byte(`{"version":1,"dhcp4":{},"dhcp6":[{"pvd":"fe80::1","lease":{}}]}`),
	} {
		v := restart(t, w, r)
		if !v.remarked("what was leased before is not used") {
			t.Errorf("%s: nobody says so", what)
		}
		v.dhcp4 = leases("192.0.2.10/24")
		v.wait(20 * time.Second)
		if count4(v, dhcp4.Discover) != 1 || len(v.only().in("192.0.2.10/32")) != 1 {
			t.Errorf("%s: %+v", what, v.Proposals())
		}
	}
	old := newWorld(t, func(c *Config) {
		c.Lease = record
		c.Clock = &virtualClock{now: w.clock.now + 48*time.Hour}
	})
	if !old.remarked("expired") {
		t.Errorf("a lease that is over: %v", old.Remarks())
	}
	// One has more PvDs than a link can have.
	part := bytes.Index(record, []byte(`"dhcp6":[`))
	of := record[part+len(`"dhcp6":[`) : len(record)-2]
	var many [][]byte
	for i := range 2 * maxLeases6 {
		many = append(many, bytes.Replace(of, []byte(`"fe80::1"`), []byte(`"`+netip.AddrFrom16([16]byte{0xfe, 0x80, 15: byte(i)}).String()+`"`), 1))
	}
	r := slices.Concat(record[:part], []byte(`"dhcp6":[`), bytes.Join(many, []byte(",")), []byte("]}"))
	if v := restart(t, w, r); len(v.before.dhcp6) != maxLeases6 {
		t.Errorf("%d leases of DHCPv6, want %d: %v", len(v.before.dhcp6), maxLeases6, v.Remarks())
	}
}
