package pvdtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/tun"
)

// A DHCPv4 makes a router lease addresses on its LAN (RFC 2131). The zero DHCPv4 leases
// for an hour from where the LAN's hosts begin, with the router and the LAN's name servers
// as they are at that time. An option that a client does not ask for it does not get,
// other than those of Options.
//
// Nothing keeps two routers on different LANs from leasing the same address: they do so
// by default where their LANs have the same prefix.
type DHCPv4 struct {
	// Pool is the first address that is leased. Empty: where the LAN's hosts begin. Size
	// is how many there are, 0: 64. Those that somebody on the LAN has are left out.
	Pool string
	Size int

	// Lease is for how long. 0: an hour; more than 136 years: for good. T1 and T2 are
	// when clients begin to renew and to rebind; 0: that is left to them.
	Lease, T1, T2 time.Duration

	// Routers and DNS are addresses, and Search (option 119) domains, with spaces between.
	// Empty: the router's address, the LAN's name servers, no search list; [Nothing]:
	// none. Domain is option 15; empty: the LAN's; Nothing: none.
	Routers, DNS, Domain, Search string

	Routes []pvd.Route   // option 121; a route without Via is to what is on the link
	MTU    int           // option 26; 0: not said
	V6Only time.Duration // option 108 (RFC 8925); 0: not said
	Portal string        // option 114 (RFC 8910); empty: not said

	// Options are sent as they are, whether asked for or not. They take the place of those
	// above; of those that are nil nothing is sent.
	Options map[byte][]byte

	// Silent leaves everything unanswered. Refuse answers every request with DHCPNAK,
	// and forgets what was leased. Withdraw does that and offers nothing either.
	Silent, Refuse, Withdraw bool
}

// Codes of options (RFC 2132 and the documents that the fields name).
const (
	opt4Mask      = 1
	opt4Routers   = 3
	opt4DNS       = 6
	opt4Domain    = 15
	opt4MTU       = 26
	opt4Requested = 50
	opt4LeaseTime = 51
	opt4Type      = 53
	opt4Server    = 54
	opt4Wanted    = 55
	opt4T1        = 58
	opt4T2        = 59
	opt4ClientID  = 61
	opt4V6Only    = 108
	opt4Portal    = 114
	opt4Search    = 119
	opt4Routes    = 121
)

const (
	defaultLease = time.Hour
	defaultPool  = 64

	port4Server = 67
	port4Client = 68
)

// A server4 is a router's DHCPv4 server.
type server4 struct {
	lan  *LAN
	ifc  *iface
	self netip.Prefix
	name string // who has the addresses of the pool
	says DHCPv4

	first  netip.Addr // of the pool
	size   int
	leases map[string]*lease4 // by client
	addrs  map[netip.Addr]*lease4
}

// A lease4 is an address that a client has, was offered, or has found to be somebody
// else's, until a moment.
type lease4 struct {
	client string // empty: nobody's
	addr   netip.Addr
	until  time.Duration
	offer  bool
}

func (d DHCPv4) apply(n *LAN, r *Router) error {
	var err error
	r.later(func() { err = r.core.serve4(n, r.name+" (DHCP)", d) })
	if err == nil {
		n.lab.note("serving DHCPv4", "lan", n.name, "router", r.name)
	}
	return err
}

// ServeDHCPv4 changes what the router answers to DHCPv4, or begins with it. What it has
// leased before remains leased.
func (r *Router) ServeDHCPv4(d DHCPv4) {
	n := r.home
	n.lab.tb.Helper()
	if err := d.apply(n, r); err != nil {
		n.lab.tb.Fatalf("pvdtest: LAN %s: %s: %v", n.name, r.name, err)
	}
}

func (c *core) serve4(n *LAN, name string, d DHCPv4) error {
	ifc, own := c.on(n), n.prefix(false)
	self := netip.PrefixFrom(ifc.addr(false), own.Bits())
	if !self.IsValid() {
		return errors.New("DHCPv4 on a router without an IPv4 address")
	}
	s := c.dhcp4
	if s == nil {
		s = &server4{leases: make(map[string]*lease4), addrs: make(map[netip.Addr]*lease4)}
	}
	next := server4{
		lan: n, ifc: ifc, self: self, name: name, says: d, size: d.Size,
		first: n.poolStart(own), leases: s.leases, addrs: s.addrs,
	}
	if d.Pool != "" {
		var err error
		if next.first, err = netip.ParseAddr(d.Pool); err != nil {
			return err
		}
	}
	if next.size == 0 {
		next.size = defaultPool
	}
	switch {
	case !own.Contains(next.first):
		return fmt.Errorf("the pool begins with %v, which is not on %v", next.first, own)
	case next.size < 0 || next.size > maxLeases:
		return fmt.Errorf("a pool of %d addresses: %d is the most", next.size, maxLeases)
	}
	// That all can be encoded is found out now.
	if _, err := next.options(nil); err != nil {
		return err
	}
	*s = next
	c.dhcp4 = s
	return nil
}

// inputDHCP4 takes a packet if it is for the server.
func (c *core) inputDHCP4(in *iface, frame []byte, meta tun.Meta) bool {
	s, ip := c.dhcp4, frame[tun.EthernetHeaderLen:]
	if s == nil || in != s.ifc || ip[9] != protoUDP || isFragment4(ip) {
		return false
	}
	dst, b := dst4(ip), ip[hlen4(ip):]
	if dst != netip.AddrFrom4([4]byte{255, 255, 255, 255}) && dst != s.self.Addr() && dst != lastOf(s.self) {
		return false
	}
	if len(b) < udpHeaderLen || binary.BigEndian.Uint16(b[2:]) != port4Server {
		return false
	}
	whole := complete(frame, &meta)
	payload, ok := udpBody(b, pseudo(ip[12:16], ip[16:20], protoUDP, len(b)))
	if !whole || !ok {
		c.drop(dropChecksum)
		return true
	}
	m, err := dhcp4.Parse(payload)
	if err != nil || m.Op != 1 || m.HType != 1 || m.HLen != 6 {
		c.drop(dropShort)
		return true
	}
	if !s.says.Silent {
		s.answer(c, m)
	}
	return true
}

// client is whom a lease is for (RFC 2131 section 4.2).
func client4(m *dhcp4.Message) string {
	if id := m.Options[opt4ClientID]; len(id) > 0 {
		return "id " + string(id)
	}
	return "mac " + string(m.Hardware[:6])
}

func addrOption(m *dhcp4.Message, code byte) netip.Addr {
	if v := m.Options[code]; len(v) == 4 {
		return netip.AddrFrom4([4]byte(v))
	}
	return netip.Addr{}
}

func (s *server4) answer(c *core, m *dhcp4.Message) {
	now := c.clock.Monotonic()
	switch m.Type() {
	case dhcp4.Discover:
		if l := s.offer(m, now); l != nil {
			s.reply(c, m, dhcp4.Offer, l.addr)
		}
	case dhcp4.Request:
		l, known := s.request(m, now)
		switch {
		case l != nil:
			l.offer, l.until = false, now+min(s.lease(), math.MaxInt64-now)
			s.reply(c, m, dhcp4.Ack, l.addr)
		case known:
			s.reply(c, m, dhcp4.Nak, netip.Addr{})
		}
	case dhcp4.Decline:
		// RFC 2131 section 4.3.3: nobody gets it for a while.
		if l := s.addrs[addrOption(m, opt4Requested)]; l != nil && l.client == client4(m) {
			delete(s.leases, l.client)
			l.client, l.until = "", now+declineHold
			s.lan.lab.note("DHCPv4: declined", "lan", s.lan.name, "addr", l.addr)
		}
	case dhcp4.Release:
		if l := s.leases[client4(m)]; l != nil && l.addr == m.Client {
			s.forget(l)
		}
	case dhcp4.Inform:
		if isHost4(m.Client) {
			s.reply(c, m, dhcp4.Ack, netip.Addr{})
		}
	default:
	}
}

func (s *server4) forget(l *lease4) {
	delete(s.leases, l.client)
	delete(s.addrs, l.addr)
}

// offer finds the address for a client: the one it has or had, the one it asks for, or
// else the next free one (RFC 2131 section 4.3.1).
func (s *server4) offer(m *dhcp4.Message, now time.Duration) *lease4 {
	if s.says.Withdraw {
		return nil
	}
	who := client4(m)
	if l := s.leases[who]; l != nil {
		if s.inPool(l.addr) {
			return l
		}
		s.forget(l)
	}
	if a := addrOption(m, opt4Requested); a.IsValid() && s.inPool(a) {
		if l := s.take(who, a, now); l != nil {
			return l
		}
	}
	a := s.first
	for range s.size {
		if l := s.take(who, a, now); l != nil {
			return l
		}
		a = a.Next()
	}
	s.lan.lab.note("DHCPv4: no address left", "lan", s.lan.name)
	return nil
}

func (s *server4) inPool(a netip.Addr) bool {
	last := s.first
	for range s.size - 1 {
		last = last.Next()
	}
	return a.Compare(s.first) >= 0 && a.Compare(last) <= 0 && s.self.Contains(a) && a != lastOf(s.self)
}

// take offers an address if nobody has it.
func (s *server4) take(who string, a netip.Addr, now time.Duration) *lease4 {
	if l := s.addrs[a]; l != nil {
		if l.until > now {
			return nil
		}
		s.forget(l)
	}
	if !s.inPool(a) || !s.lan.reserve(a, s.name) {
		return nil
	}
	l := &lease4{client: who, addr: a, until: now + offerHold, offer: true}
	s.leases[who], s.addrs[a] = l, l
	return l
}

// request finds out whether a client may have what it wants (RFC 2131 section 4.3.2). It
// is not known what to say to one that nothing is known about.
func (s *server4) request(m *dhcp4.Message, now time.Duration) (_ *lease4, known bool) {
	who := client4(m)
	l := s.leases[who]
	if l != nil && (l.until <= now || !s.inPool(l.addr)) {
		s.forget(l)
		l, known = nil, true
	}
	server, wants := addrOption(m, opt4Server), addrOption(m, opt4Requested)
	switch {
	case server.IsValid() && server != s.self.Addr():
		// It has chosen another server.
		if l != nil && l.offer {
			s.forget(l)
		}
		return nil, false
	case s.says.Refuse || s.says.Withdraw:
		if l != nil {
			s.forget(l)
		}
		return nil, true
	case m.Client.IsValid() && !m.Client.IsUnspecified():
		wants = m.Client // renewing or rebinding
		known = true
	case server.IsValid():
		known = true
	default:
		// From before: what is not of this network is known to be wrong.
		known = known || l != nil || !s.self.Contains(wants)
	}
	if l == nil || l.addr != wants {
		return nil, known
	}
	return l, true
}

func (s *server4) lease() time.Duration { return or(s.says.Lease, defaultLease) }

// seconds32 encodes a time, that of more than 32 bits as without end.
func seconds32(d time.Duration) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(min(max(d/time.Second, 0), math.MaxUint32)))
}

func addrs4(ss []string) ([]byte, error) {
	var b []byte
	for _, s := range ss {
		a, err := netip.ParseAddr(s)
		if err == nil && !a.Is4() {
			err = fmt.Errorf("%v is not of IPv4", a)
		}
		if err != nil {
			return nil, err
		}
		b = append(b, a.AsSlice()...)
	}
	return b, nil
}

// options are what clients get beside the address, if they ask for it.
func (s *server4) options(wanted []byte) (map[byte][]byte, error) {
	d := &s.says
	var own []string
	for _, a := range s.lan.nameServers(false) {
		own = append(own, a.String())
	}
	routers, err := addrs4(list(d.Routers, []string{s.self.Addr().String()}))
	if err != nil {
		return nil, err
	}
	servers, err := addrs4(list(d.DNS, own))
	if err != nil {
		return nil, err
	}
	search, err := wireNames(list(d.Search, nil))
	if err != nil {
		return nil, err
	}
	routes, err := classless(d.Routes)
	if err != nil {
		return nil, err
	}
	all := map[byte][]byte{
		opt4Mask:    addr4Mask(s.self),
		opt4Routers: routers,
		opt4DNS:     servers,
		opt4Search:  search,
		opt4Routes:  routes,
		opt4Portal:  []byte(d.Portal),
	}
	if domain := list(d.Domain, []string{s.lan.Domain()}); len(domain) > 0 {
		all[opt4Domain] = []byte(domain[0])
	}
	if d.MTU > 0 {
		all[opt4MTU] = binary.BigEndian.AppendUint16(nil, uint16(d.MTU))
	}
	if d.V6Only > 0 {
		all[opt4V6Only] = seconds32(d.V6Only)
	}
	for code, v := range all {
		if len(v) == 0 || len(wanted) > 0 && code != opt4Mask && !slices.Contains(wanted, code) {
			delete(all, code)
		}
	}
	return all, nil
}

func addr4Mask(p netip.Prefix) []byte {
	return binary.BigEndian.AppendUint32(nil, ^uint32(uint64(1)<<(32-p.Bits())-1))
}

// classless encodes routes (RFC 3442).
func classless(routes []pvd.Route) ([]byte, error) {
	var b []byte
	for _, r := range routes {
		via := r.Via
		if !via.IsValid() {
			via = netip.IPv4Unspecified()
		}
		if !r.To.IsValid() || !r.To.Addr().Is4() || !via.Is4() {
			return nil, fmt.Errorf("route to %v by %v: not of IPv4", r.To, r.Via)
		}
		b = append(b, byte(r.To.Bits()))
		b = append(b, r.To.Addr().AsSlice()[:(r.To.Bits()+7)/8]...)
		b = append(b, via.AsSlice()...)
	}
	return b, nil
}

// reply answers m (RFC 2131 sections 4.1 and 4.3.1, RFC 6842).
func (s *server4) reply(c *core, m *dhcp4.Message, t dhcp4.Type, your netip.Addr) {
	r := &dhcp4.Message{
		Op: 2, HType: 1, HLen: 6, XID: m.XID, Broadcast: m.Broadcast, Relay: m.Relay, Hardware: m.Hardware,
		Your: your, Options: make(map[byte][]byte),
	}
	if t != dhcp4.Nak {
		options, err := s.options(m.Options[opt4Wanted])
		if err != nil {
			c.drop(dropUnsupported) // it could be encoded once
			return
		}
		r.Options = options
		if t == dhcp4.Ack {
			r.Client = m.Client
		}
	}
	if your.IsValid() {
		r.Options[opt4LeaseTime] = seconds32(s.lease())
		for code, d := range map[byte]time.Duration{opt4T1: s.says.T1, opt4T2: s.says.T2} {
			if d > 0 {
				r.Options[code] = seconds32(d)
			}
		}
	}
	r.Options[opt4Type] = []byte{byte(t)}
	r.Options[opt4Server] = s.self.Addr().AsSlice()
	if id := m.Options[opt4ClientID]; len(id) > 0 {
		r.Options[opt4ClientID] = id
	}
	if t != dhcp4.Nak {
		for code, v := range s.says.Options {
			if r.Options[code] = v; v == nil {
				delete(r.Options, code)
			}
		}
	}
	s.lan.lab.note("DHCPv4", "lan", s.lan.name, "type", int(t), "client", fmt.Sprintf("%x", m.Hardware[:6]), "addr", your)
	c.counts[countAnswered]++
	s.send(c, m, r, t)
}

func (s *server4) send(c *core, m, r *dhcp4.Message, t dhcp4.Type) {
	all := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	dst, to := all, broadcastMAC
	byARP := false
	switch {
	case t == dhcp4.Nak:
	case isHost4(m.Client):
		dst, byARP = m.Client, true
	case !m.Broadcast:
		dst, to = r.Your, mac(m.Hardware[:6])
	}
	f := s.ifc.udp4(to, netip.AddrPortFrom(s.self.Addr(), port4Server), netip.AddrPortFrom(dst, port4Client), r.Append(nil))
	switch {
	case len(f)-tun.EthernetHeaderLen > s.ifc.mtu:
		c.drop(dropTooBig)
	case byARP:
		c.transmit(&packet{frame: f}, s.ifc, dst)
	default:
		c.outs = append(c.outs, output{s.ifc, f, tun.Meta{}})
	}
}
