package tuntest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/tun"
)

// A Pair is two links whose frames go from each to the other.
type Pair struct {
	A, B tun.Link

	// Kernel says that frames pass an operating system on their way: it may add frames
	// of its own, drop where the far end is late instead of pushing back, and set
	// Meta.HdrLen as it sees fit.
	Kernel bool
}

// patience is how long the suite waits for what has to happen.
const patience = 10 * time.Second

// TestLink runs the suite that every tun.Link has to pass. makePair makes a new pair for
// each part; the suite closes it. If the links are stations, they are told the addresses
// that the suite uses.
func TestLink(t *testing.T, makePair func(*testing.T) Pair) {
	for _, part := range []struct {
		name string
		run  func(*testing.T, Pair, *end, *end)
	}{
		{"order", testOrder},
		{"meta", testMeta},
		{"too long", testTooLong},
		{"full", testFull},
		{"close", testClose},
		{"concurrent", testConcurrent},
	} {
		t.Run(part.name, func(t *testing.T) {
			CheckLeaks(t)
			p := makePair(t)
			a := &end{Link: p.A, mac: macA, peerMAC: macB}
			b := &end{Link: p.B, mac: macB, peerMAC: macA}
			a.introduce(t, b)
			b.introduce(t, a)
			t.Cleanup(func() {
				if err := errors.Join(p.A.Close(), p.B.Close()); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			part.run(t, p, a, b)
		})
	}
}

// introduce settles e's hardware address and tells it to the peer and to the link.
func (e *end) introduce(t *testing.T, peer *end) {
	t.Helper()
	if e.Layer() != tun.Ethernet {
		return
	}
	if own := e.HardwareAddr(); own != nil {
		e.mac = own
		peer.peerMAC = own
	}
	if s, ok := e.Link.(tun.Station); ok {
		if err := s.AddMAC(e.mac); err != nil {
			t.Fatalf("AddMAC on %s: %v", e.Name(), err)
		}
	}
}

// send sends a frame in pieces, waiting for room if there is none.
func (e *end) send(frame []byte, m tun.Meta) error {
	third := len(frame) / 3
	bufs := [][]byte{frame[:third], frame[third : 2*third], nil, frame[2*third:]}
	deadline := time.Now().Add(patience)
	for {
		err := e.Send(bufs, m)
		if !errors.Is(err, tun.ErrFull) || time.Now().After(deadline) {
			return err
		}
		e.WaitSend(patience, nil)
	}
}

func (e *end) mustSend(t *testing.T, frame []byte, m tun.Meta) {
	t.Helper()
	if err := e.send(frame, m); err != nil {
		t.Fatalf("send on %s: %v", e.Name(), err)
	}
}

// sendAll sends frames one after the other in the background.
func (e *end) sendAll(frames [][]byte) <-chan error {
	done := make(chan error, 1)
	go func() {
		for _, f := range frames {
			if err := e.send(f, tun.Meta{}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	return done
}

// A receiver takes the suite's frames out of a link, each into the same memory.
type receiver struct {
	e    *end
	bufs [][]byte
	buf  []byte
}

func (e *end) receiver() *receiver {
	return &receiver{e: e, buf: make([]byte, tun.MaxFrame), bufs: [][]byte{
		make([]byte, 9), nil, make([]byte, 200), make([]byte, tun.MaxFrame),
	}}
}

// next returns the next frame of the suite, and its Meta.
func (r *receiver) next() ([]byte, tun.Meta, error) {
	// Recv has no deadline: a link that loses a frame is closed, so that Recv returns.
	watchdog := time.AfterFunc(patience, func() { r.e.Close() }) // the test fails anyway
	defer watchdog.Stop()
	for {
		m := tun.Meta{HdrLen: 0xdead, GSO: tun.GSOUDP} // has to be overwritten
		n, err := r.e.Recv(r.bufs, &m)
		if err != nil {
			return nil, m, err
		}
		got := r.buf[:0]
		for _, b := range r.bufs {
			got = append(got, b[:min(len(b), n-len(got))]...)
		}
		if len(got) != n {
			return nil, m, fmt.Errorf("recv says %d octets, its buffers hold %d", n, len(got))
		}
		if _, _, ours := parse(got); ours {
			return got, m, nil
		}
	}
}

// expect receives a frame and compares it.
func (r *receiver) expect(t *testing.T, want []byte) tun.Meta {
	t.Helper()
	got, m, err := r.next()
	if err != nil {
		t.Fatalf("recv on %s: %v", r.e.Name(), err)
	}
	if !bytes.Equal(got, want) {
		_, seq, _ := parse(got)
		_, wantSeq, _ := parse(want)
		t.Fatalf("recv on %s: frame %d of %d octets, want frame %d of %d", r.e.Name(), seq, len(got), wantSeq, len(want))
	}
	return m
}

// headerLen is the length of a link's own header.
func (e *end) headerLen() int {
	if e.Layer() == tun.Ethernet {
		return tun.EthernetHeaderLen
	}
	return 0
}

func testOrder(t *testing.T, _ Pair, a, b *end) {
	if a.Layer() != b.Layer() || a.MTU() != b.MTU() || a.Name() == "" {
		t.Errorf("ends differ: %v %d %q and %v %d %q", a.Layer(), a.MTU(), a.Name(), b.Layer(), b.MTU(), b.Name())
	}
	for _, dir := range [][2]*end{{a, b}, {b, a}} {
		from, r := dir[0], dir[1].receiver()
		for seq, length := range []int{0, 60, 61, 200, 209, 210, 1000, from.MTU() + from.headerLen()} {
			f := from.frame(1, uint32(seq), length)
			from.mustSend(t, f, tun.Meta{})
			if m := r.expect(t, f); m != (tun.Meta{}) && m != (tun.Meta{Flags: tun.DataValid}) {
				t.Errorf("a frame without Meta arrived with %+v", m)
			}
		}
		// Several in a row stay in order.
		row := make([][]byte, 16)
		for seq := range row {
			row[seq] = from.frame(2, uint32(seq), 100)
		}
		sent := from.sendAll(row)
		for _, f := range row {
			r.expect(t, f)
		}
		if err := within(t, sent, "the end of sending"); err != nil {
			t.Errorf("send on %s: %v", from.Name(), err)
		}
	}
}

func testMeta(t *testing.T, p Pair, a, b *end) {
	f, m := a.gsoFrame(1, 60000, 1400)
	if a.Offload()&tun.OffloadTCP4 == 0 {
		if err := a.send(f, m); err == nil {
			t.Error("a link without offload took a GSO frame")
		}
		return
	}
	a.mustSend(t, f, m)
	got := b.receiver().expect(t, f)
	if p.Kernel {
		got.HdrLen = m.HdrLen
	}
	if got != m {
		t.Errorf("sent Meta %+v, received %+v", m, got)
	}
	m.GSO = 99
	if err := a.send(f, m); err == nil {
		t.Error("Send took a frame with GSO type 99")
	}
}

func testTooLong(t *testing.T, _ Pair, a, b *end) {
	if a.MTU() < tun.MaxMTU {
		f := a.frame(1, 1, a.MTU()+a.headerLen()+1)
		if err := a.send(f, tun.Meta{}); !errors.Is(err, tun.ErrTooLong) {
			t.Errorf("send of a frame longer than the MTU: %v, want %v", err, tun.ErrTooLong)
		}
	}
	if err := a.Send(nil, tun.Meta{}); err == nil {
		t.Error("send of nothing gave no error")
	}
	// Of three frames the middle one does not fit.
	sent := a.sendAll([][]byte{a.frame(1, 2, 100), a.frame(1, 3, 600), a.frame(1, 4, 100)})
	r := b.receiver()
	r.bufs = [][]byte{make([]byte, 100), make([]byte, 499)}
	r.expect(t, a.frame(1, 2, 100))
	r.expect(t, a.frame(1, 4, 100))
	if err := within(t, sent, "the end of sending"); err != nil {
		t.Errorf("send: %v", err)
	}
	if c, ok := b.Link.(tun.LossCounter); ok && c.Losses().TooLong == 0 {
		t.Errorf("a frame did not fit, but Losses are %+v", c.Losses())
	}
}

// fill sends numbered frames until the link takes no more, and returns how many.
func (e *end) fill(t *testing.T) uint32 {
	t.Helper()
	const most = 1e6 // whatever the queue is, so many are too many
	refused := false
	for sent := uint32(0); sent < most; {
		err := e.Send([][]byte{e.frame(1, sent, 100)}, tun.Meta{})
		switch {
		case err == nil:
			sent++
			refused = false
		case !errors.Is(err, tun.ErrFull):
			t.Fatalf("send: %v, want %v in the end", err, tun.ErrFull)
		case refused:
			return sent
		default:
			// Something behind the link may still be moving.
			refused = true
			time.Sleep(20 * time.Millisecond)
		}
	}
	t.Fatalf("the link took %v frames that nobody read", most)
	return 0
}

func testFull(t *testing.T, p Pair, a, b *end) {
	if p.Kernel {
		return // never full: the kernel drops
	}
	sent := a.fill(t)
	if a.WaitSend(time.Millisecond, nil) {
		t.Error("WaitSend says that a full link has room")
	}
	cancel := make(chan struct{})
	woken := make(chan bool, 1)
	go func() { woken <- a.WaitSend(time.Hour, cancel) }()
	close(cancel)
	if within(t, woken, "WaitSend after cancel") {
		t.Error("a cancelled WaitSend says that there is room")
	}

	// A reader makes room, and no frame is lost or overtaken.
	go func() { woken <- a.WaitSend(time.Hour, nil) }()
	r := b.receiver()
	for seq := range sent {
		r.expect(t, a.frame(1, seq, 100))
	}
	if !within(t, woken, "WaitSend after reading") {
		t.Error("WaitSend says that an empty link has no room")
	}
	a.mustSend(t, a.frame(1, sent, 100), tun.Meta{})
	r.expect(t, a.frame(1, sent, 100))
}

func testClose(t *testing.T, p Pair, a, b *end) {
	if !p.Kernel {
		a.fill(t)
	}
	received, waited := make(chan error, 1), make(chan bool, 1)
	go func() {
		var m tun.Meta
		for {
			if _, err := a.Recv([][]byte{make([]byte, tun.MaxFrame)}, &m); err != nil {
				received <- err
				return
			}
		}
	}()
	go func() { waited <- p.Kernel || !a.WaitSend(time.Hour, nil) }()
	time.Sleep(20 * time.Millisecond) // most likely both wait now; either way both have to end
	if err := a.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := within(t, received, "Recv after Close"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("recv after close: %v, want %v", err, net.ErrClosed)
	}
	if !within(t, waited, "WaitSend after Close") {
		t.Error("WaitSend says that a closed link has room")
	}
	if err := a.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	if err := a.Send([][]byte{a.frame(1, 0, 100)}, tun.Meta{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("send after close: %v, want %v", err, net.ErrClosed)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range a.Events() { // to its end
		}
	}()
	within(t, ended, "the end of Events")
	if err := b.Close(); err != nil {
		t.Errorf("close of the other end: %v", err)
	}
}

func testConcurrent(t *testing.T, _ Pair, a, b *end) {
	const senders, frames = 4, 250
	var all sync.WaitGroup
	for _, dir := range [][2]*end{{a, b}, {b, a}} {
		from, to := dir[0], dir[1]
		for s := range uint32(senders) {
			all.Go(func() {
				for seq := range uint32(frames) {
					if err := from.send(from.frame(s, seq, 100+int(seq)), tun.Meta{}); err != nil {
						t.Errorf("send on %s: %v", from.Name(), err)
						return
					}
				}
			})
		}
		all.Go(func() {
			r := to.receiver()
			next := make([]uint32, senders)
			for range senders * frames {
				got, _, err := r.next()
				if err != nil {
					t.Errorf("recv on %s: %v; so far %v of %d", to.Name(), err, next, frames)
					return
				}
				s, seq, _ := parse(got)
				if s >= senders || seq != next[s] || !slices.Equal(got, from.frame(s, seq, 100+int(seq))) {
					t.Errorf("recv on %s: frame %d of sender %d, want %d whole", to.Name(), seq, s, next)
					return
				}
				next[s]++
			}
		})
	}
	all.Wait()
}

// within returns what arrives on c, and fails the test if nothing does.
func within[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s: nothing within %v", what, patience)
		panic("not reached")
	}
}
