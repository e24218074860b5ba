package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack/dns"
)

const (
	// outstanding is how many questions are under way at once.
	outstanding = 100
	// cachedNames is how many names caches hold, and are asked for again and again.
	cachedNames = 1000
	// stubPort and dnsmasqPort are those of the servers with caches, on loopback.
	stubPort, dnsmasqPort = 5301, 5302
)

// The names of lanes of names.
const (
	laneResolver  = "lookups through a PvD"
	laneDNSPerf   = "dnsperf through the kernel"
	laneDNSPerf2  = "dnsperf through the kernel again"
	laneStub      = "pvdstack's DNS server"
	laneDNSMasq   = "dnsmasq"
	laneDNSMasq2  = "dnsmasq again"
	laneCache     = "a PvD's cache"
	colUncached   = "answers/s"
	colCached     = "cached answers/s"
	colCacheAlone = "cached lookups/s, one goroutine"
)

// A nameBed is a DNS server in the peer's namespace that knows all names below example, a
// PvD whose server it is, and two servers with caches that ask it: one by the PvD, one by
// the kernel.
type nameBed struct {
	host *hostEngine
	stub *dns.Stub
	a, k attachment // of the PvD, and of the kernel
	dir  string     // for files of questions
	next atomic.Int64
	end  []func() error
}

// names compares lookups through a PvD with the kernel's, and caches.
func (b *bench) names(ctx context.Context) error {
	for _, program := range []string{"dnsperf", "dnsmasq"} {
		if _, err := exec.LookPath(program); err != nil {
			b.fail("names: %v", err)
			return nil
		}
	}
	for _, kind := range b.o.links {
		if err := b.namesOn(ctx, kind); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) namesOn(ctx context.Context, kind string) (err error) {
	n, err := b.bed.nameBed(ctx, kind)
	defer func() { err = errors.Join(err, n.close()) }()
	if err != nil {
		return err
	}
	count := int(b.o.window / time.Millisecond * 400) // what takes half a second, about
	for _, part := range []struct {
		what, column  string
		lanes         []string
		bound         float64
		run           func(context.Context, lane) (float64, error)
		ours, control string
	}{
		{"uncached", colUncached, []string{laneDNSPerf, laneResolver, laneDNSPerf2}, 0.5, func(ctx context.Context, l lane) (float64, error) {
			if l.name == laneResolver {
				return n.lookups(ctx, count/4)
			}
			return n.dnsperf(ctx, netip.AddrPortFrom(n.k.peer, 53), n.questions(count/4, true), 1)
		}, laneResolver, laneDNSPerf2},
		{"cached", colCached, []string{laneDNSMasq, laneStub, laneDNSMasq2}, 0.7, func(ctx context.Context, l lane) (float64, error) {
			server := loopback(dnsmasqPort)
			if l.name == laneStub {
				server = loopback(stubPort)
			}
			return n.dnsperf(ctx, server, n.questions(cachedNames, false), max(count/cachedNames, 2))
		}, laneStub, laneDNSMasq2},
		{"cache", colCacheAlone, []string{laneCache}, 1e6, func(ctx context.Context, _ lane) (float64, error) {
			return n.cached(ctx, b.meter.window)
		}, laneCache, ""},
	} {
		var lanes []lane
		for _, name := range part.lanes {
			lanes = append(lanes, lane{name: name})
		}
		rec, err := b.interleave(ctx, kind+", names, "+part.what, lanes, []cell{{part.what, []column{{name: part.column}}, func(ctx context.Context, l lane) ([]float64, error) {
			v, err := part.run(ctx, l)
			return []float64{v}, err
		}}})
		if err != nil {
			return err
		}
		writeTable(b.out, "Names, "+part.what+": "+kind, "by", rec)
		g := goal{what: kind + ", " + part.column + ": " + part.ours, bound: part.bound, figures: rec.of(part.ours, part.column)}
		if part.control != "" {
			base := rec.of(part.lanes[0], part.column)
			g.what += " against " + part.lanes[0]
			g.figures, g.control = quotients(g.figures, base), quotients(rec.of(part.control, part.column), base)
		}
		b.goals = append(b.goals, g)
	}
	return nil
}

// nameBed makes one. It is to be closed, even after an error.
func (t *testbed) nameBed(ctx context.Context, kind string) (n *nameBed, err error) {
	n = new(nameBed)
	if n.dir, err = os.MkdirTemp("", "pvdstack-bench-"); err != nil {
		return n, err
	}
	n.end = append(n.end, func() error { return os.RemoveAll(n.dir) })
	l, a, err := t.open(kind)
	if err != nil {
		return n, err
	}
	n.a = a
	if _, n.k, err = t.openKernel(); err != nil {
		return n, errors.Join(err, l.Close())
	}
	if n.host, err = newHostEngine(ctx, l, a); err != nil {
		return n, err
	}
	n.end = append(n.end, n.host.close)
	c := pvdOf("names", netip.PrefixFrom(addTo(a.own, 1), 24))
	c.DNS = pvd.DNS{Servers: []netip.AddrPort{netip.AddrPortFrom(a.peer, 53)}}
	ref, err := n.host.add(ctx, c)
	if err != nil {
		return n, err
	}
	n.host = n.host.in(ref)
	if err := n.serve(t.peer.ns, "--listen-address="+a.peer.String(), "--listen-address="+n.k.peer.String(),
		"--address=/example/192.0.2.1", "--local-ttl=3600"); err != nil {
		return n, err
	}
	if err := n.serve(ownNamespace, "--listen-address=127.0.0.1", "--port="+strconv.Itoa(dnsmasqPort), "--server="+n.k.peer.String(),
		"--cache-size=10000", "--dns-forward-max=1000"); err != nil {
		return n, err
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:"+strconv.Itoa(stubPort))
	if err != nil {
		return n, err
	}
	n.stub = dns.NewStub(dns.StubConfig{Asker: n.host.network})
	n.end = append(n.end, n.stub.Close)
	go n.stub.ServePacket(pc) //nolint:errcheck // ends with the stub
	return n, n.await(ctx)
}

// serve runs dnsmasq in a namespace until the bed is closed, or this process ends.
func (n *nameBed) serve(ns namespace, args ...string) error {
	cmd := exec.Command("sh", append([]string{
		"-c", `"$@" & read -r _; kill $!`, "sh", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root",
		"--no-resolv", "--no-hosts", "--bind-interfaces",
	}, args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := ns.do(cmd.Start); err != nil {
		return fmt.Errorf("start dnsmasq: %w", err)
	}
	n.end = append(n.end, func() error {
		in.Close()     //nolint:errcheck // it ends by that
		_ = cmd.Wait() // by a signal
		return nil
	})
	return nil
}

// await waits until all servers answer.
func (n *nameBed) await(ctx context.Context) error {
	for _, server := range []netip.AddrPort{netip.AddrPortFrom(n.k.peer, 53), loopback(dnsmasqPort)} {
		for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			// It listens for UDP before.
			c, err := new(net.Dialer).DialContext(ctx, "tcp", server.String())
			if err == nil {
				c.Close() //nolint:errcheck // nothing was said
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("dnsmasq: %w", err)
			}
		}
	}
	_, err := n.dnsperf(ctx, loopback(stubPort), n.questions(1, false), 1)
	return err
}

// loopback returns a port of this machine's own.
func loopback(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

func (n *nameBed) close() (err error) {
	for i := range n.end {
		err = errors.Join(err, n.end[len(n.end)-1-i]())
	}
	return err
}

// questions returns a file of questions, for names that nobody has asked for yet or not.
func (n *nameBed) questions(count int, fresh bool) string {
	var q strings.Builder
	for i := range int64(count) {
		if fresh {
			i = n.next.Add(1)
		}
		fmt.Fprintf(&q, "n%d.example A\n", i)
	}
	path := filepath.Join(n.dir, "questions")
	if err := os.WriteFile(path, []byte(q.String()), 0o600); err != nil {
		return "" // which dnsperf can not read
	}
	return path
}

var (
	perSecond = regexp.MustCompile(`Queries per second:\s+([0-9.]+)`)
	lost      = regexp.MustCompile(`Queries lost:\s+([0-9]+)`)
	noError   = regexp.MustCompile(`Response codes:\s+NOERROR [0-9]+ \(100.00%\)`)
)

// dnsperf asks a server by the kernel all that is in a file, so many times.
func (n *nameBed) dnsperf(ctx context.Context, server netip.AddrPort, file string, times int) (float64, error) {
	out, err := exec.CommandContext(ctx, "dnsperf", "-s", server.Addr().String(), "-p", strconv.Itoa(int(server.Port())), "-d", file,
		"-n", strconv.Itoa(times), "-q", strconv.Itoa(outstanding), "-e").CombinedOutput()
	m, l := perSecond.FindSubmatch(out), lost.FindSubmatch(out)
	if err != nil || m == nil || l == nil || string(l[1]) != "0" || !noError.Match(out) {
		return 0, fmt.Errorf("dnsperf: %w: %s", errors.Join(err, io.ErrUnexpectedEOF), out)
	}
	return strconv.ParseFloat(string(m[1]), 64)
}

// lookups looks so many new names up through the PvD.
func (n *nameBed) lookups(ctx context.Context, count int) (float64, error) {
	var wg sync.WaitGroup
	errs := make([]error, outstanding)
	began := time.Now()
	for i := range outstanding {
		wg.Go(func() {
			for range count / outstanding {
				if _, err := n.host.network.LookupNetIP(ctx, "ip4", fmt.Sprintf("n%d.example", n.next.Add(1))); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(count/outstanding*outstanding) / time.Since(began).Seconds(), errors.Join(errs...)
}

// cached looks one name up for a while.
func (n *nameBed) cached(ctx context.Context, window time.Duration) (float64, error) {
	const batch = 1000
	count := 0
	began := time.Now()
	for time.Since(began) < window {
		for range batch {
			if _, err := n.host.network.LookupNetIP(ctx, "ip4", "cached.example"); err != nil {
				return 0, err
			}
		}
		count += batch
	}
	return float64(count) / time.Since(began).Seconds(), nil
}
