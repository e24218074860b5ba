package tun_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

const patience = 10 * time.Second

func openTAP(t *testing.T, ns *tuntest.NS, c tun.TAPConfig) tun.Link {
	t.Helper()
	var l tun.Link
	ns.Do(func() {
		t.Helper()
		var err error
		if l, err = tun.OpenTAP(c); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { l.Close() })
	return l
}

func openTUN(t *testing.T, ns *tuntest.NS, c tun.TUNConfig) tun.Link {
	t.Helper()
	var l tun.Link
	ns.Do(func() {
		t.Helper()
		var err error
		if l, err = tun.OpenTUN(c); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { l.Close() })
	return l
}

// Two TAP devices that the kernel bridges are the two ends of an Ethernet.
func TestTAP(t *testing.T) {
	tuntest.TestLink(t, func(t *testing.T) tuntest.Pair {
		ns := tuntest.NewNS(t)
		a := openTAP(t, ns, tun.TAPConfig{Name: "left"})
		b := openTAP(t, ns, tun.TAPConfig{Name: "right"})
		ns.Bridge("br0", "left", "right")
		return tuntest.Pair{A: a, B: b, Kernel: true}
	})
}

// relay carries frames between two links, with their Meta, and remembers the longest
// and whether one came with a checksum to do.
type relay struct {
	longest atomic.Int64
	partial atomic.Bool
}

func startRelay(t *testing.T, a, b tun.Link) *relay {
	t.Helper()
	r := &relay{}
	var both sync.WaitGroup
	carry := func(from, to tun.Link) {
		bufs := [][]byte{make([]byte, 256), make([]byte, tun.MaxFrame)}
		piece := make([][]byte, 2)
		for {
			var m tun.Meta
			n, err := from.Recv(bufs, &m)
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("recv on %s: %v", from.Name(), err)
				}
				return
			}
			r.longest.Store(max(r.longest.Load(), int64(n)))
			if m.Flags&tun.NeedsCsum != 0 {
				r.partial.Store(true)
			}
			piece[0], piece[1] = bufs[0][:min(n, 256)], bufs[1][:max(n-256, 0)]
			for errors.Is(to.Send(piece, m), tun.ErrFull) && to.WaitSend(patience, nil) {
			}
		}
	}
	both.Go(func() { carry(a, b) })
	both.Go(func() { carry(b, a) })
	t.Cleanup(func() {
		a.Close()
		b.Close()
		both.Wait()
	})
	return r
}

// bulk sends octets from a TCP socket of one namespace to one of another, which is at
// addr, and compares.
func bulk(t *testing.T, from, to *tuntest.NS, addr string) {
	t.Helper()
	want := make([]byte, 8<<20)
	rand.Read(want)
	var l net.Listener
	to.Do(func() {
		t.Helper()
		var err error
		if l, err = net.Listen("tcp", net.JoinHostPort(addr, "0")); err != nil {
			t.Fatal(err)
		}
	})
	defer l.Close()
	sent := make(chan error, 1)
	var c net.Conn
	from.Do(func() {
		t.Helper()
		var err error
		if c, err = net.DialTimeout("tcp", l.Addr().String(), patience); err != nil {
			t.Fatal(err)
		}
	})
	go func() {
		_, err := c.Write(want)
		sent <- errors.Join(err, c.Close())
	}()
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.SetDeadline(time.Now().Add(3 * patience)) // ReadAll would say
	got, err := io.ReadAll(s)
	if err := errors.Join(err, <-sent); err != nil {
		t.Fatalf("after %d octets: %v", len(got), err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the octets that arrived are not those that were sent")
	}
}

// Two kernels talk TCP through two links of a kind, with us in between: segments of
// 64 KB pass unsplit both ways.
func TestKernelsTalkThroughLinks(t *testing.T) {
	for _, mtu := range []int{1280, 1500, 9000} {
		if testing.Short() && mtu != 1500 {
			continue
		}
		for kind, open := range map[string]func(*testing.T, *tuntest.NS) tun.Link{
			"tun": func(t *testing.T, ns *tuntest.NS) tun.Link {
				return openTUN(t, ns, tun.TUNConfig{Name: "dev", MTU: mtu})
			},
			"tap": func(t *testing.T, ns *tuntest.NS) tun.Link {
				return openTAP(t, ns, tun.TAPConfig{Name: "dev", MTU: mtu})
			},
		} {
			t.Run(kind+strconv.Itoa(mtu), func(t *testing.T) {
				tuntest.CheckLeaks(t)
				a, b := tuntest.NewNS(t), tuntest.NewNS(t)
				la, lb := open(t, a), open(t, b)
				if la.MTU() != mtu || la.Name() != "dev" {
					t.Errorf("link is %q with MTU %d, want dev, %d", la.Name(), la.MTU(), mtu)
				}
				r := startRelay(t, la, lb)
				for i, ns := range []*tuntest.NS{a, b} {
					n := strconv.Itoa(i + 1)
					ns.IP("addr", "add", "192.0.2."+n+"/24", "dev", "dev")
					ns.IP("addr", "add", "2001:db8::"+n+"/64", "dev", "dev")
				}
				for _, addr := range []string{"192.0.2.2", "2001:db8::2"} {
					r.longest.Store(0)
					bulk(t, a, b, addr)
					if got := r.longest.Load(); got < 40000 {
						t.Errorf("to %s: longest frame has %d octets, want segments of 64 KB", addr, got)
					}
				}
				bulk(t, b, a, "192.0.2.1")
				if !r.partial.Load() {
					t.Error("no frame came with its checksum left to do")
				}
			})
		}
	}
}

// A UDP socket with UDP_SEGMENT hands the kernel one large datagram, which arrives as
// one frame where the device offers that.
func TestUDPSegmentsUnsplit(t *testing.T) {
	ns := tuntest.NewNS(t)
	l := openTUN(t, ns, tun.TUNConfig{})
	if l.Offload()&tun.OffloadUDP == 0 {
		t.Skip("needs Linux 6.2: UDP segmentation offload on TUN")
	}
	ns.IP("addr", "add", "192.0.2.1/24", "dev", l.Name())
	ns.Do(func() {
		c, err := net.Dial("udp", "192.0.2.2:9")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		rc, err := c.(*net.UDPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var opt error
		rc.Control(func(fd uintptr) { opt = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1000) })
		if _, err := c.Write(make([]byte, 32000)); err != nil || opt != nil {
			t.Fatal(err, opt)
		}
	})
	got, m := recvUntil(t, l, func(f []byte) bool { return f[0]>>4 == 4 && f[9] == unix.IPPROTO_UDP })
	if len(got) != 32000+28 || m.GSO != tun.GSOUDP || m.GSOSize != 1000 || m.CsumStart != 20 || m.CsumOffset != 6 {
		t.Errorf("frame of %d octets with %+v, want 32028 octets, GSO of UDP by 1000", len(got), m)
	}
}

// recvUntil returns the first frame that is as wanted.
func recvUntil(t *testing.T, l tun.Link, want func([]byte) bool) ([]byte, tun.Meta) {
	t.Helper()
	watchdog := time.AfterFunc(patience, func() { l.Close() })
	defer watchdog.Stop()
	b := make([]byte, tun.MaxFrame)
	for {
		var m tun.Meta
		n, err := l.Recv([][]byte{b}, &m)
		if err != nil {
			t.Fatalf("recv on %s: %v", l.Name(), err)
		}
		if want(b[:n]) {
			return b[:n], m
		}
	}
}

func TestOpenTUNNames(t *testing.T) {
	ns := tuntest.NewNS(t)
	if got := openTUN(t, ns, tun.TUNConfig{Name: "pvd%d"}).Name(); got != "pvd0" {
		t.Errorf("pvd%%d became %q, want pvd0", got)
	}
	if got := openTAP(t, ns, tun.TAPConfig{}).Name(); got != "tap0" {
		t.Errorf("a TAP device without name became %q, want tap0", got)
	}
	if got := ns.IP("link", "show", "pvd0"); !strings.Contains(got, "qlen "+strconv.Itoa(tun.TxQueueLen)) {
		t.Errorf("transmit queue is not %d: %s", tun.TxQueueLen, got)
	}
	for _, c := range []tun.TUNConfig{
		{Name: "sixteen-octets-1"},
		{Name: "a/b"},
		{Name: "."},
		{MTU: 67},
		{MTU: 65536},
		{Name: "pvd0"},
		{Name: "lo"}, // in use, and of another kind
	} {
		ns.Do(func() {
			fds := countFDs(t)
			if l, err := tun.OpenTUN(c); err == nil {
				l.Close()
				t.Errorf("OpenTUN took %+v", c)
			} else if !strings.HasPrefix(err.Error(), "tun: open TUN "+strconv.Quote(c.Name)) {
				t.Errorf("error %q does not say what it is about", err)
			}
			if now := countFDs(t); now != fds {
				t.Errorf("OpenTUN of %+v left %d descriptors", c, now-fds)
			}
		})
	}
}

func countFDs(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func TestCloseRemovesDevice(t *testing.T) {
	ns := tuntest.NewNS(t)
	ns.IP("tuntap", "add", "stays", "mode", "tap", "vnet_hdr")
	for _, name := range []string{"goes", "stays"} {
		l := openTAP(t, ns, tun.TAPConfig{Name: name})
		if err := l.Close(); err != nil {
			t.Errorf("close %s: %v", name, err)
		}
		if there := strings.Contains(ns.IP("-br", "link"), name); there != (name == "stays") {
			t.Errorf("after Close, is %s there: %t", name, there)
		}
	}
}

func TestFromFDOfTUN(t *testing.T) {
	ns := tuntest.NewNS(t)
	var fd int
	ns.Do(func() {
		var err error
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
		ifr, _ := unix.NewIfreq("given")
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			t.Fatal(err)
		}
	})
	for _, c := range []tun.FDConfig{{}, {Layer: tun.Ethernet, VNetHdr: true}} {
		if _, err := tun.FromFD(fd, c); err == nil {
			t.Fatalf("FromFD took a TUN device with header for %+v", c)
		}
	}
	l, err := tun.FromFD(fd, tun.FDConfig{VNetHdr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Name() != "given" || l.Layer() != tun.IP || l.Offload()&tun.OffloadTCP4 == 0 {
		t.Errorf("link is %q, %v, offload %v", l.Name(), l.Layer(), l.Offload())
	}
	ns.IP("link", "set", "given", "up")
	ns.IP("link", "del", "given")
	var m tun.Meta
	for {
		if _, err = l.Recv([][]byte{make([]byte, 2000)}, &m); err != nil {
			break
		}
	}
	if !errors.Is(err, tun.ErrDown) {
		t.Errorf("recv after the device was deleted: %v, want %v", err, tun.ErrDown)
	}
	if e := <-l.Events(); e.Up || !errors.Is(e.Err, tun.ErrDown) {
		t.Errorf("event %+v, want down", e)
	}
}
