package daemon

import (
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
