package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	wire "github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/stack/dns"
)

// A stub is a DNS server on sockets of the host: clients are programs of the host.
type stub struct {
	config   config.Stub
	listener net.Listener
	packets  net.PacketConn
	server   *dns.Stub // nil before start
}

// listenStub opens the sockets of a DNS server.
func (d *daemon) listenStub(ctx context.Context, c config.Stub) error {
	s := &stub{config: c}
	var err error
	for range maxPortTries {
		if err = s.listen(ctx); err == nil {
			d.stubs = append(d.stubs, s)
			return nil
		}
		if c.Listen.Port() != 0 {
			break
		}
	}
	return fmt.Errorf("dns of %s: %w", c.Of(), err)
}

// listen opens both sockets, at one port.
func (s *stub) listen(ctx context.Context) error {
	var lc net.ListenConfig
	var err error
	if s.listener, err = lc.Listen(ctx, "tcp", s.config.Listen.String()); err != nil {
		return err
	}
	port := s.listener.Addr().(*net.TCPAddr).Port
	if s.packets, err = lc.ListenPacket(ctx, "udp", net.JoinHostPort(s.config.Listen.Addr().String(), strconv.Itoa(port))); err != nil {
		return errors.Join(err, s.listener.Close())
	}
	return nil
}

// address returns where the server listens, with the port that the system picked.
func (s *stub) address() string { return s.listener.Addr().String() }

// startStub makes the server.
func (d *daemon) startStub(s *stub) {
	c := dns.StubConfig{Logger: d.log}
	switch of := s.config; {
	case of.App != "":
		c.Asker, c.Logger = d.app(of.App).In(pvd.Unspecified), d.log.With("app", of.App)
	case of.PvD == config.SystemDefault:
		c.Asker = d.host.In(pvd.SystemDefault)
	case d.isLearned(of.PvD):
		c.Asker, c.Logger = learnedAsker{d, of.PvD}, d.log.With("pvd", of.PvD)
	default:
		c.Asker, c.Logger = d.host.In(d.refs[of.PvD]), d.log.With("pvd", of.PvD)
	}
	s.server = dns.NewStub(c)
}

// A learnedAsker asks in the PvD that has a name at the time, which is another one after the
// network has gone and come back.
type learnedAsker struct {
	d    *daemon
	name string
}

func (a learnedAsker) in() (*stack.Network, error) {
	ref, err := a.d.learner.ref(a.name)
	if err != nil {
		return nil, err
	}
	return a.d.host.In(ref), nil
}

func (a learnedAsker) Query(ctx context.Context, q dns.Question) (*wire.Msg, dns.Info, error) {
	n, err := a.in()
	if err != nil {
		return nil, dns.Info{}, err
	}
	return n.Query(ctx, q)
}

func (a learnedAsker) Forward(ctx context.Context, msg []byte) ([]byte, dns.Info, error) {
	n, err := a.in()
	if err != nil {
		return nil, dns.Info{}, err
	}
	return n.Forward(ctx, msg)
}

func (a learnedAsker) Cached(b, query []byte) ([]byte, bool) {
	n, err := a.in()
	if err != nil {
		return b, false
	}
	return n.Cached(b, query)
}

// serve is the server's task.
func (s *stub) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.close() })
	defer stop()
	var g errgroup.Group
	g.Go(func() error { return s.server.Serve(s.listener) })
	g.Go(func() error { return s.server.ServePacket(s.packets) })
	err := g.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// close ends the server and its connections. It may be called more than once.
func (s *stub) close() error {
	var errs []error
	if s.server != nil {
		errs = append(errs, s.server.Close())
	}
	for _, c := range []interface{ Close() error }{s.listener, s.packets} {
		if err := c.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
