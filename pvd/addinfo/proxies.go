package addinfo

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Rule says which proxies of a PvD a destination is reached by. Of several rules the
// first that matches decides (draft-ietf-intarea-proxy-config section 4).
type Rule struct {
	// Proxies are the names of the proxies, the preferred one first. None: matching
	// destinations are not reached by any proxy of the PvD.
	Proxies []string

	// Domains are names in lower case; *.example.com is example.com and all below it. nil:
	// any destination.
	Domains []string

	// Subnets are prefixes of the destination's address. nil: any destination.
	Subnets []netip.Prefix

	// Ports are ranges of the destination's port. nil: any.
	Ports []PortRange
}

// A PortRange is all ports from First to Last, both included.
type PortRange struct{ First, Last uint16 }

// A Destination is what a proxy is looked for. Name or Addrs may be missing.
type Destination struct {
	Name  string       // a name without search list; case and a trailing dot do not matter
	Addrs []netip.Addr // the address that is asked for, or those of Name
	Port  uint16
}

// Match returns the proxies by which a destination is to be reached, in order of
// preference; none means that no proxy of the PvD is for it. usable says of which proxies
// the caller speaks the protocol and can carry what it has; nil is all of them.
func Match(proxies []pvd.Proxy, rules []Rule, d Destination, usable func(pvd.Proxy) bool) []pvd.Proxy {
	d.Name = strings.ToLower(strings.TrimSuffix(d.Name, "."))
	named := func(name string) (found []pvd.Proxy) {
		for _, p := range proxies {
			if p.ID == name && (usable == nil || usable(p)) {
				found = append(found, p)
			}
		}
		return found
	}
	anything := named("")
	for _, r := range rules {
		if !r.matches(d) {
			continue
		}
		if len(r.Proxies) == 0 {
			return nil
		}
		var found []pvd.Proxy
		for _, name := range r.Proxies {
			found = append(found, named(name)...)
		}
		if len(found) > 0 {
			return found
		}
	}
	return anything
}

func (r Rule) matches(d Destination) bool {
	return (r.Domains == nil || slices.ContainsFunc(r.Domains, func(pattern string) bool { return inDomain(d.Name, pattern) })) &&
		(r.Subnets == nil || slices.ContainsFunc(r.Subnets, func(p netip.Prefix) bool {
			return slices.ContainsFunc(d.Addrs, func(a netip.Addr) bool { return p.Contains(a.Unmap().WithZone("")) })
		})) &&
		(r.Ports == nil || slices.ContainsFunc(r.Ports, func(p PortRange) bool { return p.First <= d.Port && d.Port <= p.Last }))
}

func inDomain(name, pattern string) bool {
	below, wildcard := strings.CutPrefix(pattern, "*.")
	return name == below || wildcard && strings.HasSuffix(name, "."+below)
}

// understood are the keys of a proxy's dictionary that may be mandatory.
var understood = []string{"alpn", "identifier", "mandatory"}

func (o *Object) proxies(v any) { o.Proxies = listed(o, "proxies", v, MaxProxies, parseProxy) }

// listed returns the entries of an array that parse understands. The others are noted.
func listed[T any](o *Object, key string, v any, limit int, parse func(any) (T, *Fault)) (good []T) {
	list, ok := v.([]any)
	if !ok {
		o.note(faultf(BadValue, key, "%s, want an array", kind(v)))
		return nil
	}
	for i, v := range o.atMost(key, list, limit) {
		e, fault := parse(v)
		if fault != nil {
			fault.Where = fmt.Sprintf("%s[%d]", key, i) + fault.Where
			o.note(fault)
			continue
		}
		good = append(good, e)
	}
	return good
}

func parseProxy(v any) (p pvd.Proxy, fault *Fault) {
	raw, ok := v.(object)
	if !ok {
		return p, faultf(BadValue, "", "%s, want an object", kind(v))
	}
	for _, key := range []string{"protocol", "proxy", "identifier"} {
		v, ok := raw[key]
		if s, _ := v.(string); ok && s == "" {
			return p, faultf(BadValue, "."+key, "want a string that is not empty")
		}
		if !ok && key != "identifier" {
			return p, faultf(MissingKey, "."+key, "it is mandatory and missing")
		}
	}
	if fault := mandatory(raw); fault != nil {
		return p, fault
	}
	p.Protocol, _ = raw["protocol"].(string)
	p.Address, _ = raw["proxy"].(string)
	p.ID, _ = raw["identifier"].(string)
	switch p.Protocol {
	case "socks5", "http-connect", "https-connect":
		ok = isHostPort(p.Address)
	case "connect-udp", "connect-ip", "connect-tcp":
		ok = isTemplate(p.Address)
	default:
		return p, faultf(Unsupported, ".protocol", "%s is not known", quote(p.Protocol))
	}
	if !ok || len(p.Address) > MaxURL {
		return p, faultf(BadValue, ".proxy", "%s is no place of a proxy of protocol %s", quote(p.Address), p.Protocol)
	}
	return p, nil
}

// mandatory reports a key that has to be understood and is not, which makes a proxy
// unusable.
func mandatory(raw object) *Fault {
	v, ok := raw["mandatory"]
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		return faultf(BadValue, ".mandatory", "%s, want an array", kind(v))
	}
	for _, v := range list {
		s, ok := v.(string)
		switch {
		case !ok:
			return faultf(BadValue, ".mandatory", "%s, want a string", kind(v))
		case !slices.Contains(understood, s):
			return faultf(Unsupported, ".mandatory", "%s is not understood", quote(s))
		}
	}
	return nil
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	n, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil || n == 0 {
		return false
	}
	_, err = netip.ParseAddr(host)
	return err == nil || isHostName(host)
}

// isTemplate reports whether s can be a URI template of RFC 6570 with a fixed https
// authority, as RFC 9298 section 2 wants it.
func isTemplate(s string) bool {
	fixed, _, _ := strings.Cut(s, "{")
	u, err := url.Parse(fixed)
	return err == nil && u.Scheme == "https" && u.Hostname() != "" && u.User == nil && isText(s)
}

// isText reports whether s is printable ASCII without spaces.
func isText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

func (o *Object) rules(v any) { o.Rules = listed(o, "proxy-match", v, MaxRules, parseRule) }

// parseRule parses a rule. One that has a key or value which is not understood is to be
// ignored as a whole.
func parseRule(v any) (r Rule, fault *Fault) {
	raw, ok := v.(object)
	if !ok {
		return r, faultf(BadValue, "", "%s, want an object", kind(v))
	}
	if _, ok := raw["proxies"]; !ok {
		return r, faultf(MissingKey, ".proxies", "it is mandatory and missing")
	}
	for _, key := range slices.Sorted(maps.Keys(raw)) { // the same fault each time
		switch v := raw[key]; key {
		case "proxies":
			r.Proxies, fault = entries(v, 0, parseNonempty)
		case "domains":
			r.Domains, fault = entries(v, 1, parseDomain)
		case "subnets":
			r.Subnets, fault = entries(v, 1, parseSubnet)
		case "ports":
			r.Ports, fault = entries(v, 1, parsePorts)
		default:
			return r, faultf(Unsupported, "", "key %s is not known", quote(key))
		}
		if fault != nil {
			fault.Where = "." + key + fault.Where
			return r, fault
		}
	}
	return r, nil
}

// entries returns what parse makes of each string of an array.
func entries[T any](v any, least int, parse func(string) (T, bool)) ([]T, *Fault) {
	list, ok := v.([]any)
	switch {
	case !ok:
		return nil, faultf(BadValue, "", "%s, want an array", kind(v))
	case len(list) < least:
		return nil, faultf(BadValue, "", "it is empty")
	case len(list) > MaxRuleEntries:
		return nil, faultf(TooMany, "", "%d entries, the limit is %d", len(list), MaxRuleEntries)
	}
	parsed := make([]T, len(list))
	for i, v := range list {
		s, ok := v.(string)
		if ok {
			parsed[i], ok = parse(s)
		}
		if !ok {
			return nil, faultf(BadValue, fmt.Sprintf("[%d]", i), "%s is none", quote(fmt.Sprint(v)))
		}
	}
	return parsed, nil
}

func parseNonempty(s string) (string, bool) { return s, s != "" }

func parseDomain(s string) (string, bool) {
	name, wildcard := strings.CutPrefix(s, "*.")
	id, err := pvd.ParseID(name)
	if err != nil || id == "" || strings.Contains(string(id), "*") {
		return "", false
	}
	if wildcard {
		return "*." + string(id), true
	}
	return string(id), true
}

func parseSubnet(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err == nil && !p.Addr().Is4In6()
}

func parsePorts(s string) (PortRange, bool) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	low, err1 := strconv.ParseUint(first, 10, 16)
	high, err2 := strconv.ParseUint(last, 10, 16)
	return PortRange{uint16(low), uint16(high)}, err1 == nil && err2 == nil && low <= high
}
