package pvd_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

func newRegistry(t *testing.T, c pvd.RegistryConfig) *pvd.Registry {
	t.Helper()
	r := pvd.NewRegistry(c)
	t.Cleanup(r.Close)
	return r
}

func add(t *testing.T, r *pvd.Registry, c pvd.Config) pvd.Ref {
	t.Helper()
	ref, err := r.Add(t.Context(), c.Describe)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestRegistry(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{})
	a, b := add(t, r, valid()), add(t, r, pvd.Config{Links: []string{"lan"}})
	if !a.Attached() || a == b {
		t.Fatalf("refs %v and %v", a, b)
	}
	ia, err := r.Info(a)
	if err != nil || ia.Ref() != a || ia.ID() != "corp.example.com" || ia.Name() != "corp" || ia.Version() != 1 {
		t.Errorf("%+v, %v", ia, err)
	}
	if ib, _ := r.Info(b); ib.Name() != b.String() {
		t.Errorf("a PvD without name and ID is called %q", ib.Name())
	}
	if mtu, ok := pvd.MTU.Get(ia); mtu != 1400 || !ok {
		t.Errorf("MTU %d, %v", mtu, ok)
	}
	routes, _ := pvd.Routes.Get(ia)
	if routes[0].Link != "lan" || routes[1].Link != "wan" || routes[1].Via.Zone() != "" {
		t.Errorf("links are not filled in: %+v", routes)
	}
	if got := slices.Collect(ia.Keys()); !slices.Equal(got, []string{"addresses", "dns search", "dns servers", "groups", "links", "metered", "mtu", "neighbors", "routes"}) {
		t.Errorf("keys %q", got)
	}

	c := valid()
	c.MTU = 0
	if err := r.Update(t.Context(), a, c.Describe); err != nil {
		t.Fatal(err)
	}
	if _, ok := pvd.MTU.Get(ia); !ok {
		t.Error("an Info has changed")
	}
	if ia, _ = r.Info(a); ia.Version() != 2 {
		t.Errorf("version %d", ia.Version())
	}
	if _, ok := pvd.MTU.Get(ia); ok {
		t.Error("the MTU is still there")
	}

	if err := r.Remove(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{r.Remove(t.Context(), a), r.Update(t.Context(), a, c.Describe), second(r.Info(a)), second(r.Info(pvd.Null))} {
		if !errors.Is(err, pvd.ErrNoPvD) {
			t.Errorf("of a PvD that is gone: %v", err)
		}
	}
	if again := add(t, r, valid()); again <= b {
		t.Errorf("ref %v after %v", again, b)
	}
	if got := r.List(); len(got) != 2 || got[0] != b {
		t.Errorf("list %v", got)
	}
}

func second[T any](_ T, err error) error { return err }

// What is read from an Info can be modified without changing it.
func TestInfoIsImmutable(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{})
	info, err := r.Info(add(t, r, valid()))
	if err != nil {
		t.Fatal(err)
	}
	n, _ := pvd.Neighbors.Get(info)
	n[0].MAC[5] = 99
	l, _ := pvd.Links.Get(info)
	l[0] = "x"
	if n, _ := pvd.Neighbors.Get(info); n[0].MAC[5] == 99 {
		t.Error("a neighbour has changed")
	}
	if l, _ := pvd.Links.Get(info); l[0] != "lan" {
		t.Error("a link has changed")
	}
}

// What Apply was given stays as it was, though more is observed afterwards.
func TestObservedInfoIsAnother(t *testing.T) {
	var applied *pvd.Info
	r := newRegistry(t, pvd.RegistryConfig{
		Apply:   func(_ context.Context, _, next *pvd.Info) error { applied = next; return nil },
		Observe: func(_ pvd.Ref, b *pvd.Builder) { pvd.MTU.Set(b, 1280) },
	})
	add(t, r, valid())
	if mtu, _ := pvd.MTU.Get(applied); mtu != 1400 {
		t.Errorf("MTU %d", mtu)
	}
}

// A key that somebody else makes needs nothing from this package.
func TestOwnKey(t *testing.T) {
	metered := pvd.NewKey[bool]("metered", nil)
	same := pvd.NewKey[bool]("metered", nil)
	r := newRegistry(t, pvd.RegistryConfig{})
	ref, err := r.Add(t.Context(), func(b *pvd.Builder) { metered.Set(b, true) })
	if err != nil {
		t.Fatal(err)
	}
	info, _ := r.Info(ref)
	if v, ok := metered.Get(info); !v || !ok {
		t.Error("not there")
	}
	if _, ok := same.Get(info); ok {
		t.Error("found by another key of the same name")
	}
}

func TestApplyRefuses(t *testing.T) {
	refusal := errors.New("no")
	refuse := false
	r := newRegistry(t, pvd.RegistryConfig{Apply: func(context.Context, *pvd.Info, *pvd.Info) error {
		if refuse {
			return refusal
		}
		return nil
	}})
	a := add(t, r, valid())
	refuse = true
	if _, err := r.Add(t.Context(), valid().Describe); !errors.Is(err, refusal) {
		t.Errorf("add: %v", err)
	}
	if err := r.Update(t.Context(), a, pvd.Config{Links: []string{"x"}}.Describe); !errors.Is(err, refusal) {
		t.Errorf("update: %v", err)
	}
	if info, _ := r.Info(a); info.Version() != 1 || len(r.List()) != 1 {
		t.Error("something of it has remained")
	}
	if err := r.Remove(t.Context(), a); !errors.Is(err, refusal) {
		t.Errorf("remove: %v", err)
	}
	if len(r.List()) != 0 {
		t.Error("a removal was refused")
	}
}

func TestDefault(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{})
	if got := r.Default(); got != pvd.Null {
		t.Errorf("at first: %v", got)
	}
	a := add(t, r, valid())
	for _, ref := range []pvd.Ref{99, pvd.All, pvd.Unspecified, pvd.SystemDefault} {
		if err := r.SetDefault(ref); !errors.Is(err, pvd.ErrNoPvD) {
			t.Errorf("%v: %v", ref, err)
		}
	}
	if err := r.SetDefault(a); err != nil || r.Default() != a {
		t.Errorf("%v, %v", r.Default(), err)
	}
	if info, err := r.Info(pvd.SystemDefault); err != nil || info.Ref() != a {
		t.Errorf("its Info: %v", err)
	}
	if err := r.Remove(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if r.Default() != a || !errors.Is(second(r.Info(pvd.SystemDefault)), pvd.ErrNoPvD) {
		t.Error("something has taken the place of a default that is gone")
	}
}

// What is asked of the system default is done to the PvD that it is.
func TestChangesFollowTheDefault(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{})
	a := add(t, r, valid())
	if err := r.SetDefault(a); err != nil {
		t.Fatal(err)
	}
	c := valid()
	c.MTU = 1300
	if err := r.Update(t.Context(), pvd.SystemDefault, c.Describe); err != nil {
		t.Fatal(err)
	}
	r.Refresh(pvd.SystemDefault)
	if err := r.Serialize(t.Context(), func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	info, err := r.Info(a)
	if err != nil || info.Ref() != a || info.Version() < 2 || len(r.List()) != 1 {
		t.Errorf("after changes: %v, %v, %v", info, r.List(), err)
	}
	if err := r.Remove(t.Context(), pvd.SystemDefault); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Info(a); !errors.Is(err, pvd.ErrNoPvD) || len(r.List()) != 0 {
		t.Errorf("after the removal: %v, %v", r.List(), err)
	}
}

func TestWait(t *testing.T) {
	var state pvd.AddressState
	var mu sync.Mutex
	r := newRegistry(t, pvd.RegistryConfig{Observe: func(_ pvd.Ref, b *pvd.Builder) {
		mu.Lock()
		defer mu.Unlock()
		as, _ := pvd.Addresses.Of(b)
		for i := range as {
			as[i].State = state
		}
		pvd.Addresses.Set(b, as)
	}})
	a := add(t, r, pvd.Config{Links: []string{"lan"}, Addresses: []pvd.Address{{Prefix: netip.MustParsePrefix("2001:db8::2/64")}}})

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	err := r.Wait(ctx, a, pvd.HasAddr4, pvd.HasAddr6, pvd.HasDNS)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no usable IPv4 address, no usable IPv6 address, no DNS server") {
		t.Errorf("does not name what is lacking: %v", err)
	}

	done := make(chan error, 1)
	go func() { done <- r.Wait(t.Context(), a, pvd.HasAddr6, pvd.Settled) }()
	mu.Lock()
	state = pvd.Preferred
	mu.Unlock()
	r.Refresh(a)
	if err := <-done; err != nil {
		t.Error(err)
	}

	go func() { done <- r.Wait(t.Context(), a, pvd.HasRoute6) }()
	if err := r.Remove(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, pvd.ErrNoPvD) {
		t.Errorf("of a PvD that goes: %v", err)
	}
}

func TestRegistryClose(t *testing.T) {
	r := pvd.NewRegistry(pvd.RegistryConfig{})
	a := add(t, r, valid())
	done := make(chan error, 1)
	go func() { done <- r.Wait(t.Context(), a, pvd.HasAddr4) }()
	r.Close()
	r.Close()
	if err := <-done; !errors.Is(err, pvd.ErrClosed) {
		t.Errorf("a wait: %v", err)
	}
	if err := r.Remove(t.Context(), a); !errors.Is(err, pvd.ErrClosed) {
		t.Errorf("a removal: %v", err)
	}
}

// A context that ends while another operation is in progress ends the wait for it, and
// nothing is done.
func TestContextEndsTheWaitForTheWriter(t *testing.T) {
	busy, release := make(chan struct{}), make(chan struct{})
	r := newRegistry(t, pvd.RegistryConfig{})
	go func() {
		_ = r.Serialize(context.Background(), func() error { close(busy); <-release; return nil })
	}()
	<-busy
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := r.Add(ctx, valid().Describe); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	close(release)
	if n := len(r.List()); n != 0 {
		t.Errorf("%d PvDs", n)
	}
}

func TestMaxPvDs(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{})
	for range pvd.MaxPvDs {
		if _, err := r.Add(t.Context(), func(*pvd.Builder) {}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Add(t.Context(), func(*pvd.Builder) {}); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("one more: %v", err)
	}
}
