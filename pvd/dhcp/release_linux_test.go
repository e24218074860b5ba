package dhcp_test

import (
	"path/filepath"
	"testing"

	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// single are servers with one address to lease, which tell clients apart by their identifiers.
var single = map[string]func(*testing.T, *tuntest.NS){
	"dnsmasq": func(t *testing.T, ns *tuntest.NS) {
		serve(t, "started, version", ns.Command("dnsmasq", "--no-daemon", "--user=root", "--port=0", "--log-dhcp", "--interface=lan",
			"--dhcp-authoritative", "--no-ping", "--dhcp-range=192.0.2.100,192.0.2.100,255.255.255.0,1h",
			"--conf-file="+file(t, "dnsmasq.conf", ""), "--dhcp-leasefile="+filepath.Join(t.TempDir(), "leases")))
	},
	"kea": func(t *testing.T, ns *tuntest.NS) {
		kea(t, ns, "4", `"subnet4": [{"id": 1, "subnet": "192.0.2.0/24", "pools": [{"pool": "192.0.2.100 - 192.0.2.100"}]}]`)
	},
}

// TestReleaseWhileProbing gives the only address back before it is in use: another client has
// it then.
func TestReleaseWhileProbing(t *testing.T) {
	for name, start := range single {
		t.Run(name, func(t *testing.T) {
			p, ns := newPump(t)
			start(t, ns)
			client := func(id byte) client4 {
				m, err := dhcp4.New(dhcp4.Config{HardwareAddr: clientMAC, ClientID: []byte{255, 0, 0, 0, 1, 0, 4, 1, id}})
				if err != nil {
					t.Fatal(err)
				}
				c := client4{m}
				c.LinkUp(p.now)
				p.until(c, "probing", func() bool { return c.Tentative() != nil })
				return c
			}
			c := client(1)
			leased := c.Tentative().Addr
			c.Release(p.now)
			p.until(c, "released", func() bool { s, _ := c.State(); return s == dhcp4.Released })
			if again := client(2).Tentative().Addr; again != leased {
				t.Errorf("leased %v, then %v", leased, again)
			}
		})
	}
}
