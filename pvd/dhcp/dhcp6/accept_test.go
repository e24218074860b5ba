package dhcp6

import (
	"net/netip"
	"testing"
	"time"
)

// TestAccept has servers with addresses that the client can not use.
func TestAccept(t *testing.T) {
	foreign := netip.MustParseAddr("2001:db8:99::7")
	config := func(c *Config) { c.Accept = func(a netip.Addr) bool { return a != foreign } }
	pd := ia(optIAPD, 1000, 2000, iaPrefix(prefix, 3000, 4000))
	w := newWorld(t, addresses, prefixes, config)
	w.LinkUp(w.now)
	ask := w.one()
	w.receive(answer(ask.Message, Advertise, server1, ia(optIANA, 0, 0, iaAddr(foreign, 3000, 4000)), pd))
	w.receive(answer(ask.Message, Advertise, server2, ia(optIANA, 0, 0, iaAddr(addr, 3000, 4000), iaAddr(foreign, 3000, 4000)), pd))
	if got := w.Ignored()[badAdvertise]; got != 1 {
		t.Errorf("ignored %v", w.Ignored())
	}
	request := w.one()
	if request.Type != Request {
		t.Fatalf("sent %v", request.Type)
	}
	w.receive(answer(request.Message, Reply, server2, ia(optIANA, 1000, 2000, iaAddr(addr, 3000, 4000), iaAddr(foreign, 3000, 4000)), pd))
	w.is(Bound)
	lease := w.Lease()
	if len(lease.Addrs) != 1 || lease.Addrs[0].Prefix.Addr() != addr || len(lease.Prefixes) != 1 {
		t.Errorf("leased %v, %v", lease.Addrs, lease.Prefixes)
	}
	w.until(w.now + 1000*time.Second)
	w.is(Renewing)
	w.receive(answer(&Message{XID: w.xid}, Reply, server2, ia(optIANA, 1000, 2000, iaAddr(foreign, 3000, 4000)), pd))
	w.is(Renewing)
	if w.Lease() != lease {
		t.Errorf("leased %v", w.Lease())
	}
}
