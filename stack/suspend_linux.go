package stack

import (
	"time"

	"golang.org/x/sys/unix"
)

// suspended returns for how long the machine has slept since it was started: the clock
// that goes on meanwhile is ahead by that of the one that does not.
func suspended() time.Duration {
	var boot, mono unix.Timespec
	// In this order, so that what passes between the two does not make it negative.
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0
	}
	return time.Duration(boot.Nano() - mono.Nano())
}
