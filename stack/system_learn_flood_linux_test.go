package stack_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// floodLife is the lifetime of what is advertised in the flood.
const floodLife = 3 * time.Second

// floodFrame is the i-th advertisement of the flood, of which no two have a router, a
// prefix, a PvD or a server in common.
func floodFrame(i uint32) ([]byte, error) {
	src := [16]byte{0xfe, 0x80, 8: 0xf1}
	binary.BigEndian.PutUint32(src[12:], i)
	prefix := [16]byte{0x20, 0x01, 0x0d, 0xb8, 0xf0}
	binary.BigEndian.PutUint16(prefix[5:], uint16(i>>8))
	prefix[7] = byte(i)
	p := ra.PrefixInformation{Prefix: netip.PrefixFrom(netip.AddrFrom16(prefix), 64), OnLink: true, Autonomous: true, Valid: floodLife, Preferred: floodLife}
	prefix[15] = 1
	a := ra.Advertisement{
		Header:  ra.Header{Lifetime: floodLife},
		Options: []ra.Option{p, ra.RDNSS{Servers: []netip.Addr{netip.AddrFrom16(prefix)}, Lifetime: floodLife}},
	}
	if i%2 == 0 {
		a.Options = append(a.Options, ra.PvDOption{ID: pvd.ID(fmt.Sprintf("pvd%d.example", i))})
	}
	from := netip.AddrFrom16(src)
	message, err := a.Append(nil, from, ra.AllNodes)
	if err != nil {
		return nil, err
	}
	f := []byte{0x33, 0x33, 0, 0, 0, 1, 2, 0xf1}
	f = binary.BigEndian.AppendUint32(f, i)
	f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(len(message)))
	f = append(f, protoICMPv6, 255)
	f = append(append(f, from.AsSlice()...), ra.AllNodes.AsSlice()...)
	return append(f, message...), nil
}

// flood sends so many different advertisements in each second, for as long as it is said,
// and returns how many that were.
func flood(l tun.Link, rate int, d time.Duration) (sent uint32, err error) {
	const pause = 5 * time.Millisecond
	for begin := time.Now(); time.Since(begin) < d; time.Sleep(pause) {
		for due := uint32(time.Since(begin).Seconds() * float64(rate)); sent < due && time.Since(begin) < d; sent++ {
			f, err := floodFrame(sent)
			if err != nil {
				return sent, err
			}
			if err := l.Send([][]byte{f}, tun.Meta{}); err != nil {
				return sent, err
			}
		}
	}
	return sent, nil
}

// TestSystemLearnsInFlood floods a link with advertisements. Memory and goroutines stay what
// the limits make of them, the PvD of the router that was there first works on, other links'
// PvDs stay as they are, and in the end there is what there was before.
func TestSystemLearnsInFlood(t *testing.T) {
	const rate, lasts = 10_000, 10 * time.Second
	r := newRig(t)
	w := r.witnesses(false)
	lan, box := tuntest.NewNS(t), tuntest.NewNS(t)
	r.wire("wire", kindPacket, lan, "p0", 1500)
	g := newRouter(t, "a", lan, "pa", "2001:db8:a::1/64", "fe80::a/64")
	injector := openPacket(t, box, "flood", lan, "pf", 1500)
	t.Cleanup(func() { _ = injector.Close() })
	lan.Bridge("br0", "p0", "pa", "pf")
	for _, at := range []struct { // kernels that are only passed are not to have the trouble
		ns  *tuntest.NS
		dev string
	}{{lan, "br0"}, {lan, "pf"}, {lan, "p0"}, {lan, "pa"}, {r.box, "wire"}, {box, "flood"}} {
		at.ns.Sysctl("net.ipv6.conf."+at.dev+".disable_ipv6", "1")
	}
	g.ns.Sysctl("net.ipv6.conf.all.forwarding", "1")
	g.ns.Sysctl("net.ipv6.conf.eth0.accept_ra", "0")
	for _, port := range []string{"pa", "pf"} { // nor radvd
		lan.IP("link", "set", "dev", port, "type", "bridge_slave", "isolated", "on")
	}
	radvd(t, g.ns, advertise("fe80::a", "AdvDefaultLifetime 1800; prefix 2001:db8:a::/64 {};"))
	r.discover("wire", stack.Discovery{RA: true}, "2001:db8:a::/64", "2001:db8:f000::/40")
	n := awaitOne(t, r.host, "PvD of fe80::a", from("wire", "fe80::a"), pvd.HasAddr6, pvd.HasDefault6, pvd.Settled)
	w.look()
	r.watches["wire"].mu.Lock()
	r.watches["wire"].learned.deaf = true // it is the host's memory that is measured
	r.watches["wire"].mu.Unlock()
	routes, _ := pvd.Routes.Get(r.info(n))
	own, before, idle := r.addressIn(n, "2001:db8:a::/64"), len(r.host.List()), runtime.NumGoroutine()
	var sent uint32
	var err error
	var flooding sync.WaitGroup
	flooding.Go(func() { sent, err = flood(injector, rate, lasts) })
	measure := func() (heap int64, goroutines, pvds int) {
		r.mu.Lock()
		r.versions = nil
		r.mu.Unlock()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc), runtime.NumGoroutine(), len(r.host.List())
	}
	var heaps []int64
	var most, goroutines int
	for begin := time.Now(); time.Since(begin) < lasts-time.Second; {
		for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			talk(t, n, kernel{g.ns}, own, far6)
		}
		h, k, p := measure()
		t.Logf("after %v: heap %d KiB, %d goroutines, %d PvDs", time.Since(begin).Round(time.Second), h>>10, k, p)
		heaps, most, goroutines = append(heaps, h), max(most, p), max(goroutines, k)
	}
	flooding.Wait()
	if err != nil {
		t.Error(err)
	}
	t.Logf("%d advertisements were sent; %v", sent, r.host.Stats().Links["wire"])
	if sent < rate*uint32(lasts/time.Second)/2 {
		t.Errorf("that is no flood: %d advertisements", sent)
	}
	if most > ra.MaxPvDs+before {
		t.Errorf("%d PvDs at a time, the limit is %d on the link", most, ra.MaxPvDs)
	}
	if most < ra.MaxPvDs {
		t.Errorf("only %d PvDs were learned of the flood", most)
	}
	if grown := heaps[len(heaps)-1] - heaps[0]; grown > 32<<20 {
		t.Errorf("the heap grew by %d KiB during the flood", grown>>10)
	}
	// A PvD has two; talking takes some.
	if goroutines > idle+3*ra.MaxPvDs {
		t.Errorf("%d goroutines during the flood, %d before", goroutines, idle)
	}
	if is, _ := pvd.Routes.Get(r.info(n)); fmt.Sprint(is) != fmt.Sprint(routes) {
		t.Errorf("the router's PvD had the routes %v and has %v", routes, is)
	}
	eventually(t, "what the flood has made is gone", func() bool { return len(r.host.List()) == before })
	talk(t, n, kernel{g.ns}, own, far6)
	w.unchanged()
}
