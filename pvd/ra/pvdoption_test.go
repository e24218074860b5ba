package ra_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// figure2 is the example of RFC 8801 section 3.1, its two options with values of ours.
const figure2 = `15 0c 8001 007b 076578616d706c65036f726700 0000000000
	19 05 0000 00000258 20010db8cafe00000000000000000053 20010db8f00d00000000000000000053
	03 04 40 c0 00000e10 00000708 00000000 20010db8f00d00000000000000000000`

func TestPvDOptionFigure2(t *testing.T) {
	want := ra.PvDOption{ID: "example.org", HTTP: true, Delay: 1, Sequence: 123, Options: []ra.Option{
		ra.RDNSS{
			Servers:  []netip.Addr{netip.MustParseAddr("2001:db8:cafe::53"), netip.MustParseAddr("2001:db8:f00d::53")},
			Lifetime: 10 * time.Minute,
		},
		pio(netip.MustParsePrefix("2001:db8:f00d::/64"), time.Hour, 30*time.Minute),
	}}
	b := octets(t, figure2)
	a, faults, err := ra.ParseAdvertisement(withOctets(t, routerA, b...).Message)
	if err != nil || len(faults) > 0 || len(a.Options) != 1 || !reflect.DeepEqual(a.Options[0], want) {
		t.Fatalf("got %v, faults %v, error %v", a.Options, faults, err)
	}
	p := packet(t, routerA, header(0, want))
	if got := p.Message[16:]; string(got) != string(b) {
		t.Errorf("encoded %x\nwant    %x", got, b)
	}
}

// TestPvDOptionPadding has names whose option header ends at, and next to, 8 octets.
func TestPvDOptionPadding(t *testing.T) {
	for id, size := range map[pvd.ID]int{"example.org": 24, "cafe.example.com": 24, "foo.example.org": 24, "cafes.example.com": 32} {
		inner := ra.Header{Lifetime: 600 * time.Second, HopLimit: 7, Managed: true, Other: true, Preference: pvd.High}
		for _, h := range []*ra.Header{nil, &inner} {
			want := ra.PvDOption{ID: id, Legacy: true, Header: h}
			p := packet(t, routerA, header(0, want))
			if n := len(p.Message) - 16; h == nil && n != size || h != nil && n != size+16 {
				t.Errorf("%s: %d octets", id, n)
			}
			a, _, err := ra.ParseAdvertisement(p.Message)
			if err != nil || !reflect.DeepEqual(a.Options, []ra.Option{want}) {
				t.Errorf("%s: got %v %v, want %v", id, a.Options, err, want)
			}
		}
	}
}

// TestPvDOptionTolerance changes what a receiver has to ignore.
func TestPvDOptionTolerance(t *testing.T) {
	// H, L and R; example.org; a header.
	const option = "15 05 e002 0001 076578616d706c65036f726700 0000000000 86 00 0000 40 00 0258 00000000 00000000"
	parse := func(change func(b []byte)) ra.PvDOption {
		b := octets(t, option)
		change(b)
		a, faults, err := ra.ParseAdvertisement(withOctets(t, routerA, b...).Message)
		if err != nil || len(faults) > 0 || len(a.Options) != 1 {
			t.Fatalf("%v %v %v", a, faults, err)
		}
		return a.Options[0].(ra.PvDOption)
	}
	want := parse(func([]byte) {})
	if want.Header == nil || want.Header.Lifetime != 600*time.Second || want.Header.HopLimit != 64 || !want.HTTP || !want.Legacy || want.Delay != 2 {
		t.Fatalf("got %+v", want)
	}
	for name, change := range map[string]func(b []byte){
		"reserved flags":  func(b []byte) { b[2] |= 0x1f; b[3] |= 0xf0 },
		"upper case":      func(b []byte) { copy(b[7:], "ExAmPlE") },
		"padding":         func(b []byte) { copy(b[19:], "\xff\xff\xff\xff\xff") },
		"header type":     func(b []byte) { b[24] = 1 },
		"header code":     func(b []byte) { b[25] = 1 },
		"header checksum": func(b []byte) { b[26], b[27] = 1, 1 },
	} {
		if got := parse(change); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

// TestPvDOptionMalformed has PvD options that can not be used: the advertisement is that
// of the implicit PvD, as hosts see it that do not know the option.
func TestPvDOptionMalformed(t *testing.T) {
	const head = "15 03 0000 0000"
	for name, option := range map[string]string{
		"too short for a name":    "15 01 0000 0000 0161",
		"no name":                 head + "00" + strings.Repeat("00", 17),
		"name without end":        head + "11" + strings.Repeat("61", 17),
		"label behind the end":    head + "3f" + strings.Repeat("61", 17),
		"compressed":              head + "0161 c006" + strings.Repeat("00", 14),
		"a space in the name":     head + "0361206200" + strings.Repeat("00", 13),
		"a dot in a label":        head + "03612e6200" + strings.Repeat("00", 13),
		"R without header":        "15 03 2000 0000 0161 00" + strings.Repeat("00", 15),
		"header cut":              "15 04 2000 0000 01610000000000000000" + strings.Repeat("00", 8),
		"nested option too long":  "15 03 0000 0000 01610000000000000000 c8 02 0000 0000",
		"nested options cut":      "15 04 0000 0000 0161000000000000000000 0000 05 02 000005dc000000",
		"name of over 255 octets": "15 22 0000 0000" + strings.Repeat("3f"+strings.Repeat("61", 63), 4) + "0161 00 000000",
	} {
		b := octets(t, option)
		b = append(b, make([]byte, (8-len(b)%8)%8)...)
		b[1] = byte(len(b) / 8)
		if name == "nested options cut" || name == "nested option too long" {
			b = append(b[:16:16], 0xc8, 9, 0, 0, 0, 0, 0, 0)
			b[1] = 3
		}
		w := newWorld(t)
		p := withOctets(t, routerA, b...)
		w.take(p)
		if got := w.only().Key; got != (ra.Key{Router: routerA}) {
			t.Errorf("%s: PvD %s", name, got)
		}
		w.rejected("option 21")
	}
	t.Run("nested zero length", func(t *testing.T) {
		b := octets(t, "15 03 0000 0000 016100 00000000000000 c8 00 000000000000")
		w := newWorld(t)
		if err := w.Receive(0, withOctets(t, routerA, b...)); !invalid(err) {
			t.Errorf("error %v, want ErrInvalid", err)
		}
	})
}

// TestOnePvDOption has more than one, side by side and nested.
func TestOnePvDOption(t *testing.T) {
	first := octets(t, "15 02 4000 0000 0161 00 00000000000000")
	second := octets(t, "15 02 8000 0000 0162 00 00000000000000")
	w := newWorld(t)
	w.take(withOctets(t, routerA, append(first, second...)...))
	if p := w.only(); p.Key.ID != "a" || p.Option.HTTP || !p.Option.Legacy {
		t.Errorf("PvD %+v", p)
	}
	w.rejected("not the first PvD option")

	w = newWorld(t)
	nested := octets(t, "15 05 0000 0000 0161 00 00000000000000  15 02 8000 0000 0162 00 00000000000000  05 01 0000 000005dc")
	w.take(withOctets(t, routerA, nested...))
	if p := w.only(); p.Key.ID != "a" || p.Option.HTTP || p.MTU != 1500 {
		t.Errorf("PvD %+v", p)
	}
	w.rejected("a PvD option in a PvD option")
}
