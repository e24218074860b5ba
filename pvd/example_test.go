package pvd_test

import (
	"context"
	"fmt"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// Somebody who wants to know which PvDs there are and which of them cost money. A Host of
// package stack has the same method.
func ExampleRegistry_Watch() {
	r := pvd.NewRegistry(pvd.RegistryConfig{})
	defer r.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	corp, err := r.Add(ctx, pvd.Config{Name: "corp", Links: []string{"lan"}}.Describe)
	if err != nil {
		fmt.Println(err)
		return
	}

	changes := []func() error{
		func() error { return r.Update(ctx, corp, func(b *pvd.Builder) { pvd.Metered.Set(b, true) }) },
		func() error { return r.Leave(ctx, corp, time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)) },
		func() error { return r.Remove(ctx, corp) },
	}
	for e, err := range r.Watch(ctx, pvd.Filter{}) {
		if err != nil { // pvd.ErrLagged: begin anew, a snapshot follows; any other: the end
			fmt.Println(err)
			continue
		}
		switch e.Kind {
		case pvd.Added:
			fmt.Println(e.Info.Name(), "is there")
		case pvd.Changed:
			metered, _ := pvd.Metered.Get(e.Info)
			fmt.Println(e.Info.Name(), "has changed:", e.Keys, metered)
		case pvd.Leaving:
			fmt.Println(e.Info.Name(), "goes at", e.Ends.Format(time.Kitchen))
		case pvd.Removed:
			fmt.Println(e.Old.Name(), "is gone")
			return
		case pvd.DefaultChanged:
			fmt.Println("the default is", e.Ref)
		case pvd.Synced:
			fmt.Println("that was all")
		}
		if e.Kind != pvd.Added && e.Kind != pvd.DefaultChanged {
			if err := changes[0](); err != nil {
				fmt.Println(err)
			}
			changes = changes[1:]
		}
	}
	// Output:
	// corp is there
	// the default is null
	// that was all
	// corp has changed: [metered] true
	// corp goes at 12:00PM
	// corp is gone
}
