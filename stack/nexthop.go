package stack

import (
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// A hopTable knows the hardware addresses of a port's next hops. gVisor's neighbour
// caches resolve and probe them; the table holds those that are known to be reachable,
// so that the common packet does not ask, and the packets that wait for the others.
type hopTable struct {
	mu      sync.RWMutex
	ready   map[netip.Addr]tcpip.LinkAddress
	waiting map[netip.Addr][]*gstack.PacketBuffer
	failed  map[netip.Addr]time.Duration // when, by the host's clock
	closed  bool                         // with the port: nothing waits any more
}

// lookup returns the hardware address of a reachable next hop.
func (t *hopTable) lookup(hop netip.Addr) (tcpip.LinkAddress, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	mac, ok := t.ready[hop]
	return mac, ok
}

// neighborChanged follows gVisor's neighbour cache. An entry is ready in the states in
// which a packet is sent and changes nothing; in the others, stale among them, the packet
// itself has to drive the state machine of RFC 4861 section 7.3.
func (p *port) neighborChanged(e gstack.NeighborEntry) {
	hop := fromAddr(e.Addr)
	t := &p.hops
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.State {
	case gstack.Reachable, gstack.Static, gstack.Delay, gstack.Probe:
		if t.ready == nil {
			t.ready = make(map[netip.Addr]tcpip.LinkAddress)
		}
		t.ready[hop] = e.LinkAddr
		if e.State == gstack.Reachable {
			delete(t.failed, hop)
			p.link.learn(p, hop, mac([]byte(e.LinkAddr)))
		}
	case gstack.Unreachable:
		delete(t.ready, hop)
		p.noteFailureLocked(hop)
	default:
		delete(t.ready, hop)
	}
}

func (p *port) neighborRemoved(e gstack.NeighborEntry) {
	p.hops.mu.Lock()
	defer p.hops.mu.Unlock()
	delete(p.hops.ready, fromAddr(e.Addr))
}

// forgetNeighbors forgets what was found out about stations on the link, after it was down:
// others may be on it now, or the same ones with other hardware addresses. Otherwise it
// would take half a minute until a sender doubts what it knows.
func (p *port) forgetNeighbors() {
	if p.mac == nil {
		return
	}
	for _, proto := range []tcpip.NetworkProtocolNumber{ipv4.ProtocolNumber, ipv6.ProtocolNumber} {
		neighbors, err := p.domain.stk.Neighbors(p.nic, proto)
		if err != nil {
			continue // the NIC is on its way out
		}
		for _, n := range neighbors {
			// Those that are just being asked for have not answered yet.
			if n.State != gstack.Static && n.State != gstack.Incomplete {
				p.domain.stk.RemoveNeighbor(p.nic, proto, n.Addr) // gone already is as good
			}
		}
	}
	p.redirects.clear()
	p.hops.mu.Lock()
	defer p.hops.mu.Unlock()
	clear(p.hops.failed)
}

// noteFailureLocked remembers that a hop has not answered, in the place of the oldest such
// memory if there are too many.
func (p *port) noteFailureLocked(hop netip.Addr) {
	t := &p.hops
	if t.failed == nil {
		t.failed = make(map[netip.Addr]time.Duration)
	}
	t.failed[hop] = p.domain.host.clock.Monotonic()
	if len(t.failed) > maxFailedHops {
		oldest := hop
		for h, at := range t.failed {
			if at < t.failed[oldest] {
				oldest = h
			}
		}
		delete(t.failed, oldest)
	}
}

// hopless reports whether a router has lately not answered.
func (p *port) hopless(hop netip.Addr) bool {
	t := &p.hops
	t.mu.RLock()
	since, ok := t.failed[hop]
	t.mu.RUnlock()
	if ok && p.domain.host.clock.Monotonic()-since > hopRetry {
		t.mu.Lock()
		delete(t.failed, hop)
		t.mu.Unlock()
		return false
	}
	return ok
}

// nextHop returns the next hop for a packet.
func (p *port) nextHop(src, dst netip.Addr) (netip.Addr, bool) {
	if needsLink(dst) {
		return dst, true
	}
	hop, ok := p.routerFor(src, dst)
	if p.redirects.all.Load() != nil {
		hop = p.redirected(src, dst, hop)
	}
	return hop, ok
}

// routerFor returns what the forwarding table has as the next hop for a packet. Routers that
// have lately not answered are passed over while another one leads there (RFC 4191 section
// 3.2).
func (p *port) routerFor(src, dst netip.Addr) (netip.Addr, bool) {
	e := p.egress.Load()
	first, ok := e.next(p.link.name, src, dst)
	if !ok || first == dst || !p.hopless(first) {
		return first, ok
	}
	for r := range e.fib.routes(dst) {
		if r.link == p.link.name && r.serves(src) && !(r.via.IsValid() && p.hopless(r.via)) {
			return r.hop(dst), true
		}
	}
	return first, true
}

// resolve queues a packet until the hardware address of its next hop is known.
func (p *port) resolve(hop, src netip.Addr, pkt *gstack.PacketBuffer) tcpip.Error {
	first, ok := p.enqueue(hop, pkt)
	if !ok {
		p.stats.add(dropHopQueue)
		return nil
	}
	if !first {
		return nil // whoever was first has asked
	}
	if src.IsUnspecified() {
		src = netip.Addr{}
	}
	// The callback runs before GetLinkAddress returns if the answer is known, else later,
	// with a lock of gVisor's held.
	var mu sync.Mutex
	var inline *gstack.LinkResolutionResult
	returned := false
	err := p.domain.stk.GetLinkAddress(p.nic, toAddr(hop), toAddr(src), protocolOf(hop), func(r gstack.LinkResolutionResult) {
		mu.Lock()
		defer mu.Unlock()
		if returned {
			go p.flush(hop, r)
			return
		}
		inline = &r
	})
	mu.Lock()
	returned = true
	answer := inline
	mu.Unlock()
	if answer == nil && err != nil {
		if _, pending := err.(*tcpip.ErrWouldBlock); !pending {
			answer = &gstack.LinkResolutionResult{Err: err}
		}
	}
	switch {
	case answer == nil:
	case answer.Err == nil:
		p.flush(hop, *answer)
	default:
		// To report it takes the lock of the endpoint, which may be the one that sends.
		go p.flush(hop, *answer)
	}
	return nil
}

// enqueue keeps a packet for hop, the latest maxHopQueue of them, and reports whether it
// is the first.
func (p *port) enqueue(hop netip.Addr, pkt *gstack.PacketBuffer) (first, ok bool) {
	t := &p.hops
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.waiting[hop]
	if t.closed || (q == nil && len(t.waiting) >= maxPendingHops) {
		return false, false
	}
	if t.waiting == nil {
		t.waiting = make(map[netip.Addr][]*gstack.PacketBuffer)
	}
	if len(q) == maxHopQueue {
		q[0].DecRef()
		p.stats.add(dropHopQueue)
		q = append(q[:0], q[1:]...)
	}
	t.waiting[hop] = append(q, pkt.Clone())
	return len(q) == 0, true
}

// flush sends, or gives up, what waits for hop.
func (p *port) flush(hop netip.Addr, r gstack.LinkResolutionResult) {
	t := &p.hops
	t.mu.Lock()
	q := t.waiting[hop]
	delete(t.waiting, hop)
	if r.Err != nil {
		p.noteFailureLocked(hop)
	}
	t.mu.Unlock()
	for _, pkt := range q {
		if r.Err == nil {
			p.send(pkt, r.LinkAddress, true)
		} else {
			p.stats.add(dropNoNeighbor)
			p.unreachable(pkt)
		}
		pkt.DecRef()
	}
}

// unreachable tells the packet's endpoint that its next hop does not answer.
func (p *port) unreachable(pkt *gstack.PacketBuffer) {
	ep, err := p.domain.stk.GetNetworkEndpoint(p.nic, pkt.NetworkProtocolNumber)
	if err != nil {
		return // the NIC is on its way out, and its endpoints have been told
	}
	if ep, ok := ep.(gstack.LinkResolvableNetworkEndpoint); ok {
		ep.HandleLinkResolutionFailure(pkt)
	}
}

// close gives up everything that waits, and all that would.
func (t *hopTable) close(p *port) {
	t.mu.Lock()
	t.closed = true
	waiting := t.waiting
	t.waiting = nil
	t.mu.Unlock()
	for _, q := range waiting {
		for _, pkt := range q {
			p.stats.add(dropNoNeighbor)
			pkt.DecRef()
		}
	}
}
