package stack_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// leased is the address that the servers of these tests lease, each in a network of its own.
const leased = "192.168.1.50"

// kea runs kea-dhcp4 or kea-dhcp6 on the interface lan.
func kea(t *testing.T, ns *tuntest.NS, version, config string) *daemon {
	t.Helper()
	return serve(t, ns, map[string]string{"kea.conf": fmt.Sprintf(`{"Dhcp%s": {
		"interfaces-config": {"interfaces": ["lan"]},
		"lease-database": {"type": "memfile", "persist": true, "name": "{dir}/leases.csv", "lfc-interval": 0},
		%s,
		"loggers": [{"name": "kea-dhcp%[1]s", "severity": "INFO", "output_options": [{"output": "stdout"}]}]
	}}`, version, config)}, "kea-dhcp"+version, "-c", "{kea.conf}").says("_STARTED")
}

// kea4 leases one address, for so many seconds, and has it renewed after the given ones.
func kea4(t *testing.T, ns *tuntest.NS, lease, renew, rebind int) *daemon {
	t.Helper()
	return kea(t, ns, "4", fmt.Sprintf(`"valid-lifetime": %d, "renew-timer": %d, "rebind-timer": %d,
		"subnet4": [{"id": 1, "subnet": "192.168.1.0/24", "pools": [{"pool": "%s - %[4]s"}],
			"option-data": [{"name": "routers", "data": "192.168.1.1"}, {"name": "domain-name-servers", "data": "192.168.1.1"}]}]`,
		lease, renew, rebind, leased))
}

// kea6 leases addresses and delegates prefixes.
func kea6(t *testing.T, ns *tuntest.NS) *daemon {
	t.Helper()
	return kea(t, ns, "6", `"server-id": {"type": "LL", "persist": false},
		"valid-lifetime": 4000, "preferred-lifetime": 3000, "renew-timer": 5, "rebind-timer": 2000,
		"subnet6": [{"id": 1, "interface": "lan", "subnet": "2001:db8:1::/64", "pools": [{"pool": "2001:db8:1::100-2001:db8:1::1ff"}],
			"pd-pools": [{"prefix": "2001:db8:8::", "prefix-len": 48, "delegated-len": 56}],
			"option-data": [{"name": "dns-servers", "data": "2001:db8:1::53"}, {"name": "domain-search", "data": "kea.example"}]}]`)
}

// udhcpd runs busybox's DHCPv4 server on the interface lan, which leases one address.
func udhcpd(t *testing.T, ns *tuntest.NS, options string) *daemon {
	t.Helper()
	return serve(t, ns, map[string]string{"udhcpd.conf": udhcpdConf(options), "leases": ""}, "udhcpd", "-f", "{udhcpd.conf}").says("started")
}

func udhcpdConf(options string) string {
	return fmt.Sprintf(`interface lan
start %s
end %[1]s
lease_file {dir}/leases
pidfile {dir}/pid
option subnet 255.255.255.0
option router 192.168.1.1
%s`, leased, options)
}

// provider gives the host a link to a network where a lease is to be had, whose internet
// answers with the network's name. Every network has the same addresses.
func (r *rig) provider(name string) *router {
	r.t.Helper()
	ns := tuntest.NewNS(r.t)
	r.wire(name, kindPacket, ns, "lan", 1500)
	ns.Sysctl("net.ipv6.conf.all.forwarding", "1")
	return setUpRouter(r.t, name, ns, "lan", "192.168.1.1/24", "2001:db8:1::1/64")
}

// both are the networks of which a provider gives addresses.
var both = []string{"192.168.1.0/24", "2001:db8:1::/64"}

// goesBy fails the test unless a PvD gets to the internet behind the router, by IPv4.
func goesBy(t *testing.T, n *stack.Network, g *router, own string) {
	t.Helper()
	url := fmt.Sprintf("http://%s/", net.JoinHostPort(far4, "80"))
	if page := get(t, n, url); page != g.name {
		t.Errorf("%s is behind %q, want %q", url, page, g.name)
	}
	talk(t, n, kernel{g.ns}, own, far4)
	pingFrom(t, n, far4)
	ping(t, g.ns, own)
}

// lost waits for the end of a connection, which has to be the loss of its address.
func lost(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("the connection from %v ended with %v, want %v", c.LocalAddr(), err, syscall.EADDRNOTAVAIL)
	}
}

// learnsLeases leases the same IPv4 address of three servers on three links, and
// different things by DHCPv6. All work at once. What then becomes of each lease is the
// matter of its PvD.
func learnsLeases(t *testing.T) {
	r := anotherRig(t)
	w := r.witnesses(true)
	g := map[string]*router{"dnsmasq": r.provider("dnsmasq"), "kea": r.provider("kea"), "udhcpd": r.provider("udhcpd")}
	masq := func(address, dns string) []string {
		return []string{
			"dnsmasq", "--port=0", "--interface=lan", "--dhcp-authoritative", "--dhcp-range=" + address + "," + address + ",2m",
			"--dhcp-option=option:T1,10", "--dhcp-option=option:dns-server," + dns, "--dhcp-option=option:domain-search,masq.example",
			"--enable-ra", "--dhcp-range=2001:db8:1::,ra-stateless,64,1h", "--dhcp-option=option6:dns-server,[2001:db8:1::53]",
		}
	}
	first := dnsmasq(t, g["dnsmasq"].ns, masq(leased, "192.168.1.1")[1:]...)
	keaD, kea6D := kea4(t, g["kea"].ns, 10, 7, 9), kea6(t, g["kea"].ns)
	radvd(t, g["kea"].ns, `interface lan {
		AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvManagedFlag on;
		prefix 2001:db8:1::/64 { AdvAutonomous off; };
	};`)
	uD := udhcpd(t, g["udhcpd"].ns, "option lease 16\noption dns 192.168.1.1\noption mtu 1400\n")
	dnsmasq(t, g["udhcpd"].ns, "--port=0", "--interface=lan", "--enable-ra", "--dhcp-range=2001:db8:1::100,2001:db8:1::1ff,64,1h",
		"--dhcp-option=option6:dns-server,[2001:db8:1::53]")
	networks := make(map[string]*stack.Network)
	for name := range g {
		r.discover(name, stack.Discovery{RA: true, DHCPv4: true, DHCPv6: true, Prefixes: name == "kea"}, both...)
	}
	for name := range g {
		networks[name] = await(t, r.host, name, pvd.HasAddr4, pvd.HasAddr6, pvd.HasDefault4, pvd.HasDefault6, pvd.HasDNS)
	}
	w.look()
	t.Run("contents", func(t *testing.T) { r.leases(t, networks) })
	for name, n := range networks {
		goesBy(t, n, g[name], leased)
	}
	// One connection of the lease that will end, and of the one that will be refused.
	doomed, _ := join(t, networks["kea"], kernel{g["kea"].ns}, far4)
	refused, _ := join(t, networks["dnsmasq"], kernel{g["dnsmasq"].ns}, far4)
	kept, keptThere := join(t, networks["udhcpd"], kernel{g["udhcpd"].ns}, far4)
	keaD.stop(syscall.SIGKILL)
	first.stop(syscall.SIGKILL)
	second := dnsmasq(t, g["dnsmasq"].ns, masq("192.168.1.60", "192.168.1.9")[1:]...)
	uD.signal(syscall.SIGUSR1) // it writes the leases down
	uD.write("udhcpd.conf", udhcpdConf("option lease 16\noption dns 192.168.1.8\n"))
	time.Sleep(100 * time.Millisecond)
	uD.stop(syscall.SIGKILL)
	uD.start()
	t.Run("refused", func(t *testing.T) {
		lost(t, refused)
		eventually(t, "the refused lease is gone", func() bool { return !pvd.HasAddr4.Holds(r.info(networks["dnsmasq"])) })
		eventually(t, "dnsmasq has refused the lease", func() bool { return strings.Contains(second.String(), "DHCPNAK") })
	})
	t.Run("changed", func(t *testing.T) {
		eventually(t, "the renewed lease has another DNS server", func() bool {
			s, _ := pvd.DNSServers.Get(r.info(networks["udhcpd"]))
			return slices.Contains(s, netip.MustParseAddrPort("192.168.1.8:53"))
		})
		if mtu, _ := pvd.MTU.Get(r.info(networks["udhcpd"])); mtu == 1400 {
			t.Error("the MTU of the lease before is still in force")
		}
		_, err := kept.Write([]byte("x"))
		if _, rerr := keptThere.Read(make([]byte, 1)); err != nil || rerr != nil {
			t.Errorf("a connection does not survive that the lease is renewed: %v, %v", err, rerr)
		}
	})
	t.Run("over", func(t *testing.T) {
		lost(t, doomed)
		n := networks["kea"]
		eventually(t, "the lease that is over is gone", func() bool {
			origin := originOn(r.info(n), "kea")
			return !pvd.HasAddr4.Holds(r.info(n)) && !pvd.HasDefault4.Holds(r.info(n)) && !origin.Server4.IsValid()
		})
		if !pvd.HasAddr6.Holds(r.info(n)) {
			t.Error("the IPv6 addresses have gone with the lease")
		}
		eventually(t, "the DHCPv6 lease is renewed", func() bool { return strings.Contains(kea6D.String(), "LEASE_RENEW") })
	})
	t.Run("leased again", func(t *testing.T) {
		n := await(t, r.host, "dnsmasq", pvd.HasAddr4)
		if n.PvD() != networks["dnsmasq"].PvD() {
			t.Error("another lease is another PvD")
		}
		goesBy(t, n, g["dnsmasq"], "192.168.1.60")
		if err := r.host.Discover("dnsmasq", stack.Discovery{}); err != nil {
			t.Error(err)
		}
		second.says("DHCPRELEASE")
	})
	w.unchanged()
}

// leases looks at what was leased.
func (r *rig) leases(t *testing.T, networks map[string]*stack.Network) {
	dns6 := netip.MustParseAddrPort("[2001:db8:1::53]:53")
	for name, n := range networks {
		info := r.info(n)
		origin := originOn(info, name)
		if got := r.addressIn(n, "192.168.1.0/24"); got != leased || origin.Server4 != mustAddr("192.168.1.1") || origin.Lease4.IsZero() {
			t.Errorf("%s: leased %v, %+v", name, got, origin)
		}
		servers, _ := pvd.DNSServers.Get(info)
		if !slices.Contains(servers, netip.MustParseAddrPort("192.168.1.1:53")) || !slices.Contains(servers, dns6) {
			t.Errorf("%s: DNS servers %v", name, servers)
		}
	}
	if search, _ := pvd.DNSSearch.Get(r.info(networks["dnsmasq"])); !slices.Equal(search, []string{"masq.example"}) {
		t.Errorf("dnsmasq: search list %v", search)
	}
	if search, _ := pvd.DNSSearch.Get(r.info(networks["kea"])); !slices.Equal(search, []string{"kea.example"}) {
		t.Errorf("kea: search list %v", search)
	}
	if mtu, _ := pvd.MTU.Get(r.info(networks["udhcpd"])); mtu != 1400 {
		t.Errorf("udhcpd: MTU %v", mtu)
	}
	for _, name := range []string{"kea", "udhcpd"} {
		if a := mustAddr(r.addressIn(networks[name], "2001:db8:1::/64")); a.As16()[14] != 1 {
			t.Errorf("%s: the address %v is not of the server's pool", name, a)
		}
	}
	delegated, _ := learn.Delegated.Get(r.info(networks["kea"]))
	if len(delegated) != 1 || delegated[0].Prefix.Bits() != 56 || !netip.MustParsePrefix("2001:db8:8::/48").Overlaps(delegated[0].Prefix) {
		t.Errorf("kea: delegated %v", delegated)
	}
}
