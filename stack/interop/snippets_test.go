package interop_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/crypto/ssh"
	"google.golang.org/grpc"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdhttp"
	"github.com/pvdstack/pvdstack/stack"
)

// What is declared in this file is what docs/libraries.md shows, in the same order.

// getPage asks for a page in a PvD. The pool is pvdhttp.NewPool(host.In).
func getPage(ctx context.Context, pool *pvdhttp.Pool, in pvd.Ref, url string) (string, error) {
	req, err := http.NewRequestWithContext(pvd.NewContext(ctx, in), http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: pool}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	return string(page), err
}

// serveHTTP serves in every PvD that the host has and will have. A handler finds the one
// that its request came in with pvd.FromContext(r.Context()).
func serveHTTP(ctx context.Context, host *stack.Host, srv *http.Server) error {
	l, err := host.In(pvd.All).Listen(ctx, "tcp", ":80")
	if err != nil {
		return err
	}
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		ref, _ := pvd.Of(c) // looks through TLS too
		return pvd.NewContext(ctx, ref)
	}
	return srv.Serve(l)
}

// dialTLS makes a TLS connection in a PvD. The config names the server, and its session
// cache, if any, is the PvD's own.
func dialTLS(ctx context.Context, n pvd.Dialer, address string, config *tls.Config) (*tls.Conn, error) {
	raw, err := n.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, config)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return c, nil
}

// dialSSH logs in to a server in a PvD.
func dialSSH(ctx context.Context, n pvd.Dialer, address string, config *ssh.ClientConfig) (*ssh.Client, error) {
	raw, err := n.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() }) // the handshake knows no context
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(raw, address, config)
	if err != nil {
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

// newGRPCClient returns a client of a server in a PvD, "host:port".
func newGRPCClient(n pvd.Dialer, server string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		return n.DialContext(ctx, "tcp", address)
	}
	return grpc.NewClient("passthrough:///"+server, append(opts, grpc.WithContextDialer(dial))...)
}

// A quicDialer makes QUIC connections in one PvD.
type quicDialer struct {
	network   pvd.Network
	transport *quic.Transport
}

func newQUICDialer(ctx context.Context, n pvd.Network) (*quicDialer, error) {
	c, err := n.ListenPacket(ctx, "udp", ":0")
	if err != nil {
		return nil, err
	}
	return &quicDialer{n, &quic.Transport{Conn: c}}, nil
}

// Dial connects to "host:port". It has the form of http3.Transport's field Dial.
func (d *quicDialer) Dial(ctx context.Context, address string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("dial %s: port: %w", address, err)
	}
	addrs, err := d.network.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	tc = tc.Clone()
	if tc.ServerName == "" {
		tc.ServerName = host
	}
	var failed []error
	for _, a := range addrs {
		to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, uint16(port)))
		c, err := d.transport.Dial(ctx, to, tc, qc)
		if err == nil {
			return c, nil
		}
		failed = append(failed, fmt.Errorf("dial %v: %w", to, err))
	}
	return nil, errors.Join(failed...)
}

// Close ends the connections and closes their socket.
func (d *quicDialer) Close() error {
	return errors.Join(d.transport.Close(), d.transport.Conn.Close())
}

// A quicListener waits for QUIC connections.
type quicListener struct {
	*quic.EarlyListener
	transport *quic.Transport
}

// listenQUIC waits for QUIC connections in host.In(ref), or in every PvD with
// host.In(pvd.All). A connection's context carries the PvD that it came in, and so does
// that of an HTTP/3 request.
func listenQUIC(ctx context.Context, n pvd.Listener, address string, tc *tls.Config, qc *quic.Config) (*quicListener, error) {
	c, err := n.ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, err
	}
	tr := &quic.Transport{Conn: c, ConnContext: func(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
		ref, ok := pvd.Of(info.RemoteAddr) // where c is in every PvD
		if !ok {
			ref, _ = pvd.Of(c)
		}
		return pvd.NewContext(ctx, ref), nil
	}}
	l, err := tr.ListenEarly(tc, qc)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return &quicListener{l, tr}, nil
}

// Close ends the connections and closes their socket.
func (l *quicListener) Close() error {
	return errors.Join(l.EarlyListener.Close(), l.transport.Close(), l.transport.Conn.Close())
}

// newHTTP3Transport returns a transport for requests in the dialer's PvD. The caller
// closes it before the dialer.
func newHTTP3Transport(d *quicDialer) *http3.Transport {
	return &http3.Transport{
		Dial:            d.Dial,
		TLSClientConfig: &tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(0)},
	}
}
