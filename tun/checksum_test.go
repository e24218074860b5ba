package tun_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/tun"
)

// packets are packets of every shape that is known here.
func packets(payload int) map[string]testPacket {
	return map[string]testPacket{
		"ip/tcp4":          {layer: tun.IP, payload: payload},
		"ip/tcp6":          {layer: tun.IP, src: "2001:db8::1", dst: "2001:db8::2", payload: payload},
		"eth/tcp4 options": {layer: tun.Ethernet, options: 12, ip4opts: 8, payload: payload},
		"eth/tcp6 destopt": {layer: tun.Ethernet, src: "fe80::1", dst: "fe80::2", destOpts: true, options: 20, payload: payload},
		"vlan/tcp4":        {layer: tun.Ethernet, vlan: true, payload: payload},
		"ip/udp4":          {layer: tun.IP, proto: protoUDP, payload: payload},
		"eth/udp6":         {layer: tun.Ethernet, proto: protoUDP, src: "2001:db8::1", dst: "2001:db8::2", payload: payload},
	}
}

func TestComplete(t *testing.T) {
	for _, payload := range []int{0, 1, 2, 7, 8, 31, 32, 33, 1000, 1447, 65000} {
		for name, p := range packets(payload) {
			f, m := p.frame()
			if err := tun.Complete(f, p.layer, &m); err != nil {
				t.Fatalf("%s, %d octets: %v", name, payload, err)
			}
			if m.Flags != 0 || m.CsumStart != 0 || m.CsumOffset != 0 {
				t.Errorf("%s: Meta is still %+v", name, m)
			}
			checkPacket(t, f, p.layer)
		}
	}
}

// All contents of 16 bits, so that every sum occurs: 0 above all.
func TestCompleteUDPNeverZero(t *testing.T) {
	p := testPacket{layer: tun.IP, proto: protoUDP, payload: 2}
	clean, meta := p.frame()
	mangled := 0
	for v := range 1 << 16 {
		f, m := bytes.Clone(clean), meta
		f[28], f[29] = byte(v>>8), byte(v)
		if err := tun.Complete(f, p.layer, &m); err != nil {
			t.Fatal(err)
		}
		if f[26] == 0xff && f[27] == 0xff {
			mangled++
		}
		checkPacket(t, f, p.layer)
	}
	if mangled == 0 {
		t.Error("the sum that is 0 did not occur")
	}
}

func TestCompletePadding(t *testing.T) {
	p := testPacket{layer: tun.Ethernet, payload: 1}
	f, m := p.frame()
	padded := append(bytes.Clone(f), 0xaa, 0xbb, 0xcc) // Ethernet's padding may be anything
	if err := tun.Complete(padded, p.layer, &m); err != nil {
		t.Fatal(err)
	}
	checkPacket(t, padded[:len(f)], p.layer)
}

func TestCompleteNothingToDo(t *testing.T) {
	m := tun.Meta{Flags: tun.DataValid, GSO: tun.GSOTCP4}
	want := m
	if err := tun.Complete([]byte{1, 2, 3}, tun.IP, &m); err != nil || m != want {
		t.Errorf("got %+v, %v, want nothing done", m, err)
	}
}

func TestCompleteRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(f []byte, m *tun.Meta) []byte
		want   string
	}{
		"empty":            {func([]byte, *tun.Meta) []byte { return nil }, "empty"},
		"short Ethernet":   {func(f []byte, _ *tun.Meta) []byte { return f[:13] }, "no Ethernet header"},
		"short IPv4":       {func(f []byte, _ *tun.Meta) []byte { return f[:33] }, "no IPv4 header"},
		"cut":              {func(f []byte, _ *tun.Meta) []byte { return f[:len(f)-1] }, "total length"},
		"header length":    {func(f []byte, _ *tun.Meta) []byte { f[14] = 0x44; return f }, "header length 16"},
		"fragment":         {func(f []byte, _ *tun.Meta) []byte { f[20] = 0x20; return f }, "fragment"},
		"start in header":  {func(f []byte, m *tun.Meta) []byte { m.CsumStart = 33; return f }, "inside the headers"},
		"start at the end": {func(f []byte, m *tun.Meta) []byte { m.CsumStart = uint16(len(f)); return f }, "past the packet's end"},
		"offset one over":  {func(f []byte, m *tun.Meta) []byte { m.CsumOffset = uint16(len(f) - 34 - 1); return f }, "past the packet's end"},
		"offset huge":      {func(f []byte, m *tun.Meta) []byte { m.CsumOffset = 0xffff; return f }, "past the packet's end"},
	} {
		f, m := testPacket{layer: tun.Ethernet, payload: 10}.frame()
		f = tt.change(f, &m)
		frame, meta := bytes.Clone(f), m
		err := tun.Complete(f, tun.Ethernet, &m)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, tt.want)
		}
		if !bytes.Equal(f, frame) || m != meta {
			t.Errorf("%s: frame or Meta changed", name)
		}
	}
	f, m := testPacket{layer: tun.IP, payload: 10}.frame()
	f[0] = 0x50
	if err := tun.Complete(f, tun.IP, &m); err == nil || !strings.Contains(err.Error(), "IP version 5") {
		t.Errorf("IP version 5: %v", err)
	}
}

// What the unrolled sum gets wrong, if anything, it gets wrong at some length or carry.
func TestChecksumAgainstNaive(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		p := testPacket{layer: tun.IP, payload: rng.IntN(200)}
		f, m := p.frame()
		for i := 40; i < len(f); i++ {
			f[i] = byte(rng.Uint32())
			if rng.IntN(2) == 0 {
				f[i] = 0xff
			}
		}
		if err := tun.Complete(f, p.layer, &m); err != nil {
			t.Fatal(err)
		}
		checkPacket(t, f, p.layer)
	}
}

func BenchmarkComplete(b *testing.B) {
	f, meta := testPacket{layer: tun.IP, payload: 65000}.frame()
	b.SetBytes(int64(len(f)))
	b.ReportAllocs()
	for b.Loop() {
		m := meta
		if err := tun.Complete(f, tun.IP, &m); err != nil {
			b.Fatal(err)
		}
	}
}
