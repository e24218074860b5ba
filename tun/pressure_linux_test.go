package tun_test

import (
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// slowPair returns two AF_PACKET links on a cable on which a sends at a rate (tc(8)) with
// room for a few frames, and then says that it has no buffers.
func slowPair(t *testing.T, rate string) (ns *tuntest.NS, a, b tun.Link) {
	t.Helper()
	na, nb := tuntest.NewNS(t), tuntest.NewNS(t)
	tuntest.Veth(na, "wan", nb, "lan")
	na.Exec("tc", "qdisc", "add", "dev", "wan", "root", "tbf", "rate", rate, "burst", "10kb", "limit", "20kb")
	return na, openPacket(t, na, tun.PacketConfig{Interface: "wan"}), openPacket(t, nb, tun.PacketConfig{Interface: "lan"})
}

func numbered(seq uint32, length int) []byte {
	f := etherFrame(net.HardwareAddr{255, 255, 255, 255, 255, 255}, peerMAC, experiment, strings.Repeat("x", length))
	binary.BigEndian.PutUint32(f[tun.EthernetHeaderLen:], seq)
	return f
}

func isNumbered(f []byte) bool { return binary.BigEndian.Uint16(f[12:]) == experiment }

// What the kernel refuses for want of buffers is held back, in order, up to a limit.
func TestNoBuffers(t *testing.T) {
	_, a, b := slowPair(t, "8mbit")
	var sent uint32
	for ; sent < 10000; sent++ {
		if err := a.Send([][]byte{numbered(sent, 1000)}, tun.Meta{}); err != nil {
			if !errors.Is(err, tun.ErrFull) {
				t.Fatal(err)
			}
			break
		}
	}
	if sent < tun.SendRing || sent == 10000 {
		t.Errorf("%d frames were taken, want those of the ring and a few more", sent)
	}
	if !a.WaitSend(patience, nil) {
		t.Error("there is no room though the kernel sends on")
	}
	for seq := range sent {
		got, _ := recvUntil(t, b, isNumbered)
		if n := binary.BigEndian.Uint32(got[tun.EthernetHeaderLen:]); n != seq {
			t.Fatalf("frame %d arrived instead of %d", n, seq)
		}
	}
}

// What is held back when a link goes down is lost, and does not come out of nowhere when
// it is up again.
func TestHeldFramesEndWithTheLink(t *testing.T) {
	ns, a, b := slowPair(t, "1mbit")
	sent := 0
	var full error
	for ; full == nil; sent++ {
		full = a.Send([][]byte{numbered(1, 1000)}, tun.Meta{})
	}
	if !errors.Is(full, tun.ErrFull) {
		t.Fatalf("send of frame %d: %v, want %v in the end", sent, full, tun.ErrFull)
	}
	ns.IP("link", "set", "dev", "wan", "down")
	awaitDown(t, a, "set down", "set down")
	if !a.WaitSend(patience, nil) {
		t.Error("a link that holds nothing has no room")
	}
	ns.IP("link", "set", "dev", "wan", "up")
	awaitUp(t, a, "set up")
	if err := a.Send([][]byte{numbered(2, 1000)}, tun.Meta{}); err != nil {
		t.Fatal(err)
	}
	old := 0
	recvUntil(t, b, func(f []byte) bool {
		if isNumbered(f) && f[tun.EthernetHeaderLen+3] == 1 {
			old++
		}
		return isNumbered(f) && f[tun.EthernetHeaderLen+3] == 2
	})
	// Lost by us or, while it took the interface down, by the kernel.
	if old > tun.SendRing/2 {
		t.Errorf("of %d frames from before the link went down %d arrived", sent-1, old)
	}
}

// Frames that the kernel had no room for are counted.
func TestOverrunIsCounted(t *testing.T) {
	na, nb := tuntest.NewNS(t), tuntest.NewNS(t)
	tuntest.Veth(na, "wan", nb, "lan")
	a := openPacket(t, na, tun.PacketConfig{Interface: "wan"})
	b := openPacket(t, nb, tun.PacketConfig{Interface: "lan"})
	for seq := uint32(0); b.(tun.LossCounter).Losses().Overrun == 0; seq++ {
		if err := a.Send([][]byte{numbered(seq, 1400)}, tun.Meta{}); err != nil && !errors.Is(err, tun.ErrFull) {
			t.Fatal(err)
		}
		if seq > 1e5 {
			t.Fatal("100,000 frames that nobody reads, and none is lost")
		}
	}
	before := b.(tun.LossCounter).Losses().Overrun
	b.Close()
	if after := b.(tun.LossCounter).Losses().Overrun; after < before {
		t.Errorf("the count went from %d to %d with Close", before, after)
	}
}

// Devices come and go under load: Recv and Send ride it out.
func TestHealUnderLoad(t *testing.T) {
	tuntest.CheckLeaks(t)
	ns := tuntest.NewNS(t)
	l := openTAP(t, ns, tun.TAPConfig{Name: "dev"})
	stop := make(chan struct{})
	var senders, receiver sync.WaitGroup
	for range 2 {
		senders.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				err := l.Send([][]byte{numbered(0, 200)}, tun.Meta{})
				if err != nil && !errors.Is(err, tun.ErrDown) && !errors.Is(err, tun.ErrFull) {
					t.Errorf("send: %v", err)
					return
				}
			}
		})
	}
	receiver.Go(func() {
		var m tun.Meta
		for {
			if _, err := l.Recv([][]byte{make([]byte, 2000)}, &m); err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("recv: %v", err)
				}
				return
			}
		}
	})
	for range 10 {
		// The device may still be missing from the last time.
		ns.Exec("sh", "-c", "until ip link set dev dev down; do sleep 0.01; done")
		ns.IP("link", "set", "dev", "dev", "up")
		ns.IP("link", "del", "dev", "dev")
	}
	ns.Exec("sh", "-c", "until ip link show dev dev up | grep -q dev; do sleep 0.01; done")
	awaitUp(t, l, "deleted ten times")
	close(stop)
	senders.Wait()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	receiver.Wait()
	if left := ns.IP("-br", "link"); strings.Contains(left, "dev") {
		t.Errorf("after Close there is still %s", left)
	}
}

// A link that is down waits, and does not spin.
func TestDownDoesNotSpin(t *testing.T) {
	ns := tuntest.NewNS(t)
	tuntest.Veth(ns, "wan", tuntest.NewNS(t), "lan")
	packet := openPacket(t, ns, tun.PacketConfig{Interface: "wan"})
	tap := openTAP(t, ns, tun.TAPConfig{Name: "dev"})
	for _, l := range []tun.Link{packet, tap} {
		go func() {
			var m tun.Meta
			for {
				if _, err := l.Recv([][]byte{make([]byte, 2000)}, &m); err != nil {
					return
				}
			}
		}()
	}
	ns.IP("link", "del", "dev", "wan")
	ns.IP("link", "set", "dev", "dev", "name", "other")
	ns.IP("link", "add", "name", "dev", "type", "bridge")
	ns.IP("link", "del", "dev", "other")
	awaitDown(t, packet, "deleted", "no interface")
	awaitDown(t, tap, "deleted", "can not be made anew")
	const wait = 500 * time.Millisecond
	before := cpuTime(t)
	time.Sleep(wait)
	if used := cpuTime(t) - before; used > wait/4 {
		t.Errorf("two links that are down used %v of the processor in %v", used, wait)
	}
}

// cpuTime returns the processor time that this process has used.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
