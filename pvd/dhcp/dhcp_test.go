package dhcp

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("\x3f"+strings.Repeat("a", 63), 3)
	tests := []struct {
		in                string
		plain, compressed string // joined by spaces; empty: an error
	}{
		{"\x01a\x02bC\x00", "a.bc", "a.bc"},
		{"\x01a\x00\x01b\x00", "a b", "a b"},
		{"\x01a\x00\x01b\xc0\x00", "", "a b.a"},
		{"\x01a\x00\xc0\x00", "", "a a"},
		{"\x01a\xc0\x00", "", ""},     // a loop
		{"\xc0\x00", "", ""},          // to itself
		{"\xc0\x02\x01a\x00", "", ""}, // forward
		{"\x01a\x00\xc0", "", ""},
		{"\x01a", "", ""},
		{"\x05a\x00", "", ""},
		{"\x00", "", ""}, // the root
		{"\x40a\x00", "", ""},
		{"\x03a.b\x00", "", ""},
		{"\x03a\nb\x00", "", ""},
		{"\x02\xc3\xa4\x00", "", ""},
		{long + "\x3d" + strings.Repeat("b", 61) + "\x00", strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 61), strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("b", 61)},
		{long + "\x3e" + strings.Repeat("b", 62) + "\x00", "", ""},
	}
	for _, tt := range tests {
		for compressed, want := range map[bool]string{false: tt.plain, true: tt.compressed} {
			got, err := ParseNames([]byte(tt.in), compressed)
			if strings.Join(got, " ") != want || (err != nil) != (want == "") {
				t.Errorf("%q, compressed %v: %q, %v", tt.in, compressed, got, err)
			}
		}
	}
	many, err := ParseNames(bytes.Repeat([]byte("\x01a\x00"), MaxNames+5), true)
	if len(many) != MaxNames || err != nil {
		t.Errorf("%d names, %v", len(many), err)
	}
	// Each name a pointer to the one before: a chain, and a cost that grows.
	b := []byte("\x01a\x00")
	for i := range 40 {
		at := max(0, 3+2*(i-1))
		b = append(b, 0xc0|byte(at>>8), byte(at))
	}
	if _, err := ParseNames(b, true); err == nil {
		t.Error("a chain of pointers of any length")
	}
}

func TestPortal(t *testing.T) {
	for in, ok := range map[string]bool{
		"https://example.com/api?x=1":              true,
		"https://example.com/\x00\x00":             true,
		"https://[2001:db8::1]:8443/":              true,
		Unrestricted:                               true,
		"":                                         false,
		"http://example.com/":                      false,
		"https:///path":                            false,
		"https://u:p@example.com/":                 false,
		"https://example.com/\n":                   false,
		"https://ex\x00ample.com":                  false,
		"javascript:alert(1)":                      false,
		"https://a/" + strings.Repeat("a", maxURI): false,
	} {
		got, err := ParsePortal([]byte(in))
		if (err == nil) != ok || ok && got != strings.TrimRight(in, "\x00") {
			t.Errorf("%.60q: %q, %v", in, got, err)
		}
	}
}

func TestResolvers(t *testing.T) {
	name := "\x03dns\x00"
	alpn := "\x00\x01\x00\x03\x02h2"
	a4, a6 := "\xc0\x00\x02\x05", string(netip.MustParseAddr("2001:db8::5").AsSlice())
	four := func(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }
	tests := []struct {
		what, v4, v6 string
		ok           bool
	}{
		{"whole", "\x00\x01\x05" + name + "\x04" + a4 + alpn, "\x00\x01\x00\x05" + name + "\x00\x10" + a6 + alpn, true},
		{"name only", "\x00\x01\x05" + name, "\x00\x01\x00\x05" + name, true},
		{"alias", "\x00\x00\x05" + name, "\x00\x00\x00\x05" + name, true},
		{"alias with addresses", "\x00\x00\x05" + name + "\x04" + a4 + alpn, "\x00\x00\x00\x05" + name + "\x00\x10" + a6 + alpn, false},
		{"no name", "\x00\x01\x00\x04" + a4 + alpn, "\x00\x01\x00\x00\x00\x10" + a6 + alpn, false},
		{"name too long for it", "\x00\x01\x09" + name, "\x00\x01\x00\x09" + name, false},
		{"two names", "\x00\x01\x0a" + name + name, "\x00\x01\x00\x0a" + name + name, false},
		{"addresses cut short", "\x00\x01\x05" + name + "\x04" + a4[:3], "\x00\x01\x00\x05" + name + "\x00\x10" + a6[:15], false},
		{"part of an address", "\x00\x01\x05" + name + "\x03" + a4[:3] + alpn, "\x00\x01\x00\x05" + name + "\x00\x0f" + a6[:15] + alpn, false},
		{"no address", "\x00\x01\x05" + name + "\x00" + alpn, "\x00\x01\x00\x05" + name + "\x00\x00" + alpn, false},
		{"multicast", "\x00\x01\x05" + name + "\x04\xe0\x00\x00\x01" + alpn, "\x00\x01\x00\x05" + name + "\x00\x10\xff" + a6[1:] + alpn, false},
		{"no alpn", "\x00\x01\x05" + name + "\x04" + a4 + "\x00\x03\x00\x02\x00\x35", "\x00\x01\x00\x05" + name + "\x00\x10" + a6 + "\x00\x03\x00\x02\x00\x35", true}, // not among the checks of RFC 9463 section 3.1.8
		{"hint", "\x00\x01\x05" + name + "\x04" + a4 + alpn + "\x00\x04\x00\x04" + a4, "\x00\x01\x00\x05" + name + "\x00\x10" + a6 + alpn + "\x00\x06\x00\x10" + a6, false},
		{"out of order", "\x00\x01\x05" + name + "\x04" + a4 + alpn + alpn, "\x00\x01\x00\x05" + name + "\x00\x10" + a6 + alpn + alpn, false},
		{"parameter cut short", "\x00\x01\x05" + name + "\x04" + a4 + alpn + "\x00", "\x00\x01\x00\x05" + name + "\x00\x10" + a6 + alpn + "\x00", false},
	}
	good := tests[0].v4
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			if r, err := ParseResolver6([]byte(tt.v6)); (err == nil) != tt.ok || tt.ok && r.Name != "dns" {
				t.Errorf("v6: %+v, %v", r, err)
			}
			// A bad one beside a good one.
			rs, problems := ParseResolver4([]byte(four(tt.v4) + four(good)))
			want := 1
			if tt.ok {
				want = 2
			}
			if len(rs) != want || len(problems) != 2-want {
				t.Errorf("v4: %+v, %v", rs, problems)
			}
		})
	}
	if rs, problems := ParseResolver4([]byte(strings.Repeat(four(good), 2*maxResolvers))); len(rs) != maxResolvers || len(problems) != maxResolvers {
		t.Errorf("%d resolvers, %d problems", len(rs), len(problems))
	}
	r, err := ParseResolver4([]byte(four("\x00\x01\x05" + name + "\xfc" + strings.Repeat(a4, 63) + alpn)))
	if err != nil || len(r[0].Addrs) != maxResolverAddrs {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestIdentifiers(t *testing.T) {
	secret := []byte("secret")
	duid := NewDUID(secret, "corp", "eth0")
	if len(duid) != 18 || !bytes.Equal(duid, NewDUID(secret, "corp", "eth0")) || duid[8]>>4 != 8 || duid[10]>>6 != 2 {
		t.Errorf("DUID %x", duid)
	}
	for _, other := range [][]byte{
		NewDUID(secret, "home", "eth0"), NewDUID(secret, "corp", "eth1"), NewDUID([]byte("other"), "corp", "eth0"),
		NewDUID(secret, "corpe", "th0"),
	} {
		same := 0
		for i := 2; i < 18; i++ {
			if duid[i] == other[i] {
				same++
			}
		}
		if same > 4 { // the version's digit is one; chance gives few
			t.Errorf("%x and %x have %d octets in common", duid, other, same)
		}
	}
	iaid := NewIAID(secret, "corp", "eth0")
	id := ClientID4(duid, iaid)
	if len(id) != 23 || id[0] != 255 || !bytes.Equal(id[5:], duid) || NewIAID(secret, "home", "eth0") == iaid {
		t.Errorf("client identifier %x", id)
	}
}

func TestAfter(t *testing.T) {
	if After(time.Hour, 60) != time.Hour+time.Minute || After(time.Hour, 0xffffffff) != Never || After(0, 0xfffffffe) == Never {
		t.Error("a moment is not what it should be")
	}
}

func FuzzNames(f *testing.F) {
	f.Add([]byte("\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04"), true)
	f.Add([]byte("\x01a\xc0\x00"), true)
	f.Add([]byte("\x01a\x00"), false)
	f.Fuzz(func(t *testing.T, b []byte, compressed bool) {
		names, err := ParseNames(b, compressed)
		if err != nil {
			return
		}
		for _, n := range names {
			if c, err := CheckName(n); err != nil || c != n {
				t.Errorf("%q: %q, %v", n, c, err)
			}
		}
	})
}

func FuzzResolvers(f *testing.F) {
	f.Add([]byte("\x00\x13\x00\x01\x05\x03dns\x00\x04\xc0\x00\x02\x05\x00\x01\x00\x02\x01h"))
	f.Add([]byte("\x00\x01\x00\x05\x03dns\x00\x00\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01\x00\x02\x01h"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rs, _ := ParseResolver4(b)
		if r, err := ParseResolver6(b); err == nil {
			rs = append(rs, r)
		}
		for _, r := range rs {
			if _, err := CheckName(r.Name); err != nil || len(r.Addrs) > maxResolverAddrs || len(r.Params) > 0 && len(r.Addrs) == 0 {
				t.Errorf("%+v", r)
			}
		}
	})
}
