package stack

import (
	"sync"
	"syscall"

	"github.com/pvdstack/pvdstack/pvd"
)

// An App stands for what a process is elsewhere: the scope between the context and the
// system default. It is a [Network] in which each call is in the PvD that the context
// carries, or else in the App's default. Its methods may be called concurrently.
type App struct {
	*scoped

	name string

	mu  sync.Mutex
	def pvd.Ref
}

// scoped is a Network that is embedded for its methods and is nobody's to change.
type scoped = Network

var _ pvd.Network = (*App)(nil)

// App returns a new application, whose default is the system's. The name is for people;
// two Apps of one name are two.
func (h *Host) App(name string) *App {
	a := &App{name: name, def: pvd.SystemDefault}
	a.scoped = &Network{host: h, app: a}
	return a
}

// Name returns the name that the App was made with.
func (a *App) Name() string { return a.name }

// In returns the network of a PvD, as [Host.In] does. With [pvd.Unspecified] the PvD is
// the one that the context carries, or else the App's default.
func (a *App) In(ref pvd.Ref) *Network { return &Network{host: a.host, ref: ref, app: a} }

// SetDefault makes ref the App's default: a PvD that is attached, [pvd.Null], or
// [pvd.SystemDefault], as it is at first. When the PvD goes, what depends on it fails
// with [pvd.ErrNoPvD]; no other takes its place.
func (a *App) SetDefault(ref pvd.Ref) error {
	switch ref {
	case pvd.Null, pvd.SystemDefault:
	case pvd.Unspecified, pvd.All:
		return syscall.EINVAL
	default:
		if _, err := a.host.domain(ref); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.def = ref
	return nil
}

// Default returns the App's default.
func (a *App) Default() pvd.Ref {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.def
}
