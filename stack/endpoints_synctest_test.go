//go:build synctest

package stack_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pvdstack/pvdstack/stack"
)

// TestVirtualEndpoints has the times that endpoints keep to, which are too long to be
// waited for.
func TestVirtualEndpoints(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, a, b *stack.Network){
		"deadline": func(t *testing.T, a, b *stack.Network) {
			client, _ := connect(t, a, b, "10.0.0.2")
			began := time.Now()
			_ = client.SetReadDeadline(began.Add(time.Hour))
			_, err := client.Read(make([]byte, 1))
			wantOpError(t, err, os.ErrDeadlineExceeded)
			if took := time.Since(began); took != time.Hour {
				t.Errorf("an hour took %v", took)
			}
		},
		"a listener's deadline": func(t *testing.T, a, _ *stack.Network) {
			l := mustListen(t, a, "tcp", ":0").(*stack.TCPListener)
			began := time.Now()
			_ = l.SetDeadline(began.Add(time.Hour))
			_, err := l.Accept()
			wantOpError(t, err, os.ErrDeadlineExceeded)
			if took := time.Since(began); took != time.Hour {
				t.Errorf("an hour took %v", took)
			}
		},
		"silence": func(t *testing.T, a, _ *stack.Network) {
			began := time.Now()
			err := dialErr(context.Background(), a, "tcp", nowhere)
			wantOpError(t, err, syscall.ETIMEDOUT)
			if ne := err.(net.Error); !ne.Timeout() { //nolint:errorlint // an *net.OpError, as checked
				t.Error("not a Timeout")
			}
			if took := time.Since(began); took < time.Minute || took > 5*time.Minute {
				t.Errorf("gave up after %v", took)
			}
		},
		"keep-alive": func(t *testing.T, a, b *stack.Network) {
			client, server := connect(t, a, b, "10.0.0.2")
			time.Sleep(24 * time.Hour) // probes, and answers to them
			if _, err := server.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
				t.Error(err)
			}
		},
		"many at work": func(t *testing.T, a, b *stack.Network) {
			client, server := connect(t, a, b, "10.0.0.2")
			data := noise(1 << 20)
			go func() {
				_, _ = client.Write(data)
				_ = client.CloseWrite()
			}()
			got, err := io.ReadAll(server)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d octets, %v", len(got), err)
			}
			_ = server.Close()
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			time.Sleep(2 * time.Minute) // TIME-WAIT
		},
		"ping without deadline": func(t *testing.T, a, _ *stack.Network) {
			began := time.Now()
			_, err := a.Ping(context.Background(), netip.MustParseAddr("192.0.2.1"))
			wantOpError(t, err, os.ErrDeadlineExceeded)
			if took := time.Since(began); took != 10*time.Second {
				t.Errorf("gave up after %v", took)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := couple(t)
				test(t, a, b)
			})
		})
	}
}
