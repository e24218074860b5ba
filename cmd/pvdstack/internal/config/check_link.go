package config

import (
	"net/netip"
	"strings"
)

// link checks a link by itself.
func (c *checker) link(r *rawLink) Link {
	l := Link{
		Name:         r.name.v,
		Device:       r.dev.v,
		Interface:    r.iface.v,
		InterfaceMAC: r.mac.v == "interface",
		FD:           int(r.fd.v),
		VNetHdr:      r.vnet.v,
		MTU:          int(r.mtu.v),
	}
	c.name(r.name, "a link")
	if r.broken {
		return l
	}
	if !r.typ.given {
		c.missing(r.name.at, "link "+quote(r.name.v), "type", oneOf([]string{"tun", "tap", "packet", "fd"}))
		return l
	}
	l.Type = LinkType(c.oneOf(r.typ, "link type", "tun", "tap", "packet", "fd"))
	if l.Type == "" {
		return l
	}
	l.Layer = Layer(c.oneOf(r.layer, "layer", "ip", "ethernet"))
	c.linkTypes[l.Name] = l.Type
	c.ipOnly[l.Name] = l.Type == TUN || l.Layer == IP
	c.onlyFor(r, l.Type)
	l.Discover = c.discover(&r.discover, l)
	switch l.Type {
	case TUN, TAP:
		c.deviceLink(r, &l)
	case Packet:
		if !r.iface.given {
			c.missing(r.name.at, "packet link "+quote(l.Name), "interface", "the name of an interface, such as eth0")
		}
		c.deviceName(r.iface)
		c.oneOf(r.mac, "mac", "per-pvd", "interface")
	case FD:
		if !r.fd.given {
			c.missing(r.name.at, "fd link "+quote(l.Name), "fd", "the number of an open descriptor, such as 3")
		}
	}
	return l
}

// onlyFor notes the keys of r that links of type t do not have.
func (c *checker) onlyFor(r *rawLink, t LinkType) {
	device := t == TUN || t == TAP
	for _, k := range []struct {
		key   string
		given bool
		at    Position
		ok    bool
		types string
	}{
		{"name", r.dev.given, r.dev.at, device, "tun and tap"},
		{"interface", r.iface.given, r.iface.at, t == Packet, "packet"},
		{"fd", r.fd.given, r.fd.at, t == FD, "fd"},
		{"layer", r.layer.given, r.layer.at, t == FD, "fd"},
		{"vnet_hdr", r.vnet.given, r.vnet.at, t == FD, "fd"},
		{"mtu", r.mtu.given, r.mtu.at, device || t == FD, "tun, tap and fd"},
		{"mac", r.mac.given, r.mac.at, t == Packet, "packet"},
		{"host", r.host.set, r.host.at, device, "tun and tap"},
		{"bridge", r.host.bridge.given, r.host.bridge.at, t != TUN, "tap"},
	} {
		if k.given && !k.ok {
			c.add(k.at, "%q is for links of type %s: a %s link has none", k.key, k.types, t)
		}
	}
}

// deviceLink checks what a device that is made has: its name and the kernel's side.
func (c *checker) deviceLink(r *rawLink, l *Link) {
	switch {
	case r.dev.given:
		c.deviceName(r.dev)
	case len(l.Name) > maxDeviceName:
		c.add(r.name.at, "%q is too long to name the device too: give a \"name\" of at most %d characters", l.Name, maxDeviceName)
	default:
		l.Device = l.Name
	}
	for _, v := range r.host.addresses {
		if p, ok := c.hostPrefix(v); ok {
			l.Host.Addresses = append(l.Host.Addresses, p)
		}
	}
	if r.host.bridge.given {
		c.deviceName(r.host.bridge)
		l.Host.Bridge = r.host.bridge.v
		if len(r.host.addresses) > 0 {
			c.add(r.host.addresses[0].at, "a port of a bridge has no addresses of its own: give them to bridge %s", quote(l.Host.Bridge))
		}
	}
}

// deviceName checks the name of a network interface.
func (c *checker) deviceName(v value[string]) {
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("/:%", r) }
	switch {
	case !v.set:
	case v.v == "" || v.v == "." || v.v == ".." || strings.ContainsFunc(v.v, bad):
		c.add(v.at, "%s is no name of an interface: want one such as pvd0", quote(v.v))
	case len(v.v) > maxDeviceName:
		c.add(v.at, "interface name %s is longer than %d characters", quote(v.v), maxDeviceName)
	}
}

// uniqueDevices notes two links that want the same device, interface or descriptor.
func (c *checker) uniqueDevices() {
	type device struct {
		name string
		fd   int64
	}
	first := make(map[device]string)
	claim := func(l *rawLink, at Position, d device, what string) {
		if other, dup := first[d]; dup {
			c.add(at, "%s is link %q's already: every link needs one of its own", what, other)
			return
		}
		first[d] = l.name.v
	}
	for i := range c.raw.links {
		l := &c.raw.links[i]
		switch c.linkTypes[l.name.v] {
		case TUN, TAP:
			v := l.dev
			if !v.given {
				v = l.name
			}
			claim(l, v.at, device{name: v.v}, "device "+quote(v.v))
		case Packet:
			if l.iface.set {
				claim(l, l.iface.at, device{name: l.iface.v}, "interface "+quote(l.iface.v))
			}
		case FD:
			if l.fd.set {
				claim(l, l.fd.at, device{fd: l.fd.v + 1}, "this descriptor")
			}
		}
	}
}

// uniqueAddresses notes addresses that are used twice on a link that can not tell whose
// frame is whose. (On Ethernet two PvDs may share one behind different routers; the stack
// decides that.)
func (c *checker) uniqueAddresses(out *Config, raw []*rawPvD) {
	type place struct {
		link string
		addr netip.Addr
	}
	owner := make(map[place]string)
	for _, l := range out.Links {
		for _, p := range l.Host.Addresses {
			owner[place{l.Name, p.Addr()}] = ""
		}
	}
	for i, p := range out.PvDs {
		for _, a := range raw[i].addresses {
			at := place{link: a.link.v}
			if prefix, err := netip.ParsePrefix(a.address.v); err == nil {
				at.addr = prefix.Addr()
			} else {
				continue
			}
			if at.link == "" && len(p.Config.Links) > 0 {
				at.link = p.Config.Links[0]
			}
			other, dup := owner[at]
			switch {
			case !dup:
				owner[at] = p.Name
			case other == "":
				c.add(a.address.at, "address %s is the kernel's side of link %q too: want another one on the same network", at.addr, at.link)
			case other == p.Name:
				c.add(a.address.at, "address %s is here for the second time on link %q: leave one", at.addr, at.link)
			case c.ipOnly[at.link]:
				c.add(a.address.at, "address %s is PvD %q's too, and link %q can not tell the two apart: want another address or another link", at.addr, other, at.link)
			}
		}
	}
}
