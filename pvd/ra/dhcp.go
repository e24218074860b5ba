package ra

import "net/netip"

// DHCPv4 returns the PvDs that what DHCPv4 says on the link belongs to (RFC 8801 section
// 3.4.2): the one explicit PvD that claims it, or else all implicit ones. Conflict reports
// that more than one claims it, which is a misconfiguration.
func (s *Snapshot) DHCPv4() (of []*PvD, conflict bool) {
	of = s.filter(func(d *PvD) bool { return d.Option != nil && d.Option.Legacy })
	if len(of) == 1 {
		return of, false
	}
	return s.implicit(), len(of) > 1
}

// StatelessDHCPv6 returns the PvDs that get DNS servers and the like by DHCPv6 (RFC 8801
// section 3.4.1). None: there is no need to ask.
func (s *Snapshot) StatelessDHCPv6() []*PvD {
	return s.filter(func(d *PvD) bool { return d.Other || d.Managed })
}

// ManagedDHCPv6 returns the PvDs that have addresses by DHCPv6. None: there is no need
// to ask.
func (s *Snapshot) ManagedDHCPv6() []*PvD {
	return s.filter(func(d *PvD) bool { return d.Managed })
}

// StatefulDHCPv6 returns the PvDs that an address or prefix assigned by DHCPv6 belongs to
// (RFC 8801 section 3.4.1): those with the M-flag and a prefix around it. Where there are
// none, matched is false and the implicit PvDs are returned, which may have it; the network
// is misconfigured then.
func (s *Snapshot) StatefulDHCPv6(assigned netip.Prefix) (of []*PvD, matched bool) {
	of = s.filter(func(d *PvD) bool {
		if !d.Managed {
			return false
		}
		for _, p := range d.Prefixes {
			if p.Prefix.Bits() <= assigned.Bits() && p.Prefix.Contains(assigned.Addr()) {
				return true
			}
		}
		return false
	})
	if len(of) > 0 {
		return of, true
	}
	return s.implicit(), false
}

func (s *Snapshot) implicit() []*PvD {
	return s.filter(func(d *PvD) bool { return !d.Key.Explicit() })
}

func (s *Snapshot) filter(keep func(*PvD) bool) (of []*PvD) {
	for _, d := range s.PvDs {
		if keep(d) {
			of = append(of, d)
		}
	}
	return of
}
