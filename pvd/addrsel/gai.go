package addrsel

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ParseGAI reads a policy in the form of the GNU C library's gai.conf(5): a policy table
// as label and precedence lines, and scopev4 lines. As there, any label line replaces all
// labels of the default table, any precedence line all its precedences, and any scopev4
// line all scopes of IPv4 addresses; what then is for no line has label 1, precedence 40,
// and global scope. Of several lines for the same prefix the first counts. The default
// table is that of RFC 6724.
//
// The lines that have meaning there have the same one here. What is ignored there because
// it can not be understood is an error, which says in which line it is.
//
// Reload is what the reload line says: whether the file is to be read again when it
// changes, which is for the caller to do.
func ParseGAI(r io.Reader) (c Config, reload bool, err error) {
	var g gai
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, MaxLine), MaxLine)
	n := 0
	for in.Scan() {
		if n++; n > MaxLines {
			return Config{}, false, fmt.Errorf("line %d: more than %d lines", n, MaxLines)
		}
		if err := g.line(in.Text()); err != nil {
			return Config{}, false, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := in.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("longer than %d octets", MaxLine-1)
		}
		return Config{}, false, fmt.Errorf("line %d: %w", n+1, err)
	}
	c = Config{Policy: g.policy(), Scopes4: g.scopes}
	if err := c.Validate(); err != nil {
		return Config{}, false, err // labels and precedences together are too many rows
	}
	return c, g.reload, nil
}

// gai is what has been read of a gai.conf.
type gai struct {
	labels, precedences []gaiEntry
	scopes              []Scope4
	reload              bool
}

// A gaiEntry is a label or precedence line.
type gaiEntry struct {
	prefix netip.Prefix // masked
	value  uint32
}

func (g *gai) line(text string) error {
	text, _, _ = strings.Cut(text, "#")
	f := strings.Fields(text)
	if len(f) == 0 {
		return nil
	}
	var err error
	switch f[0] {
	case "label":
		g.labels, err = addEntry(g.labels, f)
	case "precedence":
		g.precedences, err = addEntry(g.precedences, f)
	case "scopev4":
		err = g.addScope(f)
	case "reload":
		if len(f) < 2 || f[1] != "yes" && f[1] != "no" {
			return errors.New("reload: yes or no is wanted")
		}
		g.reload = f[1] == "yes"
	default:
		return fmt.Errorf("%.40q is none of label, precedence, scopev4 and reload", f[0])
	}
	return err
}

// addEntry adds a label or precedence line of some fields.
func addEntry(to []gaiEntry, f []string) ([]gaiEntry, error) {
	if len(f) < 3 {
		return nil, fmt.Errorf("%s: a prefix and a value are wanted", f[0])
	}
	p, err := parsePrefix(f[1])
	if err == nil && p.Addr().Is4() {
		err = fmt.Errorf("%v is IPv4; write ::ffff:%v/%d", p, p.Addr(), 96+p.Bits())
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f[0], err)
	}
	v, err := strconv.ParseUint(f[2], 10, 31)
	if err != nil {
		return nil, fmt.Errorf("%s: value %.40q is not between 0 and %d", f[0], f[2], MaxValue)
	}
	if len(to) == MaxRows {
		return nil, fmt.Errorf("%s: more than %d lines", f[0], MaxRows)
	}
	return append(to, gaiEntry{p, uint32(v)}), nil
}

// addScope adds a scopev4 line of some fields.
func (g *gai) addScope(f []string) error {
	if len(f) < 3 {
		return errors.New("scopev4: a prefix and a scope are wanted")
	}
	p, err := parsePrefix(f[1])
	if err != nil {
		return fmt.Errorf("scopev4: %w", err)
	}
	if b := blockOf(p); !mapped.contains(b) {
		return fmt.Errorf("scopev4: %v is not an IPv4 prefix", p)
	} else if p.Addr().Is6() {
		p = netip.PrefixFrom(p.Addr().Unmap(), b.bits-96)
	}
	v, err := strconv.ParseUint(f[2], 10, 8)
	if err != nil || Scope(v) > maxScope {
		return fmt.Errorf("scopev4: scope %.40q is not between 0 and %d", f[2], maxScope)
	}
	if len(g.scopes) == MaxScopes {
		return fmt.Errorf("scopev4: more than %d lines", MaxScopes)
	}
	if !slices.ContainsFunc(g.scopes, func(s Scope4) bool { return s.Prefix == p }) {
		g.scopes = append(g.scopes, Scope4{p, Scope(v)})
	}
	return nil
}

// parsePrefix parses a prefix, or an address that stands for itself alone.
func parsePrefix(s string) (netip.Prefix, error) {
	addr, length, found := strings.Cut(s, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%.60q is not a prefix", s)
	}
	n := uint64(a.BitLen())
	if found {
		if n, err = strconv.ParseUint(length, 10, 8); err != nil || n > uint64(a.BitLen()) {
			return netip.Prefix{}, fmt.Errorf("%.60q: the length is not between 0 and %d", s, a.BitLen())
		}
	}
	return netip.PrefixFrom(a, int(n)).Masked(), nil
}

// policy puts labels and precedences, which are tables of their own in gai.conf, into one:
// it has a row for each prefix of either, with what the other one has for that.
func (g *gai) policy() []Row {
	if len(g.labels) == 0 && len(g.precedences) == 0 {
		return nil
	}
	labels, precedences := g.labels, g.precedences
	for _, r := range DefaultPolicy() {
		if len(g.labels) == 0 {
			labels = append(labels, gaiEntry{r.Prefix, r.Label})
		}
		if len(g.precedences) == 0 {
			precedences = append(precedences, gaiEntry{r.Prefix, r.Precedence})
		}
	}
	labels, precedences = longestFirst(labels), longestFirst(precedences)
	var rows []Row
	seen := make(map[netip.Prefix]bool)
	for _, e := range slices.Concat(labels, precedences) {
		if !seen[e.prefix] {
			seen[e.prefix] = true
			rows = append(rows, Row{e.prefix, valueFor(precedences, e.prefix, defaultPrecedence), valueFor(labels, e.prefix, defaultLabel)})
		}
	}
	return rows
}

func longestFirst(entries []gaiEntry) []gaiEntry {
	slices.SortStableFunc(entries, func(a, b gaiEntry) int { return cmp.Compare(b.prefix.Bits(), a.prefix.Bits()) })
	return entries
}

// valueFor returns what the longest prefix that holds all of p has.
func valueFor(entries []gaiEntry, p netip.Prefix, otherwise uint32) uint32 {
	for _, e := range entries {
		if blockOf(e.prefix).contains(blockOf(p)) {
			return e.value
		}
	}
	return otherwise
}
