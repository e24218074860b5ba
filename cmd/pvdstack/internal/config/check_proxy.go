package config

import (
	"net/netip"
	"time"
)

// proxy checks a proxy by itself and against the PvDs.
func (c *checker) proxy(r *rawProxy) Proxy {
	p := Proxy{
		PvD:              r.pvd.v,
		App:              r.app.v,
		Mark:             uint32(r.mark.v),
		ToS:              uint8(r.tos.v),
		HandshakeTimeout: c.duration(r.handshake, "handshake timeout", "10s or 5m"),
		DialTimeout:      c.duration(r.dial, "dial timeout", "10s or 5m"),
		IdleTimeout:      c.duration(r.idle, "idle timeout", "10s or 5m"),
		MaxConns:         int(r.conns.v),
		MaxPerClient:     int(r.perClient.v),
		MaxHandshakes:    int(r.handshakes.v),
	}
	if r.broken {
		return p
	}
	if !r.listen.given {
		c.missing(r.at, "the proxy", "listen", "an address and a port such as 127.0.0.1:1080")
	}
	c.whose(r)
	p.Listen = c.listen(r)
	p.Users = c.users(r)
	for _, v := range r.allow {
		if prefix, ok := c.netPrefix(v, "allowed destination"); ok {
			p.Allow = append(p.Allow, prefix)
		}
	}
	return p
}

// whose checks what a proxy leads to: a PvD, the default, or what is chosen for an app.
func (c *checker) whose(r *rawProxy) {
	if r.mark.given && !r.app.given {
		c.add(r.mark.at, `"mark" is for rules, which are asked where there is an "app" only`)
	}
	switch {
	case r.pvd.given && r.app.given:
		c.add(r.app.at, `the proxy has both "pvd" and "app": leave one`)
	case r.app.set:
		c.name(r.app, "an app")
		if !c.hasDefault() && len(c.raw.rules) == 0 {
			c.add(r.app.at, `nothing says which PvD app %s gets: add "rules" or a "default"`, quote(r.app.v))
		}
	case r.app.given:
	case !r.pvd.given:
		c.missing(r.at, "the proxy", "pvd", `the name of a PvD, or "default", or an "app" instead`)
	default:
		c.existingOrDefault(r.pvd)
	}
}

// listen understands where a proxy listens: on this machine only, or else not for anyone.
func (c *checker) listen(r *rawProxy) netip.AddrPort {
	if !r.listen.set {
		return netip.AddrPort{}
	}
	a, err := netip.ParseAddrPort(r.listen.v)
	switch {
	case err != nil:
		c.add(r.listen.at, "%s is no place to listen: want an address and a port such as 127.0.0.1:1080 or [::1]:1080", quote(r.listen.v))
		return netip.AddrPort{}
	case a.Addr().IsMulticast():
		c.add(r.listen.at, "%s is a multicast address: want one of this machine, such as 127.0.0.1", a.Addr())
	case !a.Addr().Unmap().IsLoopback() && !r.usersKey.given && !r.force.v:
		c.add(r.listen.at, "%s can be reached from other machines, by anyone: want 127.0.0.1 or ::1, or \"users\", or \"force: true\"", a)
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// users understands names and passwords.
func (c *checker) users(r *rawProxy) map[string]string {
	if !r.usersKey.given {
		return nil
	}
	if len(r.users) == 0 && r.usersKey.set {
		c.add(r.usersKey.at, "there are no users, so nobody could use the proxy: want one, or no \"users\"")
	}
	users := make(map[string]string, len(r.users))
	for _, u := range r.users {
		if len(u.name.v) == 0 || len(u.name.v) > maxCredential {
			c.add(u.name.at, "a user's name has %s: want 1 to %d", plural(len(u.name.v), "octet"), maxCredential)
		}
		if n := len(u.password.v); u.password.set && (n == 0 || n > maxCredential) {
			c.add(u.password.at, "a password has %s: want 1 to %d", plural(n, "octet"), maxCredential)
		}
		users[u.name.v] = u.password.v
	}
	return users
}

// duration understands a length of time, of which examples are such.
func (c *checker) duration(v value[string], what, examples string) time.Duration {
	if !v.set {
		return 0
	}
	d, err := time.ParseDuration(v.v)
	if err != nil || d <= 0 || d > maxTimeout {
		c.add(v.at, "%s is %s: want a time up to %d hours such as %s", what, quote(v.v), int(maxTimeout.Hours()), examples)
		return 0
	}
	return d
}

// uniqueListeners notes proxies that can not listen beside each other.
func (c *checker) uniqueListeners(out *Config) {
	for i, p := range out.Proxies {
		for _, q := range out.Proxies[:i] {
			if overlap(p.Listen, q.Listen) {
				c.add(c.raw.socks5[i].listen.at, "the proxy of %s listens on %s already: want another port", q.Of(), q.Listen)
				break
			}
		}
	}
}

// overlap reports whether the system refuses one of two listeners. The wildcard :: takes
// IPv4 too.
func overlap(a, b netip.AddrPort) bool {
	if !a.IsValid() || !b.IsValid() || a.Port() != b.Port() || a.Port() == 0 {
		return false
	}
	x, y := a.Addr(), b.Addr()
	if x == y {
		return true
	}
	covers := func(x, y netip.Addr) bool { return x.IsUnspecified() && (x.Is6() || y.Is4()) }
	return covers(x, y) || covers(y, x)
}
