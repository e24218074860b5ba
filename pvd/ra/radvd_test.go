package ra_test

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/ra"
)

// radvd is the ICMPv6 message as radvd lays it out for
//
//	interface eth0 {
//		AdvSendAdvert on; AdvLinkMTU 1480; AdvOtherConfigFlag on;
//		prefix 2001:db8:1::/64 {};
//		route 2001:db8:ff::/48 {};
//		RDNSS 2001:db8::53 { AdvRDNSSLifetime 1200; };
//		DNSSL example.com lan { AdvDNSSLLifetime 1200; };
//	};
//
// written by hand from the formats of the RFCs, in the order in which it sends them.
const radvd = `
	86 00 0000 40 40 0708 00000000 00000000
	03 04 40 c0 00015180 00003840 00000000 20010db8000100000000000000000000
	18 02 30 00 00000708 20010db800ff0000
	19 03 0000 000004b0 20010db8000000000000000000000053
	1f 04 0000 000004b0 07 6578616d706c65 03 636f6d 00 03 6c616e 00 000000000000
	05 01 0000 000005c8
	01 01 02000000000a`

func TestRadvd(t *testing.T) {
	w := newWorld(t)
	w.take(resum(ra.Packet{Src: routerA, Dst: ra.AllNodes, HopLimit: 255, Message: octets(t, radvd)}))
	if list, total := w.Rejections(); total != 0 {
		t.Fatalf("rejections %v", list)
	}
	p := w.only()
	as := addressesIn(p, prefix1)
	if len(as) != 1 || as[0].Preferred != 4*time.Hour || as[0].Valid != 24*time.Hour {
		t.Errorf("addresses %+v", as)
	}
	const minutes = 30 * time.Minute
	want := &ra.PvD{
		Key: implicitA, Instance: 1, Until: 24 * time.Hour, Other: true,
		Routers:   []ra.Router{{Addr: routerA, MAC: macA}},
		Prefixes:  []ra.Prefix{{Prefix: prefix1, Router: routerA, OnLink: 24 * time.Hour, Valid: 24 * time.Hour, Autonomous: true}},
		Addresses: p.Addresses,
		Routes: []ra.Route{
			{To: netip.MustParsePrefix("::/0"), Via: routerA, Until: minutes},
			{To: far, Via: routerA, Until: minutes},
		},
		Servers: []ra.Lasting[netip.Addr]{{server1, 20 * time.Minute}},
		Search:  []ra.Lasting[string]{{"example.com", 20 * time.Minute}, {"lan", 20 * time.Minute}},
		MTU:     1480, HopLimit: 64,
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
}
