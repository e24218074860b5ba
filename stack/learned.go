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
	ports    map[mac]ports // the same by station; what is several rivals' tells nothing
}

// An ownRouter is a router that a port with rivals has, and none of them.
type ownRouter struct {
	port *port
	addr netip.Addr
}

func (l *learnedMACs) lookup(m mac) ports {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.ports[m]
}

func (l *learnedMACs) indexLocked(t *linkTable) {
	l.ports = make(map[mac]ports, len(l.stations))
	for r, m := range l.stations {
		if !l.ports[m].has(r.port) {
			l.ports[m] = append(l.ports[m], r.port)
		}
	}
	for m, of := range l.ports {
		l.ports[m] = of.filter(func(p *port) bool { return !slices.ContainsFunc(t.rivals[p], of.has) })
	}
}

// install puts a table to work, and forgets what was learned of routers that are nobody's
// own in it.
func (l *hostLink) install(t *linkTable) {
	l.learned.mu.Lock()
	was := l.table.Swap(t)
	maps.DeleteFunc(l.learned.stations, func(r ownRouter, _ mac) bool { return !t.tells(r) })
	l.learned.indexLocked(t)
	l.learned.mu.Unlock()
	if was != nil && was.shared != nil {
		was.announceShared(t)
	}
}

// tells reports whether the station of a router tells its port apart.
func (t *linkTable) tells(r ownRouter) bool {
	rivals := t.rivals[r.port]
	if len(rivals) == 0 {
		return false
	}
	of := t.routers[r.addr]
	return of.has(r.port) && !slices.ContainsFunc(rivals, of.has)
}

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
	t := l.table.Load() // it does not change while the lock is held
	if had, ok := l.learned.stations[r]; ok && had == m || !t.tells(r) {
		return
	}
	if l.learned.stations == nil {
		l.learned.stations = make(map[ownRouter]mac)
	}
	l.learned.stations[r] = m
	l.learned.indexLocked(t)
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
		for p := range t.rivals {
			p.meetRouters(t)
		}
	})
}

// meetRouters learns the stations of the port's own routers from gVisor's neighbour caches,
// and has those asked for that are not there.
func (p *port) meetRouters(t *linkTable) {
	var routers []netip.Addr
	for a := range t.routers {
		if t.tells(ownRouter{p, a}) {
			routers = append(routers, a)
		}
	}
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
		default: // nothing to build on
		}
		// The answer arrives at neighborChanged.
		_ = stk.GetLinkAddress(p.nic, toAddr(r), tcpip.Address{}, protocolOf(r), func(gstack.LinkResolutionResult) {})
	}
}
