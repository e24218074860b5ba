package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"time"

	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// The columns of the table of costs.
var costColumns = []column{
	{name: "heap KB", less: true},
	{name: "ms to make", less: true},
	{name: "goroutines", less: true},
	{name: "ms to remove", less: true},
}

// costProcs is GOMAXPROCS while the cost is measured: a gVisor stack starts as many
// workers.
const costProcs = 2

// A product is something whose cost is measured. make makes n of them, and returns how to
// remove them, one after another.
type product struct {
	name string
	make func(ctx context.Context, n int) (remove func() error, err error)
}

// cost measures what one more PvD costs, and one more gVisor stack.
func (b *bench) cost(ctx context.Context) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(costProcs))
	var rows []string
	var products []product
	layers := []tun.Layer{tun.IP, tun.Ethernet}
	for _, layer := range layers {
		products = append(products, pvds(layer), bareStacks(layer))
	}
	for _, p := range products {
		rows = append(rows, p.name)
	}
	rec := newRecord(rows, costColumns)
	for round := range b.o.rounds {
		b.progress("cost: round %d of %d", round+1, b.o.rounds)
		for i := range products {
			p := products[(round+i)%len(products)]
			values, err := costOf(ctx, p, b.o.instances)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				b.fail("cost of %s: %v", p.name, err)
				values = [4]float64{math.NaN(), math.NaN(), math.NaN(), math.NaN()}
			}
			for i, c := range costColumns {
				rec.add(p.name, c.name, values[i])
			}
		}
	}
	writeTable(b.out, fmt.Sprintf("Cost of one more, GOMAXPROCS=%d", costProcs), "what", rec)
	for _, layer := range layers {
		heap, took := costColumns[0].name, costColumns[1].name
		ours, bare := pvds(layer).name, bareStacks(layer).name
		b.goals = append(b.goals,
			goal{what: "heap of " + ours + " by " + bare, bound: 1.1, most: true, figures: quotients(rec.of(ours, heap), rec.of(bare, heap))},
			goal{what: "ms to make " + ours, bound: 0.5, most: true, figures: rec.of(ours, took)})
	}
	return nil
}

// costOf makes n of p, and returns the figures of costColumns for one.
func costOf(ctx context.Context, p product, n int) (values [4]float64, err error) {
	heap, routines := inUse()
	began := time.Now()
	remove, err := p.make(ctx, n)
	if err != nil {
		return values, err
	}
	took := time.Since(began)
	heapThen, routinesThen := inUse()
	began = time.Now()
	err = remove()
	each := float64(n)
	return [4]float64{
		(heapThen - heap) / 1024 / each,
		took.Seconds() * 1e3 / each,
		(routinesThen - routines) / each,
		time.Since(began).Seconds() * 1e3 / each,
	}, err
}

// inUse returns the octets on the heap that are reachable, and the number of goroutines.
func inUse() (heap, routines float64) {
	var m runtime.MemStats
	for range 3 { // what finalizers and pools hold on to goes later
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc), float64(runtime.NumGoroutine())
}

// nth returns the nth address of a block of 2^20.
func nth(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{172, 16 + byte(n>>16), byte(n >> 8), byte(n)})
}

func nthPrefix(n int) netip.Prefix { return netip.PrefixFrom(nth(n), 32) }

// pvds are PvDs with one NIC, an address and a default route, on one link.
func pvds(layer tun.Layer) product {
	return product{"a PvD with one " + layerName(layer) + " NIC", func(ctx context.Context, n int) (func() error, error) {
		h, near, err := pipeHost(layer)
		if err != nil {
			return nil, err
		}
		remove := func() error { return errors.Join(h.Close(), near.Close()) }
		for i := range n {
			c := pvdOf(fmt.Sprintf("pvd%d", i), nthPrefix(i+2))
			c.Addresses[0].Prefix = netip.PrefixFrom(nth(i+2), 12)
			c.Routes = []pvd.Route{{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: nth(1)}}
			if _, err := h.Add(ctx, c); err != nil {
				return nil, errors.Join(err, remove())
			}
		}
		return remove, nil
	}}
}

// pipeHost returns a host with a link in memory, and the link's other end, which nobody
// reads.
func pipeHost(layer tun.Layer) (*stack.Host, tun.Link, error) {
	h, err := stack.New(stack.Config{})
	if err != nil {
		return nil, nil, err
	}
	near, far := tun.Pipe(tun.PipeConfig{Layer: layer})
	if err := h.AddLink(hostLink, far); err != nil {
		return nil, nil, errors.Join(err, far.Close(), near.Close(), h.Close())
	}
	return h, near, nil
}

// bareStacks are gVisor stacks with one NIC, an address and a default route, on one link.
func bareStacks(layer tun.Layer) product {
	return product{"a bare gVisor stack with one " + layerName(layer) + " NIC", func(ctx context.Context, n int) (func() error, error) {
		near, far := tun.Pipe(tun.PipeConfig{Layer: layer})
		var stacks []*gstack.Stack
		remove := func() error {
			for _, s := range stacks {
				s.Destroy()
			}
			return errors.Join(far.Close(), near.Close())
		}
		for i := range n {
			// The endpoints read nothing, since one link has one reader.
			ep, err := newBareEndpoint(far)
			if err != nil {
				return nil, errors.Join(err, remove())
			}
			s, err := newBareStack(ep, attachment{own: nth(i + 2), peer: nth(1)})
			if err != nil {
				return nil, errors.Join(err, remove())
			}
			stacks = append(stacks, s)
		}
		return remove, nil
	}}
}

func layerName(l tun.Layer) string {
	if l == tun.IP {
		return "IP"
	}
	return "Ethernet"
}
