package stack

import (
	"sync/atomic"
	"testing"
	"time"
)

// TestSleepCounts has the machine sleep: what it has learned has grown older by that, and
// routers are looked for again.
func TestSleepCounts(t *testing.T) {
	var slept atomic.Int64
	p := teach(t, func(h *Host) {
		h.suspended = func() time.Duration { return time.Duration(slept.Load()) }
	})
	l, _ := p.link("lan")

	// A short sleep changes nothing; a long one is longer than the router's lifetime.
	sleep := func(d time.Duration) {
		for len(p.solicited) > 0 {
			<-p.solicited
		}
		slept.Add(int64(d))
		l.pokeAgent()
	}
	sleep(10 * time.Minute)
	<-p.solicited
	p.until("after a short sleep", 1)
	sleep(55 * time.Minute)
	<-p.solicited
	p.until("after a long sleep", 0)
	if _, err := p.Remarks("lan"); err != nil {
		t.Error(err)
	}
}
