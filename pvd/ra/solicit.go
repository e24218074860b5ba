package ra

import "time"

// A solicitor knows when solicitations are due: the first after a random delay (RFC 4861
// section 6.3.7), then with the backoff of RFC 7559 for as long as no router is found. That
// the last router's lifetime ends begins no new search: it is none of the events of that
// section, and until the next of those a host must not solicit. Routers that come up
// advertise themselves.
type solicitor struct {
	random func() float64 // [0, 1)
	active bool
	found  bool // a default router: there is no need for more than one solicitation
	due    time.Duration
	wait   time.Duration // RT, 0 before the first
}

func (s *solicitor) start(now time.Duration) {
	s.active, s.found, s.wait = true, false, 0
	s.due = now + time.Duration(s.random()*float64(solicitDelay))
}

// stop ends what start began.
func (s *solicitor) stop() { s.active = false }

// success ends it because an advertisement made a default route (RFC 7559 section 2.1).
// One solicitation is sent all the same (RFC 4861 section 6.3.7).
func (s *solicitor) success() {
	s.found = true
	if s.wait > 0 {
		s.stop()
	}
}

// next is when a solicitation is due.
func (s *solicitor) next() time.Duration {
	if !s.active {
		return Infinite
	}
	return s.due
}

// take reports whether a solicitation is due and, if so, counts it as sent.
func (s *solicitor) take(now time.Duration) bool {
	if now < s.next() {
		return false
	}
	if s.found {
		s.stop()
		return true
	}
	// RFC 8415 section 15, of which RFC 7559 takes the older text: RAND is between -0.1 and 0.1.
	spread := func(d time.Duration) time.Duration {
		return time.Duration((s.random()*0.2 - 0.1) * float64(d))
	}
	if s.wait == 0 {
		s.wait = solicitFirst + spread(solicitFirst)
	} else {
		s.wait = 2*s.wait + spread(s.wait)
	}
	if s.wait > solicitMost {
		s.wait = solicitMost + spread(solicitMost)
	}
	s.due = now + s.wait
	return true
}
