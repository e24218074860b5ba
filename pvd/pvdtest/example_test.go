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
