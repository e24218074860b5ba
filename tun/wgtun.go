//go:build darwin || freebsd || windows || openbsd || linux

package tun

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	wgtun "golang.zx2c4.com/wireguard/tun"
)

// wgHeadroom is the space that wireguard/tun may need before a packet: 4 octets for the
// address family on BSDs, 10 for virtio_net_hdr, rounded up.
const wgHeadroom = 16

// A wgLink is a TUN device behind wireguard/tun's portable interface: whole packets,
// copied. Its Send only queues, since Write of a device may wait.
//
// Its goroutines write what is queued, and pass on events; both end with Close.
type wgLink struct {
	name string
	dev  wgtun.Device

	mtu    atomic.Int64
	up     atomic.Bool
	out    *frameQueue
	events *eventBox

	in    [][]byte // memory for one batch
	sizes []int
	next  int // of the batch, what Recv returns next
	n     int

	closed  atomic.Bool
	wg      sync.WaitGroup
	tooLong atomic.Uint64
	lost    atomic.Uint64
}

var (
	_ Link        = (*wgLink)(nil)
	_ LossCounter = (*wgLink)(nil)
)

func newWGLink(dev wgtun.Device) (*wgLink, error) {
	name, err := dev.Name()
	if err != nil {
		return nil, err
	}
	mtu, err := dev.MTU()
	if err != nil {
		return nil, err
	}
	l := &wgLink{
		name: name, dev: dev,
		out:    newFrameQueue(SendRing),
		events: newEventBox(Event{Up: true, MTU: mtu}),
	}
	l.mtu.Store(int64(mtu))
	l.up.Store(true)
	for range dev.BatchSize() {
		l.in = append(l.in, make([]byte, wgHeadroom+MaxMTU))
	}
	l.sizes = make([]int, len(l.in))
	l.wg.Go(l.runWriter)
	l.wg.Go(l.runEvents)
	return l, nil
}

func (l *wgLink) Name() string                   { return l.name }
func (l *wgLink) Layer() Layer                   { return IP }
func (l *wgLink) MTU() int                       { return int(l.mtu.Load()) }
func (l *wgLink) HardwareAddr() net.HardwareAddr { return nil }
func (l *wgLink) Offload() Offload               { return 0 }
func (l *wgLink) Events() <-chan Event           { return l.events.ch }

func (l *wgLink) Losses() Losses {
	return Losses{TooLong: l.tooLong.Load(), Down: l.lost.Load()}
}

func (l *wgLink) Recv(bufs [][]byte, m *Meta) (int, error) {
	for {
		for l.next == l.n {
			if l.closed.Load() {
				return 0, closedError("recv", l.name)
			}
			if err := l.fill(); err != nil {
				return 0, err
			}
		}
		packet := l.in[l.next][wgHeadroom:][:l.sizes[l.next]]
		l.next++
		if len(packet) == 0 {
			continue
		}
		if scatter(bufs, packet) {
			*m = Meta{}
			return len(packet), nil
		}
		l.tooLong.Add(1)
	}
}

// fill reads a batch of packets.
func (l *wgLink) fill() error {
	n, err := l.dev.Read(l.in, l.sizes, wgHeadroom)
	l.next, l.n = 0, n
	switch {
	case l.closed.Load():
		return closedError("recv", l.name)
	case err == nil || n > 0 || errors.Is(err, wgtun.ErrTooManySegments):
		return nil
	}
	return fmt.Errorf("tun: recv on %s: %w", l.name, err)
}

func (l *wgLink) Send(bufs [][]byte, m Meta) error {
	if l.closed.Load() {
		return closedError("send", l.name)
	}
	n := frameLen(bufs)
	if err := checkFrame(n, m, IP, l.MTU(), 0); err != nil {
		return err
	}
	if !l.up.Load() {
		return ErrDown
	}
	err := l.out.put(bufs, n, m)
	if errors.Is(err, ErrDown) {
		return closedError("send", l.name)
	}
	return err
}

func (l *wgLink) WaitSend(d time.Duration, cancel <-chan struct{}) bool {
	return l.out.wait(d, cancel)
}

func (l *wgLink) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	l.lost.Add(uint64(l.out.closeRead()))
	err := l.dev.Close()
	l.wg.Wait()
	l.events.close()
	if err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("tun: close %s: %w", l.name, err)
	}
	return nil
}

func (l *wgLink) runWriter() {
	packet := [][]byte{make([]byte, wgHeadroom+MaxMTU)}
	memory := packet[0]
	for {
		f, ok := l.out.get()
		if !ok {
			return
		}
		n := copy(memory[wgHeadroom:], f.buf.b)
		f.buf.free()
		packet[0] = memory[:wgHeadroom+n]
		if _, err := l.dev.Write(packet, wgHeadroom); err != nil {
			l.lost.Add(1)
		}
	}
}

// runEvents passes on what the device says, until its channel is closed. It has to be
// read to the end, since the device waits for that.
func (l *wgLink) runEvents() {
	for e := range l.dev.Events() {
		if e&wgtun.EventMTUUpdate != 0 {
			if mtu, err := l.dev.MTU(); err == nil && mtu > 0 {
				l.mtu.Store(int64(mtu))
			}
		}
		if e&(wgtun.EventUp|wgtun.EventDown) != 0 {
			l.up.Store(e&wgtun.EventUp != 0)
		}
		state := Event{Up: l.up.Load(), MTU: l.MTU()}
		if !state.Up {
			state.Err = errSetDown
			l.lost.Add(uint64(l.out.drop()))
		}
		l.events.publish(state)
	}
}
