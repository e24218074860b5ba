package stack

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/pvdstack/pvdstack/pvd"
)

// An everywhere is a socket in every PvD: one member in each, those that have something to
// be fetched in a queue. T is the member's type.
type everywhere[T any] struct {
	host  *Host
	owner owner
	open  func(*domain) (T, error)
	shut  func(T)
	via   func(T) *socket
	rang  func() // is called when ready has grown, with locks held; may be nil

	local     net.Addr
	readUntil deadline

	fetchMu sync.Mutex // serializes those who fetch

	mu         sync.Mutex
	members    map[*domain]*member[T]
	ready      []*member[T]
	writeUntil time.Time // of all members, those to come included, as are the buffers' sizes
	buffers    buffers
	closed     bool
	done       chan struct{} // closed with it
	wake       chan struct{} // holds a token when ready has grown
}

// buffers are the sizes in octets that were asked for, 0 where none was.
type buffers struct{ read, write int }

// set gives a socket the sizes. One that is closed needs none.
func (b buffers) set(s *socket) {
	if b.read > 0 {
		_ = s.SetReadBuffer(b.read)
	}
	if b.write > 0 {
		_ = s.SetWriteBuffer(b.write)
	}
}

// A member is the part of an everywhere that is in one PvD.
type member[T any] struct {
	of     *everywhere[T]
	socket T
	entry  waiter.Entry
	queued bool
}

// NotifyEvent puts the member into the queue. gVisor calls it with locks held.
func (m *member[T]) NotifyEvent(waiter.EventMask) {
	e := m.of
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queueLocked(m)
}

func (e *everywhere[T]) queueLocked(m *member[T]) {
	if m.queued {
		return
	}
	m.queued = true
	e.ready = append(e.ready, m)
	select {
	case e.wake <- struct{}{}:
	default:
	}
	if e.rang != nil {
		e.rang()
	}
}

func (e *everywhere[T]) init(h *Host, o owner) {
	e.host, e.owner = h, o
	e.readUntil.clock = h.clock
	e.members = make(map[*domain]*member[T])
	e.done = make(chan struct{})
	e.wake = make(chan struct{}, 1)
}

// join makes a member in d if there is none yet. Where policy lets the application use d no
// more, it takes the member away.
func (e *everywhere[T]) join(d *domain) error {
	app := e.owner.app
	if app.permission(d.info.Load()) != pvd.Allowed {
		e.left(d)
		return nil
	}
	if _, in := e.in(d); in || app.permit(d) != nil {
		return nil
	}
	s, err := e.open(d)
	if err != nil {
		if app.permit(d) != nil {
			return nil // no longer allowed, which must not keep the PvD away from others
		}
		return err
	}
	m := &member[T]{of: e, socket: s}
	m.entry.Init(m, readEvents)
	e.via(s).wq.EventRegister(&m.entry)
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		e.drop(m)
		return nil
	}
	e.members[d] = m
	e.via(s).writeUntil.set(e.writeUntil)
	e.queueLocked(m) // for what came before the entry was in its place
	b := e.buffers
	e.mu.Unlock()
	b.set(e.via(s))
	return nil
}

// left forgets the member in d.
func (e *everywhere[T]) left(d *domain) {
	e.mu.Lock()
	m := e.members[d]
	delete(e.members, d)
	e.mu.Unlock()
	if m != nil {
		e.drop(m)
	}
}

func (e *everywhere[T]) drop(m *member[T]) {
	e.via(m.socket).wq.EventUnregister(&m.entry)
	e.shut(m.socket)
}

// next returns a member that may have something, nil if none has.
func (e *everywhere[T]) next() *member[T] {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.ready) == 0 {
		return nil
	}
	m := e.ready[0]
	e.ready[0] = nil
	e.ready = e.ready[1:]
	m.queued = false
	return m
}

// fetch calls try with one member after the other until one has something, which is when
// the error is another than errWouldBlock. Errors of members that are gone are no errors.
func (e *everywhere[T]) fetch(try func(T) error) error {
	e.fetchMu.Lock()
	defer e.fetchMu.Unlock()
	for {
		select {
		case <-e.done:
			return net.ErrClosed
		default:
		}
		if e.readUntil.past.Load() {
			return os.ErrDeadlineExceeded
		}
		if err := e.fetchNow(try); !errors.Is(err, errWouldBlock) {
			return err
		}
		select {
		case <-e.wake:
		case <-e.readUntil.passed():
		case <-e.done:
		}
	}
}

// fetchNow is fetch for one who does not wait. The error is errWouldBlock if no member has
// anything.
func (e *everywhere[T]) fetchNow(try func(T) error) error {
	for {
		m := e.next()
		if m == nil {
			return errWouldBlock
		}
		err := try(m.socket)
		if e.skips(m, err) {
			continue
		}
		e.mu.Lock()
		e.queueLocked(m) // behind the others: each has its turn
		e.mu.Unlock()
		return err
	}
}

// all returns the members that there are.
func (e *everywhere[T]) all() []T {
	e.mu.Lock()
	defer e.mu.Unlock()
	members := make([]T, 0, len(e.members))
	for _, m := range e.members {
		members = append(members, m.socket)
	}
	return members
}

// waiting returns the members that may have something.
func (e *everywhere[T]) waiting() []T {
	e.mu.Lock()
	defer e.mu.Unlock()
	members := make([]T, 0, len(e.ready))
	for _, m := range e.ready {
		members = append(members, m.socket)
	}
	return members
}

// in returns the member in d.
func (e *everywhere[T]) in(d *domain) (T, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m := e.members[d]; m != nil {
		return m.socket, true
	}
	var none T
	return none, false
}

// skips reports whether an error is one that concerns a single member, which the others do
// not wait for: it has nothing, it is gone, or its PvD has as many sockets as it may. It
// has its turn again at its next event.
func (e *everywhere[T]) skips(m *member[T], err error) bool {
	return errors.Is(err, errWouldBlock) || errors.Is(err, pvd.ErrNoPvD) || errors.Is(err, syscall.EMFILE) || e.via(m.socket).failed() != nil
}

// setDeadline sets deadlines, of reading, of writing or of both.
func (e *everywhere[T]) setDeadline(t time.Time, read, write bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return net.ErrClosed
	}
	if read {
		e.readUntil.set(t)
	}
	if write {
		e.writeUntil = t
		for _, m := range e.members {
			e.via(m.socket).writeUntil.set(t)
		}
	}
	return nil
}

// setBuffers sets those sizes that are not 0.
func (e *everywhere[T]) setBuffers(b buffers) error {
	if b.read < 0 || b.write < 0 {
		return os.NewSyscallError("setsockopt", syscall.EINVAL)
	}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return net.ErrClosed
	}
	if b.read > 0 {
		e.buffers.read = b.read
	}
	if b.write > 0 {
		e.buffers.write = b.write
	}
	members := slices.Collect(maps.Values(e.members))
	e.mu.Unlock()
	for _, m := range members {
		b.set(e.via(m.socket))
	}
	return nil
}

// close ends all members. It is net.ErrClosed when it has been called before.
func (e *everywhere[T]) close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return net.ErrClosed
	}
	e.closed = true
	close(e.done)
	members := e.members
	e.members, e.ready = nil, nil
	e.mu.Unlock()
	e.host.removeJoiner(e)
	e.readUntil.stop()
	for _, m := range members {
		e.drop(m)
	}
	return nil
}

// listenEverywhere has every PvD joined. Port 0 is one that is free in all of them.
func (e *everywhere[T]) listenEverywhere(ctx context.Context, at netip.AddrPort, setPort func(uint16)) error {
	if !at.Addr().IsUnspecified() {
		return callError("bind", syscall.EADDRNOTAVAIL) // no address is every PvD's
	}
	if at.Port() != 0 {
		setPort(at.Port())
		return e.host.addJoiner(ctx, e)
	}
	for range maxPortTries {
		setPort(randomPort())
		if err := e.host.addJoiner(ctx, e); !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	return callError("bind", syscall.EADDRINUSE)
}

// randomPort returns an ephemeral port.
func randomPort() uint16 {
	return firstEphemeral + uint16(rand.IntN(lastEphemeral-firstEphemeral+1))
}
