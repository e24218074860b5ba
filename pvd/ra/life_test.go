package ra_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// TestLives lives through random histories of a link with a few routers, PvDs and prefixes
// that they fight over, and holds what is true in all of them: nothing is listed that has
// ended, or beyond a limit, what has been handed out does not change, and PvDs that are as
// before are the same pointers.
func TestLives(t *testing.T) {
	for s := range uint64(30) {
		r := rand.New(rand.NewPCG(s, 1))
		w := newWorld(t, func(c *ra.Config) { c.Temporary = s%2 == 0 })
		type seen struct {
			snap *ra.Snapshot
			text string
		}
		var handed []seen
		for range 150 {
			before := w.Snapshot()
			switch n := r.IntN(24); {
			case n == 0:
				w.LinkUp(w.now)
			case n == 1:
				w.LinkDown()
			case n == 2:
				w.now += time.Duration(r.Int64N(int64(3 * time.Hour)))
				w.Resume(w.now)
			case n == 3 && r.IntN(5) == 0:
				w.Reset()
			case n == 4:
				w.Forget(w.now, number("fe80::", r.IntN(4)))
			case n == 5:
				w.SetReachable(w.now, number("fe80::", r.IntN(4)), r.IntN(2) == 0)
			case n == 6:
				if ps := before.PvDs; len(ps) > 0 {
					p := ps[r.IntN(len(ps))]
					if as := p.Addresses; len(as) > 0 {
						w.Duplicate(w.now, p.Key, as[r.IntN(len(as))].Prefix.Addr())
					}
				}
			case n < 18:
				w.hear(number("fe80::", r.IntN(4)), randomAdvertisement(r))
			default:
				w.run(time.Duration(r.Int64N(int64(40 * time.Minute))))
			}
			checkSnapshot(t, w)
			after := w.Snapshot()
			for _, c := range after.Changes(before) {
				if c.Before != nil && c.Before == c.After {
					t.Fatalf("seed %d: %s is a change to itself", s, c.After.Key)
				}
			}
			handed = append(handed, seen{after, describeAll(after)})
		}
		for _, h := range handed {
			if got := describeAll(h.snap); got != h.text {
				t.Fatalf("seed %d: a snapshot has become\n%s, was\n%s", s, got, h.text)
			}
		}
		w.run(30 * 24 * time.Hour) // by itself it goes on
		checkSnapshot(t, w)
	}
}

func describeAll(s *ra.Snapshot) (text string) {
	for _, p := range s.PvDs {
		text += fmt.Sprintf("%+v\n", *p)
		if p.Option != nil {
			text += fmt.Sprintf("%+v\n", *p.Option)
		}
	}
	return text
}

// randomAdvertisement is one of a router that says now this, now that.
func randomAdvertisement(r *rand.Rand) ra.Advertisement {
	life := func() time.Duration {
		switch r.IntN(8) {
		case 0, 1:
			return 0
		case 2:
			return ra.Infinite
		}
		return time.Duration(r.IntN(20_000)) * time.Second
	}
	options := func() (os []ra.Option) {
		for range r.IntN(5) {
			p := subnet(r.IntN(3))
			switch r.IntN(9) {
			case 0, 1, 2:
				valid := life()
				preferred := min(valid, life())
				os = append(os, ra.PrefixInformation{
					Prefix: p, Valid: valid, Preferred: preferred,
					OnLink: r.IntN(2) == 0, Autonomous: r.IntN(4) > 0, Delegation: r.IntN(4) == 0,
				})
			case 3:
				if r.IntN(2) == 0 {
					p = netip.MustParsePrefix("::/0")
				}
				os = append(os, ra.RouteInformation{Prefix: p, Lifetime: life(), Preference: pvd.Preference(r.IntN(3) - 1)})
			case 4:
				os = append(os, ra.RDNSS{Servers: []netip.Addr{number("2001:db8::", r.IntN(3)), routerA}, Lifetime: life()})
			case 5:
				os = append(os, ra.DNSSL{Domains: []string{fmt.Sprintf("d%d.example", r.IntN(3))}, Lifetime: life()})
			case 6:
				os = append(os, ra.PREF64{Prefix: nat64, Lifetime: min(life(), 65528*time.Second)})
			case 7:
				o := dot(uint16(1+r.IntN(3)), fmt.Sprintf("r%d.example", r.IntN(2)), number("2001:db8::", r.IntN(3)), routerB)
				o.Lifetime = life()
				os = append(os, o)
			case 8:
				os = append(os, ra.MTU(1200+r.IntN(400)), ra.LinkAddress{MAC: macA})
			}
		}
		return os
	}
	h := func() ra.Header {
		return ra.Header{
			Lifetime: min(life(), long), HopLimit: uint8(r.IntN(256)), Managed: r.IntN(2) == 0, Other: r.IntN(2) == 0,
			Reachable: time.Duration(r.IntN(5)) * time.Second, Preference: pvd.Preference(r.IntN(3) - 1),
		}
	}
	a := ra.Advertisement{Header: h(), Options: options()}
	if r.IntN(2) == 0 {
		o := ra.PvDOption{
			ID:   pvd.ID(fmt.Sprintf("p%d.example", r.IntN(3))),
			HTTP: r.IntN(2) == 0, Legacy: r.IntN(3) == 0, Sequence: uint16(r.IntN(3)), Options: options(),
		}
		if r.IntN(2) == 0 {
			inner := h()
			o.Header = &inner
		}
		a.Options = append(a.Options, o)
	}
	return a
}
