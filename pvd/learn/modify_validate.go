package learn

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
)

// Validate reports everything that is wrong with the rules in themselves, each with the rule
// and element it is in. It can not know what will be learned: a route through a router that
// is on none of the prefixes that come, for instance, is found when the PvD is attached.
func (rs Rules) Validate() error {
	if len(rs) > MaxRules {
		return fmt.Errorf("learn: %d rules, the limit is %d", len(rs), MaxRules)
	}
	var errs []error
	first := make(map[Match]int, len(rs))
	for i := range rs {
		err := rs[i].Validate()
		if at, twice := first[rs[i].Match]; twice {
			err = errors.Join(err, fmt.Errorf("match: it is that of rule %d, too", at))
		} else {
			first[rs[i].Match] = i
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("learn: rule %d: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// Validate reports everything that is wrong with a rule in itself; see [Rules.Validate].
func (r *Rule) Validate() error {
	var errs []error
	bad := func(where string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
	}
	bad("match", r.Match.validate())
	if len(r.Name) > pvd.MaxName {
		bad("name", fmt.Errorf("longer than %d octets", pvd.MaxName))
	}
	if r.Merge && (r.Match.ID == "" || r.Match.Link != "") {
		bad("merge", errors.New("it is for a match by ID alone: nothing else is the same on several links"))
	}
	if len(r.Modify) > MaxModifiers {
		bad("modify", fmt.Errorf("%d modifiers, the limit is %d", len(r.Modify), MaxModifiers))
		return errors.Join(errs...)
	}
	for i, m := range r.Modify {
		bad(fmt.Sprintf("modify[%d]", i), m.validate())
		bad(fmt.Sprintf("modify[%d]", i), m.conflict(r.Modify[:i]))
	}
	return errors.Join(errs...)
}

func (m Match) validate() error {
	id, err := pvd.ParseID(string(m.ID))
	switch {
	case err != nil:
		return err
	case id != m.ID:
		return fmt.Errorf("%q is not in the form that pvd.ParseID returns", string(m.ID))
	case m.ID == "" && m.Link == "":
		return errors.New("it has neither ID nor link, so it would be about all PvDs of the host")
	case m.ID != "" && (m.Router.IsValid() || m.Implicit):
		return errors.New("a PvD with an ID is not implicit, and not known by its router")
	case m.Router.IsValid() && (!m.Router.Is6() || !m.Router.IsLinkLocalUnicast() || m.Router.Zone() != ""):
		return fmt.Errorf("router %v is not a link-local address without zone", m.Router)
	}
	return nil
}

// conflict reports a modifier that does not go with one of those before.
func (m Modifier) conflict(before []Modifier) error {
	alone := func(o Op) bool { return o == opSupersede || o == opIgnore }
	for _, b := range before {
		switch {
		case b.key != m.key:
		case b.op == m.op:
			return fmt.Errorf("%v %q stands twice", m.op, m.key)
		case alone(b.op) || alone(m.op):
			return fmt.Errorf("%v does not go with %v, both of %q", m.op, b.op, m.key)
		}
	}
	return nil
}

func (m Modifier) validate() error {
	switch {
	case m.op == 0:
		return errors.New("it does nothing; modifiers are made by Default, Supersede, Prepend, Append and Ignore")
	case m.key == pvd.AnyKey{}:
		return fmt.Errorf("%v: the element has no key", m.op)
	case m.key == pvd.Links.Any(), m.key == pvd.Neighbors.Any():
		return fmt.Errorf("%v: %q is not learned", m.op, m.key)
	case m.op == opIgnore:
		return nil
	case m.value.Value() == nil:
		return fmt.Errorf("%v %q: no value", m.op, m.key)
	case (m.op == opPrepend || m.op == opAppend) && !isList(m.key):
		return fmt.Errorf("%v %q: it is no list", m.op, m.key)
	}
	c := pvd.Config{Links: []string{"its own"}}
	var err error
	switch v := m.value.Value(); m.key {
	case pvd.Addresses.Any():
		c.Addresses, err = plainAddresses(v.([]pvd.AddressInfo))
	case pvd.Routes.Any():
		c.Routes, err = plainRoutes(v.([]pvd.Route))
	case pvd.DNSServers.Any():
		c.DNS.Servers = v.([]netip.AddrPort)
		err = plainServers(c.DNS.Servers)
	case pvd.DNSSearch.Any():
		c.DNS.Search = v.([]string)
	case pvd.MTU.Any():
		if c.MTU = v.(int); c.MTU == 0 {
			err = errors.New("0 octets; Ignore takes away what was learned")
		}
	default:
		c.Elements = []pvd.Element{m.value}
	}
	if err == nil {
		err = m.empty()
	}
	if err == nil {
		err = c.Validate()
	}
	if err != nil {
		return fmt.Errorf("%v %q: %w", m.op, m.key, err)
	}
	return nil
}

// empty reports an empty list of an element that is known to be a list.
func (m Modifier) empty() error {
	length := -1
	switch v := m.value.Value().(type) {
	case []pvd.AddressInfo:
		length = len(v)
	case []pvd.Route:
		length = len(v)
	case []netip.AddrPort:
		length = len(v)
	case []string:
		length = len(v)
	case []netip.Prefix:
		length = len(v)
	case []pvd.Proxy:
		length = len(v)
	case []pvd.EncryptedServer:
		length = len(v)
	}
	if length == 0 {
		return errors.New("an empty list; Ignore takes away what was learned")
	}
	return nil
}

var errElsewhere = errors.New("it is on the link that the PvD is learned on, so it names none")

func plainAddresses(as []pvd.AddressInfo) (plain []pvd.Address, err error) {
	for _, a := range as {
		if a.Link != "" {
			return nil, fmt.Errorf("%v: link %q: %w", a.Prefix, a.Link, errElsewhere)
		}
		plain = append(plain, a.Address)
	}
	return plain, nil
}

// plainRoutes returns routes that can be validated although the addresses of the PvD are not
// known: each router is taken to be on the link.
func plainRoutes(rs []pvd.Route) (plain []pvd.Route, err error) {
	if len(rs) > pvd.MaxRoutes/2 {
		return nil, fmt.Errorf("%d entries, the limit is %d", len(rs), pvd.MaxRoutes/2)
	}
	plain = slices.Clone(rs)
	for _, r := range rs {
		switch {
		case r.Link != "" || r.Via.Zone() != "":
			return nil, fmt.Errorf("route to %v: link %q: %w", r.To, strings.TrimSpace(r.Link+" "+r.Via.Zone()), errElsewhere)
		case r.Via.IsValid() && !r.Via.IsUnspecified() && !r.Via.IsMulticast() && !r.Via.IsLoopback() && !pvd.IsThisNetwork(r.Via):
			plain = append(plain, pvd.Route{To: netip.PrefixFrom(r.Via, r.Via.BitLen())})
		}
	}
	return plain, nil
}

func plainServers(ss []netip.AddrPort) error {
	for _, s := range ss {
		if z := s.Addr().Zone(); z != "" {
			return fmt.Errorf("%v: zone %q: %w", s, z, errElsewhere)
		}
	}
	return nil
}
