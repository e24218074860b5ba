package dns

import (
	"bytes"
	"encoding/binary"
	"net/netip"
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
	denied := q.reply(f).SetRcode(&q.Msg, wire.RcodeNameError)
	soa, _ := wire.NewRR("corp. 60 IN SOA ns.corp. me.corp. 1 2 3 4 5")
	denied.Ns = append(denied.Ns, soa)
	b, _ := denied.Pack()
	f.Add(b, true)
	f.Add([]byte{0x12, 0x34, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0}, true)
	f.Add([]byte{0x12, 0x34, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1}, true)
	r := New(Config{})
	f.Fuzz(func(t *testing.T, msg []byte, ip4 bool) {
		q := internet("wiki.corp", wire.TypeAAAA)
		if ip4 {
			q.qtype = wire.TypeA
		}
		s, err := r.pack(&request{q: q}, packing{edns: true})
		if err != nil {
			t.Fatal(err)
		}
		binary.BigEndian.PutUint16(s.msg, id)
		if len(msg) > 2 && binary.BigEndian.Uint16(msg) != id && s.judge(msg) != other {
			t.Fatal("the ID is another")
		}
		if s.judge(msg) == other {
			return
		}
		_ = truncated(msg)
		a, err := q.read(msg)
		if err != nil {
			return
		}
		checkAnswer(t, q, a, ip4)
		var m wire.Msg
		if len(a.addrs) == 0 || m.Unpack(msg) != nil {
			return
		}
		if len(m.Question) != 1 || !strings.EqualFold(m.Question[0].Name, q.name+".") || m.Question[0].Qtype != q.qtype || !m.Response {
			t.Errorf("taken for an answer: %v", &m)
		}
	})
}

func checkAnswer(t *testing.T, q question, a *answer, ip4 bool) {
	if (a.err == nil) != (len(a.addrs) > 0) {
		t.Fatalf("%v, %v", a.addrs, a.err)
	}
	for _, addr := range a.addrs {
		if addr.Is4() != ip4 || addr.Is4In6() || !addr.IsValid() {
			t.Errorf("address %v", addr)
		}
	}
	if a.ttl < 0 || a.ttl > maxTTL || a.err != nil && a.ttl > maxNegativeTTL {
		t.Errorf("%v: kept for %v", a.err, a.ttl)
	}
	m, err := a.copyOf(a.ttl)
	if err != nil {
		t.Fatalf("it was read before: %v", err)
	}
	respell(m, q.name+".", strings.ToUpper(q.name)+".")
	if _, err := m.Pack(); err != nil && !bytes.Contains([]byte(err.Error()), []byte("dns: ")) {
		t.Error(err)
	}
}

// FuzzName takes any text for a name: what is accepted goes onto the wire and comes back.
func FuzzName(f *testing.F) {
	for _, s := range []string{"", ".", "a", "a.b.", `a\.b.c`, `\000.x`, `a\`, "bücher.example", strings.Repeat("x.", 127), "A\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkName(name) == nil {
			if got, err := canonical(name); err != nil || got != plainForm(name) {
				t.Errorf("%q: %q, %v", name, got, err)
			}
		}
		k, err := canonical(name)
		if err != nil {
			return
		}
		if again, err := canonical(k + "."); err != nil || again != k {
			t.Errorf("%q: %q becomes %q, %v", name, k, again, err)
		}
		r := New(Config{})
		s, err := r.pack(&request{q: internet(k, wire.TypeA)}, packing{edns: true, pad: true, mix: true})
		if err != nil {
			t.Fatalf("%q: %v", k, err)
		}
		if len(s.msg)%padBlock != 0 {
			t.Errorf("%q: %d octets", k, len(s.msg))
		}
		back := bytes.Clone(s.msg)
		back[2] |= 0x80
		if s.judge(back) != answers {
			t.Errorf("%q: an answer is not known as one", k)
		}
	})
}

// FuzzServers makes servers of whatever a network names.
func FuzzServers(f *testing.F) {
	f.Add("dns.example.", "dot", "/dns-query{?dns}", uint16(0))
	f.Add("dns.example", "h2", "/dns-query{?dns}", uint16(8443))
	f.Add("", "h2", "//evil{?dns}", uint16(1))
	f.Fuzz(func(t *testing.T, name, alpn, path string, port uint16) {
		for _, s := range serversOf(nil, encrypted(name, alpn, path, port)) {
			u := newUpstream(New(Config{}), s)
			if s.Transport == Plain || s.Name == "" || s.Addr.Port() == 0 || s.Addr.Addr() != netip.MustParseAddr("192.0.2.53") {
				t.Errorf("%v", s)
			}
			if s.Transport == HTTPS && !strings.HasPrefix(u.url(), "https://"+s.Name) {
				t.Errorf("%q", u.url())
			}
		}
	})
}
