package dns_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/stack/dns"
)

// A pipeListener accepts what is dialled, without sockets, so that it can be used in virtual
// time. Its first calls of Accept fail if there are errors.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	errs   []error
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) dial() net.Conn {
	c, peer := net.Pipe()
	l.conns <- peer
	return c
}

// A pipePacketConn receives the datagrams of in and puts what it sends into out.
type pipePacketConn struct {
	*pipeListener
	in  chan []byte
	out chan []byte
}

func (c *pipePacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if len(c.errs) > 0 {
		_, err := c.Accept()
		return 0, nil, err
	}
	select {
	case m := <-c.in:
		return copy(b, m), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1053}, nil
	case <-c.closed:
		return 0, nil, net.ErrClosed
	}
}

func (c *pipePacketConn) WriteTo(b []byte, _ net.Addr) (int, error) {
	c.out <- append([]byte(nil), b...)
	return len(b), nil
}

func (c *pipePacketConn) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (c *pipePacketConn) SetDeadline(time.Time) error      { return nil }
func (c *pipePacketConn) SetReadDeadline(time.Time) error  { return nil }
func (c *pipePacketConn) SetWriteDeadline(time.Time) error { return nil }

// virtualStub runs a stub in virtual time.
func virtualStub(t *testing.T, a dns.Asker, errs ...error) (*pipeListener, *pipePacketConn) {
	t.Helper()
	s := dns.NewStub(dns.StubConfig{Asker: a})
	l := newPipeListener()
	c := &pipePacketConn{pipeListener: newPipeListener(), in: make(chan []byte), out: make(chan []byte, 2048)}
	l.errs, c.errs = errs, errs
	var serving sync.WaitGroup
	for _, serve := range []func() error{func() error { return s.Serve(l) }, func() error { return s.ServePacket(c) }} {
		serving.Go(func() {
			if err := serve(); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
	return l, c
}

func packed(t *testing.T, m *wire.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tell sends a question on a connection.
func tell(t *testing.T, c net.Conn, m *wire.Msg) {
	t.Helper()
	b := packed(t, m)
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)); err != nil {
		t.Fatal(err)
	}
}

// hear reads an answer.
func hear(c net.Conn) (*wire.Msg, error) { return (&wire.Conn{Conn: c}).ReadMsg() }

// TestStubSlowClients has clients be slow in all ways: each has its time, and no more.
func TestStubSlowClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{slow: make(chan struct{})}
		l, _ := virtualStub(t, a)
		for _, tt := range []struct {
			what string
			say  func(net.Conn)
			want time.Duration // until the connection ends
		}{
			{"nothing is asked", func(net.Conn) {}, 10 * time.Second},
			{"half a length", func(c net.Conn) { _, _ = c.Write([]byte{0}) }, 10 * time.Second},
			{"half a message", func(c net.Conn) { _, _ = c.Write([]byte{0, 99, 1, 2, 3}) }, 10 * time.Second},
			{"octet by octet", func(c net.Conn) {
				go func() {
					for range 5 {
						_, _ = c.Write([]byte{0})
						time.Sleep(4 * time.Second)
					}
				}()
			}, 0}, // the length is 0, which is no message
			{"no message", func(c net.Conn) { _, _ = c.Write([]byte{0, 3, 1, 2, 3}) }, 0},
			{"asked once", func(c net.Conn) {
				tell(t, c, ask("x.", wire.TypeA))
				if _, err := hear(c); err != nil {
					t.Error(err)
				}
			}, 10 * time.Second},
		} {
			c := l.dial()
			began := time.Now()
			tt.say(c)
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("%s: %v", tt.what, err)
			}
			if took := time.Since(began); took != tt.want && (tt.want != 0 || took > 5*time.Second) {
				t.Errorf("%s: the connection lasts %v, want %v", tt.what, took, tt.want)
			}
			_ = c.Close()
		}

		// One that does not read what it has asked for is left.
		c := l.dial()
		tell(t, c, ask("x.", wire.TypeA))
		time.Sleep(11 * time.Second)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a client that does not read: %v", err)
		}

		// One that waits for an answer is not idle, and can go on.
		c = l.dial()
		tell(t, c, ask("slow.", wire.TypeA))
		time.Sleep(25 * time.Second)
		tell(t, c, ask("x.", wire.TypeA))
		if r, err := hear(c); err != nil || r.Question[0].Name != "x." {
			t.Errorf("%v, %v", r, err)
		}
		// What has no answer at all is a failure, in the end.
		began := time.Now()
		if r, err := hear(c); err != nil || r.Question[0].Name != "slow." || r.Rcode != wire.RcodeServerFailure || time.Since(began) != 5*time.Second {
			t.Errorf("%v, %v after %v more", r, err, time.Since(began))
		}
		_ = c.Close()
	})
}

// TestStubPipelined holds the limit of questions on one connection: one more waits.
func TestStubPipelined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{slow: make(chan struct{})}
		l, _ := virtualStub(t, a)
		c := l.dial()
		go func() {
			for i := range 40 {
				m := ask("slow.", wire.TypeA)
				m.Id = uint16(i)
				tell(t, c, m)
			}
		}()
		synctest.Wait()
		if n := a.asked.Load(); n != 32 {
			t.Errorf("%d questions under way", n)
		}
		close(a.slow)
		seen := make(map[uint16]bool)
		for range 40 {
			r, err := hear(c)
			if err != nil || len(r.Answer) != 1 {
				t.Fatalf("%v, %v", r, err)
			}
			seen[r.Id] = true
		}
		if len(seen) != 40 {
			t.Errorf("%d answers", len(seen))
		}
		_ = c.Close()
	})
}

// TestStubFlood holds the limit of questions by UDP: what is more gets no answer, and the
// others theirs.
func TestStubFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asker{slow: make(chan struct{})}
		_, c := virtualStub(t, a)
		m := packed(t, ask("slow.", wire.TypeA))
		for range 1100 {
			c.in <- m
		}
		synctest.Wait()
		if n := a.asked.Load(); n != 1024 {
			t.Errorf("%d questions under way", n)
		}
		close(a.slow)
		synctest.Wait()
		if n := len(c.out); n != 1024 {
			t.Errorf("%d answers", n)
		}
		c.in <- packed(t, ask("x.", wire.TypeA))
		synctest.Wait()
		if n := len(c.out); n != 1025 {
			t.Errorf("%d answers, one more wanted", n)
		}
	})
}

// TestStubEndures has errors that pass not end a stub.
func TestStubEndures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		l, c := virtualStub(t, &asker{}, syscall.EMFILE, syscall.ENOBUFS)
		conn := l.dial()
		tell(t, conn, ask("x.", wire.TypeA))
		if r, err := hear(conn); err != nil || len(r.Answer) != 1 {
			t.Errorf("%v, %v", r, err)
		}
		_ = conn.Close()
		c.in <- packed(t, ask("x.", wire.TypeA))
		<-c.out
		if took := time.Since(began); took != 200*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// TestStubCloses has Close end what is under way, and answer nobody.
func TestStubCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := dns.NewStub(dns.StubConfig{Asker: &asker{slow: make(chan struct{})}})
		l := newPipeListener()
		go func() { _ = s.Serve(l) }()
		c := l.dial()
		tell(t, c, ask("slow.", wire.TypeA))
		synctest.Wait()
		began := time.Now()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := hear(c); !errors.Is(err, io.EOF) || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := s.Serve(newPipeListener()); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
