package dns

import (
	"bytes"
	"errors"
	"testing"
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
