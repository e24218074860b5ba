package stack

import (
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
)

// isUnreachable6 reports whether an IPv6 packet is an ICMPv6 error by which a router says
// that the destination can not be reached (RFC 4443 section 3.1) with one of the codes
// that gVisor passes over: all but "no route" and "port unreachable".
func isUnreachable6(ip []byte, proto tcpip.NetworkProtocolNumber) bool {
	const icmp = header.IPv6MinimumSize
	if proto != ipv6.ProtocolNumber || len(ip) < icmp+header.ICMPv6DstUnreachableMinimumSize ||
		ip[6] != uint8(header.ICMPv6ProtocolNumber) || ip[icmp] != uint8(header.ICMPv6DstUnreachable) {
		return false
	}
	code := header.ICMPv6Code(ip[icmp+1])
	return code != header.ICMPv6NetworkUnreachable && code != header.ICMPv6PortUnreachable
}

// unreachable6 tells the endpoint that sent the packet quoted in such an error, as if the
// next hop had not answered. It takes over pkt.
func (p *port) unreachable6(pkt *gstack.PacketBuffer) {
	defer pkt.DecRef()
	whole := pkt.ToView()
	defer whole.Release()
	m, ok := validICMPv6(whole.AsSlice())
	if !ok {
		return
	}
	quoted := gstack.NewPacketBuffer(gstack.PacketBufferOptions{
		Payload: buffer.MakeWithData(m[header.ICMPv6DstUnreachableMinimumSize:]),
	})
	defer quoted.DecRef()
	quoted.NetworkProtocolNumber = ipv6.ProtocolNumber
	p.unreachable(quoted)
}

// validICMPv6 returns the ICMPv6 message of a packet that has nothing before it, if its
// checksum is right.
func validICMPv6(packet []byte) (header.ICMPv6, bool) {
	ip := header.IPv6(packet)
	if !ip.IsValid(len(ip)) {
		return nil, false
	}
	m := header.ICMPv6(ip.Payload())
	sum := header.PseudoHeaderChecksum(header.ICMPv6ProtocolNumber, ip.SourceAddress(), ip.DestinationAddress(), uint16(len(m)))
	return m, checksum.Checksum(m, sum) == 0xffff
}
