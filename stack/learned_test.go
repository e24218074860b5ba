package stack

import (
	"errors"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// equals are two PvDs with an equal address on one Ethernet link, told apart by routers
// that answer for themselves.
type equals struct {
	*wire
	a, b       *port
	macs       map[string]mac // of the routers
	cfgA, cfgB pvd.Config
}

func newEquals(t *testing.T) *equals {
	t.Helper()
	e := &equals{wire: newWire(t, tun.Ethernet), macs: map[string]mac{
		"192.168.1.1": {2, 0, 0, 0, 1, 1}, "192.168.1.2": {2, 0, 0, 0, 1, 2}, "192.168.1.3": {2, 0, 0, 0, 1, 3},
	}}
	stations := make(map[netip.Addr]mac)
	for a, m := range e.macs {
		stations[ip(a)] = m
	}
	e.answerARP(stations)
	e.cfgA, e.cfgB = e.config("a", "192.168.1.1"), e.config("b", "192.168.1.2")
	e.a, e.b = e.add(e.cfgA), e.add(e.cfgB)
	e.expect("192.168.1.1", e.a)
	e.expect("192.168.1.2", e.b)
	return e
}

func (e *equals) config(name, router string) pvd.Config {
	return pvd.Config{
		Name: name, Links: []string{"lab"}, Addresses: addresses("192.168.1.9/24"),
		Routes: []pvd.Route{{To: prefix("0.0.0.0/0"), Via: ip(router)}},
	}
}

func (e *equals) update(p *port, c pvd.Config) {
	e.t.Helper()
	if err := e.host.Update(e.t.Context(), p.domain.ref, c); err != nil {
		e.t.Fatal(err)
	}
}

// expect says that a router's station is soon known as p's.
func (e *equals) expect(router string, p *port) {
	e.t.Helper()
	if !eventually(func() bool { return e.link.table.Load().hears(p, e.macs[router]) }) {
		e.t.Errorf("the station of %s is not known as that of %s", router, p.domain.name())
	}
}

// A router that goes from one PvD to the other takes its station along.
func TestRoutersChangePvDs(t *testing.T) {
	e := newEquals(t)
	e.update(e.a, e.config("a", "192.168.1.3"))
	e.expect("192.168.1.3", e.a)
	e.update(e.b, e.config("b", "192.168.1.1"))
	e.expect("192.168.1.1", e.b)
	e.update(e.a, e.config("a", "192.168.1.2"))
	e.expect("192.168.1.2", e.a)
}

// PvDs that have become equal again know their routers, which have long been confirmed.
func TestEqualAddressesReturn(t *testing.T) {
	e := newEquals(t)
	for range 2 {
		other := e.cfgB
		other.Addresses = addresses("192.168.1.10/24")
		e.update(e.b, other)
		e.update(e.b, e.cfgB)
	}
	e.expect("192.168.1.1", e.a)
	e.expect("192.168.1.2", e.b)
}

// A change that is refused in the end leaves what is known of the stations.
func TestRefusedChangeForgetsNoStation(t *testing.T) {
	e := newEquals(t)
	near, far := tun.Pipe(tun.PipeConfig{})
	defer far.Close()
	refused := errors.New("no more addresses")
	if err := e.host.AddLink("full", &fullStation{Link: near, err: refused}); err != nil {
		t.Fatal(err)
	}
	c := e.cfgB
	c.Addresses, c.Links = addresses("192.168.1.10/24"), []string{"lab", "full"}
	if err := e.host.Update(t.Context(), e.b.domain.ref, c); !errors.Is(err, refused) {
		t.Fatal(err)
	}
	table := e.link.table.Load()
	if !table.hears(e.a, e.macs["192.168.1.1"]) || !table.hears(e.b, e.macs["192.168.1.2"]) {
		t.Error("stations are forgotten")
	}
}

// A station that answers for routers of two PvDs is nobody's, until one of them has
// another router.
func TestStationOfTwoRouters(t *testing.T) {
	e := newEquals(t)
	shared := e.macs["192.168.1.1"]
	e.link.learn(e.b, ip("192.168.1.2"), shared)
	for _, p := range []*port{e.a, e.b} {
		if e.link.table.Load().hears(p, shared) {
			t.Errorf("it is %s's", p.domain.name())
		}
	}
	e.link.learn(e.b, ip("192.168.1.2"), e.macs["192.168.1.2"])
	e.expect("192.168.1.1", e.a)
}

// Two pairs of PvDs with an address in common, one of each pair behind the same router: what
// has to be told apart is who shares an address, not who shares a router.
func TestPairsShareRouters(t *testing.T) {
	for _, known := range []bool{true, false} {
		e := &equals{wire: newWire(t, tun.Ethernet), macs: map[string]mac{"192.168.0.1": {2, 0, 0, 0, 1, 1}, "192.168.0.2": {2, 0, 0, 0, 1, 2}}}
		stations := make(map[netip.Addr]mac)
		for a, m := range e.macs {
			stations[ip(a)] = m
		}
		e.answerARP(stations)
		ports := make(map[string]*port)
		for name, at := range map[string][2]string{
			"a": {"192.168.0.9/16", "192.168.0.1"}, "b": {"192.168.0.9/16", "192.168.0.2"},
			"c": {"192.168.0.10/16", "192.168.0.1"}, "d": {"192.168.0.10/16", "192.168.0.2"},
		} {
			c := e.config(name, at[1])
			c.Addresses = addresses(at[0])
			if known {
				m := e.macs[at[1]]
				c.Neighbors = []pvd.Neighbor{{Addr: ip(at[1]), MAC: m[:]}}
			}
			ports[name] = e.add(c)
		}
		for name, router := range map[string]string{"a": "192.168.0.1", "b": "192.168.0.2", "c": "192.168.0.1", "d": "192.168.0.2"} {
			p := ports[name]
			e.expect(router, p)
			own := (*p.domain.plan.Load()).addrs[0].Prefix.Addr()
			packet := udpPacket(addrPort("8.8.8.8:53"), netip.AddrPortFrom(own, 4000), "")
			if v := e.classify(ethFrame(e.macs[router], p.macOf(), ipv4.ProtocolNumber, packet)); v.why != delivered || v.to != p {
				t.Errorf("known %v: from %s's router: %v", known, name, v.why)
			}
			request := arpPacket(header.ARPRequest, e.macs[router], ip(router), own)
			if v := e.classify(ethFrame(e.macs[router], allStations, arp.ProtocolNumber, request)); v.why != delivered || v.to != p {
				t.Errorf("known %v: request of %s's router: %v", known, name, v.why)
			}
		}
	}
}
