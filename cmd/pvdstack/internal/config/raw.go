package config

import (
	"maps"
	"math"

	"github.com/goccy/go-yaml/ast"
)

// The raw types hold what the file says, word by word. A text such as an address is
// understood later, by check.

type rawFile struct {
	links   []rawLink
	pvds    []rawPvD
	def     value[string] // given and not set: null, or a list
	defList []value[string]
	rules   []rawRule
	policy  rawPolicy
	socks5  []rawProxy
	stubs   []rawStub
	steer   rawSteer
	level   value[string]
	format  value[string]
	pvdsKey value[struct{}] // where the PvDs begin

	rulesKey value[struct{}] // where the rules begin

	state, roots value[string]
}

type rawLink struct {
	name   value[string] // the key
	broken bool          // it is no mapping, so what it lacks need not be told
	typ    value[string]
	dev    value[string] // name:
	iface  value[string]
	fd     value[int64]
	layer  value[string]
	vnet   value[bool]
	mtu    value[int64]
	mac    value[string]
	host   rawHost

	discover rawDiscover
}

type rawHost struct {
	set       bool
	at        Position
	addresses []value[string]
	bridge    value[string]
}

type rawPvD struct {
	name      value[string] // the key
	broken    bool
	id        value[string]
	links     []value[string]
	hasLinks  bool
	addresses []rawAddress
	routes    []rawRoute
	neighbors []rawNeighbor
	servers   []value[string]
	search    []value[string]
	encrypted []rawEncrypted
	resolving rawResolving
	mtu       value[int64]
	elements  rawElements

	own   []value[string] // the keys of the above that are given, and where
	learn rawLearn
}

type rawAddress struct {
	address, link               value[string]
	temporary, deprecated, home value[bool]
}

type rawRoute struct {
	at                              Position
	broken                          bool
	to, via, link, from, preference value[string]
	metric                          value[int64]
}

type rawNeighbor struct {
	at                 Position
	broken             bool
	address, mac, link value[string]
}

type rawProxy struct {
	at               Position
	broken           bool
	listen, pvd, app value[string]
	mark, tos        value[int64]
	users            []rawUser
	usersKey         value[struct{}] // where the users begin
	allow            []value[string]
	force            value[bool]

	handshake, dial, idle        value[string]
	conns, perClient, handshakes value[int64]
}

type rawUser struct {
	name, password value[string]
}

// readFile reads the whole file.
func readFile(r *reader, root ast.Node) rawFile {
	var f rawFile
	r.mapping(root, "the file", fields{
		"links": func(n ast.Node) {
			r.keys(n, "links", func(key value[string], n ast.Node) {
				f.links = append(f.links, readLink(r, key, n))
			})
		},
		"pvds": func(n ast.Node) {
			f.pvdsKey = value[struct{}]{at: position(n), given: true}
			f.pvdsKey.set = r.keys(n, "pvds", func(key value[string], n ast.Node) {
				f.pvds = append(f.pvds, readPvD(r, key, n))
			})
		},
		"default": func(n ast.Node) { readDefault(r, n, &f) },
		"rules": func(n ast.Node) {
			f.rulesKey = value[struct{}]{at: position(n), given: true, set: true}
			r.list(n, "rules", func(n ast.Node) { f.rules = append(f.rules, readRule(r, n)) })
		},
		"policy": func(n ast.Node) { f.policy = readPolicy(r, n) },
		"state":  r.text("state", &f.state),
		"roots":  r.text("roots", &f.roots),
		"socks5": func(n ast.Node) {
			r.list(n, "socks5", func(n ast.Node) { f.socks5 = append(f.socks5, readProxy(r, n)) })
		},
		"dns": func(n ast.Node) {
			r.list(n, "dns", func(n ast.Node) { f.stubs = append(f.stubs, readStub(r, n)) })
		},
		"steer": func(n ast.Node) { f.steer = readSteer(r, n) },
		"log": func(n ast.Node) {
			r.mapping(n, "log", fields{
				"level":  r.text("level", &f.level),
				"format": r.text("format", &f.format),
			})
		},
	})
	return f
}

// readDefault reads the default: a name, null, or a list of names.
func readDefault(r *reader, n ast.Node, f *rawFile) {
	if _, list := n.(*ast.SequenceNode); !list {
		r.textOrNull("default", &f.def)(n)
		return
	}
	f.def = value[string]{at: position(n), given: true}
	r.texts("default", "a PvD's name", &f.defList)(n)
	if len(f.defList) == 0 && len(n.(*ast.SequenceNode).Values) == 0 {
		r.add(f.def.at, "default is an empty list: want a PvD, or several to fail over to, or null")
	}
}

func readLink(r *reader, key value[string], n ast.Node) rawLink {
	l := rawLink{name: key}
	l.broken = !r.mapping(n, "a link", fields{
		"type":      r.text("type", &l.typ),
		"name":      r.text("name", &l.dev),
		"interface": r.text("interface", &l.iface),
		"fd":        r.integer("fd", minFD, maxFD, &l.fd),
		"layer":     r.text("layer", &l.layer),
		"vnet_hdr":  r.boolean("vnet_hdr", &l.vnet),
		"mtu":       r.integer("mtu", minMTU4, maxMTU, &l.mtu),
		"mac":       r.text("mac", &l.mac),
		"host": func(n ast.Node) {
			l.host.set, l.host.at = true, position(n)
			r.mapping(n, "host", fields{
				"addresses": r.texts("addresses", "an address", &l.host.addresses),
				"bridge":    r.text("bridge", &l.host.bridge),
			})
		},
		"discover": func(n ast.Node) { l.discover = readDiscover(r, n) },
	})
	return l
}

func readPvD(r *reader, key value[string], n ast.Node) rawPvD {
	p := rawPvD{name: key}
	known := pvdFields(r, &p)
	for k, read := range known {
		known[k] = func(n ast.Node) {
			p.own = append(p.own, value[string]{k, position(n), true, true})
			read(n)
		}
	}
	maps.Copy(known, learnFields(r, &p.learn))
	p.broken = !r.mapping(n, "a PvD", known)
	return p
}

// pvdFields returns the keys of a PvD that is not learned, which p is read from.
func pvdFields(r *reader, p *rawPvD) fields {
	known := fields{
		"id": r.text("id", &p.id),
		"links": func(n ast.Node) {
			p.hasLinks = true
			r.texts("links", "a link's name", &p.links)(n)
		},
		"addresses": func(n ast.Node) {
			r.list(n, "addresses", func(n ast.Node) { p.addresses = append(p.addresses, readAddress(r, n)) })
		},
		"routes": func(n ast.Node) {
			r.list(n, "routes", func(n ast.Node) { p.routes = append(p.routes, readRoute(r, n)) })
		},
		"neighbors": func(n ast.Node) {
			r.list(n, "neighbors", func(n ast.Node) { p.neighbors = append(p.neighbors, readNeighbor(r, n)) })
		},
		"dns": func(n ast.Node) {
			r.mapping(n, "dns", dnsFields(r, p))
		},
		"mtu": r.integer("mtu", minMTU4, maxMTU, &p.mtu),
	}
	maps.Copy(known, elementFields(r, &p.elements))
	return known
}

func dnsFields(r *reader, p *rawPvD) fields {
	return fields{
		"servers": r.texts("servers", "a server", &p.servers),
		"search":  r.texts("search", "a search domain", &p.search),
		"encrypted": func(n ast.Node) {
			r.list(n, "encrypted", func(n ast.Node) { p.encrypted = append(p.encrypted, readEncrypted(r, n)) })
		},
		"resolving": func(n ast.Node) { p.resolving = readResolving(r, n) },
	}
}

// readAddress reads an address alone or with its link.
func readAddress(r *reader, n ast.Node) rawAddress {
	var a rawAddress
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		a.address = r.scalar(n, "an address")
		return a
	}
	r.mapping(n, "an address", fields{
		"address":    r.text("address", &a.address),
		"link":       r.text("link", &a.link),
		"temporary":  r.boolean("temporary", &a.temporary),
		"deprecated": r.boolean("deprecated", &a.deprecated),
		"home":       r.boolean("home", &a.home),
	})
	if !a.address.given {
		r.add(position(n), `this has no "address": want one such as 192.168.1.2/24`)
	}
	return a
}

func readRoute(r *reader, n ast.Node) rawRoute {
	t := rawRoute{at: position(n)}
	t.broken = !r.mapping(n, "a route", fields{
		"to":         r.text("to", &t.to),
		"via":        r.text("via", &t.via),
		"link":       r.text("link", &t.link),
		"from":       r.text("from", &t.from),
		"preference": r.text("preference", &t.preference),
		"metric":     r.integer("metric", 0, math.MaxUint32, &t.metric),
	})
	return t
}

func readNeighbor(r *reader, n ast.Node) rawNeighbor {
	b := rawNeighbor{at: position(n)}
	b.broken = !r.mapping(n, "a neighbor", fields{
		"address": r.text("address", &b.address),
		"mac":     r.text("mac", &b.mac),
		"link":    r.text("link", &b.link),
	})
	return b
}

func readProxy(r *reader, n ast.Node) rawProxy {
	p := rawProxy{at: position(n)}
	p.broken = !r.mapping(n, "a proxy", fields{
		"listen": r.text("listen", &p.listen),
		"pvd":    r.text("pvd", &p.pvd),
		"app":    r.text("app", &p.app),
		"mark":   r.integer("mark", 0, math.MaxUint32, &p.mark),
		"tos":    r.integer("tos", 0, math.MaxUint8, &p.tos),
		"users": func(n ast.Node) {
			p.usersKey = value[struct{}]{at: position(n), given: true}
			p.usersKey.set = r.keys(n, "users", func(key value[string], n ast.Node) {
				p.users = append(p.users, rawUser{key, r.secret(n, "a password")})
			})
		},
		"allow": r.texts("allow", "a prefix", &p.allow),
		"force": r.boolean("force", &p.force),
		"timeouts": func(n ast.Node) {
			r.mapping(n, "timeouts", fields{
				"handshake": r.text("handshake", &p.handshake),
				"dial":      r.text("dial", &p.dial),
				"idle":      r.text("idle", &p.idle),
			})
		},
		"limits": func(n ast.Node) {
			r.mapping(n, "limits", fields{
				"connections": r.integer("connections", 1, maxConns, &p.conns),
				"per_client":  r.integer("per_client", 1, maxConns, &p.perClient),
				"handshakes":  r.integer("handshakes", 1, maxConns, &p.handshakes),
			})
		},
	})
	return p
}
