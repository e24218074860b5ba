package selection_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/selection"
)

// A world is a registry with PvDs, each with an address and a default route unless it is
// said otherwise.
type world struct {
	t       testing.TB
	reg     *pvd.Registry
	virtual bool // time is, and changes are waited for to have been seen
}

func (w *world) settle() {
	if w.virtual {
		synctest.Wait()
	}
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, reg: pvd.NewRegistry(pvd.RegistryConfig{})}
	t.Cleanup(w.reg.Close)
	return w
}

type edit func(*pvd.Builder)

func with[T any](k pvd.Key[T], v T) edit { return func(b *pvd.Builder) { k.Set(b, v) } }

func without[T any](k pvd.Key[T]) edit { return func(b *pvd.Builder) { k.Clear(b) } }

func id(id pvd.ID) edit { return func(b *pvd.Builder) { b.SetID(id) } }

func access(t pvd.Technology) edit { return with(pvd.Access, t) }

func groups(names ...string) edit { return with(pvd.Groups, names) }

// addresses gives the PvD addresses that can be used.
func addresses(of ...string) edit {
	infos := make([]pvd.AddressInfo, len(of))
	for i, a := range of {
		infos[i] = pvd.AddressInfo{Address: pvd.Address{Prefix: netip.MustParsePrefix(a)}, State: pvd.Preferred}
	}
	return with(pvd.Addresses, infos)
}

func routes(to ...string) edit {
	rs := make([]pvd.Route, len(to))
	for i, p := range to {
		rs[i].To = netip.MustParsePrefix(p)
	}
	return with(pvd.Routes, rs)
}

// down takes the PvD's addresses and routes away, and up gives it some.
func down(b *pvd.Builder) {
	pvd.Addresses.Clear(b)
	pvd.Routes.Clear(b)
}

func up(b *pvd.Builder) {
	addresses("192.168.1.2/24")(b)
	routes("0.0.0.0/0")(b)
}

func (w *world) add(name string, edits ...edit) pvd.Ref {
	w.t.Helper()
	ref := w.attach(name, edits...)
	w.settle()
	return ref
}

// attach is add for those who are waited for themselves.
func (w *world) attach(name string, edits ...edit) pvd.Ref {
	w.t.Helper()
	ref, err := w.reg.Add(context.Background(), func(b *pvd.Builder) {
		b.SetName(name)
		up(b)
		for _, e := range edits {
			e(b)
		}
	})
	if err != nil {
		w.t.Error(err)
	}
	return ref
}

func (w *world) update(ref pvd.Ref, edits ...edit) {
	w.t.Helper()
	err := w.reg.Update(context.Background(), ref, func(b *pvd.Builder) {
		for _, e := range edits {
			e(b)
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.settle()
}

func (w *world) remove(ref pvd.Ref) {
	w.t.Helper()
	if err := w.reg.Remove(context.Background(), ref); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
}

func (w *world) infos() []*pvd.Info {
	w.t.Helper()
	var infos []*pvd.Info
	for _, ref := range w.reg.List() {
		i, err := w.reg.Info(ref)
		if err != nil {
			w.t.Fatal(err)
		}
		infos = append(infos, i)
	}
	return infos
}

// name returns what a PvD is called, or else the Ref.
func (w *world) name(ref pvd.Ref) string {
	if i, err := w.reg.Info(ref); err == nil && ref != pvd.SystemDefault {
		return i.Name()
	}
	return ref.String()
}

// manager returns a manager of the world that ends with the test.
func (w *world) manager(c selection.Config) *selection.Manager {
	w.t.Helper()
	c.Registry = w.reg
	m, err := selection.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = m.Close() })
	return m
}

// ranked returns the names of those that a policy ranks.
func (w *world) ranked(p selection.Policy, rs ...selection.Requirement) []string {
	w.t.Helper()
	infos, err := p.Rank(w.infos(), rs)
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, i := range infos {
		names = append(names, i.Name())
	}
	best, err := p.Best(w.infos(), rs)
	if len(infos) > 0 && (err != nil || best.Ref() != infos[0].Ref()) || len(infos) == 0 && err == nil {
		w.t.Errorf("the best one is %v, %v", best, err)
	}
	return names
}

// selects asserts what a call comes to.
func (w *world) selects(m *selection.Manager, c pvd.Call, want string) {
	w.t.Helper()
	ref, err := m.SelectPvD(context.Background(), c)
	if err != nil {
		w.t.Errorf("%+v: %v, want %s", c, err, want)
	} else if got := w.name(ref); got != want {
		w.t.Errorf("%+v: %s, want %s", c, got, want)
	}
}

func equal(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func to(host string, port uint16) pvd.Call {
	c := pvd.Call{Network: "tcp", Host: host}
	a, _ := netip.ParseAddr(host)
	c.Remote = netip.AddrPortFrom(a, port)
	return c
}

func by(app string, c pvd.Call) pvd.Call {
	c.App = app
	return c
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
