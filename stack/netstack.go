package stack

import (
	"fmt"
	"math/rand/v2"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// newNetstack makes a PvD's stack as pvdstack wants it: duplicate address detection, MLD
// and IGMP on, router advertisements left to the link agents, and TCP with the options
// under which every transfer ends.
func newNetstack(d *domain) (*gstack.Stack, error) {
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
		Clock:       &stackClock{d.host.clock},
		HandleLocal: true,
		NUDDisp:     neighborWatch{d},
		// Tables without rules, which are never filled in: a tenth of a stack's memory.
		IPTables:   new(gstack.IPTables),
		RandSource: randomSource{},
	})
	if err := setOptions(s); err != nil {
		s.Destroy()
		return nil, err
	}
	return s, nil
}

// randomSource is package rand's own source, which is seeded by the system and safe for
// concurrent use. One for all stacks costs none of them its own state and lock.
type randomSource struct{}

func (randomSource) Int63() int64 { return rand.Int64() }
func (randomSource) Seed(int64)   {}

// setOptions sets what can only be set on a stack that exists.
func setOptions(s *gstack.Stack) error {
	sack := tcpip.TCPSACKEnabled(true)
	// With RACK, a sender can stay in FIN-WAIT-1 for good after Close when packets are lost
	// and reordered; with SACK alone every transfer ends.
	recovery := tcpip.TCPRecovery(0)
	reuse := tcpip.TCPTimeWaitReuseGlobal
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	gather := tcpip.TCPDelayEnabled(false) // as package net has it
	snd := tcpip.TCPSendBufferSizeRangeOption{Min: tcpBufferMin, Default: tcpBufferDefault, Max: tcpBufferMax}
	rcv := tcpip.TCPReceiveBufferSizeRangeOption{Min: tcpBufferMin, Default: tcpBufferDefault, Max: tcpBufferMax}
	for _, o := range []tcpip.SettableTransportProtocolOption{&sack, &recovery, &reuse, &moderate, &gather, &snd, &rcv} {
		if err := s.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("stack: TCP option %T: %v", o, err)
		}
	}
	for _, o := range []any{
		tcpip.SendBufferSizeOption{Min: tcpBufferMin, Default: udpBufferDefault, Max: udpBufferMax},
		tcpip.ReceiveBufferSizeOption{Min: tcpBufferMin, Default: udpBufferDefault, Max: udpBufferMax},
	} {
		if err := s.SetOption(o); err != nil {
			return fmt.Errorf("stack: option %T: %v", o, err)
		}
	}
	return nil
}

// attach makes the NIC of a port.
func (d *domain) attach(p *port) error {
	if err := d.stk.CreateNICWithOptions(p.nic, p, gstack.NICOptions{Name: p.link.name}); err != nil {
		return fmt.Errorf("link %q: %v", p.link.name, err)
	}
	if p.link.link.Layer() == tun.IP {
		d.skipDAD(p.nic) // nobody else is on the far side who could have the address
		return nil
	}
	for _, a := range []tcpip.Address{toAddr(anchor4), toAddr(anchor6)} {
		if err := d.stk.AddStaticNeighbor(p.nic, protocolOf(fromAddr(a)), a, anchorMAC); err != nil {
			return fmt.Errorf("link %q: anchor: %v", p.link.name, err)
		}
	}
	return nil
}

// neighborWatch passes what gVisor's neighbour caches find to the ports.
type neighborWatch struct{ d *domain }

func (w neighborWatch) OnNeighborAdded(id tcpip.NICID, e gstack.NeighborEntry) {
	w.OnNeighborChanged(id, e)
}

func (w neighborWatch) OnNeighborChanged(id tcpip.NICID, e gstack.NeighborEntry) {
	if p := w.d.portOf(id); p != nil {
		p.neighborChanged(e)
	}
}

func (w neighborWatch) OnNeighborRemoved(id tcpip.NICID, e gstack.NeighborEntry) {
	if p := w.d.portOf(id); p != nil {
		p.neighborRemoved(e)
	}
}

// addressWatch passes what gVisor finds out about one address to its domain. gVisor
// calls it with locks held, so it only takes note.
type addressWatch struct {
	d    *domain
	addr localAddr
}

func (w addressWatch) OnChanged(l gstack.AddressLifetimes, s gstack.AddressAssignmentState) {
	state := pvd.Tentative
	switch {
	case s == gstack.AddressAssigned && l.Deprecated:
		state = pvd.Deprecated
	case s == gstack.AddressAssigned:
		state = pvd.Preferred
	}
	w.d.setAddressState(w.addr, state)
}

func (w addressWatch) OnRemoved(r gstack.AddressRemovalReason) {
	if r == gstack.AddressRemovalDADFailed {
		w.d.setAddressState(w.addr, pvd.Duplicate)
	}
}
