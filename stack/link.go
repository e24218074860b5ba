package stack

import (
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/tun"
)

// A hostLink is a link at work: its reader, and the table by which the reader tells
// whose a frame is.
type hostLink struct {
	name string
	host *Host
	link tun.Link
	log  *slog.Logger

	table   atomic.Pointer[linkTable]
	learned learnedMACs
	up      atomic.Bool
	agent   atomic.Pointer[agent] // nil: nothing is learned here
	met     time.Duration         // when meetStranger last did something, by the host's clock; the reader only
	stats   counters

	// reading is held shared while the reader deals with a frame. Whoever has replaced
	// the table takes it once to know that no frame judged by the old one is under way.
	reading sync.RWMutex

	plans map[*port]*portPlan // what the table is made of; the registry's writer only

	done sync.WaitGroup // the reader and the watcher, which end when the link is closed, and meetRouters
}

func newHostLink(h *Host, name string, l tun.Link) *hostLink {
	hl := &hostLink{name: name, host: h, link: l, log: h.log.With("link", name), plans: make(map[*port]*portPlan)}
	hl.up.Store(true)
	t, _ := newLinkTable(l.Layer(), nil, &hl.learned) // without ports nothing conflicts
	hl.install(t)
	return hl
}

func (l *hostLink) start() {
	l.done.Add(2)
	go l.read()
	go l.watch()
}

// quiesce returns when no frame that was judged by an earlier table is under way.
func (l *hostLink) quiesce() {
	l.reading.Lock()
	l.reading.Unlock() //nolint:staticcheck // having had the lock is all that is wanted
}

// watch follows the link's state. It ends when the link is closed.
func (l *hostLink) watch() {
	defer l.done.Done()
	for e := range l.link.Events() {
		if l.up.Swap(e.Up) != e.Up {
			l.log.Info("link changed", "op", "link", "up", e.Up, "err", e.Err)
		}
		l.host.linkChanged(l)
	}
}

// read gives every frame that arrives to the PvD it is for. It ends when the link is
// closed.
func (l *hostLink) read() {
	defer l.done.Done()
	r := receiver{link: l, body: buffer.NewViewSize(bodyLen)}
	defer func() { r.body.Release() }()
	for {
		r.bufs = [2][]byte{r.head[:], r.body.AsSlice()}
		n, err := l.link.Recv(r.bufs[:], &r.meta)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				l.log.Error("link has failed", "op", "receive", "err", err)
				l.up.Store(false)
				l.host.linkChanged(l)
			}
			return
		}
		l.reading.RLock()
		r.receive(n)
		l.reading.RUnlock()
	}
}

// A receiver is a link's reader with its memory. A frame's beginning goes to head, where
// it is looked at, and the rest to body, which a large frame takes along.
type receiver struct {
	link *hostLink
	meta tun.Meta
	head [headLen]byte
	body *buffer.View
	bufs [2][]byte
}

// bodyLen is the largest size that gVisor keeps a pool for. With head before it, it holds
// tun.MaxFrame.
const bodyLen = 65536

// receive deals with a frame of n octets.
func (r *receiver) receive(n int) {
	if r.meta.GSO == tun.GSOUDP {
		r.receiveSegments(n)
		return
	}
	head := r.head[:min(n, len(r.head))]
	if a := r.link.agent.Load(); a != nil && a.tap(r, head, n) {
		return
	}
	v := r.link.table.Load().classifyNext(head)
	trusted := false
	if v.why == delivered || v.why == deliveredCopies {
		if trusted = r.vouched(head[v.ip:], v.proto); trusted && !validIPv4Header(head[v.ip:], v.proto) {
			v = verdict{why: dropChecksum}
		}
	}
	r.link.stats.add(v.why)
	switch v.why {
	case dropUnknownMAC:
		r.link.meetStranger()
	case delivered:
		r.record(v.to, n)
		if v.asked != nil {
			v.asked.answer(head, v)
		}
		p := v.to
		if v.into != nil {
			p = v.into
		}
		if isUnreachable6(head[v.ip:], v.proto) {
			p.unreachable6(r.copied(n, v))
			return
		}
		if isTooBig6(head[v.ip:], v.proto) {
			told := r.copied(n, v)
			p.narrowPath(told)
			told.DecRef()
		}
		p.deliver(v.proto, r.packet(n, v), trusted)
	case deliveredCopies:
		if v.asked != nil {
			v.asked.answer(head, v)
		}
		for _, p := range v.group {
			r.record(p, n)
			p.deliver(v.proto, r.copied(n, v), trusted)
		}
	default: // counted, and that is all
	}
}

// receiveSegments takes a train of UDP datagrams apart, which gVisor does not.
func (r *receiver) receiveSegments(n int) {
	train := append(append([]byte(nil), r.head[:min(n, len(r.head))]...), r.body.AsSlice()[:max(0, n-len(r.head))]...)
	m := r.meta
	r.meta = tun.Meta{}
	err := tun.Segment(train, r.link.link.Layer(), m, r.link.link.MTU(), func(frame []byte) error {
		copy(r.body.AsSlice(), frame[copy(r.head[:], frame):])
		r.receive(len(frame))
		return nil
	})
	if err != nil {
		r.link.stats.add(dropMalformed)
	}
}

// vouched reports whether the link vouches for the packet's transport checksum: it has
// verified it, or is the place that would have to fill it in. A fragment's can not be
// verified by itself.
func (r *receiver) vouched(ip []byte, proto tcpip.NetworkProtocolNumber) bool {
	if r.meta.Flags&(tun.NeedsCsum|tun.DataValid) == 0 {
		return false
	}
	switch proto {
	case ipv4.ProtocolNumber:
		h := header.IPv4(ip)
		return h.FragmentOffset() == 0 && !h.More()
	case ipv6.ProtocolNumber:
		return header.IPv6(ip).NextHeader() != uint8(header.IPv6FragmentHeader)
	}
	return false
}

// validIPv4Header verifies what gVisor skips for a packet whose checksums are vouched for.
func validIPv4Header(ip []byte, proto tcpip.NetworkProtocolNumber) bool {
	if proto != ipv4.ProtocolNumber {
		return true
	}
	h := header.IPv4(ip)
	n := int(h.HeaderLength())
	return n >= header.IPv4MinimumSize && n <= len(h) && h.IsChecksumValid()
}

// packet makes the packet buffer for a frame that one port gets. A large frame takes the
// reader's body along, and the reader gets a new one.
func (r *receiver) packet(n int, v verdict) *gstack.PacketBuffer {
	if n <= copyLimit {
		return r.copied(n, v)
	}
	b := buffer.MakeWithData(r.head[v.ip:])
	r.body.CapLength(n - len(r.head))
	if err := b.Append(r.body); err != nil {
		panic(err) // only a view that is shared is refused, and nobody else has seen ours
	}
	r.body = buffer.NewViewSize(bodyLen)
	return newInbound(b, v)
}

// copied makes a packet buffer with a copy of the frame.
func (r *receiver) copied(n int, v verdict) *gstack.PacketBuffer {
	view := buffer.NewViewSize(n - v.ip)
	to := view.AsSlice()
	if k := copy(to, r.head[v.ip:min(n, len(r.head))]); n > len(r.head) {
		copy(to[k:], r.body.AsSlice()[:n-len(r.head)])
	}
	return newInbound(buffer.MakeWithView(view), v)
}

func newInbound(b buffer.Buffer, v verdict) *gstack.PacketBuffer {
	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: b})
	pkt.PktType = v.cast
	return pkt
}

// record writes the frame to the capture, if there is one.
func (r *receiver) record(p *port, n int) {
	if r.link.host.capture == nil {
		return
	}
	bufs := [][]byte{r.head[:min(n, len(r.head))]}
	if n > len(r.head) {
		bufs = append(bufs, r.body.AsSlice()[:n-len(r.head)])
	}
	p.capture(tun.In, bufs, r.meta)
}
