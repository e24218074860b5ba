package main

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// fewRoutes is how many routes the PvD has that the one with many is compared with.
const fewRoutes = 10

// farAddr is an address of the peer's that no link has: a route leads there.
var farAddr = netip.MustParseAddr("203.0.113.1")

// manyRoutes compares how long it takes to connect from a PvD with few routes and from
// one with many, of the same host.
func (b *bench) manyRoutes(ctx context.Context) error {
	if err := b.bed.peer.ns.ip("addr add %v/32 dev lo", farAddr); err != nil {
		return err
	}
	for _, kind := range b.o.links {
		if err := b.manyRoutesOn(ctx, kind); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) manyRoutesOn(ctx context.Context, kind string) error {
	l, a, err := b.bed.open(kind)
	if err != nil {
		return err
	}
	few, err := newHostEngine(ctx, l, a) // its PvD is not used
	if err != nil {
		return err
	}
	defer few.close() //nolint:errcheck // what it leaves ends with the process
	var rows []string
	var lanes []lane
	for i, n := range []int{fewRoutes, fewRoutes, b.o.routes} {
		c := pvdOf(fmt.Sprintf("routes%d", i), netip.PrefixFrom(addTo(a.own, i+1), 24), routesTo(a.peer, n)...)
		ref, err := few.add(ctx, c)
		if err != nil {
			return fmt.Errorf("a PvD with %d routes: %w", n, err)
		}
		name := fmt.Sprintf("%d routes", n)
		if i == 1 {
			name += ", again"
		}
		rows = append(rows, name)
		lanes = append(lanes, lane{name: name, engine: few.in(ref), peer: farAddr})
	}
	col := column{name: "connect µs", less: true}
	rec := newRecord(rows, []column{col})
	for round := range b.o.rounds {
		b.progress("routes on %s: round %d of %d", kind, round+1, b.o.rounds)
		medians, err := b.connectTimes(ctx, lanes)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			b.fail("connecting on %s: %v", kind, err)
		}
		for i, l := range lanes {
			v := math.NaN()
			if err == nil {
				v = medians[i]
			}
			rec.add(l.name, col.name, v)
		}
	}
	writeTable(b.out, "Connecting from a PvD with routes: "+kind, "routes", rec)
	base := rec.of(rows[0], col.name)
	b.goals = append(b.goals, goal{
		what: fmt.Sprintf("%s, connect µs with %d routes by %d", kind, b.o.routes, fewRoutes), bound: 1.2, most: true,
		figures: quotients(rec.of(rows[2], col.name), base), control: quotients(rec.of(rows[1], col.name), base),
	})
	return nil
}

// routesTo returns n routes, of which one leads to farAddr.
func routesTo(router netip.Addr, n int) (routes []pvd.Route) {
	for i := range n {
		to := netip.PrefixFrom(nth(i<<4), 28)
		if i == n/2 {
			to = netip.PrefixFrom(farAddr, 24).Masked()
		}
		routes = append(routes, pvd.Route{To: to, Via: router})
	}
	return routes
}

// addTo returns the address n after a.
func addTo(a netip.Addr, n int) netip.Addr {
	for range n {
		a = a.Next()
	}
	return a
}

// connectTimes returns the median time to connect on each lane, in µs. The lanes take turns
// with every connection.
func (b *bench) connectTimes(ctx context.Context, lanes []lane) ([]float64, error) {
	ctx, cancel := b.meter.bound(ctx)
	defer cancel()
	took := make([][]time.Duration, len(lanes))
	began := time.Now()
	for turn := 0; time.Since(began) < b.o.warm+b.o.window/2; turn++ {
		for i := range lanes {
			i = (turn + i) % len(lanes)
			at := time.Now()
			c, err := lanes[i].dial(ctx, service(lanes[i].peer, portEcho))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", lanes[i].name, err)
			}
			if time.Since(began) > b.o.warm {
				took[i] = append(took[i], time.Since(at))
			}
			reset(c)
		}
	}
	medians := make([]float64, len(lanes))
	for i := range took {
		medians[i] = micros(quantile(took[i], 0.5))
	}
	return medians, nil
}
