package dns

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/pvdstack/pvdstack/pvd"
)

// errStream reports a connection that ended before the answer came.
var errStream = errors.New("connection ended")

// tlsConfig returns what holds for a connection to the server. Tickets are kept for as long
// as the upstream is, so that no attachment of the PvD can be recognised by those of
// another.
func (u *upstream) tlsConfig(protocols ...string) *tls.Config {
	return &tls.Config{
		ServerName: u.Name,
		RootCAs:    u.r.conf.RootCAs,
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols,
		Time:       u.r.conf.Clock.Now,

		ClientSessionCache: u.tickets,
	}
}

// overTLS sends s by the connection that there is, a new one if there is none. One that has
// been used before may have ended in the meantime: that is worth a second one.
func (u *upstream) overTLS(ctx context.Context, s *sent) (msg []byte, source netip.AddrPort, err error) {
	for range maxStreams {
		t, used := u.openStream()
		msg, source, err = t.roundTrip(ctx, s)
		if err == nil || ctx.Err() != nil || !used {
			break
		}
	}
	return msg, source, err
}

// openStream returns the connection for new queries, and whether it was there already.
func (u *upstream) openStream() (t *stream, used bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if t := u.stream; t != nil && t.takes() {
		return t, true
	}
	t = &stream{
		clock: u.r.conf.Clock, ready: make(chan struct{}), ended: make(chan struct{}),
		pending: make(map[uint16]*waiter), brief: u.retired,
	}
	u.stream = t
	go func() { // ends when the connection does: when idle, at a fault, or with the resolver
		t.run(u.dialTLS())
	}()
	return t, false
}

func (u *upstream) dialTLS() (net.Conn, error) {
	ctx, cancel := context.WithCancelCause(u.r.ctx)
	defer cancel(nil)
	defer u.r.conf.Clock.AfterFunc(connectTimeout, func() { cancel(errTimeout) }).Stop()
	c, err := u.dial(ctx)
	if err != nil {
		return nil, err
	}
	t := tls.Client(c, u.tlsConfig("dot"))
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return t, nil
}

// A stream is a connection that many queries share, with answers in any order (RFC 7766
// section 6.2.1, RFC 7858 section 3.3).
type stream struct {
	clock pvd.Clock
	ready chan struct{} // closed when conn or err is there
	ended chan struct{} // closed when there will be no more answers
	conn  net.Conn
	err   error

	mu      sync.Mutex
	pending map[uint16]*waiter
	retired bool // takes no new queries
	brief   bool // ends when nobody waits
	idle    pvd.Timer

	writing sync.Mutex
}

// A waiter waits for the answer to what was sent.
type waiter struct {
	s   sent // with the ID that it has on the connection
	got chan []byte
}

// takes reports whether t takes a new query.
func (t *stream) takes() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.retired && len(t.pending) < maxPipelined
}

// retire has the connection take no new queries and end when nobody waits.
func (t *stream) retire() {
	t.mu.Lock()
	t.retired = true
	empty := len(t.pending) == 0
	t.mu.Unlock()
	if empty {
		t.end()
	}
}

// end closes the connection, if it is there.
func (t *stream) end() {
	select {
	case <-t.ready:
		if t.conn != nil {
			t.conn.Close()
		}
	default: // run sees to it
	}
}

// run reads answers until the connection ends.
func (t *stream) run(c net.Conn, err error) {
	t.conn, t.err = c, err
	close(t.ready)
	defer close(t.ended)
	if err != nil {
		t.retire()
		return
	}
	t.mu.Lock()
	over := (t.retired || t.brief) && len(t.pending) == 0
	t.mu.Unlock()
	for !over {
		msg, err := readMessage(c)
		if err != nil {
			break
		}
		if len(msg) >= headerLen {
			t.deliver(msg)
		}
	}
	t.mu.Lock()
	t.retired = true
	if t.idle != nil {
		t.idle.Stop()
	}
	t.mu.Unlock()
	c.Close()
}

func (t *stream) deliver(msg []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.pending[binary.BigEndian.Uint16(msg)]; w != nil && w.s.judge(msg) == answers {
		select {
		case w.got <- msg:
		default: // the first one counts
		}
	}
}

// roundTrip sends s and waits for its answer until ctx ends.
func (t *stream) roundTrip(ctx context.Context, s *sent) (msg []byte, source netip.AddrPort, err error) {
	w := &waiter{s: *s, got: make(chan []byte, 1)}
	id, ok := t.register(w)
	if !ok {
		return nil, source, t.failure()
	}
	silent := false
	defer func() { t.release(id, silent) }()
	select {
	case <-t.ready:
	case <-ctx.Done():
		return nil, source, context.Cause(ctx) // the next query waits for it, too
	}
	if t.err != nil {
		return nil, source, t.err
	}
	source = sourceOf(t.conn)
	if err := t.write(ctx, w.s.msg); err != nil {
		return nil, source, err
	}
	select {
	case msg := <-w.got:
		return msg, source, nil
	case <-t.ended:
		return nil, source, errStream
	case <-ctx.Done():
		silent = errors.Is(context.Cause(ctx), errTimeout)
		return nil, source, context.Cause(ctx)
	}
}

// failure returns why a connection takes no queries.
func (t *stream) failure() error {
	select {
	case <-t.ready:
		return cmp.Or(t.err, errStream)
	default:
		return errStream
	}
}

// register gives w an ID that no other has on the connection. The one that it has is random
// and most often free.
func (t *stream) register(w *waiter) (id uint16, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.retired || len(t.pending) >= maxPipelined {
		return 0, false
	}
	id = binary.BigEndian.Uint16(w.s.msg)
	for t.pending[id] != nil {
		id++
	}
	binary.BigEndian.PutUint16(w.s.msg, id)
	t.pending[id] = w
	if t.idle != nil {
		t.idle.Stop()
	}
	return id, true
}

// release forgets a query. A connection on which one was not answered is not used again: it
// may be dead, and nothing would tell for long.
func (t *stream) release(id uint16, silent bool) {
	t.mu.Lock()
	delete(t.pending, id)
	t.retired = t.retired || silent
	empty, over := len(t.pending) == 0, t.retired || t.brief
	if empty && !over {
		if t.idle == nil {
			t.idle = t.clock.AfterFunc(idleTimeout, t.expire)
		} else {
			t.idle.Reset(idleTimeout)
		}
	}
	t.mu.Unlock()
	if empty && over {
		t.end()
	}
}

// expire ends a connection that nobody has used for a while.
func (t *stream) expire() {
	t.mu.Lock()
	empty := len(t.pending) == 0
	t.retired = t.retired || empty
	t.mu.Unlock()
	if empty {
		t.end()
	}
}

// write sends a message in one piece, and ends the connection if that fails in the middle.
func (t *stream) write(ctx context.Context, msg []byte) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = t.conn.SetWriteDeadline(past) })
	err := writeMessage(t.conn, msg)
	if !stop() || err != nil {
		t.mu.Lock()
		t.retired = true
		t.mu.Unlock()
	}
	if err != nil {
		t.conn.Close()
	}
	return err
}
