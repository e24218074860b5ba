package ra_test

import (
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/ra"
)

// TestSolicitations has the backoff of RFC 7559: 4 s, doubled up to an hour, each with a
// tenth more or less.
func TestSolicitations(t *testing.T) {
	w := newWorld(t)
	w.run(time.Hour)
	if len(w.sent) != 0 {
		t.Fatalf("solicitations %v before the link is up", w.sent)
	}
	start := w.now
	w.LinkUp(start)
	w.run(24 * time.Hour)
	if d := w.sent[0] - start; d < 0 || d > time.Second {
		t.Errorf("the first after %v", d)
	}
	last := 4 * time.Second
	for i := 1; i < len(w.sent); i++ {
		gap := w.sent[i] - w.sent[i-1]
		low, high := 2*last-last/10, 2*last+last/10
		if i == 1 {
			low, high = last-last/10, last+last/10
		}
		if most := time.Hour + 6*time.Minute; high > time.Hour {
			low, high = min(low, time.Hour-6*time.Minute), most
		}
		if gap < low || gap > high {
			t.Errorf("gap %d is %v, want %v to %v", i, gap, low, high)
		}
		last = gap
	}
	if n := len(w.sent); n < 30 || n > 40 {
		t.Errorf("%d in a day", n)
	}
	gaps := map[time.Duration]bool{}
	for i := len(w.sent) - 10; i < len(w.sent); i++ {
		gaps[w.sent[i]-w.sent[i-1]] = true
	}
	if len(gaps) < 5 {
		t.Errorf("the gaps are not random: %v", gaps)
	}
}

// TestSolicitationsEnd has what ends the search, and what begins it anew.
func TestSolicitationsEnd(t *testing.T) {
	w := newWorld(t)
	w.LinkUp(0)
	w.run(10 * time.Second) // two are sent
	w.hear(routerA, header(0, pio(prefix1, long, long)))
	w.run(time.Minute)
	n := len(w.sent)
	if n < 4 {
		t.Errorf("%d solicitations: an advertisement without default route must not end them", n)
	}
	w.hear(routerA, header(long))
	w.run(10 * time.Hour)
	if len(w.sent) != n {
		t.Errorf("%d solicitations after a default route was found", len(w.sent)-n)
	}

	for name, begin := range map[string]func(time.Duration){"LinkUp": w.LinkUp, "Resume": w.Resume} {
		at := w.now
		w.sent = nil
		begin(at)
		if _, ok := w.Next(); !ok {
			t.Errorf("%s: nothing to do", name)
		}
		w.run(2 * time.Second)
		if len(w.sent) != 1 || w.sent[0] > at+time.Second {
			t.Errorf("%s: solicitations at %v", name, w.sent)
		}
		w.LinkDown()
		w.run(time.Hour)
		if len(w.sent) != 1 {
			t.Errorf("after LinkDown: solicitations at %v", w.sent)
		}
	}

	// One is sent even if a router was faster (RFC 4861 section 6.3.7).
	w.sent = nil
	w.LinkUp(w.now)
	w.hear(routerA, header(long))
	w.run(time.Hour)
	if len(w.sent) != 1 {
		t.Errorf("solicitations at %v, want one", w.sent)
	}
}

// TestNoSolicitationAtTheEnd lets the last default router's lifetime end, by itself and by
// the router's own word: neither is an event after which a host may solicit again (RFC 4861
// section 6.3.7), and the next LinkUp is one.
func TestNoSolicitationAtTheEnd(t *testing.T) {
	for _, last := range []ra.Advertisement{header(time.Minute), header(0)} {
		w := newWorld(t)
		w.LinkUp(0)
		w.run(2 * time.Second)
		w.hear(routerA, header(10*time.Minute, pio(prefix1, long, long)))
		w.hear(routerA, last)
		n := len(w.sent)
		w.run(time.Hour)
		if len(w.only().Routes) != 0 || len(w.sent) != n {
			t.Errorf("routes %v, solicitations at %v", w.only().Routes, w.sent)
		}
		w.LinkUp(w.now)
		w.run(time.Hour)
		if len(w.sent) < n+8 {
			t.Errorf("solicitations at %v after the link came up", w.sent)
		}
	}
}

// TestResume sleeps past lifetimes: what has expired is gone before anything else.
func TestResume(t *testing.T) {
	w := newWorld(t)
	w.hear(routerA, header(time.Minute))
	w.hear(routerB, header(long))
	w.now = time.Hour
	w.Resume(w.now)
	if keys := keysOf(w.Snapshot().PvDs); !slices.Equal(keys, []ra.Key{implicitB}) {
		t.Errorf("PvDs %v", keys)
	}
}
