package pvdhttp_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdhttp"
	"github.com/pvdstack/pvdstack/pvd/pvdtest"
)

// One program, one client, one URL: two PvDs, two pages, by connections that are kept.
// When one PvD goes, what it had under way fails with ErrNoPvD and the other goes on.
func TestStack(t *testing.T) {
	lab := pvdtest.New(t)
	hold := make(chan struct{})
	defer close(hold)
	for _, name := range []string{"corp", "home"} {
		lan := lab.LAN(name, "192.168.1.0/24")
		lan.DNS("192.168.1.53", pvdtest.Zone{"wiki": "192.168.1.80"})
		lan.Handle("192.168.1.80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "the wiki of "+name)
			if r.URL.Path == "/endless" {
				_ = http.NewResponseController(w).Flush()
				<-hold
			}
		}))
	}
	h := lab.Host("corp", "home")
	h.Await("corp")
	h.Await("home")
	pool := pvdhttp.NewPool(h.Host.In)
	defer pool.Close()
	client := &http.Client{Transport: pool}
	get := func(name, path string) (resp *http.Response, reused bool, err error) {
		ctx := httptrace.WithClientTrace(pvd.NewContext(t.Context(), h.Ref(name)), &httptrace.ClientTrace{
			GotConn: func(i httptrace.GotConnInfo) {
				reused = i.Reused
				if ref, ok := pvd.Of(i.Conn); !ok || ref != h.Ref(name) {
					t.Errorf("a request in %v uses a connection of %v", h.Ref(name), ref)
				}
			},
		})
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://wiki"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err = client.Do(r)
		return resp, reused, err
	}
	page := func(name string) (reused bool) {
		t.Helper()
		resp, reused, err := get(name, "/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "the wiki of "+name {
			t.Errorf("in %s: %q, %v", name, b, err)
		}
		return reused
	}
	for i := range 3 {
		for _, name := range []string{"corp", "home"} {
			if reused := page(name); reused != (i > 0) {
				t.Errorf("round %d in %s: reused %v", i, name, reused)
			}
		}
	}
	endless, _, err := get("corp", "/endless")
	if err != nil {
		t.Fatal(err)
	}
	defer endless.Body.Close()
	if err := h.Host.Remove(t.Context(), h.Ref("corp")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(endless.Body); !errors.Is(err, pvd.ErrNoPvD) {
		t.Error("reading:", err)
	}
	if resp, _, err := get("corp", "/"); !errors.Is(err, pvd.ErrNoPvD) {
		if err == nil {
			resp.Body.Close()
		}
		t.Error("a new request:", err)
	}
	if !page("home") {
		t.Error("the other PvD's connection is lost")
	}
	lab.AssertIsolated()
}
