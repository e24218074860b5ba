package stack

import (
	"maps"
	"net/netip"
	"slices"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// learnedMACs are the stations that have answered for the routers of PvDs which have to be
// told apart. They outlive the tables. Each router has one, its latest, so that it is the
// configuration that bounds them.
type learnedMACs struct {
	mu       sync.RWMutex // held while the link's table is replaced
	stations map[ownRouter]mac
	ports    map[mac]*port // the same by station; nil: of several PvDs, which tells nothing
}

// An ownRouter is a router that one port on a link has and no other.
type ownRouter struct {
	port *port
	addr netip.Addr
}

func (l *learnedMACs) lookup(m mac) *port {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.ports[m]
}

func (l *learnedMACs) indexLocked() {
	l.ports = make(map[mac]*port, len(l.stations))
	for r, m := range l.stations {
		if had, ok := l.ports[m]; ok && had != r.port {
			l.ports[m] = nil
		} else {
			l.ports[m] = r.port
		}
	}
}

// install puts a table to work, and forgets what was learned of routers that are nobody's
// own in it.
func (l *hostLink) install(t *linkTable) {
	l.learned.mu.Lock()
	defer l.learned.mu.Unlock()
	l.table.Store(t)
	maps.DeleteFunc(l.learned.stations, func(r ownRouter, _ mac) bool { return !t.tells(r) })
	l.learned.indexLocked()
}

// tells reports whether the station of a router tells its port apart.
func (t *linkTable) tells(r ownRouter) bool { return t.apart[r.port] && t.routerOf(r.addr) == r.port }

// learn takes note of the hardware address with which a neighbour has answered p. If it
// is a router that p alone has, its station is p's. It may be called with locks of gVisor's
// held.
func (l *hostLink) learn(p *port, a netip.Addr, m mac) {
	r := ownRouter{p, a}
	if !l.table.Load().tells(r) {
		return
	}
	l.learned.mu.Lock()
	defer l.learned.mu.Unlock()
	if had, ok := l.learned.stations[r]; ok && had == m || !l.table.Load().tells(r) {
		return
	}
	if l.learned.stations == nil {
		l.learned.stations = make(map[ownRouter]mac)
	}
	l.learned.stations[r] = m
	l.learned.indexLocked()
}

// meetStranger has the routers met of the ports that are to be told apart, at most once in
// meetInterval: the stranger that was just heard may be one.
func (l *hostLink) meetStranger() {
	now := l.host.clock.Monotonic()
	if l.met != 0 && now-l.met < meetInterval {
		return
	}
	l.met = max(now, 1)
	l.meetRouters()
}

// meetRouters has the ports that are to be told apart look for their routers. Only the
// link's reader and the registry's writer, which waits for it in RemoveLink, call it.
func (l *hostLink) meetRouters() {
	t := l.table.Load()
	l.done.Go(func() {
		for p := range t.apart {
			p.meetRouters(t.routersOf(p))
		}
	})
}

// meetRouters learns the stations of the port's own routers from gVisor's neighbour caches,
// and has those asked for that are not there.
func (p *port) meetRouters(routers []netip.Addr) {
	stk := p.domain.stk
	states := make(map[netip.Addr]gstack.NeighborState)
	for _, proto := range []tcpip.NetworkProtocolNumber{ipv4.ProtocolNumber, ipv6.ProtocolNumber} {
		entries, _ := stk.Neighbors(p.nic, proto) // none on a NIC that is gone
		for _, e := range entries {
			a := fromAddr(e.Addr)
			if states[a] = e.State; e.State == gstack.Reachable && slices.Contains(routers, a) {
				p.link.learn(p, a, mac([]byte(e.LinkAddr)))
			}
		}
	}
	for _, r := range routers {
		switch states[r] {
		case gstack.Reachable, gstack.Incomplete:
			continue
		case gstack.Stale, gstack.Delay, gstack.Probe:
			// What confirms such an entry can take many seconds. Asked anew, it takes one answer.
			stk.RemoveNeighbor(p.nic, protocolOf(r), toAddr(r)) // gone already is as good
		}
		// The answer arrives at neighborChanged.
		_ = stk.GetLinkAddress(p.nic, toAddr(r), tcpip.Address{}, protocolOf(r), func(gstack.LinkResolutionResult) {})
	}
}
