package stack_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// A selectorFunc is a pvd.Selector.
type selectorFunc func(context.Context, pvd.Call) (pvd.Ref, error)

func (f selectorFunc) SelectPvD(ctx context.Context, c pvd.Call) (pvd.Ref, error) { return f(ctx, c) }

// A questions is a pvd.Selector that notes what it is asked.
type questions struct {
	mu     sync.Mutex
	asked  []pvd.Call
	answer pvd.Ref
}

func (q *questions) SelectPvD(_ context.Context, c pvd.Call) (pvd.Ref, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.asked = append(q.asked, c)
	return q.answer, nil
}

// take returns what has been asked since the last time.
func (q *questions) take() []pvd.Call {
	q.mu.Lock()
	defer q.mu.Unlock()
	asked := q.asked
	q.asked = nil
	return asked
}

// TestP41_P42_SelectorIsTold holds what a selector is told of each kind of call, that it is
// asked once per call, and that the call is in the PvD of its choice.
func TestP41_P42_SelectorIsTold(t *testing.T) {
	w := newWorld(t, 2, false)
	q := &questions{answer: w.ref(1)}
	h, err := stack.New(stack.Config{Selector: q})
	if err != nil {
		t.Fatal(err)
	}
	if h.App("x").Scope(t.Context()); len(q.take()) != 1 {
		t.Error("the configuration's selector is not asked")
	}
	_ = h.Close()

	if err := w.host.SetDefault(w.ref(0)); err != nil {
		t.Fatal(err)
	}
	w.host.SetSelector(q)
	n := w.host.App("browser").In(pvd.Unspecified).WithMark(7).WithToS(0xb8)
	at := netip.MustParseAddrPort
	anywhere := netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
	for _, tt := range []struct {
		what string
		do   func() (pvd.Ref, error)
		want pvd.Call
	}{
		{"Dial a name", func() (pvd.Ref, error) {
			c, err := n.DialContext(t.Context(), "tcp4", "web.example:80")
			return closed(c, err)
		}, pvd.Call{Network: "tcp4", Host: "web.example", Remote: netip.AddrPortFrom(netip.Addr{}, 80)}},
		{"Dial a literal", func() (pvd.Ref, error) {
			c, err := n.DialContext(t.Context(), "udp", "192.168.1.1:80")
			return closed(c, err)
		}, pvd.Call{Network: "udp", Host: "192.168.1.1", Remote: at("192.168.1.1:80")}},
		{"Dial from", func() (pvd.Ref, error) {
			c, err := n.DialFrom(t.Context(), "tcp", "192.168.1.2:0", "192.168.1.1:80")
			return closed(c, err)
		}, pvd.Call{Network: "tcp", Host: "192.168.1.1", Remote: at("192.168.1.1:80"), Local: at("192.168.1.2:0")}},
		{"Dial on a link", func() (pvd.Ref, error) {
			c, err := n.DialContext(t.Context(), "tcp", "[fe80::1%wire1]:80")
			return closed(c, err)
		}, pvd.Call{Network: "tcp", Host: "fe80::1%wire1", Remote: at("[fe80::1%wire1]:80"), Scope: "wire1", Link: "wire1"}},
		{"Listen", func() (pvd.Ref, error) {
			l, err := n.Listen(t.Context(), "tcp", ":0")
			return closed(l, err)
		}, pvd.Call{Network: "tcp", Local: anywhere}},
		{"ListenPacket", func() (pvd.Ref, error) {
			c, err := n.ListenPacket(t.Context(), "udp6", "[fe80::2%wire1]:0")
			return closed(c, err)
		}, pvd.Call{Network: "udp6", Local: at("[fe80::2%wire1]:0"), Link: "wire1"}},
		{"Lookup", func() (pvd.Ref, error) {
			addrs, err := n.LookupNetIP(t.Context(), "ip4", "who.example")
			if err != nil {
				return pvd.Null, err
			}
			return w.ref(int(addrs[0].As4()[3])), nil
		}, pvd.Call{Network: "ip4", Host: "who.example"}},
		{"Ping", func() (pvd.Ref, error) {
			_, err := n.Ping(t.Context(), netip.MustParseAddr(answering(1)))
			return w.ref(1), err
		}, pvd.Call{Network: "ip4:icmp", Remote: netip.AddrPortFrom(netip.MustParseAddr(answering(1)), 0)}},
		{"Scope", func() (pvd.Ref, error) { return n.Scope(t.Context()), nil }, pvd.Call{}},
	} {
		got, err := tt.do()
		if err != nil || got != w.ref(1) {
			t.Errorf("%s: in %v, %v", tt.what, got, err)
		}
		tt.want.App, tt.want.Mark, tt.want.ToS = "browser", 7, 0xb8
		if asked := q.take(); !slices.Equal(asked, []pvd.Call{tt.want}) {
			t.Errorf("%s: asked %+v, want once %+v", tt.what, asked, tt.want)
		}
	}
	// A Network stays what it is.
	if c := n.WithMark(8); c == n || n.Scope(t.Context()) == pvd.Null || q.take()[0].Mark != 7 {
		t.Error("WithMark changed its receiver")
	}
	// Nobody is asked where a scope decides, the system's by name included.
	for what, ref := range map[string]pvd.Ref{
		"call":            w.own[0].Scope(t.Context()),
		"system default":  w.host.In(pvd.SystemDefault).Scope(t.Context()),
		"context":         n.Scope(pvd.NewContext(t.Context(), w.ref(0))),
		"default by ctx":  n.Scope(pvd.NewContext(t.Context(), pvd.SystemDefault)),
		"zone":            mustPvD(t, n, "192.168.1.1%net0:80"),
		"App":             scopeWith(t, w.host.App("a"), w.ref(0)),
		"default by App":  scopeWith(t, w.host.App("a"), pvd.SystemDefault),
		"host, by itself": w.own[0].PvD(),
	} {
		if ref != w.ref(0) {
			t.Errorf("%s: in %v", what, ref)
		}
	}
	if asked := q.take(); len(asked) != 0 {
		t.Errorf("asked %+v", asked)
	}
	// The host's own calls ask too, as nobody's.
	if ref := w.host.In(pvd.Unspecified).Scope(t.Context()); ref != w.ref(1) || len(q.take()) != 1 {
		t.Errorf("the host's call is in %v", ref)
	}
	w.host.SetSelector(nil)
	if ref := n.Scope(t.Context()); ref != w.ref(0) || len(q.take()) != 0 {
		t.Errorf("without a selector: in %v", ref)
	}
}

func mustPvD(t *testing.T, d pvd.Dialer, address string) pvd.Ref {
	t.Helper()
	ref, err := dialled(t, d, address)
	if err != nil {
		t.Error(err)
	}
	return ref
}

func scopeWith(t *testing.T, a *stack.App, def pvd.Ref) pvd.Ref {
	t.Helper()
	if err := a.SetDefault(def); err != nil {
		t.Fatal(err)
	}
	return a.Scope(t.Context())
}

// TestP2_SelectorAnswers has each answer that a selector may give.
func TestP2_SelectorAnswers(t *testing.T) {
	w := newWorld(t, 3, false)
	gone := w.ref(2)
	if err := errors.Join(w.host.Remove(t.Context(), gone), w.host.SetDefault(w.ref(0))); err != nil {
		t.Fatal(err)
	}
	app := w.host.App("browser")
	broken := errors.New("the person has left")
	for _, tt := range []struct {
		what string
		ref  pvd.Ref
		err  error
		want error
	}{
		{"Null", pvd.Null, nil, syscall.ENETUNREACH},
		{"All", pvd.All, nil, syscall.EINVAL},
		{"gone", gone, nil, pvd.ErrNoPvD},
		{"an error", pvd.Unspecified, broken, broken},
		{"an errno", pvd.Unspecified, syscall.EACCES, syscall.EACCES},
	} {
		w.host.SetSelector(selectorFunc(func(context.Context, pvd.Call) (pvd.Ref, error) { return tt.ref, tt.err }))
		everyOperation(t, w, "a selector that says "+tt.what, t.Context(), app, tt.want)
	}
	for ref, want := range map[pvd.Ref]pvd.Ref{pvd.Unspecified: w.ref(0), pvd.SystemDefault: w.ref(0), w.ref(1): w.ref(1)} {
		w.host.SetSelector(selectorFunc(func(context.Context, pvd.Call) (pvd.Ref, error) { return ref, nil }))
		if got := mustPvD(t, app, "192.168.1.1:80"); got != want {
			t.Errorf("the answer %v leads to %v", ref, got)
		}
	}
	// What it chooses is held to policy.
	w.host.SetSelector(&questions{answer: w.ref(1)})
	for what, want := range map[pvd.Permission]error{pvd.Denied: syscall.EACCES, pvd.Hidden: pvd.ErrNoPvD} {
		setPolicy(t, w.host, &pvd.Policy{Rules: []pvd.PolicyRule{{Apps: []string{"browser"}, PvDs: []string{"net1"}, What: what}}})
		everyOperation(t, w, "a selector that says what is "+what.String(), t.Context(), app, want)
	}
}

// TestP2_SelectorTakesItsTime has calls end with their context while a selector, that might
// be asking a person, has not answered.
func TestP2_SelectorTakesItsTime(t *testing.T) {
	w := newWorld(t, 1, false)
	asking := make(chan struct{}, 1)
	w.host.SetSelector(selectorFunc(func(ctx context.Context, _ pvd.Call) (pvd.Ref, error) {
		asking <- struct{}{}
		<-ctx.Done()
		return pvd.Unspecified, errors.New("no answer")
	}))
	app := w.host.App("browser")
	for name, op := range operations {
		ctx, cancel := context.WithCancel(t.Context())
		errc := make(chan error, 1)
		go func() { _, err := op(ctx, w, app, 0); errc <- err }()
		<-asking
		cancel()
		if err := <-errc; !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled: %v", name, err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
		_, err := op(ctx, w, app, 0)
		cancel()
		<-asking
		if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s, late: %v", name, err)
		}
		var timeout interface{ Timeout() bool }
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s, late: %v is no timeout", name, err)
		}
	}
}
