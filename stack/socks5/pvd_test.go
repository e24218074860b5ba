package socks5_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"
	"golang.org/x/net/proxy"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdtest"
	"github.com/pvdstack/pvdstack/stack/socks5"
)

// front runs a proxy into network on this machine's loopback until the test ends.
func front(t *testing.T, network socks5.Network) (addr string) {
	t.Helper()
	s, err := socks5.New(socks5.Config{Network: network})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-served; !errors.Is(err, socks5.ErrServerClosed) {
			t.Error("Serve:", err)
		}
	})
	return l.Addr().String()
}

// dialer returns a client of the proxy.
func dialer(t *testing.T, addr string) proxy.Dialer {
	t.Helper()
	d, err := proxy.SOCKS5("tcp", addr, nil, &net.Dialer{Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Each proxy leads into its own PvD, for the same address and for the same name.
func TestTwoPvDs(t *testing.T) {
	lab := pvdtest.New(t)
	for _, name := range []string{"corp", "home"} {
		lan := lab.LAN(name, "192.168.1.0/24", "fd00:1::/64")
		lan.Router("192.168.1.1 fd00:1::1")
		lan.DNS("192.168.1.53", pvdtest.Zone{"wiki": "192.168.1.80 fd00:1::80", "only." + name: "192.168.1.80"})
		lan.Web("192.168.1.80 fd00:1::80", "the wiki of "+name)
	}
	h := lab.Host("corp", "home")
	for _, name := range []string{"corp", "home"} {
		u := &url.URL{Scheme: "socks5h", Host: front(t, h.Await(name))}
		tr := &http.Transport{Proxy: http.ProxyURL(u), DisableKeepAlives: true}
		for _, host := range []string{"192.168.1.80", "[fd00:1::80]", "wiki", "only." + name} {
			resp, err := (&http.Client{Transport: tr}).Get("http://" + host + "/")
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			page, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(page) != "the wiki of "+name {
				t.Errorf("%s at %s: %q, %v", host, name, page, err)
			}
		}
		other := map[string]string{"corp": "home", "home": "corp"}[name]
		for host, want := range map[string]string{
			"only." + other + ":80": "host unreachable",
			"192.168.1.80:81":       "connection refused",
			"127.0.0.1:80":          "not allowed",
			"localhost:80":          "not allowed",
		} {
			c, err := dialer(t, u.Host).Dial("tcp", host)
			if err == nil {
				c.Close()
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s at %s: %v, want %s", host, name, err, want)
			}
		}
	}
	lab.AssertIsolated()
}

// 8 MiB up, the end, and then 1 MiB down, through a PvD's own connections.
func TestHalfCloseInPvD(t *testing.T) {
	lab := pvdtest.New(t)
	lan := lab.LAN("corp", "192.168.1.0/24")
	l := lan.Machine("192.168.1.80").Listen("tcp", ":7")
	up, down := make([]byte, 8<<20), make([]byte, 1<<20)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(up)
	_, _ = r.Read(down)
	network := lab.Host("corp").Await("corp")
	got := make(chan []byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			got <- nil
			return
		}
		defer c.Close()
		b, err := io.ReadAll(c)
		if err != nil {
			t.Error("the destination:", err)
		}
		got <- b
		if _, err := c.Write(down); err != nil {
			t.Error("the destination:", err)
		}
	}()
	c, err := dialer(t, front(t, network)).Dial("tcp", "192.168.1.80:7")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(up); err != nil {
		t.Fatal(err)
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b := <-got; !bytes.Equal(b, up) {
		t.Errorf("up: %d octets", len(b))
	}
	if b, err := io.ReadAll(c); err != nil || !bytes.Equal(b, down) {
		t.Errorf("down: %d octets, %v", len(b), err)
	}
}

// When the PvD goes, its connections are reset, and requests fail from then on.
func TestPvDGoes(t *testing.T) {
	lab := pvdtest.New(t)
	lab.LAN("corp", "192.168.1.0/24").Echo("192.168.1.80")
	h := lab.Host("corp")
	d := dialer(t, front(t, h.Await("corp")))
	c, err := d.Dial("tcp", "192.168.1.80:7")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := h.Host.Remove(t.Context(), h.Ref("corp")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error("the client sees", err)
	}
	if _, err := d.Dial("tcp", "192.168.1.80:7"); err == nil || !strings.Contains(err.Error(), "network unreachable") {
		t.Error("a new request:", err)
	}
}

func TestNettestInPvD(t *testing.T) {
	if testing.Short() {
		t.Skip("short: takes seconds")
	}
	lab := pvdtest.New(t)
	m := lab.LAN("corp", "192.168.1.0/24").Machine("192.168.1.80")
	network := lab.Host("corp").Await("corp")
	d := dialer(t, front(t, network))
	port := 1000
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		port++
		at := fmt.Sprintf("192.168.1.80:%d", port)
		l, err := m.Network().Listen(context.Background(), "tcp", at)
		if err != nil {
			return nil, nil, nil, err
		}
		defer l.Close()
		if c1, err = d.Dial("tcp", at); err != nil {
			return nil, nil, nil, err
		}
		if c2, err = l.Accept(); err != nil {
			return nil, nil, nil, err
		}
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
}

// A selectorFunc is a function that selects.
type selectorFunc func(c pvd.Call) pvd.Ref

func (f selectorFunc) SelectPvD(_ context.Context, c pvd.Call) (pvd.Ref, error) { return f(c), nil }

// TestR4_OnePvDPerRequest has an application in front of which there is a proxy, and whose
// requests go where a selector says or their zone: the name is looked up where its
// addresses are dialled, whatever the selector says of those.
func TestR4_OnePvDPerRequest(t *testing.T) {
	lab := pvdtest.New(t)
	for _, name := range []string{"corp", "home"} {
		lan := lab.LAN(name, "192.168.1.0/24")
		lan.Router("192.168.1.1")
		lan.DNS("192.168.1.53", pvdtest.Zone{"wiki": "192.168.1.80", "news": "192.168.1.80"})
		lan.Web("192.168.1.80", name)
	}
	h := lab.Host("corp", "home")
	h.Await("corp")
	h.Await("home")
	var asked atomic.Int32
	h.Host.SetSelector(selectorFunc(func(c pvd.Call) pvd.Ref {
		asked.Add(1)
		if c.App == "browser" && c.Network == "tcp" && c.Remote.Port() == 80 && c.Host == "wiki" && c.Mark == 7 {
			return h.Ref("corp")
		}
		return pvd.Unspecified
	}))
	if err := h.Host.SetDefault(h.Ref("home")); err != nil {
		t.Fatal(err)
	}
	info, err := h.Host.Info(h.Ref("corp"))
	if err != nil {
		t.Fatal(err)
	}
	zone := "%" + info.Name()
	d := dialer(t, front(t, h.Host.App("browser").WithMark(7)))
	for host, want := range map[string]string{
		"wiki": "corp", "news": "home", "192.168.1.80": "home", "192.168.1.80" + zone: "corp",
	} {
		before := asked.Load()
		if got := page(t, d, host); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
		if n := asked.Load() - before; n > 1 {
			t.Errorf("%s: the selector is asked %d times", host, n)
		}
	}
	// Nor does it fall back to where a name can be looked up, or an address be reached.
	h.Host.SetSelector(selectorFunc(func(pvd.Call) pvd.Ref { return pvd.Null }))
	for _, host := range []string{"wiki", "192.168.1.80"} {
		if c, err := d.Dial("tcp", net.JoinHostPort(host, "80")); err == nil {
			t.Errorf("%s: connected", host)
			c.Close()
		}
	}
}

// page returns the page of a web server that the proxy leads to.
func page(t *testing.T, d proxy.Dialer, host string) string {
	t.Helper()
	c, err := d.Dial("tcp", net.JoinHostPort(host, "80"))
	if err != nil {
		t.Error(err)
		return ""
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.0\r\nHost: x\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}
