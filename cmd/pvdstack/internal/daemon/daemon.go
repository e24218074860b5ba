// Package daemon carries out a configuration: it opens the links, gives devices their
// kernel's side, attaches the PvDs and offers proxies and DNS servers, and undoes it all at
// the end.
// It only wires; what it wires are packages that can be embedded without it.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/selection"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// Run builds what c says and keeps it until ctx ends, which is no error. When anything
// can not be built, all that was is undone and the error says what failed. Nothing is
// left behind when Run returns: no device, address, route or socket. The frames of every
// PvD go to capture, unless it is nil; the caller closes it.
func Run(ctx context.Context, c *config.Config, capture *tun.Capture, log *slog.Logger) error {
	d := &daemon{log: log, capture: capture, system: newKernel(), readyTimeout: readyTimeout}
	return d.run(ctx, c)
}

// A system is what the daemon needs of the machine it runs on.
type system interface {
	// open opens a link and brings it up.
	open(l config.Link) (tun.Link, error)
	// prepare sets the kernel's side of an open link and returns what undoes that. When
	// it fails, it has undone what it did.
	prepare(l config.Link) (undo func() error, err error)
	// keep sets the kernel's sides again when devices are made anew, until ctx ends.
	keep(ctx context.Context, links []config.Link, log *slog.Logger) error
}

// A task is something that lives as long as the daemon. It returns when ctx ends, with
// nil, or else when it can not go on.
type task struct {
	name string
	run  func(ctx context.Context) error
}

// A daemon is what is built so far, and so what has to be undone.
type daemon struct {
	log          *slog.Logger
	capture      *tun.Capture
	system       system
	readyTimeout time.Duration

	host     *stack.Host
	refs     map[string]pvd.Ref // of PvDs that are not learned
	learner  *learner
	state    *state                // nil: nothing is kept
	apps     map[string]*stack.App // made as proxies need them
	manager  *selection.Manager    // nil: there is nothing to choose
	selector pvd.Selector          // manager, or what goes before it; nil: there is nothing to choose
	proxies  []*proxy
	stubs    []*stub
	tasks    []task
	undo     []func() error // of the kernel's sides, in the order they were set
}

// run is Run.
func (d *daemon) run(ctx context.Context, c *config.Config) error {
	err := d.start(ctx, c)
	if err == nil {
		d.announce(c)
		err = d.serve(ctx)
	}
	if ctx.Err() != nil {
		err = nil // whatever failed did so because it was told to end
	}
	return errors.Join(err, d.close())
}

// start builds what c says. After an error it may be half done: close undoes it.
func (d *daemon) start(ctx context.Context, c *config.Config) error {
	// What is most likely to fail and easiest to undo comes first.
	for _, p := range c.Proxies {
		if err := d.listen(ctx, p); err != nil {
			return err
		}
	}
	for _, s := range c.Stubs {
		if err := d.listenStub(ctx, s); err != nil {
			return err
		}
	}
	var err error
	if d.state, err = openState(c.State); err != nil {
		return err
	}
	secret, err := d.state.secret()
	if err != nil {
		return err
	}
	host, err := stack.New(stack.Config{Logger: d.log, Secret: secret, Capture: d.capture, Policy: c.Policy})
	if err != nil {
		return err
	}
	d.host, d.learner = host, newLearner(c)
	for _, l := range c.Links {
		if err := d.addLink(l); err != nil {
			return fmt.Errorf("link %s: %w", l.Name, err)
		}
	}
	d.refs, d.apps = make(map[string]pvd.Ref), make(map[string]*stack.App)
	for _, p := range c.PvDs {
		ref, err := host.Add(ctx, p.Config)
		if err != nil {
			return fmt.Errorf("pvd %s: %w", p.Name, err)
		}
		d.refs[p.Name] = ref
	}
	def := c.Default
	if len(c.Failover) > 0 {
		def = c.Failover[0] // until the manager knows better
	}
	if def != "" && !d.isLearned(def) {
		if err := host.SetDefault(d.refs[def]); err != nil {
			return fmt.Errorf("default %s: %w", def, err)
		}
	}
	if err := d.discover(c); err != nil {
		return err
	}
	if err := d.waitReady(ctx, c); err != nil {
		return err
	}
	if err := d.newSelector(c); err != nil {
		return err
	}
	for _, p := range d.proxies {
		if err := d.startProxy(p); err != nil {
			return err
		}
		d.tasks = append(d.tasks, task{"socks5 " + p.address(), p.serve})
	}
	for _, s := range d.stubs {
		d.startStub(s)
		d.tasks = append(d.tasks, task{"dns " + s.address(), s.serve})
	}
	if len(d.learner.names) > 0 {
		d.tasks = append(d.tasks, task{"learning", d.follow(c)})
	}
	d.tasks = append(d.tasks, task{"kernel's sides", func(ctx context.Context) error {
		return d.system.keep(ctx, c.Links, d.log)
	}})
	return nil
}

// addLink opens a link, sets its kernel's side and hands it to the host.
func (d *daemon) addLink(l config.Link) error {
	link, err := d.system.open(l)
	if err != nil {
		return err
	}
	undo, err := d.system.prepare(l)
	if err != nil {
		return errors.Join(err, link.Close())
	}
	d.undo = append(d.undo, undo)
	if err := d.host.AddLink(l.Name, link); err != nil {
		return errors.Join(err, link.Close())
	}
	return nil
}

// waitReady waits until the addresses of all PvDs can be used.
func (d *daemon) waitReady(ctx context.Context, c *config.Config) error {
	ctx, cancel := context.WithTimeout(ctx, d.readyTimeout)
	defer cancel()
	for _, p := range c.PvDs {
		if err := d.host.WaitReady(ctx, d.refs[p.Name]); err != nil {
			return fmt.Errorf("pvd %s: %w", p.Name, err)
		}
	}
	return nil
}

// announce tells whoever waits for it that everything is in place, and where.
func (d *daemon) announce(c *config.Config) {
	for _, p := range c.PvDs {
		var at []string
		for _, x := range d.proxies {
			if x.config.PvD == p.Name {
				at = append(at, x.address())
			}
		}
		addrs := make([]string, len(p.Config.Addresses))
		for i, a := range p.Config.Addresses {
			addrs[i] = a.Prefix.String()
		}
		d.log.Info("pvd attached", "pvd", p.Name, "ref", d.refs[p.Name],
			"links", strings.Join(p.Config.Links, ","), "addresses", strings.Join(addrs, ","), "socks5", strings.Join(at, ","))
	}
	for _, x := range d.proxies {
		switch {
		case x.config.App != "":
			d.log.Info("app served", "app", x.config.App, "socks5", x.address())
		case x.config.PvD == config.SystemDefault:
			d.log.Info("default served", "socks5", x.address())
		case d.isLearned(x.config.PvD):
			d.log.Info("pvd served when it is there", "pvd", x.config.PvD, "socks5", x.address())
		}
	}
	for _, s := range d.stubs {
		d.log.Info("names served", "of", s.config.Of(), "dns", s.address())
	}
	d.log.Info("ready", "pvds", len(c.PvDs), "proxies", len(d.proxies))
	if err := notify("READY=1"); err != nil {
		d.log.Warn("cannot notify the service manager", "op", "notify", "err", err)
	}
}

// serve runs the tasks until ctx ends or one of them fails, which ends the others.
func (d *daemon) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range d.tasks {
		g.Go(func() error {
			if err := t.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			return nil
		})
	}
	g.Go(func() error {
		<-ctx.Done()
		return nil
	})
	return g.Wait()
}

// close undoes what start did, last things first. It may be called after a start that
// failed, and takes closeTimeout at most: a link that can not be closed must not keep the
// process.
func (d *daemon) close() error {
	done := make(chan error, 1)
	go func() { done <- d.closeAll() }()
	select {
	case err := <-done:
		return err
	case <-time.After(closeTimeout):
		return fmt.Errorf("not everything could be closed within %v", closeTimeout)
	}
}

func (d *daemon) closeAll() error {
	var errs []error
	for _, s := range slices.Backward(d.stubs) {
		errs = append(errs, s.close())
	}
	for _, p := range slices.Backward(d.proxies) {
		errs = append(errs, p.close())
	}
	if d.manager != nil {
		errs = append(errs, d.manager.Close())
	}
	if d.host != nil {
		errs = append(errs, d.host.Close())
	}
	for _, undo := range slices.Backward(d.undo) {
		errs = append(errs, undo())
	}
	return errors.Join(errs...)
}
