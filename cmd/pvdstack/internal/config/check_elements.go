package config

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
)

// elements understands what the PvD is like, in the order of the documentation.
func (p *pvdChecker) elements() {
	p.encrypted()
	p.resolving()
	e := &p.raw.elements
	if t, ok := p.medium(e.medium); ok {
		p.element(pvd.Access.With(t))
	}
	if e.metered.set {
		p.element(pvd.Metered.With(e.metered.v))
	}
	if e.cost.set {
		p.element(pvd.Cost.With(uint32(e.cost.v)))
	}
	if speed, ok := p.speed(e.speed, "speed"); ok {
		p.element(pvd.Speed.With(speed))
	}
	if d := p.duration(e.latency, "latency", "20ms or 1.5s"); d != 0 {
		p.element(pvd.Latency.With(d))
	}
	if e.metric.set {
		p.element(pvd.Metric.With(uint32(e.metric.v)))
	}
	if groups := p.groups(e.groups); len(groups) > 0 {
		p.element(pvd.Groups.With(groups))
	}
	if e.internet.set {
		p.element(pvd.NoInternet.With(!e.internet.v))
	}
	if prefixes := p.nat64(e.nat64); len(prefixes) > 0 {
		p.element(pvd.NAT64.With(prefixes))
	}
	if e.portal.given {
		p.portal(&e.portal)
	}
	var proxies []pvd.Proxy
	for i := range e.proxies {
		if o, ok := p.offer(&e.proxies[i]); ok {
			proxies = append(proxies, o)
		}
	}
	if len(proxies) > 0 {
		p.element(pvd.Proxies.With(proxies))
	}
	if e.weakHost.set {
		p.element(pvd.WeakHost.With(e.weakHost.v))
	}
	if e.loadSharing.set {
		p.element(pvd.LoadSharing.With(e.loadSharing.v))
	}
	p.addressSelection(&e.selection)
}

func (p *pvdChecker) element(e pvd.Element) { p.out.Elements = append(p.out.Elements, e) }

// medium understands a kind of access network: a word, known or not.
func (c *checker) medium(v value[string]) (pvd.Technology, bool) {
	if !v.set {
		return "", false
	}
	other := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }
	if v.v == "" || len(v.v) > maxTechnology || strings.ContainsFunc(v.v, other) {
		c.add(v.at, "medium %s is no word in lower case: want one such as wired, wlan, cellular, bluetooth, vpn or virtual", quote(v.v))
		return "", false
	}
	return pvd.Technology(v.v), true
}

// bitRates are the units of speeds, the longest names first.
var bitRates = []struct {
	name string
	bits float64
}{{"kbit/s", 1e3}, {"Mbit/s", 1e6}, {"Gbit/s", 1e9}, {"Tbit/s", 1e12}, {"bit/s", 1}}

// speed understands bits a second, such as 1.5Gbit/s.
func (c *checker) speed(v value[string], what string) (uint64, bool) {
	if !v.set {
		return 0, false
	}
	for _, unit := range bitRates {
		number, ok := strings.CutSuffix(v.v, unit.name)
		if !ok {
			continue
		}
		// Signs, exponents and other bases are not meant here.
		if strings.Trim(number, "0123456789.") != "" {
			break
		}
		f, err := strconv.ParseFloat(number, 64)
		if bits := f * unit.bits; err == nil && bits >= 1 && bits <= maxSpeed {
			return uint64(bits + 0.5), true
		}
		break
	}
	c.add(v.at, "%s is %s: want bits a second, such as 64kbit/s, 100Mbit/s or 1.5Gbit/s", what, quote(v.v))
	return 0, false
}

// groups understands the names of groups.
func (c *checker) groups(vs []value[string]) (groups []string) {
	for _, v := range vs {
		if slices.Contains(groups, v.v) {
			c.add(v.at, "group %s is here for the second time: leave one", quote(v.v))
			continue
		}
		c.name(v, "a group")
		groups = append(groups, v.v)
	}
	return groups
}

// nat64Lengths are those that a prefix for addresses with IPv4 addresses in them may have
// (RFC 6052 section 2.2).
var nat64Lengths = []int{32, 40, 48, 56, 64, 96}

func (c *checker) nat64(vs []value[string]) (prefixes []netip.Prefix) {
	for _, v := range vs {
		prefix, ok := c.netPrefix(v, "NAT64 prefix")
		switch {
		case !ok:
		case !prefix.Addr().Is6() || !slices.Contains(nat64Lengths, prefix.Bits()):
			c.add(v.at, "NAT64 prefix %s: want an IPv6 one of length 32, 40, 48, 56, 64 or 96, such as 64:ff9b::/96 (RFC 6052)", quote(v.v))
		case prefix.Addr().As16()[8] != 0:
			c.add(v.at, "NAT64 prefix %s has a bit set from 64 to 71, which have to be zero (RFC 6052)", quote(v.v))
		case slices.Contains(prefixes, prefix):
			c.add(v.at, "NAT64 prefix %s is here for the second time: leave one", prefix)
		default:
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes
}

// portal understands a captive portal, both of whose places are reached over TLS
// (RFC 8908 sections 4.1 and 5).
func (p *pvdChecker) portal(r *rawPortal) {
	if !r.api.given {
		p.missing(r.at, "captive_portal", "api", "the URL of its API, such as https://portal.example.com/api")
	}
	for _, v := range []value[string]{r.api, r.user} {
		if u, err := url.Parse(v.v); v.set && (err != nil || u.Scheme != "https" || u.Hostname() == "") {
			p.add(v.at, "%s is no URL of a captive portal: want one such as https://portal.example.com/api", quote(v.v))
		}
	}
	p.element(pvd.CaptivePortal.With(pvd.Portal{API: r.api.v, User: r.user.v}))
}

// offer understands a proxy that the PvD's network offers.
func (p *pvdChecker) offer(r *rawOffer) (o pvd.Proxy, ok bool) {
	if r.broken {
		return o, false
	}
	protocols := []string{"http-connect", "connect-udp", "connect-ip", "socks5"}
	if !r.protocol.given {
		p.missing(r.at, "the proxy", "protocol", oneOf(protocols))
	}
	if !r.address.given {
		p.missing(r.at, "the proxy", "address", "one such as proxy.example.com:3128")
	}
	o = pvd.Proxy{Protocol: p.oneOf(r.protocol, "proxy protocol", protocols...), Address: r.address.v}
	switch {
	case !r.address.set:
	case o.Protocol == "connect-udp" || o.Protocol == "connect-ip":
		// RFC 9298 section 2 and RFC 9484 section 3.
		if u, err := url.Parse(r.address.v); err != nil || u.Scheme != "https" || u.Hostname() == "" {
			p.add(r.address.at, "%s is no URI template: want one such as https://proxy.example.com/masque/{target_host}/{target_port}/", quote(r.address.v))
		}
	case o.Protocol != "" && !isHostPort(r.address.v):
		p.add(r.address.at, "%s is no address of a proxy: want a host and a port such as proxy.example.com:3128", quote(r.address.v))
	}
	for _, v := range r.forWhat {
		if where, ok := p.domainOrPrefix(v, "proxy"); ok {
			o.For = append(o.For, where)
		}
	}
	return o, true
}

// isHostPort reports whether s is a name or address with a port.
func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	name, err := pvd.ParseID(host)
	return err == nil && name != "" && !strings.Contains(host, ":")
}

// domainOrPrefix understands a domain name or a network, and returns it as it is usually
// written.
func (c *checker) domainOrPrefix(v value[string], what string) (string, bool) {
	_, err := netip.ParseAddr(v.v)
	if err == nil || strings.Contains(v.v, "/") {
		prefix, ok := c.netPrefix(v, "the destination of a "+what)
		return prefix.String(), ok
	}
	name, err := pvd.ParseID(v.v)
	if err != nil || name == "" {
		c.add(v.at, "the destination of a %s is %s: want a domain or a prefix, such as example.com or 10.0.0.0/8", what, quote(v.v))
		return "", false
	}
	return string(name), true
}
