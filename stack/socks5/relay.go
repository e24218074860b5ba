package socks5

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

var errIdle = errors.New("idle for too long")

// past is a deadline that wakes up whoever waits.
var past = time.Unix(1, 0)

// A relay moves data between two connections, each way until the end.
//
// The connections are handed to io.Copy as they are, so that their own ReadFrom and
// WriteTo do the work. Nobody stands in between to see data move: to tell whether a
// relay is idle, both copies are woken up now and then by a read deadline in the past,
// say how far they got and go on.
type relay struct {
	client, remote net.Conn
	early          []byte // what the client sent before its connection was made
	clock          pvd.Clock

	active atomic.Int64 // when data was last known to have moved, by the clock
}

// run relays until both directions have ended and returns nil, or until the first
// error, the end of ctx or idle (unless negative) without data, and then returns that
// error after having reset both connections: to close them would tell either side that
// what it has is complete.
func (r *relay) run(ctx context.Context, idle time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := afterFunc(ctx, func() {
		abort(r.client)
		abort(r.remote)
	})
	defer stop()
	r.active.Store(int64(r.clock.Monotonic()))
	if idle > 0 {
		defer r.watch(idle, cancel)()
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.up(); err != nil {
			cancel(err)
		}
	})
	if err := r.copy(r.client, r.remote); err != nil {
		cancel(err)
	}
	wg.Wait()
	return context.Cause(ctx)
}

// up relays from the client, first of all what it sent early.
func (r *relay) up() error {
	if len(r.early) > 0 {
		if _, err := r.remote.Write(r.early); err != nil {
			return err
		}
		r.early = nil
	}
	return r.copy(r.remote, r.client)
}

// copy moves data from src to dst until src ends and then ends dst's half.
func (r *relay) copy(dst, src net.Conn) error {
	for {
		n, err := io.Copy(dst, src)
		if n > 0 {
			r.active.Store(int64(r.clock.Monotonic()))
		}
		if err == nil {
			return closeWrite(dst)
		}
		// No write deadline is ever set, so this is watch that asks.
		if !isDeadline(err) {
			return err
		}
		if err := src.SetReadDeadline(time.Time{}); err != nil {
			return err
		}
	}
}

// watch calls cancel with errIdle when no data has moved for idle. The function that it
// returns ends the watch.
func (r *relay) watch(idle time.Duration, cancel context.CancelCauseFunc) (stop func()) {
	step := max(idle/idleTicks, 1)
	var (
		mu    sync.Mutex
		timer pvd.Timer
		ended bool
	)
	tick := func() {
		mu.Lock()
		defer mu.Unlock()
		if ended {
			return
		}
		// What the copies told is true up to the last tick.
		if r.clock.Monotonic()-time.Duration(r.active.Load()) >= idle+step {
			cancel(errIdle)
			return
		}
		_ = r.client.SetReadDeadline(past)
		_ = r.remote.SetReadDeadline(past)
		timer.Reset(step)
	}
	mu.Lock()
	defer mu.Unlock()
	timer = r.clock.AfterFunc(step, tick)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
		timer.Stop()
	}
}

// isDeadline reports whether err is that of a deadline set on a connection.
func isDeadline(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// closeWrite ends what c sends. It fails where c has no way of doing that alone, since
// the other side would wait for an end that never comes.
func closeWrite(c net.Conn) error {
	hc, ok := c.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	// Whatever is wrong with the connection, the copy that reads from it hears of it.
	_ = hc.CloseWrite()
	return nil
}

// abort closes c so that its peer sees a reset, where c can do that.
func abort(c net.Conn) {
	if lc, ok := c.(interface{ SetLinger(sec int) error }); ok {
		_ = lc.SetLinger(0)
	}
	_ = c.Close()
}

// afterFunc is context.AfterFunc with a stop function that also waits for f, if that
// has been called.
func afterFunc(ctx context.Context, f func()) (stop func()) {
	done := make(chan struct{})
	unregister := context.AfterFunc(ctx, func() {
		defer close(done)
		f()
	})
	return func() {
		if !unregister() {
			<-done
		}
	}
}
