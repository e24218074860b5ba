package tuntest_test

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/tun/tuntest"
)

func TestNamespacesAreApartAndJoined(t *testing.T) {
	a, b := tuntest.NewNS(t), tuntest.NewNS(t)
	tuntest.Veth(a, "wan", b, "lan")
	a.IP("addr", "add", "192.0.2.1/24", "dev", "wan")
	b.IP("addr", "add", "192.0.2.2/24", "dev", "lan")
	if got := b.IP("-br", "link", "show", "lan"); !strings.Contains(got, "UP") {
		t.Errorf("lan is not up: %q", got)
	}

	// The same address can be listened on in both, and a connection goes across.
	var la, lb net.Listener
	a.Do(func() { la = listen(t, "192.0.2.1:7") })
	b.Do(func() { lb = listen(t, "192.0.2.2:7") })
	defer la.Close()
	defer lb.Close()
	b.Do(func() {
		c, err := net.Dial("tcp", "192.0.2.1:7")
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
	if _, err := net.InterfaceByName("lan"); err == nil {
		t.Error("interface lan exists outside of its namespace: Do did not go back")
	}
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestNamespaceSettings(t *testing.T) {
	ns := tuntest.NewNS(t)
	ns.Sysctl("net.ipv4.ip_forward", "1")
	if got := strings.TrimSpace(ns.Exec("cat", "/proc/sys/net/ipv4/ip_forward")); got != "1" {
		t.Errorf("ip_forward is %q in the namespace, want 1", got)
	}
	if got := strings.TrimSpace(ns.Exec("cat", "/proc/sys/net/ipv4/tcp_congestion_control")); got != "cubic" {
		t.Errorf("congestion control is %q, want cubic", got)
	}
	ns.Do(func() {
		ifi, err := net.InterfaceByName("lo")
		if err != nil || ifi.Flags&net.FlagUp == 0 {
			t.Errorf("lo: %+v, %v, want it up", ifi, err)
		}
	})
	ns.IP("link", "add", "p0", "type", "veth", "peer", "name", "p1")
	ns.Bridge("br0", "p0")
	if got := ns.IP("-d", "link", "show", "p0"); !strings.Contains(got, "master br0") {
		t.Errorf("p0 is no port of br0: %s", got)
	}
}

func TestNamespaceEndsWithTest(t *testing.T) {
	var name string
	t.Run("inner", func(t *testing.T) { name = tuntest.NewNS(t).Name })
	if name == "" {
		t.Skip("needs root: makes network namespaces")
	}
	if _, err := os.Stat("/run/netns/" + name); err == nil {
		t.Errorf("namespace %s is left", name)
	}
}
