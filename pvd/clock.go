package pvd

import "time"

// A Clock is where all of pvdstack takes its time from, so that a test can give it
// another. Its methods may be called concurrently.
type Clock interface {
	// Now returns the time of day, for dates that people or the network name.
	Now() time.Time

	// Monotonic returns the time since some fixed moment. It never goes back.
	Monotonic() time.Duration

	// AfterFunc calls f, in a goroutine of its own, when d has gone by.
	AfterFunc(d time.Duration, f func()) Timer
}

// A Timer is a call that a [Clock] has been asked for.
type Timer interface {
	// Stop prevents the call and reports whether it was in time to.
	Stop() bool

	// Reset stops the timer and asks for the call anew, d from now.
	Reset(d time.Duration)
}

// SystemClock returns a clock by package time, which is monotonic from this moment on.
func SystemClock() Clock { return systemClock{time.Now()} }

type systemClock struct{ start time.Time }

func (systemClock) Now() time.Time             { return time.Now() }
func (c systemClock) Monotonic() time.Duration { return time.Since(c.start) }
func (systemClock) AfterFunc(d time.Duration, f func()) Timer {
	return systemTimer{time.AfterFunc(d, f)}
}

type systemTimer struct{ t *time.Timer }

func (t systemTimer) Stop() bool            { return t.t.Stop() }
func (t systemTimer) Reset(d time.Duration) { t.t.Reset(d) }
