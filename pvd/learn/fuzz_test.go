package learn

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
	"github.com/pvdstack/pvdstack/pvd/dhcp/acd"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// A script is octets by which a network is played.
type script []byte

// take returns a number below n.
func (s *script) take(n int) int {
	if len(*s) == 0 {
		return 0
	}
	v := (*s)[0]
	*s = (*s)[1:]
	return int(v) % n
}

func (s *script) octets(n int) []byte {
	n = min(n, len(*s))
	b := slices.Clone((*s)[:n])
	*s = (*s)[n:]
	return b
}

func (s *script) flag() bool { return s.take(2) == 1 }

func pick[T any](s *script, of ...T) T { return of[s.take(len(of))] }

func (s *script) lifetime() time.Duration {
	return pick(s, 0, time.Second, 30*time.Second, time.Hour, 3*time.Hour, 40*24*time.Hour, ra.Infinite, (1<<32-2)*time.Second)
}

func (s *script) prefix() netip.Prefix {
	return netip.MustParsePrefix(pick(s, "2001:db8:1::/64", "2001:db8:2::/64", "2001:db8::/48", "fd00:1::/64", "2001:db8:1::/65",
		"::/64", "2002:c000:201::/64", "2001:db8:1::1/128", "64:ff9b::/96", "fe80::/64", "ff00::/8", "::ffff:0:0/96", "::/0", "3000::/4"))
}

func (s *script) id() pvd.ID { return pick(s, pvd.ID("a.example"), "b.example", "c.example") }

func (s *script) addr6() netip.Addr {
	return netip.MustParseAddr(pick(s, "2001:db8::53", "fe80::53", "::1", "2001:db8:1::53", "64:ff9b::1", "::ffff:192.0.2.1", "ff02::1", "::"))
}

func (s *script) header() ra.Header {
	return ra.Header{
		HopLimit: byte(s.take(256)), Managed: s.flag(), Other: s.flag(), Lifetime: s.lifetime(),
		Preference: pick(s, pvd.Low, pvd.Medium, pvd.High),
		Reachable:  pick(s, 0, time.Millisecond, time.Minute, 1<<31*time.Millisecond),
		Retransmit: pick(s, 0, time.Millisecond, time.Minute, 1<<31*time.Millisecond),
	}
}

func (s *script) options(nested bool) (os []ra.Option) {
	for range s.take(6) {
		var o ra.Option
		switch s.take(11) {
		case 0, 1, 2:
			o = ra.PrefixInformation{
				Prefix: s.prefix(), OnLink: s.flag(), Autonomous: s.flag(), Delegation: s.flag(),
				Valid: s.lifetime(), Preferred: s.lifetime(),
			}
		case 3:
			o = ra.RDNSS{Servers: []netip.Addr{s.addr6(), s.addr6()}, Lifetime: s.lifetime()}
		case 4:
			o = ra.DNSSL{Domains: []string{pick(s, "a.example", "b", "xn--4ca.example")}, Lifetime: s.lifetime()}
		case 5:
			o = ra.RouteInformation{Prefix: s.prefix(), Preference: pick(s, pvd.Low, pvd.High), Lifetime: s.lifetime()}
		case 6:
			o = ra.MTU(pick[uint32](s, 0, 576, 1280, 1400, 9000, 1<<31))
		case 7:
			o = ra.PREF64{Prefix: netip.MustParsePrefix("64:ff9b::/96"), Lifetime: pick(s, 0, 8*time.Second, 1000*time.Second)}
		case 8:
			o = ra.CaptivePortal(pick(s, "https://portal.example/", string(ra.Unrestricted)))
		case 9:
			o = ra.EncryptedDNS{Resolver: ra.Resolver{Priority: 1, Name: "dns.example", Addrs: []netip.Addr{s.addr6()}, Params: []byte{0, 1, 0, 4, 3, 'd', 'o', 't'}}, Lifetime: s.lifetime()}
		case 10:
			if nested {
				continue
			}
			p := ra.PvDOption{ID: s.id(), HTTP: s.flag(), Legacy: s.flag(), Sequence: uint16(s.take(3)), Delay: byte(s.take(16))}
			if s.flag() {
				h := s.header()
				p.Header = &h
			}
			p.Options = s.options(true)
			o = p
		}
		os = append(os, o)
	}
	return os
}

// play has the network, and the host, do what a script says.
func play(w *world, s *script) {
	w.Helper()
	w.fetch = func(r Request) Result {
		switch s.take(4) {
		case 0:
			return fail(addinfo.Unreachable)(r)
		case 1:
			return fail(addinfo.Certificate)(r)
		}
		o := &addinfo.Object{Expires: w.clock.Now().Add(time.Duration(s.take(100)) * time.Minute), Zones: []string{"z.example"}}
		o.Prefixes = []netip.Prefix{netip.MustParsePrefix("2000::/3")}
		return Result{request: r, object: o, answer: &addinfo.PortalAnswer{Portal: pvd.Portal{Captive: s.flag()}}}
	}
	for len(*s) > 0 {
		playOne(w, s)
		bounded(w)
	}
	w.wait(time.Minute)
}

func playOne(w *world, s *script) {
	w.Helper()
	routers := []string{"fe80::1", "fe80::2", "fe80::3", "fe80::1:1"}
	switch s.take(12) {
	case 0, 1:
		d := pick(s, 0, time.Second, 5*time.Second, time.Minute, time.Hour, 26*time.Hour)
		if w.clock.now > 8*time.Hour {
			d = min(d, time.Minute) // a script is not to take for ever
		}
		w.wait(d)
	case 2, 3, 4:
		r := w.router(pick(s, routers...))
		r.mac[5] = byte(s.take(2))
		a := ra.Advertisement{Header: s.header(), Options: append(s.options(false), ra.LinkAddress{MAC: r.mac})}
		if m, err := a.Append(nil, r.addr, allNodes); err == nil {
			w.receive(append(appendIP(nil, r.addr, allNodes, protoICMPv6, len(m)), m...))
		}
	case 5: // options that are none
		src := netip.MustParseAddr(pick(s, routers...))
		m := append([]byte{icmpRA, 0, 0, 0, 64, byte(s.take(256)), 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}, s.octets(8*s.take(8))...)
		ra.PutChecksum(m, src, allNodes)
		w.receive(append(appendIP(nil, src, allNodes, protoICMPv6, len(m)), m...))
	case 6:
		w.Receive(s.octets(s.take(256)))
		w.follow()
	case 7:
		pick(s, w.up, w.down, w.resume)()
	case 8:
		w.dhcp4 = s.server4()
	case 9:
		w.dhcp6 = s.server6()
	case 10:
		a := acd.ARP{Op: 1, SenderMAC: [6]byte{2, 9, 9, 9, 9, 9}, SenderIP: netip.MustParseAddr("192.0.2.9"), TargetIP: netip.MustParseAddr("192.0.2.9")}
		f := binary.BigEndian.AppendUint16(append(slices.Repeat([]byte{0xff}, 6), 2, 9, 9, 9, 9, 9), etherARP)
		w.Receive(a.Append(f))
		w.follow()
	case 11:
		for _, p := range w.Proposals() {
			for _, a := range p.Addresses {
				if s.take(3) == 0 && len(w.taken) < 20 {
					w.taken[a.Prefix.Addr()] = true
				}
			}
		}
		w.silent[netip.MustParseAddr(pick(s, routers...))] = s.flag()
		w.unready = s.flag()
		w.follow()
	}
}

func (s *script) server4() func(*dhcp4.Message) *dhcp4.Message {
	if s.flag() {
		return pick(s, nil, refuses)
	}
	options := map[byte][]byte{}
	for range s.take(5) {
		code := pick[byte](s, 1, 3, 6, 15, 26, 33, 51, 58, 59, 108, 114, 119, 121, 162)
		options[code] = s.octets(pick(s, 1, 2, 4, 5, 8, 9, 16))
	}
	if s.flag() {
		options[26] = []byte{2, 64} // 576, the least
		options[121] = pick(s,
			[]byte{0, 192, 0, 2, 1}, []byte{0, 192, 0, 2, 9}, []byte{32, 198, 51, 100, 1, 0, 0, 0, 0, 0, 198, 51, 100, 1},
			[]byte{8, 10, 192, 0, 2, 1, 8, 10, 192, 0, 2, 2}, []byte{0, 0, 0, 0, 0}, []byte{4, 224, 192, 0, 2, 1})
		options[33] = []byte{10, 1, 2, 3, 192, 0, 2, 1, 127, 0, 0, 1, 192, 0, 2, 1}
	}
	return leases(pick(s, "192.0.2.9/24", "10.0.0.1/8", "192.0.2.9/32", "169.254.9.9/16"), func(o map[byte][]byte) {
		maps.Copy(o, options)
	})
}

func (s *script) server6() func(*dhcp6.Message) []dhcp6.Option {
	if s.take(4) == 0 {
		return nil
	}
	server := gives(pick(s, "2001:db8:1::77", "2001:db8:2::77", "fd00:1::77", "2001:db8:9::77"))
	if s.flag() {
		server = with6(server, pick[uint16](s, 23, 24, 103, 144, 13), string(s.octets(pick(s, 1, 16, 20, 32))))
	}
	return server
}

// bounded looks for what grows.
func bounded(w *world) {
	w.Helper()
	if n := len(w.Proposals()); n > ra.MaxPvDs+1 {
		w.Fatalf("%d proposals", n)
	}
	if n := len(w.remarks.list); n > maxRemarks {
		w.Fatalf("%d remarks", n)
	}
	w.sent4, w.sent6, w.arps, w.solicited, w.asked = nil, nil, nil, nil, nil
	w.Lease()
	w.Remarks()
}

// fuzzRules change what is learned in most of the ways that there are.
func fuzzRules() Rules {
	return Rules{
		{Match: Match{Link: "lab"}, Modify: []Modifier{
			Append(pvd.DNSServers.With(servers("192.0.2.53"))),
			Prepend(pvd.Addresses.With([]pvd.AddressInfo{{Address: pvd.Address{Prefix: netip.MustParsePrefix("2001:db8:7::7/64")}}})),
		}},
		{Match: Match{Link: "lab", Implicit: true}, Modify: []Modifier{
			Append(pvd.Addresses.With([]pvd.AddressInfo{
				{Address: pvd.Address{Prefix: netip.MustParsePrefix("192.0.2.1/24")}},
				{Address: pvd.Address{Prefix: netip.MustParsePrefix("2001:db8:7::8/64")}},
			})),
		}},
		{Match: Match{ID: "a.example"}, Name: "a", Refuse: Refuse{Addresses: true}, Modify: []Modifier{Ignore(pvd.Routes.Any())}},
		{Match: Match{ID: "b.example"}, Refuse: Refuse{Routes: true, DNS: true}, Modify: []Modifier{
			Supersede(pvd.Addresses.With([]pvd.AddressInfo{{Address: pvd.Address{Prefix: netip.MustParsePrefix("2001:db8:6::7/64")}}})),
			Ignore(pvd.MTU.Any()),
		}},
		{Match: Match{Link: "lab", Router: netip.MustParseAddr("fe80::2")}, Modify: []Modifier{Supersede(pvd.NAT64.With([]netip.Prefix{netip.MustParsePrefix("64:ff9b::/96")}))}},
	}
}

// bystander is a machine on another link.
func bystander(t testing.TB) *world {
	w, _ := full(t, func(c *Config) { c.Link = "lab2" })
	return w
}

func snapshot(w *world) (ps []Proposal, version uint64, next time.Duration) {
	for _, p := range w.Proposals() {
		ps = append(ps, *p.Clone())
	}
	next, _ = w.Next()
	return ps, w.Version(), next
}

// untouched has a bystander be bit for bit what it was after f.
func untouched(t testing.TB, f func()) {
	t.Helper()
	b := bystander(t)
	before, version, next := snapshot(b)
	pointers := b.Proposals()
	f()
	after, version2, next2 := snapshot(b)
	if !same(before, after) || version != version2 || next != next2 || !slices.Equal(pointers, b.Proposals()) {
		t.Errorf("what is learned on another link has changed: %+v was %+v", after, before)
	}
	if len(b.Frames())+len(b.Datagrams())+len(b.Requests()) > 0 {
		t.Error("the machine of another link has something to say")
	}
}

func runScript(t testing.TB, b []byte) {
	s := script(b)
	w := newWorld(t, func(c *Config) {
		c.Temporary, c.IPv6Only = s.flag(), s.flag()
		if s.flag() {
			c.Rules = fuzzRules()
		}
	})
	play(w, &s)
}

func FuzzMachine(f *testing.F) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		b := make([]byte, 200)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 500 {
			return
		}
		runScript(t, b)
	})
}

// TestAnythingOnOneLink plays many networks at random: every proposal is valid, nothing
// grows without bound, the machine comes to rest, and what is learned on another link stays
// as it is, bit for bit.
func TestAnythingOnOneLink(t *testing.T) {
	runs := 300
	if testing.Short() {
		runs = 50
	}
	untouched(t, func() {
		for seed := range runs {
			random := rand.New(rand.NewPCG(uint64(seed), 7))
			b := make([]byte, 100+random.IntN(700))
			for i := range b {
				b[i] = byte(random.Uint32())
			}
			if ok := t.Run("", func(t *testing.T) { runScript(t, b) }); !ok {
				t.Fatalf("seed %d", seed)
			}
		}
	})
}
