package stack_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// A kernel finds a weak host's addresses on the link that they are not on, by ARP and by
// neighbour discovery, and goes on finding them when it asks again.
func TestSystemWeakHost(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: waits for kernels and for addresses to be found unique")
	}
	t.Parallel()
	ns := tuntest.NewNS(t)
	h := newHost(t)
	c := pvd.Config{Links: []string{"inner", "outer"}, Elements: []pvd.Element{pvd.WeakHost.With(true)}}
	for i, link := range c.Links {
		var l tun.Link
		var err error
		ns.Do(func() { l, err = tun.OpenTAP(tun.TAPConfig{Name: link}) })
		if err != nil {
			t.Fatal(err)
		}
		if err := h.AddLink(link, l); err != nil {
			t.Fatal(err)
		}
		for _, a := range [][]string{{"10.1.0.2/24", "fd01::2/64"}, {"10.2.0.2/24", "fd02::2/64"}}[i] {
			c.Addresses = append(c.Addresses, pvd.Address{Prefix: netip.MustParsePrefix(a), Link: link})
		}
	}
	ns.IP("link", "set", "dev", "outer", "up")
	ns.IP("addr", "add", "10.2.0.9/24", "dev", "outer")
	ns.IP("addr", "add", "fd02::9/64", "dev", "outer", "nodad")
	ns.IP("route", "add", "10.1.0.2/32", "dev", "outer")
	ns.IP("-6", "route", "add", "fd01::2/128", "dev", "outer")
	for _, family := range []string{"ipv4", "ipv6"} {
		// An entry is doubted after half a second, and asked for after one more.
		ns.Sysctl("net."+family+".neigh.outer.base_reachable_time_ms", "500")
		ns.Sysctl("net."+family+".neigh.outer.delay_first_probe_time", "1")
	}
	n := add(t, h, c)
	echo(t, n)
	for _, inner := range []string{"10.1.0.2", "fd01::2"} {
		ns.Exec("ping", "-n", "-c", "6", "-i", "0.7", "-W", "10", inner)
		if state := ns.IP("neigh", "show", "to", inner, "dev", "outer"); !strings.Contains(state, "lladdr") {
			t.Errorf("the kernel has %q", state)
		}
	}
	for dst, want := range map[string]string{"10.2.0.9": "10.1.0.2", "fd02::9": "fd01::2"} {
		here := nodeAt{n, want}
		talk(t, here, nodeAt{kernel{ns}, dst}, want, dst)
	}
}
