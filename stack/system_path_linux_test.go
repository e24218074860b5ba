package stack_test

import (
	"strconv"
	"testing"

	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// narrowMTU is what the link in the middle of a path carries: less than those at its ends,
// and enough for IPv6.
const narrowMTU = 1300

// TestSystemPathMTU has a link in the middle of the path that carries less than those at
// its ends. Both sides learn of it by ICMP, and everything arrives.
func TestSystemPathMTU(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t)
			near, far, server := tuntest.NewNS(t), tuntest.NewNS(t), tuntest.NewNS(t)
			r.wire("wire", kind, near, "lan", 1500)
			tuntest.Veth(near, "mid", far, "mid")
			tuntest.Veth(far, "lan", server, "lan")
			for i, ns := range []*tuntest.NS{near, far} {
				ns.Sysctl("net.ipv4.ip_forward", "1")
				ns.Sysctl("net.ipv6.conf.all.forwarding", "1")
				ns.IP("link", "set", "dev", "mid", "mtu", strconv.Itoa(narrowMTU))
				own, next := strconv.Itoa(1+i), strconv.Itoa(2-i)
				addrs(ns, "mid", "10.9.0."+own+"/24", "fd00:9::"+own+"/64")
				addrs(ns, "lan", "192.0."+own+".1/24", "2001:db8:"+own+"::1/64")
				ns.IP("route", "add", "default", "via", "10.9.0."+next)
				ns.IP("route", "add", "default", "via", "fd00:9::"+next)
			}
			addrs(server, "lan", "192.0.2.2/24", "2001:db8:2::2/64")
			server.IP("route", "add", "default", "via", "192.0.2.1")
			server.IP("route", "add", "default", "via", "2001:db8:2::1")
			n := r.add(via("pvd", "wire", [2]string{"192.0.1.2/24", "192.0.1.1"}, [2]string{"2001:db8:1::2/64", "2001:db8:1::1"}))[0]

			for _, a := range [][2]string{{"192.0.1.2", "192.0.2.2"}, {"2001:db8:1::2", "2001:db8:2::2"}} {
				ways := []struct {
					from, to node
					addr     string
				}{{n, kernel{server}, a[1]}, {kernel{server}, n, a[0]}}
				for _, large := range []bool{true, false} {
					for _, ns := range []*tuntest.NS{near, far, server} {
						setOffload(ns, "lan", large)
					}
					for _, w := range ways {
						talkTCP(t, w.from, w.to, w.addr, 4<<20)
					}
				}
				pingFrom(t, n, a[1])
				sizes := []int{smallDatagram, 1400, largeDatagram}
				pingPath(t, server, a[0])
				for _, w := range ways {
					for _, size := range sizes {
						talkUDP(t, w.from, w.to, w.addr, size, 4)
					}
				}
			}
			if t.Failed() {
				t.Logf("%v", r.host.Stats())
			}
		})
	}
}

// pingPath has a kernel ping with packets that are too long for the path.
func pingPath(t *testing.T, ns *tuntest.NS, addr string) {
	t.Helper()
	// The first ones may be what the path's MTU is learned by.
	ns.Exec("ping", "-n", "-c", "4", "-i", "0.2", "-W", "5", "-s", strconv.Itoa(largeDatagram), addr)
}
