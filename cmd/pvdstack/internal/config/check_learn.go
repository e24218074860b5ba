package config

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addrsel"
	"github.com/pvdstack/pvdstack/pvd/learn"
)

// discover understands how the PvDs of a link are learned.
func (c *checker) discover(r *rawDiscover, l Link) Discover {
	if !r.given {
		return Discover{}
	}
	ip := c.ipOnly[l.Name]
	if r.all.v {
		return Discover{RA: true, DHCP4: !ip, DHCP6: true, Information: true}
	}
	d := Discover{
		RA: r.ra.v, DHCP4: r.dhcp4.v, DHCP6: r.dhcp6.v,
		Temporary: r.temporary.v, Prefixes: r.prefixes.v, IPv6Only: r.ipv6Only.v,
		Information: r.ra.v && (r.information.v || !r.information.given),
	}
	switch {
	case r.broken:
		return d
	case !d.RA && !d.DHCP4 && !d.DHCP6:
		c.add(r.at, `discover learns nothing: want "ra", "dhcp4" or "dhcp6" to be true, or "discover: true" for all of them`)
		return d
	}
	if d.DHCP4 && ip {
		c.add(r.dhcp4.at, "dhcp4 is for Ethernet: link %q carries IP packets", l.Name)
	}
	for _, k := range []struct {
		key   string
		v     value[bool]
		ok    bool
		needs string
	}{
		{"dhcp6", r.dhcp6, d.RA, "ra"},
		{"temporary", r.temporary, d.RA, "ra"},
		{"prefixes", r.prefixes, d.DHCP6, "dhcp6"},
		{"ipv6_only", r.ipv6Only, d.DHCP4, "dhcp4"},
		{"information", r.information, d.RA, "ra"},
	} {
		if k.v.v && !k.ok {
			c.add(k.v.at, `%s needs %q to be true, too`, k.key, k.needs)
		}
	}
	return d
}

// learnable reports whether a PvD that the file does not have may be learned under a name:
// it is an ID, and routers are listened to.
func (c *checker) learnable(name string) bool {
	id, err := pvd.ParseID(name)
	return err == nil && c.discovers && strings.Contains(string(id), ".")
}

// notAnID notes a PvD's name that somebody's router could give another PvD as its ID, which
// would then be taken for this one.
func (c *checker) notAnID(name value[string], id pvd.ID) {
	if other, err := pvd.ParseID(name.v); err == nil && other != id && c.learnable(name.v) {
		c.add(name.at, "PvD %s has a name that one which is learned could have as its ID: want a name without dots, or its own ID", quote(name.v))
	}
}

// groupsOf notes the groups that modifiers put PvDs into.
func (c *checker) groupsOf(ms []rawModifier) {
	for i := range ms {
		c.addGroups(ms[i].said.elements.groups)
	}
}

func (c *checker) addGroups(groups []value[string]) {
	for _, g := range groups {
		if !slices.Contains(c.groupNames, g.v) {
			c.groupNames = append(c.groupNames, g.v)
		}
	}
}

// path understands the path of a file or directory.
func (c *checker) path(v value[string], what string) string {
	if v.set && (v.v == "" || strings.ContainsRune(v.v, 0)) {
		c.add(v.at, "%s is %s: want a path", what, quote(v.v))
	}
	return v.v
}

// notLearned notes keys that only a PvD that is learned has.
func (c *checker) notLearned(l *rawLearn) {
	for _, k := range []struct {
		key   string
		given bool
		at    Position
	}{{"merge", l.merge.given, l.merge.at}, {"accept", l.accept.given, l.accept.at}, {"modify", l.modifyKey.given, l.modifyKey.at}} {
		if k.given {
			c.add(k.at, `%q is for PvDs that are learned: add "match", or leave it out`, k.key)
		}
	}
}

// learned understands a PvD that is learned.
func (c *checker) learned(r *rawPvD, out *Config) {
	c.name(r.name, "a PvD")
	for _, k := range r.own {
		if slices.Contains(notModified, k.v) {
			c.add(k.at, `%q is for PvDs that are not learned: leave it or "match" out`, k.v)
		} else {
			c.add(k.at, `%q is for PvDs that are not learned: leave it or "match" out, or say under "modify" what becomes of what is learned`, k.v)
		}
	}
	l := &r.learn
	rule := learn.Rule{Match: c.match(&l.match), Name: r.name.v, Merge: l.merge.v, Refuse: refuse(l.accept), Modify: c.modify(l.modify)}
	if l.merge.v && (l.match.link.given || l.match.router.given) {
		c.add(l.merge.at, `merge is for a match by "id" alone: nothing else is the same on several links`)
	}
	for i, o := range out.Learn {
		if o.Match == rule.Match && rule.Match != (learn.Match{}) {
			c.add(l.match.at, "PvD %s has this match already: leave one", quote(out.Learned[i].Name))
			break
		}
	}
	c.notAnID(r.name, rule.Match.ID)
	out.Learn = append(out.Learn, rule)
	out.Learned = append(out.Learned, Learned{Name: r.name.v, ID: rule.Match.ID, At: r.name.at})
}

// match understands which PvDs are meant.
func (c *checker) match(r *rawMatch) (m learn.Match) {
	switch {
	case r.broken:
		return m
	case !r.id.given && !r.link.given:
		c.add(r.at, `match says neither "id" nor "link": want {id: corp.example.com} or {link: lab}`)
	case r.id.given && r.router.given:
		c.add(r.router.at, `a PvD with an id is not known by its router: leave one`)
	}
	if r.id.set {
		id, err := pvd.ParseID(r.id.v)
		if err != nil || id == "" {
			c.add(r.id.at, "id %s is no domain name: want one such as corp.example.com", quote(r.id.v))
		}
		m.ID = id
	}
	if r.router.set {
		a, err := netip.ParseAddr(r.router.v)
		if err != nil || !a.Is6() || !a.IsLinkLocalUnicast() || a.Zone() != "" {
			c.add(r.router.at, "router %s is no link-local address: want one such as fe80::1", quote(r.router.v))
		}
		m.Router = a
	}
	needsRA := r.id.given || r.router.given
	switch {
	case r.link.set:
		m.Link = r.link.v
		c.learningLink(r.link, needsRA)
	case r.link.given:
	case needsRA && !c.discovers:
		c.add(r.at, `no link learns by router advertisements: add "discover" to one`)
	}
	m.Implicit = m.ID == "" && !m.Router.IsValid()
	return m
}

// learningLink checks that a link is in the file and learns PvDs.
func (c *checker) learningLink(v value[string], needsRA bool) {
	i := slices.Index(c.linkNames, v.v)
	switch {
	case i < 0:
		c.add(v.at, "link %s is not in the file%s", quote(v.v), hint(v.v, c.linkNames))
		return
	case !c.raw.links[i].discover.given:
		c.add(v.at, `nothing is learned on link %s: add "discover" to it`, quote(v.v))
		return
	}
	if d := &c.raw.links[i].discover; needsRA && !d.ra.v && !d.all.v {
		c.add(v.at, `link %s does not learn by router advertisements: add "ra: true" to its "discover"`, quote(v.v))
	}
}

// linkRules adds what is said of all PvDs that are learned on a link.
func (c *checker) linkRules(out *Config) {
	for i := range c.raw.links {
		d := &c.raw.links[i].discover
		rule := learn.Rule{Match: learn.Match{Link: c.raw.links[i].name.v}, Refuse: refuse(d.accept), Modify: c.modify(d.modify)}
		if rule.Refuse != (learn.Refuse{}) || len(rule.Modify) > 0 {
			out.Learn = append(out.Learn, rule)
		}
	}
}

// refuse returns what is not accepted.
func refuse(a rawAccept) learn.Refuse {
	no := func(v value[bool]) bool { return v.set && !v.v }
	return learn.Refuse{Addresses: no(a.addresses), Routes: no(a.routes), DNS: no(a.dns)}
}

// modified are the elements by the keys that modify them.
var modified = map[string]pvd.AnyKey{
	"addresses": pvd.Addresses.Any(), "routes": pvd.Routes.Any(), "mtu": pvd.MTU.Any(),
	"servers": pvd.DNSServers.Any(), "search": pvd.DNSSearch.Any(),
	"encrypted": pvd.EncryptedDNS.Any(), "resolving": pvd.Resolving.Any(),
	"medium": pvd.Access.Any(), "metered": pvd.Metered.Any(), "cost": pvd.Cost.Any(), "speed": pvd.Speed.Any(),
	"latency": pvd.Latency.Any(), "metric": pvd.Metric.Any(), "groups": pvd.Groups.Any(), "internet": pvd.NoInternet.Any(),
	"nat64": pvd.NAT64.Any(), "captive_portal": pvd.CaptivePortal.Any(), "proxies": pvd.Proxies.Any(),
	"weak_host": pvd.WeakHost.Any(), "load_sharing": pvd.LoadSharing.Any(), "address_selection": addrsel.Key.Any(),
}

// modify understands modifiers.
func (c *checker) modify(raw []rawModifier) (ms []learn.Modifier) {
	for i := range raw {
		r := &raw[i]
		if r.op == ignore {
			ms = append(ms, learn.Ignore(modified[r.key]))
			continue
		}
		for _, o := range raw {
			if o.key == r.key && o.op != r.op && r.op == "supersede" {
				c.add(o.at, `%s of %s has no effect beside "supersede": leave one`, o.op, r.key)
			}
		}
		before := len(c.list)
		e := c.modifierValue(r)
		switch {
		case len(c.list) > before:
		case e.Key() == pvd.AnyKey{}:
			c.add(r.at, `%s of %s has nothing: want something, or "%s: ignore" to have none`, r.op, r.key, r.key)
		default:
			ms = append(ms, operation[r.op](e))
		}
	}
	return ms
}

var operation = map[string]func(pvd.Element) learn.Modifier{
	"default": learn.Default, "supersede": learn.Supersede, "prepend": learn.Prepend, "append": learn.Append,
}

// modifierValue understands what an operation has. It is the zero Element if that is nothing.
func (c *checker) modifierValue(r *rawModifier) (none pvd.Element) {
	p := &pvdChecker{checker: c, raw: &r.said, learned: true}
	switch r.key {
	case "addresses":
		return p.learnedAddresses()
	case "routes":
		return p.learnedRoutes()
	case "servers", "search":
		p.dns()
		switch {
		case len(p.out.DNS.Servers) > 0:
			return pvd.DNSServers.With(p.out.DNS.Servers)
		case len(p.out.DNS.Search) > 0:
			return pvd.DNSSearch.With(p.out.DNS.Search)
		}
	case "mtu":
		if r.said.mtu.set {
			return pvd.MTU.With(int(r.said.mtu.v))
		}
	default:
		if p.elements(); len(p.out.Elements) > 0 {
			return p.out.Elements[0]
		}
	}
	return none
}

// onOwnLink notes a link that is named for something of a PvD that is learned.
func (p *pvdChecker) onOwnLink(link value[string], what string) {
	if link.given {
		p.add(link.at, `%s of a PvD that is learned is on the PvD's own link: leave "link" out`, what)
	}
}

func (p *pvdChecker) learnedAddresses() (e pvd.Element) {
	var infos []pvd.AddressInfo
	for i := range p.raw.addresses {
		a := &p.raw.addresses[i]
		p.onOwnLink(a.link, "an address")
		a.link = value[string]{}
		p.ownAddress(a)
	}
	for _, a := range p.out.Addresses {
		if slices.ContainsFunc(infos, func(o pvd.AddressInfo) bool { return o.Prefix.Addr() == a.Prefix.Addr() }) {
			p.add(p.raw.addresses[0].address.at, "address %s is here for the second time: leave one", a.Prefix.Addr())
		}
		infos = append(infos, pvd.AddressInfo{Address: a})
	}
	if len(infos) == 0 {
		return e
	}
	return pvd.Addresses.With(infos)
}

func (p *pvdChecker) learnedRoutes() (e pvd.Element) {
	for i := range p.raw.routes {
		t := &p.raw.routes[i]
		p.onOwnLink(t.link, "a route")
		t.link = value[string]{}
		p.route(t)
	}
	if len(p.out.Routes) == 0 {
		return e
	}
	return pvd.Routes.With(p.out.Routes)
}
