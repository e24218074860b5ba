package dns

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	wire "github.com/miekg/dns"
)

// Of a million forged answers none is accepted: each is right but for one thing, whichever
// that is. The ID is what a forger has to guess, so here it is never the right one but where
// something else is wrong.
func TestForgedAnswers(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	r := New(Config{})
	rng := rand.New(rand.NewPCG(1, 2))
	accepted, exact := 0, 0
	var s sent
	for i := range n {
		if i%1000 == 0 {
			var err error
			if s, err = r.pack(&request{q: internet("wiki.corp.example", wire.TypeA)}, packing{edns: true}); err != nil {
				t.Fatal(err)
			}
		}
		msg := slices.Clone(s.msg)
		msg[2] |= 0x80
		if s.judge(msg) != answers {
			t.Fatal("the right answer is not accepted")
		}
		forge(rng, &s, msg)
		switch s.judge(msg) {
		case other:
		case recased:
			exact++
		case answers:
			accepted++
		}
	}
	if accepted != 0 || exact != 0 {
		t.Errorf("%d forged answers of %d were accepted", accepted, n)
	}
}

// forge makes one thing in an answer wrong.
func forge(rng *rand.Rand, s *sent, msg []byte) {
	switch rng.IntN(7) {
	case 0: // the ID
		binary.BigEndian.PutUint16(msg, binary.BigEndian.Uint16(msg)+uint16(1+rng.IntN(1<<16-1)))
	case 1: // a query
		msg[2] &^= 0x80
	case 2: // the opcode
		msg[2] ^= byte(1+rng.IntN(15)) << 3
	case 3: // how many questions
		binary.BigEndian.PutUint16(msg[4:], uint16(2+rng.IntN(1<<16-2))&^1)
	case 4: // the name, in more than the case of letters
		at := headerLen + rng.IntN(s.asked-4-headerLen)
		for old := msg[at]; lower(msg[at]) == lower(old); {
			msg[at] = byte(rng.IntN(256))
		}
	case 5: // the type or the class
		msg[s.asked-1-rng.IntN(4)] ^= byte(1 + rng.IntN(255))
	case 6: // the end of the question
		for i := s.asked - 1; i < len(msg); i++ {
			msg[i] ^= 0xff
		}
	}
}

// The case of letters is random where that is wanted, and has to come back; a server that
// does not keep it is asked by TCP.
func TestMixedCase(t *testing.T) {
	names := make(map[string]bool)
	s := serve(t, func(q *query) {
		m := q.reply(t, strings.ToLower(q.name())+" 60 IN A 10.0.0.1")
		names[q.name()] = true
		if strings.HasPrefix(q.name(), "f") || strings.HasPrefix(q.name(), "F") {
			m.Question[0].Name = strings.ToLower(q.name())
		}
		q.answer(t, m)
	})
	r := resolver(nil, s)
	r.conf.MixCase = true
	for _, tt := range []struct{ host, asked string }{{"keeper-of-case.example", "udp"}, {"folder-of-case.example", "udp tcp"}} {
		before := len(s.queries())
		got, err := r.LookupNetIP(t.Context(), "ip4", tt.host)
		var asked []string
		for _, q := range s.queries()[before:] {
			asked = append(asked, strings.Fields(q)[0])
		}
		if !slices.Equal(got, addrs("10.0.0.1")) || strings.Join(asked, " ") != tt.asked {
			t.Errorf("%s: %v, %v by %v", tt.host, got, err, asked)
		}
	}
	mixed := 0
	for n := range names {
		if n != strings.ToLower(n) && n != strings.ToUpper(n) {
			mixed++
		}
	}
	if mixed != 2 {
		t.Errorf("asked for %v", names)
	}
}

// A server that did not know EDNS is asked without for a while.
func TestEDNSIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var with, without int
		n := newFake(t, func(q *query) {
			if q.IsEdns0() != nil {
				with++
				q.answer(t, new(wire.Msg).SetRcodeFormatError(&q.Msg))
				return
			}
			without++
			q.answer(t, q.reply(t, q.name()+" 60 IN A 10.1.0.1"))
		})
		c := n.config()
		c.MaxEntries = -1
		r := New(c)
		for i, want := range []int{1, 1, 1, 2} {
			if i == 3 {
				time.Sleep(ednsRetry)
			}
			if _, err := r.LookupNetIP(t.Context(), "ip4", "wiki.corp"); err != nil || with != want || without != i+1 {
				t.Errorf("%d: %v: %d queries with EDNS, %d without", i, err, with, without)
			}
		}
	})
}

// Junk that a stranger sends as fast as it is read ends a query at its deadline, not before
// and not after.
func TestJunkUntilTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newFake(t, func(q *query) {
			for range 10_000 {
				q.send([]byte("junk junk junk junk junk junk"))
				time.Sleep(50 * time.Microsecond)
			}
			if q.name() == "wiki.corp." {
				q.answer(t, q.reply(t, q.name()+" 60 IN A 10.1.0.1"))
			}
		})
		r := New(n.config())
		got, err := r.LookupNetIP(t.Context(), "ip4", "wiki.corp")
		if !slices.Equal(got, addrs("10.1.0.1")) || n.asked() != "0s 10.0.0.1" || time.Since(n.begin) > firstTimeout {
			t.Errorf("%v, %v after %v", got, err, time.Since(n.begin))
		}
		began := time.Now()
		_, err = r.LookupNetIP(t.Context(), "ip4", "other.corp")
		if e, ok := errors.AsType[*net.DNSError](err); !ok || !e.IsTimeout || time.Since(began) != 7*firstTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
