package stack_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// The internet, as every router has it: the same addresses, and behind each something
// else.
const far4, far6 = "203.0.113.1", "2001:db8:f::1"

// echoPort is where the internet sends datagrams back (RFC 862).
const echoPort = 7

// A router is a namespace with an interface on a link.
type router struct {
	ns   *tuntest.NS
	name string
	mac  net.HardwareAddr
}

// newRouter makes a router whose interface eth0 is plugged into an interface of the
// bridge's namespace, and whose internet answers with its name.
func newRouter(t *testing.T, name string, lan *tuntest.NS, port string, own ...string) *router {
	t.Helper()
	ns := tuntest.NewNS(t)
	tuntest.Veth(lan, port, ns, "eth0")
	return setUpRouter(t, name, ns, "eth0", own...)
}

// setUpRouter makes a namespace a router with addresses of its own on an interface.
func setUpRouter(t *testing.T, name string, ns *tuntest.NS, dev string, own ...string) *router {
	t.Helper()
	addrs(ns, dev, own...)
	addrs(ns, "lo", far4+"/32", far6+"/128")
	serveWeb(t, ns, name, far4, far6)
	for _, a := range []string{far4, far6} {
		c, err := kernel{ns}.ListenPacket(t.Context(), "udp", net.JoinHostPort(a, strconv.Itoa(echoPort)))
		if err != nil {
			t.Fatal(err)
		}
		var echo sync.WaitGroup
		echo.Go(func() { echoUDP(c) })
		t.Cleanup(func() {
			_ = c.Close()
			echo.Wait()
		})
	}
	return &router{ns: ns, name: name, mac: macOf(t, ns, dev)}
}

// via is the configuration of a PvD on a link with addresses and, for each, a router.
func via(name, link string, pairs ...[2]string) pvd.Config {
	c := pvd.Config{Name: name, Links: []string{link}}
	for _, p := range pairs {
		own, router := netip.MustParsePrefix(p[0]), mustAddr(p[1])
		c.Addresses = append(c.Addresses, pvd.Address{Prefix: own, Link: link})
		c.Routes = append(c.Routes, pvd.Route{To: netip.PrefixFrom(unspecified(router), 0), Via: router, Link: link})
	}
	return c
}

// TestSystemOneLinkTwoRouters has two PvDs on one Ethernet, each behind a router of its
// own. Whatever the PvDs have in common, each reaches its own router's internet and is
// reached from there.
func TestSystemOneLinkTwoRouters(t *testing.T) {
	type side struct{ own4, router4, own6, router6 string }
	for _, tt := range []struct {
		name       string
		a, b       side
		configured bool // the routers' hardware addresses, rather than learned
	}{
		{
			"different prefixes",
			side{"192.0.2.2", "192.0.2.1", "2001:db8:a::2", "2001:db8:a::1"},
			side{"198.51.100.2", "198.51.100.1", "2001:db8:b::2", "2001:db8:b::1"},
			false,
		},
		{
			"one prefix",
			side{"192.168.1.2", "192.168.1.1", "fd00:1::2", "fd00:1::1"},
			side{"192.168.1.3", "192.168.1.254", "fd00:1::3", "fd00:1::fe"},
			false,
		},
		{
			"equal addresses",
			side{"192.168.1.2", "192.168.1.1", "fd00:1::2", "fd00:1::1"},
			side{"192.168.1.2", "192.168.1.254", "fd00:1::2", "fd00:1::fe"},
			false,
		},
		{
			"equal addresses and routers",
			side{"192.168.1.2", "192.168.1.1", "fd00:1::2", "fd00:1::1"},
			side{"192.168.1.2", "192.168.1.1", "fd00:1::2", "fd00:1::1"},
			true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			lan := tuntest.NewNS(t)
			r.wire("wire", kindPacket, lan, "p0", 1500)
			sides := []side{tt.a, tt.b}
			var routers []*router
			var configs []pvd.Config
			for i, s := range sides {
				name := string(rune('a' + i))
				g := newRouter(t, name, lan, "p"+name, s.router4+"/24", s.router6+"/64")
				c := via(name, "wire", [2]string{s.own4 + "/24", s.router4}, [2]string{s.own6 + "/64", s.router6})
				if tt.configured {
					c.Neighbors = []pvd.Neighbor{{Addr: mustAddr(s.router4), MAC: g.mac}, {Addr: mustAddr(s.router6), MAC: g.mac}}
				}
				g.ns.Sysctl("net.ipv4.neigh.eth0.locktime", "0")
				routers, configs = append(routers, g), append(configs, c)
			}
			lan.Bridge("br0", "p0", "pa", "pb")
			networks := r.add(configs...)
			for range 2 { // in turn: what one has done is not to disturb the other
				for i, s := range sides {
					for _, at := range [][2]string{{s.own4, far4}, {s.own6, far6}} {
						ping(t, routers[i].ns, at[0])
						url := fmt.Sprintf("http://%s/", net.JoinHostPort(at[1], "80"))
						if page := get(t, networks[i], url); page != routers[i].name {
							t.Errorf("%s in %s is behind router %q", url, routers[i].name, page)
						}
						talk(t, networks[i], kernel{routers[i].ns}, at[0], at[1])
						pingFrom(t, networks[i], at[1])
					}
					// The other router hears the question, and may learn a wrong station from it.
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
					for _, nobody := range []string{s.router4, s.router6} {
						_, _ = networks[i].Ping(ctx, mustAddr(nobody).Next().Next().Next())
					}
					cancel()
				}
			}
			if t.Failed() {
				t.Logf("%+v", r.host.Stats())
			}
		})
	}
}
