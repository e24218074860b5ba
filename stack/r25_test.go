package stack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdtest"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// A dnsWatch sees what a host sends to port 53 on a link, and knows the routers by what they
// say in ARP and neighbour advertisements.
type dnsWatch struct {
	mu       sync.Mutex
	stations map[netip.Addr][6]byte
	sent     []dnsPacket
}

// A dnsPacket is what there is to know of one.
type dnsPacket struct {
	link     string
	to       [6]byte // the next hop
	src, dst netip.Addr
	name     string // of the question, in lower case; empty where there is none in the packet
}

// observe is shown what passes a link.
func (w *dnsWatch) observe(link string) func(tun.Direction, [][]byte, tun.Meta) {
	return func(dir tun.Direction, bufs [][]byte, _ tun.Meta) {
		var b []byte
		for _, buf := range bufs {
			b = append(b, buf...)
		}
		f := tun.NewFrame(b, tun.Ethernet)
		w.mu.Lock()
		defer w.mu.Unlock()
		if dir == tun.In {
			w.learn(f)
			return
		}
		if proto, ok := f.Protocol(); !ok || proto != 6 && proto != 17 || !tun.Port(53)(f) {
			return
		}
		p := dnsPacket{link: link, to: [6]byte(b), src: f.Src(), dst: f.Dst()}
		if at := strings.Index(string(b), "\x04test\x00"); at > 0 {
			// The label before the last one: one letter for its length, and what is of the PvD.
			p.name = strings.ToLower(string(b[at-5 : at]))
		}
		w.sent = append(w.sent, p)
	}
}

// learn takes note of who has an address.
func (w *dnsWatch) learn(f tun.Frame) {
	b := f.Bytes()
	switch proto, _ := f.Protocol(); {
	case f.EtherType() == 0x0806 && len(b) >= 42:
		w.stations[netip.AddrFrom4([4]byte(b[28:32]))] = [6]byte(b[22:28])
	case f.EtherType() == 0x86dd && proto == 58 && len(b) >= 86 && b[54] == 136:
		w.stations[netip.AddrFrom16([16]byte(b[62:78]))] = [6]byte(b[80:86])
	}
}

// TestR25_DNSOfAPvDStaysInIt has two PvDs on one link with the same name servers by address,
// each behind a router of its own, and a third PvD elsewhere that knows the same ones. Names
// are looked up in all at once, found, denied and truncated ones; each packet to a name
// server has a source of the PvD that the name was looked up in, and its router as the next
// hop.
func TestR25_DNSOfAPvDStaysInIt(t *testing.T) {
	pvdtest.SealHost(t)
	const (
		server4, server6 = "198.51.100.53", "2001:db8:ff::53"
		lookups          = 60 // of each kind in each PvD
	)
	lab := pvdtest.New(t)
	w := &dnsWatch{stations: make(map[netip.Addr][6]byte)}
	h := newHost(t)
	nets := make(map[string]*stack.Network)
	routers := make(map[string][]string)
	sources := make(map[string][]string)
	shared := lab.LAN("shared", "10.0.0.0/24", "2001:db8:1::/64")
	elsewhere := lab.LAN("elsewhere", "10.0.0.0/24", "2001:db8:1::/64")
	idle := lab.LAN("idle", "10.0.0.0/24")
	for _, lan := range []*pvdtest.LAN{shared, elsewhere, idle} {
		far, near := tun.Pipe(tun.PipeConfig{Names: [2]string{lan.Name(), lan.Name() + " (switch)"}})
		lan.Attach(near)
		if err := h.AddLink(lan.Name(), tun.Tap(far, w.observe(lan.Name()))); err != nil {
			t.Fatal(err)
		}
	}
	for i, at := range []*pvdtest.LAN{shared, shared, elsewhere} {
		name := fmt.Sprintf("pvd%c", 'a'+i)
		internet := lab.LAN("net"+name, "198.51.100.0/24", "2001:db8:ff::/64")
		zone := make(pvdtest.Zone)
		for k := range lookups {
			zone[fmt.Sprintf("n%d.%s.test", k, name)] = fmt.Sprintf("192.0.2.%d", i+1)
			zone[fmt.Sprintf("n%d.both.test", k)] = fmt.Sprintf("192.0.2.%d", i+1)
		}
		internet.BadDNS(server4+" "+server6, zone, pvdtest.DNSFault{Type: wire.TypeAAAA, Do: pvdtest.Truncation})
		routers[name] = []string{fmt.Sprintf("10.0.0.%d", i+1), fmt.Sprintf("2001:db8:1::%d", i+1)}
		sources[name] = []string{fmt.Sprintf("10.0.0.1%d", i+1), fmt.Sprintf("2001:db8:1::1%d", i+1)}
		at.Reserve(strings.Join(sources[name], " "))
		at.Router(strings.Join(routers[name], " "), pvdtest.Uplink{LAN: internet, Addrs: "198.51.100.1 2001:db8:ff::1"})
		c := config(at.Name(), sources[name][0]+"/24", sources[name][1]+"/64")
		c.Name, c.Routes = name, nil
		for _, r := range routers[name] {
			to := "0.0.0.0/0"
			if strings.Contains(r, ":") {
				to = "::/0"
			}
			c.Routes = append(c.Routes, pvd.Route{To: netip.MustParsePrefix(to), Via: netip.MustParseAddr(r)})
		}
		c.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort(server4 + ":53"), netip.MustParseAddrPort("[" + server6 + "]:53")}
		if i == 1 {
			c.DNS.Servers[0], c.DNS.Servers[1] = c.DNS.Servers[1], c.DNS.Servers[0]
		}
		ref, err := h.Add(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		nets[name] = h.In(ref)
	}
	none := add(t, h, config("idle", "10.0.0.9/24"))
	for _, n := range nets {
		if err := h.WaitReady(t.Context(), n.PvD()); err != nil {
			t.Fatal(err)
		}
	}

	var wg sync.WaitGroup
	for name, n := range nets {
		want := netip.AddrFrom4([4]byte{192, 0, 2, name[3] - 'a' + 1})
		for k := range lookups {
			wg.Go(func() { lookAll(t.Context(), t, n, name, k, want) })
		}
	}
	wg.Go(func() {
		for range lookups {
			if _, err := none.LookupHost(t.Context(), "n1.both.test"); err == nil || !strings.Contains(err.Error(), "no DNS server") {
				t.Errorf("a PvD without name servers: %v", err)
			}
		}
	})
	wg.Wait()

	w.mu.Lock()
	defer w.mu.Unlock()
	of := make(map[string]int)    // packets of each PvD
	named := make(map[string]int) // of these, those with its name in them
	for _, p := range w.sent {
		owner := ""
		for name, own := range sources {
			for i, s := range own {
				if p.src.String() != s || (p.link == "elsewhere") != (name == "pvdc") {
					continue
				}
				owner = name
				if want, ok := w.stations[netip.MustParseAddr(routers[name][i])]; !ok || p.to != want {
					t.Errorf("%+v: next hop %x, want %x", p, p.to, want)
				}
			}
		}
		of[owner]++
		if p.name == "\x04"+owner {
			named[owner]++
		}
		switch {
		case owner == "":
			t.Errorf("%+v is nobody's", p)
		case strings.HasPrefix(p.name, "\x04pvd") && p.name != "\x04"+owner:
			t.Errorf("%+v is of another PvD than %s", p, owner)
		case p.dst.String() != server4 && p.dst.String() != server6:
			t.Errorf("%+v goes to no name server", p)
		}
	}
	for name := range nets {
		if of[name] < 6*lookups || named[name] < 2*lookups {
			t.Errorf("%d packets of %s, %d with its name", of[name], name, named[name])
		}
	}
}

// lookAll looks up names in the PvD of that name.
func lookAll(ctx context.Context, t *testing.T, n *stack.Network, name string, k int, want netip.Addr) {
	t.Helper()
	for _, host := range []string{fmt.Sprintf("n%d.%s.test", k, name), fmt.Sprintf("n%d.both.test", k)} {
		addrs, err := n.LookupNetIP(ctx, "ip", host)
		if err != nil || len(addrs) != 1 || addrs[0] != want {
			t.Errorf("%s in %s: %v, %v", host, name, addrs, err)
		}
	}
	// What is denied in one is denied there only, also the second time.
	for range 2 {
		_, err := n.LookupNetIP(ctx, "ip", fmt.Sprintf("no%d.%s.test", k, name))
		if de := (*net.DNSError)(nil); !errors.As(err, &de) || !de.IsNotFound {
			t.Errorf("a name that there is not: %v", err)
		}
	}
}
