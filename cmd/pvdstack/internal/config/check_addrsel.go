package config

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/pvdstack/pvdstack/pvd/addrsel"
)

// selectionRules are the rules of RFC 6724 by their names and by their numbers.
var selectionRules = []struct {
	name, number string
	rule         addrsel.Rules
}{
	{"source-same", "source-1", addrsel.SourceSame},
	{"source-scope", "source-2", addrsel.SourceScope},
	{"source-deprecated", "source-3", addrsel.SourceDeprecated},
	{"source-home", "source-4", addrsel.SourceHome},
	{"source-outgoing", "source-5", addrsel.SourceOutgoing},
	{"source-advertised", "source-5.5", addrsel.SourceAdvertised},
	{"source-label", "source-6", addrsel.SourceLabel},
	{"source-temporary", "source-7", addrsel.SourceTemporary},
	{"source-longest", "source-8", addrsel.SourceLongest},
	{"destination-unusable", "destination-1", addrsel.DestUnusable},
	{"destination-scope", "destination-2", addrsel.DestScope},
	{"destination-deprecated", "destination-3", addrsel.DestDeprecated},
	{"destination-home", "destination-4", addrsel.DestHome},
	{"destination-label", "destination-5", addrsel.DestLabel},
	{"destination-precedence", "destination-6", addrsel.DestPrecedence},
	{"destination-native", "destination-7", addrsel.DestNative},
	{"destination-smaller", "destination-8", addrsel.DestSmaller},
	{"destination-longest", "destination-9", addrsel.DestLongest},
	{"destination-longest-ipv4", "destination-9-ipv4", addrsel.DestLongest4},
	{"destination-longest-ipv6", "destination-9-ipv6", addrsel.DestLongest6},
}

// addressSelection understands how the PvD's addresses are chosen.
func (p *pvdChecker) addressSelection(s *rawSelection) {
	if !s.given {
		return
	}
	before := len(p.list)
	c := addrsel.Config{
		Policy: p.policyTable(s.rows), Scopes4: p.scopes4(s.scopes), Off: p.rulesOff(s.without),
		FirstAddress: s.first.v, PreferPublic: s.preferPublic.v, PreferCareOf: s.preferCare.v,
	}
	switch p.oneOf(s.order, "order", "jointly", "route-first", "source-first") {
	case "route-first":
		c.Order = addrsel.RouteFirst
	case "source-first":
		c.Order = addrsel.SourceFirst
	}
	if s.gai.set {
		for _, other := range []struct {
			key  value[struct{}]
			name string
		}{{s.policy, "policy"}, {s.scopesKey, "scopev4"}} {
			if other.key.given {
				p.add(other.key.at, "%q and \"gai_conf\" say the same thing in two ways: leave one", other.name)
			}
		}
		p.gai(s.gai, &c)
	}
	if len(p.list) > before {
		return
	}
	if err := c.Validate(); err != nil { // what is left are limits
		p.add(s.at, "address_selection: %s", err)
		return
	}
	p.element(addrsel.Key.With(c))
}

// gai understands a policy in the form of gai.conf(5).
func (p *pvdChecker) gai(v value[string], c *addrsel.Config) {
	of, reload, err := addrsel.ParseGAI(strings.NewReader(v.v))
	switch {
	case err != nil:
		p.add(v.at, "gai_conf, %s", strings.TrimPrefix(err.Error(), "addrsel: "))
	case reload:
		p.add(v.at, `gai_conf says "reload yes", but is read with this file only: leave the line out`)
	}
	c.Policy, c.Scopes4 = of.Policy, of.Scopes4
}

func (p *pvdChecker) policyTable(raw []rawRow) (rows []addrsel.Row) {
	for i := range raw {
		r := &raw[i]
		if r.broken {
			continue
		}
		if !r.prefix.given {
			p.missing(r.at, "the row of the policy", "prefix", "one such as 2001:db8::/32")
		}
		if !r.precedence.given {
			p.missing(r.at, "the row of the policy", "precedence", "a number: the higher one is preferred")
		}
		if !r.label.given {
			p.missing(r.at, "the row of the policy", "label", "a number: addresses of one label go together")
		}
		prefix, ok := p.policyPrefix(r.prefix)
		if ok && slices.ContainsFunc(rows, func(o addrsel.Row) bool { return o.Prefix == prefix }) {
			p.add(r.prefix.at, "the policy for %s is here for the second time: leave one", prefix)
		}
		rows = append(rows, addrsel.Row{Prefix: prefix, Precedence: uint32(r.precedence.v), Label: uint32(r.label.v)})
	}
	return rows
}

// policyPrefix understands a prefix of the policy table, where IPv4 is usually written as
// IPv6, as in RFC 6724 section 2.1.
func (p *pvdChecker) policyPrefix(v value[string]) (netip.Prefix, bool) {
	if m, err := netip.ParsePrefix(v.v); err == nil && m.Addr().Is4In6() && m.Bits() >= 96 {
		v.v = netip.PrefixFrom(m.Addr().Unmap(), m.Bits()-96).String()
	}
	return p.netPrefix(v, "policy for")
}

func (p *pvdChecker) scopes4(raw []rawScope4) (scopes []addrsel.Scope4) {
	values := map[string]addrsel.Scope{"link-local": addrsel.LinkLocal, "site-local": addrsel.SiteLocal, "global": addrsel.Global}
	for i := range raw {
		r := &raw[i]
		if r.broken {
			continue
		}
		if !r.prefix.given {
			p.missing(r.at, "the scope", "prefix", "one such as 10.0.0.0/8")
		}
		if !r.scope.given {
			p.missing(r.at, "the scope", "scope", oneOf([]string{"link-local", "site-local", "global"}))
		}
		prefix, ok := p.netPrefix(r.prefix, "scope of")
		switch {
		case ok && !prefix.Addr().Is4():
			p.add(r.prefix.at, "scope of %s: IPv6 addresses say their scope themselves, want an IPv4 prefix such as 10.0.0.0/8", prefix)
		case ok && slices.ContainsFunc(scopes, func(o addrsel.Scope4) bool { return o.Prefix == prefix }):
			p.add(r.prefix.at, "the scope of %s is here for the second time: leave one", prefix)
		}
		scope := values[p.oneOf(r.scope, "scope", "link-local", "site-local", "global")]
		scopes = append(scopes, addrsel.Scope4{Prefix: prefix, Scope: scope})
	}
	return scopes
}

// rulesOff understands the rules that are passed over.
func (p *pvdChecker) rulesOff(vs []value[string]) (off addrsel.Rules) {
	var names []string
	for _, r := range selectionRules {
		names = append(names, r.name, r.number)
	}
	for _, v := range vs {
		i := slices.Index(names, v.v)
		if i < 0 {
			wanted := hint(v.v, names)
			if wanted == "" {
				wanted = `: want one such as "source-home", "source-4", "destination-longest-ipv4" or "destination-9"`
			}
			p.add(v.at, "rule %s is not known%s", quote(v.v), wanted)
			continue
		}
		off |= selectionRules[i/2].rule
	}
	return off
}
