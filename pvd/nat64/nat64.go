// Package nat64 makes the IPv6 addresses by which a host without IPv4 reaches IPv4
// destinations through a translator (RFC 6052), and finds out the translator's prefix where
// the network does not announce one (RFC 7050).
package nat64

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// WellKnown is the prefix that is everybody's (RFC 6052 section 2.1).
var WellKnown = netip.MustParsePrefix("64:ff9b::/96")

// Name is what is looked up to find the prefixes of a network: it has IPv4 addresses only,
// so that IPv6 ones are made up by the network (RFC 7050 section 3).
const Name = "ipv4only.arpa."

// known are the IPv4 addresses of Name.
var known = []netip.Addr{netip.MustParseAddr("192.0.0.170"), netip.MustParseAddr("192.0.0.171")}

// lengths are those that a prefix can have.
var lengths = []int{32, 40, 48, 56, 64, 96}

// Errors of [Synthesize].
var (
	// ErrPrefix reports a prefix that is none of RFC 6052.
	ErrPrefix = errors.New("not a prefix of RFC 6052")
	// ErrNotGlobal reports an IPv4 address that is not global: it must not be made part of
	// an address with the well-known prefix (RFC 6052 section 3.1).
	ErrNotGlobal = errors.New("not a global IPv4 address, which the well-known prefix is for")
)

// Valid reports whether p can be the prefix of a translator (RFC 6052 section 2.2): its
// length is one of six, and where octet 8 is part of it, that is 0.
func Valid(p netip.Prefix) bool {
	return p.IsValid() && p.Addr().Is6() && !p.Addr().Is4In6() && slices.Contains(lengths, p.Bits()) && p.Masked().Addr().As16()[8] == 0
}

// Synthesize returns the IPv6 address that stands for an IPv4 address behind a translator
// with a prefix (RFC 6052 section 2.2). The error is [ErrPrefix] or [ErrNotGlobal].
func Synthesize(p netip.Prefix, v4 netip.Addr) (netip.Addr, error) {
	v4 = v4.Unmap()
	switch {
	case !Valid(p) || !v4.Is4():
		return netip.Addr{}, fmt.Errorf("nat64: %v with %v: %w", v4, p, ErrPrefix)
	case p.Masked() == WellKnown && !global(v4):
		return netip.Addr{}, fmt.Errorf("nat64: %v: %w", v4, ErrNotGlobal)
	}
	a, b := p.Masked().Addr().As16(), v4.As4()
	at := p.Bits() / 8
	for _, octet := range b {
		if at == 8 {
			at++ // octet 8 is 0
		}
		a[at] = octet
		at++
	}
	return netip.AddrFrom16(a), nil
}

// Extract returns the IPv4 address in an address that was made with a prefix, and whether it
// was.
func Extract(p netip.Prefix, a netip.Addr) (netip.Addr, bool) {
	if !Valid(p) || !p.Masked().Contains(a) || a.As16()[8] != 0 && p.Bits() < 96 {
		return netip.Addr{}, false
	}
	from := a.As16()
	var b [4]byte
	at := p.Bits() / 8
	for i := range b {
		if at == 8 {
			at++
		}
		b[i] = from[at]
		at++
	}
	return netip.AddrFrom4(b), true
}

// Prefixes returns the prefixes with which the network has made the IPv6 addresses of
// [Name], in the order of the addresses and without repetition. Of the places in which one of
// the name's IPv4 addresses is found only a single one tells something (RFC 7050 section 3).
func Prefixes(addrs []netip.Addr) (found []netip.Prefix) {
	for _, a := range addrs {
		var of []netip.Prefix
		for _, n := range lengths {
			p, err := a.WithZone("").Prefix(n)
			if v4, ok := Extract(p, a); err == nil && ok && slices.Contains(known, v4) {
				of = append(of, p)
			}
		}
		if len(of) == 1 && !slices.Contains(found, of[0]) {
			found = append(found, of[0])
		}
	}
	return found
}

// notGlobal are IPv4 prefixes whose addresses mean something in one network only, or none
// (RFC 6890).
var notGlobal = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
}

func global(a netip.Addr) bool {
	return !a.IsMulticast() && !slices.ContainsFunc(notGlobal, func(p netip.Prefix) bool { return p.Contains(a) })
}
