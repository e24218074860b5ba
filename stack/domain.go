package stack

import (
	"hash/maphash"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addrsel"
	"github.com/pvdstack/pvdstack/stack/dns"
)

// A domain is one PvD at work: a network stack of its own, a port on each of its links,
// and the endpoints that applications have in it.
type domain struct {
	ref  pvd.Ref
	host *Host
	log  *slog.Logger
	stk  *gstack.Stack

	// gate is held shared by whoever creates, binds, connects or listens on an endpoint,
	// and exclusively for the moment in which the PvD is marked as gone. After that
	// moment no new endpoint comes into being.
	gate sync.RWMutex
	gone chan struct{} // closed when the PvD is removed; blocked calls return pvd.ErrNoPvD

	info      atomic.Pointer[pvd.Info] // as it was last applied: what it is called
	plan      atomic.Pointer[plan]
	share     atomic.Pointer[portShare] // nil unless it shares an address
	endpoints endpointSet
	resolver  *dns.Resolver

	retirement retirement

	loop     sync.Once // makes the loopback NIC
	loopErr  error
	loopMu   sync.Mutex // orders the making and the setting of routes
	loopMade bool

	draws maphash.Seed // for spreading destinations over routers

	nics    atomic.Pointer[[]*port] // every port that has a NIC
	ports   map[string]*port        // the same by link; the registry's writer only
	lastNIC tcpip.NICID             // likewise

	addrMu     sync.Mutex
	addrStates map[localAddr]pvd.AddressState
	addrChange chan struct{} // closed and replaced when a state changes
}

// loopbackNIC is the NIC that a domain's own traffic uses. Those of links follow it.
const loopbackNIC tcpip.NICID = 1

// A localAddr is an address on a link.
type localAddr struct {
	addr netip.Addr // without zone
	link string
}

func localOf(a pvd.AddressInfo) localAddr { return localAddr{a.Prefix.Addr(), a.Link} }

// A plan is all that choosing an address and a route needs to know of a PvD. It is
// replaced as a whole when the PvD changes.
type plan struct {
	name      string
	links     []planLink        // those that are there, in order of preference
	lost      []string          // those that are not
	addrs     []pvd.AddressInfo // on the links that are there
	neighbors []pvd.Neighbor
	fib       *fib
	dns       pvd.DNS
	selector  *addrsel.Selector // by the PvD's own policy
	weak      bool              // weak host model
}

type planLink struct {
	name string
	nic  tcpip.NICID
	port *port
}

func (p *plan) link(name string) (planLink, bool) {
	for _, l := range p.links {
		if l.name == name {
			return l, true
		}
	}
	return planLink{}, false
}

func (p *plan) linkOfNIC(id tcpip.NICID) (planLink, bool) {
	for _, l := range p.links {
		if l.nic == id {
			return l, true
		}
	}
	return planLink{}, false
}

// has reports whether a is one of the PvD's addresses, on whichever link.
func (p *plan) has(a netip.Addr) bool {
	return slices.ContainsFunc(p.addrs, func(have pvd.AddressInfo) bool { return have.Prefix.Addr() == a })
}

// nicWith returns the NIC of a link that has an address: nic itself if its link has, or
// if none has.
func (p *plan) nicWith(a netip.Addr, nic tcpip.NICID) tcpip.NICID {
	found := nic
	for _, have := range p.addrs {
		l, ok := p.link(have.Link)
		switch {
		case !ok || have.Prefix.Addr() != a:
		case l.nic == nic:
			return nic
		default:
			found = l.nic
		}
	}
	return found
}

// zoneOf returns the zone that addresses on the NIC have: the link's name.
func (d *domain) zoneOf(id tcpip.NICID) string {
	l, _ := d.plan.Load().linkOfNIC(id)
	return l.name
}

// withZone returns a with the NIC's zone if a is of the kind that needs one
// (RFC 4007 section 6).
func (d *domain) withZone(a netip.Addr, id tcpip.NICID) netip.Addr {
	if a.Is6() && (a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast()) {
		return a.WithZone(d.zoneOf(id))
	}
	return a
}

// enter keeps the PvD from being removed until leave is called. It is for the moments in
// which an endpoint comes into being or changes its state, never for waiting.
func (d *domain) enter() error {
	d.gate.RLock()
	select {
	case <-d.gone:
		d.gate.RUnlock()
		return pvd.ErrNoPvD
	default:
		return nil
	}
}

func (d *domain) leave() { d.gate.RUnlock() }

// isGone reports whether the PvD has been removed.
func (d *domain) isGone() bool {
	select {
	case <-d.gone:
		return true
	default:
		return false
	}
}

// local finds the NIC for binding to a: 0 for an unspecified address, the loopback NIC
// for a loopback address, else that of the link that has the address. An address that is
// not the PvD's is EADDRNOTAVAIL.
func (d *domain) local(a netip.Addr) (tcpip.NICID, error) {
	a = a.Unmap()
	switch {
	case !a.IsValid() || a.IsUnspecified():
		return 0, nil
	case a.IsLoopback():
		return loopbackNIC, d.loopback()
	}
	p := d.plan.Load()
	var found tcpip.NICID
	for _, have := range p.addrs {
		if have.Prefix.Addr() != a.WithZone("") || (a.Zone() != "" && a.Zone() != have.Link) {
			continue
		}
		l, ok := p.link(have.Link)
		if !ok || !have.State.Usable() {
			continue
		}
		if found != 0 {
			return 0, syscall.EINVAL // on several links, and no zone to tell which
		}
		found = l.nic
	}
	if found == 0 {
		return 0, syscall.EADDRNOTAVAIL
	}
	return found, nil
}

func (d *domain) name() string { return d.plan.Load().name }

func (d *domain) portOf(id tcpip.NICID) *port {
	for _, p := range *d.nics.Load() {
		if p.nic == id {
			return p
		}
	}
	return nil
}
