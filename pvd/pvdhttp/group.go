package pvdhttp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/pvdstack/pvdstack/pvd"
)

// A group is the connections of one PvD.
type group struct {
	dialer    pvd.Dialer
	forget    func()
	transport *http.Transport

	// ctx ends with the group; its cause is the error that whoever uses it gets.
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	conns map[*conn]struct{}
}

// newGroup returns the group of ref. p.mu is held.
func (p *Pool) newGroup(ref pvd.Ref) *group {
	g := &group{
		dialer: p.in(ref),
		forget: func() { p.Forget(ref) },
		conns:  make(map[*conn]struct{}),
	}
	g.ctx, g.cancel = context.WithCancelCause(context.Background())
	g.transport = NewTransport(g)
	if p.Setup != nil {
		p.Setup(ref, g.transport)
	}
	return g
}

// DialContext makes a connection that ends with the group.
func (g *group) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(g.ctx, cancel)()
	nc, err := g.dialer.DialContext(ctx, network, address)
	if err != nil {
		if errors.Is(err, pvd.ErrNoPvD) {
			g.forget()
		}
		return nil, g.why("dial", network, err)
	}
	c := &conn{Conn: nc, group: g}
	if !g.add(c) {
		_ = nc.Close()
		return nil, g.why("dial", network, net.ErrClosed)
	}
	return c, nil
}

// add puts c among the group's connections, false when the group has ended.
func (g *group) add(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ctx.Err() != nil {
		return false
	}
	g.conns[c] = struct{}{}
	return true
}

func (g *group) remove(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

// end closes all connections. Whoever uses one gets err.
func (g *group) end(err error) {
	g.cancel(err)
	g.mu.Lock()
	conns := g.conns
	g.conns = nil
	g.mu.Unlock()
	for c := range conns {
		_ = c.Conn.Close()
	}
	g.transport.CloseIdleConnections()
}

// why returns err, or why the group has ended if it has.
func (g *group) why(op, network string, err error) error {
	cause := context.Cause(g.ctx)
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return &net.OpError{Op: op, Net: network, Err: cause}
}

// A conn is a connection of a group.
type conn struct {
	net.Conn
	group *group
}

// NetConn returns the connection that the network made, for [pvd.Of].
func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, c.why("read", err)
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.why("write", err)
}

// ReadFrom lets the connection's own ReadFrom, if it has one, send a request's body.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(c.Conn, r)
	return n, c.why("write", err)
}

// why returns err, or why the connection's group has ended if that is why.
func (c *conn) why(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return c.group.why(op, c.Conn.LocalAddr().Network(), err)
}

// CloseWrite ends what the connection sends, for those who got it by an upgrade.
func (c *conn) CloseWrite() error {
	if hc, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return hc.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (c *conn) Close() error {
	c.group.remove(c)
	return c.Conn.Close()
}
