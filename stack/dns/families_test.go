package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
)

// families has a server answer by type and name, as late as plan says: "AAAA wiki.a." to what
// is answered when. What is not in it does not exist.
type families map[string]struct {
	late  time.Duration
	addr  string // empty: no record of the type
	rcode int
}

func (f families) handle(t *testing.T) func(*query) {
	return func(q *query) {
		typ := wire.TypeToString[q.Question[0].Qtype]
		p, ok := f[typ+" "+q.name()]
		time.Sleep(p.late)
		m := q.reply(t)
		switch {
		case !ok:
			m.Rcode = wire.RcodeNameError
		case p.rcode != 0:
			m.Rcode = p.rcode
		case p.addr != "":
			m = q.reply(t, q.name()+" 60 IN "+typ+" "+p.addr)
		}
		q.answer(t, m)
	}
}

// given looks a host up and returns what came when, as "1s [10.0.0.1]".
func given(ctx context.Context, r *Resolver, network, host string) (string, error) {
	began := time.Now()
	var got []string
	err := r.LookupFamilies(ctx, network, host, func(addrs []netip.Addr) {
		got = append(got, fmt.Sprint(time.Since(began), " ", addrs))
		addrs[0] = netip.Addr{} // they are our own
	})
	return strings.Join(got, ", "), err
}

func TestLookupFamilies(t *testing.T) {
	const ms, second = time.Millisecond, time.Second
	for _, tt := range []struct {
		what, network, host string
		plan                families
		want                string // what is given when, or "!" and a part of the error
		took                time.Duration
	}{
		{
			"IPv6 first", "ip", "wiki.a",
			families{"AAAA wiki.a.": {addr: "fd00::1"}, "A wiki.a.": {late: 300 * ms, addr: "10.0.0.1"}},
			"0s [fd00::1], 300ms [10.0.0.1]", 300 * ms,
		},
		{
			"IPv4 first", "ip", "wiki.a",
			families{"AAAA wiki.a.": {late: 300 * ms, addr: "fd00::1"}, "A wiki.a.": {addr: "10.0.0.1"}},
			"0s [10.0.0.1], 300ms [fd00::1]", 300 * ms,
		},
		{
			"one is silent", "ip", "wiki.a",
			families{"AAAA wiki.a.": {late: time.Minute}, "A wiki.a.": {addr: "10.0.0.1"}},
			"0s [10.0.0.1]", 1500 * ms,
		},
		{
			"one fails", "ip", "wiki.a",
			families{"AAAA wiki.a.": {rcode: wire.RcodeServerFailure}, "A wiki.a.": {addr: "10.0.0.1"}},
			"0s [10.0.0.1]", 0,
		},
		{"one family", "ip6", "wiki.a", families{"AAAA wiki.a.": {addr: "fd00::1"}, "A wiki.a.": {addr: "10.0.0.1"}}, "0s [fd00::1]", 0},
		{"an address", "ip", "192.0.2.1", nil, "0s [192.0.2.1]", 0},
		{"localhost", "ip", "localhost", nil, "0s [::1 127.0.0.1]", 0},
		{"the search list", "ip", "wiki", families{
			"AAAA wiki.a.": {late: 400 * ms}, "A wiki.a.": {late: 100 * ms},
			"AAAA wiki.b.": {late: 300 * ms, addr: "fd00::1"}, "A wiki.b.": {late: 200 * ms, addr: "10.0.0.1"},
		}, "600ms [10.0.0.1], 700ms [fd00::1]", 700 * ms},
		{"never two names", "ip", "wiki", families{
			"AAAA wiki.a.": {}, "A wiki.a.": {addr: "10.0.0.1"}, "AAAA wiki.b.": {addr: "fd00::1"}, "A wiki.b.": {addr: "10.0.0.2"},
		}, "0s [10.0.0.1]", 0},
		{"no such name for A", "ip", "wiki.c", families{"AAAA wiki.c.": {late: time.Minute}}, "!no such host", 0},
		// There are servers that say so of AAAA where there is A (RFC 4074 section 4.2).
		{"no such name for AAAA", "ip", "wiki.a", families{"A wiki.a.": {late: 800 * ms, addr: "10.0.0.1"}}, "800ms [10.0.0.1]", 800 * ms},
		{"nothing known", "ip", "wiki.a", families{"AAAA wiki.a.": {}, "A wiki.a.": {late: time.Minute}}, "!i/o timeout", 7 * second},
		{"no name", "ip", "-..-", nil, "!no such host", 0},
		{"no network", "tcp", "wiki.a", nil, "!unknown network", 0},
	} {
		t.Run(tt.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newFake(t, tt.plan.handle(t))
				c := n.config()
				d := c.DNS()
				d.Search = []string{"a", "b"}
				c.DNS = func() pvd.DNS { return d }
				r := New(c)
				defer r.Close()
				began := time.Now()
				got, err := given(t.Context(), r, tt.network, tt.host)
				if part, failed := strings.CutPrefix(tt.want, "!"); failed {
					if err == nil || !strings.Contains(err.Error(), part) || got != "" {
						t.Errorf("%s, %v, want %q", got, err, part)
					}
				} else if err != nil || got != tt.want {
					t.Errorf("%s, %v, want %s", got, err, tt.want)
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
			})
		})
	}
}

// TestLookupFamiliesAfterlife has the answer that comes within a second after its lookup be
// kept, and one that is later not.
func TestLookupFamiliesAfterlife(t *testing.T) {
	for _, late := range []time.Duration{700 * time.Millisecond, 1300 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			n := newFake(t, families{"AAAA wiki.a.": {addr: "fd00::1"}, "A wiki.a.": {late: late, addr: "10.0.0.1"}}.handle(t))
			c := n.config()
			c.Timeout = 5 * time.Second
			r := New(c)
			defer r.Close()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(100*time.Millisecond, cancel)
			got, err := given(ctx, r, "ip", "wiki.a")
			if err != nil || got != "0s [fd00::1]" {
				t.Errorf("%s, %v", got, err)
			}
			time.Sleep(2 * time.Second)
			n.asked()
			want := late > time.Second
			addrs, err := r.LookupNetIP(t.Context(), "ip4", "wiki.a")
			if asked := n.asked() != ""; err != nil || asked != want || !slices.Equal(addrs, []netip.Addr{netip.MustParseAddr("10.0.0.1")}) {
				t.Errorf("%v late: %v, %v, asked again %v, want %v", late, addrs, err, asked, want)
			}

			// Who gives up before there is anything has nothing left running.
			ctx, cancel = context.WithCancel(t.Context())
			cancel()
			if _, err := given(ctx, r, "ip", "wiki.a"); err == nil {
				t.Error("no error")
			} else if _, ok := err.(*net.DNSError); !ok { //nolint:errorlint // outermost
				t.Errorf("%v", err)
			}
		})
	}
}
