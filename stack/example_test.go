package stack_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdtest"
)

// One web server in all PvDs, of which two have the same addresses. Its handler knows
// which one a request came in.
func ExampleHost_In() {
	pvdtest.Main("example", os.Stdout, func(tb pvdtest.TB) {
		lab := pvdtest.New(tb)
		neighbors := make(map[string]pvd.Dialer)
		for _, name := range []string{"corp", "home"} {
			neighbors[name] = lab.LAN(name, "192.168.1.0/24").Machine("192.168.1.2").Network()
		}
		h := lab.Host("corp", "home") // 192.168.1.100 in both
		h.Await("corp")
		h.Await("home")

		l, err := h.Host.In(pvd.All).Listen(context.Background(), "tcp", ":80")
		if err != nil {
			tb.Fatalf("%v", err)
		}
		srv := &http.Server{
			ConnContext: func(ctx context.Context, c net.Conn) context.Context {
				ref, _ := pvd.Of(c)
				return pvd.NewContext(ctx, ref)
			},
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				info, err := h.Host.Info(pvd.FromContext(r.Context()))
				if err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
					return
				}
				from, _, _ := net.SplitHostPort(r.RemoteAddr)
				fmt.Fprintf(w, "hello, %s at %s", info.ID(), from)
			}),
		}
		go srv.Serve(l)
		defer srv.Close()
		for _, name := range []string{"corp", "home"} {
			fmt.Println(pvdtest.Get(tb, neighbors[name], "http://192.168.1.100/").Body)
		}
	})
	// Output:
	// hello, corp.example at 192.168.1.2
	// hello, home.example at 192.168.1.2
}
