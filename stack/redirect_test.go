package stack

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/tun"
)

const (
	redirA, redirB, redirC = "fe80::a", "fe80::b", "fe80::c" // routers
	redirOwn, redirOther   = "2001:db8:1::2", "2001:db8:2::2"
	redirFar               = "2001:db8:ff::1"
)

// twoRouters is a PvD with an address from each of two routers, as RFC 8028 has it.
func twoRouters() pvd.Config {
	return pvd.Config{
		Links: []string{"lab"}, Addresses: addresses(redirOwn+"/64", redirOther+"/64"),
		Routes: []pvd.Route{
			{To: prefix("::/0"), Via: ip(redirA), From: prefix("2001:db8:1::/64")},
			{To: prefix("::/0"), Via: ip(redirB), From: prefix("2001:db8:2::/64")},
		},
	}
}

func redirect(from, src, dst, to string) ra.Redirect {
	return ra.Redirect{Router: ip(from), Source: ip(src), Destination: ip(dst), Target: ip(to)}
}

// A steppedWire is a wire with a PvD on it, whose clock a test sets ahead.
type steppedWire struct {
	*wire
	clock *steppedClock
	port  *port
}

func newSteppedWire(t *testing.T, c pvd.Config) *steppedWire {
	t.Helper()
	clock := &steppedClock{Clock: pvd.SystemClock()}
	near, far := tun.Pipe(tun.PipeConfig{})
	h, err := New(Config{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		far.Close()
	})
	if err := h.AddLink("lab", near); err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, host: h, far: far}
	w.link, _ = h.link("lab")
	return &steppedWire{w, clock, w.add(c)}
}

func (w *steppedWire) follow(r ra.Redirect) {
	w.t.Helper()
	if err := w.link.redirect(mac{}, r); err != nil {
		w.t.Fatal(err)
	}
}

func (w *steppedWire) by(when, src, dst, want string) {
	w.t.Helper()
	if hop, ok := w.port.nextHop(ip(src), ip(dst)); !ok || hop != ip(want) {
		w.t.Errorf("%s: from %s to %s by %v, want %s", when, src, dst, hop, want)
	}
}

func (w *steppedWire) update(c pvd.Config) {
	w.t.Helper()
	if err := w.host.Update(w.t.Context(), w.port.domain.ref, c); err != nil {
		w.t.Fatal(err)
	}
}

// A redirect to another router is for one source and one destination only (RFC 8028
// section 3.4), one to the destination itself for all sources. Either ends with its time.
func TestRedirect(t *testing.T) {
	t.Parallel()
	w := newSteppedWire(t, twoRouters())
	w.by("at first", redirOwn, redirFar, redirA)
	if w.port.redirects.all.Load() != nil {
		t.Error("a table where there is nothing")
	}
	w.follow(redirect(redirA, redirOwn, redirFar, redirC))
	w.by("redirected", redirOwn, redirFar, redirC)
	w.by("another destination", redirOwn, "2001:db8:ff::2", redirA)
	w.by("another source", redirOther, redirFar, redirB)

	// The router in use is the one it was redirected to; the one before has no say now.
	if err := w.port.redirect(redirect(redirA, redirOwn, redirFar, redirB)); !errors.Is(err, errNotRedirected) {
		t.Errorf("the former first hop redirects: %v", err)
	}
	w.follow(redirect(redirC, redirOwn, redirFar, redirB))
	w.by("redirected by the second", redirOwn, redirFar, redirB)

	w.follow(redirect(redirA, redirOwn, "2001:db8:ff::3", "2001:db8:ff::3"))
	w.by("on the link", redirOwn, "2001:db8:ff::3", "2001:db8:ff::3")
	w.by("on the link, another source", redirOther, "2001:db8:ff::3", "2001:db8:ff::3")

	w.clock.ahead += redirectLifetime - time.Minute
	w.by("before the end", redirOwn, redirFar, redirB)
	w.clock.ahead += time.Minute
	w.by("after the end", redirOwn, redirFar, redirA)
	w.by("after the end", redirOther, "2001:db8:ff::3", redirB)
}

// What is not from the first hop, or not about what the PvD sends, changes nothing.
func TestForgedRedirect(t *testing.T) {
	t.Parallel()
	w := newSteppedWire(t, twoRouters())
	neighbor := "2001:db8:1::9"
	if _, err := w.host.Add(t.Context(), pvd.Config{
		Links: []string{"lab"}, Addresses: addresses("2001:db8:3::2/64"),
		Routes: []pvd.Route{{To: prefix("::/0"), Via: ip(redirA)}},
	}); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]ra.Redirect{
		"from the other router":        redirect(redirB, redirOwn, redirFar, redirC),
		"from no router":               redirect(redirC, redirOwn, redirFar, redirB),
		"to no address of ours":        redirect(redirA, "2001:db8:1::3", redirFar, redirC),
		"of the other address":         redirect(redirA, redirOther, redirFar, redirC),
		"for a neighbour":              redirect(redirA, redirOwn, neighbor, redirC),
		"for a link-local address":     redirect(redirA, redirOwn, "fe80::9", redirC),
		"for a group":                  redirect(redirA, redirOwn, "ff0e::1", redirC),
		"to ourselves":                 redirect(redirA, redirOwn, redirOther, redirOther),
		"to another PvD of the host's": redirect(redirA, redirOwn, "2001:db8:3::2", "2001:db8:3::2"),
		"without addresses":            {},
	} {
		if err := w.link.redirect(mac{}, r); !errors.Is(err, errNotRedirected) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if w.port.redirects.all.Load() != nil {
		t.Error("something was followed")
	}
	w.by("afterwards", redirOwn, redirFar, redirA)
	w.by("afterwards", redirOwn, neighbor, neighbor)

	on := newWire(t, tun.IP).add(pvd.Config{Addresses: addresses(redirOwn + "/64"), Routes: []pvd.Route{{To: prefix("::/0")}}})
	if err := on.redirect(redirect(redirA, redirOwn, redirFar, redirB)); err == nil {
		t.Error("followed on an IP link")
	}
	weak := newWire(t, tun.Ethernet).add(pvd.Config{
		Elements: []pvd.Element{pvd.WeakHost.With(true)}, Addresses: addresses(redirOwn + "/64"), Routes: []pvd.Route{{To: prefix("::/0"), Via: ip(redirA)}},
	})
	if err := weak.redirect(redirect(redirA, redirOwn, redirFar, redirB)); err == nil {
		t.Error("followed by a weak host")
	}
}

// A redirect ends with the source, with the router's being the first hop, and with the link;
// a change of anything else leaves it.
func TestRedirectsEnd(t *testing.T) {
	t.Parallel()
	redirects := []ra.Redirect{
		redirect(redirA, redirOwn, redirFar, redirC),
		redirect(redirA, redirOwn, "2001:db8:ff::3", "2001:db8:ff::3"),
	}
	for name, tt := range map[string]struct {
		change func(w *steppedWire)
		stays  bool
	}{
		"refreshed": {func(w *steppedWire) { w.update(twoRouters()) }, true},
		"another's route": {func(w *steppedWire) {
			c := twoRouters()
			c.Routes = append(c.Routes, pvd.Route{To: prefix("2001:db8:aa::/48"), Via: ip(redirC)})
			w.update(c)
		}, true},
		"other address gone": {func(w *steppedWire) {
			c := twoRouters()
			c.Addresses = c.Addresses[:1]
			w.update(c)
		}, true},
		"source gone": {func(w *steppedWire) {
			c := twoRouters()
			c.Addresses = c.Addresses[1:]
			w.update(c)
			w.update(twoRouters())
		}, false},
		"router gone": {func(w *steppedWire) {
			c := twoRouters()
			c.Routes = c.Routes[1:]
			w.update(c)
			w.update(twoRouters())
		}, false},
		"another first hop": {func(w *steppedWire) {
			c := twoRouters()
			c.Routes = append(c.Routes, pvd.Route{To: prefix("2001:db8:ff::/48"), Via: ip(redirB)})
			w.update(c)
			w.update(twoRouters())
		}, false},
		"link down and up": {func(w *steppedWire) { w.host.linkChanged(w.link) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits until its addresses are found unique
			w := newSteppedWire(t, twoRouters())
			for _, r := range redirects {
				w.follow(r)
			}
			tt.change(w)
			for _, r := range redirects {
				want := r.Router
				if tt.stays {
					want = r.Target
				}
				if hop, ok := w.port.nextHop(r.Source, r.Destination); !ok || hop != want {
					t.Errorf("to %s by %v, want %s", r.Destination, hop, want)
				}
			}
		})
	}
}

// A target that does not answer is left for the router, which then decides again.
func TestRedirectToDeadTarget(t *testing.T) {
	t.Parallel()
	w := newSteppedWire(t, twoRouters())
	w.follow(redirect(redirA, redirOwn, redirFar, redirC))
	w.port.unanswered(redirC)
	w.by("the target does not answer", redirOwn, redirFar, redirA)
	w.follow(redirect(redirA, redirOwn, redirFar, redirB))
	w.by("redirected again", redirOwn, redirFar, redirB)
}

// There are maxRedirects at most; the oldest goes, and what has ended makes room first.
func TestMostRedirects(t *testing.T) {
	t.Parallel()
	w := newSteppedWire(t, twoRouters())
	far := func(i int) string { return fmt.Sprintf("2001:db8:ff::%x", i+1) }
	for i := range maxRedirects + 1 {
		w.follow(redirect(redirA, redirOwn, far(i), redirC))
		w.clock.ahead += time.Second
	}
	w.by("the oldest", redirOwn, far(0), redirA)
	w.by("the second", redirOwn, far(1), redirC)
	w.by("the last", redirOwn, far(maxRedirects), redirC)
	w.follow(redirect(redirC, redirOwn, far(maxRedirects), redirB)) // which is no new one
	w.by("the second", redirOwn, far(1), redirC)
	if n := len(*w.port.redirects.all.Load()); n != maxRedirects {
		t.Errorf("%d redirects", n)
	}
	w.clock.ahead += redirectLifetime
	w.follow(redirect(redirA, redirOwn, far(0), redirC))
	if n := len(*w.port.redirects.all.Load()); n != 1 {
		t.Errorf("%d redirects after the others have ended", n)
	}
}

// Redirects that arrive while the PvD changes leave nothing that its table does not have.
func TestRedirectsRaceWithChanges(t *testing.T) {
	t.Parallel()
	w := newSteppedWire(t, twoRouters())
	gone := twoRouters()
	gone.Routes = gone.Routes[1:]
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 500 {
			_ = w.port.redirect(redirect(redirA, redirOwn, redirFar, redirC))
			w.port.nextHop(ip(redirOwn), ip(redirFar))
		}
	}()
	for i := range 10 {
		w.update([]pvd.Config{gone, twoRouters()}[i%2])
	}
	w.update(gone)
	<-done
	if all := w.port.redirects.all.Load(); all != nil {
		t.Errorf("left: %v", *all)
	}
}

// An empty table costs nothing to look at.
func BenchmarkNextHop(b *testing.B) {
	w := newWire(b, tun.Ethernet)
	p := w.add(twoRouters())
	src, dst := ip(redirOwn), ip(redirFar)
	var hop netip.Addr
	b.Run("no redirects", func(b *testing.B) {
		for b.Loop() {
			hop, _ = p.nextHop(src, dst)
		}
	})
	b.Run("table alone", func(b *testing.B) {
		for b.Loop() {
			hop, _ = p.routerFor(src, dst)
		}
	})
	if err := p.redirect(redirect(redirA, redirOwn, redirFar, redirC)); err != nil {
		b.Fatal(err)
	}
	b.Run("redirected", func(b *testing.B) {
		for b.Loop() {
			hop, _ = p.nextHop(src, dst)
		}
	})
	_ = hop
}
