//go:build synctest

package pvdtest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// TestLabInBubble is the lab in a bubble of testing/synctest, where it needs no clock of
// its own: time passes whenever everything waits.
func TestLabInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := New(t)
		_, r := uplinked(lab, Uplink{})
		h := lab.Host("inside")
		began := time.Now()
		n := h.Await("inside")
		if d := time.Since(began); d < time.Second || d > 3*time.Second {
			t.Errorf("duplicate address detection took %v", d)
		}
		h.Link("inside").Impair(tun.Impairment{Delay: 50 * time.Millisecond, Loss: 0.02})
		for _, to := range []string{"198.51.100.7:7", "[2001:db8:ff::7]:7"} {
			if err := echoTCP(t, n, to, 256<<10); err != nil {
				t.Errorf("echo at %s: %v", to, err)
			}
		}
		if time.Since(began) < 2*time.Second {
			t.Errorf("all done after %v: the delay was not there", time.Since(began))
		}
		if r.Stats()[countForwarded] == 0 {
			t.Error("the router forwarded nothing")
		}
		lab.AssertIsolated()
	})
}

// TestRoutersInBubble has a host learn all that routers say, in bubble time: a day of
// advertisements and leases.
func TestRoutersInBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lab := New(t)
		routers := explicit(lab)
		h := lab.Host()
		h.Discover("corp", "home")
		for _, name := range []string{"corp", "home"} {
			n := h.Await(name+".example", pvd.HasAddr4, pvd.HasAddr6, pvd.HasDNS)
			Get(t, n, "http://wiki/").Is(name)
		}
		time.Sleep(24 * time.Hour)
		for _, name := range []string{"corp", "home"} {
			Get(t, h.Await(name+".example"), "http://192.168.1.80/").Is(name)
			if got := routers[name].Leases(); len(got) != 1 {
				t.Errorf("%s: leases %v", name, got)
			}
		}
		lab.AssertIsolated()
	})
}
