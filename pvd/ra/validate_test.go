package ra_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/ra"
)

// TestValidity breaks one rule of RFC 4861 section 6.1.2 or RFC 6980 at a time.
func TestValidity(t *testing.T) {
	good := header(30*time.Minute, ra.MTU(1500), pio(prefix1, long, long))
	tests := []struct {
		name  string
		ok    bool
		fault func(p *ra.Packet)
	}{
		{"none", true, func(*ra.Packet) {}},
		{"to a unicast address", true, func(p *ra.Packet) { p.Dst = netip.MustParseAddr("fe80::1") }},
		{"reserved flags", true, func(p *ra.Packet) { p.Message[5] |= 0x07 }},
		{"unknown option", true, func(p *ra.Packet) { p.Message[16] = 250 }},
		{"no options", true, func(p *ra.Packet) { p.Message = p.Message[:16] }},
		{"global source", false, func(p *ra.Packet) { p.Src = netip.MustParseAddr("2001:db8::1") }},
		{"unspecified source", false, func(p *ra.Packet) { p.Src = netip.IPv6Unspecified() }},
		{"IPv4 source", false, func(p *ra.Packet) { p.Src = netip.MustParseAddr("192.0.2.1") }},
		{"no source", false, func(p *ra.Packet) { p.Src = netip.Addr{} }},
		{"hop limit 254", false, func(p *ra.Packet) { p.HopLimit = 254 }},
		{"hop limit 0", false, func(p *ra.Packet) { p.HopLimit = 0 }},
		{"fragment", false, func(p *ra.Packet) { p.Fragmented = true }},
		{"code 1", false, func(p *ra.Packet) { p.Message[1] = 1 }},
		{"other type", false, func(p *ra.Packet) { p.Message[0] = 133 }},
		{"15 octets", false, func(p *ra.Packet) { p.Message = p.Message[:15] }},
		{"empty", false, func(p *ra.Packet) { p.Message = nil }},
		{"zero-length option", false, func(p *ra.Packet) { p.Message[17] = 0 }},
		{"last option cut", false, func(p *ra.Packet) { p.Message = p.Message[:len(p.Message)-8] }},
		{"octet behind", false, func(p *ra.Packet) { p.Message = append(p.Message, 0) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			p := packet(t, routerA, good)
			tt.fault(&p)
			if len(p.Message) > 4 && p.Src.IsValid() {
				resum(p)
			}
			err := w.Receive(0, p)
			if tt.ok {
				if err != nil {
					t.Fatal(err)
				}
				w.only()
				return
			}
			if !invalid(err) {
				t.Errorf("error %v, want ErrInvalid", err)
			}
			if n := len(w.Snapshot().PvDs); n != 0 {
				t.Errorf("%d PvDs", n)
			}
			if err != nil {
				w.rejected(err.Error())
			}
		})
	}
	t.Run("checksum", func(t *testing.T) {
		for bit := range 16 {
			p := packet(t, routerA, good)
			p.Message[2+bit/8] ^= 1 << (bit % 8)
			if err := newWorld(t).Receive(0, p); !invalid(err) {
				t.Errorf("bit %d: error %v", bit, err)
			}
		}
	})
}

func TestSolicitationValidity(t *testing.T) {
	src := netip.MustParseAddr("fe80::1")
	solicit := func(src netip.Addr) ra.Packet {
		return ra.Packet{Src: src, Dst: ra.AllRouters, HopLimit: 255, Message: ra.AppendSolicitation(nil, src, macA)}
	}
	if m := solicit(src).Message; len(m) != 16 || m[8] != 1 {
		t.Errorf("solicitation %x: no link-layer address", m)
	}
	if m := solicit(netip.IPv6Unspecified()).Message; len(m) != 8 {
		t.Errorf("solicitation from :: %x: not 8 octets", m)
	}
	for _, s := range []netip.Addr{src, netip.IPv6Unspecified()} {
		if err := solicit(s).CheckSolicitation(); err != nil {
			t.Errorf("from %s: %v", s, err)
		}
	}
	for name, fault := range map[string]func(p *ra.Packet){
		"hop limit":   func(p *ra.Packet) { p.HopLimit = 64 },
		"fragment":    func(p *ra.Packet) { p.Fragmented = true },
		"code":        func(p *ra.Packet) { p.Message[1] = 1 },
		"short":       func(p *ra.Packet) { p.Message = p.Message[:7] },
		"zero length": func(p *ra.Packet) { p.Message[9] = 0 },
		":: with MAC": func(p *ra.Packet) { p.Src = netip.IPv6Unspecified() },
	} {
		p := solicit(src)
		fault(&p)
		if err := resum(p).CheckSolicitation(); !invalid(err) {
			t.Errorf("%s: error %v, want ErrInvalid", name, err)
		}
	}
	p := solicit(src)
	p.Message[3]++
	if err := p.CheckSolicitation(); !invalid(err) {
		t.Errorf("checksum: error %v, want ErrInvalid", err)
	}
}
