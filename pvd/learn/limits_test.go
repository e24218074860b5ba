package learn

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// TestProposalsAreStable has nothing new be no new proposal: the same pointer, the same version.
func TestProposalsAreStable(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24")
	w.dhcp6 = gives("2001:db8:1::77")
	forever := pio("2001:db8:2::/64")
	forever.Valid, forever.Preferred = ra.Infinite, ra.Infinite
	server := rdnss("2001:db8::53")
	one, two := w.router("fe80::1"), w.router("fe80::2")
	say := func() {
		one.says(managed, forManaged("2001:db8:1::/64"), server, withInfo(1))
		two.says(other, forever, server, ra.MTU(1400))
	}
	say()
	w.wait(20 * time.Second)
	w.Done(succeed(object(w, "2001:db8::/32"))(w.asked[0]))
	w.follow()
	before, version := w.Proposals(), w.Version()
	if len(before) != 2 {
		t.Fatalf("%+v", before)
	}
	stays := func(what string) {
		t.Helper()
		if after := w.Proposals(); !slices.Equal(before, after) || w.Version() != version {
			t.Errorf("%s: version %d, was %d: %+v", what, w.Version(), version, after)
		}
	}
	for range 10 {
		w.wait(5 * time.Second)
		say()
		stays("the routers repeat themselves, to the second")
	}
	// What may go on for ever is no news, even when the router says it at odd moments.
	w.wait(1234567890)
	two.says(other, forever, server, ra.MTU(1400))
	stays("a router repeats itself")
	w.Advance()
	w.LinkUp() // it has been up
	w.follow()
	w.Receive(ethernet(packetOf(datagram{server4, client4, []byte("junk")})))
	w.Receive(nil)
	w.follow()
	if w.Proposals()[1] != before[1] {
		t.Errorf("it is another one: %+v, was %+v", w.Proposals()[1], before[1])
	}
	// And what is news is.
	two.says(other, forever, server, ra.MTU(1300))
	if after := w.Proposals()[1]; after == before[1] || after.MTU != 1300 || before[1].MTU != 1400 {
		t.Error("the new MTU is not there, or the old proposal has been changed")
	}
}

// TestProposalsShareNothing has proposals be left alone by what happens later.
func TestProposalsShareNothing(t *testing.T) {
	w, one := full(t)
	p := w.only()
	before := fmt.Sprintf("%+v", *p)
	one.says(pio("2001:db8:2::/64"), rdnss("2001:db8::1", "2001:db8::2"))
	w.wait(2 * time.Hour)
	if after := fmt.Sprintf("%+v", *p); after != before {
		t.Errorf("%s\nbecame\n%s", before, after)
	}
}

// day plays a day on a link: two routers that advertise every 200 s, leases of an hour.
func day(w *world) (advertisements int) {
	w.dhcp4 = leases("192.0.2.9/24")
	w.dhcp6 = gives("2001:db8:1::77")
	one, two := w.router("fe80::1"), w.router("fe80::2")
	a := one.packet(managed, pio("2001:db8:1::/64"), rdnss("2001:db8::53"))
	b := two.packet(explicit(corp), pio("2001:db8:2::/64"), rdnss("2001:db8::54"))
	for range 24 * 3600 / 200 {
		w.receive(a)
		w.receive(b)
		advertisements += 2
		w.wait(200 * time.Second)
	}
	return advertisements
}

// TestDay plays a day on ten links. What it takes is counted instead of timed: a call for
// each thing that happens, and no more than one new version of the proposals.
func TestDay(t *testing.T) {
	const links = 10
	began := time.Now()
	steps, said, versions, sent := 0, 0, 0, 0
	for range links {
		w := newWorld(t)
		said += day(w)
		steps += w.steps
		versions += int(w.Version())
		sent += len(w.sent4) + len(w.sent6) + len(w.arps) + len(w.solicited)
		if len(w.Proposals()) != 2 || len(w.named("lab").addresses()) != 3 || len(w.named(string(corp)).addresses()) != 1 {
			t.Fatalf("at the end: %+v", w.Proposals())
		}
	}
	t.Logf("a day on %d links: %d advertisements, %d calls of Advance, %d versions, %d messages sent, in %v",
		links, said, steps, versions, sent, time.Since(began))
	renewals := 24 * 3600 / (lease4Time / 2) // and 87 times 1000 s for DHCPv6
	if most := links * (20 + 4*renewals + 3*87); steps > most {
		t.Errorf("%d calls of Advance, %d would do", steps, most)
	}
	if most := said + links*(20+renewals+87); versions > most {
		t.Errorf("%d versions for %d advertisements", versions, said)
	}
	if most := links * (20 + renewals + 87); sent > most {
		t.Errorf("%d messages sent, %d would do", sent, most)
	}
}

// BenchmarkDay is a day on ten links.
func BenchmarkDay(b *testing.B) {
	for b.Loop() {
		for range 10 {
			day(newWorld(b))
		}
	}
}

// flood makes advertisements that all differ.
type flood struct {
	*router
	random *rand.Rand
}

func newFlood(w *world) *flood {
	return &flood{w.router("fe80::"), rand.New(rand.NewPCG(5, 6))}
}

// next returns one of another router, with options of all kinds.
func (f *flood) next(id pvd.ID) []byte {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], 0xfe80<<48)
	binary.BigEndian.PutUint64(b[8:], f.random.Uint64())
	f.addr = netip.AddrFrom16(b)
	prefix := func(bits int) netip.Prefix {
		binary.BigEndian.PutUint64(b[:], 0x20010db8<<32|f.random.Uint64()&0xffffffff)
		return netip.PrefixFrom(netip.AddrFrom16(b), bits).Masked()
	}
	p := pio("2001:db8::/64")
	p.Prefix = prefix(64)
	options := []ra.Option{
		p,
		ra.RouteInformation{Prefix: prefix(56), Lifetime: time.Hour},
		rdnss(prefix(128).Addr().String()),
		ra.DNSSL{Domains: []string{fmt.Sprintf("n%d.example", f.random.Uint32())}, Lifetime: time.Hour},
		ra.PREF64{Prefix: prefix(96), Lifetime: 8000 * time.Second},
		ra.CaptivePortal(fmt.Sprintf("https://p%d.example/", f.random.Uint32())),
		ra.EncryptedDNS{Resolver: ra.Resolver{Priority: 1, Name: "dns.example", Addrs: []netip.Addr{prefix(128).Addr()}, Params: []byte{0, 1, 0, 4, 3, 'd', 'o', 't'}}, Lifetime: time.Hour},
	}
	if id != "" {
		return f.packet(managed, ra.PvDOption{ID: id, HTTP: true, Sequence: uint16(f.random.Uint32()), Options: options})
	}
	return f.packet(managed, options)
}

// TestNoMoreOfALink has a link's network claim more of everything than it may.
func TestNoMoreOfALink(t *testing.T) {
	for _, explicitly := range []bool{false, true} {
		w := newWorld(t)
		w.dhcp4 = leases("192.0.2.9/24")
		w.wait(20 * time.Second)
		f := newFlood(w)
		for i := range 3 * ra.MaxPvDs {
			id := pvd.ID("")
			if explicitly {
				id = pvd.ID(fmt.Sprintf("p%d.example", i))
			}
			w.receive(f.next(id))
		}
		proposals := w.Proposals()
		want := ra.MaxPvDs
		if explicitly {
			want++ // the lease is a PvD of its own
		}
		count := map[string]int{}
		for _, p := range proposals {
			count["addresses"] += len(p.in("2001:db8::/32"))
			for _, r := range p.Routes {
				if r.To.Bits() == 56 {
					count["routes"]++
				}
			}
			for _, s := range p.Servers {
				if s.Addr().Is6() {
					count["servers"]++
				}
			}
			count["search"] += len(p.Search)
			ns, _ := element(p, pvd.NAT64)
			count["nat64"] += len(ns)
			es, _ := element(p, pvd.EncryptedDNS)
			count["encrypted"] += len(es)
			count["routers"] += len(p.origin().Routers)
		}
		if len(proposals) != want {
			t.Errorf("explicit %v: %d PvDs, want %d", explicitly, len(proposals), want)
		}
		for what, most := range map[string]int{
			"addresses": ra.MaxPrefixes, "routes": ra.MaxRoutes, "servers": ra.MaxServers, "search": ra.MaxSearch,
			"nat64": ra.MaxNAT64, "encrypted": ra.MaxResolvers, "routers": ra.MaxRouters,
		} {
			if count[what] != most {
				t.Errorf("explicit %v: %d %s, want %d", explicitly, count[what], what, most)
			}
		}
		if n := len(w.clients6()); n != ra.MaxPvDs {
			t.Errorf("explicit %v: %d clients of DHCPv6", explicitly, n)
		}
		if n := len(w.asked); explicitly && n > addinfo.MaxRequests+2*ra.MaxPvDs {
			t.Errorf("%d requests", n)
		}
	}
}

// TestServersOfOnePvD has one PvD be told of more servers than a PvD can have, by all who can
// name some.
func TestServersOfOnePvD(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24", func(o map[byte][]byte) {
		o[6] = nil
		for i := range 60 {
			o[6] = append(o[6], 198, 51, 100, byte(i+1))
		}
	})
	one := w.router("fe80::1")
	var list, names []string
	for i := range 70 {
		list, names = append(list, fmt.Sprintf("2001:db8::%x", i+1)), append(names, fmt.Sprintf("n%d.example", i))
	}
	one.says(rdnss(list...), ra.DNSSL{Domains: names, Lifetime: time.Hour})
	w.wait(20 * time.Second)
	if p := w.only(); len(p.Servers) != pvd.MaxDNSServers || !p.Servers[0].Addr().Is4() || len(p.Search) != pvd.MaxSearch {
		t.Errorf("%d servers, %d names", len(p.Servers), len(p.Search))
	}
}

// TestFlood has 100,000 different advertisements take no memory, and nothing from the router
// that was there first.
func TestFlood(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 5_000
	}
	w := newWorld(t)
	w.lazy = true
	w.router("fe80::1").says(pio("2001:db8:1::/64"), rdnss("2001:db8::53"))
	working := w.only()
	f := newFlood(w)
	heap := func() int64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	send := func(n int) {
		for i := range n {
			id := pvd.ID("")
			if i%2 == 0 {
				id = pvd.ID(fmt.Sprintf("p%d.example", i))
			}
			w.Receive(ethernet(f.next(id)))
			w.Frames()
			w.Datagrams()
			w.Requests()
		}
	}
	send(1000) // all that there is room for is taken
	before, members, began := heap(), w.Proposals(), time.Now()
	send(n)
	t.Logf("%d advertisements in %v", n, time.Since(began))
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("the heap has grown by %d octets", grown)
	}
	if w.Proposals()[0] != working {
		t.Errorf("the working router's PvD is %+v, was %+v", w.Proposals()[0], working)
	}
	if !slices.Equal(w.Proposals(), members) || len(members) != ra.MaxPvDs {
		t.Errorf("%d PvDs are not those that were there first", len(w.Proposals()))
	}
	runtime.KeepAlive(w)
}

func TestLimits(t *testing.T) {
	w := newWorld(t)
	one := w.router("fe80::1")
	f := ethernet(one.packet())
	w.Receive(append(f, make([]byte, MaxFrame-len(f)+1)...))
	w.called()
	w.Receive(append(f, make([]byte, MaxFrame-len(f))...))
	w.called("lab")
	for i := range 2 * maxRemarks {
		w.remark("remark %d", i)
		w.remark("the same again")
	}
	if rs := w.Remarks(); len(rs) != maxRemarks || rs[len(rs)-1].Count != 2*maxRemarks || rs[len(rs)-2].What != fmt.Sprintf("remark %d", 2*maxRemarks-1) {
		t.Errorf("%d remarks: %+v", len(rs), rs)
	}
	w.Frames()
	for range 2 * maxFrames {
		w.emit(nil)
	}
	if n := len(w.Frames()); n != maxFrames {
		t.Errorf("%d frames wait", n)
	}
}

func TestConfigurations(t *testing.T) {
	good := Config{Link: "lab", HardwareAddr: hostMAC, Secret: []byte("s"), Clock: &virtualClock{}, RA: true, DHCPv4: true, DHCPv6: true}
	if m, err := New(good); err != nil || m == nil { // Random is left out
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"a clock and a secret":        func(c *Config) { c.Clock = nil },
		"needs a clock and a secret":  func(c *Config) { c.Secret = nil },
		"has not 6 octets":            func(c *Config) { c.HardwareAddr = net.HardwareAddr{1, 2, 3} },
		"needs an Ethernet link":      func(c *Config) { c.HardwareAddr = nil },
		"needs router advertisements": func(c *Config) { c.RA = false },
		"is not a sender's":           func(c *Config) { c.HardwareAddr = net.HardwareAddr{1, 0, 0, 0, 0, 1} },
		"rule 0":                      func(c *Config) { c.Rules = Rules{{}} },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestIPLink learns on a link without Ethernet.
func TestIPLink(t *testing.T) {
	clock := &virtualClock{now: time.Hour}
	m, err := New(Config{Link: "tun", MTU: 1500, Secret: []byte("s"), Clock: clock, Random: rand.NewPCG(1, 2), RA: true, DHCPv6: true})
	if err != nil {
		t.Fatal(err)
	}
	m.LinkUp()
	clock.now += 2 * time.Second
	m.Advance()
	if fs := m.Frames(); len(fs) != 1 || KindOf(false, fs[0]) != Other || fs[0][0]>>4 != 6 {
		t.Errorf("frames %x", fs)
	}
	w := &world{TB: t}
	m.Receive(w.router("fe80::1").packet(managed, pio("2001:db8:1::/64")))
	ps := m.Proposals()
	if len(ps) != 1 || len(ps[0].Addresses) != 2 {
		t.Fatalf("%+v", ps)
	}
	m.Observe(ps[0].Instance, Observation{Usable: []netip.Addr{ps[0].linkLocal()}})
	clock.now += 2 * time.Second
	m.Advance()
	fs := m.Frames()
	if len(fs) != 1 {
		t.Fatalf("frames %x", fs)
	}
	if d, ok := udp(fs[0]); !ok || d.dst.Port() != 547 {
		t.Errorf("%v", d)
	}
}
