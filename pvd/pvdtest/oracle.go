package pvdtest

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// AssertIsolated fails the test unless, on every link of every host under test,
//
//   - each frame that the host has sent has a source that one of the PvDs on that link
//     has or had, or is one of those that need none (ARP probes, duplicate address
//     detection, router solicitations, MLD, IGMP, DHCP);
//   - each hardware address stands for addresses of a single PvD, or of those that were
//     learned on the link, which share one;
//   - nothing has gone to or asked after 127/8, ::1 or 0/8;
//   - of the frames that it was sent, it has delivered or counted as dropped every one.
//
// It waits until all is at rest first, and may be called as often as wanted.
func (l *Lab) AssertIsolated() {
	l.tb.Helper()
	l.Settle()
	l.mu.Lock()
	hosts := l.hosts
	l.mu.Unlock()
	for _, h := range hosts {
		h.owners.sample(h.Host)
		for _, name := range slices.Sorted(maps.Keys(h.links)) {
			for _, v := range h.links[name].seen.violations(h.owners.of(name)) {
				l.tb.Errorf("pvdtest: %s: link %s: %s", h.name, name, v)
			}
		}
		h.assertConserved()
	}
}

// assertConserved compares what the host says became of frames with how many there were.
func (h *Host) assertConserved() {
	h.lab.tb.Helper()
	stats := h.Host.Stats()
	for name, l := range h.links {
		counts, ok := stats.Links[name]
		if !ok {
			continue // removed since
		}
		var sum uint64
		for reason, n := range counts {
			if reason != "frames" {
				sum += n
			}
		}
		if got := l.seen.received(); got != counts["frames"] || got != sum {
			h.lab.tb.Errorf("pvdtest: %s: link %s: %d frames arrived, the host counts %d and knows what became of %d: %v",
				h.name, name, got, counts["frames"], sum, counts)
		}
	}
}

// A sender is a source that frames on a link claimed.
type sender struct {
	mac  mac
	addr netip.Addr // the invalid Addr for frames that are wrong by themselves
	what string     // "IPv4", "IPv6", "ARP", "NA", or what is wrong
}

// A sight is how often a sender was seen, and a sample.
type sight struct {
	count uint64
	first []byte // the first frame's beginning
}

// senders are all who have sent on a link.
type senders struct {
	mu       sync.Mutex
	in       uint64
	seen     map[sender]*sight
	overflow bool
}

func newSenders() *senders { return &senders{seen: make(map[sender]*sight)} }

// observe takes a frame, and reports whether it came from somebody new.
func (s *senders) observe(dir tun.Direction, bufs [][]byte, _ tun.Meta) bool {
	if dir == tun.In {
		s.mu.Lock()
		s.in++
		s.mu.Unlock()
		return false
	}
	var head [128]byte
	n := 0
	for _, b := range bufs {
		n += copy(head[n:], b)
	}
	who := judge(head[:n])
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.seen[who]; k != nil {
		k.count++
		return false
	}
	if len(s.seen) >= maxSources {
		s.overflow = true
		return false
	}
	s.seen[who] = &sight{1, slices.Clone(head[:n])}
	return true
}

func (s *senders) received() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in
}

// judge tells who claims to have sent a frame, from its beginning.
func judge(f []byte) sender {
	if len(f) < tun.EthernetHeaderLen {
		return sender{what: "a frame too short for Ethernet"}
	}
	who := sender{mac: mac(f[6:12])}
	b := f[tun.EthernetHeaderLen:]
	wrong := func(what string) sender {
		who.addr, who.what = netip.Addr{}, what
		return who
	}
	switch binary.BigEndian.Uint16(f[12:]) {
	case etherIPv4:
		if len(b) < ip4HeaderLen {
			return wrong("a truncated IPv4 packet")
		}
		who.addr, who.what = src4(b), "IPv4"
		switch {
		case !isSendable4(dst4(b)):
			return wrong("a packet to " + dst4(b).String())
		case who.addr.IsUnspecified() && !needsNoSource4(b):
			return wrong("a packet from 0.0.0.0 that needs a source")
		}
	case etherIPv6:
		if len(b) < ip6HeaderLen {
			return wrong("a truncated IPv6 packet")
		}
		who.addr, who.what = src6(b), "IPv6"
		switch {
		case dst6(b).IsLoopback() || dst6(b).IsUnspecified():
			return wrong("a packet to " + dst6(b).String())
		case who.addr.IsUnspecified() && !needsNoSource6(b):
			return wrong("a packet from :: that needs a source")
		}
		if target, is := advertised(b); is {
			who.addr, who.what = target, "NA"
		}
	case etherARP:
		return judgeARP(who, b)
	default:
		return wrong(fmt.Sprintf("a frame of type %#04x", binary.BigEndian.Uint16(f[12:])))
	}
	return who
}

func judgeARP(who sender, b []byte) sender {
	who.what = "ARP"
	if len(b) < arpLen {
		who.what = "a truncated ARP message"
		return who
	}
	target := netip.AddrFrom4([4]byte(b[24:28]))
	switch {
	case mac(b[8:14]) != who.mac:
		who.what = "an ARP message about another station"
	case !isSendable4(target):
		who.what = "an ARP message about " + target.String()
	case [4]byte(b[14:18]) == [4]byte{}:
		// A probe claims its target (RFC 5227 section 2.1.1).
		who.addr = target
	default:
		who.addr = netip.AddrFrom4([4]byte(b[14:18]))
	}
	return who
}

// isSendable4 reports whether anything may be sent to a.
func isSendable4(a netip.Addr) bool { return a.As4()[0] != 127 && a.As4()[0] != 0 }

// needsNoSource4: DHCP to a server, and IGMP (RFC 3376 section 4.2.13).
func needsNoSource4(ip []byte) bool {
	const protoIGMP, dhcpClient, dhcpServer = 2, 68, 67
	if ip[9] == protoIGMP {
		return true
	}
	l4 := ip[min(hlen4(ip), len(ip)):]
	return ip[9] == protoUDP && len(l4) >= 4 &&
		binary.BigEndian.Uint16(l4) == dhcpClient && binary.BigEndian.Uint16(l4[2:]) == dhcpServer
}

// needsNoSource6: MLD, router solicitations and duplicate address detection.
func needsNoSource6(ip []byte) bool {
	const mldReport, mldDone, mldReport2 = 131, 132, 143
	proto, b := ip[6], ip[ip6HeaderLen:]
	if proto == hopByHop && len(b) >= 8 {
		proto, b = b[0], b[min(8+int(b[1])*8, len(b)):]
	}
	if proto != protoICMPv6 || len(b) == 0 {
		return false
	}
	switch b[0] {
	case mldReport, mldDone, mldReport2, routerSolicit, ndSolicit:
		return true
	}
	return false
}

// advertised returns the address that a packet claims by neighbour discovery: that of an
// advertisement, or of duplicate address detection.
func advertised(ip []byte) (netip.Addr, bool) {
	b := ip[ip6HeaderLen:]
	if ip[6] != protoICMPv6 || len(b) < ndLen {
		return netip.Addr{}, false
	}
	if b[0] != ndAdvertise && (b[0] != ndSolicit || !src6(ip).IsUnspecified()) {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte(b[8:24])), true
}

// violations lists what was sent that none of the link's PvDs may send.
func (s *senders) violations(owned map[pvd.Ref]map[netip.Addr]bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var bad []string
	if s.overflow {
		bad = append(bad, fmt.Sprintf("more than %d senders: too many to tell", maxSources))
	}
	report := func(who sender, k *sight, what string) {
		bad = append(bad, fmt.Sprintf("%d × %s, by station %x; the first: %x", k.count, what, who.mac, k.first))
	}
	stations := make(map[mac][]sender)
	for _, who := range s.sorted() {
		k := s.seen[who]
		switch {
		case !who.addr.IsValid():
			report(who, k, who.what)
		case who.addr.IsUnspecified():
		case !ownedByAny(owned, who.addr):
			report(who, k, fmt.Sprintf("%s from %v, which no PvD on the link has", who.what, who.addr))
		default:
			stations[who.mac] = append(stations[who.mac], who)
		}
	}
	for m, list := range stations {
		if !slices.ContainsFunc(slices.Collect(maps.Values(owned)), func(as map[netip.Addr]bool) bool {
			return !slices.ContainsFunc(list, func(who sender) bool { return !as[who.addr] })
		}) {
			bad = append(bad, fmt.Sprintf("station %x has used addresses of different PvDs: %v", m, list))
		}
	}
	return bad
}

func (s *senders) sorted() []sender {
	return slices.SortedFunc(maps.Keys(s.seen), func(a, b sender) int {
		return cmp.Or(slices.Compare(a.mac[:], b.mac[:]), a.addr.Compare(b.addr), strings.Compare(a.what, b.what))
	})
}

func ownedByAny(owned map[pvd.Ref]map[netip.Addr]bool, a netip.Addr) bool {
	for _, as := range owned {
		if as[a] {
			return true
		}
	}
	return false
}

// owners are the addresses that each PvD of a host has had on each link.
type owners struct {
	wake chan struct{}

	mu     sync.Mutex
	byLink map[string]map[pvd.Ref]map[netip.Addr]bool
}

func newOwners() *owners {
	return &owners{wake: make(chan struct{}, 1), byLink: make(map[string]map[pvd.Ref]map[netip.Addr]bool)}
}

// look asks for a sample soon. It does not wait: it is called while the stack sends.
func (o *owners) look() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// watch takes a sample whenever somebody new has sent, while the PvD still has the
// address.
func (o *owners) watch(ctx context.Context, h *stack.Host) {
	for {
		select {
		case <-o.wake:
			o.sample(h)
		case <-ctx.Done():
			return
		}
	}
}

// sample adds what the host's PvDs have now.
func (o *owners) sample(h *stack.Host) {
	for _, ref := range h.List() {
		info, err := h.Info(ref)
		if err != nil {
			continue // removed since
		}
		addrs, _ := pvd.Addresses.Get(info)
		links, _ := pvd.Links.Get(info)
		if _, learned := learn.Learned.Get(info); learned {
			// What is learned on a link has one station there, whose lease it is.
			ref = pvd.Unspecified
		}
		o.add(ref, links, addrs)
	}
}

func (o *owners) add(ref pvd.Ref, links []string, addrs []pvd.AddressInfo) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range addrs {
		link := a.Link
		if link == "" && len(links) > 0 {
			link = links[0]
		}
		if o.byLink[link] == nil {
			o.byLink[link] = make(map[pvd.Ref]map[netip.Addr]bool)
		}
		if o.byLink[link][ref] == nil {
			o.byLink[link][ref] = make(map[netip.Addr]bool)
		}
		o.byLink[link][ref][a.Prefix.Addr().WithZone("")] = true
	}
}

// of returns who has had what on a link.
func (o *owners) of(link string) map[pvd.Ref]map[netip.Addr]bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := make(map[pvd.Ref]map[netip.Addr]bool)
	for ref, as := range o.byLink[link] {
		c[ref] = maps.Clone(as)
	}
	return c
}
