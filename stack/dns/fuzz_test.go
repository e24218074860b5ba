package dns

import (
	"encoding/binary"
	"strings"
	"testing"

	wire "github.com/miekg/dns"
)

// FuzzAnswer reads any message as an answer: no panic, and what passes is the answer to
// the question, with addresses of its family.
func FuzzAnswer(f *testing.F) {
	const id = 0x1234
	q := &query{Msg: wire.Msg{
		MsgHdr:   wire.MsgHdr{Id: id, RecursionDesired: true},
		Question: []wire.Question{{Name: "wiki.corp.", Qtype: wire.TypeA, Qclass: wire.ClassINET}},
	}}
	for _, records := range [][]string{
		nil,
		{"wiki.corp. 60 IN A 10.0.0.1"},
		{"wiki.corp. 60 IN AAAA fd00::1", "wiki.corp. 60 IN A 10.0.0.1"},
		{"wiki.corp. 60 IN CNAME b.corp.", "b.corp. 60 IN CNAME wiki.corp."},
		{"wiki.corp. 60 IN CNAME b.corp.", "b.corp. 60 IN A 10.0.0.1"},
	} {
		m := q.reply(f, records...)
		m.Compress = true
		m.SetEdns0(udpSize, false)
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, true)
		f.Add(b[:len(b)-5], false)
	}
	f.Add([]byte{0x12, 0x34, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0}, true)
	f.Add([]byte{0x12, 0x34, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1}, true)
	f.Fuzz(func(t *testing.T, msg []byte, ip4 bool) {
		q := question{"wiki.corp.", wire.TypeAAAA}
		if ip4 {
			q.qtype = wire.TypeA
		}
		if len(msg) > 2 && binary.BigEndian.Uint16(msg) != id && q.answers(msg, id) {
			t.Fatal("the ID is another")
		}
		if !q.answers(msg, id) {
			return
		}
		_ = truncated(msg)
		addrs, err := q.read(msg)
		if (err == nil) != (len(addrs) > 0) {
			t.Fatalf("%v, %v", addrs, err)
		}
		for _, a := range addrs {
			if a.Is4() != ip4 || a.Is4In6() || !a.IsValid() {
				t.Errorf("address %v", a)
			}
		}
		var m wire.Msg
		if len(addrs) == 0 || m.Unpack(msg) != nil {
			return
		}
		if len(m.Question) != 1 || !strings.EqualFold(m.Question[0].Name, q.name) || m.Question[0].Qtype != q.qtype || !m.Response {
			t.Errorf("taken for an answer: %v", &m)
		}
	})
}
