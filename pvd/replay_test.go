package pvd_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A replay is what somebody believes who goes by events alone. It checks that each of them
// follows from what was told before.
type replay struct {
	filter pvd.Filter
	sees   func(*pvd.Info) bool
	known  map[pvd.Ref]*pvd.Info
	ends   map[pvd.Ref]time.Time
	def    pvd.Ref
	lagged int
	wrong  []string
}

func newReplay(k replayKind) *replay {
	return &replay{filter: k.filter, sees: k.sees, known: make(map[pvd.Ref]*pvd.Info), ends: make(map[pvd.Ref]time.Time)}
}

func (p *replay) see(e pvd.Event, err error) {
	if errors.Is(err, pvd.ErrLagged) {
		p.lagged++
		clear(p.known)
		clear(p.ends)
		p.def = pvd.Unspecified
		return
	}
	if err != nil {
		return
	}
	had := p.known[e.Ref]
	bad := func(why string) { p.wrong = append(p.wrong, describe(e)+": "+why) }
	if e.Old != nil && !p.sees(e.Old) || e.Info != nil && !p.sees(e.Info) {
		bad("it is not for those who do not see it")
	}
	switch e.Kind {
	case pvd.Added:
		if had != nil || e.Old != nil || e.Info == nil {
			bad("it was there")
		}
		p.known[e.Ref] = e.Info
	case pvd.Changed:
		if had == nil || had != e.Old || e.Info.Version() <= e.Old.Version() {
			bad("it was something else")
		}
		for _, k := range pvd.Keys() {
			old, _ := k.Get(e.Old)
			now, _ := k.Get(e.Info)
			if k != pvd.Ends.Any() && !slices.Contains(e.Keys, k) && fmt.Sprint(old) != fmt.Sprint(now) {
				bad(fmt.Sprintf("%v has changed too", k))
			}
		}
		p.known[e.Ref] = e.Info
		if slices.Contains(e.Keys, pvd.Ends.Any()) {
			delete(p.ends, e.Ref)
		}
	case pvd.Leaving:
		p.known[e.Ref] = e.Info
		p.ends[e.Ref] = e.Ends
	case pvd.Removed:
		if had == nil || had != e.Old || e.Info != nil {
			bad("it was not there")
		}
		delete(p.known, e.Ref)
		delete(p.ends, e.Ref)
	case pvd.DefaultChanged:
		if e.Ref == p.def {
			bad("it has not")
		}
		p.def = e.Ref
	case pvd.Synced:
	}
}

// check compares what is believed with what is.
func (p *replay) check(r *pvd.Registry) error {
	if len(p.wrong) > 0 {
		return errors.New(p.wrong[0])
	}
	want, ends := make(map[pvd.Ref]*pvd.Info), make(map[pvd.Ref]time.Time)
	for _, ref := range r.List() {
		i, err := r.Info(ref)
		if err != nil {
			return err
		}
		if links, _ := pvd.Links.Get(i); len(p.filter.Links) > 0 && !slices.Contains(links, p.filter.Links[0]) {
			continue
		}
		if len(p.filter.Refs) > 0 && (p.filter.Refs[0] != pvd.SystemDefault || ref != r.Default()) {
			continue
		}
		if !p.sees(i) {
			continue
		}
		want[ref] = i
		if at, ok := pvd.Ends.Get(i); ok {
			ends[ref] = at
		}
	}
	if !maps.EqualFunc(p.known, want, same) {
		return fmt.Errorf("knows %v, there is %v", p.known, want)
	}
	if !maps.EqualFunc(p.ends, ends, time.Time.Equal) {
		return fmt.Errorf("knows of the ends %v, there are %v", p.ends, ends)
	}
	if def := r.DefaultAmong(p.sees); p.def != def {
		return fmt.Errorf("knows the default as %v, it is %v", p.def, def)
	}
	return nil
}

// same reports whether two Infos say the same, as those of a PvD that has changed back do.
func same(a, b *pvd.Info) bool {
	elements := func(i *pvd.Info) map[pvd.AnyKey]any { return maps.Collect(i.Elements()) }
	return a == b || a.Ref() == b.Ref() && a.Name() == b.Name() && reflect.DeepEqual(elements(a), elements(b))
}

// change does something at random, of which the registry may refuse some.
func change(t *testing.T, r *pvd.Registry, rnd *rand.Rand) {
	links := [][]string{{"lan"}, {"wan"}, {"lan", "wan"}}
	refs := append(r.List(), 1<<40)
	ref := refs[rnd.IntN(len(refs))]
	switch rnd.IntN(10) {
	case 0, 1:
		if len(refs) < 20 {
			_, _ = r.Add(t.Context(), pvd.Config{Links: links[rnd.IntN(3)]}.Describe)
		}
	case 2:
		_ = r.Remove(t.Context(), ref)
	case 3:
		_ = r.SetDefault([]pvd.Ref{ref, pvd.Null}[rnd.IntN(2)])
	case 4:
		_ = r.Leave(t.Context(), ref, time.Unix(int64(rnd.IntN(3))*1000, 0))
	case 5:
		_ = r.Leave(t.Context(), ref, time.Time{})
	default:
		_ = r.Update(t.Context(), ref, func(b *pvd.Builder) {
			switch rnd.IntN(5) {
			case 0:
				pvd.MTU.Set(b, 1280+rnd.IntN(3))
			case 1:
				pvd.MTU.Clear(b)
			case 2:
				pvd.Metered.Set(b, rnd.IntN(2) == 0)
			case 3:
				pvd.Links.Set(b, links[rnd.IntN(3)])
			case 4:
				b.SetName(fmt.Sprint(rnd.IntN(3)))
			}
		})
	}
}

// A replayKind is a way to watch.
type replayKind struct {
	filter pvd.Filter
	sees   func(*pvd.Info) bool
}

var replayed = []replayKind{
	{pvd.Filter{}, everyPvD},
	{pvd.Filter{Links: []string{"wan"}}, everyPvD},
	{pvd.Filter{Refs: []pvd.Ref{pvd.SystemDefault}}, everyPvD},
	{pvd.Filter{}, notNamed1},
	{pvd.Filter{Refs: []pvd.Ref{pvd.SystemDefault}}, notNamed1},
	{pvd.Filter{Refs: []pvd.Ref{1 << 41}}, notNamed1},
}

func everyPvD(*pvd.Info) bool    { return true }
func notNamed1(i *pvd.Info) bool { return i.Name() != "1" }

// Whoever goes by events alone ends up with what is, however slow.
func TestR17_ReplayInVirtualTime(t *testing.T) {
	for seed := range uint64(30) {
		bubble(t, func(t *testing.T, r *pvd.Registry) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			var all []*replay
			for i, f := range append(replayed, replayed...) {
				p, slow, own := newReplay(f), i >= len(replayed), rand.New(rand.NewPCG(seed, uint64(i)))
				all = append(all, p)
				go func() {
					for e, err := range r.WatchAmong(t.Context(), f.filter, f.sees) {
						p.see(e, err)
						if slow && err == nil { // once the test is over, time stands still
							time.Sleep(time.Duration(own.IntN(50)) * time.Millisecond)
						}
					}
				}()
			}
			for range 300 {
				change(t, r, rnd)
				time.Sleep(time.Duration(rnd.IntN(3)) * time.Millisecond)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			for i, p := range all {
				if err := p.check(r); err != nil {
					t.Errorf("seed %d, watcher %d: %v", seed, i, err)
				}
			}
		})
	}
}

// The same with all at work at once, one loop of each kind being so slow that it lags.
func TestR17_Replay(t *testing.T) {
	r := pvd.NewRegistry(pvd.RegistryConfig{})
	defer r.Close()
	release := make(chan struct{})
	var running, begun sync.WaitGroup
	var all []*replay
	for i, f := range append(replayed, replayed...) {
		p, slow := newReplay(f), i >= len(replayed)
		all = append(all, p)
		begun.Add(1)
		once := sync.OnceFunc(begun.Done)
		running.Go(func() {
			for e, err := range r.WatchAmong(t.Context(), f.filter, f.sees) {
				p.see(e, err)
				if e.Kind == pvd.Synced {
					once()
				}
				if slow && e.Kind == pvd.Synced {
					<-release
				}
			}
		})
	}
	begun.Wait()
	var changing sync.WaitGroup
	for seed := range uint64(3) {
		changing.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 1))
			for range 2 * pvd.MaxPending {
				change(t, r, rnd)
			}
		})
	}
	changing.Wait()
	for range 2 * pvd.MaxPending {
		ref, err := r.Add(t.Context(), pvd.Config{Links: []string{"wan"}}.Describe)
		if err != nil || r.Remove(t.Context(), ref) != nil {
			t.Fatal(err)
		}
	}
	close(release)
	r.Close() // all is told before the end
	running.Wait()
	for i, p := range all {
		if err := p.check(r); err != nil {
			t.Errorf("watcher %d: %v", i, err)
		}
		if byRef := len(p.filter.Refs) > 0; byRef && p.lagged > 0 || !byRef && i >= len(replayed) && p.lagged == 0 {
			t.Errorf("watcher %d has lagged %d times", i, p.lagged)
		}
	}
}
