package stack

import (
	"math"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// The clock makes gVisor's times out of their insides: they are what Add would have made.
func TestMonotonicTime(t *testing.T) {
	hand := &handClock{}
	c := &stackClock{hand}
	for _, now := range []time.Duration{0, 1, time.Second, 400 * 24 * time.Hour, math.MaxInt64 - time.Hour} {
		hand.now = now
		got, want := c.NowMonotonic(), tcpip.MonotonicTime{}.Add(hand.Monotonic())
		if got != want || got.Sub(tcpip.MonotonicTime{}) != hand.Monotonic() {
			t.Errorf("at %v: %v, want %v", hand.Monotonic(), got, want)
		}
	}
}
