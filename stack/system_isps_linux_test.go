package stack_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// Two providers use the same prefixes, and both gave us the same addresses. Each has a
// router and name server, and a web server at an address that the other one has too.
const (
	ispPrefix4, ispPrefix6 = "192.168.1.0/24", "fd00:1::/64"
	ispRouter4, ispRouter6 = "192.168.1.1", "fd00:1::1"
	ispWeb4, ispWeb6       = "192.168.1.80", "fd00:1::80"
	ispOwn4, ispOwn6       = "192.168.1.2/24", "fd00:1::2/64"
)

// An isp is a provider: a namespace that a link leads to.
type isp struct {
	name  string
	names *nameServer
	web   *webServer
}

// newISP makes the provider at the other end of a new link of the same name.
func (r *rig) newISP(name, kind string) *isp {
	r.t.Helper()
	ns := tuntest.NewNS(r.t)
	r.wire(name, kind, ns, "lan", 1500)
	addrs(ns, "lan", ispRouter4+"/24", ispRouter6+"/64", ispWeb4+"/24", ispWeb6+"/64")
	return &isp{
		name:  name,
		names: serveNames(r.t, ns, []string{ispRouter4}, "wiki,"+ispWeb4+","+ispWeb6, "only-"+name+","+ispWeb4),
		web:   serveWeb(r.t, ns, name, ispWeb4, ispWeb6),
	}
}

func (i *isp) config() pvd.Config {
	return pvd.Config{
		Name: i.name, Links: []string{i.name},
		Addresses: []pvd.Address{{Prefix: netip.MustParsePrefix(ispOwn4)}, {Prefix: netip.MustParsePrefix(ispOwn6)}},
		Routes: []pvd.Route{
			{To: netip.MustParsePrefix("0.0.0.0/0"), Via: mustAddr(ispRouter4)},
			{To: netip.MustParsePrefix("::/0"), Via: mustAddr(ispRouter6)},
		},
		DNS: pvd.DNS{Servers: []netip.AddrPort{netip.AddrPortFrom(mustAddr(ispRouter4), 53)}},
	}
}

// TestSystemTwoISPs asks two providers, whose networks are the same but for what is in
// them, for the same addresses and the same names.
func TestSystemTwoISPs(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t)
			isps := []*isp{r.newISP("corp", kind), r.newISP("home", kind)}
			networks := r.add(isps[0].config(), isps[1].config())
			for range 2 { // in turn: what is learned in one is not used in the other
				for i, isp := range isps {
					socks := serveSOCKS(t, networks[i])
					for _, host := range []string{ispWeb4, "[" + ispWeb6 + "]", "wiki", "only-" + isp.name} {
						url := fmt.Sprintf("http://%s/", host)
						if page := get(t, networks[i], url); page != isp.name {
							t.Errorf("%s from Go in %s is of %q", url, isp.name, page)
						}
						if page := curl(t, socks, url); page != isp.name {
							t.Errorf("%s from curl in %s is of %q", url, isp.name, page)
						}
					}
				}
			}
			for _, isp := range isps {
				if want := []string{"only-" + isp.name, "wiki"}; !slices.Equal(isp.names.asked(), want) {
					t.Errorf("the name server of %s was asked for %q, want %q", isp.name, isp.names.asked(), want)
				}
				want := []string{ispWeb4, "[" + ispWeb6 + "]", "only-" + isp.name, "wiki"}
				if got := isp.web.asked(); !slices.Equal(got, want) {
					t.Errorf("the web server of %s was asked for %q, want %q", isp.name, got, want)
				}
			}
		})
	}
}
