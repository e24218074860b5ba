package stack

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/tun"
)

// TestLinkFlapsUnseen has a link go and come back before its agent looks, or before anybody
// does: the two events are one then, which says that it is up. The link may lead elsewhere now:
// routers are looked for again, although one has been found.
func TestLinkFlapsUnseen(t *testing.T) {
	for what, events := range map[string][]bool{"by the agent": {false, true}, "by anybody": {true}} {
		t.Run(what, func(t *testing.T) { linkFlapsUnseen(t, events) })
	}
}

func linkFlapsUnseen(t *testing.T, events []bool) {
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
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
	for end := time.Now().Add(10 * time.Second); len(h.List()) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is learned")
		}
	}
	l, _ := h.link("lan")
	l.agent.Load().asks <- func() { // which it is busy with meanwhile
		for _, up := range events {
			l.up.Store(up)
			h.linkChanged(l)
		}
	}
	select {
	case <-solicited:
	case <-time.After(10 * time.Second):
		t.Error("no router is looked for")
	}
}
