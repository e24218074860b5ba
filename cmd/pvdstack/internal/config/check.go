package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/pvdstack/pvdstack/pvd/selection"
)

// A checker understands what the raw values say and holds them against each other.
type checker struct {
	*faultList
	raw *rawFile

	linkNames []string // in the file
	pvdNames  []string // in the file, those that are learned too
	discovers bool     // some link learns by router advertisements
	appNames  []string // that proxies and DNS servers are for

	groupNames []string            // that PvDs are members of
	linkTypes  map[string]LinkType // by name, of links with a known type
	ipOnly     map[string]bool     // by name, of links known to carry no hardware addresses
}

// check returns what a file says. Where that notes a fault, the result is of no use.
func check(fs *faultList, raw *rawFile) *Config {
	c := &checker{faultList: fs, raw: raw, linkTypes: make(map[string]LinkType), ipOnly: make(map[string]bool)}
	for i := range raw.links {
		l := &raw.links[i]
		c.linkNames = append(c.linkNames, l.name.v)
		c.discovers = c.discovers || l.discover.ra.v || l.discover.all.v
		c.groupsOf(l.discover.modify)
	}
	for i := range raw.pvds {
		p := &raw.pvds[i]
		c.pvdNames = append(c.pvdNames, p.name.v)
		c.addGroups(p.elements.groups)
		c.groupsOf(p.learn.modify)
	}
	for _, p := range raw.socks5 {
		c.addApp(p.app)
	}
	for _, s := range raw.stubs {
		c.addApp(s.app)
	}
	out := &Config{
		File: fs.file, Rules: c.rules(), Policy: c.policy(&raw.policy), Log: c.log(),
		State: c.path(raw.state, "state"), Roots: c.path(raw.roots, "roots"), RootsAt: raw.roots.at,
	}
	out.Default, out.Failover = c.defaultPvD()
	for i := range raw.links {
		out.Links = append(out.Links, c.link(&raw.links[i]))
	}
	c.uniqueDevices()
	switch {
	case slices.ContainsFunc(raw.links, func(l rawLink) bool { return l.discover.given }):
	case !raw.pvdsKey.given:
		c.add(Position{1, 1}, `the file has no "pvds": want at least one PvD, or a link with "discover"`)
	case len(raw.pvds) == 0 && raw.pvdsKey.set:
		c.add(raw.pvdsKey.at, `the file has no PvD: want at least one, or a link with "discover"`)
	}
	var attached []*rawPvD
	for i := range raw.pvds {
		if r := &raw.pvds[i]; r.learn.match.given {
			c.learned(r, out)
		} else {
			out.PvDs, attached = append(out.PvDs, c.pvd(r)), append(attached, r)
		}
	}
	c.linkRules(out)
	c.uniqueAddresses(out, attached)
	for i := range raw.socks5 {
		out.Proxies = append(out.Proxies, c.proxy(&raw.socks5[i]))
	}
	c.uniqueListeners(out)
	for i := range raw.stubs {
		out.Stubs = append(out.Stubs, c.stub(&raw.stubs[i]))
	}
	c.uniqueStubs(out)
	out.Steer = c.steer(&raw.steer)
	if len(c.list) == 0 {
		c.validate(out)
	}
	return out
}

// addApp notes an app that a proxy or a DNS server is for.
func (c *checker) addApp(app value[string]) {
	if app.set && !slices.Contains(c.appNames, app.v) {
		c.appNames = append(c.appNames, app.v)
	}
}

// validate lets the model itself judge the PvDs, whose limits it knows.
func (c *checker) validate(out *Config) {
	for _, p := range out.PvDs {
		if err := p.Config.Validate(); err != nil {
			c.add(p.At, "PvD %s: %s", quote(p.Name), strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	if err := out.Learn.Validate(); err != nil { // what is left are limits
		c.add(Position{1, 1}, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
}

// defaultPvD checks the default, or the PvDs of which it is the first that can be used.
func (c *checker) defaultPvD() (name string, failover []string) {
	named := c.raw.defList
	if c.raw.def.set {
		named = []value[string]{c.raw.def}
	}
	for _, d := range named {
		i := slices.Index(c.pvdNames, d.v)
		switch {
		case i < 0 && !c.learnable(d.v):
			c.add(d.at, "default names %s, which is no PvD%s", quote(d.v), hint(d.v, c.pvdNames))
		case c.raw.def.set:
		case slices.Contains(failover, d.v):
			c.add(d.at, "PvD %s is here for the second time: leave one", quote(d.v))
		case i >= 0 && !c.raw.pvds[i].learn.match.given && len(c.raw.pvds[i].routes) == 0:
			c.add(d.at, "PvD %s has no routes, without which it never is the default among others: give it some, or leave it out", quote(d.v))
		default:
			failover = append(failover, d.v)
		}
	}
	if n := len(failover); n > selection.MaxFailover {
		c.add(c.raw.def.at, "default has %d PvDs: want %d at most", n, selection.MaxFailover)
	}
	return c.raw.def.v, failover
}

func (c *checker) log() Log {
	level := c.oneOf(c.raw.level, "log level", "debug", "info", "warn", "error")
	format := c.oneOf(c.raw.format, "log format", "text", "json")
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "warn": slog.LevelWarn, "error": slog.LevelError}
	return Log{Level: levels[level], JSON: format == "json"} // the zero level is info
}

// oneOf returns v's text if it is one of words, else the empty string.
func (c *checker) oneOf(v value[string], what string, words ...string) string {
	if !v.set {
		return ""
	}
	if !slices.Contains(words, v.v) {
		c.add(v.at, "%s %s is not known%s", what, quote(v.v), hint(v.v, words))
		return ""
	}
	return v.v
}

// reserved are the names that mean something else where a PvD's name may stand.
var reserved = []string{"null", "all", "default", "unspecified"}

// name checks a key that names a link or a PvD.
func (c *checker) name(v value[string], what string) {
	switch {
	case v.v == "":
		c.add(v.at, "%s has an empty name", what)
	case len(v.v) > maxName:
		c.add(v.at, "the name of %s is longer than %d characters", what, maxName)
	case slices.Contains(reserved, v.v):
		c.add(v.at, "%s can not be called %s, which has a meaning of its own", what, quote(v.v))
	case strings.ContainsFunc(v.v, func(r rune) bool { return !nameRune(r) }):
		c.add(v.at, "the name of %s is %s: want letters, digits, '.', '-' and '_' only", what, quote(v.v))
	}
}

func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".-_", r)
}

// hostPrefix understands an address with the length of its prefix, such as 192.168.1.2/24.
func (c *checker) hostPrefix(v value[string]) (netip.Prefix, bool) {
	if !v.set {
		return netip.Prefix{}, false
	}
	p, err := netip.ParsePrefix(v.v)
	if err != nil {
		switch a, err := netip.ParseAddr(v.v); {
		case err == nil && a.Zone() == "" && a.Is4():
			c.add(v.at, "address %s has no prefix length: want one such as %s/24", quote(v.v), v.v)
		case err == nil && a.Zone() == "":
			c.add(v.at, "address %s has no prefix length: want one such as %s/64", quote(v.v), v.v)
		default:
			c.add(v.at, "%s is no address: want one such as 192.168.1.2/24 or 2001:db8::2/64", quote(v.v))
		}
		return netip.Prefix{}, false
	}
	if why := notUnicast(p.Addr()); why != "" {
		c.add(v.at, "address %s is %s: want a unicast address", quote(v.v), why)
		return netip.Prefix{}, false
	}
	if p.Addr().Is4() && p.Bits() < 31 {
		if p.Addr() == p.Masked().Addr() {
			c.add(v.at, "address %s is its whole network: want that of one host, such as %s/%d", quote(v.v), p.Addr().Next(), p.Bits())
			return netip.Prefix{}, false
		}
		if p.Addr() == broadcast(p) {
			c.add(v.at, "address %s is its network's broadcast address: want that of one host, such as %s/%d", quote(v.v), p.Addr().Prev(), p.Bits())
			return netip.Prefix{}, false
		}
	}
	return p, true
}

// netPrefix understands a network, such as 192.168.1.0/24. A host's address is a network
// of one.
func (c *checker) netPrefix(v value[string], what string) (netip.Prefix, bool) {
	if !v.set {
		return netip.Prefix{}, false
	}
	if a, err := netip.ParseAddr(v.v); err == nil && a.Zone() == "" && !a.Is4In6() {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(v.v)
	switch {
	case err != nil || p.Addr().Is4In6():
		c.add(v.at, "%s %s is no prefix: want one such as 10.0.0.0/8 or 2001:db8::/32", what, quote(v.v))
		return netip.Prefix{}, false
	case p != p.Masked():
		c.add(v.at, "%s %s has bits set after its length: want %s", what, quote(v.v), p.Masked())
		return netip.Prefix{}, false
	}
	return p, true
}

// notUnicast says what kind of address a is that no host on a link can have, "" if one can.
func notUnicast(a netip.Addr) string {
	switch {
	case a.Is4In6():
		return "an IPv4 address written as IPv6"
	case a.IsUnspecified():
		return "the unspecified address"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsMulticast():
		return "a multicast address"
	case a.Is4() && a.As4()[0] == 0:
		return `on "this network" (RFC 1122)`
	case a.Is4() && a.As4()[0] >= 240:
		return "in the reserved range 240.0.0.0/4"
	}
	return ""
}

// broadcast returns the last address of an IPv4 prefix.
func broadcast(p netip.Prefix) netip.Addr {
	a := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}

// mac understands a hardware address of one station.
func (c *checker) mac(v value[string]) net.HardwareAddr {
	if !v.set {
		return nil
	}
	m, err := net.ParseMAC(v.v)
	switch {
	case err != nil || len(m) != 6:
		c.add(v.at, "%s is no hardware address: want one such as 02:00:00:00:00:01", quote(v.v))
		return nil
	case m[0]&1 != 0:
		c.add(v.at, "hardware address %s is a group's: want that of one station", m)
		return nil
	}
	return m
}

// missing notes a key that at's mapping lacks.
func (c *checker) missing(at Position, what, key, want string) {
	c.add(at, "%s has no %q: want %s", what, key, want)
}

// plural returns "1 thing" or "n things".
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
