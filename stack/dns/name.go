package dns

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"

	wire "github.com/miekg/dns"
)

// errBadName reports a name that cannot be asked for. To the caller it is a name that
// does not exist.
var errBadName = errors.New("no such host: not a valid name")

// checkName accepts what host names are made of, letters, digits, hyphens, and
// underscores for the names of services, within the lengths of RFC 1035 section 2.3.4.
// A trailing dot is allowed.
func checkName(name string) error {
	name = strings.TrimSuffix(name, ".")
	// One octet more for the first label's length and one for the root: 255 on the wire.
	if name == "" || len(name) > 253 {
		return errBadName
	}
	label := 0
	for i := range len(name) {
		c := name[i]
		if c == '.' {
			if label == 0 {
				return errBadName
			}
			label = 0
			continue
		}
		l := c | 0x20 // lower case
		if !('a' <= l && l <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return errBadName
		}
		if label++; label > 63 {
			return errBadName
		}
	}
	if label == 0 {
		return errBadName
	}
	return nil
}

// candidates yields the names, all valid, that name may stand for, as questions have them,
// in the order in which they are to be tried. One with fewer dots than ndots may be one in
// any domain of the search list. There may be none.
func candidates(name string, search []string, ndots int) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !strings.HasSuffix(name, ".") && strings.Count(name, ".") < ndots {
			for _, domain := range search[:min(len(search), maxSearch)] {
				if full := name + "." + domain; checkName(full) == nil && !yield(plainForm(full)) {
					return
				}
			}
		}
		if !numeric(lastLabel(name)) {
			yield(plainForm(name))
		}
	}
}

// numeric reports whether a label has digits only, as that of no domain at the top has (RFC 1123
// section 2.1): a name that ends so is an address that somebody has got wrong, for which some
// servers have an answer.
func numeric(label string) bool {
	return !strings.ContainsFunc(label, func(c rune) bool { return c < '0' || c > '9' })
}

// plainForm returns a name that needs no escapes as questions have it.
func plainForm(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// canonical returns any name as questions have it.
func canonical(name string) (string, error) {
	var buf [255]byte // octets that a name has on the wire, at most
	if name == "" {
		return "", errBadName
	}
	if _, err := wire.PackDomainName(wire.Fqdn(name), buf[:], 0, nil, false); err != nil {
		return "", fmt.Errorf("%w: %w", errBadName, err)
	}
	name, _, err := wire.UnpackDomainName(buf[:], 0)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errBadName, err)
	}
	return plainForm(name), nil
}

// lastLabel returns the last label of name, in lower case.
func lastLabel(name string) string {
	name = strings.TrimSuffix(name, ".")
	return strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
}

// special answers for the names that never go to a server: localhost is loopback, the
// PvD's own (RFC 6761 section 6.3), invalid does not exist (section 6.4), and neither do
// the names of onion services, which nobody is to hear of (RFC 7686 section 2).
func special(name string) (addrs []netip.Addr, ok bool) {
	switch lastLabel(name) {
	case "localhost":
		return []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}, true
	case "invalid", "onion":
		return nil, true
	}
	return nil, false
}
