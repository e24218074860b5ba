package pvd_test

import (
	"net/netip"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

// TestHasDNS holds that a server of either kind is one to ask.
func TestHasDNS(t *testing.T) {
	r := pvd.NewRegistry(pvd.RegistryConfig{})
	defer r.Close()
	for _, tt := range []struct {
		what string
		set  func(*pvd.Builder)
		want bool
	}{
		{"nothing", func(*pvd.Builder) {}, false},
		{"a server", func(b *pvd.Builder) {
			pvd.DNSServers.Set(b, []netip.AddrPort{netip.MustParseAddrPort("192.168.1.53:53")})
		}, true},
		{"an encrypted server", func(b *pvd.Builder) {
			pvd.EncryptedDNS.Set(b, []pvd.EncryptedServer{{Name: "dns.example", ALPN: []string{"dot"}}})
		}, true},
	} {
		ref, err := r.Add(t.Context(), tt.set)
		if err != nil {
			t.Fatal(err)
		}
		info, err := r.Info(ref)
		if err != nil || pvd.HasDNS.Holds(info) != tt.want {
			t.Errorf("%s: %v, %v", tt.what, !tt.want, err)
		}
	}
}
