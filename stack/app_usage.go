package stack

import (
	"maps"
	"syscall"

	"github.com/pvdstack/pvdstack/pvd"
)

// An owner is who opens a socket, and how the socket's packets are marked.
type owner struct {
	app *App  // nil: the host itself
	tos uint8 // the IPv4 type of service and IPv6 traffic class
}

func (n *Network) owner() owner { return owner{n.app, n.tos} }

// InUse returns how many sockets the App has open, accepted connections included, in each
// PvD in which it has one. The map is the caller's.
func (a *App) InUse() map[pvd.Ref]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.open)
}

// take counts a socket in a PvD. It is EACCES if the application opens it as a bridge from
// another PvD, and may not.
func (a *App) take(ref pvd.Ref, opens bool) error {
	if a == nil {
		return nil
	}
	bridge := !opens || a.mayBridge()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !bridge && a.isElsewhereLocked(ref) {
		return syscall.EACCES
	}
	a.open[ref]++
	return nil
}

// release counts a socket that has gone.
func (a *App) release(ref pvd.Ref) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[ref]--; a.open[ref] == 0 {
		delete(a.open, ref)
	}
}

// isElsewhere reports whether the application has a socket in another PvD than ref.
func (a *App) isElsewhere(ref pvd.Ref) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.isElsewhereLocked(ref)
}

func (a *App) isElsewhereLocked(ref pvd.Ref) bool {
	n := len(a.open)
	if _, here := a.open[ref]; here {
		n--
	}
	return n > 0
}
