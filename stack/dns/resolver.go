package dns

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Resolver finds names in one PvD, for as long as the PvD stays attached: what it has
// learned is for that attachment, and dies with it. Its methods may be called concurrently.
type Resolver struct {
	conf   Config
	ctx    context.Context // ends with the resolver
	cancel context.CancelCauseFunc

	chance  reservoir
	crew    crew
	current atomic.Pointer[view]
	mu      sync.Mutex // held while current is replaced, and for flying
	flying  map[*flight]struct{}
}

// New returns a resolver. It starts nothing, and what it starts later ends by itself soon
// after the last lookup: Close is for ending it at once.
func New(c Config) *Resolver {
	if c.Clock == nil {
		c.Clock = pvd.SystemClock()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Timeout <= 0 {
		c.Timeout = firstTimeout
	}
	if c.Ndots <= 0 {
		c.Ndots = 1
	}
	if c.MaxEntries == 0 {
		c.MaxEntries = DefaultEntries
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultBytes
	}
	r := &Resolver{conf: c, flying: make(map[*flight]struct{})}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	return r
}

// Close ends everything that is under way, with [net.ErrClosed], forgets everything, and
// closes all connections. Later calls fail with net.ErrClosed. It returns nil.
func (r *Resolver) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancel(net.ErrClosed)
	r.crew.close()
	for f := range r.flying {
		f.life.end(net.ErrClosed)
	}
	r.current.Swap(nil).close()
	return nil
}

// Flush forgets every answer, closes connections that nobody waits on, and has every
// server count as a good one. Questions under way get answers that are kept for nobody.
func (r *Resolver) Flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current.Swap(nil).retire()
}

// Stats returns how many answers are kept, and what they cost in octets.
func (r *Resolver) Stats() (entries, bytes int) {
	if v := r.current.Load(); v != nil {
		return v.cache.stats()
	}
	return 0, 0
}

// A reservoir has random octets in store, as to get them one by one costs more.
type reservoir struct {
	mu   sync.Mutex
	left []byte // of store
	// store is emptied as it is read: what has been used is nobody's to find.
	store [512]byte
}

// random fills b, which is shorter than the store, with what nobody can guess.
func (r *Resolver) random(b []byte) error {
	s := &r.chance
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.left) < len(b) {
		if _, err := io.ReadFull(r.conf.Random, s.store[:]); err != nil {
			return err
		}
		s.left = s.store[:]
	}
	n := copy(b, s.left)
	clear(s.left[:n])
	s.left = s.left[n:]
	return nil
}

var errNoServer = errors.New("no DNS server in PvD")

// dnsError wraps err for those who asked for host.
func dnsError(host string, server Server, err error) *net.DNSError {
	e := &net.DNSError{Err: err.Error(), Name: strings.TrimSuffix(host, "."), UnwrapErr: err}
	if server != (Server{}) {
		e.Server = server.String()
	}
	switch {
	case errors.Is(err, errNoName), errors.Is(err, errNoData), errors.Is(err, errBadName):
		e.IsNotFound = true
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		e.IsTimeout, e.IsTemporary = true, true
	case errors.Is(err, errNoServer):
		e.UnwrapErr = nil
	case errors.Is(err, context.Canceled), errors.Is(err, pvd.ErrNoPvD), errors.Is(err, net.ErrClosed), errors.Is(err, errors.ErrUnsupported):
	default:
		e.IsTemporary = true
	}
	return e
}
