package config

import (
	"github.com/goccy/go-yaml/ast"
)

// A rawStub is a DNS server to offer.
type rawStub struct {
	at               Position
	broken           bool
	listen, pvd, app value[string]
	force            value[bool]
}

func readStub(r *reader, n ast.Node) rawStub {
	s := rawStub{at: position(n)}
	s.broken = !r.mapping(n, "a DNS server", fields{
		"listen": r.text("listen", &s.listen),
		"pvd":    r.text("pvd", &s.pvd),
		"app":    r.text("app", &s.app),
		"force":  r.boolean("force", &s.force),
	})
	return s
}

// rawSteer is how names choose PvDs.
type rawSteer struct {
	given, broken bool
	at            Position
	table         []rawSuffix
	trust         []value[string]
}

type rawSuffix struct {
	at          Position
	broken      bool
	suffix, pvd value[string]
}

func readSteer(r *reader, n ast.Node) rawSteer {
	s := rawSteer{given: true, at: position(n)}
	s.broken = !r.mapping(n, "steer", fields{
		"table": func(n ast.Node) {
			r.list(n, "table", func(n ast.Node) {
				e := rawSuffix{at: position(n)}
				e.broken = !r.mapping(n, "an entry of the table", fields{
					"suffix": r.text("suffix", &e.suffix),
					"pvd":    r.text("pvd", &e.pvd),
				})
				s.table = append(s.table, e)
			})
		},
		"trust": r.texts("trust", "a PvD's name", &s.trust),
	})
	return s
}

// A rawEncrypted is a DNS server that is spoken to by an encrypted protocol.
type rawEncrypted struct {
	at                   Position
	broken               bool
	name, path           value[string]
	addresses, protocols []value[string]
	port                 value[int64]
}

func readEncrypted(r *reader, n ast.Node) rawEncrypted {
	e := rawEncrypted{at: position(n)}
	e.broken = !r.mapping(n, "an encrypted server", fields{
		"name":      r.text("name", &e.name),
		"addresses": r.texts("addresses", "an address", &e.addresses),
		"protocols": r.texts("protocols", "a protocol", &e.protocols),
		"port":      r.integer("port", 1, maxPort, &e.port),
		"path":      r.text("path", &e.path),
	})
	return e
}

// rawResolving is how servers are asked.
type rawResolving struct {
	given             bool
	at                Position
	strategy, timeout value[string]
	ndots             value[int64]
	mixCase           value[bool]
}

func readResolving(r *reader, n ast.Node) rawResolving {
	s := rawResolving{given: true, at: position(n)}
	r.mapping(n, "resolving", fields{
		"strategy": r.text("strategy", &s.strategy),
		"timeout":  r.text("timeout", &s.timeout),
		"ndots":    r.integer("ndots", 1, maxNdots, &s.ndots),
		"mix_case": r.boolean("mix_case", &s.mixCase),
	})
	return s
}
