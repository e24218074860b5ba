package config

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/steer"
)

// FuzzConfig holds that Parse never panics, that what it refuses it places inside the
// file, and that what it accepts is consistent.
func FuzzConfig(f *testing.F) {
	reference, err := os.ReadFile("reference.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		"", base, outline, string(reference),
		"links: {a: {type: fd, fd: 3, layer: ip}}\npvds: {a: {links: [a]}}",
		"links: {a: {type: tun}}\npvds:\n  a: {links: [a], medium: x, speed: 1e3bit/s, latency: -1s, groups: [a, a], nat64: ['::/96', 1], captive_portal: {}, proxies: [{for: [/]}]}",
		"links: {a: {type: tun}}\npvds:\n  a: {links: [a], address_selection: {gai_conf: label, policy: [{prefix: '::ffff:1.2.3.4/100', label: 1}], scopev4: [{}], without: [source-1], order: x}}",
		base + "default: [corp, home]\nrules: [{}, {apps: [x], to: [a, 1/2], ports: [1, 2-3], choose: [{require: {medium: x, pvd: corp}, avoid: ipv4}], or_next: true}, {refuse: 1}]",
		learning,
		"links: {a: {type: tap, discover: true}}",
		"links: {a: {type: tap, discover: {ra: true, modify: {dns: {servers: {append: ['fe80::1', 1]}}, mtu: {default: 1400, supersede: 2}, nat64: ignore, groups: ignor}}}}\npvds: {b: {match: {link: a, id: x.y}, id: b, merge: true, modify: {addresses: {prepend: [{address: 1.1.1.1/8, link: a}]}}}}\ndefault: c.d",
		base + "dns: [{listen: 127.0.0.1:53, pvd: corp}, {listen: '[::1]:53', app: x}, {}, 1]\nsteer: {table: [{suffix: a.b, pvd: corp}, {suffix: ., pvd: home}, {}], trust: [corp]}",
		"links: {a: {type: tun}}\npvds:\n  a: {links: [a], dns: {encrypted: [{name: a.b, addresses: [1.1.1.1, 'fe80::1%a'], protocols: [dot, h2, x], port: 1, path: '/{?dns}'}, {}], resolving: {strategy: parallel, timeout: 2s, ndots: 3, mix_case: true}}}",
		base + "policy: {default: hidden, rules: [{apps: [], pvds: ['*'], permission: denied}, 1], no_bridge: ['*', '**', '']}",
		"a: &a [*a]", "? a\n: b", "a: |\n b\nc: >-\n d", "a: 'b\n\n c'", "{a: [b, {c}]}", "---\n...\n---\n", "a:\n- b\n-\n  - c",
		"pvds:\n  a:\n    links: []\n    routes: [{to: default}, 1, {via: 1.1.1.1}]", "\"\\x41\\u00e9\": ~", "a: 0x1\nb: .inf\nc: .nan\nd: 1e3", "a: {\n", "<<: {}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("c", text)
		if err != nil {
			checkFaults(t, text, err)
			return
		}
		checkAccepted(t, c)
	})
}

func checkFaults(t *testing.T, text []byte, err error) {
	t.Helper()
	var fs Faults
	if !errors.As(err, &fs) || len(fs) == 0 {
		t.Fatalf("error %v of type %T, want Faults", err, err)
	}
	// The parser counts a lone CR as the end of a line, too.
	lines := 2 + strings.Count(string(text), "\n") + strings.Count(string(text), "\r")
	for i, f := range fs {
		if f.Line < 1 || f.Line > lines || f.Column < 1 || f.Message == "" {
			t.Errorf("fault %v in a file of %d lines", f, lines)
		}
		if i > 0 && (f.Line < fs[i-1].Line || f.Line == fs[i-1].Line && f.Column < fs[i-1].Column) {
			t.Errorf("fault %v comes after %v", f, fs[i-1])
		}
	}
}

func checkAccepted(t *testing.T, c *Config) {
	t.Helper()
	links := make(map[string]bool)
	learns := false
	for _, l := range c.Links {
		if l.Name == "" || links[l.Name] || !slices.Contains([]LinkType{TUN, TAP, Packet, FD}, l.Type) {
			t.Errorf("link %+v", l)
		}
		links[l.Name] = true
		if d := l.Discover; d != (Discover{}) {
			learns = true
			if !d.RA && (d.DHCP6 || d.Temporary || d.Information) || !d.DHCP6 && d.Prefixes || !d.DHCP4 && d.IPv6Only {
				t.Errorf("discovery %+v", d)
			}
		}
	}
	if len(c.PvDs) == 0 && !learns {
		t.Error("no PvD, and nothing learned")
	}
	pvds := make(map[string]bool)
	for _, p := range c.PvDs {
		if p.Name == "" || pvds[p.Name] || p.Config.Name != p.Name || len(p.Config.Links) == 0 && len(p.Config.Addresses) > 0 {
			t.Errorf("PvD %+v", p)
		}
		pvds[p.Name] = true
		checkAcceptedPvD(t, links, p.Config)
	}
	for _, p := range c.Learned {
		if p.Name == "" || pvds[p.Name] || !learns {
			t.Errorf("learned PvD %+v", p)
		}
		pvds[p.Name] = true
	}
	if err := c.Learn.Validate(); err != nil {
		t.Error(err)
	}
	known := func(name string) bool { return pvds[name] || learns && strings.Contains(name, ".") }
	if c.Default != "" && !known(c.Default) {
		t.Errorf("default is %q", c.Default)
	}
	for _, name := range c.Failover {
		if !known(name) {
			t.Errorf("failover to %q", name)
		}
	}
	for _, r := range c.Rules {
		if r.PvD != "" && r.PvD != SystemDefault && !known(r.PvD) {
			t.Errorf("rule %+v", r)
		}
	}
	if err := c.Policy.Validate(); err != nil {
		t.Error(err)
	}
	for _, e := range c.Steer.Table {
		if !known(e.PvD) {
			t.Errorf("suffix %+v", e)
		}
	}
	if _, err := steer.New(steer.Config{Table: c.Steer.Table}); err != nil {
		t.Error(err)
	}
	for _, name := range c.Steer.Trust {
		if !known(name) || slices.ContainsFunc(c.PvDs, func(p PvD) bool { return p.Name == name }) {
			t.Errorf("trust in %q", name)
		}
	}
	for _, s := range c.Stubs {
		if (s.App == "") == (s.PvD == "") || s.PvD != "" && s.PvD != SystemDefault && !known(s.PvD) || !s.Listen.IsValid() {
			t.Errorf("DNS server %+v", s)
		}
	}
	for _, p := range c.Proxies {
		a := p.Listen.Addr()
		pvdOrDefault := p.PvD != SystemDefault && known(p.PvD) || p.PvD == SystemDefault && (c.Default != "" || len(c.Failover) > 0)
		if pvdOrDefault == (p.App != "") || !p.Listen.IsValid() || a.Is4In6() || p.HandshakeTimeout < 0 || p.DialTimeout < 0 || p.IdleTimeout < 0 {
			t.Errorf("proxy %+v", p)
		}
	}
}

func checkAcceptedPvD(t *testing.T, links map[string]bool, c pvd.Config) {
	t.Helper()
	own := func(link string) bool { return link == "" || slices.Contains(c.Links, link) }
	for _, l := range c.Links {
		if !links[l] {
			t.Errorf("link %q does not exist", l)
		}
	}
	for _, a := range c.Addresses {
		if !a.Prefix.IsValid() || !own(a.Link) || a.Prefix.Addr().IsMulticast() {
			t.Errorf("address %+v", a)
		}
	}
	for _, r := range c.Routes {
		if !r.To.IsValid() || r.To != r.To.Masked() || !own(r.Link) || r.Via.IsValid() && r.Via.Is4() != r.To.Addr().Is4() {
			t.Errorf("route %+v", r)
		}
	}
	for _, n := range c.Neighbors {
		if !n.Addr.IsValid() || len(n.MAC) != 6 || !own(n.Link) {
			t.Errorf("neighbor %+v", n)
		}
	}
	for _, s := range c.DNS.Servers {
		if !s.IsValid() || s.Port() == 0 || s.Addr() == (netip.Addr{}) || !own(s.Addr().Zone()) {
			t.Errorf("server %v", s)
		}
	}
	if c.MTU != 0 && (c.MTU < 576 || c.MTU > 65535) {
		t.Errorf("MTU %d", c.MTU)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}
