// Command bench measures a pvdstack host against what it is made of and what it
// replaces, on links of this machine: a bare gVisor stack on the same link, gVisor behind
// wireguard/tun, and the kernel's own TCP over a veth. It prints tables in Markdown.
//
// It needs root, and makes the network namespaces that it works in. Three processes take
// part: the one that was started, which changes and restores the one setting outside of
// the namespaces; the one that measures, in a namespace of its own; and the peer in
// another, whose sockets are the kernel's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run is the part of this process: that of the peer, the one who measures, or the one
// who starts both.
func run(ctx context.Context, args []string) error {
	switch os.Getenv(roleVariable) {
	case rolePeer:
		return servePeer(os.Stdin, os.Stdout)
	case roleMeasure:
		o, err := parse(args)
		if err != nil {
			return err
		}
		ctx, stop := untilEOF(ctx, os.Stdin)
		defer stop()
		return measure(ctx, o, os.Stdout)
	}
	if _, err := parse(args); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root: it makes network namespaces and TUN devices")
	}
	restore, err := allowCubic()
	if err != nil {
		return err
	}
	return errors.Join(measureInNamespace(ctx, args), restore())
}

// options say what is measured, and for how long.
type options struct {
	rounds  int
	window  time.Duration // of one measurement
	warm    time.Duration // of streams, before it
	mtu     int
	links   []string
	engines []string
	kinds   []string // of traffic
	streams []int
	cells   []string
	gogc    int
	profile string
	quick   bool

	instances int // of PvDs and stacks whose cost is measured
	pvds      int // in the crowded host
	routes    int // of the PvD with many
}

// The names of what can be measured besides each kind of link.
const (
	cellTraffic = "traffic"
	cellCost    = "cost"
	cellRoutes  = "routes"
	cellCrowd   = "crowd"
	cellNames   = "names"
)

func parse(args []string) (options, error) {
	o := options{instances: 300, pvds: 1000, routes: 10000}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.DurationVar(&o.warm, "warm", 500*time.Millisecond, "how long a stream runs before it is measured")
	f.IntVar(&o.rounds, "rounds", 31, "paired rounds")
	f.DurationVar(&o.window, "window", 150*time.Millisecond, "length of one measurement of throughput; the others take half")
	f.IntVar(&o.mtu, "mtu", 1500, "MTU of all links, in octets, up to 65520")
	f.IntVar(&o.gogc, "gogc", 400, "GOGC, the same for all")
	f.StringVar(&o.profile, "profile", "", "`folder` to write a CPU profile of each measurement of traffic to")
	f.BoolVar(&o.quick, "quick", false, "one round of 200 ms with small numbers: shows only that everything runs")
	links := f.String("links", "tun,tap,packet", "kinds of links")
	engines := f.String("engines", "", "names of engines, separated by commas; empty for all")
	cells := f.String("cells", "traffic,cost,routes,crowd,names", "what to measure")
	kinds := f.String("traffic", "up,down,rtt,connect", "kinds of traffic")
	streams := f.String("streams", "1", "numbers of streams in measurements of throughput, such as 1,8")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("argument %q: there are only flags", f.Arg(0))
	}
	if o.quick {
		o.rounds, o.window, o.warm = 1, 200*time.Millisecond, 40*time.Millisecond
		o.instances, o.pvds, o.routes = 20, 50, 1000
	}
	if o.rounds < 1 || o.window < time.Millisecond || o.warm < 0 || o.mtu < 576 || o.mtu > 65520 {
		return o, errors.New("rounds has to be 1 or more, window 1ms or more, warm no less than 0, mtu from 576 to 65520")
	}
	var err error
	if o.links, err = list(*links, linkTUN, linkTAP, linkPacket); err != nil {
		return o, fmt.Errorf("links: %w", err)
	}
	if o.cells, err = list(*cells, cellTraffic, cellCost, cellRoutes, cellCrowd, cellNames); err != nil {
		return o, fmt.Errorf("cells: %w", err)
	}
	if o.kinds, err = list(*kinds, kindUp, kindDown, kindRTT, kindConnect); err != nil {
		return o, fmt.Errorf("traffic: %w", err)
	}
	o.engines = engineNames()
	if *engines != "" {
		if o.engines, err = list(*engines, o.engines...); err != nil {
			return o, fmt.Errorf("engines: %w", err)
		}
	}
	for s := range strings.SplitSeq(*streams, ",") {
		var n int
		if _, err := fmt.Sscan(s, &n); err != nil || n < 1 || n > 1000 {
			return o, fmt.Errorf("streams: %q is not a number from 1 to 1000", s)
		}
		o.streams = append(o.streams, n)
	}
	return o, nil
}

// list splits a list of names and checks that they are among those known.
func list(s string, known ...string) ([]string, error) {
	names := strings.Split(s, ",")
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("%q is none of %s", n, strings.Join(known, ", "))
		}
	}
	return names, nil
}
