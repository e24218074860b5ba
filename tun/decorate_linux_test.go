package tun_test

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// Two kernels, which check every checksum, talk through the decorators: their large
// segments are cut up here, and recorded.
func TestDecoratorsBetweenKernels(t *testing.T) {
	never := tun.Impairment{Drop: func(tun.Frame) bool { return false }}
	for name, c := range map[string]tun.ImpairConfig{
		"pass":  {},
		"split": {In: never, Out: never},
		"loss": {Seed: 1, In: tun.Impairment{Loss: 0.01}, Out: tun.Impairment{
			Corrupt: 0.001, Duplicate: 0.01, Reorder: 0.01, Delay: 200 * time.Microsecond,
		}},
	} {
		if testing.Short() && name != "split" {
			continue
		}
		for _, layer := range []tun.Layer{tun.IP, tun.Ethernet} {
			t.Run(name+map[tun.Layer]string{tun.IP: " TUN", tun.Ethernet: " TAP"}[layer], func(t *testing.T) {
				testBetweenKernels(t, layer, c, name == "loss")
			})
		}
	}
}

func testBetweenKernels(t *testing.T, layer tun.Layer, c tun.ImpairConfig, lossy bool) {
	left, right := tuntest.NewNS(t), tuntest.NewNS(t)
	var a, b tun.Link
	if layer == tun.IP {
		a, b = openTUN(t, left, tun.TUNConfig{}), openTUN(t, right, tun.TUNConfig{})
	} else {
		a, b = openTAP(t, left, tun.TAPConfig{}), openTAP(t, right, tun.TAPConfig{})
	}
	left.IP("addr", "add", "192.0.2.1/24", "dev", a.Name())
	right.IP("addr", "add", "192.0.2.2/24", "dev", b.Name())
	left.IP("addr", "add", "2001:db8::1/64", "dev", a.Name(), "nodad")
	right.IP("addr", "add", "2001:db8::2/64", "dev", b.Name(), "nodad")

	var file bytes.Buffer
	capture := tun.NewCapture(&file, tun.CaptureConfig{SnapLen: tun.MaxFrame, MaxBytes: 48 << 20})
	var large, largeUDP atomic.Int64
	wire := tun.Tap(capture.Link(a, "wire"), func(_ tun.Direction, _ [][]byte, m tun.Meta) {
		if m.GSO != tun.GSONone {
			large.Add(1)
		}
		if m.GSO == tun.GSOUDP {
			largeUDP.Add(1)
		}
	})
	impaired := impair(t, wire, c)
	startRelay(t, impaired, b)

	bulk(t, left, right, "192.0.2.2")
	bulk(t, right, left, "2001:db8::1")
	if !lossy {
		if b.Offload()&tun.OffloadUDP != 0 {
			datagrams(t, left, right, netip.MustParseAddrPort("192.0.2.2:4242"))
			datagrams(t, right, left, netip.MustParseAddrPort("[2001:db8::1]:4242"))
			if largeUDP.Load() == 0 {
				t.Error("the kernels sent no large UDP frames")
			}
		}
		for _, ns := range []*tuntest.NS{left, right} {
			counters := ns.Exec("cat", "/proc/net/snmp", "/proc/net/snmp6")
			if n := checksumErrors(counters); n != 0 {
				t.Errorf("%d checksum errors:\n%s", n, counters)
			}
		}
	}
	out, in := impaired.Counters()
	if err := errors.Join(impaired.Close(), b.Close(), capture.Close()); err != nil {
		t.Error(err)
	}
	if large.Load() == 0 {
		t.Error("the kernels sent no large segments: nothing was tested")
	}
	if out.DropMalformed+in.DropMalformed != 0 {
		t.Errorf("out %+v, in %+v", out, in)
	}
	if lossy {
		return // what the far side corrupted is recorded here
	}
	bad := 0
	for _, line := range tshark(t, file.Bytes(), "ip.checksum.status", "tcp.checksum.status", "udp.checksum.status", "icmpv6.checksum.status") {
		if strings.ContainsAny(line, "02") { // bad, not checked
			bad++
		}
	}
	if bad != 0 {
		t.Errorf("tshark finds %d frames with bad checksums", bad)
	}
}

// datagrams sends datagrams with one system call, for the device to segment.
func datagrams(t *testing.T, from, to *tuntest.NS, addr netip.AddrPort) {
	t.Helper()
	const count, size = 20, 1000
	var server, client *net.UDPConn
	var err error
	to.Do(func() { server, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr)) })
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	from.Do(func() { client, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(addr)) })
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	raw, err := client.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), syscall.IPPROTO_UDP, unix.UDP_SEGMENT, size)
	}); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	data := make([]byte, count*size-1)
	for i := range data {
		data[i] = byte(i / size)
	}
	if _, err := client.Write(data); err != nil {
		t.Fatal(err)
	}
	server.SetReadDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck // the reads would show
	buf := make([]byte, 65536)
	for i := range count {
		n, err := server.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || buf[0] != byte(i) || n != min(size, len(data)-i*size) {
			t.Fatalf("datagram %d: %d octets that begin with %d, %v", i, n, buf[0], err)
		}
	}
}

// checksumErrors adds up what /proc/net/snmp and snmp6 say of wrong checksums.
func checksumErrors(counters string) int {
	total := 0
	var names []string
	for line := range strings.Lines(counters) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && strings.HasSuffix(fields[0], "CsumErrors"):
			total += atoi(fields[1])
		case names == nil || fields[0] != names[0]:
			names = fields
		default:
			for i, n := range names[1:] {
				if n == "InCsumErrors" {
					total += atoi(fields[i+1])
				}
			}
			names = nil
		}
	}
	return total
}

func atoi(s string) int {
	n := 0
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}
