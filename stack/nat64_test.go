package stack_test

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// TestLookupFromUnreachableServer has a PvD without IPv4 not ask its server for a translator by
// which that server itself could be reached: nobody would ever answer.
func TestLookupFromUnreachableServer(t *testing.T) {
	h1, h2 := newHost(t), newHost(t)
	pipe(t, "wire", h1, h2)
	for _, server := range []string{"2001:db8::2/64", "2001:db8:64::a00:2/96"} { // the other one is behind the translator
		c := config("wire", server)
		c.Name = server
		runDNS(t, add(t, h2, c), map[string][]string{"www.example.": {"2001:db8::80"}})
	}
	far, near := netip.MustParseAddrPort("10.0.0.2:53"), netip.MustParseAddrPort("[2001:db8::2]:53")
	told := pvd.NAT64.With([]netip.Prefix{netip.MustParsePrefix("2001:db8:64::/96")})
	for _, tt := range []struct {
		name    string
		servers []netip.AddrPort
		told    []pvd.Element
		fails   bool
	}{
		{"alone", []netip.AddrPort{far}, nil, true},
		{"before another", []netip.AddrPort{far, near}, nil, false},
		{"by a translator that is known", []netip.AddrPort{far}, []pvd.Element{told}, false},
	} {
		c := config("wire", "2001:db8::1/64")
		c.Name, c.DNS.Servers, c.Elements = tt.name, tt.servers, tt.told
		n := add(t, h1, c)
		began := time.Now()
		_, err := n.LookupNetIP(t.Context(), "ip", "www.example")
		var de *net.DNSError
		if tt.fails != (errors.As(err, &de) && errors.Is(err, syscall.EADDRNOTAVAIL)) || !tt.fails && err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if took := time.Since(began); took > 900*time.Millisecond {
			t.Errorf("%s: it took %v", tt.name, took)
		}
		if err := h1.Remove(t.Context(), n.PvD()); err != nil {
			t.Fatal(err)
		}
	}
}
