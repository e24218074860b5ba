package dns

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
)

// A view is what the resolver knows while the PvD has the same servers: other servers may
// have other answers.
type view struct {
	r         *Resolver
	plain     []netip.AddrPort      // what it was made of
	encrypted []pvd.EncryptedServer // likewise
	servers   []*upstream
	cache     *cache

	mu      sync.Mutex
	flights map[question]*flight
}

// view returns the one for the servers of the moment.
func (r *Resolver) view(d pvd.DNS) (*view, error) {
	var encrypted []pvd.EncryptedServer
	if r.conf.Encrypted != nil {
		encrypted = r.conf.Encrypted()
	}
	if v := r.current.Load(); v != nil && v.is(d.Servers, encrypted) {
		return v, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return nil, net.ErrClosed
	}
	old := r.current.Load()
	if old != nil && old.is(d.Servers, encrypted) {
		return old, nil
	}
	v := r.newView(d.Servers, encrypted)
	r.current.Store(v)
	old.retire()
	return v, nil
}

func (r *Resolver) newView(plain []netip.AddrPort, encrypted []pvd.EncryptedServer) *view {
	v := &view{
		r: r, plain: slices.Clone(plain), encrypted: encrypted,
		cache:   newCache(r.conf.MaxEntries, r.conf.MaxBytes),
		flights: make(map[question]*flight),
	}
	for _, s := range serversOf(plain, encrypted) {
		v.servers = append(v.servers, newUpstream(r, s))
	}
	return v
}

// is reports whether the view is that of the given servers. Most often, it is asked about
// the very same slices.
func (v *view) is(plain []netip.AddrPort, encrypted []pvd.EncryptedServer) bool {
	if !slices.Equal(v.plain, plain) || len(v.encrypted) != len(encrypted) {
		return false
	}
	return len(encrypted) == 0 || &v.encrypted[0] == &encrypted[0] ||
		slices.EqualFunc(v.encrypted, encrypted, sameEncrypted)
}

func sameEncrypted(a, b pvd.EncryptedServer) bool {
	return a.Priority == b.Priority && a.Name == b.Name && a.Port == b.Port && a.Path == b.Path &&
		slices.Equal(a.Addrs, b.Addrs) && slices.Equal(a.ALPN, b.ALPN)
}

// retire lets go of what nobody waits on.
func (v *view) retire() {
	if v == nil {
		return
	}
	for _, u := range v.servers {
		u.retire()
	}
}

// close lets go of everything.
func (v *view) close() {
	if v == nil {
		return
	}
	for _, u := range v.servers {
		u.close()
	}
}

// A flight is a question that is being asked, for all who ask it meanwhile.
type flight struct {
	request
	done   chan struct{} // closed when a, server and err are final
	a      *answer
	server Server // who was asked last
	err    error
	parsed atomic.Pointer[wire.Msg] // a, for one of those who ask

	life    life
	waiters int // under the view's mu

	mu     sync.Mutex
	events []Event
	first  [1]Event // of events, which most often has no other
}

func (f *flight) note(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.events == nil {
		f.events = f.first[:0]
	}
	if len(f.events) < maxEvents {
		f.events = append(f.events, e)
	}
}

// join returns the flight for q, a new one if there is none.
func (v *view) join(q question) (f *flight, joined bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f := v.flights[q]; f != nil {
		f.waiters++
		return f, true
	}
	f = &flight{request: request{q: q}, done: make(chan struct{}), waiters: 1}
	f.life.Context = context.Background()
	v.flights[q] = f
	v.r.work(func() { // ends with the schedule, with the resolver, or when nobody waits any more
		v.r.took(f)
		defer v.r.landed(f)
		f.a, f.server, f.err = v.ask(&f.life, &f.request, f.note)
		if f.err == nil {
			f.parsed.Store(f.a.parsed)
			f.a.parsed = nil // what is kept has been paid for as octets
			v.cache.put(q, f.a)
		}
		v.mu.Lock()
		if v.flights[q] == f {
			delete(v.flights, q)
		}
		v.mu.Unlock()
		close(f.done)
	})
	return f, false
}

// took says that f is under way: the resolver's end is its end.
func (r *Resolver) took(f *flight) {
	r.mu.Lock()
	r.flying[f] = struct{}{}
	r.mu.Unlock()
	if r.ctx.Err() != nil { // else Close has it
		f.life.end(net.ErrClosed)
	}
}

// landed says that f is over.
func (r *Resolver) landed(f *flight) {
	r.mu.Lock()
	delete(r.flying, f)
	r.mu.Unlock()
	f.life.end(context.Canceled)
}

// leave says that somebody does not wait for f any more. Nobody's question ends.
func (v *view) leave(q question, f *flight) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f.waiters--; f.waiters > 0 {
		return
	}
	if v.flights[q] == f {
		delete(v.flights, q)
	}
	f.life.end(context.Canceled)
}
