package stack_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// hookedStation is an Ethernet link that calls back when a PvD leaves it, which is in the
// middle of an Update.
type hookedStation struct {
	tun.Link
	left func()
}

func (h *hookedStation) AddMAC(net.HardwareAddr) error { return nil }

func (h *hookedStation) RemoveMAC(net.HardwareAddr) error {
	h.left()
	return nil
}

// While what an Update takes away is still being ended, what it adds can be used.
func TestUpdateHasNoGap(t *testing.T) {
	h := newHost(t)
	pipe(t, "wire", h, nil)
	near, far := tun.Pipe(tun.PipeConfig{})
	t.Cleanup(func() { _ = far.Close() })
	hook := &hookedStation{Link: near}
	if err := h.AddLink("other", hook); err != nil {
		t.Fatal(err)
	}
	c := pvd.Config{
		Links: []string{"wire", "other"},
		Addresses: []pvd.Address{
			{Prefix: netip.MustParsePrefix("10.0.0.1/24")}, {Prefix: netip.MustParsePrefix("10.0.1.1/24"), Link: "other"},
		},
	}
	n := add(t, h, c)
	called := false
	hook.left = func() {
		called = true
		conn, err := n.DialContext(t.Context(), "udp", "192.0.2.1:9")
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Error(err)
		}
	}
	c.Links, c.Addresses = c.Links[:1], c.Addresses[:1]
	c.Routes = []pvd.Route{{To: netip.MustParsePrefix("192.0.2.0/24")}}
	if err := h.Update(t.Context(), n.PvD(), c); err != nil {
		t.Fatal(err)
	}
	if !called {
		t.Error("the PvD has not left the link")
	}
}
