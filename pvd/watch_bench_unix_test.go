//go:build unix

package pvd_test

import (
	"context"
	"fmt"
	"hash/crc32"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// attached returns a registry with n PvDs.
func attached(b *testing.B, n int) (*pvd.Registry, []pvd.Ref) {
	b.Helper()
	r := pvd.NewRegistry(pvd.RegistryConfig{})
	b.Cleanup(r.Close)
	for range n {
		if _, err := r.Add(b.Context(), valid().Describe); err != nil {
			b.Fatal(err)
		}
	}
	return r, r.List()
}

// beWatched has a registry watched by n loops, and returns how many changes they have been
// told of.
func beWatched(b *testing.B, r *pvd.Registry, n int, filter func(i int) pvd.Filter) *atomic.Int64 {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	told := new(atomic.Int64)
	var running, ready sync.WaitGroup
	b.Cleanup(running.Wait)
	b.Cleanup(cancel)
	ready.Add(n)
	for i := range n {
		running.Go(func() {
			for e, err := range r.Watch(ctx, filter(i)) {
				switch {
				case err != nil:
				case e.Kind == pvd.Synced:
					ready.Done()
				case e.Kind == pvd.Changed:
					told.Add(1)
				}
			}
		})
	}
	ready.Wait()
	return told
}

func BenchmarkInfo(b *testing.B) {
	r, refs := attached(b, 1000)
	b.ReportAllocs()
	for i := range b.N {
		if _, err := r.Info(refs[i%len(refs)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFind(b *testing.B) {
	r, _ := attached(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Find("nobody"); err == nil {
			b.Fatal("found")
		}
	}
}

// BenchmarkUpdate is what a change costs the one who makes it, whoever watches.
func BenchmarkUpdate(b *testing.B) {
	for _, watchers := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("watchers=%d", watchers), func(b *testing.B) {
			r, refs := attached(b, 1)
			beWatched(b, r, watchers, func(int) pvd.Filter { return pvd.Filter{} })
			b.ReportAllocs()
			for i := range b.N {
				if err := r.Update(b.Context(), refs[0], setMTU(1280+i%1000)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStorm is how much slower a busy machine gets when 10,000 watch 1,000 changes a
// second: rounds of the same work, with and without the changes, over and over. What is
// compared is the work per second of the processor, so that others on the machine do not
// matter.
func BenchmarkStorm(b *testing.B) {
	const (
		watchers = 10_000
		rate     = 1000 // changes a second
		round    = 500 * time.Millisecond
	)
	for _, tt := range []struct {
		name   string
		pvds   int
		filter func(refs []pvd.Ref, i int) pvd.Filter
	}{
		{"all watch one", 1, func([]pvd.Ref, int) pvd.Filter { return pvd.Filter{} }},
		{"all watch 10", 10, func([]pvd.Ref, int) pvd.Filter { return pvd.Filter{} }},
		{"all watch 1000", 1000, func([]pvd.Ref, int) pvd.Filter { return pvd.Filter{} }},
		{"10 watch each of 1000", 1000, func(refs []pvd.Ref, i int) pvd.Filter { return pvd.Filter{Refs: refs[i%1000 : i%1000+1]} }},
	} {
		b.Run(tt.name, func(b *testing.B) {
			r, refs := attached(b, tt.pvds)
			told := beWatched(b, r, watchers, func(i int) pvd.Filter { return tt.filter(refs, i) })
			var changed, work atomic.Int64
			var storming atomic.Bool
			ctx, cancel := context.WithCancel(b.Context())
			var running sync.WaitGroup
			running.Go(func() { storm(ctx, r, refs, rate, &storming, &changed) })
			for range runtime.GOMAXPROCS(0) {
				running.Go(func() { toil(ctx, &work) })
			}
			done := func(changing bool) float64 {
				storming.Store(changing)
				time.Sleep(round / 2) // what was before ebbs away
				before, began := work.Load(), processorTime()
				time.Sleep(round)
				return float64(work.Load()-before) / float64(processorTime()-began)
			}
			var slower []float64
			warm := told.Load()
			b.ResetTimer()
			for range b.N {
				without := done(false)
				slower = append(slower, 100*(1-done(true)/without))
			}
			b.StopTimer()
			cancel()
			running.Wait()
			slices.Sort(slower)
			b.ReportMetric(slower[len(slower)/2], "%slower")
			b.ReportMetric(float64(changed.Load())/float64(b.N)/(3*round/2).Seconds(), "changes/s")
			b.ReportMetric(float64(told.Load()-warm)/float64(b.N)/(3*round/2).Seconds(), "events/s")
		})
	}
}

// processorTime returns how long this process has had a processor.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// storm changes one PvD after the other at a rate, while it is told to.
func storm(ctx context.Context, r *pvd.Registry, refs []pvd.Ref, rate int, on *atomic.Bool, changed *atomic.Int64) {
	last := time.Now()
	for n := 0; ctx.Err() == nil; {
		time.Sleep(5 * time.Millisecond)
		due := int(time.Since(last) * time.Duration(rate) / time.Second)
		last = last.Add(time.Duration(due) * time.Second / time.Duration(rate))
		for range due {
			if on.Load() && r.Update(ctx, refs[n%len(refs)], setMTU(1280+n%1000)) == nil {
				n++
				changed.Add(1)
			}
		}
	}
}

// toil keeps a processor busy, as copying and checking packets does.
func toil(ctx context.Context, work *atomic.Int64) {
	packet := make([]byte, 1500)
	for ctx.Err() == nil {
		for range 64 {
			packet[0] = byte(crc32.ChecksumIEEE(packet))
		}
		work.Add(1)
	}
}
