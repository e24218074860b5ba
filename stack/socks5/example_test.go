package socks5_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"

	"github.com/pvdstack/pvdstack/stack/socks5"
)

// office stands in for a PvD's network: the one name it knows is intranet, and whatever
// address is dialled is that of its one web server.
type office struct{ web net.Addr }

func (office) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if host != "intranet" {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return []netip.Addr{netip.MustParseAddr("10.0.0.80")}, nil
}

func (o office) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, o.web.String())
}

func Example() {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "welcome to ", r.Host)
	}))
	defer web.Close()

	proxy, err := socks5.New(socks5.Config{
		Network: office{web.Listener.Addr()},
		Users:   map[string]string{"ann": "secret"},
	})
	if err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	served := make(chan error)
	go func() { served <- proxy.Serve(l) }()

	client := &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyURL(&url.URL{Scheme: "socks5h", User: url.UserPassword("ann", "secret"), Host: l.Addr().String()}),
	}}
	resp, err := client.Get("http://intranet/")
	if err != nil {
		panic(err)
	}
	page, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Printf("%s\n", page)

	_ = proxy.Close()
	fmt.Println(errors.Is(<-served, socks5.ErrServerClosed))
	// Output:
	// welcome to intranet
	// true
}
