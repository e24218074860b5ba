package dhcp4

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp/acd"
)

// TestLives lives through random histories of a link, a server, a neighbour and restarts,
// and holds what is true in all of them: a lease is in use only while it lasts and while
// nobody else is known to have it, nothing is sent without link, and time goes on.
func TestLives(t *testing.T) {
	for s := range uint64(300) {
		r := rand.New(rand.NewPCG(s, 1))
		w := newWorld(t, seed(s), func(c *Config) { c.IPv6Only = s%3 == 0 })
		up := false
		var asked sent
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
				up = false // until the next LinkUp nothing but that is sent
			case n == 4:
				w.ReceiveARP(w.now, acd.ARP{Op: acd.Request, SenderMAC: otherMAC, SenderIP: address, TargetIP: server})
			case n == 5:
				l := w.Lease()
				if l == nil {
					continue
				}
				b, err := ParseRecord(record4(t, l, w.now), restartWall, w.now)
				if err != nil {
					t.Fatalf("seed %d: %v", s, err)
				}
				now := w.now
				w = newWorld(t, seed(s+1000), func(c *Config) { c.Previous = b })
				w.now, up = now, false
			case n < 12 && asked.Message != nil: // an answer, perhaps to an old question
				typ := []Type{Offer, Ack, Ack, Nak}[r.IntN(4)]
				life := seconds(uint32(5 + r.IntN(4000)))
				change := []func(*Message){option(optLeaseTime, life...)}
				if r.IntN(10) == 0 {
					change = append(change, option(optV6Only, 0, 0, 1, 44))
				}
				w.receive(reply(asked.Message, typ, change...))
			default:
				if at, ok := w.Next(); ok && r.IntN(3) > 0 {
					w.now = max(w.now, at)
				} else {
					w.now += time.Duration(r.Int64N(int64(10 * time.Minute)))
				}
				w.Advance(w.now)
			}
			for _, p := range w.take() {
				asked = p
				if !up && p.Type() != Release && p.Type() != Decline {
					t.Fatalf("seed %d: at %v sent type %d without link", s, w.now, p.Type())
				}
			}
			if l := w.Lease(); l != nil && l.Expires <= w.now {
				t.Fatalf("seed %d: at %v in use until %v", s, w.now, l.Expires)
			}
			if l := w.Tentative(); l != nil && (w.Lease() != nil || l.Expires <= w.now) {
				t.Fatalf("seed %d: at %v being checked %+v, in use %+v", s, w.now, l, w.Lease())
			}
		}
		// Left to itself, it comes to rest between the moments that it names.
		w.until(w.now + 3*time.Hour)
	}
}

var restartWall = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func record4(t *testing.T, l *Lease, now time.Duration) []byte {
	t.Helper()
	b, err := l.Record(restartWall, now)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
