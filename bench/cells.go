package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A column is one figure that a cell measures.
type column struct {
	name  string // with its unit
	less  bool   // the less, the better
	extra bool   // shown, but not compared
}

// A cell is a measurement of a lane, which yields a figure for each of its columns.
type cell struct {
	name    string // in file names
	columns []column
	run     func(context.Context, lane) ([]float64, error)
}

// A meter makes measurements against a peer.
type meter struct {
	peer   *peer
	warm   time.Duration // of streams: a connection's first moments are its congestion control's
	window time.Duration
}

// Kinds of traffic.
const (
	kindUp      = "up"
	kindDown    = "down"
	kindRTT     = "rtt"
	kindConnect = "connect"
)

// traffic returns the cells of a table of traffic of some kinds.
func (m *meter) traffic(kinds []string, streams []int) (cells []cell) {
	for _, n := range streams {
		if slices.Contains(kinds, kindUp) {
			cells = append(cells, throughput(kindUp, n, m.up))
		}
		if slices.Contains(kinds, kindDown) {
			cells = append(cells, throughput(kindDown, n, m.down))
		}
	}
	if slices.Contains(kinds, kindRTT) {
		cells = append(cells, m.roundTrips())
	}
	if slices.Contains(kinds, kindConnect) {
		cells = append(cells, cell{kindConnect, []column{{name: "connections/s"}}, m.connections})
	}
	return cells
}

// throughput returns the cell of n streams one way.
func throughput(way string, n int, run func(context.Context, lane, int) ([]float64, error)) cell {
	suffix := ""
	if n > 1 {
		suffix = fmt.Sprintf(", %d streams", n)
	}
	return cell{
		fmt.Sprint(way, n),
		[]column{{name: way + " Gbit/s" + suffix}, {name: way + " CPU s/GB" + suffix, less: true}},
		func(ctx context.Context, l lane) ([]float64, error) { return run(ctx, l, n) },
	}
}

func (m *meter) roundTrips() cell {
	return cell{kindRTT, []column{{name: "round trip µs", less: true}, {name: "p99 µs", less: true, extra: true}}, m.roundTrip}
}

// bound returns a context in which a measurement has to be done, plenty of time included.
func (m *meter) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, m.warm+m.window+2*patience)
}

// pairUp dials n connections, which end with ctx at the latest, and returns how to end them.
func pairUp(ctx context.Context, l lane, port uint16, n int) (conns []conn, end func(), err error) {
	resetAll := func() {
		for _, c := range conns {
			reset(c)
		}
	}
	for range n {
		c, err := l.dial(ctx, service(l.peer, port))
		if err != nil {
			resetAll()
			return nil, nil, fmt.Errorf("dial: %w", err)
		}
		conns = append(conns, c)
	}
	stop := context.AfterFunc(ctx, resetAll)
	return conns, func() { stop(); resetAll() }, nil
}

// up measures what arrives at the peer.
func (m *meter) up(ctx context.Context, l lane, n int) ([]float64, error) {
	return m.stream(ctx, l, portSink, n, m.peer.read, func(c conn) {
		for b := make([]byte, chunk); ; {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
}

// down measures what arrives from the peer.
func (m *meter) down(ctx context.Context, l lane, n int) ([]float64, error) {
	var octets atomic.Uint64
	read := func() (reading, error) {
		r, err := m.peer.read()
		r.octets, r.at = octets.Load(), time.Since(start)
		return r, err
	}
	return m.stream(ctx, l, portSource, n, read, func(c conn) {
		for b := make([]byte, chunk); ; {
			n, err := c.Read(b)
			octets.Add(uint64(n))
			if err != nil {
				return
			}
		}
	})
}

// stream measures n streams that work keeps going until their connections end: Gbit/s, and
// how many seconds both processes work for a GB.
func (m *meter) stream(ctx context.Context, l lane, port uint16, n int, read func() (reading, error), work func(conn)) ([]float64, error) {
	ctx, cancel := m.bound(ctx)
	defer cancel()
	if err := m.peer.idle(); err != nil {
		return nil, err
	}
	conns, end, err := pairUp(ctx, l, port, n)
	if err != nil {
		return nil, err
	}
	var workers sync.WaitGroup
	defer workers.Wait()
	defer end()
	for _, c := range conns {
		workers.Go(func() { work(c) })
	}
	if err := sleep(ctx, m.warm); err != nil {
		return nil, err
	}
	first, err := read()
	if err != nil {
		return nil, err
	}
	first.cpu += cpuTime()
	last := first
	for last.octets == first.octets { // a retransmission may take longer than a window
		if err := sleep(ctx, m.window); err != nil {
			return nil, fmt.Errorf("nothing arrived: %w", err)
		}
		if last, err = read(); err != nil {
			return nil, err
		}
		last.cpu += cpuTime()
	}
	octets := float64(last.octets - first.octets)
	return []float64{octets * 8 / float64(last.at-first.at), (last.cpu - first.cpu).Seconds() / octets * 1e9}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fewest is how many round trips a median is made of, even if they take longer.
const fewest = 100

// message is the length of a request, and of its answer.
const message = 64

// roundTrip returns the median and the 99th percentile of the time from request to answer
// on one connection, in µs.
func (m *meter) roundTrip(ctx context.Context, l lane) ([]float64, error) {
	ctx, cancel := m.bound(ctx)
	defer cancel()
	conns, end, err := pairUp(ctx, l, portEcho, 1)
	if err != nil {
		return nil, err
	}
	defer end()
	var took []time.Duration
	began, warm := time.Now(), m.window/5
	for b, at := make([]byte, message), began; at.Sub(began) < warm+m.window/2 || len(took) < fewest; {
		if err := exchange(conns[0], b); err != nil {
			return nil, err
		}
		now := time.Now()
		if at.Sub(began) >= warm {
			took = append(took, now.Sub(at))
		}
		at = now
	}
	return []float64{micros(quantile(took, 0.5)), micros(quantile(took, 0.99))}, nil
}

// exchange sends b and reads the answer.
func exchange(c conn, b []byte) error {
	if _, err := c.Write(b); err != nil {
		return err
	}
	_, err := io.ReadFull(c, b)
	return err
}

// quantile returns the qth part of d, which it sorts.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[int(q*float64(len(d)-1))]
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// dialers is how many connections are made at once.
const dialers = 8

// connections returns how many connections a second can be made, used for one exchange,
// and closed in order. The peer closes first, since it is a kernel's: engines would
// collect connections in TIME-WAIT, a GB of them within a minute.
func (m *meter) connections(ctx context.Context, l lane) ([]float64, error) {
	ctx, cancel := m.bound(ctx)
	defer cancel()
	var made atomic.Int64
	errs := make(chan error, dialers)
	began := time.Now()
	for range dialers {
		go func() {
			for time.Since(began) < m.window/2 {
				if err := connectOnce(ctx, l); err != nil {
					errs <- err
					return
				}
				made.Add(1)
			}
			errs <- nil
		}()
	}
	var err error
	for range dialers {
		err = errors.Join(err, <-errs)
	}
	return []float64{float64(made.Load()) / time.Since(began).Seconds()}, err
}

func connectOnce(ctx context.Context, l lane) error {
	c, err := l.dial(ctx, service(l.peer, portOnce))
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { reset(c) })
	defer stop()
	b := make([]byte, 1)
	if err = exchange(c, b); err == nil {
		if _, err = c.Read(b); errors.Is(err, io.EOF) {
			err = nil
		}
	}
	return errors.Join(err, c.Close())
}
