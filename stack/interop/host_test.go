package interop_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// The tests in this file are about what not to call: ways by which a library reaches the
// host's network on its own, past every PvD. Should one of them fail because a library
// has changed, so has the advice in docs/libraries.md.

// TestDefaultsUseTheHost calls what needs no dialer, with an address that is a loopback
// address in every PvD, too: it leads to the host's.
func TestDefaultsUseTheHost(t *testing.T) {
	checkGoroutines(t)
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for _, tt := range []struct {
		name string
		call func(ctx context.Context) error // fails: nobody answers
	}{
		{"tls.Dial", func(context.Context) error {
			c, err := tls.Dial("tcp", tcp.Addr().String(), &tls.Config{ServerName: serverName})
			if err == nil {
				_ = c.Close()
			}
			return err
		}},
		{"ssh.Dial", func(context.Context) error {
			c, err := ssh.Dial("tcp", tcp.Addr().String(), &ssh.ClientConfig{HostKeyCallback: ssh.InsecureIgnoreHostKey()}) //nolint:gosec // nobody is there
			if err == nil {
				_ = c.Close()
			}
			return err
		}},
		{"grpc.NewClient", func(ctx context.Context) error {
			c, err := grpc.NewClient(tcp.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
			if err != nil {
				t.Error(err)
				return err
			}
			defer c.Close()
			_, err = where(ctx, c)
			return err
		}},
		{"quic.DialAddr", func(ctx context.Context) error {
			c, err := quic.DialAddr(ctx, udp.LocalAddr().String(), clientTLS(quicProto), nil)
			if err == nil {
				_ = c.CloseWithError(0, "")
			}
			return err
		}},
		{"http3.Transport", func(ctx context.Context) error {
			tr := &http3.Transport{}
			defer tr.Close()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+udp.LocalAddr().String()+"/", http.NoBody)
			if err != nil {
				t.Error(err)
				return err
			}
			resp, err := tr.RoundTrip(r)
			if err == nil {
				_ = resp.Body.Close()
			}
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(patient(t))
			failed := make(chan error, 1)
			go func() { failed <- tt.call(ctx) }()
			awaitSomebody(t, tcp, udp)
			cancel()
			if err := <-failed; err == nil {
				t.Error("somebody answered")
			}
		})
	}
}

// awaitSomebody waits until a connection or a datagram comes, and answers neither.
func awaitSomebody(t *testing.T, tcp net.Listener, udp net.PacketConn) {
	t.Helper()
	came := make(chan struct{}, 2)
	end := time.Now().Add(patience)
	_ = tcp.(*net.TCPListener).SetDeadline(end)
	_ = udp.SetReadDeadline(end)
	var wg sync.WaitGroup
	wg.Go(func() {
		c, err := tcp.Accept()
		if err == nil {
			_ = c.Close()
			came <- struct{}{}
		}
	})
	wg.Go(func() {
		if _, _, err := udp.ReadFrom(make([]byte, 2048)); err == nil {
			came <- struct{}{}
		}
	})
	defer wg.Wait()
	select {
	case <-came:
	case <-time.After(patience):
		t.Error("nobody came to the host's network")
	}
	_ = tcp.(*net.TCPListener).SetDeadline(time.Now())
	_ = udp.SetReadDeadline(time.Now())
}

// TestNamesOnTheHost calls what takes a name. The PvD's servers know it, but it is the
// host's resolver that is asked.
func TestNamesOnTheHost(t *testing.T) {
	w := newOpenWorld(t)
	runGRPC(t, w.servers["corp"], "corp", grpc.Creds(credentials.NewTLS(serverTLS())))
	runQUIC(t, w.servers["corp"], "corp")
	const name = "wiki.corp.example"
	n := w.clients["corp"]
	asked := watchHostResolver(t)
	secure := grpc.WithTransportCredentials(credentials.NewTLS(clientTLS()))

	t.Run("grpc.NewClient", func(t *testing.T) {
		dialed := false
		dial := func(ctx context.Context, address string) (net.Conn, error) {
			dialed = true
			return n.DialContext(ctx, "tcp", address)
		}
		c, err := grpc.NewClient(name+":443", grpc.WithContextDialer(dial), secure)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := where(patient(t), c); err == nil {
			t.Error("found")
		}
		if !asked() {
			t.Error("the host was not asked")
		}
		if dialed {
			t.Error("the PvD was dialled")
		}
	})
	t.Run("quic.DialAddr", func(t *testing.T) {
		if _, err := quic.DialAddr(patient(t), name+":443", clientTLS(quicProto), nil); err == nil {
			t.Error("found")
		}
		if !asked() {
			t.Error("the host was not asked")
		}
	})
	t.Run("http3.Transport", func(t *testing.T) {
		tr := &http3.Transport{}
		defer tr.Close()
		client := &http.Client{Transport: tr}
		if resp, err := client.Get("https://" + name + "/"); err == nil {
			_ = resp.Body.Close()
			t.Error("found")
		}
		if !asked() {
			t.Error("the host was not asked")
		}
	})

	t.Run("the snippets", func(t *testing.T) {
		if got, err := where(patient(t), grpcIn(t, n, name+":443", secure)); err != nil || got != "corp" {
			t.Errorf("gRPC: %q, %v", got, err)
		}
		c, err := quicDialerIn(t, n).Dial(patient(t), name+":443", clientTLS(quicProto), nil)
		if err != nil {
			t.Fatal("QUIC:", err)
		}
		if got, err := exchange(patient(t), c, nil); err != nil || string(got) != "corp" {
			t.Errorf("QUIC: %q, %v", got, err)
		}
		if asked() {
			t.Error("the host was asked")
		}
	})
}

// watchHostResolver cuts the host's resolver off from its servers until the test ends.
// The function that it returns tells whether the resolver has tried to reach one since
// the last call.
func watchHostResolver(t *testing.T) (asked func() bool) {
	t.Helper()
	var mu sync.Mutex
	tried := false
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		tried = true
		return nil, errors.New("cut off by the test")
	}}
	t.Cleanup(func() { net.DefaultResolver = before })
	return func() bool {
		mu.Lock()
		defer mu.Unlock()
		was := tried
		tried = false
		return was
	}
}
