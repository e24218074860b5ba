package stack

import (
	"net/netip"
	"slices"
	"testing"
)

func TestAlternate(t *testing.T) {
	tests := []struct{ in, want []string }{
		{[]string{"::1"}, []string{"::1"}},
		{[]string{"::1", "::2", "::3", "1.0.0.1"}, []string{"::1", "1.0.0.1", "::2", "::3"}},
		{[]string{"::1", "::2", "1.0.0.1", "1.0.0.2", "1.0.0.3"}, []string{"::1", "1.0.0.1", "::2", "1.0.0.2", "1.0.0.3"}},
		{[]string{"1.0.0.1", "1.0.0.2", "::1"}, []string{"1.0.0.1", "::1", "1.0.0.2"}},
	}
	for _, tt := range tests {
		addrs := make([]netip.Addr, len(tt.in))
		for i, a := range tt.in {
			addrs[i] = netip.MustParseAddr(a)
		}
		alternate(addrs)
		got := make([]string, len(addrs))
		for i, a := range addrs {
			got[i] = a.String()
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v: %v, want %v", tt.in, got, tt.want)
		}
	}
}
