package dhcp6

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// TestLives lives through random histories of a link, two servers, duplicates and restarts,
// and holds what is true in all of them: nothing is in use longer than it lasts, nothing
// is sent without link, and time goes on.
func TestLives(t *testing.T) {
	for s := range uint64(300) {
		r := rand.New(rand.NewPCG(s, 1))
		config := func(c *Config) {
			c.Addresses, c.Prefixes, c.RapidCommit = s%4 > 0, s%4 > 1, s%2 == 0
			c.Rand = rand.NewPCG(s, 2)
			if s%5 == 0 {
				c.Accept = func(a netip.Addr) bool { return a.As16()[15]&1 == 0 }
			}
		}
		w := newWorld(t, config)
		up := false
		var asked *Message
		for range 200 {
			switch n := r.IntN(20); {
			case n == 0:
				w.LinkUp(w.now)
				up = true
			case n == 1:
				w.LinkDown()
				up = false
			case n == 2:
				w.now += time.Duration(r.Int64N(int64(2 * time.Hour)))
				w.Resume(w.now)
			case n == 3 && r.IntN(4) == 0:
				w.Release(w.now)
			case n == 4:
				if l := w.Lease(); l != nil && len(l.Addrs) > 0 {
					w.Decline(w.now, l.Addrs[0].Prefix.Addr())
				}
			case n == 5:
				l := w.Lease()
				if l == nil {
					continue
				}
				b, err := l.Record(recordWall, w.now)
				if err != nil {
					t.Fatal(err)
				}
				previous, err := ParseRecord(b, recordWall, w.now)
				if err != nil {
					t.Fatalf("seed %d: %v of %s", s, err, b)
				}
				now := w.now
				w = newWorld(t, config, func(c *Config) { c.Previous = previous })
				w.now, up = now, false
			case n < 12 && asked != nil: // an answer, perhaps to an old question
				w.receive(randomAnswer(r, asked))
			default:
				if at, ok := w.Next(); ok && r.IntN(3) > 0 {
					w.now = max(w.now, at)
				} else {
					w.now += time.Duration(r.Int64N(int64(10 * time.Minute)))
				}
				w.Advance(w.now)
			}
			for _, p := range w.Packets() {
				m, err := Parse(p)
				if err != nil {
					t.Fatal(err)
				}
				if asked = m; !up {
					t.Fatalf("seed %d: at %v sent type %d without link", s, w.now, m.Type)
				}
			}
			if l := w.Lease(); l != nil && (l.firstEnd() <= w.now || len(l.Addrs)+len(l.Prefixes) == 0 || l.T1 > l.T2) {
				t.Fatalf("seed %d: at %v in use %+v", s, w.now, l)
			}
			if i := w.Info(); i != nil && i.Expires <= w.now {
				t.Fatalf("seed %d: at %v in use %+v", s, w.now, i)
			}
		}
		// Left to itself, it comes to rest between the moments that it names.
		w.until(w.now + 3*time.Hour)
	}
}

// randomAnswer is what a server may say, or not.
func randomAnswer(r *rand.Rand, to *Message) *Message {
	life := func() (preferred, valid uint32) {
		valid = uint32(r.IntN(4000))
		return uint32(r.IntN(int(valid) + 1)), valid
	}
	var na, pd []Option
	for i := range r.IntN(3) {
		preferred, valid := life()
		na = append(na, iaAddr(netip.AddrFrom16([16]byte{0x20, 1, 15: byte(i + 1)}), preferred, valid))
	}
	if r.IntN(2) == 0 {
		preferred, valid := life()
		pd = append(pd, iaPrefix(prefix, preferred, valid))
	}
	if r.IntN(8) == 0 {
		na = append(na, statusOption(Status(r.IntN(7))))
	}
	options := []Option{
		ia(optIANA, uint32(r.IntN(1000)), uint32(r.IntN(3000)), na...),
		ia(optIAPD, uint32(r.IntN(1000)), uint32(r.IntN(3000)), pd...),
		opt(optDNS, dns.AsSlice()...),
	}
	if r.IntN(3) == 0 {
		options = append(options, opt(optRapidCommit))
	}
	if r.IntN(8) == 0 {
		options = append(options, statusOption(Status(r.IntN(7))))
	}
	typ, server := Reply, server1
	if to.Type == Solicit && r.IntN(3) > 0 {
		typ = Advertise
	}
	if r.IntN(5) == 0 {
		server = server2
	}
	return answer(to, typ, server, options...)
}
