package tun

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// An Impairment is what befalls frames that go one way. The zero value lets them pass
// untouched.
//
// Frames meet what it says in this order: MTU, Drop, Loss, Rate, Corrupt, Delay with
// Jitter, Reorder, Duplicate. What the draws decide about a frame depends on the seed and
// on the number of frames before it, not on the other fields.
type Impairment struct {
	// Loss, Corrupt, Reorder and Duplicate are the probabilities, from 0 to 1, that a
	// frame vanishes, has one bit of its packet flipped, is held back for ReorderBy so
	// that later ones overtake it, and is delivered twice.
	Loss, Corrupt, Reorder, Duplicate float64

	// ReorderBy is how long Reorder holds a frame back. 0: [DefaultReorderBy].
	ReorderBy time.Duration

	// Delay is how long each frame takes, and Jitter how much longer at most, drawn
	// evenly. Frames keep their order: one that would overtake comes right behind.
	Delay, Jitter time.Duration

	// Rate is the speed of a bottleneck ahead of the delay, in bits a second, link-layer
	// header included. 0: none. Queue is how many frames it holds, the one on its way
	// out included, before it drops those that come. 0: [DefaultQueue].
	Rate  int64
	Queue int

	// MTU is the longest packet that passes, in octets, without the link-layer header;
	// longer ones vanish without a word, as in a tunnel whose ICMP is filtered. 0: any.
	// Link.MTU stays what it is.
	MTU int

	// Drop picks frames that vanish, by predicate: tun.Nth(3, tun.SYN). It sees every
	// frame that has passed MTU, and must not call methods of the link.
	Drop Predicate
}

// isZero reports whether i does nothing.
func (i *Impairment) isZero() bool {
	return i.Loss == 0 && i.Corrupt == 0 && i.Reorder == 0 && i.Duplicate == 0 &&
		i.Delay == 0 && i.Jitter == 0 && i.Rate == 0 && i.MTU == 0 && i.Drop == nil
}

func (i *Impairment) validate() error {
	for _, p := range []struct {
		name string
		v    float64
	}{{"Loss", i.Loss}, {"Corrupt", i.Corrupt}, {"Reorder", i.Reorder}, {"Duplicate", i.Duplicate}} {
		if !(p.v >= 0 && p.v <= 1) { // written so that it catches NaN
			return fmt.Errorf("bad %s: %v is no probability from 0 to 1", p.name, p.v)
		}
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{{"Delay", i.Delay}, {"Jitter", i.Jitter}, {"ReorderBy", i.ReorderBy}} {
		if d.v < 0 || d.v > MaxImpairDelay {
			return fmt.Errorf("bad %s: %v is not from 0 to %v", d.name, d.v, MaxImpairDelay)
		}
	}
	if i.Rate != 0 && i.Rate < MinImpairRate {
		return fmt.Errorf("bad Rate: %d bit/s is less than %d", i.Rate, MinImpairRate)
	}
	if i.Queue < 0 || i.Queue > ImpairMaxFrames {
		return fmt.Errorf("bad Queue: %d is not from 0 to %d", i.Queue, ImpairMaxFrames)
	}
	if i.MTU < 0 {
		return fmt.Errorf("bad MTU: %d is negative", i.MTU)
	}
	return nil
}

// An ImpairConfig sets up [Impair].
type ImpairConfig struct {
	// Out befalls what Send takes, In what Recv returns. For both ways of a pipe, Out
	// on both ends is the cheaper way.
	Out, In Impairment
	// Seed seeds the draws. The same seed and the same frames meet the same fates.
	Seed uint64
	// Clock times delays and rates. The zero Clock is package time's.
	Clock Clock
}

// Impair returns l with what c says befalling its frames. Frames with GSO are split into
// packets and partial checksums completed before anything is drawn, so that loss and
// corruption hit what they would hit on a wire, and the far side receives packets.
//
// While an Impairment is zero, and nothing is left from one that was not, its direction
// goes straight through, offloads and all. In needs a goroutine that reads l; it starts
// with the first In that is not zero, and Close ends it.
//
// Wrap for what is to be seen: capture.Link(impaired) records what the holder of the link
// sends and receives, an Impair of capture.Link(l) what is left of it on the wire:
//
//	capture := tun.NewCapture(file, tun.CaptureConfig{})
//	lossy, err := tun.Impair(capture.Link(link, "wire"), tun.ImpairConfig{
//		Seed: 1,
//		Out:  tun.Impairment{Delay: 25 * time.Millisecond, Loss: 0.02},
//		In:   tun.Impairment{Drop: tun.Nth(3, tun.SYN)},
//	})
//	...
//	err = host.AddLink("lab", capture.Link(lossy, "host"))
func Impair(l Link, c ImpairConfig) (*Impaired, error) {
	if (c.Clock.Now == nil) != (c.Clock.AfterFunc == nil) {
		return nil, errors.New("tun: impair: clock with one of its two functions")
	}
	clock := c.Clock.orSystem()
	i := &Impaired{
		decorated: decorated{l},
		closed:    make(chan struct{}),
		turn:      make(chan struct{}, 1),
	}
	i.out = newImpairPath(l, clock, c.Seed, Out)
	i.out.put = func(frame []byte) error {
		i.one[0] = frame
		err := l.Send(i.one[:], Meta{})
		i.one[0] = nil
		if err == nil {
			i.out.n.Sent++
		}
		return err
	}
	i.in = newImpairReader(newImpairPath(l, clock, c.Seed, In))
	if err := i.Set(c.Out, c.In); err != nil {
		return nil, err
	}
	return i, nil
}

// Impaired is a link that [Impair] has returned.
type Impaired struct {
	decorated
	out *impairPath
	in  *impairReader
	one [1][]byte // for put, under the lock of out

	// turn is held by who is in the inner link's Recv: the caller of Recv, or, once
	// there is one, the pump. A channel, not a Mutex, for bubbles of testing/synctest,
	// where waiting for a Mutex does not count as waiting.
	turn chan struct{}

	mu     sync.Mutex
	pump   chan struct{} // closed when the pump has ended; nil: not started
	ended  bool
	closed chan struct{}
}

// Set changes what befalls frames from now on; those on their way stay as they are, and
// none that comes later overtakes them because of the change. The draws go on from where
// they are. An error says which field is wrong, and nothing is changed.
func (i *Impaired) Set(out, in Impairment) error {
	if err := out.validate(); err != nil {
		return fmt.Errorf("tun: impair %s, out: %w", i.Name(), err)
	}
	if err := in.validate(); err != nil {
		return fmt.Errorf("tun: impair %s, in: %w", i.Name(), err)
	}
	i.out.setTo(out)
	i.in.setTo(in)
	i.mu.Lock()
	defer i.mu.Unlock()
	if !in.isZero() && i.pump == nil && !i.ended {
		i.pump = make(chan struct{})
		i.in.pumped.Store(true)
		go i.runPump()
	}
	return nil
}

// Send implements [Link]. A frame that is dropped is no error. ErrFull comes before the
// frame's fate is drawn: the link inside is full, and has yet to take what was taken
// here before.
func (i *Impaired) Send(bufs [][]byte, m Meta) error {
	if i.out.transparent() {
		err := i.Link.Send(bufs, m)
		i.out.passed(err)
		return err
	}
	if err := checkFrame(frameLen(bufs), m, i.Layer(), i.MTU(), i.Offload()); err != nil {
		return err
	}
	return i.out.offer(bufs, m)
}

// WaitSend implements [Link].
func (i *Impaired) WaitSend(d time.Duration, cancel <-chan struct{}) bool {
	ok := i.Link.WaitSend(d, cancel)
	i.out.poke()
	return ok
}

// Recv implements [Link].
func (i *Impaired) Recv(bufs [][]byte, m *Meta) (int, error) {
	if !i.in.pumped.Load() {
		select {
		case i.turn <- struct{}{}:
		case <-i.closed:
			return 0, closedError("recv", i.Name())
		}
		n, done, err := i.recvThrough(bufs, m)
		<-i.turn
		if done {
			return n, err
		}
	}
	return i.in.recv(bufs, m, i.closed)
}

// recvThrough receives from the link inside. The frame is done unless an In has been set
// in the meantime, which is then for that frame as well.
func (i *Impaired) recvThrough(bufs [][]byte, m *Meta) (n int, done bool, err error) {
	if i.in.pumped.Load() {
		return 0, false, nil
	}
	n, err = i.Link.Recv(bufs, m)
	if err != nil {
		return n, true, err
	}
	if !i.in.pumped.Load() {
		i.in.passed(nil)
		return n, true, nil
	}
	i.admit(appendPrefix(nil, bufs, n), *m)
	return 0, false, nil
}

// runPump reads the link inside into the path until that link ends, as Close makes it.
func (i *Impaired) runPump() {
	defer close(i.pump)
	buf := make([]byte, MaxFrame)
	for {
		select {
		case i.turn <- struct{}{}:
		case <-i.closed:
			return
		}
		var m Meta
		n, err := i.Link.Recv([][]byte{buf}, &m)
		<-i.turn
		if err != nil {
			i.in.end(err)
			return
		}
		i.admit([][]byte{buf[:n]}, m)
	}
}

// admit offers a frame to the path in, and waits while that is full: the one who sends on
// the far side is then told by the link inside.
func (i *Impaired) admit(bufs [][]byte, m Meta) {
	for errors.Is(i.in.offer(bufs, m), ErrFull) {
		select {
		case <-i.in.room:
		case <-i.closed:
			return
		}
	}
}

// Delayed returns how many frames are held until the clock, or a link that is full, lets
// them go.
func (i *Impaired) Delayed() int {
	return i.out.delayed() + i.in.delayed()
}

// Pending returns how many frames wait for Recv, in the meaning of [Pending]; those that
// are held back on purpose do not count.
func (i *Impaired) Pending() int {
	return Pending(i.Link) + i.in.pending()
}

// Losses implements [LossCounter].
func (i *Impaired) Losses() Losses {
	l := i.decorated.Losses()
	l.TooLong += i.in.counters().DropError
	l.Down += i.out.counters().DropClosed
	return l
}

// Counters returns what has befallen frames so far.
func (i *Impaired) Counters() (out, in ImpairCounters) {
	return i.out.counters(), i.in.counters()
}

// Close implements [Link]. Frames that are held are dropped and counted.
func (i *Impaired) Close() error {
	i.mu.Lock()
	if i.ended {
		i.mu.Unlock()
		return nil
	}
	i.ended = true
	pump := i.pump
	close(i.closed)
	i.mu.Unlock()

	i.out.close()
	i.in.close()
	err := i.Link.Close()
	if pump != nil {
		<-pump
	}
	return err
}
