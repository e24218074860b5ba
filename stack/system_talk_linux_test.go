package stack_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// The sizes of datagrams: one that fits in any packet, and one that comes in fragments
// at an MTU of 1500.
const (
	smallDatagram = 100
	largeDatagram = 4000
)

// talk has two nodes use each other in every way that both have: TCP connections dialled
// by either, with both directions in use, and datagrams, whole and in fragments.
func talk(t *testing.T, a, b node, addrA, addrB string) {
	t.Helper()
	for _, w := range []struct {
		from, to       node
		fromAddr, addr string
	}{{a, b, addrA, addrB}, {b, a, addrB, addrA}} {
		talkTCP(t, w.from, w.to, w.addr, 1<<20)
		for _, size := range []int{smallDatagram, largeDatagram} {
			talkUDP(t, w.from, w.to, w.addr, size, 1)
		}
	}
}

// talkTCP connects two nodes and has them send n octets to each other at once.
func talkTCP(t *testing.T, from, to node, addr string, n int) {
	t.Helper()
	c, s := join(t, from, to, addr)
	const up, down = 1, 2 // the patterns
	results := make(chan error, 4)
	go func() { results <- sendStream(c, up, n) }()
	go func() { results <- receiveStream(s, up, n) }()
	go func() { results <- sendStream(s, down, n) }()
	go func() { results <- receiveStream(c, down, n) }()
	for range cap(results) {
		if err := <-results; err != nil {
			t.Errorf("TCP from %v to %v: %v", c.LocalAddr(), c.RemoteAddr(), err)
		}
	}
	_ = c.Close()
	_ = s.Close()
}

// talkUDP sends a datagram from one node to another and has it sent back. Where a path
// is yet to be learned it may take several attempts, each way.
func talkUDP(t *testing.T, from, to node, addr string, size, attempts int) {
	t.Helper()
	s, err := to.ListenPacket(t.Context(), "udp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Error(err)
		return
	}
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		echoUDP(s)
	}()
	defer func() {
		_ = s.Close()
		<-echoed
	}()
	c, err := from.DialContext(t.Context(), "udp", s.LocalAddr().String())
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	wait := systemPatience
	if attempts > 1 {
		wait = 300 * time.Millisecond
	}
	sent, got := make([]byte, size), make([]byte, size+1)
	_, _ = pattern(uint64(size)).Read(sent)
	for try := 1; ; try++ {
		_, werr := c.Write(sent)
		_ = c.SetReadDeadline(time.Now().Add(wait))
		n, rerr := c.Read(got)
		switch {
		case werr == nil && rerr == nil && string(got[:n]) == string(sent):
			return
		case rerr == nil:
			t.Errorf("UDP from %v to %v: %d octets came back, not those %d that were sent", c.LocalAddr(), c.RemoteAddr(), n, size)
			return
		case try == attempts:
			t.Errorf("UDP of %d octets from %v to %v: %v", size, c.LocalAddr(), c.RemoteAddr(), errors.Join(werr, rerr))
			return
		}
	}
}

// echoUDP sends every datagram back to where it came from, until c is closed.
func echoUDP(c net.PacketConn) {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = c.WriteTo(buf[:n], from) // who waits for it will say
		}
	}
}

// ping has a kernel send an echo request that fits in a packet, and one in fragments. Each
// is a command of its own: after an answer, ping(8) waits for the next one no longer than
// two round trips.
func ping(t *testing.T, ns *tuntest.NS, addr string) {
	t.Helper()
	for _, size := range []int{56, largeDatagram} {
		ns.Exec("ping", "-n", "-c", "1", "-W", "10", "-s", strconv.Itoa(size), addr)
	}
}

// pingFrom has a PvD send an echo request.
func pingFrom(t *testing.T, n *stack.Network, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), systemPatience)
	defer cancel()
	if took, err := n.Ping(ctx, netip.MustParseAddr(addr)); err != nil {
		t.Errorf("ping %s: %v", addr, err)
	} else if took <= 0 {
		t.Errorf("ping %s took %v", addr, took)
	}
}

// TestSystemTalk has a PvD and a kernel talk over each kind of link: TCP, UDP and ICMP
// echo, each way and in both families.
func TestSystemTalk(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t)
			ns := tuntest.NewNS(t)
			r.wire("wire", kind, ns, "dev", 1500)
			addrs(ns, "dev", "192.0.2.1/24", "2001:db8::1/64")
			n := r.add(config("wire", "192.0.2.2/24", "2001:db8::2/64"))[0]
			for _, a := range [][2]string{{"192.0.2.2", "192.0.2.1"}, {"2001:db8::2", "2001:db8::1"}} {
				talk(t, n, kernel{ns}, a[0], a[1])
				ping(t, ns, a[0])
				pingFrom(t, n, a[1])
			}
			if kind == kindTUN {
				return // the far end does not say whether somebody has an address
			}
			var both sync.WaitGroup
			for _, nobody := range []string{"192.0.2.77", "2001:db8::77"} {
				both.Go(func() {
					if _, err := n.Ping(t.Context(), mustAddr(nobody)); !errors.Is(err, syscall.EHOSTUNREACH) {
						t.Errorf("ping %s, which nobody has: %v", nobody, err)
					}
				})
			}
			both.Wait()
		})
	}
}
