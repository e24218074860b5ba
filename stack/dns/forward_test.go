package dns

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wire "github.com/miekg/dns"
)

// P37: what is signed arrives as it was sent, and so does the answer, but for their IDs. A
// signature covers neither.
func TestP37_Forward(t *testing.T) {
	const key, secret = "host.", "c2VjcmV0"
	s := serve(t, func(q *query) {
		m := new(wire.Msg).SetReply(&q.Msg)
		if q.IsTsig() == nil || q.Opcode != wire.OpcodeUpdate {
			m.Rcode = wire.RcodeRefused
		}
		q.answer(t, m)
	})
	m := new(wire.Msg).SetUpdate("corp.")
	rr, _ := wire.NewRR("host.corp. 60 IN A 10.0.0.1")
	m.Insert([]wire.RR{rr})
	m.Compress = true
	m.Id = 4711
	m.SetTsig(key, wire.HmacSHA256, 300, time.Now().Unix())
	msg, _, err := wire.TsigGenerate(m, secret, "", false)
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(msg)
	var events []Event
	reply, info, err := resolver(nil, s).Forward(WithTrace(t.Context(), func(e Event) { events = append(events, e) }), msg)
	var r wire.Msg
	if err != nil || r.Unpack(reply) != nil || r.Rcode != wire.RcodeSuccess || r.Id != m.Id || info.Server.Addr != s.addr || len(events) != 1 {
		t.Errorf("%v, %+v, %v, %v", &r, info, err, events)
	}
	if !bytes.Equal(msg, before) {
		t.Error("the message has been changed")
	}
	for _, bad := range [][]byte{nil, msg[:5], msg[:20], make([]byte, headerLen)} {
		if _, _, err := resolver(nil, s).Forward(t.Context(), bad); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%x: %v", bad, err)
		}
	}
	if _, _, err := resolver(nil).Forward(t.Context(), msg); err == nil {
		t.Error("without server")
	}
}

// A large message goes by TCP at once.
func TestForwardLong(t *testing.T) {
	s := serve(t, func(q *query) {
		m := new(wire.Msg).SetReply(&q.Msg)
		m.Rcode = wire.RcodeYXDomain
		q.answer(t, m)
	})
	m := new(wire.Msg).SetUpdate("corp.")
	for range 60 {
		rr, _ := wire.NewRR("host.corp. 60 IN TXT aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
		m.Ns = append(m.Ns, rr)
	}
	msg, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var events []Event
	reply, _, err := resolver(nil, s).Forward(WithTrace(t.Context(), func(e Event) { events = append(events, e) }), msg)
	if err != nil || reply[3]&maskRcode != wire.RcodeYXDomain || len(events) != 1 || events[0].Net != "tcp" {
		t.Errorf("%x, %v, %+v", reply, err, events)
	}
}

// P37: an update goes through the PvD's server, as it is.
func TestP37_Exchange(t *testing.T) {
	s := serve(t, func(q *query) {
		m := new(wire.Msg).SetReply(&q.Msg)
		m.Rcode = wire.RcodeYXDomain
		if q.Opcode != wire.OpcodeUpdate || len(q.Ns) != 1 {
			m.Rcode = wire.RcodeRefused
		} else if q.network == "udp" {
			forged := m.Copy()
			forged.Opcode, forged.Rcode = wire.OpcodeQuery, wire.RcodeSuccess
			q.answer(t, forged) // the answer to something else
			m.Truncated = true
		}
		q.answer(t, m)
	})
	m := new(wire.Msg).SetUpdate("corp.")
	rr, _ := wire.NewRR("host.corp. 60 IN A 10.0.0.1")
	m.Insert([]wire.RR{rr})
	var events []Event
	ctx := WithTrace(t.Context(), func(e Event) { events = append(events, e) })
	reply, info, err := resolver(nil, s).Exchange(ctx, m)
	if err != nil || reply.Rcode != wire.RcodeYXDomain || reply.Id != m.Id || info.Server.Addr != s.addr {
		t.Errorf("%v, %+v, %v", reply, info, err)
	}
	if len(events) != 2 || events[0].Net != "udp" || events[1].Net != "tcp" || events[1].Rcode != wire.RcodeYXDomain {
		t.Errorf("%+v", events)
	}
	// What is too long for a datagram is not sent as one.
	long := m.Copy()
	for range 50 {
		long.Ns = append(long.Ns, &wire.TXT{Hdr: wire.RR_Header{Name: "host.corp.", Rrtype: wire.TypeTXT, Class: wire.ClassINET}, Txt: []string{strings.Repeat("x", 50)}})
	}
	events = nil
	if reply, _, err := resolver(nil, s).Exchange(ctx, long); err != nil || reply.Rcode != wire.RcodeRefused || len(events) != 1 || events[0].Net != "tcp" {
		t.Errorf("%v, %v: %+v", reply, err, events)
	}
	events = nil
	for _, none := range []*wire.Msg{nil, new(wire.Msg), new(wire.Msg).SetUpdate("a..b.")} {
		if _, _, err := resolver(nil, s).Exchange(ctx, none); !errors.Is(err, errors.ErrUnsupported) || len(events) > 0 {
			t.Errorf("%v: %+v", err, events) // no server is to be blamed for it
		}
	}
}

// RFC 2136 section 3.8: the answer to an update may have nothing of it but its ID and opcode,
// whatever it says. That to a query may not.
func TestP37_UpdateAnsweredByHeader(t *testing.T) {
	for _, rcode := range []int{wire.RcodeSuccess, wire.RcodeRefused, wire.RcodeNotAuth} {
		s := serve(t, func(q *query) {
			q.answer(t, &wire.Msg{MsgHdr: wire.MsgHdr{Id: q.Id + 1, Response: true, Opcode: q.Opcode, Rcode: wire.RcodeYXDomain}})
			q.answer(t, &wire.Msg{MsgHdr: wire.MsgHdr{Id: q.Id, Response: true, Opcode: q.Opcode, Rcode: rcode}})
		})
		r := resolver(nil, s)
		reply, _, err := r.Exchange(t.Context(), new(wire.Msg).SetUpdate("corp."))
		if err != nil || reply.Rcode != rcode {
			t.Errorf("%s: %v, %v", wire.RcodeToString[rcode], reply, err)
		}
		r.conf.Timeout = 10 * time.Millisecond
		if reply, _, err := r.Exchange(t.Context(), new(wire.Msg).SetQuestion("corp.", wire.TypeA)); err == nil {
			t.Errorf("%s: %v", wire.RcodeToString[rcode], reply)
		}
	}
}

// What has been sent stays the caller's, though it may still be on its way to a slower server
// when Exchange returns. The race detector tells.
func TestExchangeKeepsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := func(q *query) {
			time.Sleep(100 * time.Millisecond)
			q.answer(t, new(wire.Msg).SetRcode(&q.Msg, wire.RcodeRefused))
		}
		garbled := func(q *query) { // so that it is asked again, by TCP
			time.Sleep(100 * time.Millisecond)
			b, _ := new(wire.Msg).SetReply(&q.Msg).Pack()
			b[2] |= 0x02
			q.send(b)
		}
		for range 20 {
			n := newFake(t, refused, garbled)
			n.stream = true
			c := n.config()
			c.Strategy = Parallel
			m := new(wire.Msg).SetUpdate("corp.")
			m.Insert([]wire.RR{&wire.TXT{Hdr: wire.RR_Header{Name: "host.corp.", Rrtype: wire.TypeTXT, Class: wire.ClassINET}, Txt: []string{"x"}}})
			if _, _, err := New(c).Exchange(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			m.Id++
			m.Ns[0].(*wire.TXT).Txt[0] = "y"
		}
	})
}
