package stack

import (
	"math/bits"
	"net/netip"

	"github.com/pvdstack/pvdstack/pvd"
)

// betterSource reports whether a makes a better source for dst than b does, by the rules
// of RFC 6724 section 5 that can differ on one link: 1 (same address), 2 (scope), 3
// (deprecated), 6 (label) and 8 (longest match, no further than the source's own prefix).
func betterSource(a, b pvd.AddressInfo, dst netip.Addr) bool {
	aa, ba := a.Prefix.Addr(), b.Prefix.Addr()
	if (aa == dst) != (ba == dst) {
		return aa == dst
	}
	if as, bs, ds := scope(aa), scope(ba), scope(dst); as != bs {
		if as < bs {
			return as >= ds
		}
		return bs < ds
	}
	if ad, bd := a.State == pvd.Deprecated, b.State == pvd.Deprecated; ad != bd {
		return bd
	}
	if al, bl := label(aa) == label(dst), label(ba) == label(dst); al != bl {
		return al
	}
	return commonBits(a.Prefix, dst) > commonBits(b.Prefix, dst)
}

// The scopes of RFC 6724 section 3.1, with their values from RFC 4291 section 2.7.
const (
	scopeInterface = 1
	scopeLink      = 2
	scopeSite      = 5
	scopeGlobal    = 14
)

func scope(a netip.Addr) int {
	switch {
	case a.Is6() && a.IsMulticast():
		return int(a.As16()[1] & 0x0f)
	case a.Is4() && a.IsLinkLocalMulticast():
		return scopeLink
	case a.IsLoopback(), a.IsLinkLocalUnicast():
		return scopeLink
	case siteLocal.Contains(a):
		return scopeSite
	}
	return scopeGlobal
}

var siteLocal = netip.MustParsePrefix("fec0::/10")

// defaultLabels is the label column of RFC 6724 section 2.1, longest prefixes first.
var defaultLabels = []struct {
	prefix netip.Prefix
	label  int
}{
	{netip.MustParsePrefix("::1/128"), 0},
	{netip.MustParsePrefix("::ffff:0:0/96"), 4},
	{netip.MustParsePrefix("::/96"), 3},
	{netip.MustParsePrefix("2001::/32"), 5},
	{netip.MustParsePrefix("2002::/16"), 2},
	{netip.MustParsePrefix("3ffe::/16"), 12},
	{netip.MustParsePrefix("fec0::/10"), 11},
	{netip.MustParsePrefix("fc00::/7"), 13},
	{netip.MustParsePrefix("::/0"), 1},
}

func label(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	for _, l := range defaultLabels {
		if l.prefix.Contains(a) {
			return l.label
		}
	}
	return 1
}

// commonBits is CommonPrefixLen of RFC 6724 section 2.2.
func commonBits(source netip.Prefix, dst netip.Addr) int {
	n := 0
	s, t := source.Addr().AsSlice(), dst.AsSlice()
	for i := range min(len(s), len(t)) {
		if x := s[i] ^ t[i]; x != 0 {
			n += bits.LeadingZeros8(x)
			break
		}
		n += 8
	}
	return min(n, source.Bits())
}
