package stack

import (
	"net/netip"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/pvd"
)

// A sharedMemory is what is remembered of the packets of a shared address. It outlives the
// link's tables, and keeps no PvD in memory.
type sharedMemory struct {
	mu        sync.Mutex
	flows     recent[flow] // of datagrams
	fragments recent[fragmentKey]
}

// A fragmentKey is what the fragments of one datagram to the address have in common
// (RFC 791 section 3.2).
type fragmentKey struct {
	src   netip.Addr
	id    uint16
	proto uint8
}

// recent is a map to PvDs that remembers between half of its limit and all of it, the
// latest entries.
type recent[K comparable] struct{ now, before map[K]noted }

// A noted is a PvD at a time by the host's clock.
type noted struct {
	ref pvd.Ref
	at  time.Duration
}

func (r *recent[K]) get(k K, since time.Duration) pvd.Ref {
	n, ok := r.now[k]
	if !ok {
		n, ok = r.before[k]
	}
	if !ok || n.at < since {
		return pvd.Unspecified
	}
	return n.ref
}

func (r *recent[K]) put(k K, n noted, limit int) {
	if _, ok := r.now[k]; !ok && (r.now == nil || len(r.now) >= limit/2) {
		r.now, r.before = make(map[K]noted), r.now
	}
	r.now[k] = n
}

// with returns the port of a PvD that shares the address, nil if it does not.
func (sh *sharing) with(ref pvd.Ref) *port {
	if ref == pvd.Unspecified {
		return nil
	}
	for _, p := range sh.by {
		if p.domain.ref == ref {
			return p
		}
	}
	return nil
}

func (m *sharedMemory) fragmentOf(k fragmentKey, now time.Duration) pvd.Ref {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fragments.get(k, now-sharedFragmentLife)
}

func (m *sharedMemory) noteFragment(k fragmentKey, p *port, now time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fragments.put(k, noted{p.domain.ref, now}, maxSharedFragments)
}

// flowOf returns the PvD that has sent datagrams of a flow.
func (m *sharedMemory) flowOf(f flow, now time.Duration) pvd.Ref {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.flows.get(f, now-sharedFlowLife)
}

// takeFlow takes note that p's PvD sends datagrams of a flow. It is false if the answers
// could be another PvD's.
func (sh *sharing) takeFlow(f flow, p *port) bool {
	now := p.domain.host.clock.Monotonic()
	m := sh.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	if had := m.flows.get(f, now-sharedFlowLife); had != p.domain.ref && sh.usedBy(had, f, p) {
		return false
	}
	m.flows.put(f, noted{p.domain.ref, now}, maxSharedFlows)
	return true
}

// inspectShared takes note of a datagram that leaves from a shared address, so that what
// answers it finds back. Connections need none of that, and groups answer to all.
func (p *port) inspectShared(h header.IPv4, pkt *gstack.PacketBuffer, f facts) reason {
	switch h.TransportProtocol() {
	case header.UDPProtocolNumber, header.ICMPv4ProtocolNumber:
	default:
		return sent
	}
	t := p.link.table.Load()
	sh := t.sharing(f.src)
	if sh == nil || !sh.by.has(p) || h.FragmentOffset() != 0 || f.dst.IsMulticast() || f.dst == limitedBroadcast || t.broadcasts[f.dst] != nil {
		return sent
	}
	b := pkt.TransportHeader().Slice()
	if len(b) < header.UDPMinimumSize {
		var ok bool
		if b, ok = pkt.Data().PullUp(header.UDPMinimumSize); !ok {
			return sent
		}
	}
	if fl, ok := flowFrom(h.Protocol(), b, f.dst); ok && !sh.takeFlow(fl, p) {
		return dropSharedFlow
	}
	return sent
}
