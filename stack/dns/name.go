package dns

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
)

// errBadName reports a name that cannot be asked for. To the caller it is a name that
// does not exist.
var errBadName = errors.New("no such host: not a valid name")

// checkName accepts what host names are made of, letters, digits, hyphens, and
// underscores for the names of services, within the lengths of RFC 1035 section 2.3.4.
// A trailing dot is allowed. Names in other scripts have to come in their ASCII form
// (RFC 5890 section 2.3.2.1).
func checkName(name string) error {
	name = strings.TrimSuffix(name, ".")
	// One octet more for the first label's length and one for the root: 255 on the wire.
	if name == "" || len(name) > 253 {
		return errBadName
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return errBadName
		}
		for i := range len(label) {
			c := label[i] | 0x20 // lower case
			if !('a' <= c && c <= 'z' || '0' <= label[i] && label[i] <= '9' || label[i] == '-' || label[i] == '_') {
				return errBadName
			}
		}
	}
	return nil
}

// candidates returns the absolute names, all valid, that name may stand for, in the
// order in which they are to be tried. A name without dots may be one in any domain of
// the search list.
func candidates(name string, search []string) []string {
	if strings.Contains(name, ".") {
		return []string{absolute(name)}
	}
	var names []string
	for _, domain := range search[:min(len(search), maxSearch)] {
		if full := name + "." + domain; checkName(full) == nil {
			names = append(names, absolute(full))
		}
	}
	return append(names, absolute(name))
}

func absolute(name string) string { return strings.TrimSuffix(name, ".") + "." }

// lastLabel returns the last label of name, in lower case.
func lastLabel(name string) string {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name[strings.LastIndexByte(name, '.')+1:]
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

// servers returns those of d's servers that are asked.
func servers(d pvd.DNS) []netip.AddrPort { return d.Servers[:min(len(d.Servers), maxServers)] }
