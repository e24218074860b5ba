package addrsel

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Config is a PvD's own policy for choosing addresses. The zero value is RFC 6724 as it
// stands.
type Config struct {
	// Policy is the policy table (RFC 6724 section 2.1), in any order. Empty: the default
	// one, [DefaultPolicy]. A table without a row for ::/0 gets that of the default table.
	Policy []Row

	// Scopes4 gives IPv4 addresses their scopes, in any order; the longest prefix counts.
	// Empty: 169.254.0.0/16 and 127.0.0.0/8 are link-local (RFC 6724 section 3.2). Those in
	// none of the prefixes are global.
	Scopes4 []Scope4

	// Off are the rules that are passed over.
	Off Rules

	// PreferPublic reverses rule 7 for sources: public addresses go before temporary ones.
	PreferPublic bool

	// PreferCareOf reverses rule 4 for sources: addresses that are care-of addresses only
	// go before home addresses.
	PreferCareOf bool

	// FirstAddress takes the first address of the outgoing interface and applies no rule
	// for sources at all.
	FirstAddress bool

	// Order says what is chosen first, the route or the source.
	Order Order
}

// A Row is a row of the policy table.
type Row struct {
	// Prefix is what the row is for. An IPv4 prefix stands for the same one in IPv6 form.
	// What it has beyond its length does not count.
	Prefix netip.Prefix

	Precedence uint32 // of destinations: the higher one is preferred; up to MaxValue
	Label      uint32 // sources go with destinations of the same one; up to MaxValue
}

// A Scope4 is the scope of the IPv4 addresses in a prefix.
type Scope4 struct {
	Prefix netip.Prefix // IPv4, or IPv4 in IPv6 form of at least 96 bits
	Scope  Scope
}

// An Order is how the choice of a source and that of a route depend on each other
// (RFC 6419 section 2.3.3).
type Order uint8

const (
	// Jointly takes the best route that has a source. Among equally good routes, the one
	// with the better source goes first.
	Jointly Order = iota

	// RouteFirst takes the best route, and then the best source for it. If there is none,
	// the destination is unreachable although another route might have one.
	RouteFirst

	// SourceFirst takes the best source of all that some route is for, and then the best
	// route for it.
	SourceFirst
)

// Key is a PvD's policy for choosing addresses. A PvD without it is served by the rules
// of RFC 6724 as they stand.
var Key = pvd.NewKey("address selection", Config.Clone)

// Clone returns a copy of c that shares no memory with it.
func (c Config) Clone() Config {
	c.Policy = slices.Clone(c.Policy)
	c.Scopes4 = slices.Clone(c.Scopes4)
	return c
}

// Validate reports what is wrong with c.
func (c Config) Validate() error {
	if c.Order > SourceFirst {
		return fmt.Errorf("order %d is none", c.Order)
	}
	if extra := c.Off &^ allRules; extra != 0 {
		return fmt.Errorf("off: %#x is no rule", uint32(extra))
	}
	if err := validatePolicy(c.Policy); err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	if err := validateScopes(c.Scopes4); err != nil {
		return fmt.Errorf("scopes of IPv4 addresses: %w", err)
	}
	return nil
}

func validatePolicy(rows []Row) error {
	if len(rows) > MaxRows {
		return fmt.Errorf("%d rows, the limit is %d", len(rows), MaxRows)
	}
	seen := make(map[block]bool, len(rows))
	for _, r := range rows {
		b := blockOf(r.Prefix)
		switch {
		case !r.Prefix.IsValid():
			return fmt.Errorf("%v is not a valid prefix", r.Prefix)
		case seen[b]:
			return fmt.Errorf("%v stands twice", r.Prefix)
		case r.Precedence > MaxValue, r.Label > MaxValue:
			return fmt.Errorf("%v: precedence and label are at most %d", r.Prefix, MaxValue)
		}
		seen[b] = true
	}
	return nil
}

func validateScopes(scopes []Scope4) error {
	if len(scopes) > MaxScopes {
		return fmt.Errorf("%d prefixes, the limit is %d", len(scopes), MaxScopes)
	}
	seen := make(map[block]bool, len(scopes))
	for _, s := range scopes {
		b := blockOf(s.Prefix)
		switch {
		case !s.Prefix.IsValid() || !mapped.contains(b):
			return fmt.Errorf("%v is not an IPv4 prefix", s.Prefix)
		case seen[b]:
			return fmt.Errorf("%v stands twice", s.Prefix)
		case s.Scope > maxScope:
			return fmt.Errorf("%v: scope %d is above %d", s.Prefix, s.Scope, maxScope)
		}
		seen[b] = true
	}
	return nil
}

// A Selector chooses by a policy. It is made by [New], never changes and may be used
// concurrently. None of its methods allocates memory, but [Selector.Sort] where IPv4 and
// IPv6 destinations are of the same precedence.
type Selector struct {
	table  []row    // longest prefixes first
	scopes []scope4 // longest prefixes first
	on     Rules
	first  bool
	public bool
	careOf bool
	order  Order
}

// New returns a selector for a policy. The error says what is wrong with c.
func New(c Config) (*Selector, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return &Selector{
		table: newTable(c.Policy), scopes: newScopes(c.Scopes4), on: allRules &^ c.Off,
		first: c.FirstAddress, public: c.PreferPublic, careOf: c.PreferCareOf, order: c.Order,
	}, nil
}

// Default returns a selector for the zero Config.
func Default() *Selector { return standard }

var standard = &Selector{table: newTable(nil), scopes: newScopes(nil), on: allRules}

// Order returns what is to be chosen first.
func (s *Selector) Order() Order { return s.order }
