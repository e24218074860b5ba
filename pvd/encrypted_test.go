package pvd_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

// Service parameters in the format of RFC 9460 section 2.2.
func TestParseService(t *testing.T) {
	for _, tt := range []struct {
		name, params string
		want         pvd.EncryptedServer
		err          string
	}{
		{name: "none"},
		{
			name:   "all that is known",
			params: "\x00\x01\x00\x07\x03dot\x02h2\x00\x03\x00\x02\x20\xfb\x00\x07\x00\x10/dns-query{?dns}",
			want:   pvd.EncryptedServer{ALPN: []string{"dot", "h2"}, Port: 8443, Path: "/dns-query{?dns}"},
		},
		{
			name:   "others are passed over",
			params: "\x00\x01\x00\x04\x03dot\x00\x09\x00\x01x\xff\x00\x00\x00",
			want:   pvd.EncryptedServer{ALPN: []string{"dot"}},
		},
		{
			name:   "mandatory and known",
			params: "\x00\x00\x00\x04\x00\x01\x00\x03\x00\x01\x00\x04\x03dot\x00\x03\x00\x02\x00\x01",
			want:   pvd.EncryptedServer{ALPN: []string{"dot"}, Port: 1},
		},
		{name: "mandatory and not known", params: "\x00\x00\x00\x02\x00\x09\x00\x01\x00\x04\x03dot\x00\x09\x00\x00", err: "parameter 9 is mandatory"},
		{name: "mandatory of one octet", params: "\x00\x00\x00\x01\x00", err: "mandatory"},
		{name: "cut short", params: "\x00\x01\x00\x05\x03dot", err: "cut short"},
		{name: "a head cut short", params: "\x00\x01\x00", err: "cut short"},
		{name: "out of order", params: "\x00\x03\x00\x02\x00\x01\x00\x01\x00\x04\x03dot", err: "out of order"},
		{name: "twice", params: "\x00\x03\x00\x02\x00\x01\x00\x03\x00\x02\x00\x01", err: "out of order"},
		{name: "alpn cut short", params: "\x00\x01\x00\x04\x04dot", err: "alpn cut short"},
		{name: "an empty alpn", params: "\x00\x01\x00\x01\x00", err: "alpn cut short"},
		{name: "a port of one octet", params: "\x00\x03\x00\x01\x01", err: "port of 1 octets"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s pvd.EncryptedServer
			err := s.ParseService([]byte(tt.params))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(s, tt.want) {
				t.Errorf("%+v, %v; want %+v", s, err, tt.want)
			}
		})
	}
}

func FuzzParseService(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x07\x03dot\x02h2\x00\x03\x00\x02\x20\xfb\x00\x07\x00\x10/dns-query{?dns}"))
	f.Add([]byte("\x00\x00\x00\x02\x00\x09"))
	f.Fuzz(func(t *testing.T, params []byte) {
		var s pvd.EncryptedServer
		if err := s.ParseService(params); err == nil && len(params) == 0 && s.ALPN != nil {
			t.Error("something from nothing")
		}
		for _, a := range s.ALPN {
			if a == "" {
				t.Error("an empty protocol")
			}
		}
	})
}

// The servers of a PvD are the PvD's own: what was handed over, and what was handed out, can
// be changed.
func TestEncryptedDNSIsCopied(t *testing.T) {
	given := []pvd.EncryptedServer{{Name: "dns.example", ALPN: []string{"dot"}}}
	e := pvd.EncryptedDNS.With(given)
	given[0].ALPN[0] = "changed"
	got := e.Value().([]pvd.EncryptedServer)
	if got[0].ALPN[0] != "dot" {
		t.Error("the element has changed")
	}
	got[0].ALPN[0] = "changed"
	if e.Value().([]pvd.EncryptedServer)[0].ALPN[0] != "dot" {
		t.Error("the element has changed")
	}
}
