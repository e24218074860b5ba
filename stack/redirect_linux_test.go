package stack

import (
	"encoding/binary"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// A lanWatch sees the frames of a link: the redirects that arrive, and which station each
// destination's datagrams leave to.
type lanWatch struct {
	mu        sync.Mutex
	redirects []ra.Packet
	to        map[netip.Addr]mac
}

func (w *lanWatch) see(dir tun.Direction, bufs [][]byte, _ tun.Meta) {
	f := slices.Concat(bufs...)
	if len(f) < tun.EthernetHeaderLen+40 || binary.BigEndian.Uint16(f[12:]) != 0x86dd {
		return
	}
	p := f[tun.EthernetHeaderLen:]
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case dir == tun.Out && p[6] == 17: // an answer to a neighbour's question goes to that one
		w.to[addr6(p[24:])] = mac(f[:6])
	case p[6] == 58 && len(p) > 40 && p[40] == 137:
		w.redirects = append(w.redirects, ra.Packet{
			Src: addr6(p[8:]), Dst: addr6(p[24:]), HopLimit: p[7], Message: p[40 : 40+binary.BigEndian.Uint16(p[4:])],
		})
	}
}

// heard returns the redirects for a destination so far, and station where packets went.
func (w *lanWatch) heard(dst netip.Addr) []ra.Packet {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.redirects), func(p ra.Packet) bool {
		r, err := ra.ParseRedirect(p)
		return err == nil && r.Destination != dst
	})
}

func (w *lanWatch) station(dst netip.Addr) mac {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to[dst]
}

// A kernelRouter is a namespace on a LAN.
type kernelRouter struct {
	*tuntest.NS
	mac mac
}

// newKernelRouter returns a router with some addresses on its interface "lan".
func newKernelRouter(t *testing.T, lan *tuntest.NS, port string, addrs ...string) kernelRouter {
	t.Helper()
	r := kernelRouter{NS: tuntest.NewNS(t)}
	r.Sysctl("net.ipv6.conf.all.forwarding", "1")
	tuntest.Veth(lan, port, r.NS, "lan")
	lan.IP("link", "set", "dev", port, "master", "br")
	r.IP("addr", "flush", "dev", "lan") // of the link-local address that it has made itself
	for _, a := range addrs {
		r.IP("addr", "add", a, "dev", "lan", "nodad")
	}
	m, err := net.ParseMAC(strings.TrimSpace(r.Exec("cat", "/sys/class/net/lan/address")))
	if err != nil {
		t.Fatal(err)
	}
	r.mac = mac(m)
	return r
}

// TestKernelRedirects has a kernel as the router, that sends real redirects: to another
// router on the link, and to a destination that is on the link itself.
func TestKernelRedirects(t *testing.T) {
	t.Parallel()
	lan := tuntest.NewNS(t)
	lan.Bridge("br")
	first := newKernelRouter(t, lan, "first", "fe80::a/64", "2001:db8:1::1/64")
	second := newKernelRouter(t, lan, "second", "fe80::b/64", "2001:db8:1::b/64")
	station := newKernelRouter(t, lan, "station", "fe80::c/64", "2001:db8:1::c/64")
	second.IP("addr", "add", redirFar+"/128", "dev", "lo", "nodad")
	first.IP("route", "add", "2001:db8:ff::/48", "via", "fe80::b", "dev", "lan")

	watch := &lanWatch{to: make(map[netip.Addr]mac)}
	var link tun.Link
	var err error
	lan.Do(func() { link, err = tun.OpenTAP(tun.TAPConfig{Name: "host"}) })
	if err != nil {
		t.Fatal(err)
	}
	lan.IP("link", "set", "dev", "host", "master", "br")
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := h.AddLink("lab", tun.Tap(link, watch.see)); err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, host: h}
	w.link, _ = h.link("lab")
	// That an address is of a prefix does not mean that the prefix is on the link.
	p := w.add(pvd.Config{Addresses: addresses(redirOwn + "/128"), Routes: []pvd.Route{{To: prefix("::/0"), Via: ip("fe80::a")}}})

	send := func(dst netip.Addr) {
		t.Helper()
		c, err := h.In(p.domain.ref).DialContext(t.Context(), "udp", netip.AddrPortFrom(dst, 9).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write([]byte("?")); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		what   string
		dst    netip.Addr
		target netip.Addr
		by     kernelRouter
	}{
		{"to another router", ip(redirFar), ip("fe80::b"), second},
		{"to the destination", ip("2001:db8:1::c"), ip("2001:db8:1::c"), station},
	} {
		var heard []ra.Packet
		for end := time.Now().Add(20 * time.Second); len(heard) == 0 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			send(tt.dst)
			heard = watch.heard(tt.dst)
		}
		if len(heard) == 0 {
			t.Fatalf("%s: the kernel sends no redirect", tt.what)
		}
		if to := watch.station(tt.dst); to != first.mac {
			t.Errorf("%s: at first sent to %v, not to the router", tt.what, to)
		}
		r, err := ra.ParseRedirect(heard[0])
		want := ra.Redirect{Router: ip("fe80::a"), Source: ip(redirOwn), Destination: tt.dst, Target: tt.target}
		if r.MAC = nil; err != nil || !reflect.DeepEqual(r, want) {
			t.Fatalf("%s: %+v, %v, want %+v", tt.what, r, err, want)
		}
		if err := w.link.redirect(first.mac, r); err != nil {
			t.Fatalf("%s: %v", tt.what, err)
		}
		if !eventually(func() bool { send(tt.dst); return watch.station(tt.dst) == tt.by.mac }) {
			t.Errorf("%s: sent to %v still", tt.what, watch.station(tt.dst))
		}
		for range 10 {
			send(tt.dst)
			if to := watch.station(tt.dst); to != tt.by.mac {
				t.Errorf("%s: then sent to %v", tt.what, to)
			}
		}
	}
}
