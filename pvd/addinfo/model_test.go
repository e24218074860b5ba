package addinfo

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// TestScheduleModel does what networks and owners may do, in random order, and holds the
// limits of RFC 8801 section 4.1 after each step.
func TestScheduleModel(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 0))
		m := &model{bench: newBench(t), r: r, asked: map[pvd.ID]time.Duration{}, failed: map[pvd.ID]bool{}, pvds: map[pvd.ID]Advert{}, ready: map[pvd.ID]bool{}}
		for range 1000 {
			m.step()
			m.poll()
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		if m.requests == 0 {
			t.Errorf("seed %d: nothing was ever asked for", seed)
		}
	}
}

type model struct {
	*bench
	r        *rand.Rand
	pvds     map[pvd.ID]Advert
	ready    map[pvd.ID]bool
	asked    map[pvd.ID]time.Duration
	failed   map[pvd.ID]bool
	failures int
	all      []time.Duration
	open     []Request
	requests int
}

func (m *model) step() {
	id := pvd.ID(fmt.Sprintf("p%d", m.r.IntN(30)))
	switch m.r.IntN(8) {
	case 0, 1:
		a := Advert{HasInfo: m.r.IntN(5) > 0, Sequence: uint16(m.r.IntN(3)), Delay: uint8(m.r.IntN(4))}
		if m.r.IntN(2) == 0 {
			a.Prefixes = prefixes([]string{"2001:db8::/64", "2001:db9::/64"}[m.r.IntN(2)])
		}
		if _, here := m.pvds[id]; !here {
			m.ready[id] = false
		}
		m.s.Update(id, a)
		m.pvds[id] = a
	case 2:
		if m.r.IntN(3) == 0 {
			m.s.Remove(id)
			delete(m.pvds, id)
			delete(m.ready, id)
		}
	case 3, 4:
		if _, here := m.pvds[id]; here {
			m.ready[id] = m.r.IntN(4) > 0
			m.s.SetReady(id, m.ready[id])
		}
	case 5, 6:
		m.answer()
	case 7:
		m.clock.advance(time.Duration(m.r.Int64N(int64(20 * time.Second))))
	}
	if m.r.IntN(500) == 0 { // a new attachment
		m.s.Reset()
		clear(m.pvds)
		clear(m.ready)
		clear(m.asked)
		clear(m.failed)
		m.failures, m.all = 0, nil
		for i := range m.open {
			m.open[i].attachment = -1
		}
	}
}

func (m *model) answer() {
	if len(m.open) == 0 {
		return
	}
	i := m.r.IntN(len(m.open))
	q := m.open[i]
	m.open = append(m.open[:i:i], m.open[i+1:]...)
	switch m.r.IntN(12) {
	case 0:
		m.s.Done(q, nil, badCertificate)
		if q.attachment >= 0 {
			m.failed[q.ID] = true
			m.failures++
		}
	case 1:
		m.s.Done(q, nil, &Fault{Reason: Cancelled})
	default:
		m.s.Done(q, m.object(q.ID, time.Duration(m.r.Int64N(int64(time.Minute)))), nil)
	}
}

// poll carries out what is due and checks it.
func (m *model) poll() {
	now := m.clock.Monotonic()
	for _, q := range m.s.Poll() {
		m.requests++
		last, again := m.asked[q.ID]
		switch a, here := m.pvds[q.ID]; {
		case !here, !a.HasInfo, !m.ready[q.ID]:
			m.t.Errorf("%s is asked for: there %v, H %v, ready %v", q.ID, here, a.HasInfo, m.ready[q.ID])
		case m.failed[q.ID]:
			m.t.Errorf("%s is asked for after a failure", q.ID)
		case m.failures >= MaxFailures:
			m.t.Errorf("%s is asked for after %d failures", q.ID, m.failures)
		case again && now-last < MinInterval:
			m.t.Errorf("%s is asked for again after %v", q.ID, now-last)
		case len(m.all) >= MaxRequests && now-m.all[len(m.all)-MaxRequests] < RequestWindow:
			m.t.Errorf("%d requests in %v", MaxRequests+1, now-m.all[len(m.all)-MaxRequests])
		}
		m.asked[q.ID] = now
		m.all = append(m.all, now)
		m.open = append(m.open, q)
	}
	if next, ok := m.s.Next(); ok && next <= now {
		m.t.Errorf("after Poll, Next is %v ago", now-next)
	}
	for id, a := range m.pvds {
		o := m.s.Object(id)
		if o != nil && (!a.HasInfo || m.failed[id] || !o.Expires.After(m.clock.Now()) || o.Covers(a.Prefixes) != nil) {
			m.t.Errorf("%s has an object in force until %v: %+v, failed %v", id, o.Expires, a, m.failed[id])
		}
		if r, ok := m.s.Report(id); ok != a.HasInfo || (r.State == Failed) != (ok && m.failed[id]) {
			m.t.Errorf("%s: %v, %v", id, r, ok)
		}
	}
	if n := len(m.s.entries); n > len(m.pvds)+len(m.open)+MaxFailures+MaxRequests {
		m.t.Errorf("%d entries for %d PvDs", n, len(m.pvds))
	}
}
