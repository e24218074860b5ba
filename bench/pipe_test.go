package main

import (
	"io"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/pvdstack/pvdstack/tun"
)

// The benchmarks below have no kernel in them: an engine and a bare stack as its peer, on a
// link in memory. Their cpu-ns/op is processor time, both sides included, which other
// work on the machine spoils little. GOMAXPROCS=1 spoils it least.

// eachEngine runs f for every engine and kind of link. It is given the engine, and a
// listener of the peer at an address.
func eachEngine(b *testing.B, f func(b *testing.B, e engine, l *pipeListener)) {
	for _, layer := range []tun.Layer{tun.IP, tun.Ethernet} {
		for _, name := range []string{"pvdstack", "bare"} {
			b.Run(layerName(layer)+"/"+name, func(b *testing.B) {
				near, far := tun.Pipe(tun.PipeConfig{Layer: layer})
				a := attachmentOf(1)
				peer, err := newBareEngine(far, attachment{own: a.peer, peer: a.own})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { peer.close() })
				var e engine
				if name == "pvdstack" {
					e, err = newHostEngine(b.Context(), near, a)
				} else {
					e, err = newBareEngine(near, a)
				}
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { e.close() })
				f(b, e, listenBare(b, peer, netip.AddrPortFrom(a.peer, portEcho)))
			})
		}
	}
}

// A pipeListener is a listener of a bare stack.
type pipeListener struct {
	ep    tcpip.Endpoint
	ready chan struct{}
	addr  netip.AddrPort
}

func listenBare(b *testing.B, e *bareEngine, addr netip.AddrPort) *pipeListener {
	b.Helper()
	wq := new(waiter.Queue)
	ep, err := e.stk.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, wq)
	if err != nil {
		b.Fatal(err)
	}
	entry, ready := waiter.NewChannelEntry(waiter.ReadableEvents)
	wq.EventRegister(&entry)
	if err := ep.Bind(tcpip.FullAddress{Port: addr.Port()}); err != nil {
		b.Fatal(err)
	}
	if err := ep.Listen(1024); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(ep.Close)
	return &pipeListener{ep, ready, addr}
}

func (l *pipeListener) accept() conn {
	for {
		ep, wq, err := l.ep.Accept(nil)
		if err == nil {
			return newBareConn(ep, wq)
		}
		<-l.ready
	}
}

// connect returns both ends of a connection.
func (l *pipeListener) connect(b *testing.B, e engine) (ours, peers conn) {
	b.Helper()
	ours, err := e.dial(b.Context(), l.addr)
	if err != nil {
		b.Fatal(err)
	}
	return ours, l.accept()
}

// reportCPU reports the processor time of b.N operations; its result is deferred.
func reportCPU(b *testing.B) func() {
	b.ReportAllocs()
	began := cpuTime()
	return func() { b.ReportMetric(float64(cpuTime()-began)/float64(b.N), "cpu-ns/op") }
}

func BenchmarkRoundTrip(b *testing.B) {
	eachEngine(b, func(b *testing.B, e engine, l *pipeListener) {
		c, peer := l.connect(b, e)
		defer reset(c)
		go func() {
			defer reset(peer)
			for buf := make([]byte, message); answer(peer, buf) == nil; {
			}
		}()
		buf := make([]byte, message)
		defer reportCPU(b)()
		for b.Loop() {
			if err := exchange(c, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// answer is the other side of exchange.
func answer(c conn, b []byte) error {
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	_, err := c.Write(b)
	return err
}

func BenchmarkConnect(b *testing.B) {
	eachEngine(b, func(b *testing.B, e engine, l *pipeListener) {
		defer reportCPU(b)()
		for b.Loop() {
			c, peer := l.connect(b, e)
			reset(c)
			reset(peer)
		}
	})
}

func BenchmarkUp(b *testing.B) {
	eachEngine(b, func(b *testing.B, e engine, l *pipeListener) {
		c, peer := l.connect(b, e)
		copyBetween(b, c, peer)
	})
}

func BenchmarkDown(b *testing.B) {
	eachEngine(b, func(b *testing.B, e engine, l *pipeListener) {
		c, peer := l.connect(b, e)
		copyBetween(b, peer, c)
	})
}

// copyBetween moves b.N chunks from one end of a connection to the other.
func copyBetween(b *testing.B, from, to conn) {
	defer reset(to)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buf := make([]byte, chunk); ; {
			if _, err := from.Write(buf); err != nil {
				return
			}
		}
	}()
	defer func() { reset(from); <-done }()
	buf := make([]byte, chunk)
	b.SetBytes(chunk)
	defer reportCPU(b)()
	for b.Loop() {
		if _, err := io.ReadFull(to, buf); err != nil {
			b.Fatal(err)
		}
	}
}
