//go:build synctest

package stack_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// TestVirtualTime holds the ground that every other test with this build tag stands on:
// gVisor stacks run in a synctest bubble, and there time costs nothing. Nothing of the
// project is in it, so that a failure here means the mechanism (.ci/synctest) and a
// failure elsewhere means us.
func TestVirtualTime(t *testing.T) {
	const (
		delay = 50 * time.Millisecond // each way
		size  = 1 << 20
	)
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)

	began := time.Now()
	var virtual time.Duration
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		a, linkA := bareStack(t, "10.0.0.1")
		b, linkB := bareStack(t, "10.0.0.2")
		cross(t, linkA, linkB, delay)
		cross(t, linkB, linkA, delay)

		server := tcpip.FullAddress{NIC: 1, Addr: addr4("10.0.0.2"), Port: 80}
		l, err := gonet.ListenTCP(b, server, ipv4.ProtocolNumber)
		if err != nil {
			t.Fatal(err)
		}
		var g errgroup.Group
		g.Go(func() error {
			defer l.Close()
			c, err := l.Accept()
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write(data)
			return err
		})
		c, err := gonet.DialContextTCP(t.Context(), a, server, ipv4.ProtocolNumber)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, data) {
			t.Errorf("got %d bytes that are not the %d sent", len(got), size)
		}
		virtual = time.Since(began)
	})

	// A handshake, a request's worth of slow start and a FIN take some round trips.
	if virtual < 3*2*delay {
		t.Errorf("%v of virtual time passed, want at least 3 round trips of %v", virtual, 2*delay)
	}
	if real := time.Since(began); real > virtual {
		t.Errorf("%v of virtual time took %v: the bubble's clock is not virtual", virtual, real)
	}
}

func addr4(s string) tcpip.Address { return tcpip.AddrFrom4Slice(net.ParseIP(s).To4()) }

// bareStack returns a gVisor stack with one address and everything on-link. It is
// destroyed at the end of the test, since a bubble ends only when its goroutines have.
func bareStack(t *testing.T, addr string) (*gstack.Stack, *channel.Endpoint) {
	t.Helper()
	s := gstack.New(gstack.Options{
		NetworkProtocols:   []gstack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []gstack.TransportProtocolFactory{tcp.NewProtocol},
	})
	link := channel.New(1024, 1500, "")
	if err := s.CreateNIC(1, link); err != nil {
		t.Fatal(err)
	}
	protocolAddr := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: addr4(addr).WithPrefix()}
	if err := s.AddProtocolAddress(1, protocolAddr, gstack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	s.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
	t.Cleanup(func() {
		link.Close()
		s.Destroy()
	})
	return s, link
}

// cross carries packets from one link to the other, each a delay after it was sent, in
// their order, until the test ends.
func cross(t *testing.T, from, to *channel.Endpoint, delay time.Duration) {
	t.Helper()
	type timed struct {
		pkt *gstack.PacketBuffer
		at  time.Time
	}
	ctx, cancel := context.WithCancel(context.Background())
	flight := make(chan timed, 1<<16)
	go func() {
		defer close(flight)
		for {
			pkt := from.ReadContext(ctx)
			if pkt == nil {
				return
			}
			flight <- timed{pkt, time.Now().Add(delay)}
		}
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for p := range flight {
			time.Sleep(time.Until(p.at))
			in := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: p.pkt.ToBuffer()})
			p.pkt.DecRef()
			to.InjectInbound(ipv4.ProtocolNumber, in)
			in.DecRef()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}
