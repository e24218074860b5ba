package stack

import (
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/link/loopback"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/pvd"
)

var loopbackPrefixes = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128")}

// loopback makes the PvD's own loopback NIC when it is first needed. Without one, gVisor
// would look for 127.0.0.1 on a link.
func (d *domain) loopback() error {
	d.loop.Do(func() { d.loopErr = d.makeLoopback() })
	return d.loopErr
}

func (d *domain) makeLoopback() error {
	// Removal runs this Once empty first, so the PvD can not go in the meantime.
	if d.isGone() {
		return pvd.ErrNoPvD
	}
	if err := d.stk.CreateNICWithOptions(loopbackNIC, loopback.New(), gstack.NICOptions{Name: "lo"}); err != nil {
		return fmt.Errorf("loopback of %s: %v", d.name(), err)
	}
	d.skipDAD(loopbackNIC) // nobody else is there who could have the address
	for _, p := range loopbackPrefixes {
		pa := tcpip.ProtocolAddress{
			Protocol:          protocolOf(p.Addr()),
			AddressWithPrefix: tcpip.AddressWithPrefix{Address: toAddr(p.Addr()), PrefixLen: p.Bits()},
		}
		if err := d.stk.AddProtocolAddress(loopbackNIC, pa, gstack.AddressProperties{}); err != nil {
			return fmt.Errorf("loopback of %s: %v: %v", d.name(), p, err)
		}
	}
	d.loopMu.Lock()
	defer d.loopMu.Unlock()
	d.loopMade = true
	d.stk.SetRouteTable(append(d.stk.GetRouteTable(), loopbackRoutes()...))
	return nil
}

// skipDAD makes addresses on a NIC usable at once.
func (d *domain) skipDAD(nic tcpip.NICID) {
	ep, err := d.stk.GetNetworkEndpoint(nic, ipv6.ProtocolNumber)
	if err != nil {
		return // no NIC, no addresses
	}
	if ep, ok := ep.(gstack.DuplicateAddressDetector); ok {
		ep.SetDADConfigurations(gstack.DADConfigurations{})
	}
}

func loopbackRoutes() []tcpip.Route {
	routes := make([]tcpip.Route, len(loopbackPrefixes))
	for i, p := range loopbackPrefixes {
		routes[i] = tcpip.Route{Destination: toSubnet(p), NIC: loopbackNIC}
	}
	return routes
}
