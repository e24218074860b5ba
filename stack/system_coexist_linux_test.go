package stack_test

import (
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// TestSystemBesideTheKernel has a PvD on an interface that the kernel uses too, as an end
// node and as a router, and on which there are VLANs. Neither is in the other's way, and
// the VLANs' frames are nobody's.
func TestSystemBesideTheKernel(t *testing.T) {
	r := newRig(t)
	r.box = tuntest.NewNS(t)
	r.box.Sysctl("net.ipv4.ip_forward", "1")
	r.box.Sysctl("net.ipv6.conf.all.forwarding", "1")
	peer := tuntest.NewNS(t)
	r.wire("wire", kindPacket, peer, "dev", 1500)
	addrs(peer, "dev", "192.168.1.1/24", "fd00:1::1/64")
	addrs(r.box, "wire", "192.168.1.9/24", "fd00:1::9/64")
	r.box.IP("route", "add", "default", "via", "192.168.1.1")
	r.box.IP("route", "add", "default", "via", "fd00:1::1")
	n := r.add(via("guest", "wire", [2]string{"192.168.1.2/24", "192.168.1.1"}, [2]string{"fd00:1::2/64", "fd00:1::1"}))[0]

	// The kernel is busy on the interface all the while.
	const busy = 32 << 20
	c, s := join(t, kernel{r.box}, kernel{peer}, "192.168.1.1")
	results := make(chan error, 2)
	go func() { results <- sendStream(c, 1, busy) }()
	go func() { results <- receiveStream(s, 1, busy) }()
	for range 2 {
		for _, a := range []struct{ own, host, peer string }{
			{"192.168.1.2", "192.168.1.9", "192.168.1.1"},
			{"fd00:1::2", "fd00:1::9", "fd00:1::1"},
		} {
			talk(t, n, kernel{peer}, a.own, a.peer)
			talk(t, kernel{r.box}, kernel{peer}, a.host, a.peer)
			ping(t, peer, a.own)
			ping(t, peer, a.host)
			ping(t, r.box, a.peer)
			pingFrom(t, n, a.peer)
		}
		sendTagged(t, peer, "dev", r.watches["wire"].stationOf(mustAddr("192.168.1.2")))
	}
	for range cap(results) {
		if err := <-results; err != nil {
			t.Errorf("the kernel's own transfer: %v", err)
		}
	}
	ping(t, peer, "192.168.1.2") // whatever the VLANs' frames cause has been caused by now

	host := [6]byte(macOf(t, r.box, "wire"))
	w := r.watches["wire"]
	if k := w.countHeard(func(f flow) bool { return f.srcMAC == vlanStation }); k > 0 {
		t.Errorf("%d frames of a VLAN have arrived", k)
	}
	if k := w.count(func(f flow) bool { return f.dstMAC == vlanStation }); k > 0 {
		t.Errorf("%d frames answer those of a VLAN", k)
	}
	if k := w.countHeard(func(f flow) bool { return f.srcMAC == plainStation }); k != 2 {
		t.Errorf("%d frames without a tag have arrived, want 2", k)
	}
	if k := w.countHeard(func(f flow) bool { return f.srcMAC == host }); k > 0 {
		t.Errorf("%d frames of the kernel's own have arrived", k)
	}
	for _, name := range []string{
		"Tcp OutRsts", "Ip ForwDatagrams", "Icmp OutDestUnreachs", "Icmp OutRedirects", "Icmp OutTimeExcds",
		"Ip6OutForwDatagrams", "Icmp6OutDestUnreachs", "Icmp6OutRedirects", "Icmp6OutTimeExcds",
	} {
		if k := snmp(t, r.box, name); k != 0 {
			t.Errorf("the kernel beside has counted %s %d", name, k)
		}
	}
	if t.Failed() {
		t.Logf("%v", r.host.Stats())
	}
}

// vlanStation is who sends the frames of the VLAN, and plainStation one without a tag, for
// comparison.
var vlanStation, plainStation = [6]byte{2, 0, 0, 0, 0, 0x10}, [6]byte{2, 0, 0, 0, 0, 0x11}

// onesSum is the sum that the Internet checksum is the complement of (RFC 1071).
func onesSum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	return uint16(sum + sum>>16)
}

// sendTagged sends frames that are for a PvD on 192.168.1.2 but for the VLAN tag: requests
// of ARP, and of ICMP with one tag and with two.
func sendTagged(t *testing.T, ns *tuntest.NS, dev string, to [6]byte) {
	t.Helper()
	src, dst := netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("192.168.1.2")
	arp := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	arp = append(append(arp, vlanStation[:]...), src.AsSlice()...)
	arp = append(append(arp, make([]byte, 6)...), dst.AsSlice()...)
	echo, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: 10, Seq: 1, Data: []byte("VLAN 10")}}).Marshal(nil)
	if err != nil {
		t.Fatal(err)
	}
	ip := make([]byte, 20)
	ip[0], ip[8], ip[9] = 0x45, 64, protoICMP
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(echo)))
	copy(ip[12:], src.AsSlice())
	copy(ip[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(ip[10:], ^onesSum(ip))
	packet := append(ip, echo...)
	const vlan10, service10 = 0x8100_000a, 0x88a8_000a
	everybody := [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	var frames [][]byte
	for _, f := range []struct {
		to      [6]byte
		tags    []uint32
		ether   uint16
		payload []byte
	}{
		{to, nil, etherIPv4, packet},
		{everybody, []uint32{vlan10}, etherARP, arp},
		{to, []uint32{vlan10}, etherARP, arp},
		{to, []uint32{vlan10}, etherIPv4, packet},
		{to, []uint32{service10}, etherIPv4, packet},
		{to, []uint32{service10, vlan10}, etherIPv4, packet},
	} {
		from := vlanStation
		if len(f.tags) == 0 {
			from = plainStation
		}
		b := append(f.to[:len(f.to):len(f.to)], from[:]...)
		for _, tag := range f.tags {
			b = binary.BigEndian.AppendUint32(b, tag)
		}
		b = append(binary.BigEndian.AppendUint16(b, f.ether), f.payload...)
		frames = append(frames, append(b, make([]byte, max(0, 64-len(b)))...))
	}
	sendFrames(t, ns, dev, frames)
}

// sendFrames sends frames on an interface as they are.
func sendFrames(t *testing.T, ns *tuntest.NS, dev string, frames [][]byte) {
	t.Helper()
	index, err := strconv.Atoi(strings.TrimSpace(ns.Exec("cat", "/sys/class/net/"+dev+"/ifindex")))
	if err != nil {
		t.Fatal(err)
	}
	var fd int
	ns.Do(func() { fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) })
	if err != nil {
		t.Fatal(os.NewSyscallError("socket", err))
	}
	defer unix.Close(fd)
	for _, f := range frames {
		if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
			t.Fatal(os.NewSyscallError("sendto", err))
		}
	}
}

// snmp returns a counter of a namespace's kernel: "Tcp OutRsts" of /proc/net/snmp, or
// "Icmp6OutMsgs" of /proc/net/snmp6.
func snmp(t *testing.T, ns *tuntest.NS, name string) int {
	t.Helper()
	group, field, ipv4 := strings.Cut(name, " ")
	lines := strings.Split(ns.Exec("cat", "/proc/net/snmp", "/proc/net/snmp6"), "\n")
	for i, line := range lines {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		value := ""
		if !ipv4 && words[0] == group {
			value = words[1]
		}
		if ipv4 && words[0] == group+":" && i+1 < len(lines) {
			for k, w := range words {
				if w == field {
					value = strings.Fields(lines[i+1])[k]
				}
			}
		}
		if n, err := strconv.Atoi(value); err == nil {
			return n
		}
	}
	t.Fatalf("the kernel has no counter %q", name)
	return 0
}
