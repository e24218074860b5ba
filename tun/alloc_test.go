//go:build !race

package tun_test

import (
	"testing"

	"github.com/pvdstack/pvdstack/tun"
)

// Under the race detector sync.Pool forgets at random.

// testAllocs asserts that a frame costs no allocation on its way from a to b.
func testAllocs(t *testing.T, a, b tun.Link, frame []byte, m tun.Meta) {
	t.Helper()
	in, out := [][]byte{frame}, [][]byte{make([]byte, 100), make([]byte, tun.MaxFrame)}
	var received tun.Meta
	got := testing.AllocsPerRun(200, func() {
		if err := a.Send(in, m); err != nil {
			t.Fatal(err)
		}
		for {
			n, err := b.Recv(out, &received)
			if err != nil {
				t.Fatal(err)
			}
			if n == len(frame) {
				return
			}
		}
	})
	if got > 0 {
		t.Errorf("%v allocations for a frame, want none", got)
	}
}

func TestPipeDoesNotAllocate(t *testing.T) {
	a, b := tun.Pipe(tun.PipeConfig{})
	frame := make([]byte, 60000)
	testAllocs(t, a, b, frame, tun.Meta{GSO: tun.GSOTCP4})
}

func TestDecoratorsDoNotAllocate(t *testing.T) {
	for name, decorate := range passive(t) {
		if name == "capture" {
			continue // its buffer in memory grows
		}
		t.Run(name, func(t *testing.T) {
			a, b := tun.Pipe(tun.PipeConfig{})
			testAllocs(t, decorate(a), decorate(b), make([]byte, 60000), tun.Meta{GSO: tun.GSOTCP4})
		})
	}
}
