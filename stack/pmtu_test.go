package stack

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// The pieces of a packet, and the pieces of its pieces, are the packet.
func TestFragment6(t *testing.T) {
	body := make([]byte, 5000)
	for i := range body {
		body[i] = byte(i * 31)
	}
	whole := ipPacket(uint8(header.UDPProtocolNumber), ip("2001:db8::2"), ip("2001:db8::9"), body)
	id := func() uint32 { return 77 }
	var pieces [][]byte
	for _, large := range fragment6(whole, 1500, id) {
		pieces = append(pieces, fragment6(large, 1280, id)...)
	}
	got := make([]byte, len(body))
	seen := 0
	for i, p := range pieces {
		f := header.IPv6Fragment(p[header.IPv6MinimumSize:])
		if len(p) > 1280 || !header.IPv6(p).IsValid(len(p)) || f.ID() != 77 || f.TransportProtocol() != header.UDPProtocolNumber {
			t.Errorf("piece %d: %d octets, ID %d, protocol %d", i, len(p), f.ID(), f.TransportProtocol())
		}
		part := p[header.IPv6MinimumSize+header.IPv6FragmentHeaderSize:]
		at := int(f.FragmentOffset()) * header.IPv6FragmentExtHdrFragmentOffsetBytesPerUnit
		if f.More() != (at+len(part) < len(body)) {
			t.Errorf("piece %d at %d: more is %v", i, at, f.More())
		}
		seen += copy(got[at:], part)
	}
	if seen != len(body) || string(got) != string(body) {
		t.Errorf("%d octets of %d, equal: %v", seen, len(body), string(got) == string(body))
	}
	for _, next := range []uint8{0, uint8(header.TCPProtocolNumber), 59} {
		whole[6] = next
		if p := fragment6(whole, 1280, id); p != nil {
			t.Errorf("header %d: cut into %d", next, len(p))
		}
	}
	if p := fragment6(ipPacket(uint8(header.IPv6FragmentHeader), ip("::1"), ip("::1"), []byte{1}), 1280, id); p != nil {
		t.Error("cut a fragment header short")
	}
}

// tooBig returns a router's word that a packet of src to dst does not fit.
func tooBig(mtu uint32, src, dst string) []byte {
	quoted := ipPacket(uint8(header.UDPProtocolNumber), ip(src), ip(dst), make([]byte, 1200))
	m := header.ICMPv6(append(make([]byte, header.ICMPv6PacketTooBigMinimumSize), quoted...))
	m.SetType(header.ICMPv6PacketTooBig)
	binary.BigEndian.PutUint32(m[4:], mtu)
	router, to := ip("2001:db8::1"), ip("2001:db8::2")
	m.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: m, Src: toAddr(router), Dst: toAddr(to)}))
	return ipPacket(uint8(header.ICMPv6ProtocolNumber), router, to, m)
}

func TestNarrowPaths(t *testing.T) {
	t.Parallel()
	clock := &steppedClock{Clock: pvd.SystemClock()}
	near, far := tun.Pipe(tun.PipeConfig{Layer: tun.IP})
	defer far.Close()
	h, err := New(Config{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.AddLink("lab", near); err != nil {
		t.Fatal(err)
	}
	p := (&wire{t: t, host: h}).add(pvd.Config{Addresses: addresses("2001:db8::2/64"), Routes: []pvd.Route{{To: prefix("::/0")}}})
	hear := func(packet []byte) {
		t.Helper()
		before := p.link.stats[delivered].Load()
		if err := far.Send([][]byte{packet}, tun.Meta{}); err != nil {
			t.Fatal(err)
		}
		if !eventually(func() bool { return p.link.stats[delivered].Load() > before }) {
			t.Fatal("not delivered")
		}
	}
	spoilt := tooBig(1300, "2001:db8::2", "2001:db8:1::9")
	spoilt[len(spoilt)-1]++
	for name, packet := range map[string][]byte{
		"below the minimum":     tooBig(1279, "2001:db8::2", "2001:db8:1::9"),
		"no less than ours":     tooBig(1500, "2001:db8::2", "2001:db8:1::9"),
		"somebody else's":       tooBig(1300, "2001:db8::3", "2001:db8:1::9"),
		"with a wrong checksum": spoilt,
	} {
		hear(packet)
		time.Sleep(5 * time.Millisecond)
		if got := p.pathMTU(ip("2001:db8:1::9")); got != 0 {
			t.Errorf("%s: %d", name, got)
		}
	}
	hear(tooBig(1300, "2001:db8::2", "2001:db8:1::9"))
	if !eventually(func() bool { return p.pathMTU(ip("2001:db8:1::9")) == 1300 }) {
		t.Fatal("not heeded")
	}
	clock.ahead = pathLifetime + time.Second
	if got := p.pathMTU(ip("2001:db8:1::9")); got != 0 || p.paths.some.Load() {
		t.Errorf("still known after %v", pathLifetime)
	}
	for i := range maxPaths + 5 {
		hear(tooBig(1300, "2001:db8::2", fmt.Sprintf("2001:db8:2::%x", i+1)))
	}
	// Nobody can fill the table for good: the last one heard is in it.
	last := ip(fmt.Sprintf("2001:db8:2::%x", maxPaths+5))
	if !eventually(func() bool { return p.pathMTU(last) == 1300 }) {
		t.Errorf("the last path is not remembered")
	}
	p.paths.mu.RLock()
	defer p.paths.mu.RUnlock()
	if n := len(p.paths.m); n != maxPaths {
		t.Errorf("%d paths are remembered", n)
	}
}
