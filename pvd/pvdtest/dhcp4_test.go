package pvdtest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/tun"
)

// newNode4 plugs a node in that has a DHCPv4 client. It is the n-th.
func newNode4(t testing.TB, n *LAN, change ...func(*dhcp4.Config)) *node {
	t.Helper()
	s := newNode(t, n)
	cfg := dhcp4.Config{HardwareAddr: s.ifc.mac, ClientID: append([]byte{255, 0, 0, 0, 1, 0, 4}, s.ifc.mac[:]...), Rand: source(s.ifc.mac)}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if s.d4, err = dhcp4.New(cfg); err != nil {
		t.Fatal(err)
	}
	return s
}

// lease4 returns what the client has.
func (s *node) lease4() *dhcp4.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.d4.Lease()
}

func (s *node) state4() (dhcp4.State, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.d4.State()
}

const bindTime = 10 * time.Second // the start, the probe of RFC 5227 and a bit

func TestLease4(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	for _, name := range []string{"corp", "home"} {
		lan := lab.LAN(name, "192.168.1.0/24")
		lan.Router("192.168.1.1", DHCPv4{})
		lan.DNS("192.168.1.53", Zone{})
		lan.Machine("192.168.1.100") // has the pool's first address
		s := newNode4(t, lan)
		s.up()
		lab.Clock.Advance(bindTime)
		l := s.lease4()
		if l == nil {
			state, why := s.state4()
			t.Fatalf("%s: no lease: %v %s", name, state, why)
		}
		// The same on both LANs.
		if l.Addr.String() != "192.168.1.101/24" || l.Server.String() != "192.168.1.1" || len(l.Routes) != 1 ||
			l.Routes[0].Via.String() != "192.168.1.1" || len(l.DNS) != 1 || l.DNS[0].String() != "192.168.1.53" ||
			l.Domain != name+".example" || l.Expires-l.Obtained != time.Hour || len(l.Problems) != 0 {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

func TestLease4Options(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("corp", "192.168.1.0/24")
	resolver := []byte("\x00\x00\x00\x01\x0c\x02d1\x07example\x00\x04\xc0\xa8\x01\x35\x00\x01\x00\x04\x03dot")
	resolver[1] = byte(len(resolver) - 2)
	r := lan.Router("192.168.1.1", DHCPv4{
		Pool: "192.168.1.7", Size: 1, Lease: 2 * time.Hour, T1: 10 * time.Minute, T2: 20 * time.Minute,
		Routers: "192.168.1.2", DNS: "192.168.1.8 192.168.1.9", Domain: "other.example", Search: "a.example b.example",
		Routes: []pvd.Route{
			{To: netip.MustParsePrefix("10.0.0.0/9"), Via: netip.MustParseAddr("192.168.1.3")},
			{To: netip.MustParsePrefix("192.168.2.0/24")},
		},
		MTU: 1400, Portal: "https://portal.example/api",
		Options: map[byte][]byte{162: resolver, 250: make([]byte, 300)},
	})
	s := newNode4(t, lan)
	s.up()
	lab.Clock.Advance(bindTime)
	l := s.lease4()
	if l == nil {
		t.Fatal("no lease")
	}
	if l.Addr.String() != "192.168.1.7/24" || l.T1-l.Obtained != 10*time.Minute || l.T2-l.Obtained != 20*time.Minute ||
		len(l.DNS) != 2 || l.Domain != "other.example" || !slices.Equal(l.Search, []string{"a.example", "b.example"}) ||
		len(l.Routes) != 2 || l.Routes[0].To.String() != "10.0.0.0/9" || l.Routes[1].Via.IsValid() && !l.Routes[1].Via.IsUnspecified() ||
		l.MTU != 1400 || l.Portal != "https://portal.example/api" || len(l.Resolvers) != 1 || len(l.Problems) != 0 {
		t.Errorf("%+v", l)
	}
	if got := fmt.Sprint(r.Leases()); got != "[192.168.1.7/24]" {
		t.Errorf("the server knows of %s", got)
	}
	// The pool has one address.
	other := newNode4(t, lan)
	other.up()
	lab.Clock.Advance(time.Minute)
	if l := other.lease4(); l != nil {
		t.Errorf("another has %v", l.Addr)
	}
	s.do(func(now time.Duration) { s.d4.Release(now) })
	lab.Clock.Advance(2 * time.Minute)
	if l := other.lease4(); l == nil || l.Addr.String() != "192.168.1.7/24" {
		t.Errorf("the other has %+v after a release", l)
	}
}

func TestLease4RenewAndEnd(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("corp", "192.168.1.0/24")
	r := lan.Router("192.168.1.1", DHCPv4{})
	s := newNode4(t, lan)
	s.up()
	lab.Clock.Advance(24 * time.Hour)
	first := s.lease4()
	if first == nil || first.Obtained < 22*time.Hour {
		t.Fatalf("not renewed for a day: %+v", first)
	}
	// A silent server is asked until the lease is over.
	r.ServeDHCPv4(DHCPv4{Silent: true})
	lab.Clock.Advance(59 * time.Minute)
	lab.Clock.Advance(2 * time.Minute)
	if l := s.lease4(); l != nil {
		t.Errorf("still %v", l.Addr)
	}
	r.ServeDHCPv4(DHCPv4{})
	lab.Clock.Advance(3 * time.Minute)
	if l := s.lease4(); l == nil || l.Addr != first.Addr {
		t.Errorf("not the same address again: %+v", l)
	}
	// Another network: what is renewed is refused, and another address is leased.
	r.ServeDHCPv4(DHCPv4{Pool: "192.168.1.200"})
	lab.Clock.Advance(time.Hour)
	if l := s.lease4(); l == nil || l.Addr.String() != "192.168.1.200/24" {
		t.Errorf("%+v, want another address", l)
	}
	// Withdrawn: nothing is left at T1.
	r.ServeDHCPv4(DHCPv4{Withdraw: true})
	lab.Clock.Advance(40 * time.Minute)
	if l := s.lease4(); l != nil {
		t.Errorf("%v is still leased", l.Addr)
	}
	if got := r.Leases(); len(got) != 0 {
		t.Errorf("the server knows of %v", got)
	}
	// Refused: offers that come to nothing.
	r.ServeDHCPv4(DHCPv4{Refuse: true})
	before := r.Stats()[countAnswered]
	lab.Clock.Advance(10 * time.Minute)
	if l := s.lease4(); l != nil || r.Stats()[countAnswered] < before+4 {
		t.Errorf("%v, %d answers", l, r.Stats()[countAnswered]-before)
	}
}

// TestLease4Reboot asks for an address from before (RFC 2131 section 4.3.2).
func TestLease4Reboot(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("corp", "192.168.1.0/24")
	r := lan.Router("192.168.1.1", DHCPv4{})
	s := newNode4(t, lan)
	s.up()
	lab.Clock.Advance(bindTime)
	was := s.lease4()
	s.do(func(now time.Duration) { s.d4.LinkDown(); s.d4.LinkUp(now) })
	lab.Clock.Advance(bindTime)
	if l := s.lease4(); l == nil || l.Addr != was.Addr || l.Obtained == was.Obtained {
		t.Errorf("not confirmed: %+v", l)
	}
	r.ServeDHCPv4(DHCPv4{Pool: "192.168.1.200"})
	s.do(func(now time.Duration) { s.d4.LinkDown(); s.d4.LinkUp(now) })
	lab.Clock.Advance(time.Minute)
	if l := s.lease4(); l == nil || l.Addr.String() != "192.168.1.200/24" {
		t.Errorf("%+v, want a new address", l)
	}
}

// TestLease4Decline has somebody on the LAN that has taken an address by itself.
func TestLease4Decline(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("corp", "192.168.1.0/24")
	lan.Router("192.168.1.1", DHCPv4{})
	// It leases the address by another router's leave, which the first does not know of.
	thief := lab.LAN("elsewhere", "192.168.1.0/24")
	thief.Machine("192.168.1.100")
	far, near := tun.Pipe(tun.PipeConfig{MTU: 1500})
	lan.Attach(far)
	thief.Attach(near)
	s := newNode4(t, lan)
	s.up()
	lab.Clock.Advance(time.Minute)
	if l := s.lease4(); l == nil || l.Addr.String() != "192.168.1.101/24" {
		state, why := s.state4()
		t.Errorf("%+v (%v, %s), want the address that is free", l, state, why)
	}
}

func TestV6Only(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("corp", "192.168.1.0/24")
	lan.Router("192.168.1.1", DHCPv4{V6Only: 400 * time.Second})
	s := newNode4(t, lan, func(c *dhcp4.Config) { c.IPv6Only = true })
	plain := newNode4(t, lan) // does not ask for the option
	s.up()
	plain.up()
	lab.Clock.Advance(bindTime)
	if state, _ := s.state4(); state != dhcp4.V6Only {
		t.Errorf("state %v", state)
	}
	if plain.lease4() == nil {
		t.Error("no lease for who needs IPv4")
	}
}

// TestLease4Full fills the pool, and the next gets nothing.
func TestLease4Full(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("corp", "10.0.0.0/8")
	r := lan.Router("10.0.0.1", DHCPv4{Size: maxLeases})
	s := newNode4(t, lan)
	for i := range maxLeases {
		s.do(func(time.Duration) { s.send(s.discover(byte(i), byte(i>>8))) })
		lab.Settle()
	}
	r.mu.Lock()
	leases := len(r.core.dhcp4.leases)
	r.mu.Unlock()
	if leases != maxLeases {
		t.Fatalf("%d of %d addresses are offered", leases, maxLeases)
	}
	before := r.Stats()[countAnswered]
	s.do(func(time.Duration) { s.send(s.discover(1, 77)) })
	lab.Settle()
	if got := r.Stats()[countAnswered]; got != before {
		t.Error("an offer from an empty pool")
	}
	lab.Clock.Advance(offerHold + time.Second)
	s.do(func(time.Duration) { s.send(s.discover(1, 77)) })
	lab.Settle()
	if got := r.Stats()[countAnswered]; got != before+1 {
		t.Error("no offer though nobody has taken the others")
	}
}

// discover makes a frame by some client.
func (s *node) discover(id ...byte) []byte {
	m := &dhcp4.Message{Op: 1, HType: 1, HLen: 6, XID: 7, Options: map[byte][]byte{
		opt4Type: {byte(dhcp4.Discover)}, opt4ClientID: append([]byte{0}, id...),
	}}
	copy(m.Hardware[:], s.ifc.mac[:])
	any4 := netip.IPv4Unspecified()
	return s.ifc.udp4(broadcastMAC, netip.AddrPortFrom(any4, port4Client),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), port4Server), m.Append(nil))
}

// TestInform4 has a client with an address of its own (RFC 2131 section 4.3.5).
func TestInform4(t *testing.T) {
	t.Parallel()
	lab := quickLab(t)
	lan := lab.LAN("corp", "192.168.1.0/24")
	lan.DNS("192.168.1.53", Zone{})
	r := lan.Router("192.168.1.1", DHCPv4{})
	s := newNode(t, lan)
	s.ifc.prefixes = append(s.ifc.prefixes, netip.MustParsePrefix("192.168.1.9/24"))
	r.later(func() { r.core.learn(r.core.ifaces[0], s.ifc.addr(false), s.ifc.mac, true) })
	m := &dhcp4.Message{Op: 1, HType: 1, HLen: 6, XID: 9, Client: s.ifc.addr(false), Options: map[byte][]byte{
		opt4Type: {byte(dhcp4.Inform)}, opt4Wanted: {opt4DNS},
	}}
	copy(m.Hardware[:], s.ifc.mac[:])
	s.do(func(time.Duration) {
		s.send(s.ifc.udp4(mac(r.HardwareAddr(lan)), netip.AddrPortFrom(m.Client, port4Client),
			netip.MustParseAddrPort("192.168.1.1:67"), m.Append(nil)))
	})
	lab.Settle()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.frames {
		if ip, _ := trim4(f[tun.EthernetHeaderLen:]); ip != nil && ip[9] == protoUDP {
			a, err := dhcp4.Parse(ip[ip4HeaderLen+udpHeaderLen:])
			if err != nil || a.Type() != dhcp4.Ack || !a.Your.IsUnspecified() || len(a.Options[opt4LeaseTime]) != 0 ||
				!slices.Equal(a.Options[opt4DNS], []byte{192, 168, 1, 53}) || a.Options[opt4Routers] != nil {
				t.Errorf("%+v %v", a, err)
			}
			return
		}
	}
	t.Error("no answer")
}

func TestDHCPv4Errors(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]DHCPv4{
		"which is not on":  {Pool: "10.0.0.1"},
		"256 is the most":  {Size: 257},
		"unable to parse":  {DNS: "dns"},
		"not of IPv4":      {Routers: "2001:db8::1"},
		"not of IPv4 ":     {Routes: []pvd.Route{{To: netip.MustParsePrefix("::/0")}}},
		`name "a..example`: {Search: "a..example"},
	} {
		var got string
		Main("errors", writer(func(b []byte) { got += string(b) }), func(tb TB) {
			New(tb).LAN("home", "192.168.1.0/24").Router("192.168.1.1", d)
		})
		if !strings.Contains(got, strings.TrimSpace(want)) {
			t.Errorf("%+v: %q, want %q", d, got, want)
		}
	}
}
