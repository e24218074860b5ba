package stack

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
)

// The functions below make frames byte by byte, as a peer on the wire would.

func ethFrame(src, dst mac, proto tcpip.NetworkProtocolNumber, payload []byte) []byte {
	f := append(dst[:], src[:]...)
	f = binary.BigEndian.AppendUint16(f, uint16(proto))
	return append(f, payload...)
}

func arpPacket(op header.ARPOp, senderMAC mac, sender, target netip.Addr) []byte {
	a := header.ARP(make([]byte, header.ARPSize))
	a.SetIPv4OverEthernet()
	a.SetOp(op)
	copy(a.HardwareAddressSender(), senderMAC[:])
	copy(a.ProtocolAddressSender(), sender.AsSlice())
	copy(a.ProtocolAddressTarget(), target.AsSlice())
	return a
}

// ipPacket returns a packet with the given transport header and payload.
func ipPacket(proto uint8, src, dst netip.Addr, payload []byte) []byte {
	if src.Is4() {
		b := make([]byte, header.IPv4MinimumSize, header.IPv4MinimumSize+len(payload))
		h := header.IPv4(b)
		h.Encode(&header.IPv4Fields{
			TotalLength: uint16(len(b) + len(payload)), TTL: 64, Protocol: proto, SrcAddr: toAddr(src), DstAddr: toAddr(dst),
		})
		h.SetChecksum(^h.CalculateChecksum())
		return append(b, payload...)
	}
	b := make([]byte, header.IPv6MinimumSize, header.IPv6MinimumSize+len(payload))
	header.IPv6(b).Encode(&header.IPv6Fields{
		PayloadLength: uint16(len(payload)), TransportProtocol: tcpip.TransportProtocolNumber(proto), HopLimit: 255,
		SrcAddr: toAddr(src), DstAddr: toAddr(dst),
	})
	return append(b, payload...)
}

func udpPacket(src, dst netip.AddrPort, data string) []byte {
	u := header.UDP(make([]byte, header.UDPMinimumSize, header.UDPMinimumSize+len(data)))
	n := uint16(len(u) + len(data))
	u.Encode(&header.UDPFields{SrcPort: src.Port(), DstPort: dst.Port(), Length: n})
	sum := header.PseudoHeaderChecksum(header.UDPProtocolNumber, toAddr(src.Addr()), toAddr(dst.Addr()), n)
	u.SetChecksum(^u.CalculateChecksum(checksum.Checksum([]byte(data), sum)))
	return ipPacket(uint8(header.UDPProtocolNumber), src.Addr(), dst.Addr(), append(u, data...))
}

func solicitation(src, dst, target netip.Addr) []byte {
	m := header.ICMPv6(make([]byte, header.ICMPv6NeighborSolicitMinimumSize))
	m.SetType(header.ICMPv6NeighborSolicit)
	copy(m[8:], target.AsSlice())
	m.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: m, Src: toAddr(src), Dst: toAddr(dst)}))
	return ipPacket(uint8(header.ICMPv6ProtocolNumber), src, dst, m)
}
