package addrsel

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// DefaultPolicy returns the policy table of RFC 6724 section 2.1, as the start of one's
// own.
func DefaultPolicy() []Row {
	return []Row{
		{netip.MustParsePrefix("::1/128"), 50, 0},
		{netip.MustParsePrefix("::/0"), defaultPrecedence, defaultLabel},
		{netip.MustParsePrefix("::ffff:0:0/96"), 35, 4},
		{netip.MustParsePrefix("2002::/16"), 30, 2},
		{netip.MustParsePrefix("2001::/32"), 5, 5},
		{netip.MustParsePrefix("fc00::/7"), 3, 13},
		{netip.MustParsePrefix("::/96"), 1, 3},
		{netip.MustParsePrefix("fec0::/10"), 1, 11},
		{netip.MustParsePrefix("3ffe::/16"), 1, 12},
	}
}

// What ::/0 has in the default table, and in one that does not mention it.
const (
	defaultPrecedence = 40
	defaultLabel      = 1
)

// A word is an address as a number; an IPv4 address is one in its IPv6 form
// (RFC 6724 section 3.2).
type word struct{ hi, lo uint64 }

func wordOf(a netip.Addr) word {
	b := a.As16()
	return word{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// common returns the number of leading bits that two addresses share.
func (w word) common(o word) int {
	if x := w.hi ^ o.hi; x != 0 {
		return bits.LeadingZeros64(x)
	}
	return 64 + bits.LeadingZeros64(w.lo^o.lo)
}

// A block is the addresses of a prefix. It is comparable.
type block struct {
	word
	bits int
}

// mapped are the IPv4 addresses.
var mapped = blockOf(netip.MustParsePrefix("::ffff:0:0/96"))

// blockOf returns the block of a valid prefix.
func blockOf(p netip.Prefix) block {
	if !p.IsValid() {
		return block{}
	}
	p = p.Masked()
	n := p.Bits()
	if p.Addr().Is4() {
		n += 96
	}
	return block{wordOf(p.Addr()), n}
}

// holds reports whether an address is in b.
func (b block) holds(w word) bool { return b.common(w) >= b.bits }

// contains reports whether all of o is in b.
func (b block) contains(o block) bool { return b.bits <= o.bits && b.holds(o.word) }

// A row is a row of the policy table at work.
type row struct {
	block
	precedence, label uint32
}

// newTable makes a table of valid rows: the longest prefixes first, the one for all
// addresses last.
func newTable(rows []Row) []row {
	if len(rows) == 0 {
		rows = DefaultPolicy()
	}
	t := make([]row, len(rows), len(rows)+1)
	for i, r := range rows {
		t[i] = row{blockOf(r.Prefix), r.Precedence, r.Label}
	}
	if !slices.ContainsFunc(t, func(r row) bool { return r.bits == 0 }) {
		t = append(t, row{precedence: defaultPrecedence, label: defaultLabel})
	}
	slices.SortFunc(t, func(a, b row) int { return cmp.Compare(b.bits, a.bits) })
	return t
}

// lookup returns the row of an address. Every table has one for all that others are not
// for.
func (s *Selector) lookup(w word) *row {
	for i := range s.table {
		if s.table[i].holds(w) {
			return &s.table[i]
		}
	}
	return &s.table[len(s.table)-1]
}

// Precedence and Label return what the policy table has for an address.
func (s *Selector) Precedence(a netip.Addr) uint32 { return s.lookup(wordOf(a)).precedence }

// Label is described with Precedence.
func (s *Selector) Label(a netip.Addr) uint32 { return s.lookup(wordOf(a)).label }
