package stack_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// advertise is the configuration of radvd for one router on eth0.
func advertise(router, options string) string {
	return fmt.Sprintf(`interface eth0 {
		AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; MinDelayBetweenRAs 3;
		AdvRASrcAddress { %s; };
		%s
	};`, router, options)
}

// learnedRouters are three routers on one link, which two machines are.
var learnedRouters = []struct{ machine, router, prefix string }{
	{"a", "fe80::a", "2001:db8:a::/64"},
	{"b", "fe80::b1", "2001:db8:b1::/64"},
	{"b", "fe80::b2", "2001:db8:b2::/64"},
}

// learnsRouters has three routers on one bridge, two of which are one machine
// with two addresses. Each makes a PvD, whose traffic goes by it; what it changes is
// changed there, and nowhere else.
func learnsRouters(t *testing.T) {
	r := anotherRig(t)
	w := r.witnesses(false)
	lan := tuntest.NewNS(t)
	r.wire("wire", kindPacket, lan, "p0", 1500)
	machines := map[string]*router{
		"a": newRouter(t, "a", lan, "pa", "2001:db8:a::1/64", "fe80::a/64"),
		"b": newRouter(t, "b", lan, "pb", "2001:db8:b1::1/64", "2001:db8:b2::1/64", "fe80::b1/64", "fe80::b2/64"),
	}
	lan.Bridge("br0", "p0", "pa", "pb")
	var prefixes []string
	var daemons []*daemon
	for _, l := range learnedRouters {
		prefixes = append(prefixes, l.prefix)
		ns := machines[l.machine].ns
		ns.Sysctl("net.ipv6.conf.all.forwarding", "1")
		daemons = append(daemons, radvd(t, ns, advertise(l.router, "prefix "+l.prefix+" {};")))
	}
	r.discover("wire", stack.Discovery{RA: true}, prefixes...)
	var networks []*stack.Network
	for _, l := range learnedRouters {
		networks = append(networks, awaitOne(t, r.host, "PvD of "+l.router, from("wire", l.router), pvd.HasAddr6, pvd.HasDefault6, pvd.Settled))
	}
	w.look()
	t.Run("traffic", func(t *testing.T) {
		url := fmt.Sprintf("http://%s/", net.JoinHostPort(far6, "80"))
		for i, l := range learnedRouters {
			own, m := r.addressIn(networks[i], l.prefix), machines[l.machine]
			if page := get(t, networks[i], url); page != l.machine {
				t.Errorf("%s by %s is behind router %q, want %q", url, l.router, page, l.machine)
			}
			talk(t, networks[i], kernel{m.ns}, own, far6)
			pingFrom(t, networks[i], far6)
			ping(t, m.ns, own)
			astray := r.watches["wire"].count(func(f flow) bool {
				return f.src == mustAddr(own) && f.dst == mustAddr(far6) && f.dstMAC != [6]byte(m.mac)
			})
			if astray != 0 {
				t.Errorf("%d frames of the PvD of %s went by another router", astray, l.router)
			}
		}
		if n := len(r.host.List()); n != len(learnedRouters)+2 {
			t.Errorf("%d PvDs, want one for each router, and the witness\n%s", n, describe(r.host))
		}
	})
	others := []*pvd.Info{r.info(networks[1]), r.info(networks[2])}
	t.Run("changes", func(t *testing.T) { r.changes(t, networks[0], daemons[0]) })
	t.Run("router goes and comes", func(t *testing.T) {
		d, n, since := daemons[0], networks[0], time.Now()
		d.stop(syscall.SIGTERM) // it says that it is no router any more
		r.inForce(t, n, "wire", "the end of the router", since, func(i *pvd.Info) bool { return !pvd.HasDefault6.Holds(i) })
		since = time.Now()
		d.start()
		r.inForce(t, n, "wire", "the router that is back", since, pvd.HasDefault6.Holds)
		own := r.addressIn(n, "2001:db8:a::/64")
		talk(t, n, kernel{machines["a"].ns}, own, far6)
		const life = 4 * time.Second
		since = time.Now()
		d.write("radvd.conf", advertise("fe80::a", "AdvDefaultLifetime 4; AdvLinkMTU 1300; prefix 2001:db8:a::/64 {};"))
		d.signal(syscall.SIGHUP)
		r.inForce(t, n, "wire", "a lifetime of 4 s", since, func(i *pvd.Info) bool {
			mtu, _ := pvd.MTU.Get(i)
			return mtu == 1300
		})
		d.stop(syscall.SIGKILL) // and it says nothing
		last := r.watches["wire"].advertFrom(mustAddr("fe80::a"))
		eventually(t, "the silent router's route is gone", func() bool { return !pvd.HasDefault6.Holds(r.info(n)) })
		if took := time.Since(last); (took - life).Abs() > time.Second {
			t.Errorf("the route of a router that is silent went after %v, its lifetime is %v", took, life)
		}
		since = time.Now()
		d.start()
		r.inForce(t, n, "wire", "the router that is back", since, pvd.HasDefault6.Holds)
		talk(t, n, kernel{machines["a"].ns}, own, far6)
	})
	for i, was := range others {
		is := r.info(networks[i+1])
		for _, k := range []pvd.AnyKey{pvd.Routes.Any(), pvd.DNSServers.Any(), pvd.DNSSearch.Any(), pvd.MTU.Any()} {
			a, _ := k.Get(was)
			b, _ := k.Get(is)
			if fmt.Sprint(a) != fmt.Sprint(b) {
				t.Errorf("the PvD of %s had %v %v, and has %v now, as another router said", learnedRouters[i+1].router, k, a, b)
			}
		}
	}
	w.unchanged()
}

// changes has a router change everything that it says.
func (r *rig) changes(t *testing.T, n *stack.Network, d *daemon) {
	step := func(what, options string, holds func(*pvd.Info) bool) {
		t.Helper()
		since := time.Now()
		d.write("radvd.conf", advertise("fe80::a", options))
		d.signal(syscall.SIGHUP)
		r.inForce(t, n, "wire", what, since, holds)
	}
	const prefix = "prefix 2001:db8:a::/64 {};\n"
	step("a DNS server", prefix+"RDNSS 2001:db8:a::1 {};", func(i *pvd.Info) bool {
		s, _ := pvd.DNSServers.Get(i)
		return slices.Equal(s, []netip.AddrPort{netip.MustParseAddrPort("[2001:db8:a::1]:53")})
	})
	step("another DNS server and a search list", prefix+"RDNSS 2001:db8:a::1 { AdvRDNSSLifetime 0; };\nRDNSS 2001:db8:a::2 {};\nDNSSL corp.example {};",
		func(i *pvd.Info) bool {
			s, _ := pvd.DNSServers.Get(i)
			l, _ := pvd.DNSSearch.Get(i)
			return slices.Equal(s, []netip.AddrPort{netip.MustParseAddrPort("[2001:db8:a::2]:53")}) && slices.Equal(l, []string{"corp.example"})
		})
	step("an MTU", "AdvLinkMTU 1400;\n"+prefix, func(i *pvd.Info) bool {
		mtu, _ := pvd.MTU.Get(i)
		return mtu == 1400
	})
	to := netip.MustParsePrefix("2001:db8:77::/48")
	step("a route", prefix+"route 2001:db8:77::/48 { AdvRoutePreference high; };", func(i *pvd.Info) bool {
		routes, _ := pvd.Routes.Get(i)
		return slices.ContainsFunc(routes, func(r pvd.Route) bool {
			return r.To == to && r.Preference == pvd.High && r.Via == mustAddr("fe80::a")
		})
	})
	step("the end of the route", prefix+"route 2001:db8:77::/48 { AdvRouteLifetime 0; };", func(i *pvd.Info) bool {
		routes, _ := pvd.Routes.Get(i)
		return !slices.ContainsFunc(routes, func(r pvd.Route) bool { return r.To == to })
	})
	has := func(i *pvd.Info, p string, like func(pvd.AddressInfo) bool) bool {
		addresses, _ := pvd.Addresses.Get(i)
		return slices.ContainsFunc(addresses, func(a pvd.AddressInfo) bool {
			return netip.MustParsePrefix(p).Contains(a.Prefix.Addr()) && like(a)
		})
	}
	r.expect("wire", "2001:db8:a1::/64")
	step("another prefix", "prefix 2001:db8:a::/64 { AdvPreferredLifetime 0; };\nprefix 2001:db8:a1::/64 {};", func(i *pvd.Info) bool {
		return has(i, "2001:db8:a1::/64", func(pvd.AddressInfo) bool { return true }) &&
			has(i, "2001:db8:a::/64", func(a pvd.AddressInfo) bool { return a.State == pvd.Deprecated })
	})
	eventually(t, "the address of the new prefix is usable", func() bool {
		return has(r.info(n), "2001:db8:a1::/64", func(a pvd.AddressInfo) bool { return a.State == pvd.Preferred })
	})
	step("no router", "AdvDefaultLifetime 0;\n"+prefix, func(i *pvd.Info) bool { return !pvd.HasDefault6.Holds(i) })
	step("a router", prefix, pvd.HasDefault6.Holds)
}
