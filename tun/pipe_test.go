package tun_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

func TestPipe(t *testing.T) {
	for name, c := range map[string]tun.PipeConfig{
		"default":  {},
		"ip":       {Layer: tun.IP, MTU: 1280, Queue: 3},
		"jumbo":    {MTU: 9000, Names: [2]string{"left", "right"}},
		"64 KB":    {Layer: tun.IP, MTU: tun.MaxMTU},
		"one slot": {Queue: 1},
	} {
		t.Run(name, func(t *testing.T) {
			tuntest.TestLink(t, func(*testing.T) tuntest.Pair {
				a, b := tun.Pipe(c)
				return tuntest.Pair{A: a, B: b}
			})
		})
	}
}

func TestPipeConfig(t *testing.T) {
	a, b := tun.Pipe(tun.PipeConfig{MTU: 1, Names: [2]string{"left"}})
	if a.Name() != "left" || b.Name() != "pipe-b" || a.Layer() != tun.Ethernet {
		t.Errorf("got %q %q %v, want left, pipe-b, Ethernet", a.Name(), b.Name(), a.Layer())
	}
	if a.MTU() != tun.MinMTU {
		t.Errorf("MTU 1 became %d, want %d", a.MTU(), tun.MinMTU)
	}
	if a, _ = tun.Pipe(tun.PipeConfig{}); a.MTU() != tun.DefaultMTU {
		t.Errorf("MTU 0 became %d, want %d", a.MTU(), tun.DefaultMTU)
	}
}

func TestPipeQueueLimit(t *testing.T) {
	for _, tt := range []struct{ queue, want int }{{0, tun.DefaultPipeQueue}, {7, 7}, {1 << 30, tun.MaxPipeQueue}, {-1, 1}} {
		a, b := tun.Pipe(tun.PipeConfig{Queue: tt.queue})
		n := 0
		for a.Send([][]byte{{1}}, tun.Meta{}) == nil {
			n++
		}
		if n != tt.want || tun.Pending(b) != n {
			t.Errorf("queue %d took %d frames, %d pending, want %d", tt.queue, n, tun.Pending(b), tt.want)
		}
	}
}

func TestPendingUntilReceiverReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := tun.Pipe(tun.PipeConfig{})
		send(t, a, []byte{1, 2, 3})
		if got := tun.Pending(b); got != 1 {
			t.Errorf("%d pending after Send, want 1", got)
		}
		var m tun.Meta
		if n, err := b.Recv([][]byte{make([]byte, 9)}, &m); n != 3 || err != nil {
			t.Fatalf("recv: %d, %v, want 3", n, err)
		}
		if got := tun.Pending(b); got != 1 {
			t.Errorf("%d pending while the receiver has the frame, want 1", got)
		}
		go b.Recv([][]byte{make([]byte, 9)}, &m) // ended by Close
		synctest.Wait()
		if got := tun.Pending(b); got != 0 {
			t.Errorf("%d pending while the receiver waits, want 0", got)
		}
		b.Close()
	})
}

func TestPipeEndsApart(t *testing.T) {
	a, b := tun.Pipe(tun.PipeConfig{MTU: 1400})
	send(t, a, []byte{1})
	send(t, b, []byte{2})
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	e := <-b.Events()
	if e.Up || e.MTU != 1400 || !errors.Is(e.Err, tun.ErrDown) {
		t.Errorf("after the other end closed: %+v, want down", e)
	}
	if err := b.Send([][]byte{{3}}, tun.Meta{}); !errors.Is(err, tun.ErrDown) {
		t.Errorf("send after the other end closed: %v, want %v", err, tun.ErrDown)
	}
	if b.WaitSend(time.Hour, nil) {
		t.Error("WaitSend says that a pipe without other end has room")
	}
	if got := b.(tun.LossCounter).Losses().Down; got != 1 {
		t.Errorf("%d frames lost, want the one that a never read", got)
	}
	var m tun.Meta
	if n, err := b.Recv([][]byte{make([]byte, 9)}, &m); n != 1 || err != nil {
		t.Errorf("recv of what was sent before: %d, %v", n, err)
	}
	b.Close()
	if _, open := <-b.Events(); open {
		t.Error("Events is open after Close")
	}
}

func send(t *testing.T, l tun.Link, frame []byte) {
	t.Helper()
	if err := l.Send([][]byte{frame}, tun.Meta{}); err != nil {
		t.Fatal(err)
	}
}
