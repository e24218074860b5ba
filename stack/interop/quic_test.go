package interop_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/quic-go/quic-go"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

const quicProto = "interop"

// TestQUIC has one address lead to two servers: streams with much data both ways, and
// datagrams.
func TestQUIC(t *testing.T) {
	w := newWorld(t)
	for _, name := range names {
		runQUIC(t, w.servers[name], name)
	}
	for _, name := range names {
		d := quicDialerIn(t, w.clients[name])
		for _, address := range []string{"wiki:443", "192.168.1.80:443", "[fd00::80]:443"} {
			t.Run(name+" "+address, func(t *testing.T) {
				tc := clientTLS(quicProto)
				tc.ServerName = ""
				c, err := d.Dial(patient(t), address, tc, &quic.Config{EnableDatagrams: true})
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.CloseWithError(0, "done") }()
				for _, size := range []int{1, 1 << 20} {
					sent := noise(size)
					got, err := exchange(patient(t), c, sent)
					if want := append([]byte(name), sent...); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%d octets: got %d back, %v", size, len(got), err)
					}
				}
				until(t, "a datagram comes back", func() bool {
					if err := c.SendDatagram([]byte("ping ")); err != nil {
						t.Fatal(err)
					}
					b, err := c.ReceiveDatagram(patient(t))
					return err == nil && string(b) == "ping "+name
				})
			})
		}
	}
}

// TestQUICResumption holds that a session is taken up where it was made.
func TestQUICResumption(t *testing.T) {
	w := newWorld(t)
	for _, name := range names {
		runQUIC(t, w.servers[name], name)
	}
	dial := func(name string, tc *tls.Config) quic.ConnectionState {
		t.Helper()
		d := quicDialerIn(t, w.clients[name])
		c, err := d.Dial(patient(t), "wiki:443", tc, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := exchange(patient(t), c, []byte("!")); err != nil || string(got) != name+"!" {
			t.Fatalf("in %s: %q, %v", name, got, err)
		}
		awaitTicket(t, tc)
		state := c.ConnectionState()
		if err := c.CloseWithError(0, "done"); err != nil {
			t.Error(err)
		}
		return state
	}
	caches := map[string]*tls.Config{"corp": notingTickets(clientTLS(quicProto)), "home": notingTickets(clientTLS(quicProto))}
	for i := range 2 {
		for _, name := range names {
			s := dial(name, caches[name])
			if s.TLS.DidResume != (i > 0) {
				t.Errorf("round %d in %s: resumed %v", i, name, s.TLS.DidResume)
			}
		}
	}
	// The control: with one cache for both it is taken up across.
	shared := notingTickets(clientTLS(quicProto))
	dial("corp", shared)
	if s := dial("home", shared); !s.TLS.DidResume {
		t.Error("the servers do not take each other's sessions, so this test shows nothing")
	}
}

// TestQUICGone holds that a connection ends with its PvD, and for that reason.
func TestQUICGone(t *testing.T) {
	w := newWorld(t)
	for _, name := range names {
		runQUIC(t, w.servers[name], name)
	}
	conns := make(map[string]*quic.Conn)
	dialers := make(map[string]*quicDialer)
	for _, name := range names {
		dialers[name] = quicDialerIn(t, w.clients[name])
		c, err := dialers[name].Dial(patient(t), "wiki:443", clientTLS(quicProto), nil)
		if err != nil {
			t.Fatal(err)
		}
		conns[name] = c
		if _, err := exchange(patient(t), c, nil); err != nil {
			t.Fatal(err)
		}
	}
	s, err := conns["corp"].OpenStreamSync(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	w.removeCorp(t)
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, pvd.ErrNoPvD) {
		t.Error("reading:", err)
	}
	<-conns["corp"].Context().Done()
	if err := context.Cause(conns["corp"].Context()); !errors.Is(err, pvd.ErrNoPvD) {
		t.Error("the connection ended with", err)
	}
	if _, err := dialers["corp"].Dial(patient(t), "192.168.1.80:443", clientTLS(quicProto), nil); !errors.Is(err, pvd.ErrNoPvD) {
		t.Error("a new one:", err)
	}
	if got, err := exchange(patient(t), conns["home"], nil); err != nil || string(got) != "home" {
		t.Errorf("the other PvD: %q, %v", got, err)
	}
}

// TestQUICEverywhere has one server in all PvDs, which answers each client in the PvD
// that it asked in, though both have the same address.
func TestQUICEverywhere(t *testing.T) {
	w := newWorld(t)
	serveQUIC(t, w.host.In(pvd.All), func(c *quic.Conn) string { return pvd.FromContext(c.Context()).String() })
	for _, name := range names {
		// The same port, too.
		d := &quicDialer{w.servers[name], &quic.Transport{Conn: listenPacket(t, w.servers[name], ":4433")}}
		t.Cleanup(func() { _ = d.transport.Close() })
		c, err := d.Dial(patient(t), hostAddress(t, w, name)+":443", clientTLS(quicProto), nil)
		if err != nil {
			t.Fatal(err)
		}
		sent := noise(1 << 18)
		got, err := exchange(patient(t), c, sent)
		if want := append([]byte(w.refs[name].String()), sent...); err != nil || !bytes.Equal(got, want) {
			t.Errorf("in %s: %d octets, %v", name, len(got), err)
		}
		if err := c.CloseWithError(0, "done"); err != nil {
			t.Error(err)
		}
	}
}

// quicDialerIn returns a dialer that is closed at the end of the test.
func quicDialerIn(t *testing.T, n *stack.Network) *quicDialer {
	t.Helper()
	d, err := newQUICDialer(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// exchange sends octets on a stream and returns what comes back, to the end.
func exchange(ctx context.Context, c *quic.Conn, b []byte) ([]byte, error) {
	s, err := c.OpenStreamSync(ctx)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(b)
		sent <- errors.Join(err, s.Close())
	}()
	got, err := io.ReadAll(s)
	return got, errors.Join(err, <-sent)
}

// runQUIC runs a server at port 443 of n that says its name and then, on a stream, what it
// was sent, and after a datagram's octets its name.
func runQUIC(t *testing.T, n *stack.Network, name string) {
	t.Helper()
	serveQUIC(t, n, func(c *quic.Conn) string {
		if ref := pvd.FromContext(c.Context()); ref != n.PvD() {
			t.Errorf("a connection to %v came in %v", n.PvD(), ref)
		}
		return name
	})
}

func serveQUIC(t *testing.T, n *stack.Network, word func(*quic.Conn) string) {
	t.Helper()
	l, err := listenQUIC(t.Context(), n, ":443", serverTLS(quicProto), &quic.Config{EnableDatagrams: true})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, func() error {
		for {
			c, err := l.Accept(context.Background())
			if errors.Is(err, quic.ErrServerClosed) || errors.Is(err, quic.ErrTransportClosed) {
				return nil
			} else if err != nil {
				return err
			}
			go echoStreams(c, word(c)) // both end with the connection, that with the listener
			go echoDatagrams(c, word(c))
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error("closing the listener:", err)
		}
	})
}

func echoStreams(c *quic.Conn, word string) {
	for {
		s, err := c.AcceptStream(context.Background())
		if err != nil {
			return
		}
		go func() {
			defer s.Close()
			if _, err := io.WriteString(s, word); err != nil {
				return
			}
			_, _ = io.Copy(s, s)
		}()
	}
}

func echoDatagrams(c *quic.Conn, word string) {
	for {
		b, err := c.ReceiveDatagram(context.Background())
		if err != nil {
			return
		}
		_ = c.SendDatagram(append(b, word...)) // lost, as datagrams are
	}
}
