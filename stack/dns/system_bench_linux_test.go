package dns_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	wire "github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/pvdstack/pvdstack/stack/dns"
)

// outstanding is how many questions are under way at once, here and in dnsperf.
const outstanding = 100

var perSecond = regexp.MustCompile(`Queries per second:\s+([0-9.]+)`)

// Questions that a server in a namespace answers: through a PvD and its resolver, over a TAP
// link, and by dnsperf through the kernel of that namespace, in turns. The last figure is
// their ratio.
func BenchmarkUncachedThroughPvD(b *testing.B) {
	if _, err := exec.LookPath("dnsperf"); err != nil {
		b.Skip("needs dnsperf:", err)
	}
	for _, d := range daemons {
		b.Run(d.name, func(b *testing.B) {
			p := newProviders(b, "corp")[0]
			writeCertificate(b, p.dir)
			d.serve(b, p)
			p.quiet.Store(true)
			r := p.resolver(dns.Config{MaxEntries: -1})
			defer r.Close()
			var ours, theirs float64
			var cpu time.Duration
			rounds := 0
			for b.Loop() {
				began := cpuTime()
				ours += rate(b, r)
				cpu += cpuTime() - began
				theirs += p.dnsperf(b)
				rounds++
			}
			b.ReportMetric(ours/float64(rounds), "lookups/s")
			b.ReportMetric(theirs/float64(rounds), "dnsperf/s")
			b.ReportMetric(ours/theirs, "ratio")
			b.ReportMetric(float64(cpu.Microseconds())/ours/window.Seconds(), "cpu-µs/lookup")
		})
	}
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // never fails
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// window is for how long each is measured in a round.
const window = time.Second

// rate returns how many questions a second are answered.
func rate(b *testing.B, r *dns.Resolver) float64 {
	b.Helper()
	var n atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for range outstanding {
		wg.Go(func() {
			for time.Since(begin) < window {
				i := n.Add(1)
				if _, _, err := r.Query(b.Context(), dns.Question{Name: fmt.Sprintf("n%d.wild.example.", i), Type: wire.TypeA}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(begin).Seconds()
}

// dnsperf does the same by the namespace's kernel.
func (p *provider) dnsperf(b *testing.B) float64 {
	b.Helper()
	file := filepath.Join(p.dir, "questions")
	var q strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&q, "n%d.wild.example A\n", i)
	}
	if err := os.WriteFile(file, []byte(q.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	out := p.ns.Exec("dnsperf", "-s", serverAddr, "-d", file, "-l", strconv.Itoa(int(window/time.Second)), "-q", strconv.Itoa(outstanding), "-e")
	m := perSecond.FindStringSubmatch(out)
	if m == nil {
		b.Fatal(out)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return v
}
