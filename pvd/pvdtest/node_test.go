package pvdtest

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/dhcp/acd"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/tun"
)

// A node is a computer on a LAN that consists of the machines that learn, frames that are
// made and read by hand, and nothing else. What it is made of is touched with its lock.
type node struct {
	t     testing.TB
	clock pvd.Clock
	link  tun.Link
	ifc   iface // whose first prefix is its link-local address

	mu     sync.Mutex
	ra     *ra.Engine
	d4     *dhcp4.Client
	d6     *dhcp6.Client
	timer  pvd.Timer
	frames [][]byte // what came in
	silent bool     // it answers to no address
}

// newNode plugs a node into a LAN. Machines are started by up.
func newNode(t testing.TB, n *LAN) *node {
	t.Helper()
	m := n.lab.nextMAC()
	c, err := n.lab.cable(n, n.name+"/node", nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &node{t: t, clock: n.lab.clock, link: c.far}
	s.ifc = iface{lan: n.name, mac: m, mtu: n.mtu, prefixes: []netip.Prefix{netip.PrefixFrom(linkLocalOf(m), 64)}}
	rnd := rand.New(rand.NewPCG(7, uint64(m[5])))
	s.ra, err = ra.New(ra.Config{
		Link: n.name, MTU: n.mtu, Identifier: ra.StableIdentifiers(m[:], n.name), Random: rnd.Uint64,
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.run()
	}()
	t.Cleanup(func() {
		_ = c.far.Close()
		<-done
	})
	return s
}

func (s *node) run() {
	buf := make([]byte, tun.MaxFrame)
	for {
		var m tun.Meta
		n, err := s.link.Recv([][]byte{buf}, &m)
		if err != nil {
			return
		}
		if n < tun.EthernetHeaderLen || buf[0]&1 == 0 && mac(buf[:6]) != s.ifc.mac || mac(buf[6:12]) == s.ifc.mac {
			continue
		}
		s.mu.Lock()
		s.input(bytes.Clone(buf[:n]))
		s.step()
		s.mu.Unlock()
	}
}

// do calls f as the node.
func (s *node) do(f func(now time.Duration)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s.clock.Monotonic())
	s.step()
}

// up starts the search for routers, and the clients that there are.
func (s *node) up() {
	s.do(func(now time.Duration) {
		s.ra.LinkUp(now)
		if s.d4 != nil {
			s.d4.LinkUp(now)
		}
		if s.d6 != nil {
			s.d6.LinkUp(now)
		}
	})
}

func (s *node) send(f []byte) {
	if err := s.link.Send([][]byte{f}, tun.Meta{}); err != nil {
		s.t.Errorf("node: %v", err)
	}
}

func (s *node) ll() netip.Addr { return s.ifc.prefixes[0].Addr() }

// addr4 is the address of the lease, if there is one.
func (s *node) addr4() netip.Addr {
	if s.d4 == nil || s.d4.Lease() == nil {
		return netip.Addr{}
	}
	return s.d4.Lease().Addr.Addr()
}

// step does what is due and sends what there is.
func (s *node) step() {
	now := s.clock.Monotonic()
	if s.ra.Advance(now) {
		b := ra.AppendSolicitation(nil, s.ll(), s.ifc.mac[:])
		s.sendICMP6(b, ra.AllRouters)
	}
	next, ok := s.ra.Next()
	later := func(at time.Duration, has bool) {
		if has && (!ok || at < next) {
			next, ok = at, true
		}
	}
	if s.d4 != nil {
		s.d4.Advance(now)
		for _, p := range s.d4.Packets() {
			to := broadcastMAC
			if !p.Broadcast() {
				to = s.serverMAC()
			}
			s.send(s.ifc.udp4(to, p.Src, p.Dst, p.Payload))
		}
		for _, a := range s.d4.ARPs() {
			f := s.ifc.newFrame(broadcastMAC, etherARP, 0)
			s.send(a.Append(f))
		}
		later(s.d4.Next())
	}
	if s.d6 != nil {
		s.d6.Advance(now)
		for _, p := range s.d6.Packets() {
			src := netip.AddrPortFrom(s.ll(), dhcp6.ClientPort)
			dst := netip.AddrPortFrom(dhcp6.Servers(), dhcp6.ServerPort)
			s.send(s.ifc.udp6(multicastMAC(dst.Addr()), src, dst, p))
		}
		later(s.d6.Next())
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	if ok {
		s.timer = s.clock.AfterFunc(next-now, func() { s.do(func(time.Duration) {}) })
	}
}

// serverMAC is where the last DHCPv4 message came from.
func (s *node) serverMAC() (m mac) {
	for _, f := range s.frames {
		const port = tun.EthernetHeaderLen + ip4HeaderLen
		if binary.BigEndian.Uint16(f[12:]) == etherIPv4 && binary.BigEndian.Uint16(f[port:]) == port4Server {
			m = mac(f[6:12])
		}
	}
	return m
}

func (s *node) sendICMP6(b []byte, dst netip.Addr) {
	f := s.ifc.newFrame(multicastMAC(dst), etherIPv6, ip6HeaderLen+len(b))
	ip := f[tun.EthernetHeaderLen:]
	putIP6(ip, protoICMPv6, ndHopLimit, s.ll(), dst)
	copy(ip[ip6HeaderLen:], b)
	s.send(f)
}

func (s *node) input(f []byte) {
	if len(s.frames) < 10000 {
		s.frames = append(s.frames, f)
	}
	b := f[tun.EthernetHeaderLen:]
	switch binary.BigEndian.Uint16(f[12:]) {
	case etherARP:
		a, err := acd.Parse(b)
		if err != nil {
			return
		}
		if s.d4 != nil {
			s.d4.ReceiveARP(s.clock.Monotonic(), a)
		}
		if a.Op == acd.Request && a.TargetIP == s.addr4() && !s.silent {
			r := acd.ARP{Op: acd.Reply, SenderMAC: s.ifc.mac, TargetMAC: a.SenderMAC, SenderIP: a.TargetIP, TargetIP: a.SenderIP}
			s.send(r.Append(s.ifc.newFrame(a.SenderMAC, etherARP, 0)))
		}
	case etherIPv4:
		s.input4(f)
	case etherIPv6:
		s.input6(f)
	}
}

func (s *node) input4(f []byte) {
	ip, why := trim4(f[tun.EthernetHeaderLen:])
	if why != "" {
		s.t.Errorf("node: IPv4 packet %s", why)
		return
	}
	b := ip[hlen4(ip):]
	payload, ok := udpBody(b, pseudo(ip[12:16], ip[16:20], protoUDP, len(b)))
	if ip[9] != protoUDP || !ok || s.d4 == nil || binary.BigEndian.Uint16(b[2:]) != 68 {
		return
	}
	s.d4.Receive(s.clock.Monotonic(), netip.AddrPortFrom(src4(ip), binary.BigEndian.Uint16(b)), payload)
}

func (s *node) input6(f []byte) {
	ip, why := trim6(f[tun.EthernetHeaderLen:])
	if why != "" {
		s.t.Errorf("node: IPv6 packet %s", why)
		return
	}
	b := ip[ip6HeaderLen:]
	switch {
	case ip[6] == protoUDP:
		payload, ok := udpBody(b, pseudo(ip[8:24], ip[24:40], protoUDP, len(b)))
		if ok && s.d6 != nil && binary.BigEndian.Uint16(b[2:]) == dhcp6.ClientPort {
			s.d6.Receive(s.clock.Monotonic(), payload)
		}
	case ip[6] != protoICMPv6:
	case b[0] == ndSolicit && len(b) >= ndLen:
		if target := netip.AddrFrom16([16]byte(b[8:24])); target == s.ll() && !s.silent {
			s.send(s.ifc.ndPacket(ndAdvertise, ndSolicited|ndOverride, target, target, src6(ip), mac(f[6:12]), optTargetLL))
		}
	case b[0] == 134:
		// What it refuses is seen in Rejections.
		err := s.ra.Receive(s.clock.Monotonic(), ra.Packet{Src: src6(ip), Dst: dst6(ip), HopLimit: ip[7], Message: b})
		if err != nil {
			s.t.Logf("node: %v", err)
		}
	}
}

// snapshot returns what routers have said.
func (s *node) snapshot() *ra.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ra.Snapshot()
}

// advertisements returns those that came, and whether to everybody.
func (s *node) advertisements() (count int, toAll int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.frames {
		if isRA(f) {
			count++
			if f[0]&1 != 0 {
				toAll++
			}
		}
	}
	return count, toAll
}

func isRA(f []byte) bool {
	at := tun.EthernetHeaderLen + ip6HeaderLen
	return binary.BigEndian.Uint16(f[12:]) == etherIPv6 && len(f) > at && f[at-34] == protoICMPv6 && f[at] == 134
}

func source(m mac) rand.Source { return rand.NewPCG(uint64(m[5]), uint64(m[4])) }
