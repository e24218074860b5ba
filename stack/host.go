package stack

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// A Config says how a [Host] is made. Its zero value is usable.
type Config struct {
	// Logger gets what the host has to say. Nil: it says nothing.
	Logger *slog.Logger

	// Clock is where time comes from. Nil: [pvd.SystemClock].
	Clock pvd.Clock

	// Secret is the key from which hardware addresses and interface identifiers are
	// derived (RFC 7217 section 5). With the same secret they are the same again. Nil: a
	// new one, so that they are not.
	Secret []byte

	// Policy says what Apps may do, as [Host.SetPolicy] does. Nil: everything.
	Policy *pvd.Policy

	// Selector chooses the PvD of calls that name none, as [Host.SetSelector] does. Nil:
	// it is the system default.
	Selector pvd.Selector

	// Roots are the trust anchors for the PvDs' encrypted DNS servers. Nil: those of the
	// system.
	Roots *x509.CertPool

	// Capture, if not nil, gets every frame of every PvD, under an interface that is
	// called "link/pvd". The caller closes it, after the host.
	Capture *tun.Capture
}

// A Host holds links and PvDs, and is where applications find their networks. Its methods
// may be called concurrently.
type Host struct {
	log      *slog.Logger
	clock    pvd.Clock
	secret   []byte
	capture  *tun.Capture
	roots    *x509.CertPool
	registry *pvd.Registry
	policy   atomic.Pointer[pvd.Policy]
	permits  permits
	selector atomic.Pointer[pvd.Selector]
	ports    sharedPorts

	mu      sync.RWMutex // guards the maps; only the registry's writer changes them
	domains map[pvd.Ref]*domain
	links   map[string]*hostLink
	joiners map[joiner]struct{}
	closed  bool

	learning  sync.Mutex // held while a link's agent begins or ends
	unions    unions
	suspended func() time.Duration // for how long the machine has slept; nil: nobody knows

	inForce  context.Context //nolint:containedctx // ends when there is another policy; mu guards it too
	replaced context.CancelFunc

	done sync.WaitGroup // the goroutine that passes gVisor's log on, which ends with Close
}

// A joiner is a socket that is in every PvD.
type joiner interface {
	// join makes the socket part of d, which is complete but for being visible, or no part
	// of it any more, as policy has it. An error refuses the PvD.
	join(d *domain) error
	// left tells that d is gone. It does not wait.
	left(d *domain)
	// close ends the socket as its owner's Close does.
	close() error
}

// New returns a host without links and PvDs. Close ends it.
func New(c Config) (*Host, error) {
	if err := c.Policy.Validate(); err != nil {
		return nil, fmt.Errorf("stack: %w", err)
	}
	h := &Host{
		log: c.Logger, clock: c.Clock, secret: slices.Clone(c.Secret), capture: c.Capture, roots: c.Roots,
		domains: make(map[pvd.Ref]*domain),
		links:   make(map[string]*hostLink),
		joiners: make(map[joiner]struct{}),
	}
	h.setPolicy(c.Policy)
	h.SetSelector(c.Selector)
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.clock == nil {
		h.clock, h.suspended = pvd.SystemClock(), suspended
	}
	if len(h.secret) == 0 {
		h.secret = make([]byte, 32)
		if _, err := rand.Read(h.secret); err != nil {
			return nil, fmt.Errorf("stack: secret: %w", err)
		}
	}
	h.registry = pvd.NewRegistry(pvd.RegistryConfig{Apply: h.apply, Observe: h.observe})
	gvisorLog.tap(h)
	return h, nil
}

// ErrClosed reports an operation on a host that has been closed.
var ErrClosed = pvd.ErrClosed

// Close removes all PvDs, then all links, which it closes, and returns when every
// goroutine of the host has ended. Calls after the first do nothing.
func (h *Host) Close() error {
	ctx := context.Background()
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	h.mu.Unlock()
	h.stopLearning()
	// What the writer was about to attach is there after this, and nothing more comes.
	errs := []error{h.registry.Serialize(ctx, func() error { return nil })}
	for _, ref := range h.registry.List() {
		if err := h.registry.Remove(ctx, ref); err != nil && !errors.Is(err, pvd.ErrNoPvD) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, h.registry.Serialize(ctx, func() error {
		var errs []error
		for _, name := range h.Links() {
			errs = append(errs, h.takeLink(name))
		}
		return errors.Join(errs...)
	}))
	h.registry.Close()
	for _, j := range h.everyJoiner() {
		_ = j.close() // it has no owner to tell
	}
	gvisorLog.untap(h)
	h.done.Wait()
	return errors.Join(errs...)
}

// do has the registry's writer run f, unless the host is closed.
func (h *Host) do(f func() error) error {
	return h.registry.Serialize(context.Background(), func() error {
		if h.isClosed() {
			return ErrClosed
		}
		return f()
	})
}

func (h *Host) isClosed() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.closed
}

// AddLink gives the host a link under a name that PvDs refer to it by. From here on the
// link is the host's, which closes it in [Host.RemoveLink] or [Host.Close]; after an error
// it is still the caller's. PvDs that had a link of that name before have it again.
func (h *Host) AddLink(name string, l tun.Link) error {
	if name == "" {
		return errors.New("stack: a link needs a name")
	}
	return h.do(func() error {
		if _, ok := h.link(name); ok {
			return fmt.Errorf("stack: there is a link %q already", name)
		}
		if len(h.links) >= maxLinks { // the registry's writer alone changes it
			return fmt.Errorf("stack: %d links are attached, which is the limit", maxLinks)
		}
		hl := newHostLink(h, name, l)
		h.mu.Lock()
		h.links[name] = hl
		h.mu.Unlock()
		hl.start()
		h.reapply(name)
		return nil
	})
}

// RemoveLink takes a link away and closes it. PvDs that were learned on it go with it. Others
// stay; their connections over it fail with ENETDOWN.
func (h *Host) RemoveLink(name string) error {
	h.learning.Lock()
	defer h.learning.Unlock()
	if l, ok := h.link(name); ok {
		l.stopLearning()
	}
	return h.registry.Serialize(context.Background(), func() error { return h.takeLink(name) })
}

// takeLink removes a link. It runs on the registry's writer.
func (h *Host) takeLink(name string) error {
	hl, ok := h.link(name)
	if !ok {
		return fmt.Errorf("stack: there is no link %q", name)
	}
	h.mu.Lock()
	delete(h.links, name)
	h.mu.Unlock()
	h.reapply(name)
	err := hl.link.Close()
	hl.done.Wait()
	return err
}

// Links returns the names of the host's links, sorted.
func (h *Host) Links() []string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Sorted(maps.Keys(h.links))
}

func (h *Host) link(name string) (*hostLink, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	l, ok := h.links[name]
	return l, ok
}

// domain returns the PvD at work that ref refers to, which is not a reserved value.
func (h *Host) domain(ref pvd.Ref) (*domain, error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	d, ok := h.domains[ref]
	if !ok {
		return nil, pvd.ErrNoPvD
	}
	return d, nil
}

// Add attaches a PvD. It is checked in full before anything is touched: a link that does
// not exist, an address that can not be told from another PvD's, or anything that
// [pvd.Config.Validate] finds is an error, and nothing remains. Add does not wait for
// duplicate address detection; [Host.WaitReady] does, and so does dialling.
func (h *Host) Add(ctx context.Context, c pvd.Config) (pvd.Ref, error) {
	if err := h.check(c); err != nil {
		return pvd.Unspecified, err
	}
	return h.registry.Add(ctx, c.Describe)
}

// Update changes a PvD to what c says. Connections on addresses that stay live on; those
// on addresses or links that go fail with EADDRNOTAVAIL or ENETDOWN. When the new
// configuration is refused, the old one remains in force.
func (h *Host) Update(ctx context.Context, ref pvd.Ref, c pvd.Config) error {
	if err := h.check(c); err != nil {
		return err
	}
	return h.registry.Update(ctx, ref, c.Describe)
}

func (h *Host) check(c pvd.Config) error {
	if h.isClosed() {
		return ErrClosed
	}
	if err := c.Validate(); err != nil {
		return fmt.Errorf("stack: PvD %s: %w", c.Label(), err)
	}
	return nil
}

// Remove detaches a PvD. Everything in it fails with [pvd.ErrNoPvD], calls that are
// blocked at once, and its peers get resets. When Remove returns nothing of it is left.
func (h *Host) Remove(ctx context.Context, ref pvd.Ref) error { return h.registry.Remove(ctx, ref) }

// Info returns the newest description of a PvD, or [pvd.ErrNoPvD].
func (h *Host) Info(ref pvd.Ref) (*pvd.Info, error) { return h.registry.Info(ref) }

// List returns the PvDs that are attached, in the order in which they were.
func (h *Host) List() []pvd.Ref { return h.registry.List() }

// Default returns the system default PvD, [pvd.Null] if there is none.
func (h *Host) Default() pvd.Ref { return h.registry.Default() }

// SetDefault makes ref, or [pvd.Null], the system default.
func (h *Host) SetDefault(ref pvd.Ref) error { return h.registry.SetDefault(ref) }

// WaitReady waits until all conditions hold of a PvD; without any, until its addresses
// have been through duplicate address detection. The error names what is lacking.
func (h *Host) WaitReady(ctx context.Context, ref pvd.Ref, conds ...pvd.Condition) error {
	if len(conds) == 0 {
		conds = []pvd.Condition{pvd.Settled}
	}
	return h.registry.Wait(ctx, ref, conds...)
}

// Stats returns the host's counters.
func (h *Host) Stats() Stats {
	h.mu.RLock()
	defer h.mu.RUnlock()
	s := Stats{Links: make(map[string]map[string]uint64), PvDs: make(map[string]map[string]map[string]uint64)}
	for name, l := range h.links {
		s.Links[name] = l.stats.countFrames()
	}
	for _, ref := range slices.Sorted(maps.Keys(h.domains)) {
		d := h.domains[ref]
		of := make(map[string]map[string]uint64)
		for _, p := range *d.nics.Load() {
			of[p.link.name] = p.stats.count()
		}
		name := d.name()
		if _, taken := s.PvDs[name]; taken {
			name += " " + ref.String()
		}
		s.PvDs[name] = of
	}
	return s
}

// addJoiner makes j part of every PvD, those that are and those to come. If one refuses,
// j is part of none.
func (h *Host) addJoiner(ctx context.Context, j joiner) error {
	return h.registry.Serialize(ctx, func() error {
		if h.isClosed() {
			return ErrClosed
		}
		var joined []*domain
		for _, ref := range h.registry.List() {
			d, err := h.domain(ref)
			if err == nil {
				err = j.join(d)
			}
			if err != nil {
				for _, d := range joined {
					j.left(d)
				}
				return err
			}
			joined = append(joined, d)
		}
		h.mu.Lock()
		h.joiners[j] = struct{}{}
		h.mu.Unlock()
		return nil
	})
}

func (h *Host) removeJoiner(j joiner) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.joiners, j)
}

func (h *Host) everyJoiner() []joiner {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Collect(maps.Keys(h.joiners))
}
