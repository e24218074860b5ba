package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
)

// How long an answer is kept, whatever it is.
func TestCacheLifetimes(t *testing.T) {
	const soa = "corp. %d IN SOA ns.corp. me.corp. 1 2 3 4 %d"
	record := func(ttl uint32) string { return fmt.Sprintf("wiki.corp. %d IN A 10.0.0.1", ttl) }
	for _, tt := range []struct {
		name     string
		rcode    int
		answer   []string
		soa      string
		want     time.Duration
		truncate bool
	}{
		{name: "the record's TTL", answer: []string{record(60)}, want: time.Minute},
		{name: "the least of the chain", answer: []string{"wiki.corp. 20 IN CNAME b.corp.", "b.corp. 60 IN A 10.0.0.1"}, want: 20 * time.Second},
		{name: "0", answer: []string{record(0)}},
		{name: "a week", answer: []string{record(7 * 86400)}, want: maxTTL},
		{name: "with the first bit", answer: []string{record(1 << 31)}},
		{name: "no such name", rcode: wire.RcodeNameError, soa: fmt.Sprintf(soa, 60, 30), want: 30 * time.Second},
		{name: "no such name, the SOA's own TTL", rcode: wire.RcodeNameError, soa: fmt.Sprintf(soa, 20, 30), want: 20 * time.Second},
		{name: "no such name for a day", rcode: wire.RcodeNameError, soa: fmt.Sprintf(soa, 86400, 86400), want: maxNegativeTTL},
		{name: "no such name, without SOA", rcode: wire.RcodeNameError},
		{name: "no such name, SOA of another zone", rcode: wire.RcodeNameError, soa: "evil. 60 IN SOA ns.evil. me.evil. 1 2 3 4 60"},
		{name: "no data", soa: fmt.Sprintf(soa, 60, 30), want: 30 * time.Second},
		{name: "no data behind an alias", answer: []string{"wiki.corp. 10 IN CNAME b.corp."}, soa: fmt.Sprintf(soa, 60, 30), want: 10 * time.Second},
		{name: "SOA of the alias's zone", answer: []string{"wiki.corp. 60 IN CNAME b.org."}, soa: "org. 40 IN SOA ns.org. me.org. 1 2 3 4 30", want: 30 * time.Second},
		{name: "truncated even by TCP", answer: []string{record(60)}, truncate: true},
		{name: "failure", rcode: wire.RcodeServerFailure},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFake(t, func(q *query) {
					m := q.reply(t, tt.answer...)
					m.Rcode, m.Truncated = tt.rcode, tt.truncate
					if tt.soa != "" {
						rr, err := wire.NewRR(tt.soa)
						if err != nil {
							t.Error(err)
						}
						m.Ns = append(m.Ns, rr)
					}
					b, _ := m.Pack()
					if q.network == "tcp" {
						b = append([]byte{byte(len(b) >> 8), byte(len(b))}, b...)
					}
					q.send(b)
				})
				n.stream = true
				r := New(n.config())
				lookup := func() string {
					_, _ = r.LookupNetIP(t.Context(), "ip4", "wiki.corp")
					return n.asked()
				}
				first := lookup()
				if first == "" {
					t.Fatal("nobody was asked")
				}
				if again := lookup(); (again != "") != (tt.want == 0) {
					t.Errorf("asked again at once: %q", again)
				}
				if tt.want == 0 {
					if e, _ := r.Stats(); e != 0 {
						t.Error("it is kept")
					}
					return
				}
				time.Sleep(tt.want - time.Millisecond)
				if again := lookup(); again != "" {
					t.Errorf("asked at %s", again)
				}
				time.Sleep(time.Millisecond)
				if again := lookup(); again == "" {
					t.Errorf("kept for longer than %v", tt.want)
				}
			})
		})
	}
}

// What has been slept through counts: then the time of day goes on alone.
func TestCacheCountsSleep(t *testing.T) {
	c := &skewedClock{Clock: pvd.SystemClock()}
	s := serve(t, zone(t, "wiki.corp. A 10.0.0.1"))
	r := resolver(nil, s)
	r.conf.Clock = c
	for i, want := range []int{1, 1, 2} {
		if i == 2 {
			c.skew.Store(int64(61 * time.Second))
		}
		if _, err := r.LookupNetIP(t.Context(), "ip4", "wiki.corp"); err != nil {
			t.Fatal(err)
		}
		if n := len(s.queries()); n != want {
			t.Errorf("%d queries, want %d", n, want)
		}
	}
}

// A skewedClock is one whose time of day goes ahead of its monotonic time.
type skewedClock struct {
	pvd.Clock
	skew atomic.Int64
}

func (c *skewedClock) Now() time.Time { return time.Now().Round(0).Add(time.Duration(c.skew.Load())) }

// The bounds of the cache: what was used longest ago goes first.
func TestCacheBounds(t *testing.T) {
	now := time.Now()
	c := newCache(3, 1<<20)
	q := func(i int) question { return internet(fmt.Sprintf("n%d.corp", i), wire.TypeA) }
	put := func(i, size int) { c.put(q(i), &answer{msg: make([]byte, size), ttl: time.Minute, at: now}) }
	have := func() (s []int) {
		for i := range 10 {
			if c.entries[q(i)] != nil {
				s = append(s, i)
			}
		}
		return s
	}
	for i := range 3 {
		put(i, 100)
	}
	if a, _ := c.get(q(0), func() time.Time { return now }); a == nil {
		t.Error("0 is gone")
	}
	put(3, 100)
	if got := have(); !slices.Equal(got, []int{0, 2, 3}) {
		t.Errorf("%v are left", got)
	}
	put(2, 200) // in its own place
	if got := have(); !slices.Equal(got, []int{0, 2, 3}) {
		t.Errorf("%v are left", got)
	}
	// By octets.
	_, bytes := c.stats()
	c.maxBytes = bytes
	put(4, 200)
	if got := have(); !slices.Equal(got, []int{2, 4}) {
		t.Errorf("%v are left", got)
	}
	put(5, bytes)
	if got := have(); !slices.Equal(got, []int{2, 4}) {
		t.Errorf("%v are left after one that is larger than all", got)
	}
	sum := 0
	for _, e := range c.entries {
		sum += e.size()
	}
	if n, bytes := c.stats(); n != 2 || bytes != sum {
		t.Errorf("%d entries, %d octets, which are %d", n, bytes, sum)
	}
	// What is over is not kept either.
	if a, _ := c.get(q(4), func() time.Time { return now.Add(time.Minute) }); a != nil || len(have()) != 1 {
		t.Error("4 is still there")
	}
}

// The default bounds hold against a flood of names.
func TestCacheDefaults(t *testing.T) {
	n := func(i int) question { return internet(strings.Repeat("x", 60)+fmt.Sprint(i), wire.TypeA) }
	c := newCache(DefaultEntries, DefaultBytes)
	for i := range DefaultEntries + 100 {
		c.put(n(i), &answer{msg: make([]byte, 100), ttl: time.Minute})
	}
	if entries, bytes := c.stats(); entries != DefaultEntries || bytes > DefaultBytes {
		t.Errorf("%d entries, %d octets", entries, bytes)
	}
	for i := range DefaultEntries {
		c.put(n(i), &answer{msg: make([]byte, 4000), ttl: time.Minute})
	}
	if entries, bytes := c.stats(); entries == 0 || entries >= DefaultEntries || bytes > DefaultBytes {
		t.Errorf("%d entries, %d octets", entries, bytes)
	}
}

// Nothing is left after Flush, after other servers have come, and for another resolver.
func TestCacheForgets(t *testing.T) {
	s := serve(t, zone(t, "wiki.corp. A 10.0.0.1"))
	r := resolver(nil, s)
	lookup := func(r *Resolver, want int) {
		t.Helper()
		if _, err := r.LookupNetIP(t.Context(), "ip4", "wiki.corp"); err != nil {
			t.Fatal(err)
		}
		if n := len(s.queries()); n != want {
			t.Errorf("%d queries, want %d", n, want)
		}
	}
	lookup(r, 1)
	lookup(r, 1)
	r.Flush()
	lookup(r, 2)
	d := r.conf.DNS()
	r.conf.DNS = func() pvd.DNS {
		return pvd.DNS{Servers: append([]netip.AddrPort{s.addr}, addrPorts("10.9.9.9:53")...)}
	}
	lookup(r, 3)
	r.conf.DNS = func() pvd.DNS { return d }
	lookup(r, 4)
	lookup(resolver(nil, s), 5)
	off := New(Config{DNS: r.conf.DNS, Dial: r.conf.Dial, MaxEntries: -1})
	lookup(off, 6)
	lookup(off, 7)
}

// Many who ask the same share one query, which ends with none of them but the last.
func TestSharedQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFake(t, after(t, 300*time.Millisecond, "10.1.0.1"))
		r := New(n.config())
		var wg sync.WaitGroup
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		wg.Go(func() {
			_, err := r.LookupNetIP(short, "ip4", "wiki.corp")
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(n.begin) != 100*time.Millisecond {
				t.Errorf("%v after %v", err, time.Since(n.begin))
			}
		})
		synctest.Wait()
		var joined atomic.Int32
		for range 100 {
			wg.Go(func() {
				ctx := WithTrace(t.Context(), func(e Event) {
					if e.Cache == Joined {
						joined.Add(1)
					}
				})
				got, err := r.LookupNetIP(ctx, "ip4", "WIKI.corp.")
				if !slices.Equal(got, addrs("10.1.0.1")) {
					t.Errorf("%v, %v", got, err)
				}
			})
		}
		wg.Wait()
		if got := n.asked(); got != "0s 10.0.0.1" || joined.Load() != 100 {
			t.Errorf("asked at %s; %d joined", got, joined.Load())
		}
		// The last one who waits ends it.
		ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		if _, err := r.LookupNetIP(ctx, "ip4", "other.corp"); err == nil {
			t.Error("found")
		}
		synctest.Wait()
		if v := r.current.Load(); len(v.flights) != 0 {
			t.Errorf("%d queries are under way", len(v.flights))
		}
	})
}

// Close ends what is under way, and nothing works afterwards.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFake(t, nil)
		r := New(n.config())
		time.AfterFunc(300*time.Millisecond, func() { _ = r.Close() })
		for range 2 {
			_, err := r.LookupNetIP(t.Context(), "ip", "wiki.corp")
			e, ok := errors.AsType[*net.DNSError](err)
			if !ok || !errors.Is(err, net.ErrClosed) || e.IsNotFound || e.IsTimeout || e.IsTemporary {
				t.Errorf("%#v", err)
			}
			if d := time.Since(n.begin); d != 300*time.Millisecond {
				t.Errorf("after %v", d)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		r.Flush()
		if _, _, err := r.Query(t.Context(), Question{Name: "wiki.corp", Type: wire.TypeA}); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		m := new(wire.Msg).SetUpdate("corp.")
		if _, _, err := r.Exchange(t.Context(), m); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}
