package daemon

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/tun"
)

// TestOpenDescriptor opens a link on a descriptor that was opened by somebody else.
func TestOpenDescriptor(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	// What is handed over is not closed when a process begins.
	if _, err := unix.FcntlInt(uintptr(fds[0]), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	k := newKernel()
	c := config.Link{Name: "inherited", Type: config.FD, FD: fds[0], Layer: config.IP, MTU: 1400}
	l, err := k.open(c)
	if err != nil {
		t.Fatal(err)
	}
	if l.Name() != "inherited" || l.Layer() != tun.IP || l.MTU() != 1400 {
		t.Errorf("the link is %q of layer %d and MTU %d", l.Name(), l.Layer(), l.MTU())
	}
	undo, err := k.prepare(c) // there is no device of the kernel's to prepare
	if err != nil {
		t.Fatal(err)
	}
	if err := undo(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := unix.Write(fds[1], []byte{0}); err == nil {
		t.Error("the descriptor is still open")
	}
}

// TestOpenOwnDescriptor holds that a link does not get a descriptor that nobody has handed over,
// such as that of a proxy's socket: which number that has is chance.
func TestOpenOwnDescriptor(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var own int
	if err := raw.Control(func(fd uintptr) { own = int(fd) }); err != nil {
		t.Fatal(err)
	}
	for _, fd := range []int{own, 1 << 19} { // the latter is not open
		l, err := newKernel().open(config.Link{Name: "f", Type: config.FD, FD: fd, Layer: config.IP, MTU: 1400})
		if !errors.Is(err, unix.EBADF) {
			t.Errorf("descriptor %d: %v", fd, err)
		}
		if err == nil {
			t.Error(l.Close())
		}
	}
}
