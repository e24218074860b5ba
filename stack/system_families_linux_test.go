package stack_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// TestSystemFamilies has a PvD that has IPv4 only beside one that has IPv6 only, on one
// link. Each does what its family can and says of the other that it has no address.
func TestSystemFamilies(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t)
			ns := tuntest.NewNS(t)
			r.wire("wire", kind, ns, "dev", 1500)
			addrs(ns, "dev", "192.0.2.1/24", "2001:db8::1/64")
			serveWeb(t, ns, "both", "192.0.2.1", "2001:db8::1")
			serveNames(t, ns, []string{"192.0.2.1", "2001:db8::1"}, "both,192.0.2.1,2001:db8::1")
			pvds := []family{
				{"4", "192.0.2.2", "192.0.2.1", "6", "2001:db8::1"},
				{"6", "2001:db8::2", "2001:db8::1", "4", "192.0.2.1"},
			}
			var configs []pvd.Config
			for _, f := range pvds {
				own := netip.PrefixFrom(mustAddr(f.own), 24)
				if f.has == "6" {
					own = netip.PrefixFrom(own.Addr(), 64)
				}
				c := via("ipv"+f.has, "wire", [2]string{own.String(), f.peer})
				c.DNS.Servers = []netip.AddrPort{netip.AddrPortFrom(mustAddr(f.peer), 53)}
				configs = append(configs, c)
			}
			networks := r.add(configs...)
			for i, f := range pvds {
				f.use(t, networks[i], ns)
			}
			if r.watches["wire"].layer == tun.Ethernet {
				r.watches["wire"].wantOneFamilyEach(t)
			}
		})
	}
}

// A family is the one that a PvD has, and the one that it lacks.
type family struct{ has, own, peer, lacks, other string }

func (f family) use(t *testing.T, n *stack.Network, ns *tuntest.NS) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), systemPatience)
	defer cancel()
	talk(t, n, kernel{ns}, f.own, f.peer)
	ping(t, ns, f.own)
	pingFrom(t, n, f.peer)
	for _, proto := range []string{"tcp", "udp"} {
		for _, network := range []string{proto, proto + f.has} {
			c, err := n.DialContext(ctx, network, net.JoinHostPort(f.peer, "80"))
			if err != nil {
				t.Errorf("%s in the PvD with IPv%s: %v", network, f.has, err)
				continue
			}
			_ = c.Close()
		}
		for _, network := range []string{proto, proto + f.lacks} {
			_, err := n.DialContext(ctx, network, net.JoinHostPort(f.other, "80"))
			var op *net.OpError
			if !errors.Is(err, syscall.EADDRNOTAVAIL) || !errors.As(err, &op) {
				t.Errorf("%s to %s in the PvD with IPv%s: %v", network, f.other, f.has, err)
			}
		}
		if _, err := n.DialContext(ctx, proto+f.lacks, "both:80"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("%s%s to a name in the PvD with IPv%s: %v", proto, f.lacks, f.has, err)
		}
	}
	if _, err := n.Ping(ctx, mustAddr(f.other)); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("ping %s in the PvD with IPv%s: %v", f.other, f.has, err)
	}
	if _, err := n.Listen(ctx, "tcp"+f.lacks, net.JoinHostPort(f.other, "80")); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("listen at %s in the PvD with IPv%s: %v", f.other, f.has, err)
	}
	// Of a name's addresses those of the family are taken.
	if page := get(t, n, "http://both/"); page != "both" {
		t.Errorf("by name in the PvD with IPv%s: %q", f.has, page)
	}
}

// wantOneFamilyEach wants that no station has sent both IPv4, or ARP, and IPv6.
func (w *watch) wantOneFamilyEach(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	had := make(map[[6]byte]flow)
	for f := range w.flows {
		o, ok := had[f.srcMAC]
		if ok && (o.ether == etherIPv6) != (f.ether == etherIPv6) {
			t.Errorf("one station has sent %v and %v", o, f)
		}
		had[f.srcMAC] = f
	}
}
