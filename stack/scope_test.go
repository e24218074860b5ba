package stack_test

import (
	"context"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// TestScopes has each scope decide where a finer one does not.
func TestScopes(t *testing.T) {
	s := newStar(t, 4)
	system, app, ctxs, socket := s.own[0], s.own[1], s.own[2], s.own[3]
	a := s.host.App("browser")
	if a.Name() != "browser" || a.Default() != pvd.Unspecified {
		t.Errorf("%q with default %v", a.Name(), a.Default())
	}
	if err := s.host.SetDefault(system.PvD()); err != nil {
		t.Fatal(err)
	}
	other := s.host.App("other")
	if err := a.SetDefault(app.PvD()); err != nil {
		t.Fatal(err)
	}
	plain := t.Context()
	with := pvd.NewContext(plain, ctxs.PvD())
	for _, tt := range []struct {
		name string
		n    pvd.Network
		ctx  context.Context
		want *stack.Network
	}{
		{"system default", s.host.In(pvd.Unspecified), plain, system},
		{"system default, by name", s.host.In(pvd.SystemDefault), plain, system},
		{"system default, by name, before the context", s.host.In(pvd.SystemDefault), with, system},
		{"system default, by context", a, pvd.NewContext(plain, pvd.SystemDefault), system},
		{"system default, by an App without one", other, plain, system},
		{"App", a, plain, app},
		{"App, by a network of its", a.In(pvd.Unspecified), plain, app},
		{"App, the context being cleared", a, pvd.NewContext(with, pvd.Unspecified), app},
		{"context", a, with, ctxs},
		{"context, without App", s.host.In(pvd.Unspecified), with, ctxs},
		{"socket", s.host.In(socket.PvD()), with, socket},
		{"socket, by an App", a.In(socket.PvD()), with, socket},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := tt.n.Listen(tt.ctx, "tcp", ":0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if ref, _ := pvd.Of(l); ref != tt.want.PvD() {
				t.Errorf("Listen in %v, want %v", ref, tt.want.PvD())
			}
			c, err := tt.n.DialContext(tt.ctx, "udp", "192.168.1.1:9")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if ref, _ := pvd.Of(c); ref != tt.want.PvD() {
				t.Errorf("Dial in %v, want %v", ref, tt.want.PvD())
			}
			p, err := tt.n.ListenPacket(tt.ctx, "udp", ":0")
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			if ref, _ := pvd.Of(p); ref != tt.want.PvD() {
				t.Errorf("ListenPacket in %v, want %v", ref, tt.want.PvD())
			}
		})
	}
	// It is followed, not remembered.
	if err := s.host.SetDefault(app.PvD()); err != nil {
		t.Fatal(err)
	}
	if l := mustListen(t, s.host.In(pvd.SystemDefault), "tcp", ":0"); l.(*stack.TCPListener).PvD() != app.PvD() {
		t.Error("the system default was not followed")
	}
	for ref, want := range map[pvd.Ref]error{pvd.All: syscall.EINVAL, 12345: pvd.ErrNoPvD} {
		if err := a.SetDefault(ref); err != want { //nolint:errorlint // these, bare
			t.Errorf("SetDefault(%v): %v, want %v", ref, err, want)
		}
	}
	if a.Default() != app.PvD() || a.PvD() != pvd.Unspecified {
		t.Errorf("default %v, PvD %v", a.Default(), a.PvD())
	}
	if n := s.host.In(socket.PvD()); n.PvD() != socket.PvD() {
		t.Errorf("PvD %v", n.PvD())
	}
}

func TestPing(t *testing.T) {
	h1, h2 := newHost(t), newHost(t)
	pipe(t, "wire", h1, h2)
	a, _ := add(t, h1, config("wire", "10.0.0.1/24", "fd00::1/64", "fe80::1/64")), add(t, h2, config("wire", "10.0.0.2/24", "fd00::2/64", "fe80::2/64"))
	for _, to := range []string{"10.0.0.2", "fd00::2", "fe80::2%wire", "::ffff:10.0.0.2", "10.0.0.1", "fd00::1", "127.0.0.1", "::1", "0.0.0.0"} {
		took, err := a.Ping(t.Context(), netip.MustParseAddr(to))
		if err != nil || took <= 0 || took > longest {
			t.Errorf("%s: %v, %v", to, took, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Ping(ctx, netip.MustParseAddr("10.0.0.3")); err == nil {
		t.Error("an answer from nobody")
	}
}
