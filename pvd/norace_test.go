//go:build !race

package pvd_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// What every call that is scoped needs to know costs no memory. (The race detector
// allocates.)
func TestReadingAllocatesNothing(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{})
	ref := add(t, r, valid())
	if err := r.SetDefault(ref); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(){
		"Info":                func() { _, _ = r.Info(ref) },
		"Info of the default": func() { _, _ = r.Info(pvd.SystemDefault) },
		"Info of none":        func() { _, _ = r.Info(99) },
		"Default":             func() { _ = r.Default() },
		"an element":          func() { info, _ := r.Info(ref); _, _ = pvd.Metered.Get(info) },
		"Find":                func() { _, _ = r.Find("corp") },
		"FindAmong":           func() { _, _ = r.FindAmong("corp.example.com", func(*pvd.Info) bool { return true }) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// A change does not cost memory for each who watches.
func TestWatchersAllocateNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *pvd.Registry) {
		const watchers = 1000
		ref := add(t, r, valid())
		var told atomic.Int64
		for range watchers {
			go func() {
				for e := range r.Watch(t.Context(), pvd.Filter{}) {
					if e.Kind == pvd.Changed && len(e.Keys) == 2 {
						told.Add(1)
					}
				}
			}()
		}
		synctest.Wait()
		i := 0
		changes := func() {
			for range 3 { // they become one
				i++
				update(t, r, ref, func(b *pvd.Builder) { pvd.MTU.Set(b, 1280+i); pvd.Speed.Set(b, uint64(i)) })
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if n := testing.AllocsPerRun(20, changes); n > watchers/4 {
			t.Errorf("%v allocations with %d watchers", n, watchers)
		}
		if told.Load() < 20*watchers {
			t.Errorf("%d events", told.Load())
		}
	})
}
