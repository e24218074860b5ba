package tun_test

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/pvdstack/pvdstack/tun"
)

func TestPredicates(t *testing.T) {
	frame := func(p testPacket) tun.Frame {
		f, _ := p.frame()
		return tun.NewFrame(f, p.layer)
	}
	v6 := testPacket{layer: tun.IP, src: "2001:db8::1", dst: "2001:db8::2", destOpts: true, flags: flagRST, payload: 9}
	v6syn := v6
	v6syn.flags = flagSYN
	fragment, _ := testPacket{layer: tun.Ethernet, flags: flagSYN, payload: 40}.frame()
	fragment[21] = 1
	arp := append(bytes.Repeat([]byte{0xff}, 12), 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
	cut, _ := testPacket{layer: tun.IP, flags: flagSYN, payload: 40}.frame()
	frames := map[string]tun.Frame{
		"syn4":     frame(testPacket{layer: tun.Ethernet, vlan: true, flags: flagSYN | flagACK}),
		"fin4":     frame(testPacket{layer: tun.IP, flags: flagFIN | flagACK}),
		"rst6":     frame(v6),
		"syn6":     frame(v6syn),
		"udp4":     frame(testPacket{layer: tun.IP, proto: protoUDP, payload: 1}),
		"icmp4":    frame(testPacket{layer: tun.IP, proto: 1, payload: 8}),
		"icmp6":    frame(testPacket{layer: tun.Ethernet, proto: 58, src: "fe80::1", dst: "ff02::1", payload: 8}),
		"fragment": tun.NewFrame(fragment, tun.Ethernet),
		"arp":      tun.NewFrame(arp, tun.Ethernet),
		"cut":      tun.NewFrame(cut[:30], tun.IP),
		"empty":    tun.NewFrame(nil, tun.Ethernet),
	}
	lan4, lan6 := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/32")
	for name, tt := range map[string]struct {
		p    tun.Predicate
		want []string
	}{
		"TCP":      {tun.TCP, []string{"syn4", "fin4", "rst6", "syn6", "fragment"}},
		"UDP":      {tun.UDP, []string{"udp4"}},
		"ICMP":     {tun.ICMP, []string{"icmp4", "icmp6"}},
		"ARP":      {tun.ARP, []string{"arp"}},
		"SYN":      {tun.SYN, []string{"syn4", "syn6"}},
		"FIN":      {tun.FIN, []string{"fin4"}},
		"RST":      {tun.RST, []string{"rst6"}},
		"From":     {tun.From(lan4), []string{"syn4", "fin4", "udp4", "icmp4", "fragment"}},
		"To":       {tun.To(lan4), nil},
		"From6":    {tun.From(lan6), []string{"rst6", "syn6"}},
		"To6":      {tun.To(lan6), []string{"rst6", "syn6"}},
		"Port 53":  {tun.Port(53), []string{"udp4"}},
		"Port all": {tun.Port(1234), []string{"syn4", "fin4", "rst6", "syn6", "udp4"}},
		"And":      {tun.And(tun.SYN, tun.From(lan6)), []string{"syn6"}},
		"Or":       {tun.Or(tun.RST, tun.ARP), []string{"rst6", "arp"}},
		"And none": {tun.And(tun.TCP, tun.Not(tun.TCP)), nil},
		"Not":      {tun.Not(tun.Or(tun.TCP, tun.UDP, tun.ICMP)), []string{"arp", "cut", "empty"}},
	} {
		picked := map[string]bool{}
		for _, f := range tt.want {
			picked[f] = true
		}
		for f, frame := range frames {
			if got := tt.p(frame); got != picked[f] {
				t.Errorf("%s of %s is %v", name, f, got)
			}
		}
	}
}

func TestNth(t *testing.T) {
	syn, _ := testPacket{layer: tun.IP, flags: flagSYN}.frame()
	ack, _ := testPacket{layer: tun.IP, flags: flagACK}.frame()
	p := tun.Nth(3, tun.SYN)
	for i := 1; i <= 6; i++ {
		if p(tun.NewFrame(ack, tun.IP)) {
			t.Error("a frame without SYN was picked")
		}
		if got := p(tun.NewFrame(syn, tun.IP)); got != (i == 3) {
			t.Errorf("SYN %d: picked %v", i, got)
		}
	}
}

func TestFrame(t *testing.T) {
	data, _ := testPacket{layer: tun.Ethernet, vlan: true, proto: protoUDP, src: "2001:db8::1", dst: "2001:db8::2"}.frame()
	f := tun.NewFrame(data, tun.Ethernet)
	proto, isIP := f.Protocol()
	src, dst, ports := f.Ports()
	if f.Layer() != tun.Ethernet || &f.Bytes()[0] != &data[0] || f.EtherType() != 0x86dd || proto != protoUDP || !isIP ||
		src != 1234 || dst != 53 || !ports || f.Src().String() != "2001:db8::1" || f.Dst().String() != "2001:db8::2" {
		t.Errorf("%v %#x %d %v %d %d %v %v %v", f.Layer(), f.EtherType(), proto, isIP, src, dst, ports, f.Src(), f.Dst())
	}
	f = tun.NewFrame([]byte{0x45, 0}, tun.IP)
	if _, isIP := f.Protocol(); isIP || f.Src().IsValid() || f.EtherType() != 0 {
		t.Error("two octets are taken for IP")
	}
}
