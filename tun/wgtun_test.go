package tun_test

import (
	"errors"
	"os"
	"sync"
	"testing"

	wgtun "golang.zx2c4.com/wireguard/tun"

	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// wgDevice is a device as wireguard/tun has them on other systems, in memory. It reads
// up to two packets at a time.
type wgDevice struct {
	in, out chan []byte
	events  chan wgtun.Event
	done    chan struct{}
	once    sync.Once
	mtu     int
}

func newWGDevices() (a, b *wgDevice) {
	ab, ba := make(chan []byte, 8), make(chan []byte, 8)
	device := func(in, out chan []byte) *wgDevice {
		return &wgDevice{in: in, out: out, events: make(chan wgtun.Event, 5), done: make(chan struct{}), mtu: 1400}
	}
	return device(ba, ab), device(ab, ba)
}

func (d *wgDevice) File() *os.File              { return nil }
func (d *wgDevice) MTU() (int, error)           { return d.mtu, nil }
func (d *wgDevice) Name() (string, error)       { return "utun7", nil }
func (d *wgDevice) Events() <-chan wgtun.Event  { return d.events }
func (d *wgDevice) BatchSize() int              { return 2 }
func (d *wgDevice) Close() error                { d.once.Do(func() { close(d.done); close(d.events) }); return nil }
func (d *wgDevice) put(b []byte, at int) []byte { return b[at : at+copy(b[at:], <-d.in)] }

func (d *wgDevice) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	var first []byte
	select {
	case first = <-d.in:
	case <-d.done:
		return 0, os.ErrClosed
	}
	sizes[0] = copy(bufs[0][offset:], first)
	if len(d.in) == 0 {
		return 1, nil
	}
	sizes[1] = len(d.put(bufs[1], offset))
	return 2, nil
}

func (d *wgDevice) Write(bufs [][]byte, offset int) (int, error) {
	for i, b := range bufs {
		select {
		case d.out <- append([]byte(nil), b[offset:]...):
		case <-d.done:
			return i, os.ErrClosed
		}
	}
	return len(bufs), nil
}

func TestWireguardDevice(t *testing.T) {
	tuntest.TestLink(t, func(t *testing.T) tuntest.Pair {
		da, db := newWGDevices()
		a, err := tun.NewWGLink(da)
		if err != nil {
			t.Fatal(err)
		}
		b, err := tun.NewWGLink(db)
		if err != nil {
			t.Fatal(err)
		}
		return tuntest.Pair{A: a, B: b}
	})
}

func TestWireguardDeviceEvents(t *testing.T) {
	d, _ := newWGDevices()
	l, err := tun.NewWGLink(d)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	d.events <- wgtun.EventDown
	if e := <-l.Events(); e.Up || e.MTU != 1400 || !errors.Is(e.Err, tun.ErrDown) {
		t.Errorf("event %+v, want down", e)
	}
	if err := l.Send([][]byte{{1}}, tun.Meta{}); !errors.Is(err, tun.ErrDown) {
		t.Errorf("send while down: %v, want %v", err, tun.ErrDown)
	}
	d.mtu = 1300
	d.events <- wgtun.EventUp | wgtun.EventMTUUpdate
	if e := <-l.Events(); e != (tun.Event{Up: true, MTU: 1300}) || l.MTU() != 1300 {
		t.Errorf("event %+v, MTU %d, want up with 1300", e, l.MTU())
	}
}
