package pvdtest

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// Leases returns the addresses and prefixes that the router has leased, by DHCP of both
// versions.
func (r *Router) Leases() []netip.Prefix {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.core.clock.Monotonic()
	var all []netip.Prefix
	if s := r.core.dhcp4; s != nil {
		for _, l := range s.leases {
			if !l.offer && l.until > now {
				all = append(all, netip.PrefixFrom(l.addr, s.self.Bits()))
			}
		}
	}
	if s := r.core.dhcp6; s != nil {
		for _, l := range s.leases {
			if !l.offer && l.until > now {
				all = append(all, l.item)
			}
		}
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return all
}

// poolStart is where the hosts of one of the LAN's prefixes begin.
func (n *LAN) poolStart(p netip.Prefix) netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pool[slices.Index(n.prefixes, p)]
}

// reserve keeps an address for a server's clients. It is false if somebody else has it.
func (n *LAN) reserve(a netip.Addr, who string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if by := n.used[a]; by != "" && by != who {
		return false
	}
	n.used[a] = who
	return true
}

// wireNames encodes domain names as DHCP has them, without compression (RFC 3397 section
// 2, RFC 8415 section 10).
func wireNames(names []string) ([]byte, error) {
	var b []byte
	for _, name := range names {
		var w [256]byte
		n, err := dns.PackDomainName(dns.Fqdn(name), w[:], 0, nil, false)
		if err != nil {
			return nil, fmt.Errorf("name %q: %w", name, err)
		}
		b = append(b, w[:n]...)
	}
	return b, nil
}
