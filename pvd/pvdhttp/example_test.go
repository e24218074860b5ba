package pvdhttp_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdhttp"
)

// network stands in for a PvD in which every address is that of one web server.
type network struct{ web *httptest.Server }

func (n network) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, n.web.Listener.Addr().String())
}

func webServer(page string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s of %s", page, r.Host)
	}))
}

func Example() {
	corpWeb, homeWeb := webServer("the intranet"), webServer("the photo album")
	defer corpWeb.Close()
	defer homeWeb.Close()

	// A stack's host gives out the Refs and, by its method In, the networks.
	const corp, home pvd.Ref = 100, 101
	networks := map[pvd.Ref]network{corp: {corpWeb}, home: {homeWeb}}
	in := func(ref pvd.Ref) network { return networks[ref] }

	pool := pvdhttp.NewPool(in)
	defer pool.Close()
	client := &http.Client{Transport: pool}
	for _, ref := range []pvd.Ref{corp, home, corp} {
		ctx := pvd.NewContext(context.Background(), ref)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://192.168.1.80/", nil)
		if err != nil {
			panic(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			panic(err)
		}
		page, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Printf("%s\n", page)
	}
	// Output:
	// the intranet of 192.168.1.80
	// the photo album of 192.168.1.80
	// the intranet of 192.168.1.80
}

// A client for one PvD needs no context.
func ExampleNewClient() {
	web := webServer("the intranet")
	defer web.Close()
	corp := network{web}

	client := pvdhttp.NewClient(corp)
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://wiki/")
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	page, _ := io.ReadAll(resp.Body)
	fmt.Printf("%s\n", page)
	// Output: the intranet of wiki
}
