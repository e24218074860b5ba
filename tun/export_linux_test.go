package tun

import "net"

// NewMembership lets tests put a kernel of their own behind an AF_PACKET link's Station.
func NewMembership(set func(option int, kind uint16, a net.HardwareAddr) error) (s Station, renew func() error) {
	m := newMembership(set, false)
	return memberStation{m}, m.renew
}

type memberStation struct{ m *membership }

func (s memberStation) AddMAC(a net.HardwareAddr) error    { return s.m.add(a) }
func (s memberStation) RemoveMAC(a net.HardwareAddr) error { return s.m.remove(a) }
