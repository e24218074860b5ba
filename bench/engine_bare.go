package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/pvdstack/pvdstack/tun"
)

// A bareEngine is a gVisor stack with one NIC: what a PvD has at its core.
type bareEngine struct {
	stk *gstack.Stack
	end func() error
}

const bareNIC tcpip.NICID = 1

// newBareEngine returns a stack on l. It owns l, even if it fails.
func newBareEngine(l tun.Link, a attachment) (*bareEngine, error) {
	ep, err := newBareEndpoint(l)
	if err == nil {
		var s *gstack.Stack
		if s, err = newBareStack(ep, a); err == nil {
			ep.start()
			return &bareEngine{stk: s, end: ep.stop}, nil
		}
	}
	return nil, errors.Join(err, l.Close())
}

// newBareStack returns a stack with the protocols and options of a PvD's, on ep.
func newBareStack(ep gstack.LinkEndpoint, a attachment) (*gstack.Stack, error) {
	s := gstack.New(gstack.Options{
		NetworkProtocols: []gstack.NetworkProtocolFactory{
			ipv4.NewProtocolWithOptions(ipv4.Options{IGMP: ipv4.IGMPOptions{Enabled: true}}),
			ipv6.NewProtocolWithOptions(ipv6.Options{
				NDPConfigs: ipv6.NDPConfigurations{HandleRAs: ipv6.HandlingRAsDisabled},
				DADConfigs: gstack.DefaultDADConfigurations(),
				MLD:        ipv6.MLDOptions{Enabled: true},
			}),
			arp.NewProtocol,
		},
		TransportProtocols: []gstack.TransportProtocolFactory{
			tcp.NewProtocolCUBIC, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
		},
		HandleLocal: true,
	})
	if err := errors.Join(setBareOptions(s), attachBare(s, ep, a)); err != nil {
		s.Destroy()
		return nil, err
	}
	return s, nil
}

// setBareOptions sets what a host of pvdstack sets on the stack of a PvD.
func setBareOptions(s *gstack.Stack) error {
	sack, recovery := tcpip.TCPSACKEnabled(true), tcpip.TCPRecovery(0)
	reuse, moderate := tcpip.TCPTimeWaitReuseGlobal, tcpip.TCPModerateReceiveBufferOption(true)
	snd := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 16 << 20}
	rcv := tcpip.TCPReceiveBufferSizeRangeOption{Min: 4 << 10, Default: 1 << 20, Max: 16 << 20}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &recovery, &reuse, &moderate, &snd, &rcv} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("TCP option %T: %v", o, err)
		}
	}
	return nil
}

// attachBare makes the NIC, with an address and a default route.
func attachBare(s *gstack.Stack, ep gstack.LinkEndpoint, a attachment) error {
	if err := s.CreateNIC(bareNIC, ep); err != nil {
		return fmt.Errorf("make NIC: %v", err)
	}
	addr := tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4(a.own.As4()), PrefixLen: a.prefix().Bits()},
	}
	if err := s.AddProtocolAddress(bareNIC, addr, gstack.AddressProperties{}); err != nil {
		return fmt.Errorf("add address %v: %v", a.own, err)
	}
	s.SetRouteTable([]tcpip.Route{
		{Destination: addr.AddressWithPrefix.Subnet(), NIC: bareNIC},
		{Destination: subnetOfAll(), Gateway: tcpip.AddrFrom4(a.peer.As4()), NIC: bareNIC},
	})
	return nil
}

func subnetOfAll() tcpip.Subnet {
	return tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4([4]byte{}), PrefixLen: 0}.Subnet()
}

func (e *bareEngine) dial(ctx context.Context, to netip.AddrPort) (conn, error) {
	wq := new(waiter.Queue)
	ep, err := e.stk.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, wq)
	if err != nil {
		return nil, fmt.Errorf("make endpoint: %v", err)
	}
	c := newBareConn(ep, wq)
	if err := c.connect(ctx, to); err != nil {
		reset(c)
		return nil, err
	}
	return c, nil
}

func (e *bareEngine) close() error {
	err := e.end()
	e.stk.Destroy()
	return err
}
