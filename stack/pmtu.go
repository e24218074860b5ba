package stack

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// A pathTable knows the paths from a port that carry less than its link does, as routers
// have said in ICMPv6 "packet too big" (RFC 8201). gVisor heeds it for TCP; everything
// else is cut to size here, since in IPv6 no router does that.
type pathTable struct {
	some atomic.Bool // whether there is any, so that the common packet need not look
	mu   sync.RWMutex
	m    map[netip.Addr]pathMTU
}

type pathMTU struct {
	mtu   int
	since time.Duration // by the host's clock
}

// isTooBig6 reports whether an IPv6 packet is a "packet too big".
func isTooBig6(ip []byte, proto tcpip.NetworkProtocolNumber) bool {
	const icmp = header.IPv6MinimumSize
	return proto == ipv6.ProtocolNumber && len(ip) >= icmp+header.ICMPv6PacketTooBigMinimumSize+header.IPv6MinimumSize &&
		ip[6] == uint8(header.ICMPv6ProtocolNumber) && ip[icmp] == uint8(header.ICMPv6PacketTooBig)
}

// narrowPath takes note of a "packet too big", if it is about a packet of ours. What it
// says below IPv6's minimum is passed over (RFC 8201 section 4).
func (p *port) narrowPath(pkt *gstack.PacketBuffer) {
	whole := pkt.ToView()
	defer whole.Release()
	m, ok := validICMPv6(whole.AsSlice())
	if !ok || len(m) < header.ICMPv6PacketTooBigMinimumSize+header.IPv6MinimumSize {
		return
	}
	mtu := binary.BigEndian.Uint32(m[4:])
	quoted := header.IPv6(m[header.ICMPv6PacketTooBigMinimumSize:])
	if mtu < header.IPv6MinimumMTU || mtu >= p.MTU() || !p.owns(fromAddr(quoted.SourceAddress())) {
		return
	}
	t := &p.paths
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = make(map[netip.Addr]pathMTU)
	}
	dst := fromAddr(quoted.DestinationAddress())
	if _, known := t.m[dst]; !known && len(t.m) >= maxPaths {
		for old := range t.m { // whichever: those who send there find out again
			delete(t.m, old)
			break
		}
	}
	t.m[dst] = pathMTU{int(mtu), p.domain.host.clock.Monotonic()}
	t.some.Store(true)
}

// pathMTU returns what the path to dst carries, 0 if nothing is known.
func (p *port) pathMTU(dst netip.Addr) int {
	t := &p.paths
	if !t.some.Load() {
		return 0
	}
	t.mu.RLock()
	path, ok := t.m[dst]
	t.mu.RUnlock()
	if !ok {
		return 0
	}
	if p.domain.host.clock.Monotonic()-path.since > pathLifetime {
		t.mu.Lock()
		delete(t.m, dst)
		t.some.Store(len(t.m) > 0)
		t.mu.Unlock()
		return 0
	}
	return path.mtu
}

// fit cuts a datagram to the path's MTU and writes the pieces. It reports false if pkt
// can go as it is.
func (p *port) fit(pkt *gstack.PacketBuffer, f *facts) (bool, tcpip.Error) {
	if !f.dst.Is6() || pkt.TransportProtocolNumber == header.TCPProtocolNumber {
		return false, nil
	}
	mtu := p.pathMTU(f.dst)
	if mtu == 0 || pkt.Size() <= mtu {
		return false, nil
	}
	whole := pkt.ToView()
	defer whole.Release()
	rng := p.domain.stk.SecureRNG()
	pieces := fragment6(whole.AsSlice(), mtu, rng.Uint32)
	for _, piece := range pieces {
		q := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: buffer.MakeWithData(piece)})
		q.NetworkProtocolNumber = ipv6.ProtocolNumber
		q.EgressRoute = pkt.EgressRoute
		err := p.forward(q, f)
		q.DecRef()
		if err != nil {
			return true, err
		}
	}
	return len(pieces) > 0, nil
}

// fragment6 cuts an IPv6 packet into fragments of at most mtu octets (RFC 8200 section
// 4.5). One that is a fragment already is cut further. It returns nil for a packet whose
// first header is of a kind that has to stay in one piece.
func fragment6(ip []byte, mtu int, newID func() uint32) [][]byte {
	const fixed, ext = header.IPv6MinimumSize, header.IPv6FragmentHeaderSize
	var next uint8
	var base, last uint16 // the offset in octets, and the M flag of what is cut
	var id uint32
	body := ip[fixed:]
	switch ip[6] {
	case uint8(header.UDPProtocolNumber), uint8(header.ICMPv6ProtocolNumber):
		next, id = ip[6], newID()
	case uint8(header.IPv6FragmentHeader):
		if len(body) < ext {
			return nil
		}
		place := binary.BigEndian.Uint16(body[2:])
		next, base, last, id = body[0], place&^7, place&1, binary.BigEndian.Uint32(body[4:])
		body = body[ext:]
	default:
		return nil
	}
	room := (mtu - fixed - ext) &^ 7
	var pieces [][]byte
	for at := 0; at < len(body); at += room {
		part := body[at:min(at+room, len(body))]
		more := last
		if at+len(part) < len(body) {
			more = 1
		}
		piece := append(make([]byte, 0, fixed+ext+len(part)), ip[:fixed]...)
		binary.BigEndian.PutUint16(piece[4:], uint16(ext+len(part)))
		piece[6] = uint8(header.IPv6FragmentHeader)
		piece = append(piece, next, 0)
		piece = binary.BigEndian.AppendUint16(piece, base+uint16(at)|more)
		piece = binary.BigEndian.AppendUint32(piece, id)
		pieces = append(pieces, append(piece, part...))
	}
	return pieces
}
