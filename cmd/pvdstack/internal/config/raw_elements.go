package config

import (
	"math"

	"github.com/goccy/go-yaml/ast"
)

// rawElements is what a PvD is like and what it may be used for.
type rawElements struct {
	medium      value[string]
	metered     value[bool]
	cost        value[int64]
	speed       value[string]
	latency     value[string]
	metric      value[int64]
	groups      []value[string]
	internet    value[bool]
	nat64       []value[string]
	portal      rawPortal
	proxies     []rawOffer
	weakHost    value[bool]
	loadSharing value[bool]
	selection   rawSelection
}

type rawPortal struct {
	at        Position
	given     bool
	api, user value[string]
}

// A rawOffer is a proxy that the network of a PvD offers.
type rawOffer struct {
	at                Position
	broken            bool
	protocol, address value[string]
	forWhat           []value[string]
}

// elementFields returns the keys of a PvD that e is read from.
func elementFields(r *reader, e *rawElements) fields {
	return fields{
		"medium":   r.text("medium", &e.medium),
		"metered":  r.boolean("metered", &e.metered),
		"cost":     r.integer("cost", 0, math.MaxUint32, &e.cost),
		"speed":    r.text("speed", &e.speed),
		"latency":  r.text("latency", &e.latency),
		"metric":   r.integer("metric", 0, math.MaxUint32, &e.metric),
		"groups":   r.texts("groups", "a group's name", &e.groups),
		"internet": r.boolean("internet", &e.internet),
		"nat64":    r.texts("nat64", "a prefix", &e.nat64),
		"captive_portal": func(n ast.Node) {
			e.portal.at, e.portal.given = position(n), true
			r.mapping(n, "captive_portal", fields{
				"api":  r.text("api", &e.portal.api),
				"user": r.text("user", &e.portal.user),
			})
		},
		"proxies": func(n ast.Node) {
			r.list(n, "proxies", func(n ast.Node) { e.proxies = append(e.proxies, readOffer(r, n)) })
		},
		"weak_host":         r.boolean("weak_host", &e.weakHost),
		"load_sharing":      r.boolean("load_sharing", &e.loadSharing),
		"address_selection": func(n ast.Node) { readSelection(r, n, &e.selection) },
	}
}

func readOffer(r *reader, n ast.Node) rawOffer {
	o := rawOffer{at: position(n)}
	o.broken = !r.mapping(n, "a proxy that the PvD offers", fields{
		"protocol": r.text("protocol", &o.protocol),
		"address":  r.text("address", &o.address),
		"for":      r.texts("for", "a domain or prefix", &o.forWhat),
	})
	return o
}
