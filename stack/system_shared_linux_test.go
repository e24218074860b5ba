package stack_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// sharedOwn is the address that PvDs share on the link "wire", and sharedRouter their router's.
const sharedOwn, sharedRouter = "192.0.2.2", "192.0.2.1"

// viaShared is via with these.
func viaShared(name string) pvd.Config {
	c := via(name, "wire", [2]string{sharedOwn + "/24", sharedRouter})
	c.Addresses[0].Shared = true
	return c
}

// TestSystemShared has three PvDs with one IPv4 address talk with a kernel, by themselves and
// all at once, over each kind of link; then the one that answers for the address goes, and
// another one comes.
func TestSystemShared(t *testing.T) {
	const own, peer = sharedOwn, sharedRouter
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t)
			ns := tuntest.NewNS(t)
			r.wire("wire", kind, ns, "dev", 1500)
			addrs(ns, "dev", peer+"/24")
			var cs []pvd.Config
			for i := range 3 {
				cs = append(cs, viaShared(fmt.Sprintf("pvd%d", i)))
			}
			by := r.add(cs...)
			web := serveWeb(t, ns, "web", peer)
			for _, n := range by {
				talk(t, n, kernel{ns}, own, peer)
				pingFrom(t, n, peer)
				if page := curl(t, serveSOCKS(t, n), "http://"+peer+"/"); page != "web" {
					t.Errorf("curl got %q", page)
				}
			}
			if len(web.asked()) != 1 {
				t.Errorf("the web server was asked for %q", web.asked())
			}
			ping(t, ns, own)
			bulk := func(all []*stack.Network) {
				t.Helper()
				var busy sync.WaitGroup
				for _, n := range all {
					for range 3 {
						busy.Go(func() { get(t, n, "http://"+peer+"/") })
						busy.Go(func() { pingFrom(t, n, peer) })
					}
				}
				for _, n := range all {
					talkTCP(t, n, kernel{ns}, peer, 4<<20)
					talkTCP(t, kernel{ns}, n, own, 4<<20)
				}
				busy.Wait()
			}
			bulk(by)
			// Connections of the others outlive the one that the kernel knows the station of.
			c, s := join(t, by[1], kernel{ns}, peer)
			if err := r.host.Remove(t.Context(), by[0].PvD()); err != nil {
				t.Fatal(err)
			}
			left := time.Now()
			converse(t, c, s, "still there?")
			if took := time.Since(left); took > 5*time.Second {
				t.Errorf("it took %v until the other one was found", took)
			}
			by = append(by[1:], r.add(viaShared("late"))...)
			bulk(by)
			ping(t, ns, own)
			if kind == kindTUN {
				return
			}
			// The kernel has asked, and has had one answer each time.
			ns.IP("neigh", "flush", "all")
			before := r.watches["wire"].count(answersFor(own))
			ns.Exec("ping", "-n", "-c", "1", "-W", "10", own)
			if n := r.watches["wire"].count(answersFor(own)) - before; n != 1 {
				t.Errorf("%d answers to one question", n)
			}
			if state := ns.IP("neigh", "show", "to", own, "dev", "dev"); !strings.Contains(state, "lladdr") {
				t.Errorf("the kernel has %q", state)
			}
		})
	}
}

// answersFor matches ARP packets to one station from the owner of an address.
func answersFor(a string) func(flow) bool {
	return func(f flow) bool {
		return f.ether == etherARP && f.src == netip.MustParseAddr(a) && f.dst != f.src && f.dstMAC[0]&1 == 0
	}
}

// TestSystemSharedPath has a router with a narrow link in the path of PvDs with one address.
// Its errors reach the one whose packet was too long, or could not be delivered.
func TestSystemSharedPath(t *testing.T) {
	r := newRig(t)
	near, server := tuntest.NewNS(t), tuntest.NewNS(t)
	r.wire("wire", kindTAP, near, "lan", 1500)
	tuntest.Veth(near, "mid", server, "mid")
	near.Sysctl("net.ipv4.ip_forward", "1")
	for i, ns := range []*tuntest.NS{near, server} {
		ns.IP("link", "set", "dev", "mid", "mtu", fmt.Sprint(narrowMTU))
		addrs(ns, "mid", fmt.Sprintf("10.9.0.%d/24", 1+i))
	}
	addrs(near, "lan", "192.0.2.1/24")
	server.IP("route", "add", "default", "via", "10.9.0.1")
	near.IP("route", "add", "unreachable", "10.8.0.0/24")
	by := r.add(viaShared("a"), viaShared("b"))
	for _, n := range by {
		talkTCP(t, n, kernel{server}, "10.9.0.2", 1<<20)
		talkTCP(t, kernel{server}, n, sharedOwn, 1<<20)
		for _, size := range []int{smallDatagram, 1400, largeDatagram} {
			talkUDP(t, n, kernel{server}, "10.9.0.2", size, 4)
			talkUDP(t, kernel{server}, n, sharedOwn, size, 4)
		}
		c := mustDial(t, n, "udp", "10.9.0.2:9")
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(systemPatience))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a port that nobody listens at: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), systemPatience)
		if _, err := n.DialContext(ctx, "tcp", "10.8.0.1:9"); !errors.Is(err, syscall.EHOSTUNREACH) {
			t.Errorf("where the router has no way to: %v", err)
		}
		cancel()
	}
}
