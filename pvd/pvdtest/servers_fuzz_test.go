package pvdtest

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/tun"
)

// FuzzServers sends messages to a router's DHCP servers and its advertiser. Whatever they
// are, what is answered has to be well formed, and no more than the pool is leased.
func FuzzServers(f *testing.F) {
	const to4, to6, toRA = 0, 1, 2
	s := &node{ifc: iface{mac: insideMAC, prefixes: prefixes("fe80::10/64")}}
	f.Add(byte(to4), s.discover(1, 2)[tun.EthernetHeaderLen+ip4HeaderLen+udpHeaderLen:])
	for _, typ := range []dhcp4.Type{dhcp4.Request, dhcp4.Decline, dhcp4.Release, dhcp4.Inform} {
		m := &dhcp4.Message{Op: 1, HType: 1, HLen: 6, Client: inside4, Options: map[byte][]byte{
			opt4Type: {byte(typ)}, opt4Requested: inside4.AsSlice(), opt4Wanted: {1, 3, 6, 121},
		}}
		f.Add(byte(to4), m.Append(nil))
	}
	duid := append([]byte{0, 3, 0, 1}, 2, 0, 0, 0, 0, 1)
	ia := append([]byte{0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 24}, append(inside6.AsSlice(), 0, 0, 0, 0, 0, 0, 0, 0)...)
	for typ := dhcp6.Solicit; typ <= dhcp6.InformationRequest; typ++ {
		m := &dhcp6.Message{Type: typ, Options: []dhcp6.Option{
			{Code: opt6ClientID, Data: []byte{0, 1, 1}},
			{Code: opt6IANA, Data: ia},
			{Code: opt6IAPD, Data: ia[:12]},
			{Code: opt6ServerID, Data: duid},
			{Code: opt6Wanted, Data: []byte{0, 23, 0, 24}},
			{Code: opt6Rapid},
		}}
		f.Add(byte(to6), m.Append(nil))
		m.Options = append(m.Options[:3:3], m.Options[4:]...)
		f.Add(byte(to6), m.Append(nil))
	}
	f.Add(byte(toRA), ra.AppendSolicitation(nil, s.ll(), s.ifc.mac[:]))
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		if len(data) > 1400 {
			return
		}
		b := newBench(t)
		lab := &Lab{tb: t, clock: b.clock, timeline: newTimeline(b.clock)}
		lab.log = slog.New(slog.DiscardHandler)
		n := must(newLAN(lab, "in", []string{"192.168.1.0/24", "2001:db8:1::/64"}))
		for _, err := range []error{
			b.core.serve4(n, "r", DHCPv4{Size: 4}), b.core.serve6(n, "r", DHCPv6{Size: 4, Rapid: true, Delegate: "2001:db8:8000::/62"}),
			b.core.advertise(n, RA{}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		var frame []byte
		switch kind % 3 {
		case to4:
			frame = s.ifc.udp4(broadcastMAC, netip.MustParseAddrPort("0.0.0.0:68"), netip.MustParseAddrPort("255.255.255.255:67"), data)
		case to6:
			frame = s.ifc.udp6(multicastMAC(dhcp6.Servers()), netip.AddrPortFrom(s.ll(), 546), netip.AddrPortFrom(dhcp6.Servers(), 547), data)
		case toRA:
			frame = s.ifc.newFrame(multicastMAC(ra.AllRouters), etherIPv6, ip6HeaderLen+len(data))
			ip := frame[tun.EthernetHeaderLen:]
			putIP6(ip, protoICMPv6, ndHopLimit, s.ll(), ra.AllRouters)
			copy(ip[ip6HeaderLen:], data)
			if len(data) >= 4 {
				ra.PutChecksum(ip[ip6HeaderLen:], s.ll(), ra.AllRouters)
			}
		}
		b.core.learn(b.in, s.ll(), insideMAC, true)
		for _, o := range b.feed(b.in, frame, tun.Meta{}) {
			checkFrame(t, o)
			if binary.BigEndian.Uint16(o.frame[12:]) == etherIPv4 {
				if _, err := dhcp4.Parse(o.frame[tun.EthernetHeaderLen+ip4HeaderLen+udpHeaderLen:]); err != nil {
					t.Errorf("an answer that can not be read: %v", err)
				}
			} else if o.frame[20] == protoUDP {
				if _, err := dhcp6.Parse(o.frame[tun.EthernetHeaderLen+ip6HeaderLen+udpHeaderLen:]); err != nil {
					t.Errorf("an answer that can not be read: %v", err)
				}
			}
		}
		if v4, v6 := len(b.core.dhcp4.leases), len(b.core.dhcp6.leases); v4 > 1 || v6 > 8 {
			t.Errorf("%d and %d leases by one message", v4, v6)
		}
	})
}
