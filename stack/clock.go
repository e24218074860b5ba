package stack

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"

	"github.com/pvdstack/pvdstack/pvd"
)

// stackClock gives a pvd.Clock to gVisor.
type stackClock struct{ pvd.Clock }

func (c stackClock) NowMonotonic() tcpip.MonotonicTime {
	return tcpip.MonotonicTime{}.Add(c.Monotonic())
}

func (c stackClock) AfterFunc(d time.Duration, f func()) tcpip.Timer {
	return c.Clock.AfterFunc(d, f)
}
