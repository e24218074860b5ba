// Package steer chooses the PvD of calls that name no PvD by the name of their destination:
// names below a suffix are looked up, and connected to, in the PvD whose names they are. It
// is what other systems call split DNS, or a name resolution policy table (RFC 6419 section
// 3.2.1.1), but for whole calls: no PvD is asked for a name and another one connected in.
//
// It is for those who want it. A PvD that can claim names can have them sent its way, so only
// the claims of PvDs that are trusted count (RFC 7556 section 7.1, RFC 6731 section 4.5).
package steer

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
)

// MaxEntries of a table: they are gone through for each call that names a host.
const MaxEntries = 1024

// A Host is where the PvDs are.
type Host interface {
	List() []pvd.Ref
	Info(pvd.Ref) (*pvd.Info, error)
}

// An Entry sends the names below a suffix to a PvD, whatever PvDs say themselves.
type Entry struct {
	// Suffix is a domain: names that are it or are below it. "." is every name.
	Suffix string

	// PvD is the name or ID of a PvD. While there is none, the names are nobody's: a call
	// is [pvd.ErrNoPvD].
	PvD string
}

// A Config says how to steer.
type Config struct {
	Host Host // needed

	// Table goes before what PvDs claim.
	Table []Entry

	// Find returns the PvD that an entry names. Nil: the first that is called so.
	Find func(name string) (pvd.Ref, error)

	// Trusted tells of which PvDs the claims count ([addinfo.DNSZones]). Nil: of none.
	Trusted func(*pvd.Info) bool

	// Next is asked where nobody claims a name. Nil: there is no opinion.
	Next pvd.Selector
}

// A Selector steers calls. It may be used concurrently.
type Selector struct{ config Config }

var _ pvd.Selector = (*Selector)(nil)

// New returns a selector. The error says what is wrong with the table.
func New(c Config) (*Selector, error) {
	if len(c.Table) > MaxEntries {
		return nil, fmt.Errorf("steer: %d entries, the limit is %d", len(c.Table), MaxEntries)
	}
	c.Table = slices.Clone(c.Table)
	for i := range c.Table {
		e := &c.Table[i]
		if e.Suffix == "" || e.PvD == "" {
			return nil, fmt.Errorf("steer: entry %d: suffix %q and PvD %q: both are needed", i+1, e.Suffix, e.PvD)
		}
		e.Suffix = canonical(e.Suffix)
		if slices.ContainsFunc(c.Table[:i], func(o Entry) bool { return o.Suffix == e.Suffix }) {
			return nil, fmt.Errorf("steer: entry %d: suffix %q stands twice", i+1, e.Suffix)
		}
	}
	return &Selector{c}, nil
}

// canonical returns a domain in lower case, without dot at the end; the root is empty.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// within reports whether a name is a domain or is below it. Both are canonical.
func within(name, domain string) bool {
	return domain == "" || name == domain || strings.HasSuffix(name, "."+domain)
}

// SelectPvD implements [pvd.Selector]: the entry or claim with the longest suffix decides,
// an entry before a claim.
func (s *Selector) SelectPvD(ctx context.Context, c pvd.Call) (pvd.Ref, error) {
	name := canonical(c.Host)
	if _, err := netip.ParseAddr(name); err == nil || name == "" {
		return s.next(ctx, c)
	}
	entry, found := s.entry(name)
	ref, length := s.claimed(name)
	switch {
	case found && len(entry.Suffix) >= length:
		return s.named(entry)
	case length >= 0:
		return ref, nil
	}
	return s.next(ctx, c)
}

// entry returns the entry with the longest suffix for a name.
func (s *Selector) entry(name string) (best Entry, found bool) {
	for _, e := range s.config.Table {
		if within(name, e.Suffix) && (!found || len(e.Suffix) > len(best.Suffix)) {
			best, found = e, true
		}
	}
	return best, found
}

// named returns the PvD of an entry.
func (s *Selector) named(e Entry) (pvd.Ref, error) {
	if s.config.Find != nil {
		ref, err := s.config.Find(e.PvD)
		if err != nil {
			err = fmt.Errorf("names in %q: %w", e.Suffix+".", err)
		}
		return ref, err
	}
	for _, ref := range s.config.Host.List() {
		if i, err := s.config.Host.Info(ref); err == nil && (i.Name() == e.PvD || string(i.ID()) == e.PvD) {
			return ref, nil
		}
	}
	return pvd.Unspecified, fmt.Errorf("names in %q are those of PvD %q: %w", e.Suffix+".", e.PvD, pvd.ErrNoPvD)
}

// claimed returns the PvD that claims a name with the longest suffix, and its length; -1 if
// there is none. Of several it is the one that has been there for longest.
func (s *Selector) claimed(name string) (best pvd.Ref, length int) {
	length = -1
	if s.config.Trusted == nil {
		return best, length
	}
	for _, ref := range s.config.Host.List() {
		i, err := s.config.Host.Info(ref)
		if err != nil {
			continue
		}
		zones, _ := addinfo.DNSZones.Get(i)
		for _, z := range zones {
			if z = canonical(z); within(name, z) && len(z) > length && s.config.Trusted(i) {
				best, length = ref, len(z)
			}
		}
	}
	return best, length
}

func (s *Selector) next(ctx context.Context, c pvd.Call) (pvd.Ref, error) {
	if s.config.Next == nil {
		return pvd.Unspecified, nil
	}
	return s.config.Next.SelectPvD(ctx, c)
}

// A Claim is what a name server's network says that it is for (RFC 6731 section 4).
type Claim struct {
	PvD        pvd.Ref
	Domains    []string // that it knows of in particular
	Default    bool     // it knows of all others, too
	Preference pvd.Preference
	Trusted    bool // the network is
}

// Order returns the PvDs that may be asked for a name, the one to be preferred first
// (RFC 6731 section 4.1): those that know of it in particular before others, those that are
// trusted before those that are not, unless they have a low preference themselves.
func Order(claims []Claim, name string) []pvd.Ref {
	name = canonical(name)
	type ranked struct {
		ref           pvd.Ref
		class, length int
		preference    pvd.Preference
	}
	var all []ranked
	for _, c := range claims {
		length := -1
		for _, d := range c.Domains {
			if d = canonical(d); within(name, d) {
				length = max(length, len(d))
			}
		}
		if length < 0 && !c.Default {
			continue
		}
		all = append(all, ranked{c.PvD, c.class(length >= 0), length, c.Preference})
	}
	slices.SortStableFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.class, b.class), cmp.Compare(b.length, a.length), cmp.Compare(b.preference, a.preference))
	})
	refs := make([]pvd.Ref, len(all))
	for i, r := range all {
		refs[i] = r.ref
	}
	return refs
}

// class returns how much a claim counts, the lower the more. Figure 4 of RFC 6731 is its test.
func (c *Claim) class(specific bool) int {
	switch {
	case specific && c.Trusted:
		return 0
	case c.Trusted && c.Preference > pvd.Low:
		return 1
	case specific:
		return 2
	case !c.Trusted:
		return 3
	}
	return 4
}
