package pvdtest

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pvdstack/pvdstack/tun"
)

// An etherSwitch forwards Ethernet frames between its ports by the addresses that it has
// learned, and floods what it has not. Each port is the switch's end of a cable.
type etherSwitch struct {
	mu    sync.RWMutex
	ports []*port
	learn map[mac]*port

	wg sync.WaitGroup

	counts switchCounts
}

// switchCounts says what became of the frames that arrived. Each that was not ignored
// was sent to some ports, and each of these sends was carried or dropped.
type switchCounts struct {
	received  atomic.Uint64
	ignored   atomic.Uint64 // malformed, or back to the port it came from
	carried   atomic.Uint64
	full      atomic.Uint64 // the port was full and stayed so
	refused   atomic.Uint64 // the port's link would not have it: too long, down
	malformed atomic.Uint64 // offload that the port does not take and that makes no sense
}

type port struct {
	link tun.Link
	gone atomic.Bool
}

func newSwitch() *etherSwitch { return &etherSwitch{learn: make(map[mac]*port)} }

// plug makes link a port. The switch owns link from here on. The port goes when the link
// is closed, that of a cable also when its other end is.
func (s *etherSwitch) plug(link tun.Link, cable bool) {
	p := &port{link: link}
	s.mu.Lock()
	s.ports = append(slices.Clip(s.ports), p)
	s.mu.Unlock()
	// Ends when link is closed.
	s.wg.Go(func() {
		s.run(p)
		s.unplug(p)
	})
	// Ends when link is closed, as Link.Events says.
	s.wg.Go(func() {
		for e := range link.Events() {
			if e.Up || !cable {
				continue
			}
			// What was sent before is still to be carried; run is at it.
			for tun.Pending(link) > 0 {
				time.Sleep(settlePause)
			}
			_ = link.Close()
		}
	})
}

func (s *etherSwitch) unplug(p *port) {
	p.gone.Store(true)
	_ = p.link.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	// A new array: forward may be walking the old one.
	s.ports = slices.DeleteFunc(slices.Clone(s.ports), func(q *port) bool { return q == p })
	maps.DeleteFunc(s.learn, func(_ mac, q *port) bool { return q == p })
}

func (s *etherSwitch) run(p *port) {
	buf := make([]byte, tun.MaxFrame)
	bufs := [][]byte{buf}
	for {
		var m tun.Meta
		n, err := p.link.Recv(bufs, &m)
		if err != nil {
			return
		}
		s.counts.received.Add(1)
		s.forward(p, buf[:n], m)
	}
}

// forward sends a frame to the port that has its destination, or to all others.
func (s *etherSwitch) forward(from *port, frame []byte, m tun.Meta) {
	if len(frame) < tun.EthernetHeaderLen {
		s.counts.ignored.Add(1)
		return
	}
	dst, src := mac(frame[:6]), mac(frame[6:12])
	s.mu.RLock()
	known, to, ports := s.learn[src], s.learn[dst], s.ports
	s.mu.RUnlock()
	if known != from && src[0]&1 == 0 {
		s.learned(src, from)
	}
	switch {
	case to == from:
		s.counts.ignored.Add(1)
	case to != nil:
		s.emit(to, frame, m, true)
	default:
		for _, p := range ports {
			if p != from {
				// Nobody waits for the slowest of many: a flood is repeated by its sender.
				s.emit(p, frame, m, false)
			}
		}
	}
}

func (s *etherSwitch) learned(m mac, p *port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.learn[m]; (known || len(s.learn) < maxMACs) && !p.gone.Load() {
		s.learn[m] = p
	}
}

// emit sends a frame to a port, in pieces where its link does not take large ones.
func (s *etherSwitch) emit(p *port, frame []byte, m tun.Meta, wait bool) {
	if takes(p.link.Offload(), m) {
		s.send(p, frame, m, wait)
		return
	}
	// Segment writes to the frame, which may have other ports to go to.
	frame = append([]byte(nil), frame...)
	err := tun.Segment(frame, tun.Ethernet, m, p.link.MTU(), func(f []byte) error {
		s.send(p, f, tun.Meta{}, wait)
		return nil
	})
	if err != nil {
		s.counts.malformed.Add(1)
	}
}

func (s *etherSwitch) send(p *port, frame []byte, m tun.Meta, wait bool) {
	bufs := [][]byte{frame}
	var err error
	if wait {
		err = sendBounded(p.link, bufs, m)
	} else {
		err = p.link.Send(bufs, m)
	}
	switch {
	case err == nil:
		s.counts.carried.Add(1)
	case errors.Is(err, tun.ErrFull):
		s.counts.full.Add(1)
	default:
		s.counts.refused.Add(1)
	}
}

// takes reports whether a link with this offload takes a frame with m as it is.
func takes(o tun.Offload, m tun.Meta) bool {
	switch m.GSO &^ gsoECN {
	case tun.GSOTCP4:
		return o&tun.OffloadTCP4 != 0
	case tun.GSOTCP6:
		return o&tun.OffloadTCP6 != 0
	case tun.GSOUDP:
		return o&tun.OffloadUDP != 0
	case tun.GSONone:
	}
	return m.Flags&tun.NeedsCsum == 0 || o&(tun.OffloadCsum|tun.OffloadTCP4|tun.OffloadTCP6) != 0
}

// sendBounded sends a frame and waits a moment where the link is full.
func sendBounded(link tun.Link, bufs [][]byte, m tun.Meta) error {
	err := link.Send(bufs, m)
	if !errors.Is(err, tun.ErrFull) || !link.WaitSend(sendWait, nil) {
		return err
	}
	return link.Send(bufs, m)
}

// close ends all ports and waits for their goroutines.
func (s *etherSwitch) close() {
	s.mu.RLock()
	ports := s.ports
	s.mu.RUnlock()
	for _, p := range ports {
		_ = p.link.Close()
	}
	s.wg.Wait()
}

// pending returns how many frames wait to be forwarded.
func (s *etherSwitch) pending() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	for _, p := range s.ports {
		n += tun.Pending(p.link)
	}
	return n
}
