package stack_test

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

// TestR4_For has calls that belong together stay in the PvD of the first, by whichever
// scope that came about and whatever becomes of the scope.
func TestR4_For(t *testing.T) {
	w := newWorld(t, 2, false)
	a := w.host.App("browser")
	asked := 0
	w.host.SetSelector(selectorFunc(func(_ context.Context, c pvd.Call) (pvd.Ref, error) {
		asked++
		if c.Host == "who.example" && c.Remote.Port() == 80 && c.Mark == 7 && c.ToS == 8 {
			return w.ref(1), nil
		}
		return pvd.Unspecified, nil
	}))
	plain := t.Context()
	marked := a.WithMark(7).WithToS(8)
	for _, tt := range []struct {
		what    string
		from    pvd.Scoped
		ctx     context.Context
		address string
		want    int // an index of PvDs
		asks    int
	}{
		{"call", a.In(w.ref(1)), pvd.NewContext(plain, w.ref(0)), "who.example:80", 1, 0},
		{"context", a, pvd.NewContext(plain, w.ref(1)), "who.example:80", 1, 0},
		{"selector", marked, plain, "who.example:80", 1, 1},
		{"default", a, plain, "who.example:80", 0, 1},
		{"zone", a, plain, "192.168.1.1%net1:80", 1, 0},
		{"host", w.host.In(pvd.SystemDefault), plain, "who.example:80", 0, 0},
	} {
		if err := w.host.SetDefault(w.ref(0)); err != nil {
			t.Fatal(err)
		}
		asked = 0
		n, err := tt.from.For(tt.ctx, "tcp", tt.address)
		if err != nil {
			t.Error(tt.what, err)
			continue
		}
		if err := w.host.SetDefault(pvd.Null); err != nil {
			t.Fatal(err)
		}
		host, _, _ := net.SplitHostPort(tt.address)
		if _, err := n.LookupNetIP(plain, "ip4", host); err != nil {
			t.Error(tt.what, err)
		}
		if ref, err := dialled(t, n, "192.168.1.1:80"); err != nil || ref != w.ref(tt.want) {
			t.Errorf("%s: in %v, %v", tt.what, ref, err)
		}
		if asked != tt.asks {
			t.Errorf("%s: the selector was asked %d times", tt.what, asked)
		}
	}
	// None at all stays none.
	n, err := a.For(pvd.NewContext(plain, pvd.Null), "tcp", "192.168.1.1:80")
	if err != nil {
		t.Fatal(err)
	}
	wantOpError(t, dialErr(pvd.NewContext(plain, w.ref(0)), n, "tcp", "192.168.1.1:80"), syscall.ENETUNREACH)
	n, err = a.For(pvd.NewContext(plain, pvd.All), "tcp", "192.168.1.1:80")
	if err != nil {
		t.Fatal(err)
	}
	wantOpError(t, dialErr(plain, n, "tcp", "192.168.1.1:80"), syscall.EINVAL)
	for _, tt := range []struct {
		network, address string
		want             error
	}{
		{"tcp7", "192.168.1.1:80", net.UnknownNetworkError("tcp7")},
		{"tcp", "192.168.1.1", nil},
		{"tcp", "192.168.1.1:port", nil},
		{"tcp", "[fe80::1%nowhere]:80", pvd.ErrNoPvD},
	} {
		n, err := a.For(plain, tt.network, tt.address)
		if n != nil {
			t.Errorf("%s %s: a network", tt.network, tt.address)
		}
		var op *net.OpError
		if !errors.As(err, &op) || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s %s: %v", tt.network, tt.address, err)
		}
	}
}
