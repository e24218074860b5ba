package stack_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// solicited waits until the host looks for routers on a link.
func (r *rig) solicited(link string) {
	r.t.Helper()
	eventually(r.t, "routers are looked for on "+link, func() bool {
		return r.watches[link].count(func(f flow) bool { return f.icmp6 == icmp6RS }) > 0
	})
}

// learnsByIP learns on a link without hardware addresses: of routers, and not of DHCPv4.
func learnsByIP(t *testing.T) {
	r := anotherRig(t)
	w := r.witnesses(false)
	isp := tuntest.NewNS(t)
	r.wire("tunnel", kindTUN, isp, "tun0", 1500)
	addrs(isp, "tun0", "2001:db8:1::1/64", "fe80::1/64")
	if err := r.host.Discover("tunnel", stack.Discovery{RA: true, DHCPv4: true}); err == nil {
		t.Error("DHCPv4 on a link without hardware addresses is no error")
	}
	r.discover("tunnel", stack.Discovery{RA: true, Temporary: true}, both[1])
	r.solicited("tunnel")
	w.look()
	nat64 := netip.MustParsePrefix("64:ff9b::/96")
	rawAdvertise(t, isp, "tun0", "fe80::1", ra.Advertisement{
		Header:  ra.Header{Lifetime: 30 * time.Minute},
		Options: []ra.Option{onLink(both[1], time.Hour), ra.PREF64{Prefix: nat64, Lifetime: 10 * time.Minute}},
	})
	n := await(t, r.host, "tunnel", pvd.HasAddr6, pvd.HasDefault6, pvd.Settled)
	info := r.info(n)
	if p, _ := pvd.NAT64.Get(info); !slices.Equal(p, []netip.Prefix{nat64}) {
		t.Errorf("NAT64 %v", p)
	}
	addresses, _ := pvd.Addresses.Get(info)
	temporary := 0
	for _, a := range addresses {
		if a.Temporary {
			temporary++
		}
	}
	if temporary != 1 || len(addresses) != 3 {
		t.Errorf("addresses %v: want a link-local, a stable and a temporary one", addresses)
	}
	for _, a := range addresses {
		if own := a.Prefix.Addr(); !own.IsLinkLocalUnicast() {
			talk(t, n, kernel{isp}, own.String(), "2001:db8:1::1")
		}
	}
	w.unchanged()
}

// learnsByOwnMAC learns on an Ethernet where all that the host sends has the interface's own
// address.
func learnsByOwnMAC(t *testing.T) {
	r := anotherRig(t)
	w := r.witnesses(true)
	box, g := tuntest.NewNS(t), tuntest.NewNS(t)
	tuntest.Veth(box, "wifi", g, "lan")
	box.Sysctl("net.ipv6.conf.wifi.disable_ipv6", "1")
	var l tun.Link
	var err error
	box.Do(func() { l, err = tun.OpenPacket(tun.PacketConfig{Interface: "wifi", OwnMAC: true}) })
	if err != nil {
		t.Fatal(err)
	}
	r.attach("wifi", l)
	g.Sysctl("net.ipv6.conf.all.forwarding", "1")
	isp := setUpRouter(t, "wifi", g, "lan", "192.168.1.1/24", "2001:db8:1::1/64", "fe80::1/64")
	radvd(t, g, strings.ReplaceAll(advertise("fe80::1", "prefix 2001:db8:1::/64 {};"), "eth0", "lan"))
	server := dnsmasq(t, g, "--port=0", "--interface=lan", "--dhcp-authoritative", "--dhcp-range="+leased+","+leased+",1h")
	r.discover("wifi", stack.Discovery{RA: true, DHCPv4: true}, both...)
	n := await(t, r.host, "wifi", pvd.HasAddr4, pvd.HasAddr6, pvd.HasDefault4)
	if mac := l.HardwareAddr().String(); mac != macOf(t, box, "wifi").String() || !strings.Contains(server.String(), mac) {
		t.Errorf("the lease is not for the interface's address %s", mac)
	}
	goesBy(t, n, isp, leased)
	w.look()
	w.unchanged()
}

// learnsWhatIsFree has another host on the link have the addresses that are leased and made
// first. It keeps them, and the PvD gets others.
func learnsWhatIsFree(t *testing.T) {
	r := anotherRig(t)
	w := r.witnesses(true)
	g := r.provider("lan")
	addrs(g.ns, "lan", "fe80::1/64", leased+"/32", "2001:db8:1::100/64") // somebody has them who has not asked
	radvd(t, g.ns, strings.ReplaceAll(advertise("fe80::1", "AdvManagedFlag on; prefix 2001:db8:1::/64 {};"), "eth0", "lan"))
	server, server6 := kea4(t, g.ns, 3600, 1800, 3000), kea6(t, g.ns)
	r.discover("lan", stack.Discovery{RA: true}, both...)
	n := await(t, r.host, "lan", pvd.HasAddr6, pvd.Settled)
	made := r.addressIn(n, both[1])
	if err := r.host.Discover("lan", stack.Discovery{}); err != nil {
		t.Fatal(err)
	}
	addrs(g.ns, "lan", made+"/64")
	r.discover("lan", stack.Discovery{RA: true, DHCPv4: true, DHCPv6: true})
	n = await(t, r.host, "lan", pvd.HasAddr6, pvd.Settled)
	if again := r.addressIn(n, both[1]); again == made {
		t.Errorf("the PvD has %s, which another host has", again)
	}
	talk(t, n, kernel{g.ns}, r.addressIn(n, both[1]), "2001:db8:1::1")
	server.says("DECLINE")
	pool := func(i *pvd.Info) (in []string) {
		addresses, _ := pvd.Addresses.Get(i)
		for _, a := range addresses {
			if own := a.Prefix.Addr().As16(); a.State.Usable() && [7]byte(own[8:]) == [7]byte{6: 1} {
				in = append(in, a.Prefix.Addr().String())
			}
		}
		return in
	}
	eventually(t, "an address of DHCPv6 is usable", func() bool { return len(pool(r.info(n))) > 0 })
	if in := pool(r.info(n)); len(in) != 1 || in[0] == "2001:db8:1::100" || !strings.Contains(server6.String(), "DECLINE") {
		t.Errorf("the PvD has %v of DHCPv6, of which another host has the first", in)
	}
	if pvd.HasAddr4.Holds(r.info(n)) {
		t.Errorf("the address that another host has is used\n%s", describe(r.host))
	}
	w.look()
	w.unchanged()
}

// learnsWithoutIPv4 goes without IPv4 where the server says that the network wants it
// (RFC 8925).
func learnsWithoutIPv4(t *testing.T) {
	r := anotherRig(t)
	w := r.witnesses(false)
	g := r.provider("lan")
	addrs(g.ns, "lan", "fe80::1/64")
	radvd(t, g.ns, strings.ReplaceAll(advertise("fe80::1", "prefix 2001:db8:1::/64 {};"), "eth0", "lan"))
	server := dnsmasq(t, g.ns, "--port=0", "--interface=lan", "--dhcp-authoritative", "--dhcp-range="+leased+","+leased+",1h",
		"--dhcp-option=108,00:00:07:08")
	r.discover("lan", stack.Discovery{RA: true, DHCPv4: true, IPv6Only: true}, both...)
	n := await(t, r.host, "lan", pvd.HasAddr6, pvd.Settled)
	w.look()
	server.says("DHCPOFFER")
	time.Sleep(time.Second) // in which it would be asked for what is offered
	if out := server.String(); strings.Contains(out, "DHCPREQUEST") || pvd.HasAddr4.Holds(r.info(n)) {
		t.Errorf("what is offered is asked for, though the network can do without\n%s", describe(r.host))
	}
	w.unchanged()
}
