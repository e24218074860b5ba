package stack

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"

	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/tun"
)

// TestRedirectFrames has a learned PvD's link carry redirects with one fault each, which
// change nothing, and then a good one.
func TestRedirectFrames(t *testing.T) {
	w := newWire(t, tun.Ethernet)
	aside(t, w.host)
	if err := w.host.Discover("lab", Discovery{RA: true}); err != nil {
		t.Fatal(err)
	}
	router := mac{2, 0, 0, 0, 0, 0xa}
	packet := func(src, dst netip.Addr, message []byte) []byte {
		return ipPacket(uint8(header.ICMPv6ProtocolNumber), src, dst, message)
	}
	advert := ra.Advertisement{Header: ra.Header{Lifetime: time.Hour}, Options: []ra.Option{
		ra.PrefixInformation{Prefix: prefix("2001:db8:1::/64"), Autonomous: true, Valid: time.Hour, Preferred: time.Hour},
	}}
	message, err := advert.Append(nil, ip(redirA), ra.AllNodes)
	if err != nil {
		t.Fatal(err)
	}
	w.send(ethFrame(router, mac{0x33, 0x33, 5: 1}, ipv6.ProtocolNumber, packet(ip(redirA), ra.AllNodes, message)))

	var p *port
	var own netip.Addr
	if !eventually(func() bool {
		for _, q := range w.link.table.Load().ports {
			for a := range q.egress.Load().own {
				if prefix("2001:db8:1::/64").Contains(a) {
					p, own = q, a
				}
			}
		}
		return p != nil
	}) {
		t.Fatal("no PvD is learned")
	}
	far := func(n byte) netip.Addr {
		a := ip("2001:db8:ff::").As16()
		a[15] = n
		return netip.AddrFrom16(a)
	}
	good := func(dst netip.Addr) ra.Redirect {
		return ra.Redirect{Router: ip(redirA), Source: own, Destination: dst, Target: ip(redirB)}
	}
	say := func(r ra.Redirect, change func(p []byte) []byte) {
		t.Helper()
		m, err := r.Append(nil, make([]byte, 64))
		if err != nil {
			t.Fatal(err)
		}
		w.send(ethFrame(router, mac(p.mac), ipv6.ProtocolNumber, change(packet(r.Router, r.Source, m))))
	}
	n := byte(0)
	forge := func(spoil func(r *ra.Redirect), change func(p []byte) []byte) {
		n++
		r := good(far(n))
		spoil(&r)
		say(r, change)
	}
	fine := func(*ra.Redirect) {}
	whole := func(p []byte) []byte { return p }
	resum := func(p []byte) []byte { ra.PutChecksum(p[40:], addr6(p[8:]), addr6(p[24:])); return p }
	forge(func(r *ra.Redirect) { r.Router = ip(redirB) }, whole)          // not the router in use
	forge(func(r *ra.Redirect) { r.Router = ip("2001:db8:1::a") }, whole) // not of the link
	forge(func(r *ra.Redirect) { r.Target = ip("2001:db8:2::b") }, whole) // neither a router nor the destination
	forge(func(r *ra.Redirect) { r.Target = p.linkLocal() }, whole)       // ourselves
	forge(func(r *ra.Redirect) { r.Destination = ip("ff0e::1") }, whole)  // a group
	forge(fine, func(p []byte) []byte { p[7] = 254; return p })           // from beyond a router
	forge(fine, func(p []byte) []byte { p[42]++; return p })              // checksum
	forge(fine, func(p []byte) []byte { p[41] = 1; return resum(p) })     // code
	forge(fine, func(p []byte) []byte { return p[:len(p)-1] })            // cut
	forge(fine, func(p []byte) []byte { p[81] = 0; return resum(p) })     // an option without length
	forge(fine, func(p []byte) []byte {                                   // in a fragment
		fragment := slices.Concat(p[:40], []byte{p[6], 0, 0, 0, 0, 0, 0, 1}, p[40:])
		fragment[6] = 44
		fragment[5] += 8
		return fragment
	})
	last := far(200)
	say(good(last), whole)
	if !eventually(func() bool { hop, _ := p.nextHop(own, last); return hop == ip(redirB) }) {
		t.Fatal("a good redirect is not followed")
	}
	for i := range n {
		if hop, ok := p.nextHop(own, far(i+1)); !ok || hop != ip(redirA) {
			t.Errorf("forged redirect %d: by %v", i+1, hop)
		}
	}
	if all := *p.redirects.all.Load(); len(all) != 1 {
		t.Errorf("followed: %v", all)
	}
}

// linkLocal is one of the PvD's addresses on the link.
func (p *port) linkLocal() netip.Addr {
	for a := range p.egress.Load().own {
		if a.IsLinkLocalUnicast() {
			return a
		}
	}
	return netip.Addr{}
}
