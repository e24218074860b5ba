package pvdtest

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/tun"
)

// An advertiser sends what one RA of a router says, on the router's LAN.
type advertiser struct {
	lan  *LAN
	ifc  *iface
	from netip.Addr
	says RA

	end     bool // says that the router, or all, has ended
	endAll  bool
	initial int           // how many more come soon
	sent    bool          // to everybody, at last
	last    time.Duration // when that was
	due     time.Duration // when the next is
	timer   pvd.Timer     // nil: there is no next
	turn    uint64        // counts what the timer was set for
	answers int           // to single hosts that are on their way
}

func (a RA) apply(n *LAN, r *Router) error {
	if err := a.prepare(n, r); err != nil {
		return err
	}
	var err error
	r.later(func() { err = r.core.advertise(n, a) })
	if err == nil {
		n.lab.note("advertising", "lan", n.name, "router", r.name, "pvd", a.PvD, "from", a.From)
	}
	return err
}

// prepare gives the router the addresses that it needs to send a, and tells everybody of
// the prefixes.
func (a RA) prepare(n *LAN, r *Router) error {
	ps, err := a.prefixes(n)
	if err != nil {
		return err
	}
	var fresh []netip.Prefix
	r.mu.Lock()
	ifc := r.core.on(n)
	ifc.hasLinkLocal()
	for _, p := range ps {
		if own := addressIn(p, ifc.mac); !ifc.within(p) {
			ifc.prefixes = append(slices.Clip(ifc.prefixes), own)
			fresh = append(fresh, own)
		}
	}
	r.mu.Unlock()
	for _, p := range fresh {
		n.take([]netip.Prefix{p}, r.name)
		r.reachable(p)
	}
	return nil
}

// addressIn returns the address that the station has in a prefix by appendix A of RFC
// 4291, or the first one if the prefix is too long for it.
func addressIn(p netip.Prefix, m mac) netip.Prefix {
	a, ll := p.Addr().As16(), linkLocalOf(m).As16()
	if p.Bits() > 64 {
		return netip.PrefixFrom(p.Addr().Next(), p.Bits())
	}
	copy(a[8:], ll[8:])
	return netip.PrefixFrom(netip.AddrFrom16(a), p.Bits())
}

// within reports whether the interface has an address in p.
func (ifc *iface) within(p netip.Prefix) bool {
	for _, q := range ifc.prefixes {
		if p.Contains(q.Addr()) {
			return true
		}
	}
	return false
}

// hasLinkLocal gives the interface of a LAN without IPv6 what it needs to speak it.
func (ifc *iface) hasLinkLocal() {
	if !ifc.linkLocal().IsValid() {
		ifc.prefixes = append(slices.Clip(ifc.prefixes), netip.PrefixFrom(linkLocalOf(ifc.mac), 64))
	}
}

// on returns the router's interface on a LAN.
func (c *core) on(n *LAN) *iface {
	for _, ifc := range c.ifaces {
		if ifc.lan == n.name {
			return ifc
		}
	}
	return nil
}

// reachable tells those on the LANs that the router is on of a prefix of its home LAN.
func (r *Router) reachable(p netip.Prefix) {
	r.home.announceAs(r, p)
	for _, u := range r.uplinks {
		u.LAN.announceAs(r, p)
	}
}

// announceAs tells everybody on n of a prefix behind r, if r has an address there.
func (n *LAN) announceAs(r *Router, p netip.Prefix) {
	r.mu.Lock()
	var via netip.Addr
	if ifc := r.core.on(n); ifc != nil {
		for _, q := range ifc.prefixes {
			if a := q.Addr(); n.prefix(true).IsValid() && n.prefix(true).Contains(a) {
				via = a
				break
			}
		}
	}
	r.mu.Unlock()
	if via.IsValid() && !p.Masked().Contains(via) {
		n.announce(pvd.Route{To: p.Masked(), Via: via}, r)
	}
}

// Advertise changes what the router advertises on its LAN from a.From, or begins with
// it. It is sent at once and some more times soon.
func (r *Router) Advertise(a RA) {
	n := r.home
	n.lab.tb.Helper()
	if err := a.apply(n, r); err != nil {
		n.lab.tb.Fatalf("pvdtest: LAN %s: %s: %v", n.name, r.name, err)
	}
}

// Cease makes the router say that it is a default router no longer (RFC 4861 section
// 6.2.5), from all its addresses, and advertise nothing from then on. What it forwards it
// goes on forwarding.
func (r *Router) Cease() { r.cease(false) }

// Withdraw is Cease with a lifetime of zero for everything that the router has
// advertised.
func (r *Router) Withdraw() { r.cease(true) }

func (r *Router) cease(all bool) {
	r.home.lab.note("advertising no longer", "router", r.name, "all", all)
	r.later(func() {
		for _, a := range r.core.advertisers {
			a.end, a.endAll = true, all
			a.initial = finalRAs
			r.core.advertiseNow(a)
		}
	})
}

// Inject sends a frame on the router's LAN as it is, whatever it is.
func (r *Router) Inject(frame []byte) {
	r.later(func() {
		r.core.outs = append(r.core.outs, output{r.core.on(r.home), append([]byte(nil), frame...), tun.Meta{}})
	})
}

// advertise begins to send a, or replaces what is sent from that address.
func (c *core) advertise(n *LAN, says RA) error {
	ifc := c.on(n)
	from := ifc.linkLocal()
	if says.From != "" {
		var err error
		if from, err = netip.ParseAddr(says.From); err != nil || !from.Is6() || !from.IsLinkLocalUnicast() || from.Zone() != "" {
			return fmt.Errorf("%q is not a link-local address", says.From)
		}
	}
	// That it can be encoded is found out now.
	if _, err := says.advertisements(n, ifc.mac, ifc.mtu); err != nil {
		return err
	}
	var a *advertiser
	for _, b := range c.advertisers {
		if b.ifc == ifc && b.from == from {
			a = b
		}
	}
	if a == nil {
		if len(c.advertisers) >= maxAdvertisers {
			return fmt.Errorf("%d advertisers: that is the most", maxAdvertisers)
		}
		a = &advertiser{lan: n, ifc: ifc, from: from}
		c.advertisers = append(c.advertisers, a)
		if !ifc.owns(from) {
			ifc.prefixes = append(slices.Clip(ifc.prefixes), netip.PrefixFrom(from, 64))
		}
	}
	a.says, a.end, a.initial = says, false, initialRAs
	c.advertiseNow(a)
	return nil
}

// advertiseNow sends to everybody and sees to the next time (RFC 4861 section 6.2.4).
func (c *core) advertiseNow(a *advertiser) {
	a.stop()
	if c.closed {
		return
	}
	c.sendRA(a, ra.AllNodes)
	a.sent, a.last = true, c.clock.Monotonic()
	a.initial--
	if a.end && a.initial <= 0 {
		return
	}
	most := a.says.interval()
	wait := most/3 + time.Duration(c.rnd.Int64N(int64(most-most/3)))
	if a.initial > 0 {
		wait = min(wait, initialInterval)
	}
	if a.end {
		wait = max(a.says.gap(), maxRADelay)
	}
	c.advertiseIn(a, wait)
}

func (c *core) advertiseIn(a *advertiser, wait time.Duration) {
	a.stop()
	a.due = c.clock.Monotonic() + wait
	turn := a.turn
	a.timer = c.clock.AfterFunc(wait, func() {
		c.later(func() {
			if a.turn == turn {
				c.advertiseNow(a)
			}
		})
	})
}

// stop makes the timer's call come to nothing.
func (a *advertiser) stop() {
	a.turn++
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}

// inputRS takes a solicitation (RFC 4861 section 6.2.6).
func (c *core) inputRS(in *iface, ip []byte, l4 int) {
	src, dst := src6(ip), dst6(ip)
	p := ra.Packet{Src: src, Dst: dst, HopLimit: ip[7], Message: ip[l4:]}
	if p.CheckSolicitation() != nil {
		c.drop(dropShort)
		return
	}
	if ll, has, ok := linkLayerOption(ip[l4+8:], optSourceLL); ok && has {
		c.learn(in, src, ll, true)
	}
	for _, a := range c.advertisers {
		if a.ifc == in && !a.end && !a.says.Mute && (dst.IsMulticast() || dst == a.from) {
			c.answerRS(a, src)
		}
	}
}

// answerRS answers a host alone if it has an address, or else everybody.
func (c *core) answerRS(a *advertiser, src netip.Addr) {
	delay := time.Duration(c.rnd.Int64N(int64(maxRADelay)))
	c.counts[countAnswered]++
	if !src.IsUnspecified() {
		if a.answers >= maxAnswers {
			c.drop(dropQueue)
			return
		}
		a.answers++
		c.clock.AfterFunc(delay, func() {
			c.later(func() {
				a.answers--
				if !c.closed && !a.end {
					c.sendRA(a, src)
				}
			})
		})
		return
	}
	now := c.clock.Monotonic()
	if a.sent {
		delay = max(delay, a.last+a.says.gap()-now)
	}
	if a.timer == nil || a.due > now+delay {
		c.advertiseIn(a, delay)
	}
}

// sendRA sends all messages of an advertiser.
func (c *core) sendRA(a *advertiser, dst netip.Addr) {
	ms, err := a.says.advertisements(a.lan, a.ifc.mac, a.ifc.mtu)
	if err != nil {
		c.drop(dropTooBig) // it could be sent once, and the LAN has got more name servers
		return
	}
	for _, m := range ms {
		if a.end {
			m = ended(m, a.endAll)
		}
		b, err := m.Append(nil, a.from, dst)
		if err != nil {
			c.drop(dropShort)
			continue
		}
		f := a.ifc.newFrame(mac{}, etherIPv6, ip6HeaderLen+len(b))
		ip := f[tun.EthernetHeaderLen:]
		putIP6(ip, protoICMPv6, ndHopLimit, a.from, dst)
		copy(ip[ip6HeaderLen:], b)
		c.counts[countAdvertised]++
		if dst.IsMulticast() {
			to := multicastMAC(dst)
			copy(f, to[:])
			c.outs = append(c.outs, output{a.ifc, f, tun.Meta{}})
			continue
		}
		c.transmit(&packet{frame: f}, a.ifc, dst)
	}
}
