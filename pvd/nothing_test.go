package pvd_test

import (
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

// failure is an element whose value is an interface, which may be nil.
var failure = pvd.NewKey("test failure", func(err error) error { return err })

// TestNothing asks of what is not there: the Info that an event lacks, keys and conditions
// that nobody made, values that are none. None of it is there, and nothing panics.
func TestNothing(t *testing.T) {
	for _, get := range []func(*pvd.Info) bool{
		func(i *pvd.Info) bool { _, ok := pvd.MTU.Get(i); return ok },
		func(i *pvd.Info) bool { _, ok := pvd.MTU.Any().Get(i); return ok },
		func(i *pvd.Info) bool { _, ok := pvd.AnyKey{}.Get(i); return ok },
		func(i *pvd.Info) bool { _, ok := pvd.Key[string]{}.Get(i); return ok },
		pvd.HasDNS.Holds,
		func(i *pvd.Info) bool { return !(pvd.Condition{}).Holds(i) }, // it asks for nothing
	} {
		if get(nil) {
			t.Error("an Info that is not there has something")
		}
	}
	if got := (pvd.Key[int]{}).String(); got != (pvd.AnyKey{}).String() {
		t.Errorf("no key is %q", got)
	}
	with := pvd.Config{Links: []string{"a"}, Elements: []pvd.Element{failure.With(nil), pvd.Key[int]{}.With(1), {}}}
	if len(with.Clone().Elements) != 3 || with.Validate() == nil {
		t.Error("elements without a key or a value are taken")
	}
	r := pvd.NewRegistry(pvd.RegistryConfig{})
	defer r.Close()
	ref, err := r.Add(t.Context(), func(b *pvd.Builder) {
		failure.Set(b, nil)
		pvd.Key[int]{}.Set(b, 1)
		pvd.Key[int]{}.Clear(b)
	})
	if err != nil {
		t.Fatal(err)
	}
	i, err := r.Info(ref)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range i.Elements() {
		t.Errorf("it has %v: %v", k, v)
	}
}
