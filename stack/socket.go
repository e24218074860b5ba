package stack

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/pvdstack/pvdstack/pvd"
)

// A socket is what connections and listeners have in common: an endpoint of gVisor's in
// a PvD, which can be waited for, closed by the application and ended by the PvD.
type socket struct {
	d       *domain
	ep      tcpip.Endpoint
	wq      *waiter.Queue
	network string // as the application named it, for errors

	// nic and addr are what the socket stands on. Without a NIC it stands on nothing
	// that could be taken away but the PvD.
	addr netip.Addr
	nic  tcpip.NICID

	place   int32       // in its domain's endpoints, from 1; 0: nowhere
	over    atomic.Bool // there is a reason
	listens listening
	owner   owner

	local, remote net.Addr // set before the socket is shared; remote may be nil

	in, out    readiness
	readUntil  deadline
	writeUntil deadline

	mu     sync.Mutex
	done   chan struct{} // closed when there is a reason; nil until somebody waits for it
	reason error         // why everything fails
	closed bool          // by the application
}

// A readiness is what the calls of one direction wait for: one persistent entry in an
// endpoint's wait queue.
type readiness struct {
	entry waiter.Entry
	ready chan struct{} // holds a token after each event, and when there is nothing to wait for any more
}

// The events that may let a reader, and a writer, go on.
const (
	readEvents  = waiter.ReadableEvents | waiter.EventRdHUp | waiter.EventHUp | waiter.EventErr
	writeEvents = waiter.WritableEvents | waiter.EventHUp | waiter.EventErr
)

func (r *readiness) init(events waiter.EventMask) {
	r.entry, r.ready = waiter.NewChannelEntry(events)
}

// wake has somebody who waits look again, or the next one who would.
func (r *readiness) wake() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// init makes s the socket of ep in d.
func (s *socket) init(d *domain, network string, ep tcpip.Endpoint, wq *waiter.Queue) {
	s.d, s.network, s.ep, s.wq = d, network, ep, wq
	s.readUntil.clock, s.writeUntil.clock = d.host.clock, d.host.clock
	s.in.init(readEvents)
	s.readUntil.wakes = &s.in
	wq.EventRegister(&s.in.entry)
}

// lookOut has what lets writers go on noticed from now on. It is for who has the socket alone.
func (s *socket) lookOut() {
	s.out.init(writeEvents)
	s.writeUntil.wakes = &s.out
	s.wq.EventRegister(&s.out.entry)
}

// writable is what a writer waits for. It is for one at a time; most that write never ask. If
// nobody has looked out until then, it is ready at once.
func (s *socket) writable() *readiness {
	if s.out.ready != nil {
		return &s.out
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writeUntil.mu.Lock()
	defer s.writeUntil.mu.Unlock()
	s.lookOut()
	s.out.wake()
	if s.closed { // by now close no longer does it
		s.wq.EventUnregister(&s.out.entry)
	}
	return &s.out
}

// overLocked lets those who wait know that there is a reason why everything fails.
func (s *socket) overLocked() {
	s.over.Store(true)
	if s.done != nil {
		close(s.done)
	}
	s.in.wake()
	if s.out.ready != nil {
		s.out.wake()
	}
}

// PvD returns the PvD that the connection or listener is in. It never changes.
func (s *socket) PvD() pvd.Ref { return s.d.ref }

// own says whose the socket is. It comes before track.
func (s *socket) own(o owner) {
	s.owner = o
	if o.tos != 0 {
		_ = s.ep.SetSockOptInt(tcpip.IPv4TOSOption, int(o.tos)) // each kind of endpoint knows both options
		_ = s.ep.SetSockOptInt(tcpip.IPv6TrafficClassOption, int(o.tos))
	}
}

// track makes the domain answer for the socket, which is the application's from here on.
// The caller has entered the domain.
func (s *socket) track() error { return s.trackAs(true) }

// trackAccepted is track for a connection that its owner did not open.
func (s *socket) trackAccepted() error { return s.trackAs(false) }

func (s *socket) trackAs(opened bool) error {
	if err := s.owner.app.take(s.d.ref, opened); err != nil {
		return err
	}
	if err := s.d.endpoints.add(s); err != nil {
		s.owner.app.release(s.d.ref)
		return err
	}
	// What it stands on may have gone before the domain knew of the socket.
	if err := s.lost(); err != nil {
		s.end(err)
	}
	return nil
}

// lost returns what is wrong with what the socket stands on, nil if it is there.
func (s *socket) lost() error {
	if s.nic == 0 || s.nic == loopbackNIC {
		return nil
	}
	p := s.d.plan.Load()
	l, ok := p.linkOfNIC(s.nic)
	if !ok {
		return syscall.ENETDOWN
	}
	for _, have := range p.addrs {
		if have.Link == l.name && have.Prefix.Addr() == s.addr && (have.State.Usable() || have.State == pvd.Tentative) {
			return nil
		}
	}
	return syscall.EADDRNOTAVAIL
}

// end is the domain's way to take away what the socket stands on.
func (s *socket) end(err error) {
	if s.fail(err) {
		s.untrack()
		s.ep.Abort()
	}
}

func (s *socket) untrack() {
	if s.d.endpoints.remove(s) {
		s.owner.app.release(s.d.ref)
	}
}

// fail makes everything fail from now on, for a first reason, and reports whether it was
// the first.
func (s *socket) fail(err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason != nil {
		return false
	}
	s.reason = err
	s.overLocked()
	return true
}

// close is the application's Close. Whatever had happened to the socket, from now on it
// is closed.
func (s *socket) close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return net.ErrClosed
	}
	s.closed = true
	if s.reason == nil {
		s.overLocked()
	}
	s.reason = net.ErrClosed
	looked := s.out.ready != nil
	s.mu.Unlock()

	s.untrack()
	s.readUntil.stop()
	s.writeUntil.stop()
	s.ep.Close()
	// The endpoint may go on for a minute in TIME-WAIT. It is to keep nothing of ours.
	s.wq.EventUnregister(&s.in.entry)
	if looked {
		s.wq.EventUnregister(&s.out.entry)
	}
	return nil
}

// failed returns why the socket has failed, nil if it has not.
func (s *socket) failed() error {
	if !s.over.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// ended returns a channel that is closed when the socket has failed, for those who wait for
// more than its readiness.
func (s *socket) ended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done = make(chan struct{})
		if s.reason != nil {
			close(s.done)
		}
	}
	return s.done
}

// check returns why an operation with this deadline can not begin.
func (s *socket) check(until *deadline) error {
	if err := s.failed(); err != nil {
		return err
	}
	if until.past.Load() {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// wait waits for an event. There may have been none when it returns nil.
func (s *socket) wait(r *readiness, until *deadline) error {
	<-r.ready // of one channel, since of three it takes three times as long
	err := s.check(until)
	if err != nil {
		r.wake() // there may be others
	}
	return err
}

// SetDeadline sets the deadline of both directions; see [net.Conn].
func (s *socket) SetDeadline(t time.Time) error { return s.setDeadline(t, &s.readUntil, &s.writeUntil) }

// SetReadDeadline sets the deadline of reading; see [net.Conn].
func (s *socket) SetReadDeadline(t time.Time) error { return s.setDeadline(t, &s.readUntil) }

// SetWriteDeadline sets the deadline of writing; see [net.Conn].
func (s *socket) SetWriteDeadline(t time.Time) error { return s.setDeadline(t, &s.writeUntil) }

func (s *socket) setDeadline(t time.Time, which ...*deadline) error {
	if err := s.failed(); err != nil {
		return s.setError(err)
	}
	for _, d := range which {
		d.set(t)
	}
	return nil
}

// LocalAddr returns the socket's own address, which the caller must not modify. Where the
// address needs a zone, that is the link's name.
func (s *socket) LocalAddr() net.Addr { return s.local }

// RemoteAddr returns the peer's address, which the caller must not modify, nil if there
// is no peer.
func (s *socket) RemoteAddr() net.Addr { return s.remote }

// opError is an error of an operation between the two ends.
func (s *socket) opError(op string, err error) error {
	return opError(op, s.network, s.local, s.remote, err)
}

// setError is an error of setting an option.
func (s *socket) setError(err error) error {
	return opError(opSet, s.network, nil, s.local, err)
}

// SetReadBuffer sets the size of the receive buffer in octets. It no longer grows by
// itself then.
func (s *socket) SetReadBuffer(bytes int) error {
	return s.setBuffer(bytes, s.ep.SocketOptions().ReceiveBufferLimits, s.ep.SocketOptions().SetReceiveBufferSize)
}

// SetWriteBuffer sets the size of the send buffer in octets. It no longer grows by itself
// then.
func (s *socket) SetWriteBuffer(bytes int) error {
	return s.setBuffer(bytes, s.ep.SocketOptions().SendBufferLimits, s.ep.SocketOptions().SetSendBufferSize)
}

func (s *socket) setBuffer(bytes int, limits func() (int64, int64), set func(int64, bool)) error {
	if err := s.failed(); err != nil {
		return s.setError(err)
	}
	if bytes < 0 {
		return s.setError(os.NewSyscallError("setsockopt", syscall.EINVAL))
	}
	low, high := limits()
	set(min(max(int64(bytes), low), high), true)
	return nil
}
