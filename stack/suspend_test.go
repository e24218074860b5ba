package stack

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/tun"
)

// TestSleepCounts has the machine sleep: what it has learned has grown older by that, and
// routers are looked for again.
func TestSleepCounts(t *testing.T) {
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var slept atomic.Int64
	h.suspended = func() time.Duration { return time.Duration(slept.Load()) }
	near, far := tun.Pipe(tun.PipeConfig{Layer: tun.Ethernet})
	defer far.Close()
	if err := h.AddLink("lan", near); err != nil {
		t.Fatal(err)
	}
	if err := h.Discover("lan", Discovery{RA: true}); err != nil {
		t.Fatal(err)
	}
	solicited := make(chan struct{}, 64)
	go func() { // until the link is closed
		b := make([]byte, 2048)
		for {
			var m tun.Meta
			n, err := far.Recv([][]byte{b}, &m)
			if err != nil {
				return
			}
			if n > 54 && b[54] == 133 {
				solicited <- struct{}{}
			}
		}
	}()
	<-solicited
	src := netip.MustParseAddr("fe80::1")
	message, err := ra.Advertisement{Header: ra.Header{Lifetime: 30 * time.Minute}}.Append(nil, src, ra.AllNodes)
	if err != nil {
		t.Fatal(err)
	}
	f := []byte{0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0}
	f = append(binary.BigEndian.AppendUint16(f, uint16(len(message))), 58, 255)
	f = append(append(append(f, src.AsSlice()...), ra.AllNodes.AsSlice()...), message...)
	if err := far.Send([][]byte{f}, tun.Meta{}); err != nil {
		t.Fatal(err)
	}
	until := func(what string, n int) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); len(h.List()) != n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: PvDs %v", what, h.List())
			}
		}
	}
	until("learned", 1)
	l, _ := h.link("lan")

	// A short sleep changes nothing; a long one is longer than the router's lifetime.
	sleep := func(d time.Duration) {
		for len(solicited) > 0 {
			<-solicited
		}
		slept.Add(int64(d))
		l.pokeAgent()
	}
	sleep(10 * time.Minute)
	<-solicited
	until("after a short sleep", 1)
	sleep(25 * time.Minute)
	<-solicited
	until("after a long sleep", 0)
	if _, err := h.Remarks("lan"); err != nil {
		t.Error(err)
	}
}
