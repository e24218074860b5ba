package tun_test

import (
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

func impair(t *testing.T, l tun.Link, c tun.ImpairConfig) *tun.Impaired {
	t.Helper()
	i, err := tun.Impair(l, c)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// A manualClock goes when it is told to.
type manualClock struct {
	mu     sync.Mutex
	now    time.Duration
	timers manualTimers
}

type manualTimer struct {
	at   time.Duration
	f    func()
	dead bool
}

type manualTimers []*manualTimer

func (h manualTimers) Len() int           { return len(h) }
func (h manualTimers) Less(i, j int) bool { return h[i].at < h[j].at }
func (h manualTimers) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *manualTimers) Push(x any)        { *h = append(*h, x.(*manualTimer)) }
func (h *manualTimers) Pop() any {
	t := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return t
}

func (c *manualClock) clock() tun.Clock {
	return tun.Clock{
		Now: func() time.Duration {
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.now
		},
		AfterFunc: func(d time.Duration, f func()) func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			timer := &manualTimer{at: c.now + d, f: f}
			heap.Push(&c.timers, timer)
			return func() bool {
				c.mu.Lock()
				defer c.mu.Unlock()
				was := !timer.dead
				timer.dead = true
				return was
			}
		},
	}
}

// armed returns how many timers wait.
func (c *manualClock) armed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, t := range c.timers {
		if !t.dead {
			n++
		}
	}
	return n
}

// advance lets d go by.
func (c *manualClock) advance(d time.Duration) {
	c.mu.Lock()
	end := c.now + d
	for len(c.timers) > 0 && c.timers[0].at <= end {
		t := heap.Pop(&c.timers).(*manualTimer)
		if t.dead {
			continue
		}
		t.dead = true
		c.now = t.at
		c.mu.Unlock()
		t.f()
		c.mu.Lock()
	}
	c.now = end
	c.mu.Unlock()
}

// packetNumber returns frame number n, of length octets, at least 44.
func packetNumber(n, length int) []byte {
	f, _ := testPacket{layer: tun.IP, payload: length - 40}.frame()
	binary.BigEndian.PutUint32(f[len(f)-4:], uint32(n))
	return f
}

// A lossy is the impaired end of a pipe on a manual clock, and what arrives.
type lossy struct {
	*tun.Impaired
	t     *testing.T
	clock *manualClock
	far   tun.Link
	buf   []byte
	taken uint64 // of what has arrived
}

func newLossy(t *testing.T, c tun.ImpairConfig) *lossy {
	t.Helper()
	a, b := tun.Pipe(tun.PipeConfig{Layer: tun.IP, MTU: 9000, Queue: tun.MaxPipeQueue})
	l := &lossy{t: t, clock: new(manualClock), far: b, buf: make([]byte, tun.MaxFrame)}
	c.Clock = l.clock.clock()
	l.Impaired = impair(t, a, c)
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	})
	return l
}

func (l *lossy) send(n int) {
	l.t.Helper()
	if err := l.Send([][]byte{packetNumber(n, 64)}, tun.Meta{}); err != nil {
		l.t.Fatal(err)
	}
}

// arrived returns the numbers of the frames that have arrived so far.
func (l *lossy) arrived() []int {
	l.t.Helper()
	var out []int
	var m tun.Meta
	for sent, _ := l.Counters(); l.taken < sent.Sent; l.taken++ {
		n, err := l.far.Recv([][]byte{l.buf}, &m)
		if err != nil {
			l.t.Fatal(err)
		}
		out = append(out, int(binary.BigEndian.Uint32(l.buf[n-4:])))
	}
	return out
}

// checkConserved asserts the law of conservation.
func checkConserved(t *testing.T, c tun.ImpairCounters, held int) {
	t.Helper()
	if c.Frames+c.Duplicated != c.Sent+c.Dropped()+uint64(held) {
		t.Errorf("with %d held not conserved: %+v", held, c)
	}
}

func sequence(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func TestImpairLoss(t *testing.T) {
	l := newLossy(t, tun.ImpairConfig{Seed: 1, Out: tun.Impairment{Loss: 0.25}})
	for i := range 4000 {
		l.send(i)
	}
	out, in := l.Counters()
	checkConserved(t, out, 0)
	if got := len(l.arrived()); uint64(got) != out.Sent || got < 2850 || got > 3150 {
		t.Errorf("%d of 4000 frames arrived at 25 %% loss, counted %d", got, out.Sent)
	}
	if in != (tun.ImpairCounters{}) || l.clock.armed() != 0 {
		t.Errorf("in %+v, %d timers", in, l.clock.armed())
	}
	for loss, want := range map[float64]int{0: 100, 1: 0} {
		l := newLossy(t, tun.ImpairConfig{Out: tun.Impairment{Loss: loss, MTU: 9000}})
		for i := range 100 {
			l.send(i)
		}
		if got := len(l.arrived()); got != want {
			t.Errorf("loss %v: %d frames arrived, want %d", loss, got, want)
		}
	}
}

func TestImpairDelayKeepsOrder(t *testing.T) {
	l := newLossy(t, tun.ImpairConfig{Out: tun.Impairment{Delay: 25 * time.Millisecond, Jitter: 10 * time.Millisecond}})
	for i := range 100 {
		l.send(i)
		l.clock.advance(100 * time.Microsecond)
	}
	if l.clock.armed() != 1 {
		t.Errorf("%d timers, want one", l.clock.armed())
	}
	l.clock.advance(14 * time.Millisecond)
	if got := l.arrived(); len(got) != 0 {
		t.Errorf("%v arrived after 24 ms", got)
	}
	if l.Delayed() != 100 || tun.Pending(l) != 0 {
		t.Errorf("%d delayed, %d pending, want 100 and 0", l.Delayed(), tun.Pending(l))
	}
	l.clock.advance(2 * time.Millisecond)
	some := len(l.arrived())
	if some == 100 {
		t.Error("there is no jitter")
	}
	l.clock.advance(20 * time.Millisecond)
	out, _ := l.Counters()
	checkConserved(t, out, 0)
	if got := l.arrived(); len(got) != 100-some || !slices.IsSorted(got) {
		t.Errorf("the rest that arrived: %v", got)
	}
	if l.Delayed() != 0 || l.clock.armed() != 0 {
		t.Errorf("%d delayed, %d timers, want none", l.Delayed(), l.clock.armed())
	}
}

func TestImpairDelayIsExact(t *testing.T) {
	l := newLossy(t, tun.ImpairConfig{Out: tun.Impairment{Delay: time.Second}})
	l.send(0)
	l.clock.advance(time.Second - 1)
	if got := l.arrived(); len(got) != 0 {
		t.Error("too early")
	}
	l.clock.advance(1)
	if got := l.arrived(); len(got) != 1 {
		t.Error("too late")
	}
}

func TestImpairReorder(t *testing.T) {
	l := newLossy(t, tun.ImpairConfig{Seed: 3, Out: tun.Impairment{Delay: 10 * time.Millisecond, Reorder: 0.1, ReorderBy: 2 * time.Millisecond}})
	for i := range 1000 {
		l.send(i)
		l.clock.advance(time.Millisecond)
	}
	l.clock.advance(20 * time.Millisecond)
	out, _ := l.Counters()
	got := l.arrived()
	late := 0
	for i, n := range got {
		if i > 0 && n < got[i-1] {
			late++
		}
	}
	if len(got) != 1000 || out.Reordered < 60 || out.Reordered > 140 || late < 50 {
		t.Errorf("%d arrived, %d counted as reordered, %d late", len(got), out.Reordered, late)
	}
	// Without a delay too, by the default.
	l = newLossy(t, tun.ImpairConfig{Out: tun.Impairment{Reorder: 1}})
	l.send(0)
	if err := l.Set(tun.Impairment{}, tun.Impairment{}); err != nil {
		t.Fatal(err)
	}
	l.send(1)
	l.clock.advance(tun.DefaultReorderBy)
	if got := l.arrived(); !slices.Equal(got, []int{1, 0}) {
		t.Errorf("arrived %v, want 1 and then 0", got)
	}
}

func TestImpairDuplicate(t *testing.T) {
	l := newLossy(t, tun.ImpairConfig{Out: tun.Impairment{Duplicate: 1, Delay: time.Millisecond}})
	l.send(7)
	l.send(8)
	l.clock.advance(time.Millisecond)
	out, _ := l.Counters()
	checkConserved(t, out, 0)
	if got := l.arrived(); !slices.Equal(got, []int{7, 7, 8, 8}) || out.Duplicated != 2 {
		t.Errorf("arrived %v, %d duplicates", got, out.Duplicated)
	}
}

func TestImpairCorrupt(t *testing.T) {
	for _, layer := range []tun.Layer{tun.IP, tun.Ethernet} {
		a, b := tun.Pipe(tun.PipeConfig{Layer: layer})
		l := impair(t, a, tun.ImpairConfig{Out: tun.Impairment{Corrupt: 1}})
		f, m := testPacket{layer: layer, payload: 100}.frame()
		want, wm := testPacket{layer: layer, payload: 100}.frame()
		if err := tun.Complete(want, layer, &wm); err != nil {
			t.Fatal(err)
		}
		places := map[int]bool{}
		for range 200 {
			if err := l.Send([][]byte{f}, m); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 200)
			var gm tun.Meta
			n, err := b.Recv([][]byte{got}, &gm)
			if err != nil || n != len(want) || gm != (tun.Meta{}) {
				t.Fatal(n, err, gm)
			}
			flipped := 0
			for i := range n {
				for bit := range 8 {
					if (got[i]^want[i])>>bit&1 != 0 {
						flipped++
						places[i] = true
					}
				}
			}
			if flipped != 1 {
				t.Fatalf("%d bits flipped, want 1 of the completed frame", flipped)
			}
		}
		for i := range places {
			if layer == tun.Ethernet && i < tun.EthernetHeaderLen {
				t.Errorf("octet %d of the Ethernet header was hit", i)
			}
		}
		if out, _ := l.Counters(); len(places) < 50 || out.Corrupted != 200 {
			t.Errorf("%d places hit, %d counted", len(places), out.Corrupted)
		}
		// A frame without packet has nothing to corrupt.
		if layer == tun.Ethernet {
			if err := l.Send([][]byte{f[:14]}, tun.Meta{}); err != nil {
				t.Error(err)
			}
		}
		if err := errors.Join(l.Close(), b.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestImpairRate(t *testing.T) {
	// Frames of 100 octets at 80 kbit/s take 10 ms each; the queue holds 5.
	l := newLossy(t, tun.ImpairConfig{Out: tun.Impairment{Rate: 80_000, Queue: 5, Delay: time.Second}})
	for i := range 8 {
		if err := l.Send([][]byte{packetNumber(i, 100)}, tun.Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := l.Counters()
	checkConserved(t, out, 5)
	if out.DropQueue != 3 {
		t.Errorf("%d frames dropped, want 3", out.DropQueue)
	}
	// One has left the queue: there is room for one, also while all are on the way.
	l.clock.advance(10 * time.Millisecond)
	for i := range 2 {
		if err := l.Send([][]byte{packetNumber(10+i, 100)}, tun.Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	l.clock.advance(time.Second)
	if got := l.arrived(); !slices.Equal(got, []int{0}) {
		t.Errorf("arrived after 1.01 s: %v", got)
	}
	l.clock.advance(39 * time.Millisecond)
	if got := l.arrived(); !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("arrived after 1.049 s: %v", got)
	}
	l.clock.advance(11 * time.Millisecond)
	if got := l.arrived(); !slices.Equal(got, []int{4, 10}) {
		t.Errorf("arrived after 1.06 s: %v", got)
	}
}

func TestImpairMTU(t *testing.T) {
	l := newLossy(t, tun.ImpairConfig{Out: tun.Impairment{MTU: 100}})
	for i, length := range []int{100, 101} {
		if err := l.Send([][]byte{packetNumber(i, length)}, tun.Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := l.Counters()
	if got := l.arrived(); !slices.Equal(got, []int{0}) || out.DropMTU != 1 || l.MTU() != 9000 {
		t.Errorf("arrived %v, %d dropped, MTU %d", got, out.DropMTU, l.MTU())
	}
}

func TestImpairDrop(t *testing.T) {
	l := newLossy(t, tun.ImpairConfig{Out: tun.Impairment{Drop: tun.Nth(3, tun.SYN)}})
	for range 5 {
		f, m := testPacket{layer: tun.IP, flags: flagSYN}.frame()
		if err := l.Send([][]byte{f}, m); err != nil {
			t.Fatal(err)
		}
	}
	out, _ := l.Counters()
	checkConserved(t, out, 0)
	if out.DropPredicate != 1 || tun.Pending(l.far) != 4 {
		t.Errorf("%d dropped, %d arrived", out.DropPredicate, tun.Pending(l.far))
	}
}

// A 64 KB frame is drawn for packet by packet.
func TestImpairSplits(t *testing.T) {
	seen := 0
	l := newLossy(t, tun.ImpairConfig{Seed: 1, Out: tun.Impairment{Loss: 0.5, Drop: func(f tun.Frame) bool {
		seen++
		checkPacket(t, f.Bytes(), f.Layer())
		return false
	}}})
	f, m := testPacket{layer: tun.IP, payload: 64000}.frame()
	m.GSO, m.GSOSize = tun.GSOTCP4, 1000
	if err := l.Send([][]byte{f[:100], f[100:]}, m); err != nil {
		t.Fatal(err)
	}
	out, _ := l.Counters()
	checkConserved(t, out, 0)
	if seen != 64 || out.Frames != 64 || out.DropLoss < 15 || out.DropLoss > 49 {
		t.Errorf("%d drawn, %+v", seen, out)
	}
	// What can not be split is refused and counted.
	m.GSOSize = 0
	if err := l.Send([][]byte{f}, m); err == nil {
		t.Error("a malformed frame was taken")
	}
	out, _ = l.Counters()
	checkConserved(t, out, 0)
	if out.DropMalformed != 1 {
		t.Errorf("%+v", out)
	}
}

// fates runs the same frames through an Impairment.
func fates(t *testing.T, seed uint64, i tun.Impairment) []int {
	t.Helper()
	l := newLossy(t, tun.ImpairConfig{Seed: seed, Out: i})
	for i := range 500 {
		l.send(i)
		l.clock.advance(time.Millisecond)
	}
	l.clock.advance(time.Minute)
	out, _ := l.Counters()
	checkConserved(t, out, 0)
	return l.arrived()
}

func TestImpairDeterministic(t *testing.T) {
	i := tun.Impairment{Loss: 0.1, Duplicate: 0.1, Reorder: 0.1, Delay: time.Millisecond, Jitter: 5 * time.Millisecond}
	first := fates(t, 7, i)
	if again := fates(t, 7, i); !slices.Equal(first, again) {
		t.Error("the same seed gave other fates")
	}
	if other := fates(t, 8, i); slices.Equal(first, other) {
		t.Error("another seed gave the same fates")
	}
	// What one field decides does not hang on the others.
	lost := func(i tun.Impairment) []int {
		got := fates(t, 7, i)
		slices.Sort(got)
		return slices.Compact(got)
	}
	if !slices.Equal(lost(i), lost(tun.Impairment{Loss: 0.1})) {
		t.Error("with duplicates and delays other frames are lost")
	}
}

func TestImpairSet(t *testing.T) {
	l := newLossy(t, tun.ImpairConfig{})
	l.send(0)
	set := func(i tun.Impairment) {
		t.Helper()
		if err := l.Set(i, tun.Impairment{}); err != nil {
			t.Fatal(err)
		}
	}
	set(tun.Impairment{Delay: time.Second})
	l.send(1)
	set(tun.Impairment{})
	l.send(2) // must not overtake
	if got := l.arrived(); !slices.Equal(got, []int{0}) {
		t.Errorf("arrived at once: %v", got)
	}
	l.clock.advance(time.Second)
	l.send(3)
	if got := l.arrived(); !slices.Equal(got, []int{1, 2, 3}) {
		t.Errorf("arrived after the delay: %v", got)
	}
	set(tun.Impairment{Loss: 1})
	l.send(4)
	if err := l.Set(tun.Impairment{}, tun.Impairment{Loss: 2}); err == nil {
		t.Error("Set took a loss of 2")
	}
	l.send(5)
	set(tun.Impairment{})
	l.send(6)
	if got := l.arrived(); !slices.Equal(got, []int{6}) {
		t.Errorf("arrived after all were lost, once without effect of a Set that failed: %v", got)
	}
	out, _ := l.Counters()
	checkConserved(t, out, 0)
}

func TestImpairValidates(t *testing.T) {
	a, _ := tun.Pipe(tun.PipeConfig{})
	defer a.Close()
	nan := 0.0
	nan /= nan
	for name, i := range map[string]tun.Impairment{
		"Loss":      {Loss: -0.1},
		"Corrupt":   {Corrupt: 1.1},
		"Reorder":   {Reorder: nan},
		"Duplicate": {Duplicate: 2},
		"Delay":     {Delay: -1},
		"Jitter":    {Jitter: tun.MaxImpairDelay + 1},
		"ReorderBy": {ReorderBy: -1},
		"Rate":      {Rate: tun.MinImpairRate - 1},
		"Queue":     {Queue: tun.ImpairMaxFrames + 1},
		"MTU":       {MTU: -1},
	} {
		for dir, c := range map[string]tun.ImpairConfig{"out": {Out: i}, "in": {In: i}} {
			_, err := tun.Impair(a, c)
			want := fmt.Sprintf("tun: impair pipe-a, %s: bad %s: ", dir, name)
			if err == nil || len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
				t.Errorf("%s %s: %v, want %q", dir, name, err, want)
			}
		}
	}
	if _, err := tun.Impair(a, tun.ImpairConfig{Clock: tun.Clock{Now: func() time.Duration { return 0 }}}); err == nil {
		t.Error("half a clock was taken")
	}
}

// What is on its way when the link is closed is counted, and no timer stays.
func TestImpairClose(t *testing.T) {
	l := newLossy(t, tun.ImpairConfig{Out: tun.Impairment{Delay: time.Second}})
	l.send(0)
	l.send(1)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	out, _ := l.Counters()
	checkConserved(t, out, 0)
	if out.DropClosed != 2 || l.Delayed() != 0 || l.clock.armed() != 0 || l.Losses().Down != 2 {
		t.Errorf("%+v, %d delayed, %d timers, %+v", out, l.Delayed(), l.clock.armed(), l.Losses())
	}
	if err := l.Send([][]byte{packetNumber(2, 64)}, tun.Meta{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("send after close: %v", err)
	}
	var m tun.Meta
	if _, err := l.Recv([][]byte{l.buf}, &m); !errors.Is(err, net.ErrClosed) {
		t.Errorf("recv after close: %v", err)
	}
	if err := l.Set(tun.Impairment{}, tun.Impairment{Loss: 1}); err != nil {
		t.Errorf("set after close: %v", err)
	}
	l.clock.advance(time.Hour)
	if n := tun.Pending(l.far); n != 0 {
		t.Errorf("%d frames arrived after close", n)
	}
}

// What is due while the link inside is full waits for it, and those who send are told.
func TestImpairFull(t *testing.T) {
	a, b := tun.Pipe(tun.PipeConfig{Layer: tun.IP, Queue: 1})
	clock := new(manualClock)
	l := impair(t, a, tun.ImpairConfig{Out: tun.Impairment{Delay: time.Millisecond}, Clock: clock.clock()})
	for i := range 4 {
		if err := l.Send([][]byte{packetNumber(i, 64)}, tun.Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	clock.advance(time.Millisecond)
	if err := l.Send([][]byte{packetNumber(9, 64)}, tun.Meta{}); !errors.Is(err, tun.ErrFull) {
		t.Errorf("send to a full link: %v, want %v", err, tun.ErrFull)
	}
	if l.WaitSend(0, nil) {
		t.Error("WaitSend says that there is room")
	}
	lo := &lossy{Impaired: l, t: t, clock: clock, far: b, buf: make([]byte, 100)}
	var got []int
	for range 4 {
		got = append(got, lo.arrived()...)
		clock.advance(128 * time.Millisecond) // as long as it takes to try again
	}
	if !slices.Equal(got, sequence(4)) {
		t.Errorf("arrived %v, want 0 to 3", got)
	}
	out, _ := l.Counters()
	checkConserved(t, out, 0)
	if out.Frames != 4 || clock.armed() != 0 {
		t.Errorf("%+v, %d timers; a refused frame must not count", out, clock.armed())
	}
	// The link inside fails for good: a delayed frame is counted, another refused.
	b.Close()
	if err := l.Send([][]byte{packetNumber(4, 64)}, tun.Meta{}); err != nil {
		t.Error(err)
	}
	clock.advance(time.Millisecond)
	if err := l.Set(tun.Impairment{Loss: 1e-9}, tun.Impairment{}); err != nil {
		t.Error(err)
	}
	if err := l.Send([][]byte{packetNumber(4, 64)}, tun.Meta{}); !errors.Is(err, tun.ErrDown) {
		t.Errorf("send on a link that is down: %v", err)
	}
	out, _ = l.Counters()
	checkConserved(t, out, 0)
	if out.DropError != 2 {
		t.Errorf("%+v", out)
	}
	l.Close()
}

func TestImpairHoldLimits(t *testing.T) {
	l := newLossy(t, tun.ImpairConfig{Out: tun.Impairment{Delay: time.Second}})
	for i := range tun.ImpairMaxFrames + 3 {
		l.send(i)
	}
	out, _ := l.Counters()
	checkConserved(t, out, tun.ImpairMaxFrames)
	if out.DropQueue != 3 || l.Delayed() != tun.ImpairMaxFrames {
		t.Errorf("%d dropped, %d held", out.DropQueue, l.Delayed())
	}

	l = newLossy(t, tun.ImpairConfig{Out: tun.Impairment{Delay: time.Second}})
	const length = 8000
	most := tun.ImpairMaxOctets / length
	for i := range most + 3 {
		if err := l.Send([][]byte{packetNumber(i, length)}, tun.Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	out, _ = l.Counters()
	checkConserved(t, out, most)
	if out.DropQueue != 3 || l.Delayed() != most {
		t.Errorf("%d dropped, %d held, want %d", out.DropQueue, l.Delayed(), most)
	}
}

func TestImpairDefaultQueue(t *testing.T) {
	l := newLossy(t, tun.ImpairConfig{Out: tun.Impairment{Rate: tun.MinImpairRate}})
	for i := range tun.DefaultQueue + 3 {
		l.send(i)
	}
	if out, _ := l.Counters(); out.DropQueue != 3 || l.Delayed() != tun.DefaultQueue {
		t.Errorf("%d dropped, %d held, want %d", out.DropQueue, l.Delayed(), tun.DefaultQueue)
	}
}

// The suite runs over links that impair nothing but could: what is due at once behaves
// like the link itself, and a delay only takes its time.
func TestImpairedLinks(t *testing.T) {
	never := tun.Impairment{Drop: func(tun.Frame) bool { return false }}
	for name, c := range map[string]tun.ImpairConfig{
		"out":     {Out: never},
		"in":      {In: never},
		"both":    {Out: never, In: never},
		"delayed": {Out: tun.Impairment{Delay: time.Millisecond}, In: tun.Impairment{Jitter: time.Millisecond}},
	} {
		for _, layer := range []tun.Layer{tun.IP, tun.Ethernet} {
			t.Run(fmt.Sprint(name, layer), func(t *testing.T) {
				tuntest.TestLink(t, func(t *testing.T) tuntest.Pair {
					a, b := tun.Pipe(tun.PipeConfig{Layer: layer, MTU: 1400, Queue: 16})
					// What reads ahead or holds back is not full when the suite thinks so.
					return tuntest.Pair{A: impair(t, plain{a}, c), B: impair(t, plain{b}, c), Kernel: name != "out"}
				})
			})
		}
	}
}

// A plain link takes no offload.
type plain struct{ tun.Link }

func (p plain) Losses() tun.Losses { return p.Link.(tun.LossCounter).Losses() }
func (plain) Offload() tun.Offload { return 0 }

func (p plain) Send(bufs [][]byte, m tun.Meta) error {
	if m != (tun.Meta{}) {
		return errors.New("not a whole packet")
	}
	return p.Link.Send(bufs, m)
}

// In a bubble the nil clock is the bubble's, and nothing is left when it ends.
func TestImpairInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := tun.Pipe(tun.PipeConfig{Layer: tun.IP})
		l := impair(t, a, tun.ImpairConfig{
			Out: tun.Impairment{Delay: time.Hour},
			In:  tun.Impairment{Delay: 2 * time.Hour, Corrupt: 1},
		})
		start := time.Now()
		if err := l.Send([][]byte{packetNumber(1, 64)}, tun.Meta{}); err != nil {
			t.Fatal(err)
		}
		buf, m := make([]byte, 100), tun.Meta{}
		if n, err := b.Recv([][]byte{buf}, &m); n != 64 || err != nil || time.Since(start) != time.Hour {
			t.Errorf("%d octets after %v, %v", n, time.Since(start), err)
		}
		if err := b.Send([][]byte{packetNumber(2, 64)}, tun.Meta{Flags: tun.DataValid}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if l.Delayed() != 1 || tun.Pending(l) != 0 {
			t.Errorf("%d delayed, %d pending, want 1 and 0", l.Delayed(), tun.Pending(l))
		}
		if n, err := l.Recv([][]byte{buf[:50], buf[50:]}, &m); n != 64 || err != nil || m != (tun.Meta{}) || time.Since(start) != 3*time.Hour {
			t.Errorf("%d octets after %v, %v, %+v", n, time.Since(start), err, m)
		}
		if tun.Pending(l) != 1 {
			t.Errorf("%d pending while the frame is in hand, want 1", tun.Pending(l))
		}
		// A frame that waits for Recv, one under way, and a Recv that waits.
		for range 2 {
			if err := b.Send([][]byte{packetNumber(3, 64)}, tun.Meta{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2*time.Hour - 1)
		}
		synctest.Wait()
		_, in := l.Counters()
		checkConserved(t, in, 2)
		if err := errors.Join(l.Close(), l.Close(), b.Close()); err != nil {
			t.Error(err)
		}
		_, in = l.Counters()
		checkConserved(t, in, 0)
		if in.DropClosed != 2 {
			t.Errorf("%+v", in)
		}
	})
}

// An In that is set while Recv waits is for the frame that Recv waits for.
func TestImpairSetInWhileReceiving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := tun.Pipe(tun.PipeConfig{Layer: tun.IP})
		l := impair(t, a, tun.ImpairConfig{})
		start := time.Now()
		got := make(chan int)
		go func() {
			defer close(got)
			buf, m := make([]byte, 100), tun.Meta{}
			for {
				n, err := l.Recv([][]byte{buf}, &m)
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
					return
				}
				got <- int(binary.BigEndian.Uint32(buf[n-4:]))
			}
		}()
		synctest.Wait()
		if err := l.Set(tun.Impairment{}, tun.Impairment{Delay: time.Second}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range 3 {
			if err := b.Send([][]byte{packetNumber(i, 64)}, tun.Meta{}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 3 {
			if n := <-got; n != i || time.Since(start) != time.Second {
				t.Errorf("frame %d after %v, want %d after 1s", n, time.Since(start), i)
			}
		}
		// And set back, while the goroutine that reads goes on.
		if err := l.Set(tun.Impairment{}, tun.Impairment{}); err != nil {
			t.Fatal(err)
		}
		if err := b.Send([][]byte{packetNumber(3, 64)}, tun.Meta{}); err != nil {
			t.Fatal(err)
		}
		if n := <-got; n != 3 || time.Since(start) != time.Second {
			t.Errorf("frame %d after %v, want 3 after 1s", n, time.Since(start))
		}
		l.Close()
		<-got
		b.Close()
	})
}

// When the link inside ends by itself, what is under way still arrives, and then Recv
// says why there is no more.
func TestImpairInnerEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := tun.Pipe(tun.PipeConfig{Layer: tun.IP})
		l := impair(t, a, tun.ImpairConfig{In: tun.Impairment{Delay: time.Second}})
		if err := b.Send([][]byte{packetNumber(3, 64)}, tun.Meta{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		a.Close()
		buf, m := make([]byte, 100), tun.Meta{}
		if n, err := l.Recv([][]byte{buf}, &m); n != 64 || err != nil {
			t.Errorf("recv of what was under way: %d, %v", n, err)
		}
		if _, err := l.Recv([][]byte{buf}, &m); !errors.Is(err, net.ErrClosed) {
			t.Errorf("recv: %v, want %v", err, net.ErrClosed)
		}
		l.Close()
		b.Close()
	})
}

// A slow reader slows its peer down instead of losing frames.
func TestImpairInPushesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := tun.Pipe(tun.PipeConfig{Layer: tun.IP, Queue: 4})
		l := impair(t, a, tun.ImpairConfig{In: tun.Impairment{MTU: 1500}})
		n := 0
		for n < 1e5 && (b.Send([][]byte{packetNumber(n, 64)}, tun.Meta{}) == nil || b.WaitSend(time.Millisecond, nil)) {
			n++
			synctest.Wait()
		}
		if n == 1e5 {
			t.Fatal("no limit to what waits for Recv")
		}
		buf, m := make([]byte, 100), tun.Meta{}
		for i := range n {
			got, err := l.Recv([][]byte{buf}, &m)
			if err != nil {
				t.Fatal(err)
			}
			if seq := int(binary.BigEndian.Uint32(buf[got-4:])); seq != i {
				t.Fatalf("frame %d, want %d", seq, i)
			}
		}
		_, in := l.Counters()
		checkConserved(t, in, 0)
		if in.Dropped() != 0 {
			t.Errorf("%+v", in)
		}
		l.Close()
		b.Close()
	})
}

// Everything at once, from many goroutines, while the impairments change.
func TestImpairConcurrent(t *testing.T) {
	tuntest.CheckLeaks(t)
	a, b := tun.Pipe(tun.PipeConfig{Layer: tun.IP, Queue: 64})
	all := tun.Impairment{
		Loss: 0.1, Corrupt: 0.1, Reorder: 0.1, Duplicate: 0.1, Rate: 1e9,
		Delay: 100 * time.Microsecond, Jitter: 100 * time.Microsecond, Drop: tun.Nth(5, tun.UDP),
	}
	l := impair(t, a, tun.ImpairConfig{Out: all, In: all})
	f, m := testPacket{layer: tun.IP, payload: 5000}.frame()
	m.GSO, m.GSOSize = tun.GSOTCP4, 1000
	var receivers, senders sync.WaitGroup
	for _, end := range []tun.Link{l, b} {
		receivers.Go(func() {
			buf, m := make([]byte, tun.MaxFrame), tun.Meta{}
			for {
				if _, err := end.Recv([][]byte{buf}, &m); err != nil {
					return
				}
			}
		})
		for range 2 {
			senders.Go(func() {
				for range 200 {
					if err := end.Send([][]byte{f}, m); errors.Is(err, tun.ErrFull) {
						end.WaitSend(time.Millisecond, nil)
					} else if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	senders.Go(func() {
		for i := range 100 {
			out := all
			if i%2 == 0 {
				out = tun.Impairment{}
			}
			if err := l.Set(out, all); err != nil {
				t.Error(err)
			}
			l.Delayed()
			l.Pending()
		}
	})
	senders.Wait()
	if err := errors.Join(l.Close(), b.Close()); err != nil {
		t.Error(err)
	}
	receivers.Wait()
	out, in := l.Counters()
	checkConserved(t, out, 0)
	checkConserved(t, in, 0)
	if out.Frames == 0 || in.Frames == 0 {
		t.Errorf("out %+v, in %+v", out, in)
	}
}
