package stack

import (
	"time"
	"unsafe"

	"gvisor.dev/gvisor/pkg/tcpip"

	"github.com/pvdstack/pvdstack/pvd"
)

// stackClock gives a pvd.Clock to gVisor.
type stackClock struct{ pvd.Clock }

// NowMonotonic is asked several times for each packet. A MonotonicTime is a number of
// nanoseconds in a struct, but the one way to make it, Add, goes by way of the calendar.
func (c *stackClock) NowMonotonic() tcpip.MonotonicTime {
	now := c.Monotonic()
	return *(*tcpip.MonotonicTime)(unsafe.Pointer(&now))
}

// The two are of one size.
var _ [unsafe.Sizeof(time.Duration(0))]struct{} = [unsafe.Sizeof(tcpip.MonotonicTime{})]struct{}{}

func (c *stackClock) AfterFunc(d time.Duration, f func()) tcpip.Timer {
	return c.Clock.AfterFunc(d, f)
}
