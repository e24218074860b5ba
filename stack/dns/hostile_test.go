package dns

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	wire "github.com/miekg/dns"
)

// Whatever else arrives, and as often, the answer is the one that answers the question.
func TestForgeries(t *testing.T) {
	// forge returns a good answer but for what change does to it.
	forge := func(q *query, change func(*wire.Msg)) *wire.Msg {
		m := q.reply(t, q.name()+" 60 IN A 6.6.6.6")
		change(m)
		return m
	}
	for what, send := range map[string]func(*query){
		"another ID": func(q *query) {
			q.answer(t, forge(q, func(m *wire.Msg) { m.Id++ }))
		},
		"another name": func(q *query) {
			q.answer(t, forge(q, func(m *wire.Msg) { m.Question[0].Name = "evil.example." }))
		},
		"a longer name": func(q *query) {
			q.answer(t, forge(q, func(m *wire.Msg) { m.Question[0].Name = q.name() + "example." }))
		},
		"another type": func(q *query) {
			q.answer(t, forge(q, func(m *wire.Msg) { m.Question[0].Qtype = wire.TypeAAAA }))
		},
		"another class": func(q *query) {
			q.answer(t, forge(q, func(m *wire.Msg) { m.Question[0].Qclass = wire.ClassCHAOS }))
		},
		"a query": func(q *query) {
			q.answer(t, forge(q, func(m *wire.Msg) { m.Response = false }))
		},
		"another opcode": func(q *query) {
			q.answer(t, forge(q, func(m *wire.Msg) { m.Opcode = wire.OpcodeStatus }))
		},
		"two questions": func(q *query) {
			q.answer(t, forge(q, func(m *wire.Msg) { m.Question = append(m.Question, m.Question[0]) }))
		},
		"no question": func(q *query) {
			q.answer(t, forge(q, func(m *wire.Msg) { m.Question = nil }))
		},
		"the query itself": func(q *query) {
			b, _ := q.Pack()
			q.send(b)
		},
		"an empty datagram": func(q *query) { q.send(nil) },
		"half a header":     func(q *query) { q.send([]byte{byte(q.Id >> 8), byte(q.Id), 0x81, 0x80, 0, 1}) },
		"a name that is cut": func(q *query) {
			b, _ := forge(q, func(*wire.Msg) {}).Pack()
			q.send(b[:headerLen+3])
		},
		"a name that points to itself": func(q *query) {
			q.send([]byte{byte(q.Id >> 8), byte(q.Id), 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1})
		},
		"noise": func(q *query) { q.send([]byte(strings.Repeat("\xff", 600))) },
	} {
		t.Run(what, func(t *testing.T) {
			s := serve(t, func(q *query) {
				for range 100 {
					send(q)
				}
				q.answer(t, q.reply(t, q.name()+" 60 IN A 10.0.0.1"))
			})
			got, err := resolver(nil, s).LookupNetIP(t.Context(), "ip4", "wiki.corp")
			if !slices.Equal(got, addrs("10.0.0.1")) || len(s.queries()) != 1 {
				t.Errorf("%v, %v after %q", got, err, s.queries())
			}
		})
	}
}

func TestJunk(t *testing.T) {
	s := serve(t, func(q *query) {
		// Once only: when the socket overflows, the answer may be lost, and is asked for again.
		if q.nth == 0 {
			for range 10000 {
				q.send([]byte("junk junk junk junk junk junk"))
			}
		}
		q.answer(t, q.reply(t, q.name()+" 60 IN A 10.0.0.1"))
	})
	got, err := resolver(nil, s).LookupNetIP(t.Context(), "ip4", "wiki.corp")
	if !slices.Equal(got, addrs("10.0.0.1")) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAnswers(t *testing.T) {
	many := func(n int, format string) (rs []string) {
		for i := range n {
			rs = append(rs, fmt.Sprintf(format, i, i+1))
		}
		return rs
	}
	const wiki = "wiki.corp. 60 IN A "
	var long []string
	for i := range maxAddresses + 10 {
		long = append(long, fmt.Sprintf("%s10.0.1.%d", wiki, i))
	}
	for _, tt := range []struct {
		what     string
		handle   func(*query)
		want     string // addresses
		err      string // part of the error
		notFound bool
		asked    string
	}{
		{
			what:   "name in another case",
			handle: func(q *query) { q.answer(t, q.reply(t, "WIKI.corp. 60 IN A 10.0.0.1")) },
			want:   "10.0.0.1", asked: "udp",
		},
		{
			what: "question in another case",
			handle: func(q *query) {
				m := q.reply(t, wiki+"10.0.0.1")
				m.Question[0].Name = "wIKI.coRP."
				q.answer(t, m)
			},
			want: "10.0.0.1", asked: "udp",
		},
		{
			what: "two answers: the first counts",
			handle: func(q *query) {
				q.answer(t, q.reply(t, wiki+"10.0.0.1"))
				q.answer(t, q.reply(t, wiki+"10.0.0.2"))
			},
			want: "10.0.0.1", asked: "udp",
		},
		{
			what: "records of other names, types and classes",
			handle: func(q *query) {
				q.answer(t, q.reply(t, "evil.corp. 60 IN A 6.6.6.6", "wiki.corp. 60 IN AAAA fd00::6",
					"wiki.corp. 60 CH A 6.6.6.6", `wiki.corp. 60 IN TXT "6.6.6.6"`, wiki+"10.0.0.1"))
			},
			want: "10.0.0.1", asked: "udp",
		},
		{
			what: "aliases in any order",
			handle: func(q *query) {
				q.answer(t, q.reply(t, "c.corp. 60 IN A 10.0.0.1", "b.corp. 60 IN CNAME C.corp.",
					"x.corp. 60 IN A 6.6.6.6", "wiki.corp. 60 IN CNAME B.corp."))
			},
			want: "10.0.0.1", asked: "udp",
		},
		{
			what: "a long chain",
			handle: func(q *query) {
				q.answer(t, q.reply(t, append(many(maxChain-1, "a%d. 60 IN CNAME a%d."), "wiki.corp. 60 IN CNAME a0.",
					fmt.Sprintf("a%d. 60 IN A 10.0.0.1", maxChain-1))...))
			},
			want: "10.0.0.1", asked: "udp",
		},
		{
			what: "a chain too long",
			handle: func(q *query) {
				q.answer(t, q.reply(t, append(many(maxChain, "a%d. 60 IN CNAME a%d."), "wiki.corp. 60 IN CNAME a0.",
					fmt.Sprintf("a%d. 60 IN A 10.0.0.1", maxChain))...))
			},
			err: "aliases without end", asked: "udp",
		},
		{
			what: "a loop",
			handle: func(q *query) {
				q.answer(t, q.reply(t, "wiki.corp. 60 IN CNAME b.corp.", "b.corp. 60 IN CNAME wiki.corp."))
			},
			err: "aliases without end", asked: "udp",
		},
		{
			what:   "an alias of itself",
			handle: func(q *query) { q.answer(t, q.reply(t, "wiki.corp. 60 IN CNAME wiki.corp.")) },
			err:    "aliases without end", asked: "udp",
		},
		{
			what:   "an alias of nothing",
			handle: func(q *query) { q.answer(t, q.reply(t, "wiki.corp. 60 IN CNAME b.corp.")) },
			err:    "no such host", notFound: true, asked: "udp",
		},
		{
			what:   "many addresses",
			handle: func(q *query) { q.answer(t, q.reply(t, long...)) },
			want: func() string {
				var s []string
				for _, l := range long[:maxAddresses] {
					s = append(s, strings.TrimPrefix(l, wiki))
				}
				return strings.Join(s, " ")
			}(),
			asked: "udp",
		},
		{
			what: "truncated",
			handle: func(q *query) {
				m := q.reply(t, wiki+"10.0.0.1")
				if q.network == "udp" {
					m.Answer, m.Truncated = nil, true
				}
				q.answer(t, m)
			},
			want: "10.0.0.1", asked: "udp tcp",
		},
		{
			what: "truncated within a record",
			handle: func(q *query) {
				m := q.reply(t, wiki+"6.6.6.6", wiki+"10.0.0.1")
				m.Truncated = q.network == "udp"
				b, _ := m.Pack()
				if m.Truncated {
					b = b[:len(b)-7]
				} else {
					b, _ = q.reply(t, wiki+"10.0.0.1").Pack()
				}
				q.send(b)
			},
			want: "10.0.0.1", asked: "udp tcp",
		},
		{
			what: "longer than any buffer",
			handle: func(q *query) {
				m := q.reply(t, wiki+"10.0.0.1")
				for range 100 {
					m.Extra = append(m.Extra, &wire.TXT{
						Hdr: wire.RR_Header{Name: ".", Rrtype: wire.TypeTXT, Class: wire.ClassINET},
						Txt: []string{strings.Repeat("x", 200)},
					})
				}
				q.answer(t, m)
			},
			want: "10.0.0.1", asked: "udp tcp",
		},
		{
			what: "no EDNS",
			handle: func(q *query) {
				if q.IsEdns0() != nil {
					q.answer(t, new(wire.Msg).SetRcodeFormatError(&q.Msg))
					return
				}
				q.answer(t, q.reply(t, wiki+"10.0.0.1"))
			},
			want: "10.0.0.1", asked: "udp udp",
		},
		{
			what: "no EDNS, without the question",
			handle: func(q *query) {
				if q.IsEdns0() != nil {
					q.answer(t, &wire.Msg{MsgHdr: wire.MsgHdr{Id: q.Id, Response: true, Rcode: wire.RcodeNotImplemented}})
					return
				}
				m := q.reply(t, wiki+"10.0.0.1")
				if q.network == "udp" {
					m.Answer, m.Truncated = nil, true
				}
				q.answer(t, m)
			},
			want: "10.0.0.1", asked: "udp udp tcp",
		},
		{
			what: "another version of EDNS",
			handle: func(q *query) {
				if q.IsEdns0() != nil {
					m := new(wire.Msg).SetReply(&q.Msg)
					m.SetEdns0(udpSize, false)
					m.Rcode = wire.RcodeBadVers
					q.answer(t, m)
					return
				}
				q.answer(t, q.reply(t, wiki+"10.0.0.1"))
			},
			want: "10.0.0.1", asked: "udp udp",
		},
		{
			what:   "format error with and without EDNS",
			handle: func(q *query) { q.answer(t, new(wire.Msg).SetRcodeFormatError(&q.Msg)) },
			err:    "cannot read the query", asked: "udp udp",
		},
		{
			what:   "server failure",
			handle: func(q *query) { q.answer(t, new(wire.Msg).SetRcode(&q.Msg, wire.RcodeServerFailure)) },
			err:    "SERVFAIL", asked: "udp",
		},
		{
			what:   "refused",
			handle: func(q *query) { q.answer(t, new(wire.Msg).SetRcode(&q.Msg, wire.RcodeRefused)) },
			err:    "REFUSED", asked: "udp",
		},
		{
			what: "a referral",
			handle: func(q *query) {
				m := new(wire.Msg).SetReply(&q.Msg)
				ns, _ := wire.NewRR("corp. 60 IN NS ns.corp.")
				m.Ns = append(m.Ns, ns)
				q.answer(t, m)
			},
			err: "does not do recursion", asked: "udp",
		},
		{
			what:   "no such name",
			handle: func(q *query) { q.answer(t, q.reply(t).SetRcode(&q.Msg, wire.RcodeNameError)) },
			err:    "no such host", notFound: true, asked: "udp",
		},
		{
			what: "no such name, and yet an address",
			handle: func(q *query) {
				m := q.reply(t, wiki+"6.6.6.6")
				m.Rcode = wire.RcodeNameError
				q.answer(t, m)
			},
			err: "no such host", notFound: true, asked: "udp",
		},
		{
			what:   "no data",
			handle: func(q *query) { q.answer(t, q.reply(t)) },
			err:    "no such host", notFound: true, asked: "udp",
		},
	} {
		t.Run(tt.what, func(t *testing.T) {
			s := serve(t, tt.handle)
			r := resolver(nil, s)
			got, err := r.LookupNetIP(t.Context(), "ip4", "wiki.corp")
			if !slices.Equal(got, addrs(tt.want)) {
				t.Errorf("got %v, %v; want %s", got, err, tt.want)
			}
			if tt.err != "" {
				e, ok := errors.AsType[*net.DNSError](err)
				if !ok || !strings.Contains(err.Error(), tt.err) || e.IsNotFound != tt.notFound ||
					e.IsTemporary == tt.notFound || e.IsTimeout || e.Server != s.addr.String() {
					t.Errorf("error %#v", err)
				}
			}
			var asked []string
			for _, q := range s.queries() {
				asked = append(asked, q[:3])
			}
			if got := strings.Join(asked, " "); got != tt.asked {
				t.Errorf("asked by %s, want %s", got, tt.asked)
			}
		})
	}
}

// A bad server costs one query, not the lookup.
func TestNextServer(t *testing.T) {
	for what, handle := range map[string]func(*query){
		"failure": func(q *query) { q.answer(t, new(wire.Msg).SetRcode(&q.Msg, wire.RcodeServerFailure)) },
		"refusal": func(q *query) { q.answer(t, new(wire.Msg).SetRcode(&q.Msg, wire.RcodeRefused)) },
		"lame":    func(q *query) { q.answer(t, new(wire.Msg).SetReply(&q.Msg)) },
		"loop":    func(q *query) { q.answer(t, q.reply(t, "wiki.corp. 60 IN CNAME wiki.corp.")) },
		"silence": func(*query) {},
		"TCP that ends": func(q *query) {
			if q.network == "udp" {
				m := q.reply(t)
				m.Truncated = true
				q.answer(t, m)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			if what == "silence" && testing.Short() {
				t.Skip("short: waits for a server's timeout")
			}
			bad := serve(t, handle)
			good := serve(t, zone(t, "wiki.corp. A 10.0.0.1", "wiki.corp. AAAA fd00::1"))
			got, err := resolver(nil, bad, good).LookupNetIP(t.Context(), "ip", "wiki.corp")
			if !slices.Equal(got, addrs("fd00::1 10.0.0.1")) {
				t.Errorf("%v, %v", got, err)
			}
			if n := len(good.queries()); n != 2 {
				t.Errorf("the good server got %d queries", n)
			}
		})
	}
	t.Run("closed port", func(t *testing.T) {
		u, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		closed := &server{addr: u.LocalAddr().(*net.UDPAddr).AddrPort()}
		u.Close()
		good := serve(t, zone(t, "wiki.corp. A 10.0.0.1"))
		got, err := resolver(nil, closed, good).LookupNetIP(t.Context(), "ip4", "wiki.corp")
		if !slices.Equal(got, addrs("10.0.0.1")) {
			t.Errorf("%v, %v", got, err)
		}
	})
}

// What one family lacks does not hide the other's addresses.
func TestOneFamilyFails(t *testing.T) {
	for what, rcode := range map[string]int{
		"failure":      wire.RcodeServerFailure,
		"no such name": wire.RcodeNameError,
		"no data":      wire.RcodeSuccess,
	} {
		t.Run(what, func(t *testing.T) {
			s := serve(t, func(q *query) {
				m := q.reply(t)
				if q.qtype() == wire.TypeA {
					m = q.reply(t, "wiki.corp. 60 IN A 10.0.0.1")
				}
				if q.qtype() == wire.TypeAAAA {
					m.Rcode = rcode
				}
				q.answer(t, m)
			})
			got, err := resolver(nil, s).LookupNetIP(t.Context(), "ip", "wiki.corp")
			if !slices.Equal(got, addrs("10.0.0.1")) {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	// Without any address, a failure may not be taken for a name without addresses.
	s := serve(t, func(q *query) {
		m := q.reply(t)
		if q.qtype() == wire.TypeAAAA {
			m.Rcode = wire.RcodeServerFailure
		}
		q.answer(t, m)
	})
	_, err := resolver(nil, s).LookupNetIP(t.Context(), "ip", "wiki.corp")
	if e, ok := errors.AsType[*net.DNSError](err); !ok || e.IsNotFound || !e.IsTemporary {
		t.Errorf("%#v", err)
	}
}

func TestMappedAddress(t *testing.T) {
	s := serve(t, func(q *query) {
		m := q.reply(t)
		m.Answer = append(m.Answer, &wire.AAAA{
			Hdr:  wire.RR_Header{Name: q.name(), Rrtype: wire.TypeAAAA, Class: wire.ClassINET, Ttl: 60},
			AAAA: net.ParseIP("10.0.0.1").To16(),
		})
		q.answer(t, m)
	})
	if got, err := resolver(nil, s).LookupNetIP(t.Context(), "ip6", "wiki.corp"); err == nil {
		t.Error("got", got)
	}
}
