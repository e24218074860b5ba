package interop_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// A place is a gRPC service: where it is, and an echo.
type place struct{ name string }

// placeService is what a compiler of protocol buffers would have made.
var placeService = grpc.ServiceDesc{
	ServiceName: "interop.Place",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{
		MethodName: "Where",
		Handler: func(srv any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			if err := dec(new(emptypb.Empty)); err != nil {
				return nil, err
			}
			return wrapperspb.String(srv.(*place).name), nil
		},
	}},
	Streams: []grpc.StreamDesc{{
		StreamName: "Echo", ServerStreams: true, ClientStreams: true,
		Handler: func(_ any, s grpc.ServerStream) error {
			for {
				m := new(wrapperspb.BytesValue)
				if err := s.RecvMsg(m); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				if err := s.SendMsg(m); err != nil {
					return err
				}
			}
		},
	}},
}

func where(ctx context.Context, c *grpc.ClientConn) (string, error) {
	out := new(wrapperspb.StringValue)
	err := c.Invoke(ctx, "/interop.Place/Where", new(emptypb.Empty), out)
	return out.GetValue(), err
}

func echo(ctx context.Context, c *grpc.ClientConn) (grpc.ClientStream, error) {
	return c.NewStream(ctx, &placeService.Streams[0], "/interop.Place/Echo")
}

// runGRPC runs a server at port 443 of n until the test ends.
func runGRPC(t *testing.T, n *stack.Network, name string, opts ...grpc.ServerOption) *grpc.Server {
	t.Helper()
	srv := grpc.NewServer(opts...)
	srv.RegisterService(&placeService, &place{name})
	l := listen(t, n, ":443")
	serve(t, func() error { return srv.Serve(l) })
	t.Cleanup(srv.Stop)
	return srv
}

// grpcIn returns a client in n that is closed at the end of the test.
func grpcIn(t *testing.T, n *stack.Network, server string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	c, err := newGRPCClient(n, server, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestGRPC calls one name in two PvDs, with TLS: single calls, and a stream with much data
// both ways.
func TestGRPC(t *testing.T) {
	w := newWorld(t)
	for _, name := range names {
		runGRPC(t, w.servers[name], name, grpc.Creds(credentials.NewTLS(serverTLS())))
	}
	for _, name := range names {
		for _, server := range []string{"wiki:443", "192.168.1.80:443", "[fd00::80]:443"} {
			t.Run(name+" "+server, func(t *testing.T) {
				c := grpcIn(t, w.clients[name], server, grpc.WithTransportCredentials(credentials.NewTLS(clientTLS())))
				for range 3 {
					if got, err := where(patient(t), c); err != nil || got != name {
						t.Fatalf("%q, %v", got, err)
					}
				}
				s, err := echo(patient(t), c)
				if err != nil {
					t.Fatal(err)
				}
				testEcho(t, s)
			})
		}
	}
}

func testEcho(t *testing.T, s grpc.ClientStream) {
	t.Helper()
	const rounds = 16
	sent := noise(64 << 10)
	done := make(chan error, 1)
	go func() {
		for range rounds {
			if err := s.SendMsg(wrapperspb.Bytes(sent)); err != nil {
				done <- err
				return
			}
		}
		done <- s.CloseSend()
	}()
	for i := range rounds {
		m := new(wrapperspb.BytesValue)
		if err := s.RecvMsg(m); err != nil || !bytes.Equal(m.GetValue(), sent) {
			t.Fatalf("message %d: %d octets, %v", i, len(m.GetValue()), err)
		}
	}
	if err := s.RecvMsg(new(wrapperspb.BytesValue)); !errors.Is(err, io.EOF) {
		t.Error("after the last:", err)
	}
	if err := <-done; err != nil {
		t.Error("sending:", err)
	}
}

// TestGRPCGracefulStop holds that the server waits for a stream under way, and takes no
// more connections.
func TestGRPCGracefulStop(t *testing.T) {
	w := newWorld(t)
	srv := runGRPC(t, w.servers["corp"], "corp")
	c := grpcIn(t, w.clients["corp"], "wiki:443", grpc.WithTransportCredentials(insecure.NewCredentials()))
	s, err := echo(patient(t), c)
	if err != nil {
		t.Fatal(err)
	}
	say := func(word string) {
		t.Helper()
		m := new(wrapperspb.BytesValue)
		if err := errors.Join(s.SendMsg(wrapperspb.Bytes([]byte(word))), s.RecvMsg(m)); err != nil || string(m.GetValue()) != word {
			t.Errorf("%q, %v", m.GetValue(), err)
		}
	}
	say("before")
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		srv.GracefulStop()
	}()
	until(t, "new connections are refused", func() bool {
		raw, err := w.clients["corp"].DialContext(patient(t), "tcp", "wiki:443")
		if err == nil {
			_ = raw.Close()
		}
		return err != nil
	})
	say("during")
	select {
	case <-stopped:
		t.Error("stopped with a stream under way")
	default:
	}
	if err := s.CloseSend(); err != nil {
		t.Error(err)
	}
	if err := s.RecvMsg(new(wrapperspb.BytesValue)); !errors.Is(err, io.EOF) {
		t.Error("the stream ended with", err)
	}
	<-stopped
}

// TestGRPCGone holds that calls fail when their PvD goes and say why, in another PvD they
// go on.
func TestGRPCGone(t *testing.T) {
	w := newWorld(t)
	clients := make(map[string]*grpc.ClientConn)
	streams := make(map[string]grpc.ClientStream)
	for _, name := range names {
		runGRPC(t, w.servers[name], name)
		clients[name] = grpcIn(t, w.clients[name], "wiki:443", grpc.WithTransportCredentials(insecure.NewCredentials()))
		s, err := echo(patient(t), clients[name])
		if err != nil {
			t.Fatal(err)
		}
		streams[name] = s
	}
	w.removeCorp(t)
	gone := func(what string, err error) {
		t.Helper()
		// A status has a code and a text, and wraps nothing.
		if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), pvd.ErrNoPvD.Error()) {
			t.Errorf("%s: %v", what, err)
		}
	}
	gone("the stream", streams["corp"].RecvMsg(new(wrapperspb.BytesValue)))
	_, err := where(patient(t), clients["corp"])
	gone("a new call", err)
	testEcho(t, streams["home"])
}

// TestGRPCStop holds that Stop ends the connections under way.
func TestGRPCStop(t *testing.T) {
	w := newWorld(t)
	srv := runGRPC(t, w.servers["corp"], "corp")
	dials := make(chan struct{}, 100)
	counted := dialerFunc(func(ctx context.Context, network, address string) (net.Conn, error) {
		select {
		case dials <- struct{}{}:
		default:
		}
		return w.clients["corp"].DialContext(ctx, network, address)
	})
	c, err := newGRPCClient(counted, "wiki:443", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := echo(patient(t), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(dials) != 1 {
		t.Errorf("%d dials", len(dials))
	}
	srv.Stop()
	if err := s.RecvMsg(new(wrapperspb.BytesValue)); status.Code(err) != codes.Unavailable {
		t.Error(err)
	}
}

// A dialerFunc is a pvd.Dialer.
type dialerFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f dialerFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}
