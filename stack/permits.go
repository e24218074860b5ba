package stack

import (
	"sync"

	"github.com/pvdstack/pvdstack/pvd"
)

// maxPermits is how many applications' answers of [Host.Permits] are kept: the Apps of a
// large host. Beyond them, all are found out anew.
const maxPermits = 1024

// permits are what policy permits applications, as long as it is the same policy.
type permits struct {
	mu     sync.Mutex
	policy *pvd.Policy
	by     map[string]func(*pvd.Info) bool
}

// Permits returns a function that reports whether policy, as it is now, lets Apps of a name
// use a PvD. It is nil if they may use all, as the host itself may, which has the empty name.
// It is for those who choose among many PvDs on behalf of an App, such as a [pvd.Selector],
// and takes no time worth mentioning. The function is good until there is another policy. It
// does not know in which PvDs the App has sockets, which may forbid it to use others.
func (h *Host) Permits(app string) func(*pvd.Info) bool {
	policy := h.policy.Load()
	if policy == nil || app == "" {
		return nil
	}
	h.permits.mu.Lock()
	defer h.permits.mu.Unlock()
	if h.permits.policy != policy || len(h.permits.by) >= maxPermits {
		h.permits.policy, h.permits.by = policy, make(map[string]func(*pvd.Info) bool)
	}
	f, ok := h.permits.by[app]
	if !ok {
		f = policy.Permits(app)
		h.permits.by[app] = f
	}
	return f
}
