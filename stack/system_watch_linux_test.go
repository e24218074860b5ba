package stack_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/pvdstack/pvdstack/tun"
)

// A watch sees every frame of a link. It keeps the headers that say whose a frame is, and
// in the end finds those that have left and belong elsewhere.
type watch struct {
	link  string
	layer tun.Layer

	mu     sync.Mutex
	owners map[netip.Addr][]string // the PvDs that have an address on the link
	flows  map[flow]int            // frames that left by who sends what to whom
	heard  map[flow]int            // the same for those that arrived

	longest, longestHeard int // in octets

	learned *learnedHere // nil: nothing is learned on the link
}

// A flow is what frames have in common that one station sends to another.
type flow struct {
	srcMAC, dstMAC [6]byte
	ether          uint16     // the Ethernet type
	proto          uint8      // what is in the IP packet
	icmp6          uint8      // an ICMPv6 message's type
	src, dst       netip.Addr // for ARP the sender's and the target's
	target         netip.Addr // of neighbour discovery
	dhcp4          bool       // from a client of DHCPv4 to a server
}

// The protocols and the ICMPv6 types (RFC 4443, 4861, 2710, 3810) that a watch looks at.
const (
	etherIPv4, etherARP, etherIPv6 = 0x0800, 0x0806, 0x86dd

	protoICMP, protoIGMP, protoTCP, protoUDP, protoICMPv6 = 1, 2, 6, 17, 58

	icmp6Report, icmp6Done, icmp6RS, icmp6RA, icmp6NS, icmp6NA, icmp6ReportV2 = 131, 132, 133, 134, 135, 136, 143
)

func newWatch(link string, layer tun.Layer) *watch {
	return &watch{link: link, layer: layer, owners: make(map[netip.Addr][]string), flows: make(map[flow]int), heard: make(map[flow]int)}
}

// permit makes an address one of a PvD's.
func (w *watch) permit(a netip.Addr, pvd string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.owners[a] = append(w.owners[a], pvd)
}

// see is the link's observer.
func (w *watch) see(dir tun.Direction, bufs [][]byte, _ tun.Meta) {
	var head [128]byte
	n, length := 0, 0
	for _, b := range bufs {
		n += copy(head[n:], b)
		length += len(b)
	}
	f := parseFlow(head[:n], w.layer)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.learned != nil && !w.learned.note(dir, f) {
		return
	}
	if dir == tun.Out {
		w.flows[f]++
		w.longest = max(w.longest, length)
	} else {
		w.heard[f]++
		w.longestHeard = max(w.longestHeard, length)
	}
}

// parseFlow reads a frame's headers. What is cut off or unknown is left out, which judge
// takes exception to.
func parseFlow(b []byte, layer tun.Layer) (f flow) {
	switch {
	case layer == tun.Ethernet && len(b) >= tun.EthernetHeaderLen:
		f.dstMAC, f.srcMAC = [6]byte(b[0:6]), [6]byte(b[6:12])
		f.ether = binary.BigEndian.Uint16(b[12:])
		b = b[tun.EthernetHeaderLen:]
	case layer == tun.IP && len(b) > 0 && b[0]>>4 == 4:
		f.ether = etherIPv4
	case layer == tun.IP && len(b) > 0 && b[0]>>4 == 6:
		f.ether = etherIPv6
	}
	switch {
	case f.ether == etherIPv4 && len(b) >= 20:
		f.proto = b[9]
		f.src, f.dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		n := 4 * int(b[0]&15)
		f.dhcp4 = f.proto == protoUDP && len(b) >= n+4 && string(b[n:n+4]) == "\x00\x44\x00\x43"
	case f.ether == etherARP && len(b) >= 28:
		f.src, f.dst = netip.AddrFrom4([4]byte(b[14:])), netip.AddrFrom4([4]byte(b[24:]))
	case f.ether == etherIPv6 && len(b) >= 40:
		f.proto = b[6]
		f.src, f.dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		f.parseICMPv6(b[40:])
	}
	return f
}

func (f *flow) parseICMPv6(b []byte) {
	if f.proto == 0 && len(b) >= 8 { // MLD stands behind hop-by-hop options
		n := 8 * (int(b[1]) + 1)
		f.proto, b = b[0], b[min(n, len(b)):]
	}
	if f.proto != protoICMPv6 || len(b) == 0 {
		return
	}
	f.icmp6 = b[0]
	if (f.icmp6 == icmp6NS || f.icmp6 == icmp6NA) && len(b) >= 24 {
		f.target = netip.AddrFrom16([16]byte(b[8:]))
	}
}

func (f flow) String() string {
	return fmt.Sprintf("%v > %v, type %#04x, protocol %d, ICMPv6 %d, %v > %v, target %v",
		net.HardwareAddr(f.srcMAC[:]), net.HardwareAddr(f.dstMAC[:]), f.ether, f.proto, f.icmp6, f.src, f.dst, f.target)
}

// count returns how many of the frames that have left match.
func (w *watch) count(match func(flow) bool) int { return w.countIn(w.flows, match) }

// countHeard returns how many of the frames that have arrived match.
func (w *watch) countHeard(match func(flow) bool) int { return w.countIn(w.heard, match) }

func (w *watch) countIn(flows map[flow]int, match func(flow) bool) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for f, frames := range flows {
		if match(f) {
			n += frames
		}
	}
	return n
}

// lengths returns the length of the longest frame that has left, and that has arrived.
func (w *watch) lengths() (sent, heard int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.longest, w.longestHeard
}

// stationOf returns the hardware address that frames with a source have.
func (w *watch) stationOf(src netip.Addr) (mac [6]byte) {
	w.count(func(f flow) bool {
		if f.src == src {
			mac = f.srcMAC
		}
		return false
	})
	return mac
}

// judge fails the test if a frame has left that does not belong on the link.
func (w *watch) judge(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.flows) == 0 && len(w.owners) > 0 {
		t.Errorf("link %s: nothing has left by it, so nothing was tested", w.link)
	}
	for _, wrong := range w.faults() {
		t.Errorf("link %s: %s", w.link, wrong)
	}
}

// faults returns what is wrong with what has left by the link.
func (w *watch) faults() (all []string) {
	stations := make(map[[6]byte][]string) // the PvDs that each one may be
	for f, frames := range w.flows {
		if wrong := w.fault(f); wrong != "" {
			all = append(all, fmt.Sprintf("%d frames that have %s: %v", frames, wrong, f))
		}
		if w.layer != tun.Ethernet || f.src.IsUnspecified() || w.learned.speaks(f, w.owners[f.src]) {
			continue
		}
		of, seen := stations[f.srcMAC]
		if !seen {
			of = w.owners[f.src]
		}
		of = slices.DeleteFunc(slices.Clone(of), func(p string) bool { return !slices.Contains(w.owners[f.src], p) })
		if stations[f.srcMAC] = of; len(of) == 0 {
			all = append(all, fmt.Sprintf("station %v sends for several PvDs: %v", net.HardwareAddr(f.srcMAC[:]), f))
		}
	}
	return append(all, w.learned.faults()...)
}

// fault says what is wrong with a flow, nothing if it may leave by the link.
func (w *watch) fault(f flow) string {
	group := f.dst.IsMulticast() || f.dst == netip.AddrFrom4([4]byte{255, 255, 255, 255})
	switch {
	case f.ether != etherIPv4 && f.ether != etherIPv6 && f.ether != etherARP || !f.src.IsValid():
		return "no header that is known"
	case w.layer == tun.Ethernet && f.srcMAC[0]&1 != 0:
		return "a group as source"
	case w.layer == tun.Ethernet && f.dstMAC == [6]byte{2}:
		return "an anchor as destination"
	case w.layer == tun.Ethernet && group && f.dstMAC[0]&1 == 0 && f.ether != etherARP:
		return "a group's packet in a frame to one station"
	case isLocalOnly(f.dst) || f.target.IsValid() && isLocalOnly(f.target):
		return "a destination that is on no link"
	case f.src.IsUnspecified() && !f.anonymous() && (w.learned == nil || !f.dhcp4):
		return "no source where one is needed"
	case f.src.IsUnspecified() && !w.learned.asks(f):
		return "a question about an address that the link's network does not give"
	case !f.src.IsUnspecified() && len(w.owners[f.src]) == 0:
		return "a source that no PvD has on this link"
	case slices.ContainsFunc(w.owners[f.dst], func(o string) bool { return !w.learned.of(o) }) && f.ether != etherARP:
		return "a destination that is in this host"
	}
	return ""
}

// isLocalOnly reports whether an address never leaves a host: 127/8, 0/8, ::1 and ::.
func isLocalOnly(a netip.Addr) bool {
	return a.IsLoopback() || a.IsUnspecified() || a.Is4() && a.As4()[0] == 0
}

// anonymous reports whether a flow is of the kind that goes without a source: IGMP, a
// probe of ARP (RFC 5227), or that which comes before or tests an IPv6 address.
func (f flow) anonymous() bool {
	switch f.ether {
	case etherIPv4:
		return f.proto == protoIGMP
	case etherIPv6:
		return slices.Contains([]uint8{icmp6Report, icmp6Done, icmp6RS, icmp6NS, icmp6ReportV2}, f.icmp6)
	}
	return true
}

// A watch finds what it is for.
func TestSystemWatch(t *testing.T) {
	own, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	far := netip.MustParseAddr("198.51.100.1")
	zero4, zero6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	node6, all6 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("ff02::16")
	mac, to, all := [6]byte{2, 1}, [6]byte{2, 2}, [6]byte{1, 0, 94}
	for _, tt := range []struct {
		name string
		f    flow
		good bool
	}{
		{"own source", flow{mac, to, etherIPv4, protoTCP, 0, own, far, netip.Addr{}, false}, true},
		{"ARP probe", flow{mac, all, etherARP, 0, 0, zero4, own, netip.Addr{}, false}, true},
		{"IGMP", flow{mac, all, etherIPv4, protoIGMP, 0, zero4, netip.MustParseAddr("224.0.0.22"), netip.Addr{}, false}, true},
		{"MLD", flow{mac, all, etherIPv6, protoICMPv6, icmp6ReportV2, zero6, all6, netip.Addr{}, false}, true},
		{"a stranger's source", flow{mac, to, etherIPv4, protoTCP, 0, other, far, netip.Addr{}, false}, false},
		{"no source", flow{mac, to, etherIPv4, protoTCP, 0, zero4, far, netip.Addr{}, false}, false},
		{"IPv6 without source", flow{mac, to, etherIPv6, protoUDP, 0, zero6, node6, netip.Addr{}, false}, false},
		{"to loopback", flow{mac, to, etherIPv4, protoTCP, 0, own, netip.MustParseAddr("127.0.0.1"), netip.Addr{}, false}, false},
		{"to 0/8", flow{mac, all, etherARP, 0, 0, own, netip.MustParseAddr("0.0.0.1"), netip.Addr{}, false}, false},
		{"for ::1", flow{mac, all, etherIPv6, protoICMPv6, icmp6NS, zero6, all6, netip.IPv6Loopback(), false}, false},
		{"to the anchor", flow{mac, [6]byte{2}, etherIPv4, protoTCP, 0, own, far, netip.Addr{}, false}, false},
		{"VLAN", flow{mac, to, 0x8100, 0, 0, netip.Addr{}, netip.Addr{}, netip.Addr{}, false}, false},
		{"multicast to one", flow{mac, to, etherIPv6, protoUDP, 0, node6, all6, netip.Addr{}, false}, false},
		{"to itself", flow{mac, to, etherIPv4, protoTCP, 0, own, own, netip.Addr{}, false}, false},
	} {
		w := newWatch("wire", tun.Ethernet)
		w.permit(own, "corp")
		w.permit(node6, "corp")
		if wrong := w.fault(tt.f); (wrong == "") != tt.good {
			t.Errorf("%s: found %q", tt.name, wrong)
		}
	}
}
