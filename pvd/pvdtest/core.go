package pvdtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// A core is a router without its links: frames go in, frames come out. Its owner holds a
// lock around every call.
type core struct {
	clock  pvd.Clock
	rnd    *rand.Rand
	ifaces []*iface
	routes []route
	nat    natTable
	nat64  netip.Prefix // invalid: there is none
	frags  reassembler

	advertisers []*advertiser
	dhcp4       *server4
	dhcp6       *server6

	counts map[string]uint64
	ident  uint16 // IPv4 identification of the next packet that the router originates
	closed bool

	// outs gathers what a call has to send. The frames may be memory of the frame that
	// came in.
	outs []output

	// later takes what a timer has to do, locks, calls it and sends outs.
	later func(func())
}

// An output is a frame for an interface.
type output struct {
	via   *iface
	frame []byte
	meta  tun.Meta
}

// An iface is a router's interface on a LAN.
type iface struct {
	lan      string
	mac      mac
	prefixes []netip.Prefix // its addresses, each with the length of the on-link prefix
	mtu      int
	nat      bool // what leaves here gets this interface's IPv4 address
	neigh    map[netip.Addr]*neighbor
}

type mac [6]byte

var broadcastMAC = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

type route struct {
	to  netip.Prefix
	via netip.Addr
	out *iface
}

// Ethernet types.
const (
	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd
)

// IP protocols.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// Why a router drops a packet, and the other things that it counts.
const (
	countForwarded  = "forwarded"
	countAnswered   = "answered"
	countOriginate  = "originated"
	countAdvertised = "advertisements"

	dropShort       = "dropped: truncated or malformed"
	dropNotMine     = "dropped: for another station"
	dropChecksum    = "dropped: checksum"
	dropSource      = "dropped: source address"
	dropMulticast   = "dropped: multicast or broadcast"
	dropTTL         = "dropped: hop limit exceeded"
	dropNoRoute     = "dropped: no route"
	dropTooBig      = "dropped: too big"
	dropNeighbor    = "dropped: no answer from the neighbour"
	dropQueue       = "dropped: neighbour queue full"
	dropNATFull     = "dropped: NAT table full"
	dropNATNone     = "dropped: no NAT mapping"
	dropNATProto    = "dropped: protocol without NAT"
	dropFragment    = "dropped: fragments"
	dropMeta        = "dropped: offload metadata"
	dropUnsupported = "dropped: not for a router"
	dropLink        = "dropped: link"
)

func newCore(clock pvd.Clock, seed uint64) *core {
	c := &core{
		clock:  clock,
		rnd:    rand.New(rand.NewPCG(seed, 1)),
		counts: make(map[string]uint64),
	}
	c.nat.init()
	return c
}

func (c *core) drop(reason string) { c.counts[reason]++ }

// close stops what would come later.
func (c *core) close() {
	c.closed = true
	for _, a := range c.advertisers {
		a.stop()
	}
	for _, ifc := range c.ifaces {
		for _, n := range ifc.neigh {
			n.stop()
		}
	}
}

// input takes one frame that arrived at in.
func (c *core) input(in *iface, frame []byte, m tun.Meta) {
	if c.closed {
		return
	}
	if len(frame) < tun.EthernetHeaderLen {
		c.drop(dropShort)
		return
	}
	dst := mac(frame[:6])
	if dst != in.mac && dst[0]&1 == 0 {
		c.drop(dropNotMine)
		return
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherARP:
		c.inputARP(in, frame[tun.EthernetHeaderLen:])
	case etherIPv4:
		c.input4(in, frame, m)
	case etherIPv6:
		c.input6(in, frame, m)
	default:
		c.drop(dropUnsupported)
	}
}

// A packet is what the router works on: a frame whose network header has been checked.
type packet struct {
	in    *iface // nil for what the router originates
	frame []byte // exactly the Ethernet header and the packet
	meta  tun.Meta
	quote []byte // the packet's beginning as it arrived, for ICMP errors about it
}

// ip returns the packet without its Ethernet header.
func (p *packet) ip() []byte { return p.frame[tun.EthernetHeaderLen:] }

// partial reports that the transport checksum is not whole yet.
func (p *packet) partial() bool { return p.meta.Flags&tun.NeedsCsum != 0 }

// owns reports whether a is one of the router's addresses, on whichever interface: a
// router is a weak host to itself (RFC 1812 section 5.2.3).
func (c *core) owns(a netip.Addr) bool {
	for _, ifc := range c.ifaces {
		if ifc.owns(a) {
			return true
		}
	}
	return false
}

func (ifc *iface) owns(a netip.Addr) bool {
	for _, p := range ifc.prefixes {
		if p.Addr() == a {
			return true
		}
	}
	return false
}

// addr returns the interface's first address of the family, of the widest scope it has.
// It is the zero Addr where there is none.
func (ifc *iface) addr(v6 bool) netip.Addr {
	var local netip.Addr
	for _, p := range ifc.prefixes {
		a := p.Addr()
		if a.Is6() != v6 {
			continue
		}
		if !a.IsLinkLocalUnicast() {
			return a
		}
		local = a
	}
	return local
}

// linkLocal returns the interface's IPv6 link-local address.
func (ifc *iface) linkLocal() netip.Addr {
	for _, p := range ifc.prefixes {
		if a := p.Addr(); a.Is6() && a.IsLinkLocalUnicast() {
			return a
		}
	}
	return netip.Addr{}
}

// lookup finds the interface and the next hop for dst: the longest of the on-link
// prefixes and the routes.
func (c *core) lookup(dst netip.Addr) (*iface, netip.Addr, bool) {
	var out *iface
	next, best := dst, -1
	for _, ifc := range c.ifaces {
		for _, p := range ifc.prefixes {
			if p.Bits() > best && p.Contains(dst) && !p.Addr().IsLinkLocalUnicast() {
				out, next, best = ifc, dst, p.Bits()
			}
		}
	}
	for _, r := range c.routes {
		if r.to.Bits() > best && r.to.Contains(dst) {
			out, next, best = r.out, r.via, r.to.Bits()
		}
	}
	return out, next, out != nil
}

func (c *core) addRoute(to netip.Prefix, via netip.Addr) error {
	if !to.IsValid() || to.Addr().Is6() != via.Is6() {
		return fmt.Errorf("pvdtest: route to %v by %v: not of one family", to, via)
	}
	for _, ifc := range c.ifaces {
		for _, p := range ifc.prefixes {
			if p.Contains(via) && p.Addr() != via {
				c.routes = append(c.routes, route{to.Masked(), via, ifc})
				return nil
			}
		}
	}
	return fmt.Errorf("pvdtest: route to %v by %v: no interface has that neighbour", to, via)
}

// transmit sends a packet to a neighbour at out, as soon as it is known where that is.
func (c *core) transmit(p *packet, out *iface, next netip.Addr) {
	copy(p.frame[6:], out.mac[:])
	to, ok := c.resolve(out, next, p)
	if !ok {
		return
	}
	copy(p.frame, to[:])
	c.outs = append(c.outs, output{out, p.frame, p.meta})
}

// gsoECN marks a segment with CWR, beside the type (VIRTIO_NET_HDR_GSO_ECN).
const gsoECN tun.GSO = 0x80

// segmentLen returns the length of the largest packet that p becomes on a wire, given
// where its transport header starts.
func (p *packet) segmentLen(l4 int) int {
	ip := p.ip()
	switch p.meta.GSO &^ gsoECN {
	case tun.GSOTCP4, tun.GSOTCP6:
		if len(ip) >= l4+20 {
			return l4 + int(ip[l4+12]>>4)*4 + int(p.meta.GSOSize)
		}
	case tun.GSOUDP:
		return l4 + 8 + int(p.meta.GSOSize)
	case tun.GSONone:
	}
	return len(ip)
}

// sane checks what a sender says about the work it left, against a transport header at
// l4 (from the start of the packet) of protocol proto. NAT writes where it points.
func (p *packet) sane(l4 int, proto uint8) error {
	if p.meta.GSO != tun.GSONone && p.meta.GSOSize == 0 {
		return errors.New("pvdtest: GSO without a size")
	}
	if !p.partial() {
		if p.meta.GSO != tun.GSONone {
			return errors.New("pvdtest: GSO with a whole checksum")
		}
		return nil
	}
	at := 16
	switch proto {
	case protoTCP:
	case protoUDP:
		at = 6
	default:
		return errors.New("pvdtest: partial checksum of another protocol")
	}
	if int(p.meta.CsumStart) != tun.EthernetHeaderLen+l4 || int(p.meta.CsumOffset) != at ||
		len(p.ip()) < l4+at+2 {
		return errors.New("pvdtest: partial checksum elsewhere")
	}
	return nil
}
