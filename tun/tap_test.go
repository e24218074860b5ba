package tun_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// passive are the decorators in the states in which they change nothing.
func passive(t *testing.T) map[string]func(tun.Link) tun.Link {
	return map[string]func(tun.Link) tun.Link{
		"tap": func(l tun.Link) tun.Link {
			return tun.Tap(l, func(tun.Direction, [][]byte, tun.Meta) {})
		},
		"capture": func(l tun.Link) tun.Link {
			return tun.NewCapture(new(bytes.Buffer), tun.CaptureConfig{}).Link(l, "")
		},
		"no impairment": func(l tun.Link) tun.Link {
			return impair(t, l, tun.ImpairConfig{})
		},
	}
}

func TestDecoratedLinks(t *testing.T) {
	for name, decorate := range passive(t) {
		t.Run(name, func(t *testing.T) {
			tuntest.TestLink(t, func(*testing.T) tuntest.Pair {
				a, b := tun.Pipe(tun.PipeConfig{MTU: 1400, Queue: 16})
				return tuntest.Pair{A: decorate(a), B: decorate(b)}
			})
		})
	}
}

// A strictLink is a link with all optional interfaces.
type strictLink struct {
	tun.Link
	calls []string
}

func (l *strictLink) AddMAC(a net.HardwareAddr) error {
	l.calls = append(l.calls, "add "+a.String())
	return nil
}

func (l *strictLink) RemoveMAC(a net.HardwareAddr) error {
	l.calls = append(l.calls, "remove "+a.String())
	return nil
}

func (l *strictLink) CheckAddr(a netip.Addr) error { return fmt.Errorf("%v is the host's", a) }
func (l *strictLink) Losses() tun.Losses           { return tun.Losses{Overrun: 7} }
func (l *strictLink) Pending() int                 { return 3 }

func TestDecoratorsPassOptionalInterfaces(t *testing.T) {
	for name, decorate := range passive(t) {
		a, _ := tun.Pipe(tun.PipeConfig{})
		defer a.Close()
		inner := &strictLink{Link: a}
		l := decorate(inner)
		mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
		if err := errors.Join(l.(tun.Station).AddMAC(mac), l.(tun.Station).RemoveMAC(mac)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if want := []string{"add 02:00:00:00:00:01", "remove 02:00:00:00:00:01"}; !slices.Equal(inner.calls, want) {
			t.Errorf("%s: calls %q, want %q", name, inner.calls, want)
		}
		if err := l.(tun.AddressChecker).CheckAddr(netip.MustParseAddr("192.0.2.1")); err == nil {
			t.Errorf("%s: CheckAddr was not asked", name)
		}
		if got := l.(tun.LossCounter).Losses().Overrun; got != 7 {
			t.Errorf("%s: %d overruns, want 7", name, got)
		}
		if got := tun.Pending(l); got != 3 {
			t.Errorf("%s: %d pending, want 3", name, got)
		}
		if l.(interface{ Unwrap() tun.Link }).Unwrap() != tun.Link(inner) {
			t.Errorf("%s: Unwrap is not the link inside", name)
		}

		// Where the link inside has none of them, nothing is refused.
		l = decorate(struct{ tun.Link }{a})
		if err := errors.Join(l.(tun.Station).AddMAC(mac), l.(tun.Station).RemoveMAC(mac),
			l.(tun.AddressChecker).CheckAddr(netip.MustParseAddr("192.0.2.1"))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := l.(tun.LossCounter).Losses(); got != (tun.Losses{}) || tun.Pending(l) != 0 {
			t.Errorf("%s: losses %+v, pending %d, want none", name, got, tun.Pending(l))
		}
	}
}

func TestTap(t *testing.T) {
	a, b := tun.Pipe(tun.PipeConfig{Queue: 1})
	var seen []string
	tap := tun.Tap(a, func(dir tun.Direction, bufs [][]byte, m tun.Meta) {
		seen = append(seen, fmt.Sprint(dir, " ", bufs, " ", m.GSO))
	})
	defer tap.Close()
	if err := tap.Send([][]byte{{1, 2}, {3}}, tun.Meta{}); err != nil {
		t.Fatal(err)
	}
	if err := tap.Send([][]byte{{4}}, tun.Meta{}); !errors.Is(err, tun.ErrFull) {
		t.Fatalf("send to a full link: %v", err)
	}
	// The frame ends inside the second of three buffers.
	if err := b.Send([][]byte{{5, 6, 7, 8}}, tun.Meta{GSO: tun.GSOUDP}); err != nil {
		t.Fatal(err)
	}
	var m tun.Meta
	if n, err := tap.Recv([][]byte{make([]byte, 3), make([]byte, 3), make([]byte, 3)}, &m); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	want := []string{"out [[1 2] [3]] 0", "in [[5 6 7] [8]] 5"}
	if !slices.Equal(seen, want) {
		t.Errorf("seen %q, want %q", seen, want)
	}
	if s := tun.Direction(0).String(); s != "unknown" {
		t.Errorf("direction 0 is %q", s)
	}
}
