package selection

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Rule says what is to happen with some calls. Each condition that is not empty has to
// be met, and is by any one of its entries; what is not known of a call meets none.
// Destinations and Domains are one condition: where the call goes. A Rule without
// conditions is for all calls; as the last one it is the default policy.
type Rule struct {
	// Name is how people see the rule in errors and logs.
	Name string

	// Apps are names of applications. The host itself has the empty name.
	Apps []string

	// Destinations are prefixes of addresses that the call names as its destination.
	Destinations []netip.Prefix

	// Domains are domains that the name of the destination is, or is below.
	Domains []string

	// Ports are those of the destination.
	Ports []Ports

	// Networks are protocols, with or without family: "tcp", "udp6". That of a call to an
	// IPv6 address by "udp" is udp6.
	Networks []string

	// Marks and ToS compare what the socket was given.
	Marks []Mark
	// ToS is described with Marks.
	ToS []ToS

	// Scopes are zones of destinations, and Links the links that have to be used.
	Scopes []string
	// Links is described with Scopes.
	Links []string

	// Sources are prefixes of the source that was asked for.
	Sources []netip.Prefix

	// Action is what happens.
	Action Action
}

// Ports are the port numbers from First to Last, or First alone if Last is 0.
type Ports struct{ First, Last uint16 }

// A Mark is met by a socket's mark that, under Mask, is Value. Mask 0 is all bits.
type Mark struct{ Value, Mask uint32 }

// A ToS is met by a type of service or traffic class that, under Mask, is Value. Mask 0 is
// all bits; 0xfc is the DSCP alone (RFC 2474).
type ToS struct{ Value, Mask uint8 }

func (p Ports) has(port uint16) bool { return port >= p.First && port <= max(p.First, p.Last) }

// masked reports whether v, under a mask whose 0 is all bits, is want.
func masked[T uint8 | uint32](v, want, mask T) bool {
	if mask == 0 {
		mask = ^mask
	}
	return v&mask == want
}

// validate reports what is wrong with the rule.
func (r *Rule) validate() error {
	for _, p := range slices.Concat(r.Destinations, r.Sources) {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return fmt.Errorf("%v is not a prefix of a network", p)
		}
	}
	for _, d := range r.Domains {
		if id, err := pvd.ParseID(d); err != nil || id == "" {
			return fmt.Errorf("domain %q is not a name", d)
		}
	}
	for _, p := range r.Ports {
		if p.First == 0 || p.Last != 0 && p.Last < p.First {
			return fmt.Errorf("ports %d to %d are none", p.First, p.Last)
		}
	}
	if slices.Contains(r.Networks, "") {
		return errors.New("an empty network")
	}
	for _, m := range r.Marks {
		if m.Mask != 0 && m.Value&^m.Mask != 0 {
			return fmt.Errorf("mark %#x is never met under %#x", m.Value, m.Mask)
		}
	}
	for _, t := range r.ToS {
		if t.Mask != 0 && t.Value&^t.Mask != 0 {
			return fmt.Errorf("ToS %#x is never met under %#x", t.Value, t.Mask)
		}
	}
	for _, words := range [][]string{r.Apps, r.Scopes, r.Links} {
		for _, w := range words {
			if len(w) > maxSelectorBytes {
				return fmt.Errorf("%.20q… is longer than %d octets", w, maxSelectorBytes)
			}
		}
	}
	return nil
}

// A call is a [pvd.Call] in the form that rules compare.
type call struct {
	pvd.Call

	name   string // of the destination, without trailing dot and in lower case; empty for literals
	remote netip.Addr
	local  netip.Addr
	proto  string // the network without family
	family byte   // '4', '6', or 0 if not known
}

func newCall(c pvd.Call) call {
	k := call{Call: c, remote: plain(c.Remote.Addr()), local: plain(c.Local.Addr())}
	k.proto, k.family = splitNetwork(c.Network)
	switch a, err := netip.ParseAddr(c.Host); {
	case err != nil:
		k.name = strings.ToLower(strings.TrimSuffix(c.Host, "."))
	case !k.remote.IsValid():
		k.remote = plain(a)
	}
	if k.family == 0 && k.remote.IsValid() {
		k.family = '6'
		if k.remote.Is4() {
			k.family = '4'
		}
	}
	return k
}

// plain returns an address as prefixes have it, the zero Addr for one that is none in
// particular.
func plain(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// splitNetwork splits "udp4" into "udp" and '4'.
func splitNetwork(network string) (proto string, family byte) {
	if n := len(network) - 1; n > 0 && (network[n] == '4' || network[n] == '6') {
		return network[:n], network[n]
	}
	return network, 0
}

// target is what of the call decides between PvDs.
func (c *call) target() target {
	t := target{addr: c.remote}
	switch c.family {
	case '4':
		t.family = IPv4
	case '6':
		t.family = IPv6
	}
	switch {
	case c.remote.IsValid():
		t.hash = hashOf(c.remote.String())
	case c.name != "":
		t.hash = hashOf(c.name)
	}
	return t
}

// meets reports whether a call meets every condition of the rule.
func (r *Rule) meets(c *call) bool {
	return (len(r.Apps) == 0 || slices.Contains(r.Apps, c.App)) &&
		(len(r.Destinations) == 0 && len(r.Domains) == 0 || within(r.Destinations, c.remote) || below(r.Domains, c.name)) &&
		met(r.Ports, func(p Ports) bool { return p.has(c.Remote.Port()) }) &&
		met(r.Networks, c.by) &&
		met(r.Marks, func(m Mark) bool { return masked(c.Mark, m.Value, m.Mask) }) &&
		met(r.ToS, func(t ToS) bool { return masked(c.ToS, t.Value, t.Mask) }) &&
		(len(r.Scopes) == 0 || slices.Contains(r.Scopes, c.Scope)) &&
		(len(r.Links) == 0 || slices.Contains(r.Links, c.Link)) &&
		(len(r.Sources) == 0 || within(r.Sources, c.local))
}

// by reports whether the call is by a network.
func (c *call) by(network string) bool {
	proto, family := splitNetwork(network)
	return proto == c.proto && (family == 0 || family == c.family)
}

// met reports whether there is no entry, or one that is met.
func met[T any](entries []T, by func(T) bool) bool {
	return len(entries) == 0 || slices.ContainsFunc(entries, by)
}

func within(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// below reports whether a name is one of the domains or below one.
func below(domains []string, name string) bool {
	if name == "" {
		return false
	}
	for _, d := range domains {
		d = strings.TrimSuffix(d, ".")
		if rest := len(name) - len(d); rest >= 0 && strings.EqualFold(name[rest:], d) && (rest == 0 || name[rest-1] == '.') {
			return true
		}
	}
	return false
}
