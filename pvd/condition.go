package pvd

import "net/netip"

// A Condition is something that a PvD may or may not have, to be waited for.
type Condition struct {
	name  string
	holds func(*Info) bool
}

// NewCondition returns a condition. The name completes the sentence "the PvD has no …".
func NewCondition(name string, holds func(*Info) bool) Condition {
	return Condition{name: name, holds: holds}
}

// String returns the condition's name.
func (c Condition) String() string { return c.name }

// Holds reports whether the PvD had it when i was made. The zero Condition asks for nothing.
func (c Condition) Holds(i *Info) bool { return c.holds == nil || c.holds(i) }

// Conditions about the elements that pvdstack knows.
var (
	// HasAddr4 and HasAddr6: an address of the family that can be used. IPv6 link-local
	// addresses do not count.
	HasAddr4 = NewCondition("usable IPv4 address", func(i *Info) bool { return hasAddress(i, netip.Addr.Is4) })
	HasAddr6 = NewCondition("usable IPv6 address", func(i *Info) bool {
		return hasAddress(i, func(a netip.Addr) bool { return a.Is6() && !a.IsLinkLocalUnicast() })
	})

	// HasRoute4 and HasRoute6: a route of the family beyond the on-link prefixes.
	HasRoute4 = NewCondition("IPv4 route", func(i *Info) bool { return hasRoute(i, netip.Addr.Is4) })
	HasRoute6 = NewCondition("IPv6 route", func(i *Info) bool { return hasRoute(i, netip.Addr.Is6) })

	// HasDefault4 and HasDefault6: a default route of the family.
	HasDefault4 = NewCondition("IPv4 default route", func(i *Info) bool { return hasDefault(i, netip.Addr.Is4) })
	HasDefault6 = NewCondition("IPv6 default route", func(i *Info) bool { return hasDefault(i, netip.Addr.Is6) })

	// HasDNS: a server to ask for names, plain or encrypted.
	HasDNS = NewCondition("DNS server", func(i *Info) bool {
		return len(peek(i, DNSServers)) > 0 || len(peek(i, EncryptedDNS)) > 0
	})

	// Settled: every address has been through duplicate address detection, whatever
	// came of it.
	Settled = NewCondition("settled address", func(i *Info) bool {
		for _, a := range peek(i, Addresses) {
			if a.State == Tentative {
				return false
			}
		}
		return true
	})
)

// peek returns an element that is only looked at, so that it need not be copied.
func peek[T any](i *Info, k Key[T]) T {
	v, _ := i.value(k.base).(T)
	return v
}

func hasAddress(i *Info, is func(netip.Addr) bool) bool {
	for _, a := range peek(i, Addresses) {
		if a.State.Usable() && is(a.Prefix.Addr()) {
			return true
		}
	}
	return false
}

func hasRoute(i *Info, is func(netip.Addr) bool) bool {
	for _, r := range peek(i, Routes) {
		if is(r.To.Addr()) {
			return true
		}
	}
	return false
}

func hasDefault(i *Info, is func(netip.Addr) bool) bool {
	for _, r := range peek(i, Routes) {
		if r.To.Bits() == 0 && is(r.To.Addr()) {
			return true
		}
	}
	return false
}
