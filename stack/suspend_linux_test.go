package stack

import (
	"testing"
	"time"
)

// TestSuspended holds that the real clocks' difference is one, and does not run by itself.
func TestSuspended(t *testing.T) {
	first := suspended()
	time.Sleep(10 * time.Millisecond)
	if grown := suspended() - first; first < 0 || grown > 5*time.Millisecond || grown < -5*time.Millisecond {
		t.Errorf("slept %v, and %v more while awake", first, grown)
	}
}
