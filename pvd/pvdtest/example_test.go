package pvdtest_test

import (
	"fmt"
	"os"

	"github.com/pvdstack/pvdstack/pvd/pvdtest"
)

// Two networks, one private prefix, the same addresses in each: one process is in both,
// and a name or an address leads where the PvD says.
func Example() {
	pvdtest.Main("example", os.Stdout, func(tb pvdtest.TB) {
		lab := pvdtest.New(tb)
		for _, name := range []string{"corp", "home"} {
			lan := lab.LAN(name, "192.168.1.0/24")
			lan.Router("192.168.1.1")
			lan.DNS("192.168.1.53", pvdtest.Zone{"wiki": "192.168.1.80"})
			lan.Web("192.168.1.80", "the wiki of "+name)
		}
		h := lab.Host("corp", "home")
		for _, name := range []string{"corp", "home"} {
			network := h.Await(name)
			fmt.Println(pvdtest.Get(tb, network, "http://wiki/").Body)
			fmt.Println(pvdtest.Get(tb, network, "http://192.168.1.80/").Body)
		}
		lab.AssertIsolated()
	})
	// Output:
	// the wiki of corp
	// the wiki of corp
	// the wiki of home
	// the wiki of home
}

// Two networks that say which PvD they are: the host learns of them by router
// advertisements with the PvD option (RFC 8801), needs no configuration and no root, and has
// each under its name.
func Example_explicit() {
	pvdtest.Main("explicit", os.Stdout, func(tb pvdtest.TB) {
		lab := pvdtest.New(tb)
		for _, name := range []string{"corp", "home"} {
			lan := lab.LAN(name, "2001:db8:1::/64")
			lan.DNS("2001:db8:1::53", pvdtest.Zone{"wiki": "2001:db8:1::80"})
			lan.Web("2001:db8:1::80", "the wiki of "+name)
			lan.Router("2001:db8:1::1", pvdtest.RA{PvD: name + ".example"})
		}
		h := lab.Host()
		h.Discover("corp", "home")
		for _, id := range []string{"corp.example", "home.example"} {
			fmt.Println(pvdtest.Get(tb, h.Await(id), "http://wiki/").Body)
		}
		lab.AssertIsolated()
	})
	// Output:
	// the wiki of corp
	// the wiki of home
}

// A network without IPv4: its name servers and its router lead to the web servers of an
// internet without IPv6.
func Example_nat64() {
	pvdtest.Main("nat64", os.Stdout, func(tb pvdtest.TB) {
		lab := pvdtest.New(tb)
		internet := lab.LAN("internet", "198.51.100.0/24")
		internet.Web("198.51.100.80", "the old internet")

		lan := lab.LAN("six", "2001:db8:6::/64")
		lan.DNS("2001:db8:6::53", pvdtest.Zone{"www.example.net": "198.51.100.80"})
		lan.DNS64(pvdtest.NAT64{})
		lan.Router("2001:db8:6::1",
			pvdtest.Uplink{LAN: internet, Addrs: "198.51.100.6"}, pvdtest.NAT64{},
			pvdtest.RA{PvD: "six.example"})

		h := lab.Host()
		h.Discover("six")
		fmt.Println(pvdtest.Get(tb, h.Await("six.example"), "http://www.example.net/").Body)
		lab.AssertIsolated()
	})
	// Output:
	// the old internet
}
