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
	if r.mark.given && !r.app.given {
		c.add(r.mark.at, `"mark" is for rules, which are asked where there is an "app" only`)
	}
	c.whose(r.at, "the proxy", r.pvd, r.app)
	p.Listen = c.listen(r.listen, r.usersKey.given || r.force.v, `127.0.0.1 or ::1, or "users", or "force: true"`, "127.0.0.1:1080 or [::1]:1080")
	p.Users = c.users(r)
	for _, v := range r.allow {
		if prefix, ok := c.netPrefix(v, "allowed destination"); ok {
			p.Allow = append(p.Allow, prefix)
		}
	}
	return p
}

// whose checks what a proxy or DNS server leads to: a PvD, the default, or what is chosen
// for an app.
func (c *checker) whose(at Position, what string, in, app value[string]) {
	switch {
	case in.given && app.given:
		c.add(app.at, `%s has both "pvd" and "app": leave one`, what)
	case app.set:
		c.name(app, "an app")
		if !c.hasDefault() && len(c.raw.rules) == 0 && !c.raw.steer.given {
			c.add(app.at, `nothing says which PvD app %s gets: add "rules" or a "default"`, quote(app.v))
		}
	case app.given:
	case !in.given:
		c.missing(at, what, "pvd", `the name of a PvD, or "default", or an "app" instead`)
	default:
		c.existingOrDefault(in)
	}
}

// listen understands where a server listens: on this machine only, unless it may be open to
// others.
func (c *checker) listen(v value[string], open bool, instead, examples string) netip.AddrPort {
	if !v.set {
		return netip.AddrPort{}
	}
	a, err := netip.ParseAddrPort(v.v)
	switch {
	case err != nil:
		c.add(v.at, "%s is no place to listen: want an address and a port such as %s", quote(v.v), examples)
		return netip.AddrPort{}
	case a.Addr().IsMulticast():
		c.add(v.at, "%s is a multicast address: want one of this machine, such as 127.0.0.1", a.Addr())
	case !a.Addr().Unmap().IsLoopback() && !open:
		c.add(v.at, "%s can be reached from other machines, by anyone: want %s", a, instead)
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
