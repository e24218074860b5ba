package pvdtest

import (
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/tun"
)

// everything is an advertisement that says all that there is to say.
var everything = RA{
	PvD: "corp.example", HTTP: true, Legacy: true, Delay: 3, Sequence: 77,
	Preference: pvd.High, Managed: true, Other: true, HopLimit: 61,
	Reachable: 20 * time.Second, Retransmit: 2 * time.Second,
	Prefixes: "2001:db8:1::/64 2001:db8:2::/64", Valid: 2 * time.Hour, Preferred: time.Hour,
	DNS: "2001:db8:1::53 2001:db8:1::54", Search: "corp.example lab.example",
	Options: []ra.Option{
		ra.MTU(1400),
		ra.PREF64{Prefix: netip.MustParsePrefix("64:ff9b::/96"), Lifetime: 1800 * time.Second},
		ra.RouteInformation{Prefix: netip.MustParsePrefix("2001:db8:8000::/33"), Lifetime: time.Hour},
		ra.CaptivePortal("https://portal.example/api"),
		ra.Raw{253, 1, 1, 2, 3, 4, 5, 6},
	},
}

func quickLab(t *testing.T) *Lab {
	t.Helper()
	return New(t, ManualTime())
}

func TestAdvertiseEverything(t *testing.T) {
	t.Parallel()
	for _, nested := range []bool{false, true} {
		t.Run(fmt.Sprintf("nested=%t", nested), func(t *testing.T) {
			t.Parallel()
			lab := quickLab(t)
			lan := lab.LAN("corp", "192.168.1.0/24", "2001:db8:1::/64")
			s := newNode(t, lan)
			says := everything
			says.Nested = nested
			r := lan.Router("192.168.1.1 2001:db8:1::1", says)
			lab.Settle()
			p := s.snapshot().Find(ra.Key{ID: "corp.example"})
			if p == nil {
				t.Fatalf("no such PvD: %+v", s.snapshot())
			}
			if len(s.snapshot().PvDs) != 1 {
				t.Errorf("%d PvDs", len(s.snapshot().PvDs))
			}
			from := linkLocalOf(mac(r.HardwareAddr(lan)))
			o := p.Option
			if !o.HTTP || !o.Legacy || o.Delay != 3 || o.Sequence != 77 || !p.Managed || !p.Other ||
				p.HopLimit != 61 || p.Reachable != 20*time.Second || p.Retransmit != 2*time.Second || p.MTU != 1400 ||
				p.Portal != "https://portal.example/api" {
				t.Errorf("PvD %+v, option %+v", p, o)
			}
			if len(p.Routers) != 1 || p.Routers[0].Addr != from || !slices.Equal(p.Routers[0].MAC, r.HardwareAddr(lan)) {
				t.Errorf("routers %v", p.Routers)
			}
			if len(p.Prefixes) != 2 || p.Prefixes[0].Valid != 2*time.Hour || len(p.Addresses) < 2 {
				t.Errorf("prefixes %v, addresses %v", p.Prefixes, p.Addresses)
			}
			for _, a := range p.Addresses {
				if !a.Prefix.Addr().IsLinkLocalUnicast() && a.Preferred != time.Hour {
					t.Errorf("address %+v", a)
				}
			}
			if len(p.Routes) != 2 || p.Routes[0].Preference != pvd.High || p.Routes[0].Until != 1800*time.Second ||
				p.Routes[1].To.String() != "2001:db8:8000::/33" {
				t.Errorf("routes %+v", p.Routes)
			}
			if len(p.Servers) != 2 || p.Servers[0].Value.String() != "2001:db8:1::53" || len(p.Search) != 2 ||
				len(p.NAT64) != 1 || p.NAT64[0].Value.String() != "64:ff9b::/96" {
				t.Errorf("servers %v, search %v, NAT64 %v", p.Servers, p.Search, p.NAT64)
			}
			s.do(func(time.Duration) {
				if list, n := s.ra.Rejections(); n != 0 {
					t.Errorf("rejected: %+v", list)
				}
			})
			// Hosts that know of no PvDs see nothing of what is nested.
			m, _, err := ra.ParseAdvertisement(lastRA(t, s)[ip6HeaderLen:])
			if err != nil {
				t.Fatal(err)
			}
			if outside := len(m.Options) > 2; outside == nested || (m.Lifetime == 0) != nested {
				t.Errorf("nested %t, and outside are %+v %v", nested, m.Header, m.Options)
			}
		})
	}
}

// lastRA returns the last advertisement that came, as a packet.
func lastRA(t *testing.T, s *node) []byte {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range slices.Backward(s.frames) {
		if isRA(f) {
			return f[tun.EthernetHeaderLen:]
		}
	}
	t.Fatal("no advertisement")
	return nil
}

// TestAdvertiseDefault is the zero RA on a LAN that has what it says.
func TestAdvertiseDefault(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("home", "2001:db8:1::/64")
	lan.DNS("2001:db8:1::53", Zone{})
	s := newNode(t, lan)
	lan.Router("2001:db8:1::1", RA{})
	lab.Settle()
	ps := s.snapshot().PvDs
	if len(ps) != 1 || ps[0].Key.Explicit() {
		t.Fatalf("PvDs %+v", ps)
	}
	p := ps[0]
	if p.Prefixes[0].Prefix.String() != "2001:db8:1::/64" || p.Prefixes[0].Valid != defaultValid ||
		p.Servers[0].Value.String() != "2001:db8:1::53" || p.Search[0].Value != "home.example" ||
		p.Routes[0].Until != 1800*time.Second || p.Managed || p.Other {
		t.Errorf("%+v", p)
	}
}

// TestAdvertiseSeldom is RFC 4861 section 6.2.4: three at the beginning at most 16 s apart,
// and then one within each MaxRtrAdvInterval, not sooner than a third of it.
func TestAdvertiseSeldom(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("home", "2001:db8:1::/64")
	s := newNode(t, lan)
	lan.Router("2001:db8:1::1", RA{Interval: 300 * time.Second})
	lab.Clock.Advance(2*initialInterval + time.Second)
	if n, all := s.advertisements(); n != 3 || all != 3 {
		t.Fatalf("%d at the beginning, %d to everybody", n, all)
	}
	lab.Clock.Advance(3000 * time.Second)
	if n, _ := s.advertisements(); n < 3+10 || n > 3+30 {
		t.Errorf("%d in all", n)
	}
}

func TestSolicited(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("home", "2001:db8:1::/64")
	r := lan.Router("2001:db8:1::1", RA{Gap: 3 * time.Second})
	lab.Clock.Advance(40 * time.Second)
	s := newNode(t, lan)
	s.up()
	lab.Clock.Advance(2 * time.Second) // the host waits up to 1 s, the router up to 0.5 s
	if n, all := s.advertisements(); n != 1 || all != 0 {
		t.Errorf("%d, of which %d to everybody; counts %v", n, all, r.Stats())
	}
	// Who has no address gets an answer with everybody, and at most one in three seconds.
	anybody := func() {
		s.do(func(time.Duration) {
			b := ra.AppendSolicitation(nil, netip.IPv6Unspecified(), nil)
			f := s.ifc.newFrame(multicastMAC(ra.AllRouters), etherIPv6, ip6HeaderLen+len(b))
			putIP6(f[tun.EthernetHeaderLen:], protoICMPv6, ndHopLimit, netip.IPv6Unspecified(), ra.AllRouters)
			copy(f[tun.EthernetHeaderLen+ip6HeaderLen:], b)
			s.send(f)
		})
	}
	anybody()
	anybody()
	lab.Clock.Advance(time.Second)
	anybody()
	lab.Clock.Advance(time.Second)
	if n, all := s.advertisements(); n != 2 || all != 1 {
		t.Errorf("%d, of which %d to everybody", n, all)
	}
	// A mute one is silent, and so is one that was asked from afar.
	before, _ := s.advertisements()
	s.do(func(time.Duration) {
		b := ra.AppendSolicitation(nil, s.ll(), s.ifc.mac[:])
		f := s.ifc.newFrame(multicastMAC(ra.AllRouters), etherIPv6, ip6HeaderLen+len(b))
		putIP6(f[tun.EthernetHeaderLen:], protoICMPv6, 254, s.ll(), ra.AllRouters)
		copy(f[tun.EthernetHeaderLen+ip6HeaderLen:], b)
		s.send(f)
	})
	lab.Clock.Advance(time.Second)
	if n, _ := s.advertisements(); n != before {
		t.Error("an answer to a solicitation with hop limit 254")
	}
	r.Advertise(RA{Mute: true})
	lab.Settle()
	before, _ = s.advertisements()
	s.do(func(time.Duration) { s.sendICMP6(ra.AppendSolicitation(nil, s.ll(), s.ifc.mac[:]), ra.AllRouters) })
	lab.Clock.Advance(time.Second)
	if n, _ := s.advertisements(); n != before {
		t.Error("a mute router has answered")
	}
}

// TestSeveralRouters has two routers, one of which has two addresses: three implicit PvDs.
func TestSeveralRouters(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("home", "2001:db8:1::/64")
	s := newNode(t, lan)
	r1 := lan.Router("2001:db8:1::1", RA{}, RA{From: "fe80::aa", Prefixes: "2001:db8:2::/64"})
	r2 := lan.Router("2001:db8:1::2", RA{Prefixes: Nothing, Lifetime: Zero, DNS: "2001:db8:1::53", Options: []ra.Option{ra.MTU(1300)}})
	lab.Settle()
	if ps := s.snapshot().PvDs; len(ps) != 3 {
		t.Fatalf("%d PvDs", len(ps))
	}
	by := func(a netip.Addr) *ra.PvD { return s.snapshot().Find(ra.Key{Router: a}) }
	first, other := by(linkLocalOf(mac(r1.HardwareAddr(lan)))), by(netip.MustParseAddr("fe80::aa"))
	second := by(linkLocalOf(mac(r2.HardwareAddr(lan))))
	if first == nil || other == nil || second == nil {
		t.Fatalf("%+v, %+v, %+v", first, other, second)
	}
	if other.Prefixes[0].Prefix.String() != "2001:db8:2::/64" || len(first.Routes) != 1 || len(second.Routes) != 0 || second.MTU != 1300 {
		t.Errorf("%+v, %+v, %+v", first, other, second)
	}
}

func TestAdvertiseChangeAndEnd(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("home", "2001:db8:1::/64")
	s := newNode(t, lan)
	r := lan.Router("2001:db8:1::1", RA{PvD: "a.example"})
	lab.Settle()
	r.Advertise(RA{PvD: "a.example", DNS: "2001:db8:1::54"})
	lab.Settle()
	if p := s.snapshot().Find(ra.Key{ID: "a.example"}); len(p.Servers) != 1 {
		t.Errorf("the change has not come: %+v", p)
	}
	r.Cease()
	lab.Settle()
	if p := s.snapshot().Find(ra.Key{ID: "a.example"}); len(p.Routes) != 0 || len(p.Servers) != 1 {
		t.Errorf("still a default router, or all gone: %+v", p)
	}
	lab.Clock.Advance(10 * time.Second)
	before, _ := s.advertisements()
	s.do(func(time.Duration) { s.sendICMP6(ra.AppendSolicitation(nil, s.ll(), s.ifc.mac[:]), ra.AllRouters) })
	lab.Clock.Advance(time.Hour)
	if n, _ := s.advertisements(); n != before || n != 5 {
		t.Errorf("%d advertisements, %d of them after the end", n, n-before)
	}
	encrypted := ra.EncryptedDNS{Resolver: ra.Resolver{Priority: 1, Name: "dot.example"}, Lifetime: time.Hour}
	r.Advertise(RA{PvD: "a.example", Prefixes: Nothing, DNS: "2001:db8:1::54", Options: []ra.Option{encrypted}})
	lab.Settle()
	if p := s.snapshot().Find(ra.Key{ID: "a.example"}); p == nil || len(p.Resolvers) != 1 {
		t.Errorf("no encrypted server: %+v", p)
	}
	r.Withdraw()
	lab.Settle()
	if p := s.snapshot().Find(ra.Key{ID: "a.example"}); p != nil && len(p.Servers)+len(p.Routes)+len(p.Resolvers) != 0 {
		t.Errorf("not withdrawn: %+v", p)
	}
}

// TestAdvertiseInPieces has more to say than a packet takes.
func TestAdvertiseInPieces(t *testing.T) {
	t.Parallel()
	for _, nested := range []bool{false, true} {
		lab := quickLab(t)
		lan := lab.LAN("home", "2001:db8:1::/64")
		s := newNode(t, lan)
		var prefixes []string
		for i := range 60 {
			prefixes = append(prefixes, fmt.Sprintf("2001:db8:%x::/64", i+1))
		}
		lan.Router("2001:db8:1::1", RA{PvD: "a.example", Prefixes: strings.Join(prefixes, " "), Nested: nested})
		lab.Settle()
		if p := s.snapshot().Find(ra.Key{ID: "a.example"}); p == nil || len(p.Prefixes) != 60 {
			t.Errorf("nested %t: %+v", nested, p)
		}
		if n, _ := s.advertisements(); n != 2 {
			t.Errorf("%d messages", n)
		}
	}
}

func TestAdvertiseErrors(t *testing.T) {
	t.Parallel()
	long := make([]string, 200)
	for i := range long {
		long[i] = fmt.Sprintf("%063d.%063d.%d.example", i, i, i)
	}
	for want, a := range map[string]RA{
		"not a link-local address": {From: "2001:db8::1"},
		"not a prefix of IPv6":     {Prefixes: "192.168.1.0/24"},
		"unable to parse IP":       {DNS: "dns"},
		"no PvD":                   {Nested: true},
		"15 is the most":           {PvD: "a.example", Delay: 16},
		"2040 is the most":         {Search: strings.Join(long, " ")},
		"does not fit an MTU":      {Search: strings.Join(long[:12], " ")},
		"64 is the most":           {Options: slices.Repeat([]ra.Option{ra.Raw(append([]byte{253, 100}, make([]byte, 798)...))}, 65)},
	} {
		var got string
		Main("errors", writer(func(b []byte) { got += string(b) }), func(tb TB) {
			lab := New(tb)
			lab.LAN("home", "2001:db8:1::/64").Router("2001:db8:1::1", a)
		})
		if !strings.Contains(got, want) {
			t.Errorf("%+.100v: %q, want %q", a, got, want)
		}
	}
	lab := quickLab(t)
	lan := lab.LAN("home", "2001:db8:1::/64")
	r := lan.Router("2001:db8:1::1")
	for i := range maxAdvertisers {
		r.Advertise(RA{From: fmt.Sprintf("fe80::1:%x", i)})
	}
	if err := (RA{From: "fe80::2"}).apply(lan, r); err == nil {
		t.Errorf("%d advertisers", maxAdvertisers+1)
	}
}

// TestAdvertiseOddities has a second PvD option, and a frame that is none of the router's.
func TestAdvertiseOddities(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("home", "2001:db8:1::/64")
	s := newNode(t, lan)
	r := lan.Router("2001:db8:1::1", RA{
		PvD: "a.example", Header: &ra.Header{Lifetime: time.Minute}, Inside: []ra.Option{ra.MTU(1300)},
		Options: []ra.Option{ra.PvDOption{ID: "b.example"}, ra.MTU(1400)},
	})
	lab.Settle()
	ps := s.snapshot().PvDs
	if len(ps) != 1 || ps[0].Key.ID != "a.example" || ps[0].Routes[0].Until != time.Minute || ps[0].MTU == 0 {
		t.Errorf("%+v", ps)
	}
	r.Inject(append(s.ifc.mac[:], "......\x88\xb5what it says"...))
	lab.Settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.frames[len(s.frames)-1]; string(f[12:]) != "\x88\xb5what it says" {
		t.Errorf("%q", f)
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

// TestSolicitationFlood shows that a flood of solicitations gets a bounded number of
// answers.
func TestSolicitationFlood(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("home", "2001:db8:1::/64")
	r := lan.Router("2001:db8:1::1", RA{})
	s := newNode(t, lan)
	for range 4 {
		s.do(func(time.Duration) {
			for range maxAnswers {
				s.sendICMP6(ra.AppendSolicitation(nil, s.ll(), s.ifc.mac[:]), ra.AllRouters)
			}
		})
		lab.Settle()
	}
	lab.Clock.Advance(time.Second)
	if n, all := s.advertisements(); n-all != maxAnswers || r.Stats()[dropQueue] != 3*maxAnswers {
		t.Errorf("%d answers, %v", n-all, r.Stats())
	}
}

// TestPrefixBehindRouter has the router advertise a prefix that is not the LAN's.
func TestPrefixBehindRouter(t *testing.T) {
	t.Parallel()
	lab := New(t)
	internet := lab.LAN("internet", "198.51.100.0/24", "2001:db8:ff::/64")
	lan := lab.LAN("home", "192.168.1.0/24", "2001:db8:1::/64")
	first := lan.Router("192.168.1.1 2001:db8:1::1", RA{}, Uplink{LAN: internet, Addrs: "198.51.100.1 2001:db8:ff::1"})
	lan.Router("192.168.1.2 2001:db8:1::2", Uplink{LAN: internet, Addrs: "198.51.100.2 2001:db8:ff::2"}, RA{Prefixes: "2001:db8:2::/64"})
	first.mu.Lock()
	ifc, next, ok := first.core.lookup(netip.MustParseAddr("2001:db8:2::77"))
	first.mu.Unlock()
	if !ok || ifc.lan != "home" || next.String() != "2001:db8:1::2" {
		t.Errorf("%s reaches the prefix of the other router by %v", first.name, next)
	}
	internet.Echo("2001:db8:ff::7")
	c := internet.config("x", internet.parse("2001:db8:ff::9"))
	if !slices.ContainsFunc(c.Routes, func(r pvd.Route) bool {
		return r.To.String() == "2001:db8:2::/64" && r.Via.String() == "2001:db8:ff::2"
	}) {
		t.Errorf("routes on the uplink: %v", c.Routes)
	}
}

// TestDissected shows our advertisements to somebody else.
func TestDissected(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("needs tshark")
	}
	dir := t.TempDir()
	t.Run("lab", func(t *testing.T) {
		lab := New(t, ManualTime(), Artifacts(dir))
		lan := lab.LAN("corp", "2001:db8:1::/64")
		newNode(t, lan)
		nested := everything
		nested.Nested = true
		r := lan.Router("2001:db8:1::1", everything)
		r.Advertise(nested)
		r.Advertise(RA{})
		lab.Settle()
	})
	files, err := filepath.Glob(filepath.Join(dir, "corp-node*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	out, err := exec.CommandContext(t.Context(), "tshark", "-r", files[0], "-Y", "icmpv6.type == 134", "-T", "fields",
		"-e", "icmpv6.checksum.status", "-e", "icmpv6.opt.type", "-e", "icmpv6.opt.prefix", "-e", "icmpv6.opt.rdnss",
		"-e", "_ws.malformed", "-e", "_ws.expert.message").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	if len(lines) != 3 {
		t.Fatalf("tshark has found:\n%s", out)
	}
	for i, want := range []string{"1,21,3,3,25,31,5,38,24,37,253", "1,21", "1,3"} {
		f := strings.Split(lines[i], "\t")
		if len(f) < 4 || f[0] != "1" && f[0] != "Good" || !strings.HasPrefix(f[1], want) {
			t.Errorf("advertisement %d: %q, want options %s and a good checksum", i, lines[i], want)
		}
		if strings.Contains(lines[i], "alformed") {
			t.Errorf("advertisement %d is malformed: %s", i, lines[i])
		}
	}
	if !strings.Contains(lines[0], "2001:db8:1::53") {
		t.Errorf("no DNS server in %s", lines[0])
	}
}
