package pvdtest

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

var _ pvd.Clock = (*ManualClock)(nil)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestManualClockFiresInOrder(t *testing.T) {
	c := NewManualClock(epoch)
	var mu sync.Mutex
	var got []time.Duration
	note := func() {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, c.Monotonic())
	}
	c.AfterFunc(3*time.Second, note)
	c.AfterFunc(time.Second, func() {
		note()
		c.AfterFunc(time.Second, note) // a timer that a timer sets, before the next
	})
	stopped := c.AfterFunc(2*time.Second, note)
	if !stopped.Stop() || stopped.Stop() {
		t.Error("Stop: want true, then false")
	}
	again := c.AfterFunc(time.Second, note)
	again.Reset(4 * time.Second)
	c.AfterFunc(time.Hour, note)

	if !c.Advance(10 * time.Second) {
		t.Error("Advance found no rest")
	}
	want := []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second}
	if !slices.Equal(got, want) {
		t.Errorf("fired at %v, want %v", got, want)
	}
	if now := c.Now(); !now.Equal(epoch.Add(10 * time.Second)) {
		t.Errorf("now %v", now)
	}
}

func TestManualClockZeroFiresAtOnce(t *testing.T) {
	c := NewManualClock(epoch)
	done := make(chan struct{})
	c.AfterFunc(0, func() { close(done) })
	<-done
}

// TestManualClockSettles has a chain of pipes, each emptied by a goroutine of its own:
// the step must not come before the frame has gone all the way.
func TestManualClockSettles(t *testing.T) {
	c := NewManualClock(epoch)
	const hops = 8
	first, in := tun.Pipe(tun.PipeConfig{})
	ends := []tun.Link{first}
	var arrived atomic.Int64
	var wg sync.WaitGroup
	for i := range hops {
		var out, next tun.Link
		if i < hops-1 {
			out, next = tun.Pipe(tun.PipeConfig{})
			ends = append(ends, out)
		}
		ends = append(ends, in)
		from := in
		c.Watch(func() Activity { return Activity{Pending: tun.Pending(from)} })
		wg.Go(func() {
			buf := make([]byte, tun.MaxFrame)
			for {
				var m tun.Meta
				n, err := from.Recv([][]byte{buf}, &m)
				if err != nil {
					return
				}
				time.Sleep(100 * time.Microsecond) // a slow machine
				if out == nil {
					arrived.Add(1)
				} else if err := out.Send([][]byte{buf[:n]}, m); err != nil {
					t.Error(err)
				}
			}
		})
		in = next
	}
	t.Cleanup(func() {
		for _, l := range ends {
			_ = l.Close()
		}
		wg.Wait()
	})

	for i := range int64(20) {
		var seen int64 = -1
		c.AfterFunc(time.Second, func() {
			if err := first.Send([][]byte{make([]byte, 60)}, tun.Meta{}); err != nil {
				t.Error(err)
			}
		})
		c.AfterFunc(time.Second+time.Nanosecond, func() { seen = arrived.Load() })
		c.Advance(2 * time.Second)
		if seen != i+1 {
			t.Fatalf("round %d: %d frames had arrived a nanosecond later", i, seen)
		}
	}
}

func TestManualClockRun(t *testing.T) {
	c := NewManualClock(epoch)
	c.Run(func() {
		for range 3 {
			ch := make(chan struct{})
			c.AfterFunc(time.Hour, func() { close(ch) })
			<-ch
		}
	})
	if got := c.Monotonic(); got != 3*time.Hour {
		t.Errorf("took %v, want 3h", got)
	}
}

func TestSettleGivesUp(t *testing.T) {
	if settle(func() Activity { return Activity{Pending: 1} }, 20*time.Millisecond) {
		t.Error("settled with something pending")
	}
	var n uint64
	if settle(func() Activity { n++; return Activity{Count: n} }, 20*time.Millisecond) {
		t.Error("settled while something counted")
	}
}
