package config

import (
	"math"

	"github.com/goccy/go-yaml/ast"
)

// A rawRule says which PvD some requests get.
type rawRule struct {
	at     Position
	broken bool

	// What the rule is for.
	apps, to, ports, protocols value[[]value[string]]
	marks, tos                 value[[]value[int64]]

	// What it does.
	pvd, group     value[string]
	choose         value[[]rawRequirement]
	refuse, orNext value[bool]
}

// A rawRequirement is one property, and how much it matters.
type rawRequirement struct {
	level string // the key
	kind  value[string]
	text  value[string]   // of a group, PvD, speed or latency
	texts []value[string] // of media
	cost  value[int64]
}

func readRule(r *reader, n ast.Node) rawRule {
	w := rawRule{at: position(n)}
	w.broken = !r.mapping(n, "a rule", fields{
		"apps":      r.anyOf("apps", "an app", &w.apps),
		"to":        r.anyOf("to", "a domain or prefix", &w.to),
		"ports":     r.anyOf("ports", "a port", &w.ports),
		"protocols": r.anyOf("protocols", "a protocol", &w.protocols),
		"marks":     r.numbers("marks", math.MaxUint32, &w.marks),
		"tos":       r.numbers("tos", math.MaxUint8, &w.tos),
		"pvd":       r.text("pvd", &w.pvd),
		"group":     r.text("group", &w.group),
		"choose": func(n ast.Node) {
			w.choose = value[[]rawRequirement]{at: position(n), given: true, set: true}
			r.list(n, "choose", func(n ast.Node) { w.choose.v = append(w.choose.v, readRequirements(r, n)...) })
		},
		"refuse":  r.boolean("refuse", &w.refuse),
		"or_next": r.boolean("or_next", &w.orNext),
	})
	return w
}

// anyOf reads a list of texts or port numbers, one of which is to be met, into v.
func (r *reader) anyOf(what, each string, v *value[[]value[string]]) func(ast.Node) {
	return func(n ast.Node) {
		*v = value[[]value[string]]{at: position(n), given: true}
		r.list(n, what, func(n ast.Node) {
			if i, ok := n.(*ast.IntegerNode); ok && each == "a port" {
				v.v = append(v.v, value[string]{i.GetToken().Value, position(n), true, true})
			} else if s := r.scalar(n, each); s.set {
				v.v = append(v.v, s)
			}
		})
		if s, ok := n.(*ast.SequenceNode); ok && len(s.Values) == 0 {
			r.add(v.at, "%s is an empty list, which nothing meets: want %s, or no %q", what, each, what)
		}
	}
}

// numbers reads a list of numbers from 0 to high, one of which is to be met, into v.
func (r *reader) numbers(what string, high int64, v *value[[]value[int64]]) func(ast.Node) {
	return func(n ast.Node) {
		*v = value[[]value[int64]]{at: position(n), given: true}
		r.list(n, what, func(n ast.Node) {
			var i value[int64]
			if r.integer("one of "+what, 0, high, &i)(n); i.set {
				v.v = append(v.v, i)
			}
		})
		if s, ok := n.(*ast.SequenceNode); ok && len(s.Values) == 0 {
			r.add(v.at, "%s is an empty list, which nothing meets: want a number, or no %q", what, what)
		}
	}
}

// readRequirements reads an entry of a list of requirements, such as avoid: metered.
func readRequirements(r *reader, n ast.Node) (of []rawRequirement) {
	level := func(key string) func(ast.Node) {
		return func(n ast.Node) { of = append(of, readProperties(r, n, key)...) }
	}
	r.mapping(n, "a requirement", fields{
		"require":  level("require"),
		"prefer":   level("prefer"),
		"avoid":    level("avoid"),
		"prohibit": level("prohibit"),
	})
	return of
}

// readProperties reads a word, or properties with values.
func readProperties(r *reader, n ast.Node, level string) (of []rawRequirement) {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		return []rawRequirement{{level: level, kind: r.scalar(n, level)}}
	}
	add := func(key string, read func(ast.Node, *rawRequirement)) func(ast.Node) {
		return func(n ast.Node) {
			q := rawRequirement{level: level, kind: value[string]{key, position(n), true, true}}
			read(n, &q)
			of = append(of, q)
		}
	}
	text := func(key string) func(ast.Node) {
		return add(key, func(n ast.Node, q *rawRequirement) { q.text = r.scalar(n, key) })
	}
	r.mapping(n, "a property", fields{
		"medium": add("medium", func(n ast.Node, q *rawRequirement) {
			if _, list := n.(*ast.SequenceNode); list {
				r.texts("medium", "a medium", &q.texts)(n)
			} else if v := r.scalar(n, "medium"); v.set {
				q.texts = []value[string]{v}
			}
		}),
		"group":       text("group"),
		"pvd":         text("pvd"),
		"min_speed":   text("min_speed"),
		"max_latency": text("max_latency"),
		"max_cost": add("max_cost", func(n ast.Node, q *rawRequirement) {
			r.integer("max_cost", 0, math.MaxUint32, &q.cost)(n)
		}),
	})
	return of
}
