package stack

import (
	"net/netip"
	"slices"
	"testing"
)

func TestAlternate(t *testing.T) {
	tests := []struct {
		in, want []string
		last     string // what was tried before
	}{
		{in: nil, want: []string{}},
		{in: []string{"::1"}, want: []string{"::1"}},
		{in: []string{"::1", "::2", "::3", "1.0.0.1"}, want: []string{"::1", "1.0.0.1", "::2", "::3"}},
		{in: []string{"::1", "::2", "1.0.0.1", "1.0.0.2", "1.0.0.3"}, want: []string{"::1", "1.0.0.1", "::2", "1.0.0.2", "1.0.0.3"}},
		{in: []string{"1.0.0.1", "1.0.0.2", "::1"}, want: []string{"1.0.0.1", "::1", "1.0.0.2"}},
		{in: []string{"::1", "::2", "1.0.0.1", "1.0.0.2"}, last: "::9", want: []string{"1.0.0.1", "::1", "1.0.0.2", "::2"}},
		{in: []string{"::1", "::2", "1.0.0.1"}, last: "1.0.0.9", want: []string{"::1", "1.0.0.1", "::2"}},
		{in: []string{"::1", "::2"}, last: "::9", want: []string{"::1", "::2"}},
	}
	for _, tt := range tests {
		addrs := make([]netip.Addr, len(tt.in))
		for i, a := range tt.in {
			addrs[i] = netip.MustParseAddr(a)
		}
		var last netip.Addr
		if tt.last != "" {
			last = netip.MustParseAddr(tt.last)
		}
		alternate(addrs, last)
		got := make([]string, len(addrs))
		for i, a := range addrs {
			got[i] = a.String()
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v: %v, want %v", tt.in, got, tt.want)
		}
	}
}
