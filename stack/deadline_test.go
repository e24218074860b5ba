package stack

import (
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A handClock is a clock that a test moves. Its calls run in the goroutine that does.
type handClock struct {
	now    time.Duration
	timers []*handTimer
}

type handTimer struct {
	c    *handClock
	at   time.Duration
	call func()
}

var handEpoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func (c *handClock) Now() time.Time           { return handEpoch.Add(c.now) }
func (c *handClock) Monotonic() time.Duration { return c.now + time.Hour }

func (c *handClock) AfterFunc(d time.Duration, f func()) pvd.Timer {
	t := &handTimer{c: c, call: f}
	t.Reset(d)
	return t
}

func (t *handTimer) Stop() bool {
	n := len(t.c.timers)
	t.c.timers = slices.DeleteFunc(t.c.timers, func(o *handTimer) bool { return o == t })
	return len(t.c.timers) < n
}

func (t *handTimer) Reset(d time.Duration) {
	t.Stop()
	t.at = t.c.now + d
	t.c.timers = append(t.c.timers, t)
}

func (c *handClock) advance(d time.Duration) {
	c.now += d
	for _, t := range slices.Clone(c.timers) {
		if t.at <= c.now && t.Stop() {
			t.call()
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestDeadline(t *testing.T) {
	c := &handClock{}
	d := deadline{clock: c}
	in := func(wait time.Duration) time.Time { return c.Now().Add(wait) }
	expect := func(what string, passed <-chan struct{}, want bool) {
		t.Helper()
		if d.past.Load() != want || closed(passed) != want || closed(d.passed()) != want {
			t.Errorf("%s: past %v, those who waited before %v, those who wait now %v; want %v",
				what, d.past.Load(), closed(passed), closed(d.passed()), want)
		}
	}
	before := d.passed()
	expect("none", before, false)
	d.set(in(time.Second))
	c.advance(999 * time.Millisecond)
	expect("just before", before, false)
	c.advance(time.Millisecond)
	expect("at it", before, true)

	d.set(in(time.Second))
	expect("a new one", d.passed(), false)
	before = d.passed()
	d.set(in(3 * time.Second)) // moved while somebody waits
	c.advance(2 * time.Second)
	expect("moved away", before, false)
	d.set(in(time.Minute))
	d.fire() // a call that was late
	expect("a call for a deadline that was moved", before, false)
	d.set(in(-time.Nanosecond))
	expect("in the past", before, true)

	d.set(time.Time{})
	before = d.passed()
	c.advance(time.Hour)
	expect("none again", before, false)
	d.set(in(time.Second))
	d.set(time.Time{})
	d.fire()
	c.advance(time.Hour)
	expect("taken back", before, false)
	d.set(in(time.Second))
	d.stop()
	c.advance(time.Hour)
	expect("stopped", before, false)
	if len(c.timers) != 0 {
		t.Errorf("%d timers left", len(c.timers))
	}
	d.set(in(0))
	expect("now", before, true)
}
