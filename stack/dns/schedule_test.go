package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	wire "github.com/miekg/dns"
)

func fails(t *testing.T) func(*query) {
	return func(q *query) { q.answer(t, new(wire.Msg).SetRcode(&q.Msg, wire.RcodeServerFailure)) }
}

// Silent servers, in the order and at the times of each strategy.
func TestP40_Schedules(t *testing.T) {
	for _, tt := range []struct {
		name     string
		strategy Strategy
		servers  int
		links    map[string]string
		asked    string
		ends     time.Duration
	}{
		{
			name: "P30 sequential", strategy: Sequential, servers: 2,
			asked: "0s 10.0.0.1, 1s 10.0.0.2, 2s 10.0.0.1, 4s 10.0.0.2, 6s 10.0.0.1, 10s 10.0.0.2", ends: 14 * time.Second,
		},
		{
			name: "escalation on one link", strategy: Escalation, servers: 3,
			asked: "0s 10.0.0.1, 1s 10.0.0.1, 3s 10.0.0.1, 3s 10.0.0.2, 3s 10.0.0.3, 7s 10.0.0.1, 7s 10.0.0.2, 7s 10.0.0.3",
			ends:  15 * time.Second,
		},
		{
			name: "escalation on two links", strategy: Escalation, servers: 4,
			links: map[string]string{"10.0.0.1": "a", "10.0.0.2": "a", "10.0.0.3": "b", "10.0.0.4": "b"},
			asked: "0s 10.0.0.1, 1s 10.0.0.1, 1s 10.0.0.3, 3s 10.0.0.1, 3s 10.0.0.2, 3s 10.0.0.3, 3s 10.0.0.4, " +
				"7s 10.0.0.1, 7s 10.0.0.2, 7s 10.0.0.3, 7s 10.0.0.4",
			ends: 15 * time.Second,
		},
		{
			name: "parallel", strategy: Parallel, servers: 2,
			asked: "0s 10.0.0.1, 0s 10.0.0.2, 1s 10.0.0.1, 1s 10.0.0.2, 3s 10.0.0.1, 3s 10.0.0.2", ends: 7 * time.Second,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFake(t, make([]func(*query), tt.servers)...)
				c := n.config()
				c.Strategy = tt.strategy
				if tt.links != nil {
					c.Link = func(a netip.Addr) string { return tt.links[a.String()] }
				}
				_, err := New(c).LookupNetIP(t.Context(), "ip4", "wiki.corp")
				e, ok := errors.AsType[*net.DNSError](err)
				if !ok || !e.IsTimeout || e.IsNotFound || e.Server == "" {
					t.Errorf("%#v", err)
				}
				if d := time.Since(n.begin); d != tt.ends {
					t.Errorf("ended after %v, want %v", d, tt.ends)
				}
				if got := sortWithin(n.asked()); got != tt.asked {
					t.Errorf("asked at\n%s, want\n%s", got, tt.asked)
				}
			})
		})
	}
}

// sortWithin puts what was done at one moment in order.
func sortWithin(asked string) string {
	s := splitAsked(asked)
	slices.SortStableFunc(s, func(a, b [2]string) int {
		x, _ := time.ParseDuration(a[0])
		y, _ := time.ParseDuration(b[0])
		if x != y {
			return int(x - y)
		}
		return netip.MustParseAddr(a[1]).Compare(netip.MustParseAddr(b[1]))
	})
	return joinAsked(s)
}

// An answer counts whenever it comes, to whichever query of the schedule; a failure has the
// next step taken at once.
func TestP40_AnswersWithinSchedules(t *testing.T) {
	for _, tt := range []struct {
		name     string
		strategy Strategy
		handlers func(*testing.T) []func(*query)
		want     string // the address, empty for a failure
		at       time.Duration
		asked    string
	}{
		{
			"escalation: a late first answer", Escalation,
			func(t *testing.T) []func(*query) {
				return []func(*query){after(t, 2500*time.Millisecond, "10.1.0.1"), nil}
			},
			"10.1.0.1", 2500 * time.Millisecond, "0s 10.0.0.1, 1s 10.0.0.1",
		},
		{
			"escalation: the second server", Escalation,
			func(t *testing.T) []func(*query) { return []func(*query){nil, after(t, time.Millisecond, "10.1.0.2")} },
			"10.1.0.2", 3001 * time.Millisecond, "0s 10.0.0.1, 1s 10.0.0.1, 3s 10.0.0.1, 3s 10.0.0.2",
		},
		{
			"escalation: a failure", Escalation,
			func(t *testing.T) []func(*query) { return []func(*query){fails(t), after(t, 0, "10.1.0.2")} },
			"10.1.0.2", 0, "0s 10.0.0.1, 0s 10.0.0.2",
		},
		{
			"escalation: all fail", Escalation,
			func(t *testing.T) []func(*query) { return []func(*query){fails(t), fails(t)} },
			"", 0, "0s 10.0.0.1, 0s 10.0.0.2",
		},
		{
			"parallel: the faster one", Parallel,
			func(t *testing.T) []func(*query) {
				return []func(*query){after(t, 500*time.Millisecond, "10.1.0.1"), after(t, 50*time.Millisecond, "10.1.0.2")}
			},
			"10.1.0.2", 50 * time.Millisecond, "0s 10.0.0.1, 0s 10.0.0.2",
		},
		{
			"parallel: one fails", Parallel,
			func(t *testing.T) []func(*query) {
				return []func(*query){fails(t), after(t, 1500*time.Millisecond, "10.1.0.2")}
			},
			"10.1.0.2", 1500 * time.Millisecond, "0s 10.0.0.1, 0s 10.0.0.2, 1s 10.0.0.2",
		},
		{
			"sequential: too late", Sequential,
			func(t *testing.T) []func(*query) {
				return []func(*query){after(t, 1500*time.Millisecond, "10.1.0.1"), after(t, 200*time.Millisecond, "10.1.0.2")}
			},
			"10.1.0.2", 1200 * time.Millisecond, "0s 10.0.0.1, 1s 10.0.0.2",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFake(t, tt.handlers(t)...)
				c := n.config()
				c.Strategy = tt.strategy
				got, err := New(c).LookupNetIP(t.Context(), "ip4", "wiki.corp")
				if !slices.Equal(got, addrs(tt.want)) || (err == nil) != (tt.want != "") {
					t.Errorf("%v, %v; want %s", got, err, tt.want)
				}
				if d := time.Since(n.begin); d != tt.at {
					t.Errorf("after %v, want %v", d, tt.at)
				}
				if got := sortWithin(n.asked()); got != tt.asked {
					t.Errorf("asked at %s, want %s", got, tt.asked)
				}
			})
		})
	}
}

// A server that was silent comes last, for a while that grows, until it answers.
func TestP30_SilentServerComesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quiet := true
		n := newFake(t, func(q *query) {
			if !quiet {
				after(t, 0, "10.1.0.1")(q)
			}
		}, after(t, 0, "10.1.0.2"))
		c := n.config()
		c.MaxEntries = -1
		r := New(c)
		for _, tt := range []struct {
			sleep time.Duration
			quiet bool
			asked string
		}{
			{0, true, "0s 10.0.0.1, 1s 10.0.0.2"},
			{0, true, "1s 10.0.0.2"},
			{firstPenalty - time.Millisecond, true, "5.999s 10.0.0.2"},
			{time.Millisecond, true, "6s 10.0.0.1, 7s 10.0.0.2"},
			{2*firstPenalty - time.Millisecond, true, "16.999s 10.0.0.2"},
			{time.Millisecond, false, "17s 10.0.0.1"},
			{0, false, "17s 10.0.0.1"},
			{0, true, "17s 10.0.0.1, 18s 10.0.0.2"},
			{firstPenalty, false, "23s 10.0.0.1"}, // it had answered: the penalty is the first one again
		} {
			time.Sleep(tt.sleep)
			quiet = tt.quiet
			if _, err := r.LookupNetIP(t.Context(), "ip4", "wiki.corp"); err != nil {
				t.Error(err)
			}
			if got := n.asked(); got != tt.asked {
				t.Errorf("asked at %s, want %s", got, tt.asked)
			}
		}
	})
	// The limits: no penalty is longer than the longest.
	u := newUpstream(New(Config{}), Server{})
	for range 2 * maxSilences {
		u.silent()
	}
	if d := u.downFor(u.r.conf.Clock.Monotonic()); d > maxPenalty || d < maxPenalty-time.Second {
		t.Error("the longest penalty is", d)
	}
}

// Servers by escalation that are silent are not asked first by the next lookup.
func TestP40_EscalationLearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFake(t, nil, after(t, 0, "10.1.0.2"))
		c := n.config()
		c.MaxEntries, c.Strategy = -1, Escalation
		r := New(c)
		for range 2 {
			if _, err := r.LookupNetIP(t.Context(), "ip4", "wiki.corp"); err != nil {
				t.Error(err)
			}
		}
		if got, want := sortWithin(n.asked()), "0s 10.0.0.1, 1s 10.0.0.1, 3s 10.0.0.1, 3s 10.0.0.2, 3s 10.0.0.2"; got != want {
			t.Errorf("asked at %s, want %s", got, want)
		}
	})
}

// All times scale by the first.
func TestTimeoutScales(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFake(t, nil)
		c := n.config()
		c.Timeout, c.Strategy = 100*time.Millisecond, Escalation
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := New(c).LookupNetIP(ctx, "ip4", "wiki.corp"); err == nil || time.Since(n.begin) != 1500*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(n.begin))
		}
	})
}

// Goroutines that have asked end when there is nothing more to ask, and with the resolver.
func TestWorkersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFake(t, after(t, time.Millisecond, "10.1.0.1"))
		c := n.config()
		c.MaxEntries = -1
		r := New(c)
		idle := func() int {
			synctest.Wait()
			r.crew.mu.Lock()
			defer r.crew.mu.Unlock()
			return len(r.crew.idle)
		}
		for range 3 {
			if _, err := r.LookupNetIP(t.Context(), "ip", "wiki.corp"); err != nil {
				t.Error(err)
			}
			if n := idle(); n != 2 {
				t.Errorf("%d are idle", n)
			}
			time.Sleep(workerIdle / 2)
		}
		time.Sleep(workerIdle)
		if n := idle(); n != 0 {
			t.Errorf("%d are idle after %v", n, workerIdle)
		}
		if _, err := r.LookupNetIP(t.Context(), "ip", "wiki.corp"); err != nil {
			t.Error(err)
		}
		_ = r.Close()
		if n := idle(); n != 0 {
			t.Errorf("%d are idle after the end", n)
		}
	})
}
