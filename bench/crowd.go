package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// crowd compares the traffic of a PvD that is alone in its host with that of the same PvD
// among many, which are idle, on its own link or on links in memory.
func (b *bench) crowd(ctx context.Context) error {
	for _, sameLink := range []bool{true, false} {
		if err := b.crowdOn(ctx, b.o.links[0], sameLink); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) crowdOn(ctx context.Context, kind string, sameLink bool) error {
	l, a, err := b.bed.open(kind)
	if err != nil {
		return err
	}
	e, err := newHostEngine(ctx, l, a)
	if err != nil {
		return err
	}
	defer e.close() //nolint:errcheck // what it leaves ends with the process
	what := kind + ", each on a link in memory"
	if sameLink {
		what = kind + ", all on its link"
	}
	c := &company{host: e, size: b.o.pvds - 1, sameLink: sameLink}
	alone, control, among := "1 PvD", "1 PvD, again", fmt.Sprintf("%d PvDs", b.o.pvds)
	cells := b.meter.traffic([]string{kindUp, kindDown, kindRTT}, []int{1})
	var columns []column
	for _, c := range cells {
		columns = append(columns, c.columns...)
	}
	rec := newRecord([]string{alone, control, among}, columns)
	me := lane{hostLink, e, a.peer}
	if err := b.rehearse(ctx, "crowd on "+what, []lane{me}, cells); err != nil {
		return err
	}
	// The order turns with each round, so that the company comes and goes half as often.
	order := []string{alone, control, among}
	for round := range b.o.rounds {
		b.progress("crowd on %s: round %d of %d", what, round+1, b.o.rounds)
		for _, name := range order {
			if err := c.become(ctx, name == among); err != nil {
				return err
			}
			for _, m := range cells {
				me.name = name
				if err := b.measureCell(ctx, rec, "crowd on "+what, me, m); err != nil {
					return err
				}
			}
		}
		slices.Reverse(order)
	}
	writeTable(b.out, fmt.Sprintf("One PvD among %d: %s", b.o.pvds, what), "in the host", rec)
	for _, c := range columns {
		if c.extra {
			continue
		}
		base := rec.of(alone, c.name)
		b.goals = append(b.goals, goal{
			what: fmt.Sprintf("%s, %s: among %d against alone", what, c.name, b.o.pvds), bound: 0.95,
			figures: ratios(rec.of(among, c.name), base, c.less), control: ratios(rec.of(control, c.name), base, c.less),
		})
	}
	return nil
}

// A company is the PvDs that are in the host besides the one that is measured.
type company struct {
	host     *hostEngine
	size     int
	sameLink bool

	refs  []pvd.Ref
	links []string
	ends  []tun.Link
}

// become brings the company into the host, or sends it away.
func (c *company) become(ctx context.Context, there bool) error {
	defer runtime.GC()
	switch {
	case there == (len(c.refs) > 0):
		return nil
	case !there:
		return c.leave(ctx)
	}
	for i := range c.size {
		p := pvdOf(fmt.Sprintf("idle%d", i), nthPrefix(i+1))
		if !c.sameLink {
			near, far := tun.Pipe(tun.PipeConfig{Layer: tun.IP})
			name := fmt.Sprintf("pipe%d", i)
			if err := c.host.host.AddLink(name, far); err != nil {
				return errors.Join(err, far.Close(), near.Close())
			}
			c.links, c.ends = append(c.links, name), append(c.ends, near)
			p.Links = []string{name}
		}
		ref, err := c.host.host.Add(ctx, p)
		if err != nil {
			return err
		}
		c.refs = append(c.refs, ref)
	}
	return nil
}

func (c *company) leave(ctx context.Context) (err error) {
	for _, ref := range c.refs {
		err = errors.Join(err, c.host.host.Remove(ctx, ref))
	}
	for i, name := range c.links {
		err = errors.Join(err, c.host.host.RemoveLink(name), c.ends[i].Close())
	}
	c.refs, c.links, c.ends = nil, nil, nil
	return err
}
