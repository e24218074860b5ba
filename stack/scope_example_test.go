package stack_test

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdtest"
)

// The scopes of a program, from the coarsest to the finest. Each goes before those above.
func ExampleApp() {
	pvdtest.Main("scopes", os.Stdout, func(tb pvdtest.TB) {
		lab := pvdtest.New(tb)
		for _, name := range []string{"corp", "home", "guest"} {
			lab.LAN(name, "192.168.1.0/24").Web("192.168.1.80", name)
		}
		h := lab.Host("corp", "home", "guest")
		for _, name := range []string{"corp", "home", "guest"} {
			h.Await(name)
		}
		corp, home, guest := h.Ref("corp"), h.Ref("home"), h.Ref("guest")

		ctx := context.Background()
		app := h.Host.App("browser")
		where := func(ctx context.Context, d pvd.Dialer, address string) pvd.ID {
			c, err := d.DialContext(ctx, "tcp", address)
			if err != nil {
				tb.Fatalf("%v", err)
			}
			defer c.Close()
			ref, _ := pvd.Of(c)
			info, err := app.Info(ref)
			if err != nil {
				tb.Fatalf("%v", err)
			}
			return info.ID()
		}
		check := func(err error) {
			if err != nil {
				tb.Fatalf("%v", err)
			}
		}

		check(h.Host.SetDefault(corp)) // the system
		fmt.Println("system: ", where(ctx, app, "192.168.1.80:80"))

		check(app.SetDefault(home)) // the process
		fmt.Println("App:    ", where(ctx, app, "192.168.1.80:80"))

		var threads [2]pvd.ID
		var wg sync.WaitGroup
		for i, ref := range []pvd.Ref{guest, corp} { // what a thread or a fiber is elsewhere
			ctx := pvd.NewContext(ctx, ref)
			wg.Go(func() { threads[i] = where(ctx, app, "192.168.1.80:80") })
		}
		wg.Wait()
		fmt.Println("context:", threads[0], threads[1])

		bound := app.In(guest) // a socket, or any number of them
		fmt.Println("network:", where(pvd.NewContext(ctx, corp), bound, "192.168.1.80:80"))

		fmt.Println("call:   ", where(pvd.NewContext(ctx, corp), app, "192.168.1.80%guest.example:80"))

		check(app.SetDefault(pvd.Unspecified)) // clears it
		fmt.Println("cleared:", where(ctx, app, "192.168.1.80:80"))
	})
	// Output:
	// system:  corp.example
	// App:     home.example
	// context: guest.example corp.example
	// network: guest.example
	// call:    guest.example
	// cleared: corp.example
}
