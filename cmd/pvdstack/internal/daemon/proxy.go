package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack/socks5"
)

// A proxy is a SOCKS5 server on a socket of the host: clients are programs of the host.
type proxy struct {
	config   config.Proxy
	listener net.Listener
	server   *socks5.Server // nil before start
}

// listen opens the socket of a proxy. Clients may connect from then on; they are answered
// when the PvD is ready.
func (d *daemon) listen(ctx context.Context, c config.Proxy) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", c.Listen.String())
	if err != nil {
		return fmt.Errorf("socks5 of %s: %w", c.Of(), err)
	}
	d.proxies = append(d.proxies, &proxy{config: c, listener: l})
	return nil
}

// address returns where the proxy listens, with the port that the system picked.
func (p *proxy) address() string { return p.listener.Addr().String() }

// startProxy makes the server of a proxy.
func (d *daemon) startProxy(p *proxy) error {
	c := socks5.Config{
		Users:             p.config.Users,
		AllowPublic:       true, // the configuration has been checked, with its force
		Allow:             p.config.Allow,
		HandshakeTimeout:  p.config.HandshakeTimeout,
		DialTimeout:       p.config.DialTimeout,
		IdleTimeout:       p.config.IdleTimeout,
		MaxConns:          p.config.MaxConns,
		MaxConnsPerClient: p.config.MaxPerClient,
		MaxHandshakes:     p.config.MaxHandshakes,
	}
	switch {
	case p.config.App != "":
		c.Network = d.app(p.config.App).WithMark(p.config.Mark).WithToS(p.config.ToS)
		c.Logger = d.log.With("app", p.config.App)
	case p.config.PvD == config.SystemDefault:
		c.Network, c.Logger = d.host.In(pvd.SystemDefault).WithToS(p.config.ToS), d.log
	case d.isLearned(p.config.PvD):
		c.Select = d.inLearned(p.config)
		c.Logger = d.log.With("pvd", p.config.PvD)
	default:
		c.Network = d.host.In(d.refs[p.config.PvD]).WithToS(p.config.ToS)
		c.Logger = d.log.With("pvd", p.config.PvD)
	}
	s, err := socks5.New(c)
	if err != nil {
		return fmt.Errorf("proxy %s of %s: %w", p.address(), p.config.Of(), err)
	}
	p.server = s
	return nil
}

// inLearned returns what finds the PvD of each request, which is another one after the
// network has gone and come back.
func (d *daemon) inLearned(p config.Proxy) func(context.Context, *socks5.Request) (socks5.Network, error) {
	return func(context.Context, *socks5.Request) (socks5.Network, error) {
		ref, err := d.learner.ref(p.PvD)
		if err != nil {
			return nil, err
		}
		return d.host.In(ref).WithToS(p.ToS), nil
	}
}

// serve is the proxy's task.
func (p *proxy) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = p.close() })
	defer stop()
	err := p.server.Serve(p.listener)
	if errors.Is(err, socks5.ErrServerClosed) {
		return nil
	}
	return err
}

// close ends the proxy and its connections. It may be called more than once.
func (p *proxy) close() error {
	if p.server != nil {
		_ = p.server.Close() // never fails
	}
	if err := p.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
