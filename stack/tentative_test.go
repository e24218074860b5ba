package stack_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// TestTentative uses a PvD while its addresses go through duplicate address detection:
// what can wait does, what can not has an error.
func TestTentative(t *testing.T) {
	h1, h2 := newHost(t), newHost(t)
	l, r := tun.Pipe(tun.PipeConfig{})
	if err := errors.Join(h1.AddLink("wire", l), h2.AddLink("wire", r)); err != nil {
		t.Fatal(err)
	}
	b := add(t, h2, config("wire", "fd00::2/64"))
	mustListen(t, b, "tcp", ":80")
	server := mustListenPacket(t, b, "udp", ":80")

	ref, err := h1.Add(t.Context(), config("wire", "fd00::1/64"))
	if err != nil {
		t.Fatal(err)
	}
	a := h1.In(ref)
	info, err := h1.Info(ref)
	if err != nil {
		t.Fatal(err)
	}
	if pvd.HasAddr6.Holds(info) {
		t.Fatal("the address can be used at once: nothing to wait for")
	}
	wantOpError(t, listenErr(t.Context(), a, "tcp", "[fd00::1]:80"), syscall.EADDRNOTAVAIL)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantOpError(t, dialErr(ctx, a, "tcp", "[fd00::2]:80"), os.ErrDeadlineExceeded)
	c := mustListenPacket(t, a, "udp", ":0")
	to := netip.MustParseAddrPort("[fd00::2]:80")
	_ = c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	_, err = c.WriteToUDPAddrPort([]byte("x"), to)
	wantOpError(t, err, os.ErrDeadlineExceeded)
	_ = c.SetWriteDeadline(time.Time{})

	dialled := make(chan error, 1)
	go func() { dialled <- dialErr(t.Context(), a, "tcp", "[fd00::2]:80") }()
	if _, err := c.WriteToUDPAddrPort([]byte("after"), to); err != nil {
		t.Fatal(err)
	}
	if got, _ := datagram(t, server); got != "after" {
		t.Errorf("%q", got)
	}
	if err := <-dialled; err != nil {
		t.Error(err)
	}
}

// TestTentativeIsRemoved ends calls that wait for an address when the PvD goes.
func TestTentativeIsRemoved(t *testing.T) {
	for name, call := range map[string]func(n *stack.Network) error{
		"dial": func(n *stack.Network) error { return dialErr(t.Context(), n, "tcp", "[fd00::2]:80") },
		"send": func(n *stack.Network) error {
			c, err := n.ListenPacket(t.Context(), "udp", ":0")
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.(*stack.UDPConn).WriteToUDPAddrPort(nil, netip.MustParseAddrPort("[fd00::2]:80"))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			l, r := tun.Pipe(tun.PipeConfig{})
			t.Cleanup(func() { _ = r.Close() })
			if err := h.AddLink("wire", l); err != nil {
				t.Fatal(err)
			}
			ref, err := h.Add(t.Context(), config("wire", "fd00::1/64"))
			if err != nil {
				t.Fatal(err)
			}
			err = returnsSoon(t, func() error { return call(h.In(ref)) }, func() { _ = h.Remove(t.Context(), ref) })
			wantOpError(t, err, pvd.ErrNoPvD)
		})
	}
}
