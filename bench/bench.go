package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
)

// A bench makes the measurements that were asked for.
type bench struct {
	o       options
	out     io.Writer
	bed     *testbed
	meter   *meter
	goals   []goal
	failed  int
	profile int // how many there are
}

// measure is the process that measures.
func measure(ctx context.Context, o options, out io.Writer) (err error) {
	debug.SetGCPercent(o.gogc)
	if err := ownNamespace.prepare(); err != nil {
		return err
	}
	// Not ended by ctx, since the engines take leave of it.
	p, err := startPeer(context.Background())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	b := &bench{
		o: o, out: out,
		bed:   &testbed{peer: p, mtu: o.mtu},
		meter: &meter{peer: p, warm: o.warm, window: o.window},
	}
	b.writeEnvironment()
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{cellTraffic, b.traffic}, {cellCost, b.cost}, {cellRoutes, b.manyRoutes}, {cellCrowd, b.crowd}, {cellNames, b.names}} {
		if !slices.Contains(o.cells, part.name) {
			continue
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	writeGoals(out, b.goals)
	if b.failed > 0 {
		return fmt.Errorf("%d measurements failed", b.failed)
	}
	return nil
}

// traffic compares the engines on each kind of link.
func (b *bench) traffic(ctx context.Context) error {
	for _, kind := range b.o.links {
		lanes, err := b.bed.lanes(ctx, kind, b.o.engines)
		if err != nil {
			return err
		}
		rec, err := b.interleave(ctx, kind, lanes, b.meter.traffic(b.o.kinds, b.o.streams))
		if err := errors.Join(err, closeLanes(lanes)); err != nil {
			return err
		}
		writeTable(b.out, "Traffic: "+kind, "engine", rec)
		b.trafficGoals(kind, rec)
	}
	return nil
}

// trafficGoals compares our host with the others.
func (b *bench) trafficGoals(kind string, rec *record) {
	for _, c := range rec.columns {
		bounds := map[string]float64{laneBare: 0.95}
		switch {
		case c.extra:
			continue
		case strings.HasPrefix(c.name, "up Gbit/s"):
			bounds[laneWireguard], bounds[laneKernel] = 3.5, 0.3
		case strings.HasPrefix(c.name, "down Gbit/s"):
			bounds[laneWireguard], bounds[laneKernel] = 4, 0.3
		}
		host := rec.of(laneHost, c.name)
		for _, row := range engineNames() {
			other, bound := rec.of(row, c.name), bounds[row]
			if host == nil || other == nil || bound == 0 {
				continue
			}
			g := goal{
				what: kind + ", " + c.name + ": pvdstack against " + row, bound: bound,
				figures: ratios(host, other, c.less),
			}
			if row == laneBare {
				g.control = ratios(rec.of(laneControl, c.name), other, c.less)
			}
			b.goals = append(b.goals, g)
		}
	}
}

// progress tells a waiting person how far it is.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

func (b *bench) fail(format string, args ...any) {
	b.failed++
	fmt.Fprintf(os.Stderr, "FAILED: "+format+"\n", args...)
}

// startProfile begins a CPU profile of a measurement if profiles were asked for.
func (b *bench) startProfile(names ...string) (stop func(), err error) {
	if b.o.profile == "" {
		return func() {}, nil
	}
	b.profile++
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" /,", r) {
			return '_'
		}
		return r
	}, strings.Join(names, "-"))
	f, err := os.Create(filepath.Join(b.o.profile, fmt.Sprintf("%s-%d.pprof", name, b.profile)))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close() //nolint:errcheck // whoever reads it sees
	}, nil
}
