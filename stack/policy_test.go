package stack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

func setPolicy(t *testing.T, h *stack.Host, p *pvd.Policy) {
	t.Helper()
	if err := h.SetPolicy(p); err != nil {
		t.Fatal(err)
	}
}

// gameMay returns a policy of one rule.
func gameMay(name string, what pvd.Permission) *pvd.Policy {
	return &pvd.Policy{Rules: []pvd.PolicyRule{{Apps: []string{"game"}, PvDs: []string{name}, What: what}}}
}

// TestR23_X6_S37_Forbidden has every operation of an App fail in a PvD that policy denies it
// or hides from it, by whichever scope the App comes to it, and nobody else's.
func TestR23_X6_S37_Forbidden(t *testing.T) {
	w := newWorld(t, 2, true)
	game, other := w.host.App("game"), w.host.App("other")
	for what, want := range map[pvd.Permission]error{pvd.Denied: syscall.EACCES, pvd.Hidden: pvd.ErrNoPvD} {
		for _, name := range []string{"net0", "net0.example", "*"} {
			// What was set while it was allowed is of no use any more.
			if err := game.SetDefault(w.ref(0)); err != nil {
				t.Fatal(err)
			}
			setPolicy(t, w.host, gameMay(name, what))
			plain := t.Context()
			everyOperation(t, w, "App", plain, game, want)
			everyOperation(t, w, "context", pvd.NewContext(plain, w.ref(0)), game, want)
			everyOperation(t, w, "call", plain, in(game, w.ref(0)), want)
			wantOpError(t, dialErr(plain, game, "tcp", "192.168.1.1%net0:80"), want)
			if err := game.SetDefault(w.ref(0)); !errors.Is(err, want) {
				t.Errorf("SetDefault: %v, want %v", err, want)
			}
			// Others may, and so may the host itself.
			for _, c := range []caller{in(other, w.ref(0)), w.own[0]} {
				for name, op := range operations {
					if ref, err := op(plain, w, c, 0); err != nil || ref != w.ref(0) {
						t.Errorf("%s of another: in %v, %v", name, ref, err)
					}
				}
			}
			if name != "*" {
				if ref, err := dialled(t, game, "192.168.1.1%net1:80"); err != nil || ref != w.ref(1) {
					t.Errorf("elsewhere: in %v, %v", ref, err)
				}
			}
			setPolicy(t, w.host, nil)
			if err := game.SetDefault(pvd.Unspecified); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestR23_Seen holds what an App learns of a PvD that is denied, which is all, and of one
// that is hidden, which is nothing.
func TestR23_Seen(t *testing.T) {
	w := newWorld(t, 2, true)
	if err := w.host.SetDefault(w.ref(0)); err != nil {
		t.Fatal(err)
	}
	a := w.host.App("game")
	names := []string{"net0", "net0.example", w.ref(0).String()}
	seen := func(want bool) {
		t.Helper()
		if got := slices.Contains(a.List(), w.ref(0)) && slices.Contains(a.On("wire0"), w.ref(0)); got != want {
			t.Errorf("listed: %v", got)
		}
		if !slices.Contains(a.List(), w.ref(1)) || !slices.Contains(a.On("wire1"), w.ref(1)) {
			t.Error("the other one is not listed")
		}
		for _, ref := range []pvd.Ref{w.ref(0), pvd.SystemDefault} {
			switch i, err := a.Info(ref); {
			case want && (err != nil || i.Ref() != w.ref(0)), !want && (i != nil || !errors.Is(err, pvd.ErrNoPvD)):
				t.Errorf("described: %v, %v", i, err)
			}
		}
		for _, name := range names {
			switch ref, err := a.Find(name); {
			case want && (err != nil || ref != w.ref(0)), !want && (ref != pvd.Unspecified || !errors.Is(err, pvd.ErrNoPvD)):
				t.Errorf("found: %v, %v", ref, err)
			}
		}
		def := pvd.Null
		if want {
			def = w.ref(0)
		}
		if got := a.SystemDefault(); got != def {
			t.Errorf("the default is %v, want %v", got, def)
		}
	}
	seen(true)
	setPolicy(t, w.host, gameMay("net0", pvd.Denied))
	seen(true)
	everyOperation(t, w, "a denied default", t.Context(), a, syscall.EACCES)
	setPolicy(t, w.host, gameMay("net0", pvd.Hidden))
	seen(false)
	// There is no default for it: that is the null PvD of section 3.3 of the draft.
	everyOperation(t, w, "a hidden default", t.Context(), a, syscall.ENETUNREACH)
	// An unknown reference, name or zone is the same error in every respect.
	unknown := pvd.Ref(99999)
	sameError(t, w.ref(0), unknown, func(ref pvd.Ref) error { _, err := a.Info(ref); return err })
	sameError(t, w.ref(0), unknown, a.SetDefault)
	sameError(t, w.ref(0), unknown, func(ref pvd.Ref) error { return dialErr(t.Context(), a.In(ref), "tcp", "192.168.1.1:80") })
	sameError(t, "net0", "nope", func(name string) error { _, err := a.Find(name); return err })
	sameError(t, "net0", "nope", func(name string) error {
		return dialErr(t.Context(), a, "tcp", "[fe80::1%"+name+"]:80")
	})
	// A name that is ambiguous to others is not to the App.
	twin := config("wire1", "10.7.0.1/24")
	twin.Name = "net0"
	ref := add(t, w.host, twin).PvD()
	setPolicy(t, w.host, gameMay("net0.example", pvd.Hidden))
	if got, err := a.Find("net0"); err != nil || got != ref {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := w.host.Find("net0"); !errors.Is(err, pvd.ErrAmbiguous) {
		t.Errorf("for the host: %v", err)
	}
}

// sameError holds that two arguments get errors that differ in the argument only.
func sameError[T any](t *testing.T, a, b T, f func(T) error) {
	t.Helper()
	x, y := f(a), f(b)
	if x == nil || y == nil || strings.ReplaceAll(x.Error(), fmt.Sprint(a), "") != strings.ReplaceAll(y.Error(), fmt.Sprint(b), "") {
		t.Errorf("%q and %q", x, y)
	}
}

// TestR23_Watch has an App watch while policy and PvDs change.
func TestR23_Watch(t *testing.T) {
	w := newWorld(t, 2, false)
	setPolicy(t, w.host, gameMay("net0", pvd.Hidden))
	if err := w.host.SetDefault(w.ref(0)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan string, 100)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for e, err := range w.host.App("game").Watch(ctx, pvd.Filter{}) {
			s := fmt.Sprint(e.Kind, " ", e.Ref)
			if err != nil {
				s = err.Error()
			}
			got <- s
		}
	}()
	expect := func(want ...string) {
		t.Helper()
		for _, s := range want {
			select {
			case g := <-got:
				if g != s {
					t.Errorf("%q, want %q", g, s)
				}
			case <-time.After(longest):
				t.Fatalf("nothing, want %q", s)
			}
		}
	}
	ref := func(i int) string { return w.ref(i).String() }
	expect("added "+ref(1), "default changed null", "synced unspecified")
	// A hidden PvD that goes is nothing to it, nor is another default that it does not see.
	more := config("wire1", "10.7.0.1/24")
	more.Name = "net0"
	hidden := add(t, w.host, more)
	if err := errors.Join(w.host.SetDefault(hidden.PvD()), w.host.SetDefault(w.ref(1))); err != nil {
		t.Fatal(err)
	}
	expect("default changed " + ref(1))
	if err := w.host.Remove(t.Context(), hidden.PvD()); err != nil {
		t.Fatal(err)
	}
	// Another policy is another snapshot.
	setPolicy(t, w.host, nil)
	expect(pvd.ErrLagged.Error(), "added "+ref(0), "added "+ref(1), "default changed "+ref(1), "synced unspecified")
	setPolicy(t, w.host, &pvd.Policy{Default: pvd.Hidden})
	expect(pvd.ErrLagged.Error(), "default changed null", "synced unspecified")
	cancel()
	expect(context.Canceled.Error())
	<-ended

	// A loop that is left is left, whatever policy does.
	for range w.host.App("game").Watch(t.Context(), pvd.Filter{}) {
		setPolicy(t, w.host, nil)
		break
	}
}

// TestX6_OpenStays holds that another policy leaves alone what is open, counts for what is
// opened, and that sockets in all PvDs are in those that they may be in.
func TestX6_OpenStays(t *testing.T) {
	w := newWorld(t, 2, false)
	a := w.host.App("game")
	server := mustListen(t, a.In(w.ref(0)), "tcp", ":90")
	client := mustDial(t, w.peers[0], "tcp", "192.168.1.2:90")
	accepted, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	all := mustListen(t, a.In(pvd.All), "tcp", ":91")
	packets, err := a.In(pvd.All).ListenPacket(t.Context(), "udp", ":92")
	if err != nil {
		t.Fatal(err)
	}
	defer packets.Close()
	from := make([]net.Addr, 2)
	for i, peer := range w.peers {
		sendDatagram(t, mustListenPacket(t, peer, "udp", ":1000"), "x", "192.168.1.2:92")
		_, from[i] = datagram(t, packets)
	}

	setPolicy(t, w.host, gameMay("net0", pvd.Denied))
	if _, err := client.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := accepted.Read(make([]byte, 1)); err != nil {
		t.Errorf("a connection from before: %v", err)
	}
	mustDial(t, w.peers[0], "tcp", "192.168.1.2:90")
	if _, err := server.Accept(); err != nil {
		t.Errorf("a listener from before: %v", err)
	}
	// Of the sockets in all PvDs nothing is left in that one.
	wantOpError(t, dialErr(t.Context(), w.peers[0], "tcp", "192.168.1.2:91"), syscall.ECONNREFUSED)
	_, err = packets.WriteTo([]byte("x"), from[0])
	wantOpError(t, err, syscall.EACCES)
	sendDatagram(t, mustListenPacket(t, w.peers[0], "udp", ":0"), "x", "192.168.1.2:92")
	noDatagram(t, packets)
	mustDial(t, w.peers[1], "tcp", "192.168.1.2:91")
	if c, err := all.Accept(); err != nil || mustOf(t, c) != w.ref(1) {
		t.Error(err)
	}
	if _, err := packets.WriteTo([]byte("x"), from[1]); err != nil {
		t.Error(err)
	}
	setPolicy(t, w.host, gameMay("net0", pvd.Hidden))
	_, err = packets.WriteTo([]byte("x"), from[0])
	wantOpError(t, err, pvd.ErrNoPvD)

	// A PvD that is allowed again, or comes to be by another name, is joined.
	setPolicy(t, w.host, nil)
	mustDial(t, w.peers[0], "tcp", "192.168.1.2:91")
	if c, err := all.Accept(); err != nil || mustOf(t, c) != w.ref(0) {
		t.Error(err)
	}
	setPolicy(t, w.host, gameMay("secret", pvd.Hidden))
	for _, tt := range []struct {
		name string
		want error
	}{{"secret", syscall.ECONNREFUSED}, {"public", nil}} {
		c := config("wire0", "192.168.1.2/24", "fd00::2/64", "fe80::2/64")
		c.Name = tt.name
		if err := w.host.Update(t.Context(), w.ref(0), c); err != nil {
			t.Fatal(err)
		}
		if err := dialErr(t.Context(), w.peers[0], "tcp", "192.168.1.2:91"); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	// One that is attached as a hidden one is not joined, and its ports are its own.
	more := config("wire0", "192.168.1.3/24")
	more.Name = "secret"
	secret := add(t, w.host, more)
	mustListen(t, secret, "tcp", ":91")
}

func mustOf(t *testing.T, v any) pvd.Ref {
	t.Helper()
	ref, ok := pvd.Of(v)
	if !ok {
		t.Errorf("%v is of no PvD", v)
	}
	return ref
}

// TestX6_NoBridge holds that an App that may not be a bridge is in one PvD at a time.
func TestX6_NoBridge(t *testing.T) {
	w := newWorld(t, 2, false)
	setPolicy(t, w.host, &pvd.Policy{NoBridge: []string{"vpn*"}})
	a, plain := w.host.App("vpn-client"), t.Context()
	first, second := in(a, w.ref(0)), in(a, w.ref(1))
	open := map[string]func() (interface{ Close() error }, error){
		"dialled":   func() (interface{ Close() error }, error) { return first.DialContext(plain, "tcp", "192.168.1.1:80") },
		"listening": func() (interface{ Close() error }, error) { return first.Listen(plain, "tcp", ":0") },
		"datagrams": func() (interface{ Close() error }, error) { return first.ListenPacket(plain, "udp", ":0") },
		"socket": func() (interface{ Close() error }, error) {
			s, err := socketOf(w, first)
			if err != nil {
				return nil, err
			}
			return s, s.Connect(plain, netip.MustParseAddrPort("192.168.1.1:80"))
		},
	}
	for what, f := range open {
		s, err := f()
		if err != nil {
			t.Fatal(what, err)
		}
		if got := a.InUse(); len(got) != 1 || got[w.ref(0)] != 1 {
			t.Errorf("%s: in use %v", what, got)
		}
		everyOperation(t, w, what+" elsewhere", plain, second, syscall.EACCES)
		for name, op := range operations {
			if _, err := op(plain, w, first, 0); err != nil {
				t.Errorf("%s, then %s in the same: %v", what, name, err)
			}
		}
		_ = s.Close()
		if got := a.InUse(); len(got) != 0 {
			t.Errorf("%s, closed: in use %v", what, got)
		}
		for name, op := range operations {
			if _, err := op(plain, w, second, 1); err != nil {
				t.Errorf("%s, closed, then %s elsewhere: %v", what, name, err)
			}
		}
	}
	// To listen in all is to be in several.
	wantOpError(t, listenErr(plain, a.In(pvd.All), "tcp", ":0"), syscall.EACCES)
	wantOpError(t, listenErr(plain, a.In(pvd.All), "udp", ":0"), syscall.EACCES)
	// Other Apps are not concerned, nor is another one of that name with what this has open.
	mustDial(t, first.Network, "tcp", "192.168.1.1:80")
	mustDial(t, w.host.App("browser").In(w.ref(1)), "tcp", "192.168.1.1:80")
	mustDial(t, w.host.App("vpn-client").In(w.ref(1)), "tcp", "192.168.1.1:80")
	mustDial(t, w.own[1], "tcp", "192.168.1.1:80")
}

// TestX6_NoBridgeLater forbids what is already open in two PvDs: it goes on, but nothing is
// added, and a listener still accepts.
func TestX6_NoBridgeLater(t *testing.T) {
	w := newWorld(t, 2, false)
	a := w.host.App("vpn")
	l := mustListen(t, a.In(w.ref(0)), "tcp", ":90")
	all := mustListen(t, a.In(pvd.All), "tcp", ":91")
	setPolicy(t, w.host, &pvd.Policy{NoBridge: []string{"vpn"}})
	wantOpError(t, dialErr(t.Context(), a.In(w.ref(0)), "tcp", "192.168.1.1:80"), syscall.EACCES)
	wantOpError(t, dialErr(t.Context(), a.In(w.ref(1)), "tcp", "192.168.1.1:80"), syscall.EACCES)
	mustDial(t, w.peers[0], "tcp", "192.168.1.2:90")
	if _, err := l.Accept(); err != nil {
		t.Error(err)
	}
	mustDial(t, w.peers[1], "tcp", "192.168.1.2:91")
	if _, err := all.Accept(); err != nil {
		t.Error(err)
	}
	// A PvD that comes is not refused for the sake of a listener that may not be in it.
	add(t, w.host, config("wire0", "192.168.1.3/24"))
	if got := len(a.InUse()); got != 2 {
		t.Errorf("in %d PvDs", got)
	}
}

// TestX6_NoBridgeRace opens in two PvDs at once, in which the App is never.
func TestX6_NoBridgeRace(t *testing.T) {
	w := newWorld(t, 2, false)
	setPolicy(t, w.host, &pvd.Policy{NoBridge: []string{"*"}})
	a := w.host.App("vpn")
	var wg sync.WaitGroup
	for i := range 2 {
		for range 4 {
			wg.Go(func() {
				for range 100 {
					c, err := a.In(w.ref(i)).ListenPacket(t.Context(), "udp", ":0")
					if err != nil {
						if !errors.Is(err, syscall.EACCES) {
							t.Error(err)
						}
						continue
					}
					if n := len(a.InUse()); n != 1 {
						t.Errorf("in %d PvDs", n)
					}
					_ = c.Close()
				}
			})
		}
	}
	wg.Wait()
	if got := a.InUse(); len(got) != 0 {
		t.Errorf("in use %v", got)
	}
}

// TestX6_InUse counts sockets per App and PvD, whatever their end is.
func TestX6_InUse(t *testing.T) {
	w := newWorld(t, 2, false)
	a := w.host.App("server")
	counts := func(want ...int) {
		t.Helper()
		got := a.InUse()
		for i, n := range want {
			if got[w.ref(i)] != n {
				t.Errorf("%d in use in %d, want %d", got[w.ref(i)], i, n)
			}
		}
		if _, ok := got[w.ref(0)]; ok && want[0] == 0 {
			t.Error("an entry for nothing")
		}
	}
	counts(0, 0)
	l, err := a.In(pvd.All).Listen(t.Context(), "tcp", ":90")
	if err != nil {
		t.Fatal(err)
	}
	counts(1, 1)
	mustDial(t, w.peers[0], "tcp", "192.168.1.2:90")
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	counts(2, 1)
	d := mustDial(t, a.In(w.ref(1)), "udp", "192.168.1.1:80")
	counts(2, 2)
	_, _ = a.In(w.ref(1)).Ping(t.Context(), netip.MustParseAddr("192.168.1.1"))
	_ = dialErr(t.Context(), a.In(w.ref(1)), "tcp", "192.168.1.1:81") // it refuses
	wantOpError(t, listenErr(t.Context(), a.In(w.ref(1)), "tcp", "192.168.1.2:90"), syscall.EADDRINUSE)
	counts(2, 2)
	_, _, _ = c.Close(), d.Close(), d.Close()
	counts(1, 1)
	if err := w.host.Remove(t.Context(), w.ref(0)); err != nil {
		t.Fatal(err)
	}
	counts(0, 1)
	_ = l.Close()
	counts(0, 0)
	if got := w.host.App("server").InUse(); len(got) != 0 {
		t.Errorf("another App of the name: %v", got)
	}
}

func TestSetPolicyErrors(t *testing.T) {
	bad := &pvd.Policy{Default: 77}
	if _, err := stack.New(stack.Config{Policy: bad}); err == nil {
		t.Error("a bad policy is taken at the beginning")
	}
	h, err := stack.New(stack.Config{Policy: &pvd.Policy{Default: pvd.Hidden}})
	if err != nil {
		t.Fatal(err)
	}
	pipe(t, "wire", h, nil)
	n := add(t, h, config("wire", "10.0.0.1/24"))
	if refs := h.App("a").List(); len(refs) != 0 {
		t.Errorf("%v is seen", refs)
	}
	if err := h.SetPolicy(bad); err == nil || len(h.App("a").List()) != 0 {
		t.Errorf("a bad policy: %v", err)
	}
	p := &pvd.Policy{}
	setPolicy(t, h, p)
	p.Default = pvd.Hidden // the host has a copy
	if refs := h.App("a").List(); !slices.Equal(refs, []pvd.Ref{n.PvD()}) {
		t.Errorf("%v is seen", refs)
	}
	_ = h.Close()
	if err := h.SetPolicy(nil); !errors.Is(err, stack.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
