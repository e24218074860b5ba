package pvd_test

import (
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

func valid() pvd.Config {
	return pvd.Config{
		ID: "corp.example.com", Name: "corp", Links: []string{"lan", "wan"},
		Addresses: []pvd.Address{
			{Prefix: netip.MustParsePrefix("192.168.1.2/24")},
			{Prefix: netip.MustParsePrefix("2001:db8::2/64"), Link: "wan"},
		},
		Routes: []pvd.Route{
			{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.168.1.1")},
			{To: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fe80::1%wan")},
			{To: netip.MustParsePrefix("10.0.0.0/8"), Link: "lan"},
			{To: netip.MustParsePrefix("172.16.0.0/12"), Via: netip.MustParseAddr("10.0.0.1")},
		},
		Neighbors: []pvd.Neighbor{{Addr: netip.MustParseAddr("192.168.1.1"), MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}}},
		DNS: pvd.DNS{
			Servers: []netip.AddrPort{netip.MustParseAddrPort("192.168.1.53:53"), netip.MustParseAddrPort("[fe80::53%wan]:53")},
			Search:  []string{"corp.example.com", "example.com."},
		},
		Elements: []pvd.Element{pvd.Metered.With(true), pvd.Groups.With([]string{"office"})},
		MTU:      1400,
	}
}

var unset = pvd.NewKey[error]("unset", nil)

func TestValidate(t *testing.T) {
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	shared := valid()
	shared.Addresses[0].Shared = true
	if err := shared.Validate(); err != nil {
		t.Errorf("a shared IPv4 address: %v", err)
	}
	address := func(s string) func(*pvd.Config) {
		return func(c *pvd.Config) { c.Addresses[0].Prefix = netip.MustParsePrefix(s) }
	}
	route := func(r pvd.Route) func(*pvd.Config) {
		return func(c *pvd.Config) { c.Routes = []pvd.Route{r} }
	}
	to := netip.MustParsePrefix
	via := netip.MustParseAddr
	for _, tt := range []struct {
		name  string
		spoil func(*pvd.Config)
		want  string
	}{
		{"id", func(c *pvd.Config) { c.ID = "Corp." }, "id: "},
		{"id with space", func(c *pvd.Config) { c.ID = "a b" }, "octet"},
		{"name", func(c *pvd.Config) { c.Name = strings.Repeat("x", pvd.MaxName+1) }, "name: longer"},
		{"no link", func(c *pvd.Config) { c.Links = nil }, "at least one link"},
		{"link twice", func(c *pvd.Config) { c.Links = []string{"lan", "wan", "lan"} }, `"lan" stands twice`},
		{"too many links", func(c *pvd.Config) {
			for i := range pvd.MaxLinks {
				c.Links = append(c.Links, fmt.Sprint(i))
			}
		}, "the limit is 64"},
		{"no prefix", func(c *pvd.Config) { c.Addresses[0].Prefix = netip.Prefix{} }, "addresses[0]: not a valid prefix"},
		{"unspecified", address("0.0.0.0/0"), "addresses[0]: "},
		{"loopback", address("127.0.0.1/8"), "not a unicast"},
		{"this network", address("0.1.2.3/8"), "not a unicast"},
		{"multicast", address("ff02::1/64"), "not a unicast"},
		{"broadcast", address("192.168.1.255/24"), "broadcast"},
		{"network", address("192.168.1.0/24"), "network"},
		{"mapped", address("::ffff:192.168.1.2/120"), "write 192.168.1.2"},
		{"shared IPv6", func(c *pvd.Config) { c.Addresses[1].Shared = true }, "addresses[1]: 2001:db8::2 can not be shared: PvDs share DHCPv4 leases"},
		{"address twice", func(c *pvd.Config) { c.Addresses = append(c.Addresses, c.Addresses[0]) }, "stands twice"},
		{"address on a missing link", func(c *pvd.Config) { c.Addresses[0].Link = "lna" }, `"lna" is not one of`},
		{"too many addresses", func(c *pvd.Config) { c.Addresses = make([]pvd.Address, pvd.MaxAddresses+1) }, "addresses: 4097"},
		{"route to nothing", route(pvd.Route{}), "routes[0]: to: "},
		{"route with host bits", route(pvd.Route{To: to("10.1.2.3/8")}), "write 10.0.0.0/8"},
		{"route to multicast", route(pvd.Route{To: to("ff00::/8")}), "multicast"},
		{"route to loopback", route(pvd.Route{To: to("127.0.0.0/8")}), "never leaves"},
		{"route to this network", route(pvd.Route{To: to("0.0.0.0/8")}), "never leaves"},
		{"router of the other family", route(pvd.Route{To: to("::/0"), Via: via("192.168.1.1")}), "family"},
		{"router off the link", route(pvd.Route{To: to("0.0.0.0/0"), Via: via("192.168.2.1")}), "on no prefix"},
		{"router is us", route(pvd.Route{To: to("0.0.0.0/0"), Via: via("192.168.1.2")}), "own address"},
		{"router on a missing link", route(pvd.Route{To: to("::/0"), Via: via("fe80::1%lna")}), `"lna"`},
		{"router on two links", route(pvd.Route{To: to("::/0"), Via: via("fe80::1%wan"), Link: "lan"}), `zone "wan"`},
		{"from of the other family", route(pvd.Route{To: to("0.0.0.0/0"), Via: via("192.168.1.1"), From: to("2001:db8::/64")}), "from: "},
		{"preference", route(pvd.Route{To: to("0.0.0.0/0"), Via: via("192.168.1.1"), Preference: 2}), "preference"},
		{"too many routes", func(c *pvd.Config) { c.Routes = make([]pvd.Route, pvd.MaxRoutes+1) }, "routes: 1048577"},
		{"neighbour without MAC", func(c *pvd.Config) { c.Neighbors[0].MAC = nil }, "0 octets"},
		{"neighbour with a group's MAC", func(c *pvd.Config) { c.Neighbors[0].MAC[0] = 1 }, "group"},
		{"neighbour without address", func(c *pvd.Config) { c.Neighbors[0].Addr = netip.Addr{} }, "neighbors[0]"},
		{"neighbour twice", func(c *pvd.Config) { c.Neighbors = append(c.Neighbors, c.Neighbors[0]) }, "neighbors[1]: 192.168.1.1 stands twice"},
		{"neighbour with a zone", func(c *pvd.Config) { c.Neighbors[0].Addr = via("fe80::1%wan") }, "zone"},
		{"neighbour in IPv6 form", func(c *pvd.Config) { c.Neighbors[0].Addr = via("::ffff:192.168.1.1") }, "write 192.168.1.1"},
		{"too many neighbours", func(c *pvd.Config) { c.Neighbors = make([]pvd.Neighbor, pvd.MaxNeighbors+1) }, "neighbors: 4097"},
		{"server without port", func(c *pvd.Config) { c.DNS.Servers[0] = netip.AddrPortFrom(via("192.168.1.53"), 0) }, "no port"},
		{"server unspecified", func(c *pvd.Config) { c.DNS.Servers[0] = netip.MustParseAddrPort("0.0.0.0:53") }, "servers[0]"},
		{"server on a missing link", func(c *pvd.Config) { c.DNS.Servers[1] = netip.MustParseAddrPort("[fe80::1%lna]:53") }, `"lna"`},
		{"too many servers", func(c *pvd.Config) { c.DNS.Servers = make([]netip.AddrPort, pvd.MaxDNSServers+1) }, "servers: 65"},
		{"search", func(c *pvd.Config) { c.DNS.Search[0] = "a..b" }, "empty label"},
		{"too many to search", func(c *pvd.Config) { c.DNS.Search = make([]string, pvd.MaxSearch+1) }, "search: 65"},
		{"element without key", func(c *pvd.Config) { c.Elements[1] = pvd.Element{} }, "elements[1]: it has no key"},
		{"element without value", func(c *pvd.Config) { c.Elements[1] = unset.With(nil) }, `"unset" has no value`},
		{"element twice", func(c *pvd.Config) { c.Elements = append(c.Elements, pvd.Metered.With(false)) }, `elements[2]: "metered" stands twice`},
		{"element of a field", func(c *pvd.Config) { c.Elements[0] = pvd.MTU.With(1280) }, `elements[0]: a field of its own stands for "mtu"`},
		{"element of another field", func(c *pvd.Config) { c.Elements[0] = pvd.Addresses.With(nil) }, `elements[0]: a field of its own stands for "addresses"`},
		{"too many elements", func(c *pvd.Config) { c.Elements = make([]pvd.Element, pvd.MaxElements+1) }, "elements: 257"},
		{"MTU below IPv6's", func(c *pvd.Config) { c.MTU = 1279 }, "mtu: 1279"},
		{"MTU below IPv6's for a route", func(c *pvd.Config) {
			c.MTU, c.Addresses = 1279, c.Addresses[:1]
		}, "mtu: 1279"},
		{"MTU above all", func(c *pvd.Config) { c.MTU = 65536 }, "mtu: 65536"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := valid()
			tt.spoil(&c)
			err := c.Validate()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// Every field of a Config is copied, and reaches the description.
func TestConfigFields(t *testing.T) {
	c := valid()
	for i := range reflect.TypeFor[pvd.Config]().NumField() {
		if reflect.ValueOf(c).Field(i).IsZero() {
			t.Errorf("the test does not set %s", reflect.TypeFor[pvd.Config]().Field(i).Name)
		}
	}
	d := c.Clone()
	if !reflect.DeepEqual(c, d) {
		t.Errorf("clone differs: %+v", d)
	}
	d.Links[0], d.Addresses[0].Link, d.Routes[0].Metric, d.DNS.Search[0] = "x", "x", 99, "x"
	d.Neighbors[0].MAC[5] = 99
	d.DNS.Servers[0] = netip.AddrPort{}
	d.Elements[0] = pvd.Element{}
	if !reflect.DeepEqual(c, valid()) {
		t.Error("the clone shares memory with its original")
	}
}
