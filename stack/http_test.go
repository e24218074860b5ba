package stack_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

// TestHTTP has net/http and crypto/tls on both ends, with and without HTTP/2, and a
// server that is shut down.
func TestHTTP(t *testing.T) {
	a, b := couple(t)
	for _, tt := range []struct {
		name string
		tls  bool
		h2   bool
	}{{"plain", false, false}, {"TLS", true, false}, {"HTTP/2", true, true}} {
		t.Run(tt.name, func(t *testing.T) {
			began, finish := make(chan struct{}), make(chan struct{})
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/slow" {
					close(began)
					<-finish
				}
				n, _ := io.Copy(w, r.Body)
				fmt.Fprint(w, r.Proto, n)
			}))
			_ = s.Listener.Close()
			s.Listener = mustListen(t, b, "tcp", "10.0.0.2:0")
			s.EnableHTTP2 = tt.h2
			s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // about the dials below
			if tt.tls {
				s.StartTLS()
			} else {
				s.Start()
			}
			defer s.Close()
			tr := &http.Transport{DialContext: a.DialContext, ForceAttemptHTTP2: tt.h2}
			if c, ok := s.Client().Transport.(*http.Transport); ok && tt.tls {
				tr.TLSClientConfig = &tls.Config{RootCAs: c.TLSClientConfig.RootCAs, ServerName: "example.com"}
			}
			defer tr.CloseIdleConnections()
			client := &http.Client{Transport: tr}
			proto := "HTTP/1.1"
			if tt.h2 {
				proto = "HTTP/2.0"
			}
			for _, size := range []int{0, 3, 1 << 20} {
				body := noise(size)
				resp, err := client.Post(s.URL, "application/octet-stream", bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if want := string(body) + fmt.Sprint(proto, size); err != nil || string(got) != want {
					t.Errorf("%d octets back of %d: %v", len(got), size, err)
				}
			}
			// A request in progress is waited for, a new one refused.
			errc := make(chan error, 2)
			go func() {
				resp, err := client.Get(s.URL + "/slow")
				if err == nil {
					_ = resp.Body.Close()
				}
				errc <- err
			}()
			<-began
			down := make(chan error, 1)
			go func() { down <- s.Config.Shutdown(context.Background()) }()
			for dialErr(t.Context(), a, "tcp", s.Listener.Addr().String()) == nil { //nolint:revive // until it refuses
			}
			close(finish)
			if err := errors.Join(<-errc, <-down); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOfThroughTLS finds a connection's PvD below TLS.
func TestOfThroughTLS(t *testing.T) {
	a, b := couple(t)
	client, _ := connect(t, a, b, "10.0.0.2")
	var c net.Conn = tls.Client(client, &tls.Config{ServerName: "example.com"})
	if ref, ok := pvd.Of(c); !ok || ref != a.PvD() {
		t.Errorf("%v, %v", ref, ok)
	}
}
