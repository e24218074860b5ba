package tun

import "sync/atomic"

// An impairReader is the path in, with the queue that Recv takes from.
type impairReader struct {
	*impairPath
	pumped  atomic.Bool   // frames come by the path, for good
	arrived chan struct{} // wakes recv
	room    chan struct{} // wakes the pump

	// Under the path's mu.
	ready  []*buffer
	inHand bool  // recv has not been called since it returned a frame
	err    error // why there will be no more
}

func newImpairReader(p *impairPath) *impairReader {
	r := &impairReader{impairPath: p, arrived: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	p.put = func(frame []byte) error {
		if len(r.ready) >= impairReady {
			return ErrFull
		}
		b := newBuffer(len(frame))
		copy(b.b, frame)
		r.ready = append(r.ready, b)
		wake(r.arrived)
		return nil
	}
	return r
}

// wake leaves a token in c for whoever waits, now or next.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// recv is Link.Recv for frames that came by the path.
func (r *impairReader) recv(bufs [][]byte, m *Meta, closed <-chan struct{}) (int, error) {
	for {
		n, ok, err := r.next(bufs)
		if err != nil {
			return 0, err
		}
		if ok {
			*m = Meta{}
			return n, nil
		}
		select {
		case <-r.arrived:
		case <-closed:
			return 0, closedError("recv", r.name)
		}
	}
}

// next copies the next frame that fits into bufs, if there is one.
func (r *impairReader) next(bufs [][]byte) (n int, ok bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inHand = false
	if r.closed {
		return 0, false, closedError("recv", r.name)
	}
	for len(r.ready) > 0 {
		b := r.ready[0]
		r.ready[0] = nil
		r.ready = r.ready[1:]
		wake(r.room)
		if len(r.held) > 0 {
			r.advance()
		}
		n, ok = len(b.b), scatter(bufs, b.b)
		b.free()
		if ok {
			r.n.Sent++
			r.inHand = true
			return n, true, nil
		}
		r.n.DropError++
	}
	if len(r.held) == 0 {
		err = r.err
	}
	return 0, false, err
}

// end says that nothing comes any more.
func (r *impairReader) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	wake(r.arrived)
}

// pending is Pending of what Recv takes from.
func (r *impairReader) pending() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inHand {
		return len(r.ready) + 1
	}
	return len(r.ready)
}

func (r *impairReader) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closeLocked() // before anything else that is held gets ready
	r.n.DropClosed += uint64(len(r.ready))
	for _, b := range r.ready {
		b.free()
	}
	r.ready, r.inHand = nil, false
}
