package stack_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// TestSystemLearnsDualStack learns one PvD from radvd and dnsmasq on one link.
func TestSystemLearnsDualStack(t *testing.T) {
	for _, kind := range []string{kindPacket, kindTAP} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t)
			isp := tuntest.NewNS(t)
			r.wire("wan", kind, isp, "lan", 1500)
			isp.IP("link", "set", "lo", "up")
			addrs(isp, "lan", "192.168.1.1/24", "2001:db8:1::1/64", "fe80::1/64")
			isp.Sysctl("net.ipv6.conf.all.forwarding", "1")
			radvd(t, isp, `interface lan {
				AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;
				AdvRASrcAddress { fe80::1; };
				prefix 2001:db8:1::/64 {};
				RDNSS 2001:db8:1::1 {};
				DNSSL corp.example {};
			};`)
			dnsmasq(t, isp, "--interface=lan", "--dhcp-authoritative", "--dhcp-range=192.168.1.100,192.168.1.110,1h",
				"--dhcp-option=option:dns-server,192.168.1.1", "--host-record=wiki.corp.example,192.168.1.1,2001:db8:1::1")
			r.discover("wan", stack.Discovery{RA: true, DHCPv4: true, DHCPv6: true}, "192.168.1.0/24", "2001:db8:1::/64")
			n := await(t, r.host, "wan", pvd.HasAddr4, pvd.HasAddr6, pvd.HasDefault4, pvd.HasDefault6, pvd.HasDNS)
			ctx, cancel := context.WithTimeout(t.Context(), systemPatience)
			defer cancel()
			got, err := n.LookupNetIP(ctx, "ip", "wiki")
			if err != nil {
				t.Fatalf("%v\n%s", err, describe(r.host))
			}
			slices.SortFunc(got, netip.Addr.Compare)
			if want := []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("2001:db8:1::1")}; !slices.Equal(got, want) {
				t.Errorf("wiki is %v, want %v", got, want)
			}
			for _, to := range []string{"192.168.1.1:7", "[2001:db8:1::1]:7"} {
				l, err := kernel{isp}.Listen(ctx, "tcp", to)
				if err != nil {
					t.Fatal(err)
				}
				c, err := n.DialContext(ctx, "tcp", to)
				if err != nil {
					t.Fatal(err)
				}
				_ = c.Close()
				_ = l.Close()
			}
			if all := r.host.List(); len(all) != 1 {
				t.Errorf("%d PvDs, want one\n%s", len(all), describe(r.host))
			}
		})
	}
}
