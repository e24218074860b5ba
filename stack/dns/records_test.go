package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
)

// recordZone answers with the records, in presentation format, whose owner and type are asked for,
// after the aliases that lead there.
func recordZone(t testing.TB, records ...string) func(*query) {
	var all []wire.RR
	for _, s := range records {
		rr, err := wire.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	return func(q *query) {
		m := q.reply(t)
		name, known := q.name(), false
		for i := 0; i < len(all); i++ {
			h := all[i].Header()
			if !strings.EqualFold(h.Name, name) {
				continue
			}
			known = true
			if h.Rrtype == q.qtype() || h.Rrtype == wire.TypeCNAME {
				m.Answer = append(m.Answer, wire.Copy(all[i]))
			}
			if c, ok := all[i].(*wire.CNAME); ok {
				name, i = c.Target, -1
			}
		}
		if !known {
			m.Rcode = wire.RcodeNameError
		}
		q.answer(t, m)
	}
}

// The methods of net.Resolver.
var _ interface {
	LookupAddr(context.Context, string) ([]string, error)
	LookupCNAME(context.Context, string) (string, error)
	LookupHost(context.Context, string) ([]string, error)
	LookupIP(context.Context, string, string) ([]net.IP, error)
	LookupIPAddr(context.Context, string) ([]net.IPAddr, error)
	LookupMX(context.Context, string) ([]*net.MX, error)
	LookupNS(context.Context, string) ([]*net.NS, error)
	LookupNetIP(context.Context, string, string) ([]netip.Addr, error)
	LookupPort(context.Context, string, string) (int, error)
	LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error)
	LookupTXT(context.Context, string) ([]string, error)
} = (*Resolver)(nil)

func TestRecords(t *testing.T) {
	s := serve(t, recordZone(t,
		"wiki.corp. 60 IN A 10.0.0.1", "wiki.corp. 60 IN AAAA fd00::1",
		"www.corp. 60 IN CNAME alias.corp.", "alias.corp. 60 IN CNAME Wiki.corp.",
		"corp. 60 IN MX 20 b.corp.", "corp. 60 IN MX 10 a.corp.", "corp. 60 IN MX 30 .",
		"corp. 60 IN NS ns1.corp.", "corp. 60 IN NS ns2.corp.",
		`corp. 60 IN TXT "v=spf1 " "-all"`, `corp. 60 IN TXT "a\"b\\c\200"`,
		"_sip._tcp.corp. 60 IN SRV 10 0 5060 a.corp.", "_sip._tcp.corp. 60 IN SRV 5 1 5061 b.corp.",
		"1.0.0.10.in-addr.arpa. 60 IN PTR wiki.corp.", "2.0.0.10.in-addr.arpa. 60 IN CNAME 2.sub.0.0.10.in-addr.arpa.",
		"2.sub.0.0.10.in-addr.arpa. 60 IN PTR two.corp.",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa. 60 IN PTR router.corp.",
		"svc.corp. 60 IN SVCB 2 b.corp. alpn=h2", "svc.corp. 60 IN SVCB 1 a.corp. port=8443",
		"wiki.corp. 60 IN HTTPS 1 . alpn=h3",
		`bad.corp. 60 IN MX 10 a\;b.corp.`, "bad.corp. 60 IN MX 20 good.corp.",
		`alias.bad.corp. 60 IN CNAME a\;b.corp.`, `a\;b.corp. 60 IN SRV 1 1 1 good.corp.`,
	))
	r := resolver([]string{"corp"}, s)
	ctx := t.Context()
	for _, tt := range []struct {
		what string
		call func() (any, error)
		want any
	}{
		{"host", func() (any, error) { return r.LookupHost(ctx, "wiki") }, []string{"fd00::1", "10.0.0.1"}},
		{"IP", func() (any, error) { return r.LookupIP(ctx, "ip4", "wiki") }, []net.IP{{10, 0, 0, 1}}},
		{"IPAddr", func() (any, error) { return r.LookupIPAddr(ctx, "fe80::1%lab") }, []net.IPAddr{{IP: net.ParseIP("fe80::1"), Zone: "lab"}}},
		{"CNAME", func() (any, error) { return r.LookupCNAME(ctx, "www.corp") }, "wiki.corp."},
		{"CNAME of a name", func() (any, error) { return r.LookupCNAME(ctx, "WIKI") }, "wiki.corp."},
		{"CNAME of localhost", func() (any, error) { return r.LookupCNAME(ctx, "localhost") }, "localhost."},
		{"MX", func() (any, error) { return r.LookupMX(ctx, "corp.") }, []*net.MX{{Host: "a.corp.", Pref: 10}, {Host: "b.corp.", Pref: 20}, {Host: ".", Pref: 30}}},
		{"NS", func() (any, error) { return r.LookupNS(ctx, "corp.") }, []*net.NS{{Host: "ns1.corp."}, {Host: "ns2.corp."}}},
		{"TXT", func() (any, error) { return r.LookupTXT(ctx, "corp.") }, []string{"v=spf1 -all", "a\"b\\c\xc8"}},
		{"PTR", func() (any, error) { return r.LookupAddr(ctx, "10.0.0.1") }, []string{"wiki.corp."}},
		{"PTR by an alias", func() (any, error) { return r.LookupAddr(ctx, "::ffff:10.0.0.2") }, []string{"two.corp."}},
		{"PTR of a link-local address", func() (any, error) { return r.LookupAddr(ctx, "fe80::1%lab") }, []string{"router.corp."}},
		{"PTR of the loopback", func() (any, error) { return r.LookupAddr(ctx, "127.0.0.1") }, []string{"localhost."}},
		{"port", func() (any, error) { return r.LookupPort(ctx, "tcp", "https") }, 443},
		{"port by number", func() (any, error) { return r.LookupPort(ctx, "udp", "0053") }, 53},
		{"port of either", func() (any, error) { return r.LookupPort(ctx, "ip", "NTP") }, 123},
	} {
		t.Run(tt.what, func(t *testing.T) {
			if got, err := tt.call(); err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%v, %v; want %v", got, err, tt.want)
			}
		})
	}
	name, srvs, err := r.LookupSRV(ctx, "sip", "tcp", "corp")
	if err != nil || name != "_sip._tcp.corp." || len(srvs) != 2 || *srvs[0] != (net.SRV{Target: "b.corp.", Port: 5061, Priority: 5, Weight: 1}) {
		t.Errorf("SRV: %s %v, %v", name, srvs, err)
	}
	if name, srvs, err = r.LookupSRV(ctx, "", "", "_sip._tcp.corp"); err != nil || name != "_sip._tcp.corp." || len(srvs) != 2 {
		t.Errorf("SRV: %s %v, %v", name, srvs, err)
	}
	bs, err := r.LookupSVCB(ctx, "svc.corp")
	if err != nil || len(bs) != 2 || bs[0].Target != "a.corp." || bs[1].Value[0].String() != "h2" {
		t.Errorf("SVCB: %v, %v", bs, err)
	}
	if bs, err = r.LookupHTTPS(ctx, "wiki"); err != nil || len(bs) != 1 || bs[0].Target != "." {
		t.Errorf("HTTPS: %v, %v", bs, err)
	}
	mxs, err := r.LookupMX(ctx, "bad.corp")
	if len(mxs) != 1 || mxs[0].Host != "good.corp." || !errors.Is(err, errBadRecords) {
		t.Errorf("a bad name: %v, %v", mxs, err)
	}
	if name, srvs, err := r.LookupSRV(ctx, "", "", "alias.bad.corp"); name != "" || srvs != nil || !errors.Is(err, errBadRecords) {
		t.Errorf("a bad alias: %q %v, %v", name, srvs, err)
	}
}

// What is wrong with what is asked, exactly as callers see it. None of it is sent.
func TestBadInput(t *testing.T) {
	s := serve(t, func(q *query) { t.Errorf("asked for %q", q.name()) })
	r := resolver(nil, s)
	none := New(Config{DNS: func() pvd.DNS { return pvd.DNS{} }, Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("dialled")
		return nil, net.ErrClosed
	}})
	long := strings.Repeat("x.", 127) + "x"
	ctx := t.Context()
	const badName, noHost, noServer = "no such host: not a valid name", "no such host", "no DNS server in PvD"
	host := func(r *Resolver, name string) func() error {
		return func() error {
			_, err := r.LookupNetIP(ctx, "ip", name)
			return err
		}
	}
	for _, tt := range []struct {
		what string
		call func() error
		want net.DNSError
	}{
		{"empty", host(r, ""), net.DNSError{Err: badName, IsNotFound: true}},
		{"the root", host(r, "."), net.DNSError{Err: badName, IsNotFound: true}},
		{"over 255 octets", host(r, long), net.DNSError{Err: badName, Name: long, IsNotFound: true}},
		{"a label of 64", host(r, strings.Repeat("x", 64)), net.DNSError{Err: badName, Name: strings.Repeat("x", 64), IsNotFound: true}},
		{"an empty label", host(r, "a..b"), net.DNSError{Err: badName, Name: "a..b", IsNotFound: true}},
		{"NUL", host(r, "a\x00b"), net.DNSError{Err: badName, Name: "a\x00b", IsNotFound: true}},
		{"IDNA", host(r, "bücher.example"), net.DNSError{Err: badName, Name: "bücher.example", IsNotFound: true}},
		{"an address that is none", host(r, "10.0.0.256"), net.DNSError{Err: badName, Name: "10.0.0.256", IsNotFound: true}},
		{"half an address", host(r, "127.1."), net.DNSError{Err: badName, Name: "127.1", IsNotFound: true}},
		{"a number", host(r, "1234"), net.DNSError{Err: badName, Name: "1234", IsNotFound: true}},
		{"onion", host(r, "x.onion"), net.DNSError{Err: noHost, Name: "x.onion", IsNotFound: true}},
		{"wrong family", func() error {
			_, err := r.LookupNetIP(ctx, "ip6", "10.0.0.1")
			return err
		}, net.DNSError{Err: "no such host: no record of the type", Name: "10.0.0.1", IsNotFound: true}},
		{"no server", host(none, "wiki.corp."), net.DNSError{Err: noServer, Name: "wiki.corp"}},
		{"no server for MX", func() error {
			_, err := none.LookupMX(ctx, "corp")
			return err
		}, net.DNSError{Err: noServer, Name: "corp"}},
		{"no server for a query", func() error {
			_, _, err := none.Query(ctx, Question{Name: "corp.", Type: wire.TypeMX})
			return err
		}, net.DNSError{Err: noServer, Name: "corp"}},
		{"no address", func() error {
			_, err := r.LookupAddr(ctx, "wiki")
			return err
		}, net.DNSError{Err: "unrecognized address", Name: "wiki"}},
		{"no service", func() error {
			_, err := r.LookupPort(ctx, "tcp", "nonsense")
			return err
		}, net.DNSError{Err: "unknown port", Name: "tcp/nonsense", IsNotFound: true}},
		{"no network", func() error {
			_, err := r.LookupPort(ctx, "sctp", "http")
			return err
		}, net.DNSError{Err: "unknown network", Name: "sctp/http"}},
		{"bad text", func() error {
			_, err := r.LookupTXT(ctx, "a b")
			return err
		}, net.DNSError{Err: badName, Name: "a b", IsNotFound: true}},
		{"special text", func() error {
			_, err := r.LookupTXT(ctx, "x.invalid")
			return err
		}, net.DNSError{Err: noHost, Name: "x.invalid", IsNotFound: true}},
	} {
		t.Run(tt.what, func(t *testing.T) {
			err := tt.call()
			e, ok := errors.AsType[*net.DNSError](err)
			if !ok {
				t.Fatalf("%#v", err)
			}
			got := *e
			got.UnwrapErr = nil
			if got != tt.want {
				t.Errorf("%#v, want %#v", got, tt.want)
			}
		})
	}
	if _, err := r.LookupPort(ctx, "tcp", "65536"); err == nil {
		t.Error("port 65536")
	}
	for _, typ := range []uint16{wire.TypeNone, wire.TypeAXFR, wire.TypeIXFR, wire.TypeOPT} {
		if _, _, err := r.Query(ctx, Question{Name: "corp.", Type: typ}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("type %d: %v", typ, err)
		}
	}
	for _, name := range []string{"", "a..b.", strings.Repeat("x", 64) + ".", long + "." + long + "."} {
		_, _, err := r.Query(ctx, Question{Name: name, Type: wire.TypeA})
		if e, ok := errors.AsType[*net.DNSError](err); !ok || !e.IsNotFound || !errors.Is(err, errBadName) {
			t.Errorf("%.20q: %#v", name, err)
		}
	}
}

// RFC 2782: by priority, then by chance, in which weights count.
func TestSRVOrder(t *testing.T) {
	r := New(Config{})
	first := make(map[string]int)
	const n = 4000
	for range n {
		rrs := []*wire.SRV{
			{Target: "last", Priority: 2, Weight: 100},
			{Target: "light", Priority: 1, Weight: 1},
			{Target: "heavy", Priority: 1, Weight: 3},
			{Target: "none", Priority: 1, Weight: 0},
		}
		if err := r.sortSRV(rrs); err != nil {
			t.Fatal(err)
		}
		if rrs[3].Target != "last" || !slices.IsSortedFunc(rrs, func(a, b *wire.SRV) int { return cmp.Compare(a.Priority, b.Priority) }) {
			t.Fatal("not by priority")
		}
		seen := make(map[string]bool)
		for _, rr := range rrs {
			seen[rr.Target] = true
		}
		if len(seen) != 4 {
			t.Fatal("one is lost")
		}
		first[rrs[0].Target]++
	}
	// Of 5 draws each: 0 for none, 1 for light, 2 to 4 for heavy.
	if first["heavy"] < n/2 || first["heavy"] > n*7/10 || first["light"] < n/10 || first["none"] < n/10 {
		t.Errorf("%v came first", first)
	}
}

// Ndots decides which names the search list is for.
func TestP35_Ndots(t *testing.T) {
	for _, tt := range []struct {
		ndots int
		host  string
		asked string
	}{
		{0, "a", "a.corp. a.lab. a."},
		{1, "7", "7.corp. 7.lab."}, // there is no such domain at the top
		{1, "a.b", "a.b."},
		{2, "a.b", "a.b.corp. a.b.lab. a.b."},
		{2, "a.b.", "a.b."},
		{2, "a.b.c", "a.b.c."},
		{100, "a.b.c", "a.b.c.corp. a.b.c.lab. a.b.c."},
	} {
		s := serve(t, recordZone(t))
		r := New(Config{
			DNS:  func() pvd.DNS { return pvd.DNS{Servers: []netip.AddrPort{s.addr}, Search: []string{"corp", "lab."}} },
			Dial: (&net.Dialer{}).DialContext, Ndots: tt.ndots,
		})
		if _, err := r.LookupTXT(t.Context(), tt.host); err == nil {
			t.Error("found")
		}
		var asked []string
		for _, q := range s.queries() {
			asked = append(asked, strings.Fields(q)[1])
		}
		if got := strings.Join(asked, " "); got != tt.asked {
			t.Errorf("ndots %d: %s: asked for %s, want %s", tt.ndots, tt.host, got, tt.asked)
		}
	}
}

// A query returns what the server said, in the spelling of who asks, with the time that is
// left.
func TestQuery(t *testing.T) {
	s := serve(t, recordZone(t, "Wiki.Corp. 60 IN CNAME b.corp.", "b.corp. 60 IN A 10.0.0.1", `a\.b.corp. 60 IN TXT "x"`))
	r := resolver(nil, s)
	c := &skewedClock{Clock: pvd.SystemClock()}
	r.conf.Clock = c
	for i, want := range []CacheState{Miss, Hit, Hit} {
		c.skew.Store(int64(i) * 10e9)
		m, info, err := r.Query(t.Context(), Question{Name: "wIkI.corp", Type: wire.TypeA})
		if err != nil {
			t.Fatal(err)
		}
		if m.Id != 0 || m.Question[0].Name != "wIkI.corp." || len(m.Answer) != 2 || m.Answer[0].Header().Name != "wIkI.corp." {
			t.Errorf("%v", m)
		}
		ttl := m.Answer[1].Header().Ttl
		if info.Cache != want || info.Server.Addr != s.addr || ttl > uint32(60-10*i) || ttl < uint32(58-10*i) {
			t.Errorf("%d: %+v, TTL %d", i, info, ttl)
		}
		m.Answer[0].Header().Name = "changed." // it is ours
	}
	if m, _, err := r.Query(t.Context(), Question{Name: "none.", Type: wire.TypeTXT}); err != nil || m.Rcode != wire.RcodeNameError {
		t.Errorf("%v, %v", m, err)
	}
	if m, _, err := r.Query(t.Context(), Question{Name: "b.corp.", Type: wire.TypeMX}); err != nil || len(m.Answer) != 0 || m.Rcode != 0 {
		t.Errorf("%v, %v", m, err)
	}
	if m, _, err := r.Query(t.Context(), Question{Name: `a\.b.corp.`, Type: wire.TypeTXT}); err != nil || len(m.Answer) != 1 {
		t.Errorf("%v, %v", m, err)
	}
	// Bits that change the answer keep questions apart.
	before := len(s.queries())
	for _, q := range []Question{
		{Name: "b.corp.", Type: wire.TypeA},
		{Name: "b.corp.", Type: wire.TypeA, DNSSEC: true},
		{Name: "b.corp.", Type: wire.TypeA, Unchecked: true},
		{Name: "b.corp.", Type: wire.TypeA, Class: wire.ClassINET},
	} {
		if _, _, err := r.Query(t.Context(), q); err != nil {
			t.Error(err)
		}
	}
	if n := len(s.queries()) - before; n != 3 {
		t.Errorf("%d queries", n)
	}
}

// What a trace tells of each step.
func TestTrace(t *testing.T) {
	bad := serve(t, fails(t))
	good := serve(t, recordZone(t, "wiki.corp. 60 IN A 10.0.0.1"))
	r := resolver(nil, bad, good)
	trace := func(host string) (events []string) {
		ctx := WithTrace(t.Context(), func(e Event) {
			switch {
			case e.Net != "" && (!e.Source.IsValid() || e.RTT <= 0 || e.Begin.IsZero()):
				t.Errorf("%+v", e)
			case e.Net == "" && e.Source.IsValid():
				t.Errorf("%+v", e)
			}
			who := map[netip.AddrPort]string{bad.addr: "bad", good.addr: "good"}[e.Server.Addr]
			events = append(events, fmt.Sprintf("%s %s %s %s %d", e.Question.Name, e.Cache, who, e.Net, e.Rcode))
		})
		_, _ = r.LookupNetIP(ctx, "ip4", host)
		return events
	}
	for _, tt := range []struct{ host, want string }{
		{"wiki.corp", "wiki.corp. miss bad udp 2, wiki.corp. miss good udp 0"},
		{"wiki.corp", "wiki.corp. hit good  0"},
		{"none.corp", "none.corp. miss bad udp 2, none.corp. miss good udp 3"},
		{"localhost", "localhost local   -1"},
		{"10.0.0.1", "10.0.0.1 local   -1"},
	} {
		if got := strings.Join(trace(tt.host), ", "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.host, got, tt.want)
		}
	}
}

// The canonical name is that of the addresses returned, by whichever suffix, and one that
// hosts can have.
func TestLookupCanonical(t *testing.T) {
	s := serve(t, func(q *query) {
		switch {
		case q.name() == "wiki.a." && q.Question[0].Qtype == wire.TypeAAAA:
			q.answer(t, q.reply(t, "wiki.a. 60 IN CNAME six.a.", "six.a. 60 IN AAAA fd00::1"))
		case q.name() == "wiki.a.":
			q.answer(t, q.reply(t))
		case q.name() == "wiki.b." && q.Question[0].Qtype == wire.TypeA:
			q.answer(t, q.reply(t, "wiki.b. 60 IN CNAME four.b.", "four.b. 60 IN A 10.0.0.1"))
		case q.name() == "odd.a.":
			q.answer(t, q.reply(t, `odd.a. 60 IN CNAME $(reboot).a.`, `$(reboot).a. 60 IN A 10.0.0.2`))
		default:
			q.answer(t, q.reply(t))
		}
	})
	r := resolver([]string{"a", "b"}, s)
	for _, tt := range []struct{ network, host, addr, name string }{
		{"ip", "wiki", "fd00::1", "six.a"},
		{"ip4", "wiki", "10.0.0.1", "four.b"},
		{"ip4", "odd.a", "10.0.0.2", "odd.a"},
		{"ip4", "localhost", "127.0.0.1", "localhost"},
	} {
		got, name, err := r.LookupCanonical(t.Context(), tt.network, tt.host)
		if err != nil || !slices.Equal(got, addrs(tt.addr)) || name != tt.name {
			t.Errorf("%s %s: %v, %q, %v", tt.network, tt.host, got, name, err)
		}
	}
	if name, err := r.LookupCNAME(t.Context(), "odd.a"); err == nil {
		t.Errorf("a name that is none: %q", name)
	}
}

// An answer of which the rest never comes has no response code.
func TestTraceOfHalfAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFake(t, func(q *query) {
			m := q.reply(t)
			if m.Truncated = true; q.network == "udp" {
				q.answer(t, m)
				return
			}
			b, _ := m.Pack()
			q.send(append([]byte{0, byte(len(b) + 1)}, b...))
		})
		n.stream = true
		var tcp []Event
		ctx := WithTrace(t.Context(), func(e Event) {
			if e.Net == "tcp" {
				tcp = append(tcp, e)
			}
		})
		if _, err := New(n.config()).LookupNetIP(ctx, "ip4", "wiki.corp"); err == nil {
			t.Error("found")
		}
		if len(tcp) == 0 || tcp[0].Rcode != -1 || tcp[0].Err == nil {
			t.Errorf("%+v", tcp)
		}
	})
}
