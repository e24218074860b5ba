package stack_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/addinfo"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/stack"
)

// TestCloseWhileAsking ends a host that is asking for additional information which does not
// come.
func TestCloseWhileAsking(t *testing.T) {
	t.Parallel()
	const id = "corp.example"
	h := newHost(t)
	unchanged := bystander(t, h)
	a := of(id, "2001:db8:1::/64")
	a.Options = []ra.Option{
		a.Options[0],
		ra.RDNSS{Servers: []netip.Addr{netip.MustParseAddr("2001:db8:1::53")}, Lifetime: time.Hour},
		ra.PvDOption{ID: id, HTTP: true},
	}
	learnOn(t, h, "a", stack.Discovery{Information: true}).advertise("fe80::1", a)
	eventually(t, "the information is asked for", func() bool {
		for _, ref := range pvdsCalled(h, id) {
			if i, err := h.Info(ref); err == nil {
				s, _ := addinfo.Status.Get(i)
				return s.State == addinfo.Fetching
			}
		}
		return false
	})
	unchanged()
	closed := make(chan error, 1)
	go func() { closed <- h.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the host does not close")
	}
	if all := h.List(); len(all) > 0 {
		t.Errorf("left: %v", all)
	}
}
