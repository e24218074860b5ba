package pvdtest

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// A Lab is a set of networks in memory and the hosts on them. All of it ends with the
// test. Its methods are called from the test's goroutine; what goes wrong ends the test.
type Lab struct {
	// Clock is the lab's clock if the option ManualTime asked for one, else nil.
	Clock *ManualClock

	tb        TB
	seed      uint64
	artifacts string
	clock     pvd.Clock
	timeline  *timeline
	log       *slog.Logger

	mu       sync.Mutex
	lans     map[string]*LAN
	hosts    []*Host
	machines []*Machine
	cables   []*cable
	infra    *stack.Host // what the lab's own machines run on
	lastMAC  uint32
	ca       *authority // nil: not needed so far

	wg sync.WaitGroup // goroutines of the machines' servers
}

// An Option changes how a lab is made.
type Option func(*Lab)

// Seed makes whatever is random in the lab come out as it did the last time that the
// same seed was used. The default is 1.
func Seed(n uint64) Option { return func(l *Lab) { l.seed = n } }

// ManualTime gives the lab and all its hosts a [ManualClock], which Lab.Clock then is.
// Calls that wait for the network have to be made within [Lab.Run].
func ManualTime() Option {
	return func(l *Lab) {
		l.Clock = NewManualClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
		l.clock = l.Clock
	}
}

// Artifacts makes the lab leave its captures and timeline in a directory of the caller's,
// and not only when the test fails.
func Artifacts(dir string) Option { return func(l *Lab) { l.artifacts = dir } }

// New returns an empty lab.
func New(tb TB, opts ...Option) *Lab {
	l := &Lab{tb: tb, seed: 1, clock: pvd.SystemClock(), lans: make(map[string]*LAN)}
	for _, o := range opts {
		o(l)
	}
	l.timeline = newTimeline(l.clock)
	l.log = slog.New(slog.NewTextHandler(l.timeline, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if l.Clock != nil {
		l.Clock.Watch(func() Activity { return l.activity(false) })
	}
	tb.Cleanup(l.close)
	return l
}

// LAN makes a network, an Ethernet switch with the given on-link prefixes: at most one
// IPv4 and one IPv6 prefix. Nothing keeps prefixes of different LANs from overlapping. The
// name is a DNS label: names in the LAN end in it and ".example".
func (l *Lab) LAN(name string, prefixes ...string) *LAN {
	l.tb.Helper()
	n, err := newLAN(l, name, prefixes)
	if err != nil {
		l.tb.Fatalf("pvdtest: LAN %q: %v", name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lans[name] != nil {
		l.tb.Fatalf("pvdtest: two LANs named %q", name)
	}
	l.lans[name] = n
	l.note("LAN made", "lan", name, "prefixes", n.prefixes)
	return n
}

// Run calls f. In a lab with manual time it does so in another goroutine and advances the
// clock, whenever all is at rest, until f returns; f must not call Fatalf then.
func (l *Lab) Run(f func()) {
	if l.Clock != nil {
		l.Clock.Run(f)
		return
	}
	f()
}

// Settle waits until no frame is on its way and nothing is being counted any more. It
// ends the test if that does not happen within ten seconds.
func (l *Lab) Settle() {
	l.tb.Helper()
	// With manual time, what an impairment delays stays where it is.
	if !settle(func() Activity { return l.activity(l.Clock == nil) }, settleTimeout) {
		l.tb.Fatalf("pvdtest: the lab does not come to rest: %+v", l.activity(true))
	}
}

// activity is what the lab's links, switches and routers are at.
func (l *Lab) activity(delayed bool) Activity {
	l.mu.Lock()
	cables, lans := l.cables, slices.Collect(maps.Values(l.lans))
	l.mu.Unlock()
	var a Activity
	for _, c := range cables {
		a.Pending += c.pending(delayed)
		a.Count += c.trace.frames()
	}
	for _, n := range lans {
		a.Pending += n.sw.pending()
		a.Count += n.sw.counts.received.Load() + n.sw.counts.carried.Load()
	}
	return a
}

// note puts an event on the timeline.
func (l *Lab) note(msg string, args ...any) { l.log.Info(msg, args...) }

// nextMAC returns a hardware address that nobody in the lab has, a locally administered
// one. The caller holds no lock.
func (l *Lab) nextMAC() mac {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastMAC++
	m := mac{0x02, 'l'}
	binary.BigEndian.PutUint32(m[2:], l.lastMAC)
	return m
}

// machineHost returns the stack that the lab's own machines run on.
func (l *Lab) machineHost() (*stack.Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.infra == nil {
		h, err := stack.New(stack.Config{Clock: l.clock, Logger: l.log.With("host", "machines"), Secret: l.secret("machines")})
		if err != nil {
			return nil, err
		}
		l.infra = h
	}
	return l.infra, nil
}

// routerSeed is the next router's, whose advertisements shall not come in step with those of
// others (RFC 4861 section 6.2.4).
func (l *Lab) routerSeed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seed + uint64(l.lastMAC)<<32
}

// secret is the seed of a stack's identifiers.
func (l *Lab) secret(of string) []byte {
	return binary.BigEndian.AppendUint64([]byte("pvdtest "+of+" "), l.seed)
}

// patience is a context for as long as something may take to be ready.
func (l *Lab) patience() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
	if l.Clock == nil {
		return ctx, cancel
	}
	// By the machine's time nobody would wait for what does not come by the lab's.
	t := l.Clock.AfterFunc(readyManual, cancel)
	return ctx, func() {
		t.Stop()
		cancel()
	}
}

// awaitMachines waits until the servers' addresses can be used.
func (l *Lab) awaitMachines(ctx context.Context) error {
	l.mu.Lock()
	machines := l.machines
	l.mu.Unlock()
	for _, m := range machines {
		if err := l.infra.WaitReady(ctx, m.ref); err != nil {
			return fmt.Errorf("machine %s: %w", m.name, err)
		}
	}
	return nil
}

// close ends everything, after leaving behind what explains a failure.
func (l *Lab) close() {
	if l.tb.Failed() || l.artifacts != "" {
		l.leaveArtifacts()
	}
	l.mu.Lock()
	hosts, infra := l.hosts, l.infra
	lans := slices.Collect(maps.Values(l.lans))
	l.mu.Unlock()
	for _, h := range hosts {
		h.close()
	}
	if infra != nil {
		if err := infra.Close(); err != nil {
			l.tb.Errorf("pvdtest: closing the machines: %v", err)
		}
	}
	for _, n := range lans {
		n.close()
	}
	l.wg.Wait()
}

// A cable leads from a switch to something. Both ends can be impaired, and what passes
// the far end is traced.
type cable struct {
	name  string
	far   tun.Link // what is plugged in at the far end, traced and impaired
	out   *tun.Impaired
	in    *tun.Impaired // the switch's end: what it sends, the far end receives
	trace *trace
}

func (c *cable) pending(delayed bool) int {
	n := tun.Pending(c.far) + tun.Pending(c.in)
	if delayed {
		n += c.out.Delayed() + c.in.Delayed()
	}
	return n
}

// cable plugs a new cable into a LAN's switch. see is shown each frame that passes the
// far end; it may be nil.
func (l *Lab) cable(n *LAN, name string, see func(tun.Direction, [][]byte, tun.Meta)) (*cable, error) {
	far, near := tun.Pipe(tun.PipeConfig{MTU: n.mtu, Names: [2]string{name, name + " (switch)"}, Queue: queueFrames})
	var clock tun.Clock // package time's
	if l.Clock != nil {
		clock = tun.Clock{Now: l.Clock.Monotonic, AfterFunc: func(d time.Duration, f func()) func() bool {
			return l.Clock.AfterFunc(d, f).Stop
		}}
	}
	l.mu.Lock()
	seed := l.seed + uint64(len(l.cables))*2
	l.mu.Unlock()
	out, err := tun.Impair(far, tun.ImpairConfig{Seed: seed, Clock: clock})
	if err != nil {
		return nil, err
	}
	in, err := tun.Impair(near, tun.ImpairConfig{Seed: seed + 1, Clock: clock})
	if err != nil {
		return nil, err
	}
	c := &cable{name: name, out: out, in: in, trace: newTrace(l.clock)}
	c.far = tun.Tap(out, func(dir tun.Direction, bufs [][]byte, m tun.Meta) {
		c.trace.add(dir, bufs, m)
		if see != nil {
			see(dir, bufs, m)
		}
	})
	l.mu.Lock()
	l.cables = append(slices.Clip(l.cables), c)
	l.mu.Unlock()
	n.sw.plug(in, true)
	return c, nil
}
