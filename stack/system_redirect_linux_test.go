package stack_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// TestSystemLearnsRedirects learns a PvD of one router, whose kernel redirects: to another
// router on the link, and to a station that is on the link though its prefix is not.
func TestSystemLearnsRedirects(t *testing.T) {
	r := newRig(t)
	lan := tuntest.NewNS(t)
	lan.Bridge("br")
	r.wire("wan", kindTAP, lan, "host", 1500)
	lan.IP("link", "set", "dev", "host", "master", "br")
	station := func(name string, own ...string) *tuntest.NS {
		ns := tuntest.NewNS(t)
		tuntest.Veth(lan, name, ns, "lan")
		lan.IP("link", "set", "dev", name, "master", "br")
		ns.Sysctl("net.ipv6.conf.all.forwarding", "1")
		ns.IP("addr", "flush", "dev", "lan") // of a link-local address that redirects would come from
		addrs(ns, "lan", own...)
		return ns
	}
	first := station("first", "fe80::a/64", "2001:db8:1::a/64")
	second := station("second", "fe80::b/64", "2001:db8:1::b/64")
	addrs(second, "lo", "2001:db8:ff::1/128")
	first.IP("route", "add", "2001:db8:ff::/48", "via", "fe80::b", "dev", "lan")
	radvd(t, first, `interface lan {
		AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;
		AdvRASrcAddress { fe80::a; };
		prefix 2001:db8:1::/64 { AdvOnLink off; };
	};`)
	r.discover("wan", stack.Discovery{RA: true}, "2001:db8:1::/64")
	n := await(t, r.host, "wan", pvd.HasAddr6, pvd.HasDefault6)

	ctx, cancel := context.WithTimeout(t.Context(), systemPatience)
	defer cancel()
	for _, dst := range []string{"2001:db8:ff::1", "2001:db8:1::b"} {
		c, err := n.DialContext(ctx, "udp", net.JoinHostPort(dst, "9"))
		if err != nil {
			t.Fatalf("%v\n%s", err, describe(r.host))
		}
		to := func(ns *tuntest.NS) int {
			mac, at := [6]byte(macOf(t, ns, "lan")), netip.MustParseAddr(dst)
			return r.watches["wan"].count(func(f flow) bool { return f.proto == protoUDP && f.dst == at && f.dstMAC == mac })
		}
		eventually(t, "datagrams to "+dst+" take the way that the router says", func() bool {
			_, _ = c.Write([]byte("?")) // refused by the far end, of which the next one is told
			return to(second) > 0
		})
		if to(first) == 0 {
			t.Errorf("none to %s has taken the way by the router", dst)
		}
		_ = c.Close()
	}
}
