package ra_test

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/ra"
)

// FuzzPvDOption decodes an option and, where that succeeds, has encoding and decoding
// give the same again.
func FuzzPvDOption(f *testing.F) {
	f.Add(octets(f, figure2))
	f.Add(octets(f, "15 05 e002 0001 076578616d706c65036f726700 0000000000 86 00 0000 40 00 0258 00000000 00000000"))
	f.Add(octets(f, "15 05 0000 0000 0161 00 00000000000000  15 02 8000 0000 0162 00 00000000000000  05 01 0000 000005dc"))
	f.Add(octets(f, "15 03 0000 0000 016100 00000000000000 c8 00 000000000000"))
	f.Add(octets(f, "15 08 0000 0000 0161 00 00000000000000  90 06 0001 00000e10 0005 0161016200 0010 20010db8000000000000000000000053 0008 00010004 03646f74 0000000000"))
	f.Add(octets(f, "15 04 ffff ffff 0141 015f 00 000000000000 18 02 3c 18 ffffffff 20010db80000fff0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		// The length is made right: a wrong one is FuzzAdvertisement's.
		b = append([]byte{21, 0}, b[min(2, len(b)):]...)
		b = append(b, make([]byte, (8-len(b)%8)%8)...)
		if len(b) > ra.MaxOption {
			return
		}
		b[1] = byte(len(b) / 8)
		a, _, err := ra.ParseAdvertisement(withOctets(t, routerA, b...).Message)
		if err != nil || len(a.Options) == 0 {
			return
		}
		p := packet(t, routerA, a)
		again, faults, err := ra.ParseAdvertisement(p.Message)
		if err != nil || len(faults) > 0 || !reflect.DeepEqual(again, a) {
			t.Errorf("got  %+v\nwant %+v\nfaults %v, error %v", again, a, faults, err)
		}
		third := packet(t, routerA, again)
		if string(third.Message) != string(p.Message) {
			t.Errorf("encoded %x and then %x", p.Message, third.Message)
		}
	})
}

// FuzzAdvertisement feeds an engine advertisements of the form
//
//	router, seconds since the last, length of the options (2), header (16), options
//
// and holds what must be true whatever they say.
func FuzzAdvertisement(f *testing.F) {
	record := func(router, seconds byte, message []byte) []byte {
		b := binary.BigEndian.AppendUint16([]byte{router, seconds}, uint16(len(message)-16))
		return append(b, message...)
	}
	var all []byte
	for i, a := range []ra.Advertisement{
		header(time.Minute, pio(prefix1, time.Hour, time.Minute), ra.MTU(1400), ra.LinkAddress{MAC: macA}),
		header(0, ra.PvDOption{ID: "x.example", Legacy: true, Header: &ra.Header{Lifetime: time.Second}, Options: []ra.Option{
			pio(prefix1, 200*time.Second, 100*time.Second),
			ra.RouteInformation{Prefix: far, Lifetime: time.Minute},
			ra.PREF64{Prefix: nat64, Lifetime: time.Minute},
		}}),
		header(long, ra.RDNSS{Servers: []netip.Addr{server1}, Lifetime: 0}, ra.DNSSL{Domains: []string{"a"}, Lifetime: ra.Infinite}),
		header(0, dot(1, "a.example", routerA), ra.CaptivePortal("https://portal.example/"), pio(prefix1, 0, 0), pio(prefix2, ra.Infinite, ra.Infinite)),
	} {
		b := record(byte(i), 30, packet(f, routerA, a).Message)
		f.Add(b)
		all = append(all, b...)
	}
	f.Add(all)
	f.Add(record(0, 0, octets(f, radvd)))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newWorld(t, func(c *ra.Config) { c.Temporary = true })
		w.LinkUp(0)
		for len(b) >= 20 {
			n := min(20+int(binary.BigEndian.Uint16(b[2:])), len(b))
			p := ra.Packet{
				Src: number("fe80::", int(b[0])), Dst: ra.AllNodes, HopLimit: 255,
				Message: append([]byte{134, 0, 0, 0}, b[8:n]...),
			}
			w.run(time.Duration(b[1]) * time.Second)
			err := w.Receive(w.now, resum(p))
			if err != nil && !invalid(err) {
				t.Fatal(err)
			}
			checkSnapshot(t, w)
			b = b[n:]
		}
		w.run(3 * time.Hour)
		checkSnapshot(t, w)
	})
}

// checkSnapshot holds that nothing that has ended is listed, and nothing beyond a limit.
func checkSnapshot(t *testing.T, w *world) {
	t.Helper()
	s := w.Snapshot()
	var routers, prefixes, routes, servers, search, nat64s, resolvers int
	seen := map[ra.Key]bool{}
	for _, p := range s.PvDs {
		if seen[p.Key] || p.Until <= w.now || p.Key.Explicit() != (p.Option != nil) || len(p.Routers) == 0 {
			t.Fatalf("PvD %+v", p)
		}
		seen[p.Key] = true
		for _, x := range p.Prefixes {
			if x.OnLink != 0 && x.OnLink <= w.now || x.OnLink == 0 && x.Valid <= w.now {
				t.Fatalf("at %v prefix %+v", w.now, x)
			}
		}
		for _, x := range p.Addresses {
			if x.Valid <= w.now || x.Preferred > x.Valid || x.Deprecated != (x.Preferred <= w.now) {
				t.Fatalf("at %v address %+v", w.now, x)
			}
		}
		for _, x := range p.Routes {
			if x.Until <= w.now {
				t.Fatalf("at %v route %+v", w.now, x)
			}
		}
		if p.MTU != 0 && (p.MTU < ra.MinMTU || p.MTU > 1500) || p.HopLimit != 0 && p.HopLimit < ra.MinHopLimit {
			t.Fatalf("PvD %+v", p)
		}
		routers += len(p.Routers)
		prefixes += len(p.Prefixes)
		routes += len(p.Routes)
		servers += len(p.Servers)
		search += len(p.Search)
		nat64s += len(p.NAT64)
		resolvers += len(p.Resolvers)
	}
	if len(s.PvDs) > ra.MaxPvDs || routers > ra.MaxRouters || prefixes > ra.MaxPrefixes || routes > ra.MaxRoutes+routers ||
		servers > ra.MaxServers || search > ra.MaxSearch || nat64s > ra.MaxNAT64 || resolvers > ra.MaxResolvers {
		t.Fatalf("%d PvDs, %d routers, %d prefixes, %d routes, %d servers, %d domains, %d NAT64, %d resolvers",
			len(s.PvDs), routers, prefixes, routes, servers, search, nat64s, resolvers)
	}
	if list, _ := w.Rejections(); len(list) > ra.MaxRejections {
		t.Fatalf("%d rejections", len(list))
	}
}
