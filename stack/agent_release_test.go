package stack_test

import (
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdtest"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// TestGivesLeaseBack ends learning on a link that takes some time, while the PvD does not know
// where its server is.
func TestGivesLeaseBack(t *testing.T) {
	lab := pvdtest.New(t, pvdtest.ManualTime())
	lab.LAN("home", "192.168.1.0/24").Router("192.168.1.1", pvdtest.DHCPv4{Pool: "192.168.1.50", Size: 1})
	for range 2 { // the second gets the only address if the first has given it back
		h := lab.Host()
		unchanged := bystander(t, h.Host)
		h.DiscoverAs("home", stack.Discovery{DHCPv4: true})
		h.Await("home", pvd.HasAddr4)
		h.Link("home").Impair(tun.Impairment{Delay: 2 * time.Millisecond})
		lab.Run(func() {
			if err := h.Host.Discover("home", stack.Discovery{}); err != nil {
				t.Error(err)
			}
		})
		unchanged()
	}
}
