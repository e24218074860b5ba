package stack

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/tun"
)

// An address that several PvDs of one link have on purpose (RFC 8801 section 3.4.2 gives
// one DHCPv4 lease to all implicit PvDs) tells nothing of whose a packet is. What does is, in
// this order: the connection that it belongs to; who has sent the datagrams that it
// answers; who listens at its port, the PvD that has the port among its ephemeral ones
// before the others and then the oldest; and, where nobody does, whose the port is. An ICMP
// error is that of the packet it quotes. What tells nothing is the oldest PvD's.

// A sharing is an address of several PvDs.
type sharing struct {
	addr   netip.Addr
	by     ports // the oldest PvD's first
	memory *sharedMemory
}

// sharing returns who share an address, nil if nobody does.
func (t *linkTable) sharing(a netip.Addr) *sharing {
	if t.shared == nil {
		return nil
	}
	return t.shared[a]
}

// findShared finds the addresses that all who have them share.
func (t *linkTable) findShared(plans map[*port]*portPlan) {
	for _, pp := range plans {
		for _, a := range pp.shared {
			owners := t.owners[a]
			if len(owners) < 2 || t.sharing(a) != nil || slices.ContainsFunc(owners, func(p *port) bool { return !slices.Contains(plans[p].shared, a) }) {
				continue
			}
			if t.shared == nil {
				t.shared = make(map[netip.Addr]*sharing)
			}
			t.shared[a] = &sharing{addr: a, by: slices.SortedFunc(slices.Values(owners), older), memory: new(sharedMemory)}
		}
	}
}

// remember has the table go on with what is remembered of the addresses that were shared
// before.
func (t *linkTable) remember(was *linkTable) {
	for a, sh := range t.shared {
		if before := was.sharing(a); before != nil {
			sh.memory = before.memory
		}
	}
}

func older(p, q *port) int { return cmp.Compare(p.domain.ref, q.domain.ref) }

// A flow is what tells the packets between a shared address and another one apart.
type flow struct {
	proto      tcpip.TransportProtocolNumber
	port       uint16 // that of the shared address; of an ICMP echo the identifier
	remote     netip.Addr
	remotePort uint16 // 0 of an ICMP echo
}

// classifyShared gives a packet to the one of several PvDs that has to do with it.
func (t *linkTable) classifyShared(sh *sharing, v verdict, h []byte, s station, src netip.Addr) verdict {
	v.to = sh.whose(h, src)
	if v.to == nil {
		v.group = sh.by.filter(func(p *port) bool { return !s.ethernet || !p.owns(src) })
		return v.done(nil, dropMartian)
	}
	if s.ethernet && v.to.owns(src) {
		return verdict{why: dropMartian} // our own address, from elsewhere
	}
	v.why = delivered
	if t.elsewhere != nil {
		return t.classifyElsewhere(v, h, src, sh.addr)
	}
	return v
}

// whose returns the PvD's port that an IPv4 packet to a shared address is for, nil for a
// later fragment if its first one has not been seen.
func (sh *sharing) whose(h []byte, src netip.Addr) *port {
	ip := header.IPv4(h)
	if ip.FragmentOffset() == 0 && !ip.More() {
		return sh.choose(h, src)
	}
	now := sh.by[0].domain.host.clock.Monotonic()
	key := fragmentKey{src, ip.ID(), ip.Protocol()}
	if ip.FragmentOffset() != 0 {
		return sh.with(sh.memory.fragmentOf(key, now))
	}
	p := sh.choose(h, src)
	sh.memory.noteFragment(key, p, now)
	return p
}

// choose returns the PvD's port that a packet is for, which is whole or a first fragment.
func (sh *sharing) choose(h []byte, src netip.Addr) *port {
	f, ok := flowTo(h, src)
	if !ok {
		return sh.by[0]
	}
	var mine, listens *port
	for _, p := range sh.by {
		if s := p.domain.share.Load(); s != nil && s.has(f.port) {
			mine = p
			break
		}
	}
	if mine != nil { // the first to ask: mostly it is its
		switch mine.holds(f, sh.addr) {
		case holdsFlow:
			return mine
		case holdsPort:
			listens = mine
		case holdsNothing:
		}
	}
	for _, p := range sh.by {
		if p == mine {
			continue
		}
		switch p.holds(f, sh.addr) {
		case holdsFlow:
			return p
		case holdsPort:
			if listens == nil {
				listens = p
			}
		case holdsNothing:
		}
	}
	if p := sh.with(sh.memory.flowOf(f, sh.by[0].domain.host.clock.Monotonic())); p != nil {
		return p
	}
	return cmp.Or(listens, mine, sh.by[0])
}

// What a PvD has to do with a flow.
type holding uint8

const (
	holdsNothing holding = iota
	holdsPort            // an endpoint that takes packets from anybody at the port
	holdsFlow            // one that is connected
)

// holds returns what endpoint of p's PvD a flow to one of its addresses would reach.
func (p *port) holds(f flow, own netip.Addr) holding {
	id := gstack.TransportEndpointID{
		LocalAddress: toAddr(own), LocalPort: f.port, RemoteAddress: toAddr(f.remote), RemotePort: f.remotePort,
	}
	ep := p.domain.stk.FindTransportEndpoint(ipv4.ProtocolNumber, f.proto, id, p.nic)
	if ep == nil {
		return holdsNothing
	}
	id.RemoteAddress, id.RemotePort = tcpip.Address{}, 0
	if ep == p.domain.stk.FindTransportEndpoint(ipv4.ProtocolNumber, f.proto, id, p.nic) {
		return holdsPort
	}
	return holdsFlow
}

// flowTo returns the flow of an IPv4 packet that arrives from src, or that of the packet
// which an ICMP error quotes. It is false where ports tell nothing.
func flowTo(h []byte, src netip.Addr) (flow, bool) {
	b, ok := payload4(h)
	if !ok {
		return flow{}, false
	}
	switch proto := header.IPv4(h).TransportProtocol(); proto {
	case header.TCPProtocolNumber, header.UDPProtocolNumber:
		return flow{proto, binary.BigEndian.Uint16(b[2:]), src, binary.BigEndian.Uint16(b)}, true
	case header.ICMPv4ProtocolNumber:
		switch header.ICMPv4Type(b[0]) {
		case header.ICMPv4EchoReply:
			return flow{proto: proto, port: binary.BigEndian.Uint16(b[4:]), remote: src}, true
		case header.ICMPv4DstUnreachable, header.ICMPv4SrcQuench, header.ICMPv4Redirect, header.ICMPv4TimeExceeded, header.ICMPv4ParamProblem:
			quoted := b[header.ICMPv4MinimumSize:]
			if b, ok = payload4(quoted); ok && header.IPv4(quoted).FragmentOffset() == 0 {
				return flowFrom(header.IPv4(quoted).Protocol(), b, addr4(quoted[16:]))
			}
		default: // questions
		}
	}
	return flow{}, false
}

// flowFrom returns the flow of what is sent to dst. b is the beginning of the IPv4 packet's
// payload, 8 octets at least.
func flowFrom(proto uint8, b []byte, dst netip.Addr) (flow, bool) {
	switch proto := tcpip.TransportProtocolNumber(proto); proto {
	case header.TCPProtocolNumber, header.UDPProtocolNumber:
		return flow{proto, binary.BigEndian.Uint16(b), dst, binary.BigEndian.Uint16(b[2:])}, true
	case header.ICMPv4ProtocolNumber:
		return flow{proto: proto, port: binary.BigEndian.Uint16(b[4:]), remote: dst}, header.ICMPv4Type(b[0]) == header.ICMPv4Echo
	}
	return flow{}, false
}

// payload4 returns what there is of an IPv4 packet's payload, false if that is less than
// the 8 octets that every transport header has and every ICMP error quotes (RFC 792).
func payload4(h []byte) ([]byte, bool) {
	if len(h) < header.IPv4MinimumSize || h[0]>>4 != 4 {
		return nil, false
	}
	n := int(header.IPv4(h).HeaderLength())
	if n < header.IPv4MinimumSize || len(h) < n+8 {
		return nil, false
	}
	return h[n:], true
}

// oneAnswers leaves of a group of ports the oldest of those that share the address which is
// asked for, so that it has one answer.
func (sh *sharing) oneAnswers(group ports) ports {
	answers := false
	for _, p := range sh.by {
		if !group.has(p) {
			continue
		}
		if answers {
			group = group.filter(func(q *port) bool { return q != p })
		}
		answers = true
	}
	return group
}

// announceShared announces the addresses that were shared until the next table came, where a
// station is gone that neighbours may take for theirs.
func (t *linkTable) announceShared(next *linkTable) {
	if t.layer != tun.Ethernet {
		return
	}
	for a, sh := range t.shared {
		owners := next.owners[a]
		if len(owners) == 0 || next.rivals[owners[0]] != nil {
			continue
		}
		lost := func(p *port) bool {
			return !slices.ContainsFunc(owners, func(q *port) bool { return p.macOf() == q.macOf() })
		}
		if slices.ContainsFunc(sh.by, lost) {
			slices.MinFunc(owners, older).announce(a, sh.neighbors())
		}
	}
}

// neighbors returns the stations that any of the PvDs has talked to.
func (sh *sharing) neighbors() map[netip.Addr]mac {
	all := make(map[netip.Addr]mac)
	for _, p := range sh.by {
		entries, _ := p.domain.stk.Neighbors(p.nic, ipv4.ProtocolNumber) // none on a NIC that is gone
		for _, e := range entries {
			if len(e.LinkAddr) == len(mac{}) && e.LinkAddr != anchorMAC {
				all[fromAddr(e.Addr)] = mac([]byte(e.LinkAddr))
			}
		}
	}
	return all
}

// announce tells the link which station has an address now, and once more (RFC 5227 section
// 2.3). Since not everybody heeds that, or so soon after hearing the other one, known
// neighbours are asked something too: whoever answers takes note of who has asked (RFC 826).
// It runs on the registry's writer.
func (p *port) announce(a netip.Addr, neighbors map[netip.Addr]mac) {
	tell := func() {
		p.sendARP(broadcastMAC, a, a)
		for n, station := range neighbors {
			p.sendARP(station, a, n)
		}
	}
	tell()
	if stop, ok := p.announcing[a]; ok {
		close(stop) // one more is enough for both
	}
	again, stop := make(chan struct{}), make(chan struct{})
	if p.announcing == nil {
		p.announcing = make(map[netip.Addr]chan struct{})
	}
	p.announcing[a] = stop
	timer := p.domain.host.clock.AfterFunc(announceInterval, func() { close(again) })
	p.link.done.Go(func() { // until then, the next announcement, or the port is closed
		defer timer.Stop()
		select {
		case <-again:
			if p.owns(a) {
				tell()
			}
		case <-stop:
		case <-p.closed:
		}
	})
}

var broadcastMAC = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// sendARP sends an ARP request for target to a station.
func (p *port) sendARP(to mac, sender, target netip.Addr) {
	request := make(header.ARP, header.ARPSize)
	request.SetIPv4OverEthernet()
	request.SetOp(header.ARPRequest)
	copy(request.HardwareAddressSender(), p.mac)
	copy(request.ProtocolAddressSender(), sender.AsSlice())
	copy(request.ProtocolAddressTarget(), target.AsSlice())
	var ether [tun.EthernetHeaderLen]byte
	copy(ether[0:6], to[:])
	copy(ether[6:12], p.mac)
	binary.BigEndian.PutUint16(ether[12:14], uint16(arp.ProtocolNumber))
	p.stats.add(p.transmit([][]byte{ether[:], request}, tun.Meta{}, true))
}
