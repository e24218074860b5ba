package stack

import (
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/pvdstack/pvdstack/pvd"
)

// An App stands for what a process is elsewhere: the scope between the context and the
// system default, and whom policy knows. It is a [Network] in which each call is in the PvD
// that the context carries, or else in the App's default. It sees those PvDs that policy
// does not hide from it. Its methods may be called concurrently.
type App struct {
	*scoped

	name string
	def  atomic.Uint64 // a pvd.Ref

	mu   sync.Mutex
	open map[pvd.Ref]int // its sockets
}

// scoped is a Network that is embedded for its methods and is nobody's to change.
type scoped = Network

var _ pvd.Network = (*App)(nil)

// App returns a new application, which has no default of its own. The name is what a
// [pvd.Policy] and a [pvd.Selector] know it by; two Apps of one name are two.
func (h *Host) App(name string) *App {
	a := &App{name: name, open: make(map[pvd.Ref]int)}
	a.scoped = &Network{host: h, app: a}
	return a
}

// Name returns the name that the App was made with.
func (a *App) Name() string { return a.name }

// In returns the network of a PvD, as [Host.In] does. With [pvd.Unspecified] the PvD is
// the one that the context carries, or else the App's default.
func (a *App) In(ref pvd.Ref) *Network { return &Network{host: a.host, ref: ref, app: a} }

// SetDefault makes ref the App's default: a PvD that is attached and that the App may use,
// [pvd.Null], or [pvd.SystemDefault]. With [pvd.Unspecified] it has none, as at first: then
// the host's [pvd.Selector] and the system default decide. When the PvD goes, what depends
// on it fails with [pvd.ErrNoPvD]; no other takes its place.
func (a *App) SetDefault(ref pvd.Ref) error {
	switch ref {
	case pvd.Null, pvd.SystemDefault, pvd.Unspecified:
	case pvd.All:
		return syscall.EINVAL
	default:
		i, err := a.Info(ref)
		if err != nil {
			return err
		}
		if a.permission(i) != pvd.Allowed {
			return syscall.EACCES
		}
	}
	a.def.Store(uint64(ref))
	return nil
}

// Default returns the App's default, [pvd.Unspecified] if it has none.
func (a *App) Default() pvd.Ref {
	if a == nil {
		return pvd.Unspecified
	}
	return pvd.Ref(a.def.Load())
}

// SystemDefault returns the system default PvD. Where there is none, or it is hidden from
// the App, that is [pvd.Null].
func (a *App) SystemDefault() pvd.Ref {
	ref := a.host.Default()
	if !ref.Attached() || a.host.policy.Load() == nil {
		return ref
	}
	return a.host.registry.DefaultAmong(a.sees)
}
