package ra

import (
	"net/netip"
	"time"
)

// Forget ends all that a router has said: it is not on the link any more, for all that is
// known.
func (e *Engine) Forget(now time.Duration, router netip.Addr) {
	e.advance(now)
	for _, d := range e.domains {
		if d.router(router) == nil {
			continue
		}
		d.forget(router)
		e.update(now, d)
	}
	e.bury(now)
}
