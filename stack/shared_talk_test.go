package stack_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// lease is the address that PvDs of these tests share, and peerAddr that of whom they talk to.
const (
	lease    = "10.0.0.1"
	peerAddr = "10.0.0.2"
)

func leaseholder(name string) pvd.Config {
	c := config("wire", lease+"/24")
	c.Name = name
	c.Addresses[0].Shared = true
	return c
}

// sharers returns the networks of PvDs that share one address, and that of a peer on their
// link.
func sharers(t testing.TB, layer tun.Layer, n int) (h *stack.Host, by []*stack.Network, peer *stack.Network) {
	t.Helper()
	h, far := newHost(t), newHost(t)
	pipeOf(t, layer, "wire", h, far)
	for i := range n {
		by = append(by, add(t, h, leaseholder(fmt.Sprintf("pvd%d", i))))
	}
	return h, by, add(t, far, config("wire", peerAddr+"/24"))
}

func eachLayer(t *testing.T, f func(t *testing.T, layer tun.Layer)) {
	for _, layer := range []tun.Layer{tun.Ethernet, tun.IP} {
		t.Run(fmt.Sprint(layer), func(t *testing.T) { f(t, layer) })
	}
}

// converse has two ends of a connection say something to each other, in both directions.
func converse(t testing.TB, a, b net.Conn, what string) {
	t.Helper()
	for _, c := range []struct{ from, to net.Conn }{{a, b}, {b, a}} {
		deadline := time.Now().Add(10 * time.Second)
		_ = c.from.SetDeadline(deadline)
		_ = c.to.SetDeadline(deadline)
		if _, err := io.WriteString(c.from, what); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(what))
		if _, err := io.ReadFull(c.to, got); err != nil || string(got) != what {
			t.Fatalf("%q, %v; want %q", got, err, what)
		}
	}
}

// Connections of PvDs with one address, to one server and from there, each stay in their own.
func TestSharedTCP(t *testing.T) {
	eachLayer(t, func(t *testing.T, layer tun.Layer) {
		_, by, peer := sharers(t, layer, 3)
		server := mustListen(t, peer, "tcp", peerAddr+":80")
		ports := make(map[string]bool)
		for round := range 4 {
			for i, n := range by {
				c := mustDial(t, n, "tcp", server.Addr().String())
				s, err := server.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				converse(t, c, s, fmt.Sprintf("to %d, %d", i, round))
				if ports[c.LocalAddr().String()] {
					t.Errorf("%v is in use twice", c.LocalAddr())
				}
				ports[c.LocalAddr().String()] = true
			}
		}
		for i, n := range by {
			client, own := connect(t, peer, n, lease)
			converse(t, client, own, fmt.Sprintf("from %d", i))
			if own.PvD() != n.PvD() {
				t.Errorf("listener %d: the connection is in %v", i, own.PvD())
			}
		}
	})
}

// Of listeners at one port the oldest PvD's gets the connections, and when that is gone the
// next.
func TestSharedListenersAtOnePort(t *testing.T) {
	eachLayer(t, func(t *testing.T, layer tun.Layer) {
		h, by, peer := sharers(t, layer, 2)
		accepted := make(chan pvd.Ref, 2)
		for _, n := range by {
			l := mustListen(t, n, "tcp", lease+":80")
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					defer c.Close()
					ref, _ := pvd.Of(c)
					accepted <- ref
				}
			}()
		}
		_ = mustListen(t, by[1], "tcp", ":81")
		c := mustDial(t, peer, "tcp", lease+":80")
		if got := <-accepted; got != by[0].PvD() {
			t.Errorf("the connection is in %v, want %v", got, by[0].PvD())
		}
		old := mustDial(t, peer, "tcp", lease+":81")
		_, _ = old, c
		if err := h.Remove(t.Context(), by[0].PvD()); err != nil {
			t.Fatal(err)
		}
		mustDial(t, peer, "tcp", lease+":80")
		if got := <-accepted; got != by[1].PvD() {
			t.Errorf("then it is in %v, want %v", got, by[1].PvD())
		}
	})
}

var _ = []any{context.Background, errors.New, netip.Addr{}, strings.Contains, sync.Mutex{}, syscall.EADDRINUSE}
