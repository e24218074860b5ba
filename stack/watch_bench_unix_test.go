//go:build unix

package stack_test

import (
	"context"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// BenchmarkWatchedTransfer is how much less a connection carries while another PvD of its
// host changes 1,000 times a second and 10,000 watch, against nobody watching and nothing
// changing, and against the changes alone. What is compared is what it carries per
// second of the processor, so that others on the machine do not matter.
func BenchmarkWatchedTransfer(b *testing.B) {
	const (
		watchers = 10_000
		round    = 500 * time.Millisecond
	)
	h1, h2 := newHost(b), newHost(b)
	pipe(b, "wire", h1, h2)
	near, far := add(b, h1, config("wire", "10.0.0.1/24")), add(b, h2, config("wire", "10.0.0.2/24"))
	pipe(b, "other", h1, nil)
	c := config("other", "10.0.0.1/24")
	other := add(b, h1, c).PvD()

	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	l := mustListen(b, far, "tcp", ":80")
	running.Go(func() {
		if s, err := l.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, s)
			_ = s.Close()
		}
	})
	conn, err := near.DialContext(ctx, "tcp", "10.0.0.2:80")
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	var sent atomic.Int64
	running.Go(func() {
		for buf := make([]byte, 64<<10); ctx.Err() == nil; {
			n, err := conn.Write(buf)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	var changing atomic.Bool
	running.Go(func() {
		for i, last := 0, time.Now(); ctx.Err() == nil; {
			time.Sleep(5 * time.Millisecond)
			due := time.Since(last).Milliseconds()
			last = last.Add(time.Duration(due) * time.Millisecond)
			for ; due > 0 && changing.Load(); due-- {
				i++
				c.Elements = []pvd.Element{pvd.Speed.With(uint64(i))}
				_ = h1.Update(ctx, other, c) // not after the end
			}
		}
	})
	carried := func(change bool) float64 {
		changing.Store(change)
		time.Sleep(round / 2) // what was before ebbs away
		before, began := sent.Load(), processorTime()
		time.Sleep(round)
		return float64(sent.Load()-before) / float64(processorTime()-began)
	}
	slowdown := func() float64 {
		var slower []float64
		for range b.N {
			without := carried(false)
			slower = append(slower, 100*(1-carried(true)/without))
		}
		slices.Sort(slower)
		return slower[len(slower)/2]
	}
	b.ReportMetric(slowdown(), "%slower-unwatched")
	var ready sync.WaitGroup
	ready.Add(watchers)
	for range watchers {
		running.Go(func() {
			for e := range h1.Watch(ctx, pvd.Filter{}) {
				if e.Kind == pvd.Synced {
					ready.Done()
				}
			}
		})
	}
	ready.Wait()
	b.ReportMetric(slowdown(), "%slower-watched")
}

// processorTime returns how long this process has had a processor.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
