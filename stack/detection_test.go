package stack

import (
	"fmt"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// claimOf has the stranger answer everybody that it has an address.
func claimOf(target netip.Addr) []byte {
	m := header.ICMPv6(make([]byte, header.ICMPv6NeighborAdvertMinimumSize))
	m.SetType(header.ICMPv6NeighborAdvert)
	copy(m[8:], target.AsSlice())
	m.SetChecksum(^checksum.Checksum(m, header.PseudoHeaderChecksum(header.ICMPv6ProtocolNumber, toAddr(target), header.IPv6AllNodesMulticastAddress, uint16(len(m)))))
	return ethFrame(stranger, mac{0x33, 0x33, 0, 0, 0, 1}, ipv6.ProtocolNumber, ipPacket(uint8(header.ICMPv6ProtocolNumber), target, allNodes6, m))
}

// TestAnsweredDetection has another host, which has a new PvD's first address, say so as soon
// as it is asked, while the others are still being added. They are no more than what fits into the wire.
func TestAnsweredDetection(t *testing.T) {
	t.Parallel()
	w := newWire(t, tun.Ethernet)
	first := ip("2001:db8::1")
	w.each(func(frame []byte) {
		if h := frame[tun.EthernetHeaderLen:]; isNS(h) && nsTarget(h) == first {
			_ = w.far.Send([][]byte{claimOf(first)}, tun.Meta{})
		}
	})
	for round := range 10 {
		c := pvd.Config{Name: fmt.Sprint(round), Links: []string{"lab"}}
		for i := range 64 {
			a := first.As16()
			a[14], a[15] = byte(i), 1
			c.Addresses = append(c.Addresses, pvd.Address{Prefix: netip.PrefixFrom(netip.AddrFrom16(a), 64)})
		}
		ref, err := w.host.Add(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if !eventually(func() bool {
			info, err := w.host.Info(ref)
			as, _ := pvd.Addresses.Get(info)
			return err == nil && as[0].Prefix.Addr() == first && as[0].State == pvd.Duplicate
		}) {
			t.Errorf("PvD %d: the answer has not been heard", round)
		}
		if err := w.host.Remove(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
}
