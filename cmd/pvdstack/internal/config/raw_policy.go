package config

import "github.com/goccy/go-yaml/ast"

// rawPolicy is what applications may do.
type rawPolicy struct {
	given                bool
	at                   Position
	def                  value[string]
	rules                []rawPolicyRule
	noBridge, sendAcross []value[string]
}

type rawPolicyRule struct {
	at               Position
	broken           bool
	hasApps, hasPvDs bool
	apps, pvds       []value[string]
	permission       value[string]
}

func readPolicy(r *reader, n ast.Node) rawPolicy {
	p := rawPolicy{at: position(n)}
	p.given = r.mapping(n, "policy", fields{
		"default": r.text("default", &p.def),
		"rules": func(n ast.Node) {
			r.list(n, "rules", func(n ast.Node) { p.rules = append(p.rules, readPolicyRule(r, n)) })
		},
		"no_bridge":   r.texts("no_bridge", "an app", &p.noBridge),
		"send_across": r.texts("send_across", "an app", &p.sendAcross),
	})
	return p
}

func readPolicyRule(r *reader, n ast.Node) rawPolicyRule {
	p := rawPolicyRule{at: position(n)}
	p.broken = !r.mapping(n, "a rule of the policy", fields{
		"apps": func(n ast.Node) {
			p.hasApps = true
			r.texts("apps", "an app", &p.apps)(n)
		},
		"pvds": func(n ast.Node) {
			p.hasPvDs = true
			r.texts("pvds", "a PvD", &p.pvds)(n)
		},
		"permission": r.text("permission", &p.permission),
	})
	return p
}
