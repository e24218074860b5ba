package pvdtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
	"github.com/pvdstack/pvdstack/tun"
)

// A DHCPv6 makes a router give addresses, delegated prefixes and other configuration on
// its LAN (RFC 8415). Hosts ask only where an RA has Managed or Other set, which is not
// done here. An option that a client does not ask for it does not get, other than those
// of Options.
type DHCPv6 struct {
	// Stateless leaves all messages but information requests unanswered.
	Stateless bool

	// Pool is the first address that is given, in one of the prefixes that the router is
	// in by now. Empty: where the LAN's hosts begin; [Nothing]: none. Size is how many
	// there are, 0: 64. Those that somebody on the LAN has are left out.
	Pool string
	Size int

	// Delegate is a prefix of which parts of DelegateBits, 0: 64, are delegated. Empty:
	// none are. The router forwards to who has them.
	Delegate     string
	DelegateBits int

	// Preferred and Valid are for how long addresses and prefixes are given: half an hour
	// and an hour where they are 0. T1 and T2 are sent as they are, and leave it to clients
	// when to renew if they are 0.
	Preferred, Valid, T1, T2 time.Duration

	// DNS are name servers and Search domains, with spaces between. Empty: the LAN's, no
	// search list; [Nothing]: none.
	DNS, Search string
	Portal      string        // option 103 (RFC 8910); empty: not said
	Refresh     time.Duration // option 32, of what is stateless; 0: not said

	Preference uint8 // option 7
	Rapid      bool  // two messages where the client wants it so (option 14)

	// Options are sent as they are, whether asked for or not.
	Options []dhcp6.Option

	// Silent leaves everything unanswered. Withdraw gives nothing anew, and takes away
	// what is asked for again, by lifetimes of zero. Status, if it is not 0, answers
	// everything with that status code and nothing else.
	Silent, Withdraw bool
	Status           dhcp6.Status
}

// Codes of options (RFC 8415 section 21 and the documents that the fields name).
const (
	opt6ClientID = 1
	opt6ServerID = 2
	opt6IANA     = 3
	opt6IAAddr   = 5
	opt6Wanted   = 6
	opt6Pref     = 7
	opt6Status   = 13
	opt6Rapid    = 14
	opt6DNS      = 23
	opt6Search   = 24
	opt6IAPD     = 25
	opt6IAPrefix = 26
	opt6Refresh  = 32
	opt6Portal   = 103

	iaHeaderLen = 12
	iaAddrLen   = 24
	iaPrefixLen = 25

	defaultValid6 = time.Hour
)

// A server6 is a router's DHCPv6 server.
type server6 struct {
	lan  *LAN
	ifc  *iface
	name string // who has the addresses of the pool
	says DHCPv6

	first    netip.Addr // of the pool; invalid: there is none
	size     int
	delegate netip.Prefix // invalid: none
	bits     int
	leases   map[string]*lease6       // by client and association
	items    map[netip.Prefix]*lease6 // by what is leased
}

// A lease6 is an address, of 128 bits, or a prefix.
type lease6 struct {
	client string // empty: nobody's
	item   netip.Prefix
	until  time.Duration
	offer  bool
}

func (d DHCPv6) apply(n *LAN, r *Router) error {
	var err error
	r.later(func() { err = r.core.serve6(n, r.name+" (DHCP)", d) })
	if err != nil {
		return err
	}
	n.lab.note("serving DHCPv6", "lan", n.name, "router", r.name)
	if p, err := netip.ParsePrefix(d.Delegate); err == nil {
		r.reachable(p)
	}
	return nil
}

// ServeDHCPv6 changes what the router answers to DHCPv6, or begins with it. What it has
// leased before remains leased.
func (r *Router) ServeDHCPv6(d DHCPv6) {
	n := r.home
	n.lab.tb.Helper()
	if err := d.apply(n, r); err != nil {
		n.lab.tb.Fatalf("pvdtest: LAN %s: %s: %v", n.name, r.name, err)
	}
}

func (c *core) serve6(n *LAN, name string, d DHCPv6) error {
	ifc := c.on(n)
	s := c.dhcp6
	if s == nil {
		s = &server6{leases: make(map[string]*lease6), items: make(map[netip.Prefix]*lease6)}
	}
	next := server6{
		lan: n, ifc: ifc, name: name, says: d, size: d.Size, bits: d.DelegateBits,
		leases: s.leases, items: s.items,
	}
	if err := next.setPools(); err != nil {
		return err
	}
	// That all can be encoded is found out now.
	if _, err := next.options(nil); err != nil {
		return err
	}
	ifc.hasLinkLocal()
	*s = next
	c.dhcp6 = s
	return nil
}

func (s *server6) setPools() (err error) {
	own := s.lan.prefix(true)
	switch {
	case s.says.Stateless || s.says.Pool == Nothing:
	case s.says.Pool != "":
		if s.first, err = netip.ParseAddr(s.says.Pool); err != nil {
			return err
		}
		if !s.first.Is6() || s.first.IsLinkLocalUnicast() || !s.ifc.onLink(s.first) {
			return fmt.Errorf("the pool begins with %v, where the router is not", s.first)
		}
	case own.IsValid():
		s.first = s.lan.poolStart(own)
	}
	if s.size == 0 {
		s.size = defaultPool
	}
	if s.size < 0 || s.size > maxLeases {
		return fmt.Errorf("a pool of %d addresses: %d is the most", s.size, maxLeases)
	}
	if s.bits == 0 {
		s.bits = 64
	}
	if s.says.Delegate == "" {
		return nil
	}
	if s.delegate, err = netip.ParsePrefix(s.says.Delegate); err != nil {
		return err
	}
	if s.delegate != s.delegate.Masked() || !s.delegate.Addr().Is6() || s.bits < s.delegate.Bits() || s.bits > 127 {
		return fmt.Errorf("prefixes of %d bits can not be delegated of %v", s.bits, s.delegate)
	}
	return nil
}

// inputDHCP6 takes a packet if it is for the server.
func (c *core) inputDHCP6(p *packet, body []byte) bool {
	s, ip := c.dhcp6, p.ip()
	if s == nil || p.in != s.ifc || dst6(ip) != dhcp6.Servers() ||
		len(body) < udpHeaderLen || binary.BigEndian.Uint16(body[2:]) != dhcp6.ServerPort {
		return false
	}
	payload, ok := udpBody(body, pseudo(ip[8:24], ip[24:40], protoUDP, len(body)))
	if !ok {
		c.drop(dropChecksum)
		return true
	}
	m, err := dhcp6.Parse(payload)
	if err != nil || !src6(ip).IsLinkLocalUnicast() {
		c.drop(dropShort)
		return true
	}
	if s.says.Silent {
		return true
	}
	r := s.answer(c, m, src6(ip))
	if r == nil {
		return true
	}
	c.counts[countAnswered]++
	s.lan.lab.note("DHCPv6", "lan", s.lan.name, "asked", int(m.Type), "answer", int(r.Type), "client", src6(ip))
	f := s.ifc.udp6(mac{}, netip.AddrPortFrom(s.ifc.linkLocal(), dhcp6.ServerPort),
		netip.AddrPortFrom(src6(ip), dhcp6.ClientPort), r.Append(nil))
	if len(f)-tun.EthernetHeaderLen > s.ifc.mtu {
		c.drop(dropTooBig)
		return true
	}
	c.transmit(&packet{frame: f}, s.ifc, src6(ip))
	return true
}

func find6(options []dhcp6.Option, code uint16) ([]byte, bool) {
	for _, o := range options {
		if o.Code == code {
			return o.Data, true
		}
	}
	return nil, false
}

// duid identifies the server (RFC 8415 section 11.4).
func (s *server6) duid() []byte { return append([]byte{0, 3, 0, 1}, s.ifc.mac[:]...) }

// valid applies RFC 8415 section 16: who has to be named, and who must not be.
func (s *server6) valid(m *dhcp6.Message) bool {
	id, client := find6(m.Options, opt6ClientID)
	server, named := find6(m.Options, opt6ServerID)
	if client && (len(id) < 3 || len(id) > 130) || named && !bytes.Equal(server, s.duid()) {
		return false
	}
	switch m.Type {
	case dhcp6.Solicit, dhcp6.Confirm, dhcp6.Rebind:
		return client && !named
	case dhcp6.Request, dhcp6.Renew, dhcp6.Release, dhcp6.Decline:
		return client && named
	case dhcp6.InformationRequest:
		_, na := find6(m.Options, opt6IANA)
		_, pd := find6(m.Options, opt6IAPD)
		return !na && !pd
	default:
		return false
	}
}

// answer returns the answer to a message (RFC 8415 section 18.3), nil if there is none.
func (s *server6) answer(c *core, m *dhcp6.Message, from netip.Addr) *dhcp6.Message {
	if !s.valid(m) || s.says.Stateless && m.Type != dhcp6.InformationRequest {
		c.drop(dropUnsupported)
		return nil
	}
	r := &dhcp6.Message{Type: dhcp6.Reply, XID: m.XID}
	add := func(code uint16, data []byte) { r.Options = append(r.Options, dhcp6.Option{Code: code, Data: data}) }
	if id, ok := find6(m.Options, opt6ClientID); ok {
		add(opt6ClientID, id)
	}
	add(opt6ServerID, s.duid())
	_, rapid := find6(m.Options, opt6Rapid)
	rapid = rapid && s.says.Rapid && m.Type == dhcp6.Solicit
	if m.Type == dhcp6.Solicit && !rapid {
		r.Type = dhcp6.Advertise
		if s.says.Preference > 0 {
			add(opt6Pref, []byte{s.says.Preference})
		}
	}
	if rapid {
		add(opt6Rapid, nil)
	}
	if s.says.Status != dhcp6.Success {
		add(opt6Status, statusData(s.says.Status))
		return r
	}
	switch m.Type {
	case dhcp6.Confirm:
		status, any := s.confirm(m)
		if !any {
			return nil
		}
		add(opt6Status, statusData(status))
		return r
	case dhcp6.Release, dhcp6.Decline:
		r.Options = append(r.Options, s.giveBack(c, m)...)
		add(opt6Status, statusData(dhcp6.Success))
		return r
	case dhcp6.InformationRequest:
	default:
		ias := s.associations(c, m, r.Type == dhcp6.Reply, from)
		if m.Type == dhcp6.Rebind && len(ias) == 0 {
			return nil // it is for other servers to say (section 18.3.5)
		}
		r.Options = append(r.Options, ias...)
	}
	var wanted []byte
	for _, o := range m.Options {
		if o.Code == opt6Wanted {
			wanted = append(wanted, o.Data...)
		}
	}
	options, err := s.options(wanted)
	if err != nil {
		c.drop(dropUnsupported) // it could be encoded once
		return nil
	}
	r.Options = append(r.Options, options...)
	return r
}

func statusData(st dhcp6.Status) []byte { return binary.BigEndian.AppendUint16(nil, uint16(st)) }

// options are what clients get beside addresses. nil: all.
func (s *server6) options(wanted []byte) (all []dhcp6.Option, err error) {
	d := &s.says
	add := func(code uint16, data []byte) {
		asked := wanted == nil
		for i := 0; i+1 < len(wanted); i += 2 {
			asked = asked || binary.BigEndian.Uint16(wanted[i:]) == code
		}
		if asked && len(data) > 0 {
			all = append(all, dhcp6.Option{Code: code, Data: data})
		}
	}
	var own []string
	for _, a := range s.lan.nameServers(true) {
		own = append(own, a.String())
	}
	var servers []byte
	for _, word := range list(d.DNS, own) {
		a, err := netip.ParseAddr(word)
		if err == nil && !a.Is6() {
			err = fmt.Errorf("%v is not of IPv6", a)
		}
		if err != nil {
			return nil, err
		}
		servers = append(servers, a.AsSlice()...)
	}
	search, err := wireNames(list(d.Search, nil))
	if err != nil {
		return nil, err
	}
	add(opt6DNS, servers)
	add(opt6Search, search)
	add(opt6Portal, []byte(d.Portal))
	if d.Refresh > 0 {
		add(opt6Refresh, seconds32(d.Refresh))
	}
	return append(all, d.Options...), nil
}
