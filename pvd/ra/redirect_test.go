package ra_test

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/pvdstack/pvdstack/pvd/ra"
)

var (
	ourAddr = netip.MustParseAddr("2001:db8:1::5")
	farAddr = netip.MustParseAddr("2001:db8:ff::1")
)

// redirected is a redirect on its way.
func redirected(t testing.TB, r ra.Redirect) ra.Packet {
	t.Helper()
	b, err := r.Append(nil, make([]byte, 100))
	if err != nil {
		t.Fatal(err)
	}
	return ra.Packet{Src: r.Router, Dst: r.Source, HopLimit: 255, Message: b}
}

func toRouterB() ra.Redirect {
	return ra.Redirect{Router: routerA, Source: ourAddr, Destination: farAddr, Target: routerB, MAC: macA}
}

// TestRedirectValidity breaks one rule of RFC 4861 section 8.1 or RFC 6980 at a time.
func TestRedirectValidity(t *testing.T) {
	tests := []struct {
		name  string
		ok    bool
		fault func(p *ra.Packet)
	}{
		{"none", true, func(*ra.Packet) {}},
		{"reserved field", true, func(p *ra.Packet) { p.Message[4] = 0xff }},
		{"no options", true, func(p *ra.Packet) { p.Message = p.Message[:40] }},
		{"unknown option", true, func(p *ra.Packet) { p.Message[40] = 250 }},
		{"an advertisement's option", true, func(p *ra.Packet) { p.Message[40] = 5 }},
		{"target outside every prefix", true, func(p *ra.Packet) { copy(p.Message[8:24], p.Message[24:40]) }},
		{"global source", false, func(p *ra.Packet) { p.Src = ourAddr }},
		{"unspecified source", false, func(p *ra.Packet) { p.Src = netip.IPv6Unspecified() }},
		{"IPv4 source", false, func(p *ra.Packet) { p.Src = netip.MustParseAddr("192.0.2.1") }},
		{"hop limit 254", false, func(p *ra.Packet) { p.HopLimit = 254 }},
		{"fragment", false, func(p *ra.Packet) { p.Fragmented = true }},
		{"code 1", false, func(p *ra.Packet) { p.Message[1] = 1 }},
		{"other type", false, func(p *ra.Packet) { p.Message[0] = 134 }},
		{"39 octets", false, func(p *ra.Packet) { p.Message = p.Message[:39] }},
		{"to a group's", false, func(p *ra.Packet) { p.Message[24] = 0xff }},
		{"global target", false, func(p *ra.Packet) { p.Message[8] = 0x20 }},
		{"zero-length option", false, func(p *ra.Packet) { p.Message[41] = 0 }},
		{"zero-length option behind", false, func(p *ra.Packet) { p.Message[49] = 0 }},
		{"last option cut", false, func(p *ra.Packet) { p.Message = p.Message[:len(p.Message)-8] }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := redirected(t, toRouterB())
			tt.fault(&p)
			r, err := ra.ParseRedirect(resum(p))
			if tt.ok != (err == nil) || err != nil && !invalid(err) {
				t.Errorf("%+v, error %v", r, err)
			}
			if err != nil && !reflect.DeepEqual(r, ra.Redirect{}) {
				t.Errorf("%+v of what is invalid", r)
			}
		})
	}
	for bit := range 16 {
		p := redirected(t, toRouterB())
		p.Message[2+bit/8] ^= 1 << (bit % 8)
		if _, err := ra.ParseRedirect(p); !invalid(err) {
			t.Errorf("checksum, bit %d: error %v", bit, err)
		}
	}
}

func TestRedirect(t *testing.T) {
	onLink := toRouterB()
	onLink.Target, onLink.MAC = farAddr, nil
	for _, want := range []ra.Redirect{toRouterB(), onLink} {
		p := redirected(t, want)
		got, err := ra.ParseRedirect(p)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
		if got.OnLink() != (want.Target == farAddr) {
			t.Errorf("%+v: on the link: %t", got, got.OnLink())
		}
	}
	// A hardware address of another kind of link is none.
	p := redirected(t, toRouterB())
	p.Message[41] = 2
	p.Message = append(p.Message[:40:40], append([]byte{2, 2}, make([]byte, 14)...)...)
	if r, err := ra.ParseRedirect(resum(p)); err != nil || r.MAC != nil {
		t.Errorf("%+v, %v", r, err)
	}
	// It is never longer than what every link carries, and quotes nothing in halves.
	for size, want := range map[int]int{0: 48, 7: 48, 8: 64, 1e4: 1240} {
		b, err := toRouterB().Append(nil, make([]byte, size))
		if err != nil || len(b) != want {
			t.Errorf("%d octets quoted: %d, want %d, %v", size, len(b), want, err)
		}
	}
	if b, err := (ra.Redirect{}).Append(nil, nil); err == nil {
		t.Errorf("no error, but %x", b)
	}
}

// FuzzRedirect decodes messages and, where that succeeds, has encoding and decoding give
// the same again.
func FuzzRedirect(f *testing.F) {
	f.Add(redirected(f, toRouterB()).Message)
	f.Add(redirected(f, ra.Redirect{Router: routerA, Source: ourAddr, Destination: farAddr, Target: farAddr}).Message)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 4 {
			return
		}
		p := resum(ra.Packet{Src: routerA, Dst: ourAddr, HopLimit: 255, Message: append([]byte(nil), b...)})
		r, err := ra.ParseRedirect(p)
		if err != nil {
			return
		}
		if again, err := ra.ParseRedirect(redirected(t, r)); err != nil || !reflect.DeepEqual(again, r) {
			t.Errorf("got %+v, %v, want %+v", again, err, r)
		}
	})
}
