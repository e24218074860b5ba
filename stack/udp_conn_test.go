package stack_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// longest is how long a test waits for what has to come, silence for what must not.
const (
	longest = 10 * time.Second
	silence = 100 * time.Millisecond
)

// datagram reads one datagram.
func datagram(t *testing.T, c net.PacketConn) (string, net.Addr) {
	t.Helper()
	b := make([]byte, 70000)
	_ = c.SetReadDeadline(time.Now().Add(longest))
	n, from, err := c.ReadFrom(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n]), from
}

// noDatagram checks that no datagram comes.
func noDatagram(t *testing.T, c net.PacketConn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(silence))
	if n, from, err := c.ReadFrom(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d octets from %v, %v", n, from, err)
	}
}

func sendDatagram(t *testing.T, c *stack.UDPConn, data, to string) {
	t.Helper()
	if n, err := c.WriteToUDPAddrPort([]byte(data), netip.MustParseAddrPort(to)); err != nil || n != len(data) {
		t.Fatalf("%d octets sent to %s: %v", n, to, err)
	}
}

func TestUDPExchange(t *testing.T) {
	h1, h2 := newHost(t), newHost(t)
	pipe(t, "wire", h1, h2)
	a, b := add(t, h1, config("wire", "10.0.0.1/24", "fd00::1/64", "fe80::1/64")), add(t, h2, config("wire", "10.0.0.2/24", "fd00::2/64", "fe80::2/64"))
	server := mustListenPacket(t, b, "udp", ":53")
	if got := server.LocalAddr().String(); got != "[::]:53" {
		t.Errorf("listening at %s", got)
	}
	for _, tt := range []struct{ to, from string }{
		{"10.0.0.2:53", "10.0.0.1"},
		{"[fd00::2]:53", "fd00::1"},
		{"[fe80::2%wire]:53", "fe80::1%wire"},
	} {
		unconnected := mustListenPacket(t, a, "udp", ":0")
		sendDatagram(t, unconnected, "ask", tt.to)
		data, from := datagram(t, server)
		if u, ok := from.(*net.UDPAddr); !ok || data != "ask" || u.AddrPort().Addr().String() != tt.from {
			t.Fatalf("%q from %T %v, want %s", data, from, from, tt.from)
		}
		if _, err := server.WriteTo([]byte("answer"), from); err != nil {
			t.Fatal(err)
		}
		if data, from = datagram(t, unconnected); data != "answer" || from.String() != tt.to {
			t.Errorf("%q from %v", data, from)
		}

		dialled := mustDial(t, a, "udp", tt.to)
		if _, err := dialled.Write([]byte("ask")); err != nil {
			t.Fatal(err)
		}
		if _, from = datagram(t, server); from.String() != dialled.LocalAddr().String() {
			t.Errorf("from %v, want %v", from, dialled.LocalAddr())
		}
		if dialled.RemoteAddr().String() != tt.to {
			t.Errorf("remote address %v", dialled.RemoteAddr())
		}
		// Others do not get through to a socket with a peer.
		other := mustListenPacket(t, b, "udp", ":0")
		if _, err := other.WriteTo([]byte("no"), from); err != nil {
			t.Fatal(err)
		}
		noDatagram(t, dialled.(*stack.UDPConn))
		if got, ok := pvd.Of(dialled); !ok || got != a.PvD() {
			t.Errorf("PvD %v", got)
		}
	}
}

func TestUDPLengths(t *testing.T) {
	a, b := couple(t)
	for _, host := range []string{"10.0.0.2", "fd00::2"} {
		server := mustListenPacket(t, b, "udp", net.JoinHostPort(host, "0"))
		client := mustDial(t, a, "udp", server.LocalAddr().String())
		most := 65507
		if host != "10.0.0.2" {
			most = 65527
		}
		for _, size := range []int{0, 1, 1472, 1473, 9000, most} {
			data := noise(size)
			if n, err := client.Write(data); err != nil || n != size {
				t.Fatalf("%s: %d of %d octets: %v", host, n, size, err)
			}
			if got, _ := datagram(t, server); got != string(data) {
				t.Errorf("%s: %d octets arrived of %d", host, len(got), size)
			}
		}
		_, err := client.Write(make([]byte, most+1))
		wantOpError(t, err, syscall.EMSGSIZE)
		_, err = mustListenPacket(t, a, "udp", ":0").WriteTo(make([]byte, most+1), server.LocalAddr())
		wantOpError(t, err, syscall.EMSGSIZE)

		// What does not fit is lost, with the rest of the datagram only.
		for _, data := range []string{"truncated", "next", "", "last"} {
			_, _ = client.Write([]byte(data))
		}
		buf := make([]byte, 5)
		for _, want := range []string{"trunc", "next", ""} {
			if n, _, err := server.ReadFrom(buf); err != nil || string(buf[:n]) != want {
				t.Errorf("%q, %v, want %q", buf[:n], err, want)
			}
		}
		if n, from, err := server.ReadFrom(nil); n != 0 || err != nil || from.String() != client.LocalAddr().String() {
			t.Errorf("no room: %d, %v, %v", n, from, err)
		}
		noDatagram(t, server)
	}
}

func TestUDPFamilies(t *testing.T) {
	n := alone(t)
	for network, to := range map[string]string{"udp4": "[fd00::2]:1", "udp6": "10.0.0.2:1"} {
		c := mustListenPacket(t, n, network, ":0")
		_, err := c.WriteToUDPAddrPort(nil, netip.MustParseAddrPort(to))
		wantOpError(t, err, syscall.EINVAL)
	}
	four, six := mustListenPacket(t, n, "udp4", ":7"), mustListenPacket(t, n, "udp6", ":7")
	both := mustListenPacket(t, n, "udp", ":0")
	sendDatagram(t, both, "4", "10.0.0.1:7")
	sendDatagram(t, both, "6", "[fd00::1]:7")
	sendDatagram(t, both, "m", "[::ffff:10.0.0.1]:7")
	for _, want := range []string{"4", "m"} {
		if got, from := datagram(t, four); got != want || len(from.(*net.UDPAddr).IP) != 4 {
			t.Errorf("%q from %#v", got, from)
		}
	}
	if got, _ := datagram(t, six); got != "6" {
		t.Errorf("%q", got)
	}
	// To the unspecified address is to oneself.
	_, port, _ := net.SplitHostPort(both.LocalAddr().String())
	sendDatagram(t, both, "self", "0.0.0.0:"+port)
	if got, from := datagram(t, both); got != "self" || !from.(*net.UDPAddr).IP.IsLoopback() {
		t.Errorf("%q from %v", got, from)
	}
}

// TestUDPSource has destinations for which the PvD's rules choose another source than
// gVisor would: the address that the only route may be taken from.
func TestUDPSource(t *testing.T) {
	h1, h2 := newHost(t), newHost(t)
	pipe(t, "wire", h1, h2)
	c := config("wire", "10.0.0.1/24", "172.16.0.1/24", "fd00::1/64", "2001:db8::1/64")
	c.Routes = []pvd.Route{
		{To: netip.MustParsePrefix("0.0.0.0/0"), From: netip.MustParsePrefix("172.16.0.0/24")},
		{To: netip.MustParsePrefix("::/0"), From: netip.MustParsePrefix("2001:db8::/64")},
	}
	a, b := add(t, h1, c), add(t, h2, config("wire", "11.0.0.2/24", "fd01::2/64"))
	server := mustListenPacket(t, b, "udp", ":53")
	l := mustListen(t, b, "tcp", ":53")
	for to, want := range map[string]string{"11.0.0.2:53": "172.16.0.1", "[fd01::2]:53": "2001:db8::1"} {
		unconnected := mustListenPacket(t, a, "udp", ":0")
		dialled := mustDial(t, a, "udp", to)
		for _, data := range []string{"", "x", string(noise(1001)), string(noise(5000))} {
			sendDatagram(t, unconnected, data, to)
			got, from := datagram(t, server)
			if from.(*net.UDPAddr).AddrPort().Addr().String() != want || got != data {
				t.Errorf("%d octets of %d from %v, want %s", len(got), len(data), from, want)
			}
			if _, err := server.WriteTo([]byte("back"), from); err != nil {
				t.Fatal(err)
			}
			if got, _ = datagram(t, unconnected); got != "back" {
				t.Errorf("%q", got)
			}
			_, _ = dialled.Write([]byte(data))
			if got, from = datagram(t, server); got != data || from.String() != dialled.LocalAddr().String() {
				t.Errorf("dialled: %d octets from %v", len(got), from)
			}
		}
		bound := mustListenPacket(t, a, "udp", net.JoinHostPort(want, "0"))
		sendDatagram(t, bound, "x", to)
		if _, from := datagram(t, server); from.String() != bound.LocalAddr().String() {
			t.Errorf("bound: from %v", from)
		}
		for range 5 {
			c := mustDial(t, a, "tcp", to)
			if got := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().String(); got != want {
				t.Errorf("TCP from %v", got)
			}
			s, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			_ = s.Close()
		}
		if _, err := a.Ping(t.Context(), netip.MustParseAddrPort(to).Addr()); err != nil {
			t.Error(err)
		}
	}
}

func TestUDPBroadcast(t *testing.T) {
	a, b := couple(t)
	server := mustListenPacket(t, b, "udp4", ":67")
	client := mustListenPacket(t, a, "udp4", ":68")
	for _, to := range []string{"10.0.0.255:67", "255.255.255.255:67"} {
		_, err := client.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort(to))
		wantOpError(t, err, syscall.EACCES)
	}
	if err := client.SetBroadcast(true); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"10.0.0.255:67", "255.255.255.255:67"} {
		sendDatagram(t, client, to, to)
		if got, _ := datagram(t, server); got != to {
			t.Errorf("%q", got)
		}
	}
}

func TestUDPMulticast(t *testing.T) {
	t.Parallel()
	a, b := couple(t)
	for _, tt := range []struct{ group, to string }{
		{"224.0.0.251", "224.0.0.251:5353"},
		{"ff02::fb", "[ff02::fb%wire]:5353"},
		{"ff02::fb", "[ff02::fb]:5353"},
	} {
		group := netip.MustParseAddr(tt.group)
		member, sender, own := mustListenPacket(t, b, "udp", ":5353"), mustListenPacket(t, a, "udp", ":0"), mustListenPacket(t, a, "udp", ":5353")
		sendDatagram(t, sender, "before", tt.to)
		noDatagram(t, member)
		for _, c := range []*stack.UDPConn{member, own} {
			if err := c.JoinGroup("", group); err != nil {
				t.Fatal(err)
			}
		}
		wantOpError(t, member.JoinGroup("wire", group), syscall.EADDRINUSE)
		wantOpError(t, member.JoinGroup("nowire", group), syscall.ENETDOWN)
		wantOpError(t, member.JoinGroup("wire", netip.MustParseAddr("10.0.0.1")), syscall.EINVAL)

		sendDatagram(t, sender, "in", tt.to)
		if got, _ := datagram(t, member); got != "in" {
			t.Errorf("%q", got)
		}
		if got, _ := datagram(t, own); got != "in" {
			t.Errorf("looped: %q", got)
		}
		if err := errors.Join(sender.SetMulticastLoopback(false), sender.SetMulticastTTL(4), sender.SetMulticastLink("wire")); err != nil {
			t.Fatal(err)
		}
		sendDatagram(t, sender, "far", tt.to)
		if got, _ := datagram(t, member); got != "far" {
			t.Errorf("%q", got)
		}
		noDatagram(t, own)
		if err := member.LeaveGroup("wire", group); err != nil {
			t.Fatal(err)
		}
		sendDatagram(t, sender, "after", tt.to)
		noDatagram(t, member)
		wantOpError(t, member.LeaveGroup("wire", group), syscall.EADDRNOTAVAIL)
		wantOpError(t, sender.SetMulticastTTL(0), syscall.EINVAL)
		wantOpError(t, sender.SetMulticastLink("nowire"), syscall.ENETDOWN)
		for _, c := range []*stack.UDPConn{member, sender, own} {
			_ = c.Close()
		}
	}
}

// TestUDPForeignAddress has addresses that name their PvD.
func TestUDPForeignAddress(t *testing.T) {
	a, b := couple(t)
	server := mustListenPacket(t, b, "udp", ":0")
	to := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), server.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	client := mustListenPacket(t, a, "udp", ":0")
	if _, err := client.WriteTo([]byte("own"), stack.NewAddr(a.PvD(), to)); err != nil {
		t.Fatal(err)
	}
	if got, _ := datagram(t, server); got != "own" {
		t.Errorf("%q", got)
	}
	_, err := client.WriteTo([]byte("other"), stack.NewAddr(a.PvD()+1, to))
	wantOpError(t, err, syscall.EACCES)
	noDatagram(t, server)
}

func TestUDPManyReaders(t *testing.T) {
	a, b := couple(t)
	server := mustListenPacket(t, b, "udp", "10.0.0.2:0")
	client := mustDial(t, a, "udp", server.LocalAddr().String())
	const readers, each = 4, 50
	got := make(chan []byte, readers*each)
	for range readers {
		go func() {
			buf := make([]byte, 10)
			for {
				n, _, err := server.ReadFromUDPAddrPort(buf)
				if err != nil {
					return
				}
				got <- bytes.Clone(buf[:n])
			}
		}()
	}
	for i := range readers * each {
		if _, err := client.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	seen := make(map[byte]bool)
	for range readers * each {
		select {
		case b := <-got:
			seen[b[0]] = true
		case <-time.After(longest):
			t.Fatalf("%d datagrams of %d", len(seen), readers*each)
		}
	}
	if len(seen) != readers*each {
		t.Errorf("%d datagrams of %d", len(seen), readers*each)
	}
}
