package pvdhttp

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Pool is an [http.RoundTripper] that carries out each request in the PvD that the
// request's context carries ([pvd.NewContext]), with transports that no two PvDs share.
// Redirections stay in the PvD, whatever becomes of defaults meanwhile. The response's
// Request has a context that carries the PvD.
//
// A request whose context leads to no PvD fails with ENETUNREACH, one in a PvD that is
// gone with [pvd.ErrNoPvD].
//
// Make one with [NewPool]. Its methods may be called concurrently; its fields must not
// change once they are.
type Pool struct {
	// Scope returns the PvD that calls with the given context belong to. It is how the
	// defaults of an application and of the system come in. May be nil: pvd.FromContext.
	Scope func(context.Context) pvd.Ref

	// Setup changes the transport of a PvD before it is used. Its DialContext is not to be
	// changed, and its TLSClientConfig only in parts: the session cache must not be shared.
	// May be nil.
	Setup func(pvd.Ref, *http.Transport)

	in func(pvd.Ref) pvd.Dialer

	mu     sync.Mutex
	closed bool
	groups map[pvd.Ref]*group
}

// NewPool returns a pool that makes connections in a PvD by the network that in returns
// for it; the method In of a stack's host or application is one.
func NewPool[N pvd.Dialer](in func(pvd.Ref) N) *Pool {
	return &Pool{
		in:     func(ref pvd.Ref) pvd.Dialer { return in(ref) },
		groups: make(map[pvd.Ref]*group),
	}
}

// RoundTrip carries out one request; see [http.RoundTripper].
func (p *Pool) RoundTrip(r *http.Request) (*http.Response, error) {
	return p.roundTrip(r, p.scope(r))
}

// Client returns a client whose requests are all carried out in ref, whatever their
// context carries.
func (p *Pool) Client(ref pvd.Ref) *http.Client {
	return &http.Client{Transport: bound{p, ref}}
}

// bound is a Pool for requests of one PvD.
type bound struct {
	pool *Pool
	ref  pvd.Ref
}

func (b bound) RoundTrip(r *http.Request) (*http.Response, error) {
	return b.pool.roundTrip(r, b.ref)
}

// scope returns the PvD that r belongs to.
func (p *Pool) scope(r *http.Request) pvd.Ref {
	// A redirection belongs where the request did that it comes from.
	if r.Response != nil && r.Response.Request != nil {
		if ref := pvd.FromContext(r.Response.Request.Context()); ref.Attached() {
			return ref
		}
	}
	if p.Scope != nil {
		return p.Scope(r.Context())
	}
	return pvd.FromContext(r.Context())
}

func (p *Pool) roundTrip(r *http.Request, ref pvd.Ref) (*http.Response, error) {
	g, err := p.group(ref)
	if err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	return g.transport.RoundTrip(r.WithContext(pvd.NewContext(r.Context(), ref)))
}

// group returns the connections of ref.
func (p *Pool) group(ref pvd.Ref) (*group, error) {
	if !ref.Attached() {
		return nil, fmt.Errorf("pvdhttp: the request is in no PvD (%v): %w", ref, syscall.ENETUNREACH)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("pvdhttp: pool: %w", net.ErrClosed)
	}
	g, ok := p.groups[ref]
	if !ok {
		g = p.newGroup(ref)
		p.groups[ref] = g
	}
	return g, nil
}

// Forget ends all that is under way in ref, a PvD that is gone: its connections are
// closed, idle ones and others, and requests fail with [pvd.ErrNoPvD]. It is called by
// itself when a connection cannot be made for that reason; who watches PvDs come and go
// may call it before.
func (p *Pool) Forget(ref pvd.Ref) {
	p.mu.Lock()
	g := p.groups[ref]
	delete(p.groups, ref)
	p.mu.Unlock()
	if g != nil {
		g.end(pvd.ErrNoPvD)
	}
}

// CloseIdleConnections closes the connections that are not in use, in every PvD.
// [http.Client.CloseIdleConnections] calls it.
func (p *Pool) CloseIdleConnections() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, g := range p.groups {
		g.transport.CloseIdleConnections()
	}
}

// CloseIdleConnections closes those of the one PvD.
func (b bound) CloseIdleConnections() {
	b.pool.mu.Lock()
	defer b.pool.mu.Unlock()
	if g := b.pool.groups[b.ref]; g != nil {
		g.transport.CloseIdleConnections()
	}
}

// Close ends all that is under way, in every PvD. Requests fail with [net.ErrClosed]
// from then on.
func (p *Pool) Close() {
	p.mu.Lock()
	groups := p.groups
	p.groups = nil
	p.closed = true
	p.mu.Unlock()
	for _, g := range groups {
		g.end(net.ErrClosed)
	}
}
