package pvdtest

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// A LAN is an Ethernet network of a [Lab], with its router, its servers and the hosts
// that are on it. Its methods are called from the test's goroutine; what goes wrong ends
// the test.
//
// Where a method takes addresses, they are one IPv4 address, one IPv6 address, or one of
// each with a space between.
type LAN struct {
	lab      *Lab
	name     string
	prefixes []netip.Prefix // masked
	mtu      int
	sw       *etherSwitch

	mu       sync.Mutex
	used     map[netip.Addr]string // who has an address here
	pool     []netip.Addr          // where the search for a free one begins, by family
	gateways []netip.Addr          // of the first router
	routes   []pvd.Route           // to what is behind other routers
	dns      []netip.AddrPort
	dns64    netip.Prefix            // of which the name servers make addresses; invalid: none
	names    map[string][]netip.Addr // that the name servers know beside their zones
	routers  []*Router
	machines []*Machine
}

func newLAN(l *Lab, name string, prefixes []string) (*LAN, error) {
	if id, err := pvd.ParseID(name + ".example"); err != nil || strings.ContainsAny(name, "./") || string(id) != name+".example" {
		return nil, errors.New("the name is not a DNS label in lower case")
	}
	n := &LAN{lab: l, name: name, mtu: tun.DefaultMTU, sw: newSwitch(), used: make(map[netip.Addr]string), names: make(map[string][]netip.Addr)}
	for _, s := range prefixes {
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return nil, err
		case p != p.Masked():
			return nil, fmt.Errorf("%v is an address on a network, not the network: %v", p, p.Masked())
		case n.prefix(p.Addr().Is6()).IsValid():
			return nil, fmt.Errorf("%v is the second prefix of its family", p)
		}
		n.prefixes = append(n.prefixes, p)
		n.pool = append(n.pool, poolStart(p))
	}
	if len(n.prefixes) == 0 {
		return nil, errors.New("no prefix")
	}
	return n, nil
}

// poolStart is where a LAN's hosts begin: .100 or ::100, or the first address of a
// network that is too small for that.
func poolStart(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	if p.Addr().Is4() {
		b[3] += 100
	} else {
		b[14]++
	}
	if a, _ := netip.AddrFromSlice(b); p.Contains(a) {
		return a
	}
	return p.Addr().Next()
}

// prefix returns the LAN's prefix of a family, the zero Prefix if it has none.
func (n *LAN) prefix(v6 bool) netip.Prefix {
	for _, p := range n.prefixes {
		if p.Addr().Is6() == v6 {
			return p
		}
	}
	return netip.Prefix{}
}

// Name returns the LAN's name.
func (n *LAN) Name() string { return n.name }

// Domain returns the domain that the LAN's relative names are in: its name and ".example".
// Hosts on the LAN have it in their search list.
func (n *LAN) Domain() string { return n.name + ".example" }

// SetMTU sets the LAN's MTU, 1500 by default, from 576 (1280 where there is IPv6) to 65535.
// It comes before anything is plugged in.
func (n *LAN) SetMTU(mtu int) {
	n.lab.tb.Helper()
	least := 576
	if n.prefix(true).IsValid() {
		least = 1280
	}
	if mtu < least || mtu > tun.MaxMTU {
		n.lab.tb.Fatalf("pvdtest: LAN %s: MTU %d is not from %d to %d", n.name, mtu, least, tun.MaxMTU)
	}
	n.sw.mu.RLock()
	defer n.sw.mu.RUnlock()
	if len(n.sw.ports) > 0 {
		n.lab.tb.Fatalf("pvdtest: LAN %s: the MTU is set after something was plugged in", n.name)
	}
	n.mtu = mtu
}

// Pool sets the address that the next host on the LAN gets; those after it get the ones
// that follow. By default it is .100 or ::100.
func (n *LAN) Pool(addrs string) {
	n.lab.tb.Helper()
	for _, p := range n.parse(addrs) {
		n.mu.Lock()
		n.pool[n.family(p.Addr())] = p.Addr()
		n.mu.Unlock()
	}
}

func (n *LAN) family(a netip.Addr) int {
	return slices.IndexFunc(n.prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// parse reads addresses on the LAN and gives each the length of its prefix.
func (n *LAN) parse(addrs string) []netip.Prefix {
	n.lab.tb.Helper()
	var ps []netip.Prefix
	for s := range strings.FieldsSeq(addrs) {
		a, err := netip.ParseAddr(s)
		if err != nil {
			n.lab.tb.Fatalf("pvdtest: LAN %s: %v", n.name, err)
		}
		p := n.prefix(a.Is6())
		if !p.IsValid() || !p.Contains(a) {
			n.lab.tb.Fatalf("pvdtest: LAN %s: %v is not on %v", n.name, a, n.prefixes)
		}
		ps = append(ps, netip.PrefixFrom(a, p.Bits()))
	}
	if len(ps) == 0 {
		n.lab.tb.Fatalf("pvdtest: LAN %s: no address", n.name)
	}
	return ps
}

// take notes that somebody has the addresses.
func (n *LAN) take(ps []netip.Prefix, who string) {
	n.lab.tb.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range ps {
		if by := n.used[p.Addr()]; by != "" {
			n.lab.tb.Fatalf("pvdtest: LAN %s: %v for %s is %s's", n.name, p.Addr(), who, by)
		}
		n.used[p.Addr()] = who
	}
}

// lease takes the next free address of each of the LAN's prefixes.
func (n *LAN) lease(who string) ([]netip.Prefix, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var ps []netip.Prefix
	for i, p := range n.prefixes {
		a := n.pool[i]
		for n.used[a] != "" {
			a = a.Next()
		}
		if !p.Contains(a) || a.Is4() && p.Bits() < 31 && a == lastOf(p) {
			return nil, fmt.Errorf("no address left in %v from %v on", p, n.pool[i])
		}
		n.used[a] = who
		ps = append(ps, netip.PrefixFrom(a, p.Bits()))
	}
	return ps, nil
}

// RouterOption is something that a router does beyond forwarding on its LAN.
type RouterOption interface {
	apply(*LAN, *Router) error
}

// Uplink connects a router to a second LAN, often called the internet. What IPv4 leaves by
// it gets the router's address there, unless NoNAT says otherwise; IPv6 is forwarded as
// it is. Everybody on the other LAN learns of the prefixes that are not translated.
type Uplink struct {
	LAN   *LAN
	Addrs string // the router's addresses there
	NoNAT bool
	MTU   int // of what leaves by the uplink; 0: the LAN's own
}

// Router puts a router on the LAN, at addrs. The first is the default router of the LAN's
// hosts and servers, of those too that came before it.
func (n *LAN) Router(addrs string, opts ...RouterOption) *Router {
	n.lab.tb.Helper()
	r := newRouter(n, n.name+"/router "+addrs, n.lab.clock, n.lab.routerSeed())
	if err := n.addRouter(r, n.parse(addrs), 0, false); err != nil {
		n.lab.tb.Fatalf("pvdtest: LAN %s: router: %v", n.name, err)
	}
	n.mu.Lock()
	if len(n.gateways) == 0 {
		for _, p := range n.parse(addrs) {
			n.gateways = append(n.gateways, p.Addr())
		}
	}
	n.routers = append(n.routers, r)
	n.mu.Unlock()
	for _, o := range opts {
		if err := o.apply(n, r); err != nil {
			n.lab.tb.Fatalf("pvdtest: LAN %s: router %s: %v", n.name, addrs, err)
		}
	}
	n.refresh()
	return r
}

// addRouter gives a router an interface on n.
func (n *LAN) addRouter(r *Router, ps []netip.Prefix, mtu int, nat bool) error {
	n.lab.tb.Helper()
	n.take(ps, r.name)
	if mtu == 0 {
		mtu = n.mtu
	}
	ifc := &iface{lan: n.name, mac: n.lab.nextMAC(), mtu: min(mtu, n.mtu), nat: nat}
	ifc.prefixes = ps
	if n.prefix(true).IsValid() {
		ifc.prefixes = append(slices.Clip(ps), netip.PrefixFrom(linkLocalOf(ifc.mac), 64))
	}
	c, err := n.lab.cable(n, n.name+"/router "+ps[0].Addr().String(), nil)
	if err != nil {
		return err
	}
	r.connect(ifc, c.far)
	n.lab.note("router connected", "lan", n.name, "router", r.name, "addrs", ps, "mtu", ifc.mtu, "nat", nat)
	return nil
}

// linkLocalOf is the address of RFC 4291 appendix A.
func linkLocalOf(m mac) netip.Addr {
	return netip.AddrFrom16([16]byte{
		0: 0xfe, 1: 0x80,
		8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5],
	})
}

func (u Uplink) apply(n *LAN, r *Router) error {
	n.lab.tb.Helper()
	if u.LAN == nil || u.LAN == n {
		return errors.New("the uplink leads nowhere")
	}
	ps := u.LAN.parse(u.Addrs)
	if err := u.LAN.addRouter(r, ps, u.MTU, !u.NoNAT); err != nil {
		return err
	}
	u.LAN.mu.Lock()
	u.LAN.routers = append(u.LAN.routers, r)
	known, gateways := slices.Clone(u.LAN.routes), slices.Clone(u.LAN.gateways)
	u.LAN.mu.Unlock()
	for _, g := range gateways {
		known = append(known, pvd.Route{To: defaultFor(g), Via: g})
	}
	for _, k := range known {
		// A route of a family that the router has no address of is no use to it.
		_ = r.Route(k.To, k.Via)
	}
	for _, p := range ps {
		if own := n.prefix(p.Addr().Is6()); own.IsValid() && (u.NoNAT || own.Addr().Is6()) {
			u.LAN.announce(pvd.Route{To: own, Via: p.Addr()}, r)
		}
	}
	r.uplinks = append(r.uplinks, u)
	r.mu.Lock()
	home := r.core.on(n).prefixes
	r.mu.Unlock()
	for _, p := range home {
		// What the router advertises beyond the LAN's own prefix.
		if a := p.Addr(); a.Is6() && !a.IsLinkLocalUnicast() && p.Masked() != n.prefix(true) {
			u.LAN.announceAs(r, p)
		}
	}
	return nil
}

// announce tells everybody on the LAN of a route, except the router that it is by.
func (n *LAN) announce(route pvd.Route, by *Router) {
	n.mu.Lock()
	n.routes = append(n.routes, route)
	routers := slices.Clone(n.routers)
	n.mu.Unlock()
	for _, r := range routers {
		if r != by {
			_ = r.Route(route.To, route.Via) // as above
		}
	}
	n.refresh()
}

// defaultFor returns the default prefix of an address's family.
func defaultFor(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// config is what a host with these addresses on the LAN, by the link of that name, is
// configured with.
func (n *LAN) config(link string, ps []netip.Prefix) pvd.Config {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := pvd.Config{Links: []string{link}}
	has := make(map[bool]bool)
	for _, p := range ps {
		c.Addresses = append(c.Addresses, pvd.Address{Prefix: p})
		has[p.Addr().Is6()] = true
	}
	for _, g := range n.gateways {
		if has[g.Is6()] {
			c.Routes = append(c.Routes, pvd.Route{To: defaultFor(g), Via: g})
		}
	}
	for _, r := range n.routes {
		if has[r.Via.Is6()] {
			c.Routes = append(c.Routes, r)
		}
	}
	for _, s := range n.dns {
		if has[s.Addr().Is6()] {
			c.DNS.Servers = append(c.DNS.Servers, s)
		}
	}
	if len(c.DNS.Servers) > 0 {
		c.DNS.Search = []string{n.Domain()}
	}
	return c
}

// Attach plugs something that is not of the lab into the LAN: a TAP device that a kernel
// is behind, or an AF_PACKET socket on an interface. The lab closes it.
func (n *LAN) Attach(link tun.Link) {
	n.lab.tb.Helper()
	if link.Layer() != tun.Ethernet {
		n.lab.tb.Fatalf("pvdtest: LAN %s: %s is no Ethernet link", n.name, link.Name())
	}
	n.sw.plug(link, false)
	n.lab.note("link attached", "lan", n.name, "link", link.Name())
}

// Reserve keeps addresses from being given to the lab's hosts, for those behind what is
// attached.
func (n *LAN) Reserve(addrs string) {
	n.lab.tb.Helper()
	n.take(n.parse(addrs), "somebody outside the lab")
}

// nameServers returns the LAN's of a family.
func (n *LAN) nameServers(v6 bool) (servers []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.dns {
		if s.Addr().Is6() == v6 {
			servers = append(servers, s.Addr())
		}
	}
	return servers
}

func (n *LAN) close() {
	n.mu.Lock()
	routers := n.routers
	n.mu.Unlock()
	for _, r := range routers {
		r.close() // also of a LAN that it is an uplink of: closing twice is nothing
	}
	n.sw.close()
}
