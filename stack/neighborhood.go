package stack

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/pvd"
)

// A neighborhood is what a PvD's routers say of how to behave towards neighbours
// (RFC 4861 section 6.3.4). What is 0 is as gVisor has it.
type neighborhood struct {
	hopLimit              uint8
	reachable, retransmit time.Duration
}

func neighborhoodOf(info *pvd.Info) (n neighborhood) {
	n.hopLimit, _ = pvd.HopLimit.Get(info)
	n.reachable, _ = pvd.ReachableTime.Get(info)
	n.retransmit, _ = pvd.RetransmitTime.Get(info)
	return n
}

// setNeighborhood has the stack behave so on a link, if it does not yet.
func (d *domain) setNeighborhood(p *port, n neighborhood) {
	if n == p.hood {
		return
	}
	p.hood = n
	ttl := tcpip.DefaultTTLOption(n.hopLimit)
	if ttl == 0 {
		ttl = ipv6.DefaultTTL
	}
	c := gstack.DefaultNUDConfigurations()
	if n.reachable != 0 {
		c.BaseReachableTime = n.reachable
	}
	if n.retransmit != 0 {
		c.RetransmitTimer = n.retransmit
	}
	// An error of either means that the NIC is on its way out.
	_ = d.stk.SetNetworkProtocolOption(ipv6.ProtocolNumber, &ttl)
	_ = d.stk.SetNUDConfigurations(p.nic, ipv6.ProtocolNumber, c)
}
