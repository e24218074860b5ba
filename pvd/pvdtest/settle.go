package pvdtest

import (
	"runtime"
	"runtime/metrics"
	"time"
)

// settle waits until what activity tells of is at rest: nothing pending and nothing
// counted over several samples in a row, in which the scheduler had nothing else to run
// either. Where the process is busy with something that is not being watched, the
// scheduler never rests; then many times as many samples have to do. It reports false
// when there was no rest for so long as timeout.
func settle(activity func() Activity, timeout time.Duration) bool {
	const busyFactor = 25
	// The machine's time: the clock that is being waited for stands still.
	deadline := time.Now().Add(timeout)
	last, still, quiet := activity(), 0, 0
	for still < settleSamples*busyFactor && quiet < settleSamples {
		runtime.Gosched()
		idle := schedulerIdle()
		if !idle {
			time.Sleep(settlePause)
		}
		now := activity()
		if now != last || now.Pending != 0 {
			last, still, quiet = now, 0, 0
			if time.Now().After(deadline) {
				return false
			}
			continue
		}
		still++
		if idle {
			quiet++
		} else {
			quiet = 0
		}
	}
	return true
}

// schedulerIdle reports whether the calling goroutine is the only one that runs or could.
func schedulerIdle() bool {
	s := [...]metrics.Sample{
		{Name: "/sched/goroutines/runnable:goroutines"},
		{Name: "/sched/goroutines/running:goroutines"},
	}
	metrics.Read(s[:])
	for i, most := range []uint64{0, 1} {
		if s[i].Value.Kind() != metrics.KindUint64 || s[i].Value.Uint64() > most {
			return false
		}
	}
	return true
}
