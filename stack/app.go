package stack

import (
	"errors"
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
	// Of one that is gone there is no description, only what policy has for all PvDs.
	i, _ := a.host.Info(ref)
	if a.permission(i) == pvd.Hidden {
		return pvd.Null
	}
	return ref
}

// List returns the PvDs that the App sees, in the order in which they were attached.
func (a *App) List() []pvd.Ref {
	var seen []pvd.Ref
	for _, ref := range a.host.List() {
		if _, err := a.Info(ref); err == nil {
			seen = append(seen, ref)
		}
	}
	return seen
}

// Info returns the newest description of a PvD that the App sees, or [pvd.ErrNoPvD].
func (a *App) Info(ref pvd.Ref) (*pvd.Info, error) {
	if ref == pvd.SystemDefault {
		ref = a.SystemDefault()
	}
	i, err := a.host.Info(ref)
	if err == nil && !a.sees(i) {
		return nil, pvd.ErrNoPvD
	}
	return i, err
}

// sees reports whether policy lets the App know of a PvD.
func (a *App) sees(i *pvd.Info) bool { return a.permission(i) != pvd.Hidden }

// Find returns the PvD of a name, an ID or a Ref's String, among those that the App sees;
// see [Host.Find].
func (a *App) Find(name string) (pvd.Ref, error) { return a.find(a.host, name) }

// find is Find for whoever may be no App at all, but h itself.
func (a *App) find(h *Host, name string) (pvd.Ref, error) {
	return h.findAmong(name, func(i *pvd.Info) bool { return a.permission(i) != pvd.Hidden })
}

var errAmbiguousStandIn = errors.New("ambiguous")

func (h *Host) findAmong(name string, sees func(*pvd.Info) bool) (pvd.Ref, error) {
	found := pvd.Unspecified
	for _, ref := range h.List() {
		i, err := h.Info(ref)
		if err != nil || !sees(i) || i.Name() != name && string(i.ID()) != name && ref.String() != name {
			continue
		}
		if found != pvd.Unspecified {
			return pvd.Unspecified, errAmbiguousStandIn
		}
		found = ref
	}
	if found == pvd.Unspecified {
		return found, pvd.ErrNoPvD
	}
	return found, nil
}
