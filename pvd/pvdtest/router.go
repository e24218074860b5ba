package pvdtest

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// A Router forwards between LANs: IPv4, with NAT where an uplink asks for it, and IPv6.
// It answers ARP, neighbour discovery and echo requests for its own addresses and sends
// the ICMP errors that routers send. Make one with [LAN.Router]. Its methods may be
// called concurrently.
type Router struct {
	name    string
	home    *LAN     // where it was made
	uplinks []Uplink // in the test's goroutine

	mu   sync.Mutex
	core *core
	ends map[*iface]tun.Link // the router's end of each cable

	wg sync.WaitGroup
}

func newRouter(home *LAN, name string, clock pvd.Clock, seed uint64) *Router {
	r := &Router{name: name, home: home, ends: make(map[*iface]tun.Link)}
	r.core = newCore(clock, seed)
	r.core.later = r.later
	return r
}

// connect gives the router an interface at the end of link, which it owns from here on.
func (r *Router) connect(ifc *iface, link tun.Link) {
	r.mu.Lock()
	r.core.ifaces = append(r.core.ifaces, ifc)
	r.ends[ifc] = link
	r.mu.Unlock()
	// Ends when link is closed.
	r.wg.Go(func() { r.run(ifc, link) })
}

// run carries what arrives at ifc through the core.
func (r *Router) run(ifc *iface, link tun.Link) {
	buf := make([]byte, tun.MaxFrame)
	bufs := [][]byte{buf}
	var outs []output
	for {
		var m tun.Meta
		n, err := link.Recv(bufs, &m)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.core.outs = outs[:0]
		r.core.input(ifc, buf[:n], m)
		outs, r.core.outs = r.core.outs, nil
		r.mu.Unlock()
		r.send(outs)
	}
}

// later is how a timer of the core's does its work.
func (r *Router) later(f func()) {
	r.mu.Lock()
	r.core.outs = nil
	f()
	outs := r.core.outs
	r.core.outs = nil
	r.mu.Unlock()
	r.send(outs)
}

// send puts frames on their links, without the lock: one slow LAN keeps no other from
// the router's tables.
func (r *Router) send(outs []output) {
	for _, o := range outs {
		r.mu.Lock()
		link := r.ends[o.via]
		r.mu.Unlock()
		if link == nil {
			continue
		}
		if err := sendBounded(link, [][]byte{o.frame}, o.meta); err != nil {
			r.mu.Lock()
			r.core.drop(dropLink)
			r.mu.Unlock()
		}
	}
}

// Route makes the router reach a prefix by a neighbour of its, an address on one of the
// LANs it is connected to.
func (r *Router) Route(to netip.Prefix, via netip.Addr) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.core.addRoute(to, via)
}

// SetMTU makes the router believe that what leaves it towards the LAN is limited to mtu
// octets, as where a tunnel begins there. Longer packets are fragmented or answered with
// "packet too big". It is an error if the router has no interface there.
func (r *Router) SetMTU(lan *LAN, mtu int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ifc := range r.core.ifaces {
		if ifc.lan == lan.name {
			ifc.mtu = min(mtu, lan.mtu)
			return nil
		}
	}
	return fmt.Errorf("pvdtest: router %s has no interface on %s", r.name, lan.name)
}

// Stats counts what the router forwarded, answered, originated, and dropped, the last by
// reason.
func (r *Router) Stats() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.core.counts)
}

// HardwareAddr returns the address of the router's interface on the LAN, nil if it has
// none there.
func (r *Router) HardwareAddr(lan *LAN) net.HardwareAddr {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ifc := range r.core.ifaces {
		if ifc.lan == lan.name {
			return slices.Clone(ifc.mac[:])
		}
	}
	return nil
}

// close ends the router and waits for its goroutines.
func (r *Router) close() {
	r.mu.Lock()
	r.core.close()
	links := slices.Collect(maps.Values(r.ends))
	r.mu.Unlock()
	for _, l := range links {
		// The only error is that it can not be closed twice.
		_ = l.Close()
	}
	r.wg.Wait()
}
