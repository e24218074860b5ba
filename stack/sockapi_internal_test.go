package stack

import (
	"net/netip"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

// TestEchoLeavesNothing has ICMP endpoints that are bound before they are connected, and
// looks whether gVisor has forgotten them when they are closed.
func TestEchoLeavesNothing(t *testing.T) {
	h, d := limited(t)
	away := netip.MustParseAddr("11.0.0.1") // by a source that gVisor would not choose
	p, err := d.path(t.Context(), netip.Addr{}, away)
	if err != nil || p.natural {
		t.Fatalf("%+v, %v", p, err)
	}
	for range 3 {
		s, err := d.newPing(owner{}, p, away)
		if err != nil {
			t.Fatal(err)
		}
		_ = s.close()
		k, err := h.Socket(pvd.INET, pvd.Datagram, pvd.ICMP)
		if err != nil {
			t.Fatal(err)
		}
		_ = k.SetPvD(d.ref)
		for _, to := range []string{"127.0.0.1:0", "11.0.0.1:0", "10.0.0.9:0"} {
			if err := k.Connect(t.Context(), netip.MustParseAddrPort(to)); err != nil {
				t.Fatal(err)
			}
		}
		_ = k.Close()
	}
	if left := d.stk.RegisteredEndpoints(); len(left) != 0 {
		t.Errorf("%d endpoints are left", len(left))
	}
}

// TestVisitsEnd has a socket send in PvDs that go: what it needed there goes too.
func TestVisitsEnd(t *testing.T) {
	h, d := limited(t)
	k, err := h.Socket(pvd.INET, pvd.Datagram, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if err := k.SetPvD(d.ref); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		ref, err := h.Add(t.Context(), pvd.Config{
			Links:     []string{"wire"},
			Addresses: []pvd.Address{{Prefix: netip.MustParsePrefix("10.7.0.1/24")}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.WaitReady(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		if _, err := k.SendMsg(t.Context(), &Msg{Addr: netip.MustParseAddrPort("10.7.0.9:7"), Control: pvd.Control{PvD: ref}}); err != nil {
			t.Fatal(err)
		}
		if err := h.Remove(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(k.visits); n != 1 { // the last one ends with the socket or the next visit
		t.Errorf("%d visits to PvDs that are gone", n)
	}
}
