package learn

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
)

// Rules say what a person wants of PvDs that are learned: names, trust, and other values
// than the network's. Nothing in them is about all PvDs of a host. Their order does not
// matter, since no two may have the same [Match].
//
// Several rules may match a PvD, such as one for its ID and one for its link. Of these the
// most specific one that has a name gives it, and for each element the most specific one that
// modifies it counts. What any of them refuses is refused.
type Rules []Rule

// A Rule is for the PvDs that it matches.
type Rule struct {
	Match Match

	// Name is what people call the PvD, once it is there. Empty: what it is called anyway.
	Name string

	// Merge says that the ID is trusted: attachments to several links that have it are one
	// PvD (RFC 8801 section 3.4). Only for a Match by ID alone.
	Merge bool

	// Refuse is what is not taken from the network.
	Refuse Refuse

	// Modify has at most one modifier of each operation for an element, and none beside one
	// that supersedes or ignores it. What is refused was not learned, as far as they go.
	Modify []Modifier
}

// A Match says which PvDs a rule is for. These are the ways, the most specific one first: an
// ID on a link, an ID, an implicit PvD by its router and link, all implicit PvDs of a link,
// and all PvDs of a link.
type Match struct {
	ID     pvd.ID // in the form that [pvd.ParseID] returns
	Link   string
	Router netip.Addr // link-local, without zone

	// Implicit leaves out explicit PvDs. It is implied by Router.
	Implicit bool
}

// A Refuse is what a rule does not take from the network (RFC 6419 section 3.2.2.3).
type Refuse struct {
	// Addresses, but for the link-local ones of IPv6.
	Addresses bool

	// Routes by routers. What is on the link itself stays.
	Routes bool

	// DNS is servers, encrypted ones too, search list and zones.
	DNS bool
}

// specificity returns how specific a match is, the most specific first, and whether it is
// one of p at all.
func (m *Match) specificity(p *Proposal) (int, bool) {
	if m.Link != "" && m.Link != p.Link {
		return 0, false
	}
	explicit := p.Key.Explicit()
	switch {
	case m.ID != "":
		if m.Link != "" {
			return 0, p.Key.ID == m.ID
		}
		return 1, p.Key.ID == m.ID
	case m.Router.IsValid():
		return 2, !explicit && p.Key.Router == m.Router
	case m.Implicit:
		return 3, !explicit && m.Link != ""
	}
	return 4, m.Link != ""
}

// matching are the rules that match a proposal, the most specific first; nil where there is
// none of a kind.
type matching [5]*Rule

// match returns the rules that match p.
func (rs Rules) match(p *Proposal) (by matching, any bool) {
	for i := range rs {
		if at, ok := rs[i].Match.specificity(p); ok && by[at] == nil {
			by[at], any = &rs[i], true
		}
	}
	return by, any
}

// Merged reports whether attachments to several links that have an ID are one PvD.
func (rs Rules) Merged(id pvd.ID) bool {
	for i := range rs {
		if rs[i].Merge && rs[i].Match.ID == id && id != "" {
			return true
		}
	}
	return false
}

// Apply returns p as the rules have it, p itself where none matches. It does not change p,
// and the result depends on nothing else. This is its order:
//
//  1. What is refused is taken away.
//  2. Of each element, what is superseded or ignored is taken away, and what supersedes put
//     in its place.
//  3. Where nothing was learned the default is put.
//  4. What is prepended and appended is put there. Duplicates go, all but the first of them;
//     so does what is learned and there is no room for.
//  5. Learned routes go whose router is no longer on the link, as the addresses were
//     modified.
func (rs Rules) Apply(p *Proposal) *Proposal {
	by, any := rs.match(p)
	if !any {
		return p
	}
	c := p.Clone()
	named := ""
	for _, r := range by {
		if r != nil {
			named = cmp.Or(named, r.Name)
			c.refuse(r.Refuse)
		}
	}
	c.Name = cmp.Or(named, p.Name)
	c.modify(&by)
	c.dropStranded(p)
	c.raiseMTU()
	return c
}

// operations returns those of the most specific rule that modifies an element.
func (by *matching) operations(k pvd.AnyKey) (ops operations, any bool) {
	for _, r := range by {
		if r != nil && r.modifies(k) {
			return r.operations(k), true
		}
	}
	return ops, false
}

func (p *Proposal) refuse(what Refuse) {
	if what.Addresses {
		p.Addresses = addressKind("").apply(p.Addresses, operations{ignore: &Modifier{}})
	}
	if what.Routes {
		p.Routes = filter(p.Routes, func(r pvd.Route) bool { return !r.Via.IsValid() })
	}
	if what.DNS {
		p.Servers, p.Search = nil, nil
		p.without(pvd.EncryptedDNS.Any(), addinfo.DNSZones.Any())
	}
}

// without takes elements away.
func (p *Proposal) without(keys ...pvd.AnyKey) {
	p.Elements = filter(p.Elements, func(e pvd.Element) bool { return !slices.Contains(keys, e.Key()) })
}

// filter returns a list of those that are kept.
func filter[T any](list []T, keep func(T) bool) (kept []T) {
	for _, e := range list {
		if keep(e) {
			kept = append(kept, e)
		}
	}
	return kept
}
