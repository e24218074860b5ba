package pvd_test

import (
	"context"
	"errors"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

func TestWatchSmoke(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{})
	a := add(t, r, valid())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for e, err := range r.Watch(ctx, pvd.Filter{}) {
		t.Log(e.Kind, e.Ref, e.Keys, err)
		n++
		switch {
		case e.Kind == pvd.Synced:
			c := valid()
			c.MTU = 1300
			if err := r.Update(t.Context(), a, c.Describe); err != nil {
				t.Fatal(err)
			}
		case e.Kind == pvd.Changed:
			cancel()
		case err != nil && !errors.Is(err, context.Canceled):
			t.Error(err)
		}
	}
}
