package stack

import (
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// What a source says of an address besides its state is there for everybody to see, and
// outlives the changes of the state.
func TestR16_Lifetimes(t *testing.T) {
	w := newWire(t, tun.IP)
	p := w.add(pvd.Config{Name: "corp", Addresses: addresses("192.168.1.2/24")})
	until := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	err := w.host.registry.Update(t.Context(), p.domain.ref, func(b *pvd.Builder) {
		as, _ := pvd.Addresses.Of(b)
		as[0].PreferredUntil, as[0].ValidUntil, as[0].Home = until, until.Add(time.Hour), true
		pvd.Addresses.Set(b, as)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, up := range []bool{false, true} {
		p.link.up.Store(up)
		w.host.linkChanged(p.link)
		if err := w.host.do(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
		wanted := pvd.Down
		if up {
			wanted = pvd.Preferred
		}
		var got pvd.AddressInfo
		for range 1000 { // the writer sees to it as soon as it can
			info, err := w.host.Info(p.domain.ref)
			if err != nil {
				t.Fatal(err)
			}
			as, _ := pvd.Addresses.Get(info)
			if got = as[0]; got.State == wanted {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if got.State != wanted || !got.PreferredUntil.Equal(until) || !got.ValidUntil.Equal(until.Add(time.Hour)) || !got.Home {
			t.Errorf("up %v: %+v", up, got)
		}
	}
}
