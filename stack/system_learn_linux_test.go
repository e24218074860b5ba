package stack_test

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// TestP24_P46_SystemLearns has hosts learn PvDs of real routers and servers. Whatever is
// learned on one link, the PvDs of the others stay as they are.
func TestP24_P46_SystemLearns(t *testing.T) {
	notShort(t)
	tuntest.CheckLeaks(t)
	var all sync.WaitGroup // in parallel whatever -parallel says, since each mostly waits
	for _, tt := range []struct {
		name string
		test func(*testing.T)
	}{
		{"leases", learnsLeases},
		{"links", learnsOfLinks},
		{"in any order", learnsInAnyOrder},
		{"a shared lease", learnsShared},
		{"explicit PvDs", learnsExplicit},
		{"dual stack", learnsDualStack},
		{"IP link", learnsByIP},
		{"own hardware address", learnsByOwnMAC},
		{"duplicates", learnsWhatIsFree},
		{"IPv6 only", learnsWithoutIPv4},
		{"routers", learnsRouters},
	} {
		all.Go(func() { t.Run(tt.name, tt.test) })
	}
	all.Wait()
}

// learnsDualStack learns one PvD from radvd and dnsmasq on each kind of Ethernet
// link. They have the same everything.
func learnsDualStack(t *testing.T) {
	r := anotherRig(t)
	w := r.witnesses(true)
	isps := make(map[string]*tuntest.NS)
	for _, kind := range []string{kindPacket, kindTAP} {
		isp := tuntest.NewNS(t)
		r.wire(kind, kind, isp, "lan", 1500)
		isps[kind] = isp
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
	}
	for kind := range isps {
		r.discover(kind, stack.Discovery{RA: true, DHCPv4: true, DHCPv6: true}, both...)
	}
	for kind, isp := range isps {
		n := await(t, r.host, kind, pvd.HasAddr4, pvd.HasAddr6, pvd.HasDefault4, pvd.HasDefault6, pvd.HasDNS)
		ctx, cancel := context.WithTimeout(t.Context(), systemPatience)
		defer cancel()
		got, err := n.LookupNetIP(ctx, "ip", "wiki")
		if err != nil {
			t.Fatalf("%v\n%s", err, describe(r.host))
		}
		slices.SortFunc(got, netip.Addr.Compare)
		if want := []netip.Addr{mustAddr("192.168.1.1"), mustAddr("2001:db8:1::1")}; !slices.Equal(got, want) {
			t.Errorf("wiki is %v, want %v", got, want)
		}
		talk(t, n, kernel{isp}, r.addressIn(n, both[0]), "192.168.1.1")
		talk(t, n, kernel{isp}, r.addressIn(n, both[1]), "2001:db8:1::1")
	}
	w.look()
	if all := r.host.List(); len(all) != 4 {
		t.Errorf("%d PvDs, want one for each link, and the one that is configured\n%s", len(all), describe(r.host))
	}
	w.unchanged()
}

// notShort skips a test that takes long.
func notShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("slow: waits for servers and for addresses to be found unique")
	}
}
