package config

import (
	"github.com/goccy/go-yaml/ast"

	"github.com/pvdstack/pvdstack/pvd/addrsel"
)

// rawSelection is how a PvD's addresses are chosen.
type rawSelection struct {
	at                              Position
	given                           bool
	gai                             value[string]
	policy                          value[struct{}] // where the table begins
	rows                            []rawRow
	scopes                          []rawScope4
	scopesKey                       value[struct{}]
	without                         []value[string]
	order                           value[string]
	first, preferPublic, preferCare value[bool]
}

type rawRow struct {
	at                Position
	broken            bool
	prefix            value[string]
	precedence, label value[int64]
}

type rawScope4 struct {
	at            Position
	broken        bool
	prefix, scope value[string]
}

func readSelection(r *reader, n ast.Node, s *rawSelection) {
	s.at = position(n)
	s.given = r.mapping(n, "address_selection", fields{
		"gai_conf": r.text("gai_conf", &s.gai),
		"policy": func(n ast.Node) {
			s.policy = value[struct{}]{at: position(n), given: true, set: true}
			r.list(n, "policy", func(n ast.Node) { s.rows = append(s.rows, readRow(r, n)) })
		},
		"scopev4": func(n ast.Node) {
			s.scopesKey = value[struct{}]{at: position(n), given: true, set: true}
			r.list(n, "scopev4", func(n ast.Node) { s.scopes = append(s.scopes, readScope4(r, n)) })
		},
		"without":        r.texts("without", "a rule", &s.without),
		"order":          r.text("order", &s.order),
		"first_address":  r.boolean("first_address", &s.first),
		"prefer_public":  r.boolean("prefer_public", &s.preferPublic),
		"prefer_care_of": r.boolean("prefer_care_of", &s.preferCare),
	})
}

func readRow(r *reader, n ast.Node) rawRow {
	w := rawRow{at: position(n)}
	w.broken = !r.mapping(n, "a row of the policy", fields{
		"prefix":     r.text("prefix", &w.prefix),
		"precedence": r.integer("precedence", 0, addrsel.MaxValue, &w.precedence),
		"label":      r.integer("label", 0, addrsel.MaxValue, &w.label),
	})
	return w
}

func readScope4(r *reader, n ast.Node) rawScope4 {
	s := rawScope4{at: position(n)}
	s.broken = !r.mapping(n, "a scope of IPv4 addresses", fields{
		"prefix": r.text("prefix", &s.prefix),
		"scope":  r.text("scope", &s.scope),
	})
	return s
}
