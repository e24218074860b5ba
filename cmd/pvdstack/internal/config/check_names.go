package config

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/steer"
)

// stub checks a DNS server by itself and against the PvDs.
func (c *checker) stub(r *rawStub) Stub {
	s := Stub{PvD: r.pvd.v, App: r.app.v}
	if r.broken {
		return s
	}
	if !r.listen.given {
		c.missing(r.at, "the DNS server", "listen", "an address and a port such as 127.0.0.1:5301")
	}
	c.whose(r.at, "the DNS server", r.pvd, r.app)
	s.Listen = c.listen(r.listen, r.force.v, `127.0.0.1 or ::1, or "force: true"`, "127.0.0.1:5301 or [::1]:5301")
	return s
}

// uniqueStubs notes DNS servers that can not listen beside each other, or beside a proxy.
func (c *checker) uniqueStubs(out *Config) {
	for i, s := range out.Stubs {
		at := c.raw.stubs[i].listen.at
		for _, o := range out.Stubs[:i] {
			if overlap(s.Listen, o.Listen) {
				c.add(at, "the DNS server of %s listens on %s already: want another port", o.Of(), o.Listen)
				break
			}
		}
		for _, p := range out.Proxies {
			if overlap(s.Listen, p.Listen) {
				c.add(at, "the proxy of %s listens on %s already: want another port", p.Of(), p.Listen)
				break
			}
		}
	}
}

// steer checks how names choose PvDs.
func (c *checker) steer(r *rawSteer) (s Steer) {
	if !r.given {
		return s
	}
	if len(r.table) == 0 && len(r.trust) == 0 && !r.broken {
		c.add(r.at, `steer says neither "table" nor "trust": want one, or no "steer"`)
	}
	if n := len(r.table); n > steer.MaxEntries {
		c.add(r.at, "the table has %d entries: want %d at most", n, steer.MaxEntries)
	}
	for i := range r.table {
		if e, ok := c.suffix(&r.table[i], s.Table); ok {
			s.Table = append(s.Table, e)
		}
	}
	for _, v := range r.trust {
		c.existing(v)
		i := slices.Index(c.pvdNames, v.v)
		switch {
		case slices.Contains(s.Trust, v.v):
			c.add(v.at, "PvD %s is here for the second time: leave one", quote(v.v))
		case i >= 0 && !c.raw.pvds[i].learn.match.given:
			c.add(v.at, `PvD %s is not learned, so it claims no names: put its names into "table"`, quote(v.v))
		default:
			s.Trust = append(s.Trust, v.v)
		}
	}
	return s
}

// suffix understands which PvD the names below a domain are looked for in.
func (c *checker) suffix(r *rawSuffix, others []steer.Entry) (e steer.Entry, ok bool) {
	if r.broken {
		return e, false
	}
	if !r.suffix.given {
		c.missing(r.at, "the entry", "suffix", `a domain such as corp.example.com, or "." for all`)
	}
	if !r.pvd.given {
		c.missing(r.at, "the entry", "pvd", "the name of a PvD")
	}
	c.existing(r.pvd)
	name, err := pvd.ParseID(r.suffix.v)
	switch {
	case !r.suffix.set:
		return e, false
	case r.suffix.v == ".":
		name = "."
	case err != nil || name == "" || strings.Contains(r.suffix.v, "*"):
		c.add(r.suffix.at, `suffix %s is no domain name: want one such as corp.example.com, or "." for all`, quote(r.suffix.v))
		return e, false
	}
	if slices.ContainsFunc(others, func(o steer.Entry) bool { return o.Suffix == string(name) }) {
		c.add(r.suffix.at, "suffix %s is here for the second time: leave one", quote(r.suffix.v))
	}
	return steer.Entry{Suffix: string(name), PvD: r.pvd.v}, r.pvd.set
}

// encryptedProtocols are those that servers are spoken to by, as TLS calls them (RFC 7858,
// RFC 8484).
var encryptedProtocols = []string{"dot", "h2", "http/1.1"}

// encrypted understands the servers that are spoken to by encrypted protocols.
func (p *pvdChecker) encrypted() {
	var servers []pvd.EncryptedServer
	for i := range p.raw.encrypted {
		if s, ok := p.encryptedServer(&p.raw.encrypted[i]); ok {
			s.Priority = uint16(i + 1)
			servers = append(servers, s)
		}
	}
	if n := len(p.raw.encrypted); n > pvd.MaxDNSServers {
		p.add(p.raw.encrypted[0].at, "there are %d encrypted servers: want %d at most", n, pvd.MaxDNSServers)
	}
	if len(servers) > 0 {
		p.element(pvd.EncryptedDNS.With(servers))
	}
}

func (p *pvdChecker) encryptedServer(r *rawEncrypted) (s pvd.EncryptedServer, ok bool) {
	if r.broken {
		return s, false
	}
	before := len(p.list)
	name, err := pvd.ParseID(r.name.v)
	switch {
	case !r.name.given:
		p.missing(r.at, "the server", "name", "what its certificate is for, such as dns.example.com")
	case r.name.set && (err != nil || name == "" || strings.ContainsFunc(string(name), func(r rune) bool { return !nameRune(r) })):
		p.add(r.name.at, "name %s is no domain name: want what the server's certificate is for, such as dns.example.com", quote(r.name.v))
	}
	s.Name, s.Port, s.Path = string(name), uint16(r.port.v), r.path.v
	if len(r.addresses) == 0 {
		p.missing(r.at, "the server", "addresses", "a list such as [192.168.1.53]: its name is not looked up")
	}
	for _, v := range r.addresses {
		if a, ok := p.serverAddress(v); ok {
			s.Addrs = append(s.Addrs, a)
		}
	}
	if len(r.protocols) == 0 {
		p.missing(r.at, "the server", "protocols", "a list of "+oneOf(encryptedProtocols))
	}
	web := false
	for _, v := range r.protocols {
		protocol := p.oneOf(v, "protocol", encryptedProtocols...)
		s.ALPN, web = append(s.ALPN, protocol), web || protocol != "dot" && protocol != ""
	}
	switch {
	case r.path.set && !isTemplate(r.path.v):
		p.add(r.path.at, "path %s is no URI template of a DNS server: want one such as /dns-query{?dns}", quote(r.path.v))
	case web && !r.path.given:
		p.missing(r.at, "the server", "path", "a URI template such as /dns-query{?dns}")
	}
	return s, len(p.list) == before
}

// isTemplate reports whether s is a URI template by which a DNS server is asked (RFC 8484
// section 4.1), and nothing else in it. With one that is not, package dns would leave the
// server out, and ask those without encryption.
func isTemplate(s string) bool {
	path, rest, ok := strings.Cut(s, "{?dns}")
	path += rest
	return ok && strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") && len(path) <= maxPath &&
		!strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("{}#", r) })
}

// serverAddress understands the address of a name server without port.
func (p *pvdChecker) serverAddress(v value[string]) (netip.Addr, bool) {
	if _, err := netip.ParseAddr(v.v); err != nil {
		p.add(v.at, "%s is no address of a name server: want one such as 192.168.1.53 or fe80::53%%lab", quote(v.v))
		return netip.Addr{}, false
	}
	s, ok := p.server(v)
	return s.Addr(), ok
}

// resolving understands how the PvD's servers are asked.
func (p *pvdChecker) resolving() {
	r := &p.raw.resolving
	if !r.given {
		return
	}
	p.element(pvd.Resolving.With(pvd.ResolverOptions{
		Strategy: p.oneOf(r.strategy, "strategy", "sequential", "escalation", "parallel"),
		Timeout:  p.duration(r.timeout, "timeout", "1s or 500ms"),
		Ndots:    int(r.ndots.v), MixCase: r.mixCase.v,
	}))
}
