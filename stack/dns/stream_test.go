package dns

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// overPipes is a resolver that asks a server over TLS by pipes, which virtual time knows.
// Ended counts the connections that the resolver has closed.
func overPipes(t *testing.T, handle func(*query)) (r *Resolver, dialed, ended func() int) {
	s := &tlsServer{handle: handle}
	cert, roots := certificate(t)
	config := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"dot"}}
	servers := encrypted(serverName, "dot", "", 0)
	r = New(Config{
		DNS:       func() pvd.DNS { return pvd.DNS{} },
		Encrypted: func() []pvd.EncryptedServer { return servers },
		RootCAs:   roots,
		Dial: func(_ context.Context, network, address string) (net.Conn, error) {
			if network != "tcp" || address != "192.0.2.53:853" {
				t.Errorf("dialled %s %s", network, address)
			}
			c, peer := net.Pipe()
			go s.serve(tls.Server(newBuffered(peer), config))
			return c, nil
		},
	})
	synctest.Wait()
	return r, func() int { return int(s.conns.Load()) }, func() int { return int(s.ended.Load()) }
}

// A buffered connection does not wait for who reads what is written, as TLS's two ends may
// both write first.
type buffered struct {
	net.Conn
	out chan []byte
}

func newBuffered(c net.Conn) buffered {
	b := buffered{c, make(chan []byte, 1000)}
	go func() {
		for o := range b.out {
			if _, err := c.Write(o); err != nil {
				return
			}
		}
	}()
	return b
}

func (b buffered) Write(o []byte) (int, error) {
	b.out <- bytes.Clone(o)
	return len(o), nil
}

func (b buffered) Close() error {
	close(b.out)
	return b.Conn.Close()
}

// A connection that nobody uses ends after a while, not before.
func TestIdleConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, dialed, ended := overPipes(t, func(q *query) { q.answer(t, q.reply(t, q.name()+" 0 IN A 10.0.0.1")) })
		defer time.Sleep(time.Hour)
		for _, tt := range []struct {
			sleep         time.Duration
			dialed, ended int
		}{
			{0, 1, 0},
			{idleTimeout - time.Second, 1, 0},
			{idleTimeout - time.Second, 1, 0},
			{idleTimeout + time.Second, 2, 1},
		} {
			time.Sleep(tt.sleep)
			if got, err := r.LookupNetIP(t.Context(), "ip4", "wiki.corp"); err != nil || !slices.Equal(got, addrs("10.0.0.1")) {
				t.Errorf("%v, %v", got, err)
			}
			synctest.Wait()
			if dialed() != tt.dialed || ended() != tt.ended {
				t.Errorf("%d connections, %d have ended; want %d, %d", dialed(), ended(), tt.dialed, tt.ended)
			}
		}
		// Other servers have come: the connection to the old ones is not kept.
		servers := encrypted(serverName, "dot", "", 0)
		servers[0].Priority = 7
		r.conf.Encrypted = func() []pvd.EncryptedServer { return servers }
		if _, err := r.LookupNetIP(t.Context(), "ip4", "wiki.corp"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if dialed() != 3 || ended() != 2 {
			t.Errorf("%d connections, %d have ended", dialed(), ended())
		}
		_ = r.Close()
		synctest.Wait()
		if ended() != 3 {
			t.Errorf("%d connections have ended", ended())
		}
	})
}

// A deafened connection neither delivers nor sends once it is told so, as one whose path is
// gone.
type deafened struct {
	net.Conn
	deaf *atomic.Bool
}

func (d deafened) Write(b []byte) (int, error) {
	if d.deaf.Load() {
		return len(b), nil
	}
	return d.Conn.Write(b)
}

// A listener accepts what is dialled.
type listener chan net.Conn

func (l listener) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l listener) Close() error   { return nil }
func (l listener) Addr() net.Addr { return &net.TCPAddr{} }

// The path of a connection by which queries over HTTPS go is gone: what is asked next goes by
// another one.
func TestHTTPSDeadConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Hour)
		l := make(listener)
		cert, roots := certificate(t)
		s := &http.Server{
			Handler:   web(t, func(q *query) { q.answer(t, q.reply(t, q.name()+" 60 IN A 10.0.0.1")) }),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
			ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		}
		go func() { _ = s.ServeTLS(l, "", "") }()
		defer s.Close()
		defer close(l)
		var deaf []*atomic.Bool
		servers := encrypted(serverName, "h2", "/dns-query{?dns}", 0)
		r := New(Config{
			DNS:       func() pvd.DNS { return pvd.DNS{} },
			Encrypted: func() []pvd.EncryptedServer { return servers },
			RootCAs:   roots,
			Dial: func(context.Context, string, string) (net.Conn, error) {
				c, peer := net.Pipe()
				deaf = append(deaf, new(atomic.Bool))
				l <- newBuffered(peer)
				return deafened{c, deaf[len(deaf)-1]}, nil
			},
		})
		defer r.Close()
		if _, err := r.LookupNetIP(t.Context(), "ip4", "one.corp"); err != nil {
			t.Fatal(err)
		}
		deaf[0].Store(true)
		begin := time.Now()
		_, err := r.LookupNetIP(t.Context(), "ip4", "two.corp")
		if err != nil || len(deaf) != 2 || time.Since(begin) > 2*firstTimeout {
			t.Errorf("%v by %d connections after %v", err, len(deaf), time.Since(begin))
		}
	})
}

// A question that is under way when everything is forgotten is answered, by another
// connection if need be, which is not kept.
func TestFlushDuringQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer time.Sleep(time.Hour)
		r, dialed, ended := overPipes(t, func(q *query) {
			if q.nth > 0 { // the first one is lost
				q.answer(t, q.reply(t, q.name()+" 60 IN A 10.0.0.1"))
			}
		})
		time.AfterFunc(500*time.Millisecond, r.Flush)
		if got, err := r.LookupNetIP(t.Context(), "ip4", "wiki.corp"); err != nil || !slices.Equal(got, addrs("10.0.0.1")) {
			t.Errorf("%v, %v", got, err)
		}
		synctest.Wait()
		if dialed() != 2 || ended() != 2 {
			t.Errorf("%d connections, %d have ended", dialed(), ended())
		}
		if n, _ := r.Stats(); n != 0 {
			t.Error("the answer is kept")
		}
	})
}

// A connection that can not be made ends at its limit, for whoever waits for it then, and the
// next query tries anew.
func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, alpn := range []string{"dot", "h2"} {
			var mu sync.Mutex
			var dials []time.Duration
			begin := time.Now()
			servers := encrypted(serverName, alpn, "/q", 0)
			r := New(Config{
				DNS:       func() pvd.DNS { return pvd.DNS{} },
				Encrypted: func() []pvd.EncryptedServer { return servers },
				Timeout:   time.Minute,
				Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
					mu.Lock()
					dials = append(dials, time.Since(begin))
					mu.Unlock()
					<-ctx.Done()
					return nil, context.Cause(ctx)
				},
			})
			_, err := r.LookupNetIP(t.Context(), "ip4", "wiki.corp")
			if e, ok := errors.AsType[*net.DNSError](err); !ok || e.IsNotFound || time.Since(begin) < connectTimeout || time.Since(begin) > 10*connectTimeout {
				t.Errorf("%s: %v after %v", alpn, err, time.Since(begin))
			}
			mu.Lock()
			if len(dials) == 0 || len(dials) > maxRounds*maxStreams {
				t.Errorf("%s: dialled at %v", alpn, dials)
			}
			mu.Unlock()
			_ = r.Close()
		}
	})
}

// Close ends connections that are being made, and queries that wait for them.
func TestCloseWhileConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, alpn := range []string{"dot", "h2"} {
			servers := encrypted(serverName, alpn, "/q", 0)
			r := New(Config{
				DNS:       func() pvd.DNS { return pvd.DNS{} },
				Encrypted: func() []pvd.EncryptedServer { return servers },
				Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
					<-ctx.Done()
					return nil, context.Cause(ctx)
				},
			})
			begin := time.Now()
			time.AfterFunc(100*time.Millisecond, func() { _ = r.Close() })
			if _, err := r.LookupNetIP(t.Context(), "ip", "wiki.corp"); !errors.Is(err, net.ErrClosed) || time.Since(begin) != 100*time.Millisecond {
				t.Errorf("%s: %v after %v", alpn, err, time.Since(begin))
			}
		}
	})
}

// No more events of one question are kept than there is room for, and no more tickets.
func TestMaxEvents(t *testing.T) {
	f := &flight{}
	for range maxEvents + 10 {
		f.note(Event{})
	}
	if len(f.events) != maxEvents {
		t.Errorf("%d events", len(f.events))
	}
	u := newUpstream(New(Config{}), Server{Transport: TLS, Name: serverName, Addr: netip.MustParseAddrPort("192.0.2.53:853")})
	if u.tlsConfig("dot").ClientSessionCache != u.tickets || u.tickets == newUpstream(u.r, u.Server).tickets {
		t.Error("tickets are not the server's own")
	}
	for i := range maxTickets + 1 {
		u.tickets.Put(string(rune('a'+i)), &tls.ClientSessionState{})
	}
	if _, ok := u.tickets.Get("a"); ok {
		t.Errorf("more than %d tickets are kept", maxTickets)
	}
}
