package tun_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/tun"
)

// gso returns the GSO type for a packet.
func (p testPacket) gso() tun.GSO {
	src, _ := p.addrs()
	switch {
	case p.proto == protoUDP:
		return tun.GSOUDP
	case src.Is4():
		return tun.GSOTCP4
	}
	return tun.GSOTCP6
}

// segments returns copies of what Segment emits.
func segments(f []byte, layer tun.Layer, m tun.Meta, mtu int) ([][]byte, error) {
	var out [][]byte
	err := tun.Segment(f, layer, m, mtu, func(s []byte) error {
		out = append(out, bytes.Clone(s))
		return nil
	})
	return out, err
}

func TestSegment(t *testing.T) {
	const mtu = 1500
	for _, payload := range []int{0, 1, 1300, 1301, 2600, 10001, 65000} {
		for name, p := range packets(payload) {
			p.flags, p.seq, p.id = flagACK|flagPSH|flagFIN|flagCWR, 0xffffff00, 0xfffe
			f, m := p.frame()
			m.GSO, m.GSOSize = p.gso(), 1300
			whole := bytes.Clone(f)
			got, err := segments(f, p.layer, m, mtu)
			if err != nil {
				t.Fatalf("%s, %d octets: %v", name, payload, err)
			}
			if want := max(1, (payload+1299)/1300); len(got) != want {
				t.Errorf("%s, %d octets: %d segments, want %d", name, payload, len(got), want)
			}
			var all []byte
			for i, s := range got {
				c := checkPacket(t, s, p.layer)
				checkSegment(t, p, c, i, len(got), len(all))
				if c.ipLen > mtu || !bytes.Equal(c.link, whole[:len(c.link)]) {
					t.Errorf("%s: segment %d is %d octets behind %x", name, i, c.ipLen, c.link)
				}
				all = append(all, c.payload...)
			}
			if want := whole[len(whole)-payload:]; !bytes.Equal(all, want) {
				t.Errorf("%s, %d octets: the payload changed", name, payload)
			}
		}
	}
}

// checkSegment checks what has to differ from segment to segment.
func checkSegment(t *testing.T, p testPacket, c parsedPacket, i, n, offset int) {
	t.Helper()
	if src, _ := p.addrs(); src.Is4() && c.id != p.id+uint16(i) {
		t.Errorf("segment %d has id %#x", i, c.id)
	}
	if p.proto == protoUDP {
		return
	}
	if c.seq != p.seq+uint32(offset) {
		t.Errorf("segment %d has sequence number %#x", i, c.seq)
	}
	want := uint8(flagACK)
	if i == 0 {
		want |= flagCWR
	}
	if i == n-1 {
		want |= flagPSH | flagFIN
	}
	if c.flags != want {
		t.Errorf("segment %d of %d has flags %#x, want %#x", i, n, c.flags, want)
	}
}

func TestSegmentECN(t *testing.T) {
	f, m := testPacket{layer: tun.IP, payload: 3000, flags: flagACK | flagCWR}.frame()
	m.GSO, m.GSOSize = tun.GSOTCP4|0x80, 1000
	got, err := segments(f, tun.IP, m, 1500)
	if err != nil || len(got) != 3 {
		t.Fatalf("%d segments, %v, want 3", len(got), err)
	}
	for i, s := range got {
		if cwr := checkPacket(t, s, tun.IP).flags&flagCWR != 0; cwr != (i == 0) {
			t.Errorf("segment %d: CWR %v", i, cwr)
		}
	}
}

func TestSegmentPlain(t *testing.T) {
	p := testPacket{layer: tun.Ethernet, payload: 100}
	f, m := p.frame()
	got, err := segments(f, p.layer, m, 1500)
	if err != nil || len(got) != 1 {
		t.Fatalf("%d frames, %v, want 1", len(got), err)
	}
	checkPacket(t, got[0], p.layer)

	// A frame that needs nothing is not touched, whatever is in it.
	for _, f := range [][]byte{{}, {1, 2, 3}, bytes.Repeat([]byte{0x45}, 60)} {
		got, err := segments(f, tun.IP, tun.Meta{}, 1500)
		if err != nil || len(got) != 1 || !bytes.Equal(got[0], f) {
			t.Errorf("%x became %x, %v", f, got, err)
		}
	}
}

func TestSegmentTooLong(t *testing.T) {
	p := testPacket{layer: tun.Ethernet, vlan: true, payload: 1460}
	for mtu, want := range map[int]error{1500: nil, 1499: tun.ErrTooLong} {
		f, m := p.frame()
		if _, err := segments(f, p.layer, m, mtu); !errors.Is(err, want) {
			t.Errorf("plain, mtu %d: %v, want %v", mtu, err, want)
		}
		big := p
		big.payload = 5000
		f, m = big.frame()
		m.GSO, m.GSOSize = tun.GSOTCP4, 1460
		got, err := segments(f, p.layer, m, mtu)
		if !errors.Is(err, want) || want != nil && len(got) != 0 {
			t.Errorf("GSO, mtu %d: %v after %d segments, want %v", mtu, err, len(got), want)
		}
	}
}

func TestSegmentLimit(t *testing.T) {
	for size, ok := range map[int]bool{tun.MaxSegments: true, tun.MaxSegments + 1: false} {
		f, m := testPacket{layer: tun.IP, payload: size * 2}.frame()
		m.GSO, m.GSOSize = tun.GSOTCP4, 2
		got, err := segments(f, tun.IP, m, 1500)
		if ok != (err == nil) || ok && len(got) != size {
			t.Errorf("%d segments: got %d, %v", size, len(got), err)
		}
	}
}

func TestSegmentEmitError(t *testing.T) {
	f, m := testPacket{layer: tun.IP, payload: 3000}.frame()
	m.GSO, m.GSOSize = tun.GSOTCP4, 1000
	n, stop := 0, errors.New("stop")
	err := tun.Segment(f, tun.IP, m, 1500, func([]byte) error {
		if n++; n == 2 {
			return stop
		}
		return nil
	})
	if n != 2 || !errors.Is(err, stop) {
		t.Errorf("%d calls, %v, want 2 and the error of emit", n, err)
	}
}

func TestSegmentRefuses(t *testing.T) {
	type change = func(f []byte, m *tun.Meta) []byte
	v4 := testPacket{layer: tun.IP, payload: 3000, flags: flagACK}
	v6 := testPacket{layer: tun.IP, src: "2001:db8::1", dst: "2001:db8::2", destOpts: true, payload: 3000}
	udp := testPacket{layer: tun.IP, proto: protoUDP, payload: 3000}
	for name, tt := range map[string]struct {
		p      testPacket
		change change
		want   string
	}{
		"UDP fragmentation":  {udp, func(f []byte, m *tun.Meta) []byte { m.GSO = 3; return f }, "gso_type 3 is not supported"},
		"unknown type":       {v4, func(f []byte, m *tun.Meta) []byte { m.GSO = 99; return f }, "not supported"},
		"TCP6 on IPv4":       {v4, func(f []byte, m *tun.Meta) []byte { m.GSO = tun.GSOTCP6; return f }, "IP version 4"},
		"TCP4 on IPv6":       {v6, func(f []byte, m *tun.Meta) []byte { m.GSO = tun.GSOTCP4; return f }, "IP version 6"},
		"TCP4 on UDP":        {udp, func(f []byte, m *tun.Meta) []byte { m.GSO = tun.GSOTCP4; return f }, "protocol 17"},
		"UDP on TCP":         {v4, func(f []byte, m *tun.Meta) []byte { m.GSO = tun.GSOUDP; return f }, "protocol 6"},
		"size 0":             {v4, func(f []byte, m *tun.Meta) []byte { m.GSOSize = 0; return f }, "gso_size 0"},
		"csum_start":         {v4, func(f []byte, m *tun.Meta) []byte { m.CsumStart = 24; return f }, "csum_start 24"},
		"first fragment":     {v4, func(f []byte, _ *tun.Meta) []byte { f[6] = 0x20; return f }, "fragment"},
		"TCP header short":   {v4, func(f []byte, _ *tun.Meta) []byte { f[32] = 0x40; return f }, "TCP header length 16"},
		"TCP header long":    {v4, func(f []byte, _ *tun.Meta) []byte { f[3], f[2], f[32] = 48, 0, 0xf0; return f[:48] }, "TCP header length 60"},
		"no TCP header":      {v4, func(f []byte, _ *tun.Meta) []byte { f[3], f[2] = 39, 0; return f[:39] }, "no TCP header"},
		"no UDP header":      {udp, func(f []byte, _ *tun.Meta) []byte { f[3], f[2] = 27, 0; return f[:27] }, "no UDP header"},
		"SYN":                {v4, func(f []byte, _ *tun.Meta) []byte { f[33] |= flagSYN; return f }, "SYN"},
		"RST":                {v4, func(f []byte, _ *tun.Meta) []byte { f[33] |= flagRST; return f }, "RST"},
		"IPv4 longer":        {v4, func(f []byte, _ *tun.Meta) []byte { return f[:2000] }, "total length"},
		"IPv6 longer":        {v6, func(f []byte, _ *tun.Meta) []byte { return f[:2000] }, "payload length"},
		"IPv6 short":         {v6, func(f []byte, _ *tun.Meta) []byte { return f[:39] }, "no IPv6 header"},
		"extension cut":      {v6, func(f []byte, _ *tun.Meta) []byte { f[4], f[5] = 0, 7; return f[:47] }, "extension header 60"},
		"extension too long": {v6, func(f []byte, _ *tun.Meta) []byte { f[4], f[5], f[41] = 0, 60, 255; return f[:100] }, "extension header 60"},
		"IPv6 fragment":      {v6, func(f []byte, _ *tun.Meta) []byte { f[6] = 44; f[42], f[43] = 0, 1; return f }, "fragment"},
		"routing header":     {v6, func(f []byte, _ *tun.Meta) []byte { f[6] = 43; f[43] = 1; return f }, "routing header"},
		"extensions":         {v6, manyExtensions, "more than 8 IPv6 extension headers"},
	} {
		f, m := tt.p.frame()
		m.GSO, m.GSOSize = tt.p.gso(), 1000
		got, err := segments(tt.change(f, &m), tt.p.layer, m, 1500)
		if err == nil || !strings.Contains(err.Error(), tt.want) || len(got) != 0 {
			t.Errorf("%s: %v after %d segments, want an error with %q", name, err, len(got), tt.want)
		}
	}
}

// manyExtensions makes one extension header nine.
func manyExtensions(f []byte, m *tun.Meta) []byte {
	ext := []byte{60, 0, 1, 4, 0, 0, 0, 0}
	f = slices.Insert(f, 40, bytes.Repeat(ext, 8)...)
	binary.BigEndian.PutUint16(f[4:], uint16(len(f)-40))
	m.CsumStart += 64
	return f
}

// FuzzSegment feeds Segment and Complete what a hostile neighbour may send.
func FuzzSegment(f *testing.F) {
	for _, p := range packets(100) {
		frame, m := p.frame()
		f.Add(frame, p.layer == tun.Ethernet, uint8(m.Flags), uint8(p.gso()), uint16(30), m.CsumStart, m.CsumOffset, uint16(1500))
		f.Add(frame[:60], p.layer == tun.Ethernet, uint8(m.Flags), uint8(0), uint16(0), m.CsumStart, m.CsumOffset, uint16(1500))
		f.Add(frame, p.layer == tun.Ethernet, uint8(0), uint8(p.gso()|0x80), uint16(40), m.CsumStart, m.CsumOffset, uint16(100))
	}
	v6 := testPacket{layer: tun.IP, src: "2001:db8::1", dst: "2001:db8::2", destOpts: true, payload: 100}
	frame, m := v6.frame()
	f.Add(manyExtensions(frame, &m), false, uint8(1), uint8(4), uint16(10), m.CsumStart, m.CsumOffset, uint16(1500))
	f.Add([]byte{0x45}, false, uint8(1), uint8(1), uint16(1), uint16(0), uint16(0), uint16(0))

	f.Fuzz(func(t *testing.T, frame []byte, ethernet bool, flags, gso uint8, size, start, offset, mtu uint16) {
		if len(frame) > tun.MaxFrame {
			return
		}
		layer := tun.IP
		if ethernet {
			layer = tun.Ethernet
		}
		m := tun.Meta{Flags: tun.Flags(flags), GSO: tun.GSO(gso), GSOSize: size, CsumStart: start, CsumOffset: offset}
		_ = tun.NewFrame(frame, layer)
		whole := bytes.Clone(frame)
		got, err := segments(frame, layer, m, int(mtu))
		if err != nil && len(got) > 0 {
			t.Fatalf("error after %d segments: %v", len(got), err)
		}
		if err != nil || m.GSO&^0x80 == tun.GSONone {
			return
		}
		if len(got) > tun.MaxSegments {
			t.Fatalf("%d segments", len(got))
		}
		var all []byte
		for _, s := range got {
			c := checkPacket(t, s, layer)
			if c.ipLen > int(mtu) {
				t.Fatalf("packet of %d octets, mtu %d", c.ipLen, mtu)
			}
			all = append(all, c.payload...)
		}
		if !bytes.Contains(whole, all) {
			t.Fatal("the payload changed")
		}
	})
}

func BenchmarkSegment(b *testing.B) {
	f, m := testPacket{layer: tun.IP, payload: 65000}.frame()
	m.GSO, m.GSOSize = tun.GSOTCP4, 1448
	b.SetBytes(int64(len(f)))
	b.ReportAllocs()
	for b.Loop() {
		if err := tun.Segment(f, tun.IP, m, 1500, func([]byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
