package tun_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// socketPair returns two links on the ends of a UNIX socket that keeps boundaries: links
// to the kernel that need no root, and push back.
func socketPair(t *testing.T, c tun.FDConfig) tuntest.Pair {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, err := tun.FromFD(fds[0], c)
	if err != nil {
		t.Fatal(err)
	}
	b, err := tun.FromFD(fds[1], c)
	if err != nil {
		t.Fatal(err)
	}
	return tuntest.Pair{A: a, B: b}
}

func TestFromFD(t *testing.T) {
	for name, c := range map[string]tun.FDConfig{
		"plain":            {Layer: tun.IP},
		"vnet header":      {Layer: tun.Ethernet, VNetHdr: true},
		"vnet header, MTU": {Name: "some", Layer: tun.IP, MTU: tun.MaxMTU, VNetHdr: true},
	} {
		t.Run(name, func(t *testing.T) {
			tuntest.TestLink(t, func(t *testing.T) tuntest.Pair { return socketPair(t, c) })
		})
	}
}

func TestSendRingLimit(t *testing.T) {
	p := socketPair(t, tun.FDConfig{Layer: tun.IP})
	defer p.B.Close()
	const length = 1000
	n, held := 0, 0
	for p.A.Send([][]byte{make([]byte, length)}, tun.Meta{}) == nil {
		n++
	}
	// Those that the socket took are readable; the ring holds the rest, less perhaps
	// the one that the writer has in hand.
	held = n
	drained := make([]byte, tun.MaxFrame)
	var m tun.Meta
	if err := p.A.Close(); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := p.B.Recv([][]byte{drained}, &m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		held--
	}
	if held != tun.SendRing && held != tun.SendRing+1 {
		t.Errorf("%d frames were held back, want %d or one more", held, tun.SendRing)
	}
	if got := p.A.(tun.LossCounter).Losses().Down; got != uint64(held) {
		t.Errorf("losses say %d frames, %d were lost", got, held)
	}
}

func TestManyPieces(t *testing.T) {
	p := socketPair(t, tun.FDConfig{Layer: tun.IP, MTU: 9000})
	defer p.A.Close()
	defer p.B.Close()
	pieces := make([][]byte, 5000) // more than one system call takes
	for i := range pieces {
		pieces[i] = []byte{byte(i)}
	}
	if err := p.A.Send(pieces, tun.Meta{}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 9000)
	var m tun.Meta
	n, err := p.B.Recv([][]byte{got}, &m)
	if err != nil || n != len(pieces) {
		t.Fatalf("recv: %d octets, %v, want %d", n, err, len(pieces))
	}
	for i := range pieces {
		if got[i] != byte(i) {
			t.Fatalf("octet %d is %d", i, got[i])
		}
	}
}

func TestFromFDRefuses(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	for _, c := range []tun.FDConfig{{}, {Layer: tun.IP, MTU: tun.MinMTU - 1}, {Layer: tun.IP, MTU: tun.MaxMTU + 1}} {
		if l, err := tun.FromFD(fds[0], c); err == nil {
			l.Close()
			t.Fatalf("FromFD took %+v", c)
		} else if !strings.HasPrefix(err.Error(), "tun: link from descriptor") {
			t.Errorf("error %q does not say what it is about", err)
		}
	}
	if _, err := tun.FromFD(-1, tun.FDConfig{Layer: tun.IP}); err == nil {
		t.Error("FromFD took descriptor -1")
	}
}

func TestEmptyDatagramsAreNoEnd(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	l, err := tun.FromFD(fds[0], tun.FDConfig{Layer: tun.IP})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, b := range [][]byte{nil, nil, {1, 2}} {
		if _, err := unix.Write(fds[1], b); err != nil {
			t.Fatal(err)
		}
	}
	watchdog := time.AfterFunc(5*time.Second, func() { l.Close() })
	defer watchdog.Stop()
	var m tun.Meta
	if n, err := l.Recv([][]byte{make([]byte, 9)}, &m); n != 2 || err != nil {
		t.Errorf("recv after empty datagrams: %d, %v, want 2", n, err)
	}
}

// Of what a virtio_net_hdr can say Meta leaves out what nobody needs, and the link drops
// what Meta can not say.
func TestVNetHdr(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	l, err := tun.FromFD(fds[0], tun.FDConfig{Layer: tun.IP, VNetHdr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const tcp4, tcp6, ufo, ecn = 1, 4, 3, 0x80
	frame := []byte{0x45, 1, 2, 3}
	for _, hdr := range [][]byte{
		{0, ufo, 0, 0, 0, 0, 0, 0, 0, 0},
		{0, 0, 0}, // cut off
		{},        // no frame
		{1, tcp4 | ecn, 54, 0, 0x78, 5, 34, 0, 16, 0},
		{2, 0, 9, 9, 9, 9, 9, 9, 9, 9},
		{1 | 4, tcp6, 1, 0, 2, 0, 3, 0, 4, 0},
	} {
		b := hdr
		if len(hdr) == 10 {
			b = append(hdr, frame...)
		}
		if _, err := unix.Write(fds[1], b); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []tun.Meta{
		{Flags: tun.NeedsCsum, GSO: tun.GSOTCP4, HdrLen: 54, GSOSize: 1400, CsumStart: 34, CsumOffset: 16},
		{Flags: tun.DataValid},
		{Flags: tun.NeedsCsum, GSO: tun.GSOTCP6, HdrLen: 1, GSOSize: 2, CsumStart: 3, CsumOffset: 4},
	} {
		got, m := recvUntil(t, l, func([]byte) bool { return true })
		if !bytes.Equal(got, frame) || m != want {
			t.Errorf("received %x with %+v, want %x with %+v", got, m, frame, want)
		}
	}
	if got := l.(tun.LossCounter).Losses().Invalid; got != 2 {
		t.Errorf("%d invalid frames, want 2", got)
	}
}
