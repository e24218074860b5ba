package config

import (
	"github.com/goccy/go-yaml/ast"
)

// rawDiscover is how the PvDs of a link are learned.
type rawDiscover struct {
	given  bool
	broken bool
	at     Position
	all    value[bool] // true or false in the place of a mapping

	ra, dhcp4, dhcp6, temporary, prefixes, ipv6Only, information value[bool]

	accept rawAccept
	modify []rawModifier
}

// rawLearn is what is said of a PvD that is learned.
type rawLearn struct {
	match     rawMatch
	merge     value[bool]
	accept    rawAccept
	modify    []rawModifier
	modifyKey value[struct{}]
}

type rawMatch struct {
	given, broken    bool
	at               Position
	id, link, router value[string]
}

type rawAccept struct {
	given                  bool
	at                     Position
	addresses, routes, dns value[bool]
}

// A rawModifier is one operation on one element.
type rawModifier struct {
	key  string // of a PvD, or of its dns
	op   string // the key below, or ignore
	at   Position
	said rawPvD // what the operation has, in the place where a PvD has it
}

func readDiscover(r *reader, n ast.Node) rawDiscover {
	d := rawDiscover{given: true, at: position(n)}
	switch n.(type) {
	case *ast.BoolNode:
		r.boolean("discover", &d.all)(n)
		d.given = d.all.v
		return d
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		r.add(d.at, "discover is %s: want true, false or a mapping such as {ra: true}", kind(n))
		d.broken = true
		return d
	}
	r.mapping(n, "discover", fields{
		"ra":          r.boolean("ra", &d.ra),
		"dhcp4":       r.boolean("dhcp4", &d.dhcp4),
		"dhcp6":       r.boolean("dhcp6", &d.dhcp6),
		"temporary":   r.boolean("temporary", &d.temporary),
		"prefixes":    r.boolean("prefixes", &d.prefixes),
		"ipv6_only":   r.boolean("ipv6_only", &d.ipv6Only),
		"information": r.boolean("information", &d.information),
		"accept":      func(n ast.Node) { d.accept = readAccept(r, n) },
		"modify":      func(n ast.Node) { d.modify = readModify(r, n) },
	})
	return d
}

// learnFields returns the keys of a PvD that is learned.
func learnFields(r *reader, l *rawLearn) fields {
	return fields{
		"match": func(n ast.Node) {
			l.match.given, l.match.at = true, position(n)
			l.match.broken = !r.mapping(n, "match", fields{
				"id":     r.text("id", &l.match.id),
				"link":   r.text("link", &l.match.link),
				"router": r.text("router", &l.match.router),
			})
		},
		"merge":  r.boolean("merge", &l.merge),
		"accept": func(n ast.Node) { l.accept = readAccept(r, n) },
		"modify": func(n ast.Node) {
			l.modifyKey = value[struct{}]{at: position(n), given: true}
			l.modify = readModify(r, n)
		},
	}
}

func readAccept(r *reader, n ast.Node) rawAccept {
	a := rawAccept{given: true, at: position(n)}
	r.mapping(n, "accept", fields{
		"addresses": r.boolean("addresses", &a.addresses),
		"routes":    r.boolean("routes", &a.routes),
		"dns":       r.boolean("dns", &a.dns),
	})
	return a
}

// ignore is the word in the place of operations that takes away whatever was learned.
const ignore = "ignore"

// notModified are the keys of a PvD that are not for what is learned.
var notModified = []string{"id", "links", "neighbors"}

// lists are the keys whose values are lists, which can be prepended and appended to.
var lists = []string{"addresses", "routes", "servers", "search", "encrypted", "nat64", "groups", "proxies"}

// readModify reads what modifies a PvD: the keys of a PvD with operations below them, which
// have what such a key has elsewhere.
func readModify(r *reader, n ast.Node) (ms []rawModifier) {
	known := make(fields)
	for key := range pvdFields(r, new(rawPvD)) {
		known[key] = readOperations(r, key, pvdFields, &ms)
	}
	for _, key := range notModified {
		delete(known, key)
	}
	known["dns"] = func(n ast.Node) {
		below := make(fields)
		for key := range dnsFields(r, new(rawPvD)) {
			below[key] = readOperations(r, key, dnsFields, &ms)
		}
		r.mapping(n, "what modifies dns", below)
	}
	r.mapping(n, "modify", known)
	return ms
}

// readOperations reads the operations on one element into ms. Of returns the fields that
// the element's is one of.
func readOperations(r *reader, key string, of func(*reader, *rawPvD) fields, ms *[]rawModifier) func(ast.Node) {
	return func(n ast.Node) {
		if s, ok := n.(*ast.StringNode); ok {
			if s.Value != ignore {
				r.add(position(n), `what modifies %s is %s: want "ignore" or a mapping such as {default: ...}`, key, kind(n))
			}
			*ms = append(*ms, rawModifier{key: key, op: ignore, at: position(n)})
			return
		}
		operation := func(op string) func(ast.Node) {
			return func(n ast.Node) {
				before := len(r.faultList.list)
				m := rawModifier{key: key, op: op, at: position(n)}
				if of(r, &m.said)[key](n); len(r.faultList.list) == before {
					*ms = append(*ms, m)
				}
			}
		}
		known := fields{
			"default":   operation("default"),
			"supersede": operation("supersede"),
		}
		for _, list := range lists {
			if key == list {
				known["prepend"] = operation("prepend")
				known["append"] = operation("append")
			}
		}
		r.mapping(n, "what modifies "+key, known)
	}
}
