package dns

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	wire "github.com/miekg/dns"
)

// ways returns what a stub replies to a query from the cache at once, and what it does the
// long way.
func ways(t testing.TB, r *Resolver, query []byte) (fast, slow []byte) {
	t.Helper()
	fast, ok := r.Cached(nil, query)
	if !ok {
		fast = nil
	}
	s := NewStub(StubConfig{Asker: r})
	defer s.Close()
	m, reply := s.read(query)
	if m == nil || reply != nil {
		return fast, nil
	}
	reply = s.answer(m)
	reply.Truncate(sizeOf(m))
	slow, err := reply.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return fast, slow
}

// same holds that two replies say the same.
func same(t testing.TB, what string, fast, slow []byte) {
	t.Helper()
	var a, b wire.Msg
	if err := a.Unpack(fast); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if err := b.Unpack(slow); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if a.String() != b.String() {
		t.Errorf("%s: at once\n%v\nthe long way\n%v", what, &a, &b)
	}
}

// TestStubCached holds that a stub says the same from the cache at once and the long way.
func TestStubCached(t *testing.T) {
	for _, compress := range []bool{false, true} {
		s := serve(t, func(q *query) {
			m := new(wire.Msg).SetReply(&q.Msg)
			m.RecursionAvailable, m.AuthenticatedData, m.Authoritative, m.Compress = true, true, true, compress
			rr := func(text string) wire.RR {
				r, err := wire.NewRR(text)
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			name := q.Question[0].Name
			switch {
			case strings.HasPrefix(name, "none."):
				m.Rcode = wire.RcodeNameError
				m.Ns = []wire.RR{rr("corp. 60 SOA ns.corp. me.corp. 1 2 3 4 30")}
			case strings.HasPrefix(name, "alias."):
				m.Answer = []wire.RR{rr(name + " 50 CNAME www.corp."), rr("www.corp. 40 A 10.0.0.1")}
				m.Ns = []wire.RR{rr("corp. 3000000000 NS ns.corp.")}
				m.Extra = []wire.RR{rr("ns.corp. 999999 A 10.0.0.2")}
			case strings.HasPrefix(name, "large."):
				for i := range 60 {
					m.Answer = append(m.Answer, rr(fmt.Sprintf("%s 60 A 10.0.0.%d", name, i)))
				}
			default:
				m.Answer = []wire.RR{rr(name + " 60 A 10.0.0.1"), rr(name + " 60 A 10.0.0.2")}
			}
			if q.IsEdns0() != nil {
				m.SetEdns0(1232, true)
				m.IsEdns0().Option = []wire.EDNS0{&wire.EDNS0_COOKIE{Cookie: "0011223344556677"}}
			}
			q.answer(t, m)
		})
		r := resolver(nil, s)
		hits := 0
		for _, name := range []string{"www.corp.", "WwW.CoRp.", "none.corp.", "alias.corp.", "aLIAS.corp.", "large.corp.", `odd\.label.corp.`, "a_b-c.9.corp."} {
			for bits := range 32 {
				m := new(wire.Msg).SetQuestion(name, wire.TypeA)
				m.CheckingDisabled, m.AuthenticatedData = bits&2 != 0, bits&4 != 0
				if bits&8 != 0 {
					m.SetEdns0([]uint16{100, 4096}[bits&1], bits&16 != 0)
				}
				b, err := m.Pack()
				if err != nil {
					t.Fatal(err)
				}
				_, _ = ways(t, r, b)
				fast, slow := ways(t, r, b)
				b[2] &^= flagRecursion
				if reply, ok := r.Cached(nil, b); ok {
					t.Errorf("%s, %05b: at once without recursion: %x", name, bits, reply)
				}
				if fast != nil {
					hits++
					same(t, fmt.Sprintf("compressed %v, %s, %05b", compress, name, bits), fast, slow)
				} else if !strings.HasPrefix(name, "odd") && !strings.HasPrefix(name, "large") && bits&10 != 10 && bits&4 == 0 {
					t.Errorf("%s, %05b: not at once", name, bits)
				}
			}
		}
		if hits < 150 {
			t.Errorf("%d of 256 were answered at once", hits)
		}
	}
}

// TestStubCachedReservedNames has names that never go to a server be answered for in the same
// way though somebody has asked for them as they are.
func TestStubCachedReservedNames(t *testing.T) {
	s := serve(t, func(q *query) { q.answer(t, q.reply(t, q.name()+" 60 IN A 203.0.113.1")) })
	r := resolver(nil, s)
	for _, name := range []string{"localhost.", "x.LOCALHOST.", "secret.onion.", "invalid."} {
		if _, _, err := r.Query(t.Context(), Question{Name: name, Type: wire.TypeA}); err != nil {
			t.Fatal(err)
		}
		b, err := new(wire.Msg).SetQuestion(name, wire.TypeA).Pack()
		if err != nil {
			t.Fatal(err)
		}
		if reply, ok := r.Cached(nil, b); ok {
			t.Errorf("%s: %x", name, reply)
		}
	}
}

// TestStubCachedAges has what is in the cache grow old, and a resolver that is closed say
// nothing.
func TestStubCachedAges(t *testing.T) {
	s := serve(t, recordZone(t, "wiki.corp. 60 IN A 10.0.0.1"))
	r := resolver(nil, s)
	b, err := new(wire.Msg).SetQuestion("wiki.corp.", wire.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Cached(nil, b); ok {
		t.Error("an answer before there is one")
	}
	_, _ = ways(t, r, b)
	v := r.current.Load()
	for _, e := range v.cache.entries {
		e.a.at = e.a.at.Add(-17 * time.Second)
	}
	reply, ok := r.Cached([]byte("before"), b)
	var m wire.Msg
	if !ok || !bytes.HasPrefix(reply, []byte("before")) || m.Unpack(reply[6:]) != nil || m.Answer[0].Header().Ttl != 43 {
		t.Errorf("%v, %v", &m, ok)
	}
	for _, e := range v.cache.entries {
		e.a.at = e.a.at.Add(-time.Minute)
	}
	if _, ok := r.Cached(nil, b); ok {
		t.Error("an answer that is too old")
	}
	_, _ = ways(t, r, b)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Cached(nil, b); ok {
		t.Error("an answer of a resolver that is closed")
	}
}

// FuzzStubCached has anything be asked, and anything be answered: what comes at once is what
// comes the long way, or nothing.
func FuzzStubCached(f *testing.F) {
	q := new(wire.Msg).SetQuestion("wiki.corp.", wire.TypeA)
	query, _ := q.Pack()
	a := new(wire.Msg).SetReply(q)
	rr, _ := wire.NewRR("wiki.corp. 60 IN A 10.0.0.1")
	a.Answer = []wire.RR{rr, rr}
	a.SetEdns0(1232, true)
	a.RecursionAvailable = true
	for _, compress := range []bool{false, true} {
		a.Compress = compress
		answer, _ := a.Pack()
		f.Add(query, answer)
	}
	qe, _ := q.SetEdns0(1232, true).Pack()
	f.Add(qe, query)
	f.Fuzz(func(t *testing.T, query, msg []byte) {
		var p plainQuery
		if !p.read(query) {
			return
		}
		if name, err := canonical(p.name); err != nil || name != p.name {
			t.Fatalf("%q is not how questions have it: %q, %v", p.name, name, err)
		}
		r := New(Config{})
		v := r.newView(nil, nil)
		r.current.Store(v)
		answer, err := p.question.read(msg)
		if err != nil || len(msg) < p.end || !sameFold(msg[headerLen:p.end], query[headerLen:p.end]) {
			return // it would not have been accepted
		}
		answer.at, answer.ttl = time.Now(), time.Hour
		fast, ok := answer.replyTo(nil, &p, 5*time.Second)
		if !ok {
			return
		}
		m, err := answer.copyOf(5 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var got wire.Msg
		if err := got.Unpack(fast); err != nil {
			t.Fatalf("%x: %v", fast, err)
		}
		if len(got.Answer) != len(m.Answer) || len(got.Ns) != len(m.Ns) || len(fast) > p.size {
			t.Fatalf("%v\nof\n%v", &got, m)
		}
		for i, rr := range got.Answer {
			if rr.Header().Ttl != m.Answer[i].Header().Ttl {
				t.Fatalf("%v\nof\n%v", &got, m)
			}
		}
	})
}

// A question to a stub that the cache answers, but for the system's sockets.
func BenchmarkStubCached(b *testing.B) {
	s := serve(b, zone(b, "wiki.corp.example. A 10.0.0.1"))
	r := resolver(nil, s)
	if _, err := r.LookupNetIP(b.Context(), "ip4", "wiki.corp.example"); err != nil {
		b.Fatal(err)
	}
	query, err := new(wire.Msg).SetQuestion("wiki.corp.example.", wire.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	out := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := r.Cached(out, query); !ok {
			b.Fatal("not at hand")
		}
	}
}
