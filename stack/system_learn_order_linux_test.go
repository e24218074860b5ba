package stack_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// A leaseStore keeps leases in memory.
type leaseStore struct {
	mu sync.Mutex
	by map[string][]byte
}

func (s *leaseStore) Load(name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[name], nil
}

func (s *leaseStore) Save(name string, lease []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = make(map[string][]byte)
	}
	s.by[name] = lease
	return nil
}

// learnsInAnyOrder leases one address on two links, in either order. Both PvDs
// work, and the later lease changes nothing of the earlier one's PvD. When learning begins
// again the address of before is asked for.
func learnsInAnyOrder(t *testing.T) {
	r := anotherRig(t)
	const fromDnsmasq, fromKea = "DHCPACK", "DHCP4_LEASE_ALLOC"
	type network struct {
		*router
		server *daemon
		acked  string // what the server says when it has leased
	}
	networks := make(map[string]network)
	for _, name := range []string{"a", "d"} {
		g := r.provider(name)
		networks[name] = network{g, dnsmasq(t, g.ns, "--port=0", "--interface=lan", "--dhcp-authoritative",
			"--dhcp-range="+leased+","+leased+",1h"), fromDnsmasq}
	}
	for _, name := range []string{"b", "c"} {
		g := r.provider(name)
		networks[name] = network{g, kea4(t, g.ns, 3600, 1800, 3000), fromKea}
	}
	var store leaseStore
	discovery := stack.Discovery{DHCPv4: true, Leases: &store}
	first := make(map[string]*pvd.Info)
	for _, name := range []string{"a", "c"} { // dnsmasq before kea, and kea before dnsmasq
		r.discover(name, discovery, both[0])
	}
	for _, name := range []string{"a", "c"} {
		networks[name].server.says(networks[name].acked)
	}
	for _, name := range []string{"b", "d"} {
		r.discover(name, discovery, both[0])
	}
	for _, name := range []string{"a", "c"} {
		first[name] = r.info(await(t, r.host, name, pvd.HasAddr4))
	}
	for range 2 { // in turn: what one has done is not to disturb the others
		for name, g := range networks {
			goesBy(t, await(t, r.host, name, pvd.HasAddr4, pvd.HasDefault4), g.router, leased)
		}
	}
	for name, was := range first {
		if is := r.info(r.host.In(was.Ref())); is != was {
			t.Errorf("a lease on another link made version %d of PvD %s into version %d", was.Version(), name, is.Version())
		}
	}
	before := make(map[string]pvd.Ref)
	for name := range networks {
		before[name] = find(r.host, called(name))
		if err := r.host.Discover(name, stack.Discovery{}); err != nil {
			t.Fatal(err)
		}
	}
	if all := r.host.List(); len(all) > 0 {
		t.Errorf("after the end of learning there are\n%s", describe(r.host))
	}
	for name := range networks {
		r.discover(name, discovery)
	}
	for name, g := range networks {
		n := await(t, r.host, name, pvd.HasAddr4, pvd.HasDefault4)
		if n.PvD() == before[name] {
			t.Errorf("%s: another attachment has the Ref of before", name)
		}
		goesBy(t, n, g.router, leased)
		out := g.server.String()
		for _, once := range []string{"DHCPDISCOVER", "DHCP4_LEASE_ADVERT", "DHCP4_LEASE_OFFER"} {
			if strings.Count(out, once) > 1 {
				t.Errorf("%s: what was leased before is looked for anew", name)
			}
		}
		if strings.Count(out, g.acked) != 2 || strings.Contains(out, "RELEASE") {
			t.Errorf("%s: a lease that is kept is given back, or not verified", name)
		}
	}
}
