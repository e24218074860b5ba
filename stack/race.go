package stack

import (
	"context"
	"net"
	"net/netip"
)

// An outcome is what has become of connecting to one of several addresses.
type outcome struct {
	at  int // which
	c   net.Conn
	err error
}

// race connects to the one of several addresses that answers first (RFC 8305 section 5):
// each has a head start before the next, which begins at once when one fails. Of the errors
// that of the first address tells most.
func (dl *dialing) race(ctx context.Context, addrs []netip.Addr) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outcomes := make(chan outcome, len(addrs)) // so that nobody waits for one who has left
	tick := make(chan struct{}, 1)
	timer := dl.d.host.clock.AfterFunc(attemptDelay, func() {
		select {
		case tick <- struct{}{}:
		default:
		}
	})
	defer timer.Stop()
	errs := make([]error, len(addrs))
	begun, running := 0, 0
	for {
		if begun < len(addrs) && running < maxAttempts && ctx.Err() == nil {
			at, to := begun, netip.AddrPortFrom(addrs[begun], dl.port)
			begun, running = begun+1, running+1
			go func() {
				c, err := dl.dialOne(ctx, to)
				outcomes <- outcome{at, c, err}
			}()
			timer.Reset(attemptDelay)
			select {
			case <-tick: // it was for this one
			default:
			}
		}
		if running == 0 {
			return nil, dl.firstError(ctx, addrs, errs)
		}
		select {
		case o := <-outcomes:
			running--
			if o.err == nil {
				go closeLosers(outcomes, running)
				return o.c, nil
			}
			errs[o.at] = o.err
		case <-tick:
		}
	}
}

// closeLosers closes what n attempts, which have been cancelled, connected all the same.
// It ends with the last of them.
func closeLosers(outcomes <-chan outcome, n int) {
	for range n {
		if o := <-outcomes; o.err == nil {
			_ = o.c.Close() // nobody has used it
		}
	}
}

// firstError returns the error of the first address that has one.
func (dl *dialing) firstError(ctx context.Context, addrs []netip.Addr, errs []error) error {
	for i, err := range errs {
		if err != nil {
			return dl.error(netip.AddrPortFrom(addrs[i], dl.port), err)
		}
	}
	return dl.error(netip.AddrPortFrom(addrs[0], dl.port), contextError(ctx))
}

// alternate orders addresses so that the families take turns, beginning with that of the
// first (RFC 8305 section 4). Within a family their order stays.
func alternate(addrs []netip.Addr) {
	var first, second []netip.Addr
	for _, a := range addrs {
		if a.Is4() == addrs[0].Is4() {
			first = append(first, a)
		} else {
			second = append(second, a)
		}
	}
	for i := range addrs {
		from := &first
		if len(first) == 0 || i%2 == 1 && len(second) > 0 {
			from = &second
		}
		addrs[i], *from = (*from)[0], (*from)[1:]
	}
}
