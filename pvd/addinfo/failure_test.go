package addinfo

import (
	"fmt"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// TestFailure: after one failure the PvD is not asked for again during the attachment.
func TestFailure(t *testing.T) {
	for _, reason := range []Reason{
		NoRoots, Certificate, TLS, HTTP, Timeout, BadStatus, BadRedirect, BadType, TooLarge, BadJSON, MissingKey, BadValue, OtherID, Expired, TooMany, BadName,
	} {
		b := newBench(t)
		b.add("p", Advert{})
		b.s.Done(b.one(), nil, fmt.Errorf("wrapped: %w", &Fault{Reason: reason, Where: "there", Detail: "bad"}))
		b.state("p", Failed, reason)
		if r, _ := b.s.Report("p"); r.String() != "failed: "+string(reason)+": there: bad" || !r.Failed.Equal(now) {
			t.Errorf("%q at %v", r, r.Failed)
		}
		b.add("p", Advert{Sequence: 1})
		b.idle(time.Hour)
		b.s.Update("p", Advert{})
		b.add("p", Advert{Sequence: 2})
		b.idle(time.Hour)
		b.s.Remove("p")
		b.clock.advance(year)
		b.add("p", Advert{Sequence: 3})
		b.idle(time.Hour)
		b.state("p", Failed, reason)
		b.s.Reset()
		b.add("p", Advert{Sequence: 3})
		b.one() // a new attachment starts over
	}
}

// TestFailureEndsObject: a failure to renew ends what there was.
func TestFailureEndsObject(t *testing.T) {
	b := newBench(t)
	b.add("p", Advert{})
	b.s.Done(b.one(), b.object("p", time.Hour), nil)
	b.s.Done(b.wait(), nil, badCertificate)
	b.state("p", Failed, Certificate)
	b.idle(2 * year)
}

// TestSilence: what did not reach a server is tried again, a few times, and what there is
// stays in force meanwhile.
func TestSilence(t *testing.T) {
	b := newBench(t)
	b.add("p", Advert{})
	b.s.Done(b.one(), b.object("p", year), nil)
	b.s.Done(b.wait(), nil, silence)
	b.state("p", Valid, Unreachable)
	for i := range MaxRetries {
		before := b.at()
		r := b.wait()
		if waited := b.at() - before; waited != retryBase<<i {
			t.Errorf("retry %d after %v, want %v", i, waited, retryBase<<i)
		}
		if i == MaxRetries-1 {
			b.s.Done(r, nil, silence)
			break
		}
		b.s.Done(r, nil, &Fault{Reason: Lookup})
		b.state("p", Valid, Lookup)
	}
	b.state("p", Failed, Unreachable)
	b.idle(2 * year)
}

// TestSilenceEnds: an answer ends the count of retries.
func TestSilenceEnds(t *testing.T) {
	b := newBench(t)
	b.add("p", Advert{})
	for range 5 {
		for range MaxRetries {
			b.s.Done(b.wait(), nil, silence)
			b.state("p", Waiting, Unreachable)
		}
		b.s.Done(b.wait(), b.object("p", time.Millisecond), nil)
		b.state("p", Valid, "")
		b.clock.advance(time.Millisecond)
	}
}

// TestSilenceAnew: a change of the Sequence Number gives a PvD all its retries.
func TestSilenceAnew(t *testing.T) {
	b := newBench(t)
	b.add("p", Advert{})
	for i := range uint16(2) {
		b.add("p", Advert{Sequence: i})
		for range MaxRetries {
			b.s.Done(b.wait(), nil, silence)
			b.state("p", Waiting, Unreachable)
		}
	}
	b.s.Done(b.wait(), nil, silence)
	b.state("p", Failed, Unreachable)
}

// TestDelayIsFourBits: a caller's mistake does not overflow.
func TestDelayIsFourBits(t *testing.T) {
	b := newBench(t)
	b.add("p", Advert{Delay: 45})
	b.s.Done(b.one(), b.object("p", 20*year), nil)
	b.add("p", Advert{Delay: 45, Sequence: 1})
	before := b.at()
	b.wait()
	if d := b.at() - before; d > time.Millisecond<<25 {
		t.Errorf("asked after %v", d)
	}
}

// TestCancelled: what the owner gives up is no failure.
func TestCancelled(t *testing.T) {
	b := newBench(t)
	b.add("p", Advert{})
	for range 20 {
		b.s.Done(b.wait(), nil, &Fault{Reason: Cancelled})
	}
	b.state("p", Waiting, "")
}

// TestMaxFailures: ten failures end all requests of the attachment.
func TestMaxFailures(t *testing.T) {
	b := newBench(t)
	b.add("good", Advert{})
	b.s.Done(b.one(), b.object("good", time.Hour), nil)
	b.add("next", Advert{})
	b.s.SetReady("next", false)
	for i := range MaxFailures {
		b.state("next", Waiting, "")
		id := pvd.ID(fmt.Sprintf("bad%d", i))
		b.add(id, Advert{})
		b.s.Done(b.wait(), nil, badCertificate)
		b.s.Remove(id) // it counts even if the PvD has gone
	}
	b.s.SetReady("next", true)
	b.state("next", Stopped, "")
	b.add("more", Advert{})
	b.state("more", Stopped, "")
	b.add("good", Advert{})
	b.state("good", Valid, "")
	b.idle(2 * year)
	b.state("good", Stopped, "")
	b.s.Reset()
	b.add("next", Advert{})
	b.one()
}
