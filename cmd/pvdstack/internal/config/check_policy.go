package config

import (
	"slices"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
)

// everything stands for all apps or PvDs in a policy and, at the end of the name of an app,
// for whatever follows.
const everything = "*"

// policy understands what applications may do. Names that lead nowhere would leave open
// what was to be closed, so they are faults.
func (c *checker) policy(r *rawPolicy) *pvd.Policy {
	if !r.given {
		return nil
	}
	before := len(c.list)
	p := &pvd.Policy{Default: c.permission(r.def), NoBridge: c.apps(r.noBridge), SendAcross: c.apps(r.sendAcross)}
	for i := range r.rules {
		w := &r.rules[i]
		if w.broken {
			continue
		}
		if len(w.apps) == 0 && !w.hasApps {
			c.missing(w.at, "the rule", "apps", `a list of apps such as [browser], or ["*"]`)
		}
		if len(w.pvds) == 0 && !w.hasPvDs {
			c.missing(w.at, "the rule", "pvds", `a list of PvDs such as [corp], or ["*"]`)
		}
		if !w.permission.given {
			c.missing(w.at, "the rule", "permission", oneOf([]string{"allowed", "denied", "hidden"}))
		}
		p.Rules = append(p.Rules, pvd.PolicyRule{Apps: c.apps(w.apps), PvDs: c.pvds(w.pvds), What: c.permission(w.permission)})
	}
	if len(c.list) > before {
		return nil
	}
	if err := p.Validate(); err != nil { // what is left are limits, and empty lists
		c.add(r.at, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return p
}

func (c *checker) permission(v value[string]) pvd.Permission {
	switch c.oneOf(v, "permission", "allowed", "denied", "hidden") {
	case "denied":
		return pvd.Denied
	case "hidden":
		return pvd.Hidden
	}
	return pvd.Allowed
}

// apps understands patterns for applications, which are known by proxies being for them.
func (c *checker) apps(vs []value[string]) (patterns []string) {
	for _, v := range vs {
		start, open := strings.CutSuffix(v.v, everything)
		known := slices.ContainsFunc(c.appNames, func(name string) bool {
			return name == v.v || open && strings.HasPrefix(name, start)
		})
		switch {
		case v.v == everything, known:
		default:
			c.unknownApp(v)
		}
		patterns = append(patterns, v.v)
	}
	return patterns
}

// pvds understands the names of PvDs in a policy.
func (c *checker) pvds(vs []value[string]) (names []string) {
	for _, v := range vs {
		if v.v != everything {
			c.existing(v)
		}
		names = append(names, v.v)
	}
	return names
}

// existingOrDefault checks that a PvD is in the file, or that there is a default if it is
// that.
func (c *checker) existingOrDefault(v value[string]) {
	switch {
	case v.v != SystemDefault:
		c.existing(v)
	case !c.hasDefault():
		c.add(v.at, `there is no default: add "default", or name a PvD here`)
	}
}

func (c *checker) hasDefault() bool { return c.raw.def.set || len(c.raw.defList) > 0 }

// existing checks that a PvD is in the file, or may be learned.
func (c *checker) existing(v value[string]) {
	if v.set && !slices.Contains(c.pvdNames, v.v) && !c.learnable(v.v) {
		c.add(v.at, "PvD %s is not in the file%s", quote(v.v), hint(v.v, c.pvdNames))
	}
}
