package main

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
)

// A series holds a figure of every round, NaN where a measurement failed.
type series []float64

// A record holds what was measured: the series of each column of each row.
type record struct {
	rows    []string
	columns []column
	figures map[[2]string]series // by row and column
}

func newRecord(rows []string, columns []column) *record {
	return &record{rows: rows, columns: columns, figures: make(map[[2]string]series)}
}

func (r *record) add(row, column string, v float64) {
	k := [2]string{row, column}
	r.figures[k] = append(r.figures[k], v)
}

func (r *record) of(row, column string) series { return r.figures[[2]string{row, column}] }

// interleave measures all cells of all lanes in each round: a cell of one lane right after
// that of the other, in another order each time. A mere rotation would leave each lane
// the same predecessor in nearly all rounds, and what that one leaves behind to the
// kernel, such as connections to clean up, is work that the next one pays for.
func (b *bench) interleave(ctx context.Context, what string, lanes []lane, cells []cell) (*record, error) {
	var rows []string
	var columns []column
	for _, l := range lanes {
		rows = append(rows, l.name)
	}
	for _, c := range cells {
		columns = append(columns, c.columns...)
	}
	rec := newRecord(rows, columns)
	if err := b.rehearse(ctx, what, lanes, cells); err != nil {
		return rec, err
	}
	order := rand.New(rand.NewPCG(0, 0)) //nolint:gosec // the same orders in each run
	for round := range b.o.rounds {
		b.progress("%s: round %d of %d", what, round+1, b.o.rounds)
		for _, c := range cells {
			for _, i := range order.Perm(len(lanes)) {
				if err := b.measureCell(ctx, rec, what, lanes[i], c); err != nil {
					return rec, err
				}
			}
		}
	}
	return rec, nil
}

// rehearse runs all cells for a short while and forgets the figures: the first connections
// of an engine find caches empty, on both sides.
func (b *bench) rehearse(ctx context.Context, what string, lanes []lane, cells []cell) error {
	b.progress("%s: rehearsal", what)
	meter, profile := *b.meter, b.o.profile
	defer func() { *b.meter, b.o.profile = meter, profile }()
	b.meter.window, b.meter.warm, b.o.profile = meter.window/5, meter.window/5, ""
	for _, l := range lanes {
		for _, c := range cells {
			if err := b.measureCell(ctx, newRecord(nil, nil), what, l, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// measureCell records one measurement. One that failed is reported, and the others go on.
func (b *bench) measureCell(ctx context.Context, rec *record, what string, l lane, c cell) error {
	runtime.GC()
	stop, err := b.startProfile(what, l.name, c.name)
	if err != nil {
		return err
	}
	values, err := c.run(ctx, l)
	stop()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		b.fail("%s, %s, %s: %v", what, l.name, c.name, err)
	}
	for i, col := range c.columns {
		v := math.NaN()
		if err == nil {
			v = values[i]
		}
		rec.add(l.name, col.name, v)
	}
	return nil
}

// valid returns the figures there are, sorted.
func (s series) valid() series {
	v := slices.DeleteFunc(slices.Clone(s), math.IsNaN)
	slices.SortFunc(v, cmp.Compare)
	return v
}

// median returns the middle figure, NaN if there is none.
func (s series) median() float64 {
	v := s.valid()
	if len(v) == 0 {
		return math.NaN()
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// span returns the least and the largest figure.
func (s series) span() (low, high float64) {
	v := s.valid()
	if len(v) == 0 {
		return math.NaN(), math.NaN()
	}
	return v[0], v[len(v)-1]
}

// interval returns the bounds between which the median of ever more rounds would lie, with
// a probability of 95 % (from the ranks alone: whatever the distribution). With less than
// 6 rounds there is none.
func (s series) interval() (low, high float64, ok bool) {
	v := s.valid()
	n := len(v)
	// tail is the probability that k figures or fewer of n lie below the median.
	k, tail := -1, 0.0
	for term := math.Pow(0.5, float64(n)); tail+term <= 0.025; k++ {
		tail += term
		term *= float64(n-k-1) / float64(k+2)
	}
	if k < 0 {
		return 0, 0, false
	}
	return v[k], v[n-1-k], true
}

// ratios returns how much better a is than b in each round: above 1 it is better, whether
// more is better or less.
func ratios(a, b series, less bool) series {
	if less {
		a, b = b, a
	}
	return quotients(a, b)
}

// quotients returns a divided by b in each round.
func quotients(a, b series) series {
	q := make(series, min(len(a), len(b)))
	for i := range q {
		q[i] = a[i] / b[i]
	}
	return q
}
