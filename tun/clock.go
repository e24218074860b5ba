package tun

import "time"

// A Clock is where a decorator takes its time from, so that a test can give it another.
// The zero Clock is that of package time; otherwise both functions have to be set. They
// may be called concurrently.
type Clock struct {
	// Now returns the time since some fixed moment. It never goes back.
	Now func() time.Duration
	// AfterFunc calls f, in another goroutine than its caller's, when d has gone by.
	// stop prevents the call and reports whether it was in time to.
	AfterFunc func(d time.Duration, f func()) (stop func() bool)
}

// orSystem returns c, or the clock of package time where c is zero.
func (c Clock) orSystem() Clock {
	if c.Now != nil || c.AfterFunc != nil {
		return c
	}
	// Not a variable of the package: in a bubble of testing/synctest time is another.
	start := time.Now()
	return Clock{
		Now: func() time.Duration { return time.Since(start) },
		AfterFunc: func(d time.Duration, f func()) func() bool {
			return time.AfterFunc(d, f).Stop
		},
	}
}
