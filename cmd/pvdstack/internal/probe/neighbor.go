package probe

import (
	"encoding/binary"
	"net/netip"

	"github.com/pvdstack/pvdstack/pvd/ra"
)

// Where things are in a frame with a neighbour discovery message (RFC 4861 section 4), and
// what they are.
const (
	etherLen  = 14
	ipv6Len   = 40
	icmp6     = 58
	hopLimit  = 255
	etherIPv6 = 0x86dd

	neighborSolicitation  = 135
	neighborAdvertisement = 136
	messageLen            = 24 // up to the target's end
	solicited, override   = 0x40, 0x20
)

// answer answers those who look for the machine's link-local addresses, as DHCPv6 servers do
// before they answer it. Nothing else would: there is no stack.
func (p *prober) answer(f []byte) {
	if len(p.mac) == 0 || len(f) < etherLen+ipv6Len+messageLen || binary.BigEndian.Uint16(f[12:]) != etherIPv6 {
		return
	}
	ip := f[etherLen:]
	m := ip[ipv6Len:]
	target := netip.AddrFrom16([16]byte(m[8:24]))
	if ip[6] != icmp6 || ip[7] != hopLimit || m[0] != neighborSolicitation || !p.owns(target) {
		return
	}
	to := netip.AddrFrom16([16]byte(ip[8:24]))
	flags := byte(solicited | override)
	if to.IsUnspecified() {
		to, flags = ra.AllNodes, override
	}
	p.send(advertisement(p.mac, f[6:12], target, to, flags))
}

// owns reports whether an address is one of the machine's that packets are sent from.
func (p *prober) owns(a netip.Addr) bool {
	if !a.IsLinkLocalUnicast() {
		return false
	}
	for _, s := range p.machine.Proposals() {
		for _, own := range s.Addresses {
			if own.Prefix.Addr() == a {
				return true
			}
		}
	}
	return false
}

// advertisement returns the frame of a neighbour advertisement (RFC 4861 section 4.4).
func advertisement(mac, dst []byte, target, to netip.Addr, flags byte) []byte {
	f := append([]byte(nil), dst...)
	if to.IsMulticast() {
		f = []byte{0x33, 0x33, 0, 0, 0, 1}
	}
	f = append(f, mac...)
	f = binary.BigEndian.AppendUint16(f, etherIPv6)
	f = append(f, 0x60, 0, 0, 0, 0, messageLen+8, icmp6, hopLimit)
	f = append(append(f, target.AsSlice()...), to.AsSlice()...)
	f = append(f, neighborAdvertisement, 0, 0, 0, flags, 0, 0, 0)
	f = append(f, target.AsSlice()...)
	f = append(append(f, 2, 1), mac...) // target link-layer address
	ra.PutChecksum(f[etherLen+ipv6Len:], target, to)
	return f
}
