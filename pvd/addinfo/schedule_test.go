package addinfo

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// bench is a Schedule in virtual time.
type bench struct {
	t     *testing.T
	clock *testClock
	s     *Schedule
	start time.Duration
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, clock: newClock()}
	b.s = NewSchedule(b.clock, rand.NewPCG(1, 2))
	b.start = b.clock.Monotonic()
	return b
}

// at returns how long the bench has been going.
func (b *bench) at() time.Duration { return b.clock.Monotonic() - b.start }

// add makes a PvD that offers information and can be used.
func (b *bench) add(id pvd.ID, a Advert) {
	b.t.Helper()
	a.HasInfo = true
	if !b.s.Update(id, a) {
		b.t.Fatalf("%s: no room", id)
	}
	b.s.SetReady(id, true)
}

// idle holds that there are no requests until d has gone by.
func (b *bench) idle(d time.Duration) {
	b.t.Helper()
	end := b.clock.Monotonic() + d
	for {
		if rs := b.s.Poll(); len(rs) > 0 {
			b.t.Fatalf("at %v: %v is asked for", b.at(), rs[0].ID)
		}
		next, ok := b.s.Next()
		if now := b.clock.Monotonic(); ok && next <= now {
			b.t.Fatalf("at %v: Next is %v ago after Poll", b.at(), now-next)
		}
		if !ok || next > end {
			b.clock.advance(end - b.clock.Monotonic())
			return
		}
		b.clock.advance(next - b.clock.Monotonic())
	}
}

// one returns the only request that is to be made now.
func (b *bench) one() Request {
	b.t.Helper()
	rs := b.s.Poll()
	if len(rs) != 1 {
		next, ok := b.s.Next()
		b.t.Fatalf("at %v: %d requests, want 1; the next at %v, %v", b.at(), len(rs), next-b.start, ok)
	}
	return rs[0]
}

// wait goes on to the next request, with no more than a step for each thing that happens.
func (b *bench) wait() Request {
	b.t.Helper()
	for range 100 {
		if rs := b.s.Poll(); len(rs) == 1 {
			return rs[0]
		} else if len(rs) > 1 {
			b.t.Fatalf("at %v: %d requests at once", b.at(), len(rs))
		}
		next, ok := b.s.Next()
		if !ok {
			b.t.Fatalf("at %v: nothing will ever happen", b.at())
		}
		b.clock.advance(max(0, next-b.clock.Monotonic()))
	}
	b.t.Fatalf("at %v: Next and Poll do not agree", b.at())
	return Request{}
}

// object returns information that is valid for d from now.
func (b *bench) object(id pvd.ID, d time.Duration) *Object {
	return &Object{ID: id, Expires: b.clock.Now().Add(d), Prefixes: prefixes("2001:db8::/32")}
}

func (b *bench) state(id pvd.ID, want State, reason Reason) {
	b.t.Helper()
	r, ok := b.s.Report(id)
	if !ok || r.State != want || r.Reason != reason {
		b.t.Errorf("at %v: %s is %v, want %q, reason %q", b.at(), id, r, want, reason)
	}
	if has := b.s.Object(id) != nil; has != (want == Valid) {
		b.t.Errorf("at %v: %s is %q, object in force: %v", b.at(), id, want, has)
	}
}

var (
	badCertificate = &Fault{Reason: Certificate, Where: "p", Detail: "it is for q"}
	silence        = &Fault{Reason: Unreachable}
)

const year = 365 * 24 * time.Hour

func TestHFlag(t *testing.T) {
	b := newBench(t)
	b.s.Update("p", Advert{Sequence: 1, Delay: 3})
	b.s.SetReady("p", true)
	b.idle(time.Hour)
	if r, ok := b.s.Report("p"); ok {
		t.Errorf("without H: %v", r)
	}
	b.s.Update("p", Advert{Sequence: 2}) // which does not count without H
	b.idle(time.Hour)
	b.add("p", Advert{Sequence: 3})
	r := b.one() // at once
	b.state("p", Fetching, "")
	b.s.Done(r, b.object("p", year), nil)
	b.state("p", Valid, "")
	b.s.Update("p", Advert{Sequence: 3})
	if b.s.Object("p") != nil {
		t.Error("H is gone, the object is not")
	}
	b.idle(2 * year)
}

func TestWaitsForAnAddress(t *testing.T) {
	b := newBench(t)
	b.s.Update("p", Advert{HasInfo: true})
	b.idle(time.Hour)
	b.state("p", Waiting, "")
	b.s.SetReady("p", true)
	r := b.one()
	b.s.SetReady("p", false)
	b.s.Done(r, nil, silence)
	b.idle(time.Hour)
	b.s.SetReady("p", true)
	b.one()
}

// TestSequence: the information ends at once with another Sequence Number, and is asked for
// after a random delay between 0 and 2^(10+Delay) ms.
func TestSequence(t *testing.T) {
	for delay := range uint8(16) {
		b := newBench(t)
		b.add("p", Advert{Sequence: 65535, Delay: 15})
		b.s.Done(b.one(), b.object("p", 20*year), nil)
		b.s.Update("p", Advert{HasInfo: true, Sequence: 65535, Delay: delay}) // only the delay is another
		b.state("p", Valid, "")
		b.clock.advance(time.Minute)
		changed := b.at()
		b.add("p", Advert{Sequence: 0, Delay: delay})
		b.state("p", Waiting, "")
		r := b.wait()
		if waited := b.at() - changed; waited < 0 || waited > time.Millisecond<<(10+delay) {
			t.Errorf("delay %d: asked after %v", delay, waited)
		}
		b.s.Done(r, b.object("p", 20*year), nil)
		b.state("p", Valid, "")
	}
}

// TestSequenceMeanwhile: an answer to an older Sequence Number is not used.
func TestSequenceMeanwhile(t *testing.T) {
	b := newBench(t)
	b.add("p", Advert{Sequence: 1})
	r := b.one()
	b.add("p", Advert{Sequence: 2})
	b.idle(time.Minute) // one request at a time
	b.s.Done(r, b.object("p", year), nil)
	b.state("p", Waiting, "")
	b.s.Done(b.wait(), b.object("p", year), nil)
	b.state("p", Valid, "")

	b.clock.advance(time.Minute)
	b.add("p", Advert{Sequence: 3})
	r = b.wait()
	b.add("p", Advert{Sequence: 4})
	b.s.Done(r, nil, badCertificate) // a failure counts whatever it answers
	b.state("p", Failed, Certificate)
	b.idle(2 * year)
}

// TestDelayAnew: another change while waiting counts from then, with its own delay.
func TestDelayAnew(t *testing.T) {
	b := newBench(t)
	b.add("p", Advert{Sequence: 1})
	b.s.Done(b.one(), b.object("p", year), nil)
	b.clock.advance(time.Minute)
	b.add("p", Advert{Sequence: 2, Delay: 15})
	if next, _ := b.s.Next(); next-b.clock.Monotonic() < 2*time.Second {
		t.Fatalf("the seed gives %v: choose another", next-b.clock.Monotonic())
	}
	b.add("p", Advert{Sequence: 3, Delay: 0})
	if next, _ := b.s.Next(); next-b.clock.Monotonic() > 1024*time.Millisecond {
		t.Errorf("asked in %v", next-b.clock.Monotonic())
	}
}

// TestExpiry: what is retrieved at A and expires at B is asked for between A+(B-A)/2 and B,
// and not used after B.
func TestExpiry(t *testing.T) {
	for range 20 {
		b := newBench(t)
		b.add("p", Advert{})
		b.clock.advance(3 * time.Second)
		a := b.at()
		b.s.Done(b.one(), b.object("p", 1000*time.Second), nil)
		r := b.wait()
		if at := b.at() - a; at < 500*time.Second || at > 1000*time.Second {
			t.Errorf("asked %v after", at)
		}
		b.state("p", Valid, "") // still
		b.clock.advance(a + 1000*time.Second - 1 - b.at())
		b.s.Poll()
		b.state("p", Valid, "")
		b.clock.advance(1)
		b.idle(0)
		b.state("p", Fetching, "")
		b.s.Done(r, b.object("p", 1000*time.Second), nil)
		b.state("p", Valid, "")
	}
}

// TestExpiryAsleep: the time of day counts too, since the other clock may have stood still.
func TestExpiryAsleep(t *testing.T) {
	b := newBench(t)
	b.add("p", Advert{})
	b.s.Done(b.one(), b.object("p", time.Hour), nil)
	b.clock.advance(MinInterval)
	b.clock.wall = b.clock.wall.Add(2 * time.Hour)
	b.one()
	b.state("p", Fetching, "")
}

func TestExpiryFar(t *testing.T) {
	b := newBench(t)
	b.add("p", Advert{})
	o := b.object("p", 0)
	o.Expires = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	b.s.Done(b.one(), o, nil)
	b.idle(49 * year)
	b.state("p", Valid, "")
}

// TestMinInterval: ten seconds lie between two requests for a PvD, whatever happens.
func TestMinInterval(t *testing.T) {
	b := newBench(t)
	b.add("p", Advert{})
	last := b.at()
	b.s.Done(b.one(), b.object("p", time.Millisecond), nil)
	for i := range uint16(50) {
		switch i % 4 {
		case 0:
			b.add("p", Advert{Sequence: i + 1})
		case 1:
			b.s.Update("p", Advert{})
			b.add("p", Advert{Sequence: i})
		case 2:
			b.s.Remove("p")
			b.add("p", Advert{})
		}
		r := b.wait()
		if b.at()-last < MinInterval {
			t.Fatalf("round %d: asked after %v", i, b.at()-last)
		}
		last = b.at()
		b.s.Done(r, b.object("p", time.Millisecond), nil)
	}
}

// TestMaxRequests: five requests in ten seconds for all PvDs of the link, those first that
// have waited longest.
func TestMaxRequests(t *testing.T) {
	b := newBench(t)
	for i := range 13 {
		b.add(pvd.ID(fmt.Sprintf("p%d", i)), Advert{})
		b.clock.advance(time.Millisecond)
	}
	var asked []time.Duration
	for i := 0; i < 13; {
		for _, r := range b.s.Poll() {
			if want := pvd.ID(fmt.Sprintf("p%d", i)); r.ID != want {
				t.Errorf("%s before %s", r.ID, want)
			}
			i++
			asked = append(asked, b.at())
		}
		if next, ok := b.s.Next(); ok {
			b.clock.advance(max(0, next-b.clock.Monotonic()))
		}
	}
	for i := range len(asked) - MaxRequests {
		if d := asked[i+MaxRequests] - asked[i]; d < RequestWindow {
			t.Errorf("requests %d to %d within %v", i, i+MaxRequests, d)
		}
	}
	if total := asked[12] - asked[0]; total != 2*RequestWindow {
		t.Errorf("13 requests took %v, want %v", total, 2*RequestWindow)
	}
}

// TestCoverage: information that does not cover the advertised prefixes is not used as long
// as that is so, and that alone makes nobody ask again.
func TestCoverage(t *testing.T) {
	b := newBench(t)
	in, out := netip.MustParsePrefix("2001:db8:5::/64"), netip.MustParsePrefix("2001:db9::/64")
	b.add("p", Advert{Prefixes: []netip.Prefix{in, out}})
	b.s.Done(b.one(), b.object("p", year), nil)
	b.state("p", Refused, NotCovered)
	b.add("p", Advert{Prefixes: []netip.Prefix{in}})
	b.state("p", Valid, "")
	b.s.Changes()
	b.add("p", Advert{Prefixes: []netip.Prefix{out}})
	b.state("p", Refused, NotCovered)
	if got := b.s.Changes(); !slices.Equal(got, []pvd.ID{"p"}) {
		t.Errorf("changes %v", got)
	}
	b.idle(year / 2)
}

// TestAttachment: what belongs to an earlier attachment does not count.
func TestAttachment(t *testing.T) {
	b := newBench(t)
	b.add("p", Advert{})
	r := b.one()
	b.s.Reset()
	if b.s.Object("p") != nil {
		t.Error("an object of an earlier attachment")
	}
	b.add("p", Advert{})
	second := b.one() // the interval begins anew, too
	b.s.Done(r, nil, badCertificate)
	b.state("p", Fetching, "")
	b.s.Done(second, b.object("p", year), nil)
	b.s.Done(second, nil, badCertificate) // twice is once
	b.state("p", Valid, "")
	if b.s.failures != 0 {
		t.Errorf("%d failures of an earlier attachment count", b.s.failures)
	}
}

func TestRemove(t *testing.T) {
	b := newBench(t)
	b.add("p", Advert{})
	b.s.Done(b.one(), b.object("p", year), nil)
	b.s.Remove("p")
	if _, ok := b.s.Report("p"); ok || b.s.Object("p") != nil {
		t.Error("it is still there")
	}
	b.idle(time.Hour)
	b.s.Remove("p")
	b.s.SetReady("p", true)
	b.idle(0)
	if b.s.find("p") != nil {
		t.Error("nothing has to be remembered of it")
	}
}

// TestBounded: neither PvDs that come and go nor such that come at once take memory.
func TestBounded(t *testing.T) {
	b := newBench(t)
	for i := range 5000 {
		id := pvd.ID(fmt.Sprintf("p%d", i))
		b.add(id, Advert{})
		for _, r := range b.s.Poll() {
			b.s.Done(r, b.object(r.ID, time.Hour), nil)
		}
		b.s.Remove(id)
		b.clock.advance(100 * time.Millisecond)
		if n := len(b.s.entries); n > 2*MaxRequests {
			t.Fatalf("%d entries for PvDs that are gone", n)
		}
	}
	for i := range MaxPvDs {
		b.add(pvd.ID(fmt.Sprintf("q%d", i)), Advert{})
	}
	if b.s.Update("one more", Advert{HasInfo: true}) {
		t.Errorf("%d PvDs", MaxPvDs+1)
	}
	b.add("q0", Advert{Sequence: 2}) // those that are there go on
}

// TestChanges: an advertisement that says nothing new changes nothing.
func TestChanges(t *testing.T) {
	b := newBench(t)
	a := Advert{HasInfo: true, Prefixes: prefixes("2001:db8::/64")}
	b.add("p", a)
	b.add("q", a)
	if got := b.s.Changes(); !slices.Equal(got, []pvd.ID{"p", "q"}) {
		t.Errorf("at first: %v", got)
	}
	if n := testing.AllocsPerRun(100, func() { b.s.Update("p", a) }); n != 0 {
		t.Errorf("%v allocations for an advertisement again", n)
	}
	if got := b.s.Changes(); len(got) != 0 {
		t.Errorf("nothing new: %v", got)
	}
	b.s.Poll()
	if got := b.s.Changes(); len(got) != 2 {
		t.Errorf("requests: %v", got)
	}
}

// TestUniform holds that both random times are spread evenly: of 20 equal parts of the
// interval each has a share of the draws that chance explains.
func TestUniform(t *testing.T) {
	const draws, parts = 20000, 20
	tests := []struct {
		name     string
		interval time.Duration
		draw     func(b *bench) time.Duration
	}{
		{"delay 0", 1024 * time.Millisecond, func(b *bench) time.Duration { return sequenceDelay(b, 0) }},
		{"delay 1", 2048 * time.Millisecond, func(b *bench) time.Duration { return sequenceDelay(b, 1) }},
		{"delay 15", 33554432 * time.Millisecond, func(b *bench) time.Duration { return sequenceDelay(b, 15) }},
		{"expiry", 500 * time.Second, func(b *bench) time.Duration {
			b.s.Reset()
			b.add("p", Advert{})
			b.s.Done(b.one(), b.object("p", 1000*time.Second), nil)
			at, _ := b.s.Next()
			return at - b.clock.Monotonic() - 500*time.Second
		}},
	}
	for _, tt := range tests {
		b := newBench(t)
		var count [parts]int
		for range draws {
			d := tt.draw(b)
			if d < 0 || d > tt.interval {
				t.Fatalf("%s: %v is not in [0, %v]", tt.name, d, tt.interval)
			}
			count[min(int(d*parts/tt.interval), parts-1)]++
		}
		chi := 0.0
		for _, n := range count {
			chi += math.Pow(float64(n)-draws/parts, 2) / (draws / parts)
		}
		if chi > 43.8 { // 19 degrees of freedom: one seed in 1000 is above
			t.Errorf("%s: chi square %.1f for %v", tt.name, chi, count)
		}
	}
}

// sequenceDelay returns a delay for a change of the Sequence Number.
func sequenceDelay(b *bench, delay uint8) time.Duration {
	if b.s.Object("p") == nil {
		if r, ok := b.s.Report("p"); !ok || r.Sequence == 0 {
			b.add("p", Advert{Delay: delay})
			b.s.Done(b.one(), b.object("p", 20*year), nil)
			b.clock.advance(MinInterval)
		}
	}
	r, _ := b.s.Report("p")
	b.add("p", Advert{Delay: delay, Sequence: max(1, r.Sequence+1)})
	at, _ := b.s.Next()
	return at - b.clock.Monotonic()
}

// TestRandomSource holds that Schedules without a source of their own do not draw the same.
func TestRandomSource(t *testing.T) {
	c := newClock()
	a, b := NewSchedule(c, nil), NewSchedule(c, nil)
	if a.uniform(math.MaxInt64-1) == b.uniform(math.MaxInt64-1) {
		t.Error("the same draw from two sources")
	}
}
