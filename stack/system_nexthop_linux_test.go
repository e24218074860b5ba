package stack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// A way out is one of a PvD's addresses, the router that forwards what comes from it, and
// the link in between.
type wayOut struct {
	link   string
	own    string // the PvD's address
	far    string // the internet's
	router *router
}

// useWays uses every way out in both directions, with everything that sends.
func useWays(t *testing.T, n *stack.Network, ways []wayOut) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), systemPatience)
	defer cancel()
	for _, w := range ways {
		// The internet is the same everywhere, so that only the source tells where to.
		here, there := nodeAt{n, w.own}, nodeAt{kernel{w.router.ns}, w.far}
		talk(t, here, there, w.own, w.far)
		pingFar(t, w.router.ns, w.far, w.own)

		// A listener on all addresses answers from the one that was called.
		l, err := n.Listen(ctx, "tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := l.Accept(); err == nil {
				_, _ = c.Write([]byte(c.LocalAddr().String()))
				_ = c.Close()
			}
		}()
		at := netip.AddrPortFrom(mustAddr(w.own), netip.MustParseAddrPort(l.Addr().String()).Port()).String()
		c, err := there.DialContext(ctx, "tcp", at)
		if err != nil {
			t.Fatalf("to a listener on all addresses: %v", err)
		}
		b := make([]byte, 100)
		k, err := c.Read(b)
		if string(b[:k]) != at {
			t.Errorf("a connection to %s is one to %q, %v", at, b[:k], err)
		}
		_ = c.Close()
		_ = l.Close()

		// Nobody listens: the reset and the ICMP message take the same way.
		if _, err := there.DialContext(ctx, "tcp", net.JoinHostPort(w.own, "9")); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("TCP to a closed port of %s: %v", w.own, err)
		}
		u, err := there.DialContext(ctx, "udp", net.JoinHostPort(w.own, "9"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Write([]byte("?")); err != nil {
			t.Error(err)
		}
		deadline, _ := ctx.Deadline()
		_ = u.SetReadDeadline(deadline)
		if _, err := u.Read(b); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("UDP to a closed port of %s: %v", w.own, err)
		}
		_ = u.Close()

		// Left to itself, the PvD takes any way, and keeps to it.
		pingFrom(t, n, w.far)
		if page := get(t, n, "http://"+net.JoinHostPort(w.far, "80")+"/"); page == "" {
			t.Errorf("nothing from %s", w.far)
		}
		p, err := n.ListenPacket(ctx, "udp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		_ = p.SetReadDeadline(deadline)
		if _, err := p.WriteTo([]byte("?"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(mustAddr(w.far), echoPort))); err != nil {
			t.Error(err)
		}
		if _, _, err := p.ReadFrom(b); err != nil {
			t.Errorf("UDP from an unbound socket to %s: %v", w.far, err)
		}
		_ = p.Close()
	}
}

// pingFar has a kernel ping from one of its addresses.
func pingFar(t *testing.T, ns *tuntest.NS, from, to string) {
	t.Helper()
	for _, size := range []int{56, largeDatagram} {
		ns.Exec("ping", "-n", "-c", "1", "-W", "10", "-s", strconv.Itoa(size), "-I", from, to)
	}
}

// checkWays wants that packets with a source of one way left by it, and by no other.
func (r *rig) checkWays(ways []wayOut) {
	r.t.Helper()
	for _, w := range ways {
		own := mustAddr(w.own)
		for _, o := range ways {
			if own.Is4() != mustAddr(o.own).Is4() {
				continue
			}
			n := r.watches[o.link].count(func(f flow) bool {
				return f.src == own && f.routed() && (r.watches[o.link].layer == tun.IP || f.dstMAC == [6]byte(o.router.mac))
			})
			if o.router == w.router && n == 0 {
				r.t.Errorf("from %v nothing has left by router %s", own, o.router.name)
			} else if o.router != w.router && n > 0 {
				r.t.Errorf("from %v %d packets have left by router %s", own, n, o.router.name)
			}
		}
	}
}

// routed reports whether a flow is of packets that a router may have to forward, rather
// than of the link's own.
func (f flow) routed() bool {
	return f.ether != etherARP && !f.target.IsValid() && !f.dst.IsMulticast()
}

// TestSystemTwoLinksTwoRouters has one PvD on two links with a default router on each. A
// packet leaves by the router that forwards for its source (RFC 8028).
func TestSystemTwoLinksTwoRouters(t *testing.T) {
	for _, tt := range [][2]string{{kindPacket, kindPacket}, {kindTAP, kindTUN}, {kindTUN, kindTUN}} {
		t.Run(tt[0]+" and "+tt[1], func(t *testing.T) {
			r := newRig(t)
			c := pvd.Config{Name: "both"}
			var ways []wayOut
			for i, link := range []string{"a", "b"} {
				ns := tuntest.NewNS(t)
				r.wire(link, tt[i], ns, "lan", 1500)
				net4, net6 := fmt.Sprintf("192.0.%d.", 2+i), fmt.Sprintf("2001:db8:%s::", link)
				g := setUpRouter(t, link, ns, "lan", net4+"1/24", net6+"1/64")
				side := via("", link, [2]string{net4 + "2/24", net4 + "1"}, [2]string{net6 + "2/64", net6 + "1"})
				c.Links = append(c.Links, link)
				c.Addresses, c.Routes = append(c.Addresses, side.Addresses...), append(c.Routes, side.Routes...)
				ways = append(ways, wayOut{link, net4 + "2", far4, g}, wayOut{link, net6 + "2", far6, g})
			}
			n := r.add(c)[0]
			useWays(t, n, ways)
			r.checkWays(ways)
		})
	}
}

// TestSystemOneLinkTwoDefaults has one PvD with two prefixes on one link, each of which has
// a router that forwards for it alone.
func TestSystemOneLinkTwoDefaults(t *testing.T) {
	r := newRig(t)
	lan := tuntest.NewNS(t)
	r.wire("wire", kindPacket, lan, "p0", 1500)
	c := pvd.Config{Name: "both", Links: []string{"wire"}}
	var ways []wayOut
	for i, name := range []string{"a", "b"} {
		net4, net6 := fmt.Sprintf("192.0.%d.", 2+i), fmt.Sprintf("2001:db8:%s::", name)
		g := newRouter(t, name, lan, "p"+name, net4+"1/24", net6+"1/64")
		side := via("", "wire", [2]string{net4 + "2/24", net4 + "1"}, [2]string{net6 + "2/64", net6 + "1"})
		for i := range side.Routes {
			side.Routes[i].From = side.Addresses[i].Prefix.Masked()
		}
		c.Addresses, c.Routes = append(c.Addresses, side.Addresses...), append(c.Routes, side.Routes...)
		ways = append(ways, wayOut{"wire", net4 + "2", far4, g}, wayOut{"wire", net6 + "2", far6, g})
	}
	lan.Bridge("br0", "p0", "pa", "pb")
	n := r.add(c)[0]
	useWays(t, n, ways)
	r.checkWays(ways)
}
