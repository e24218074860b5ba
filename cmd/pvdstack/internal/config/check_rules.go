package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/selection"
)

// rules understands which PvD is chosen for which request.
func (c *checker) rules() []Rule {
	raw := c.raw.rules
	if len(raw) > selection.MaxRules {
		c.add(c.raw.rulesKey.at, "there are %d rules: want %d at most", len(raw), selection.MaxRules)
		return nil
	}
	var rules []Rule
	for i := range raw {
		w := &raw[i]
		if w.broken {
			continue
		}
		rules = append(rules, c.rule(w))
		conditions := w.apps.given || w.to.given || w.ports.given || w.protocols.given || w.marks.given || w.tos.given
		if !conditions && !w.orNext.v && i < len(raw)-1 {
			c.add(w.at, "every request meets this rule, so none after it counts: put it last, or say what it is for")
		}
	}
	return rules
}

func (c *checker) rule(w *rawRule) Rule {
	r := selection.Rule{Name: fmt.Sprintf("%s:%d", c.file, w.at.Line)}
	for _, v := range w.apps.v {
		if !slices.Contains(c.appNames, v.v) {
			c.unknownApp(v)
		}
		r.Apps = append(r.Apps, v.v)
	}
	for _, v := range w.to.v {
		if to, ok := c.domainOrPrefix(v, "rule"); !ok {
			continue
		} else if prefix, err := netip.ParsePrefix(to); err == nil {
			r.Destinations = append(r.Destinations, prefix)
		} else {
			r.Domains = append(r.Domains, to)
		}
	}
	for _, v := range w.ports.v {
		r.Ports = append(r.Ports, c.ports(v))
	}
	for _, v := range w.protocols.v {
		r.Networks = append(r.Networks, c.oneOf(v, "protocol", "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6"))
	}
	for _, v := range w.marks.v {
		r.Marks = append(r.Marks, selection.Mark{Value: uint32(v.v)})
	}
	for _, v := range w.tos.v {
		r.ToS = append(r.ToS, selection.ToS{Value: uint8(v.v)})
	}
	return c.action(w, r)
}

// unknownApp notes an application that no proxy is for.
func (c *checker) unknownApp(v value[string]) {
	if len(c.appNames) == 0 {
		c.add(v.at, "app %s is not in the file: no proxy is for an app", quote(v.v))
		return
	}
	c.add(v.at, "app %s is not in the file: no proxy is for it%s", quote(v.v), hint(v.v, c.appNames))
}

// ports understands a port or a range of ports.
func (c *checker) ports(v value[string]) selection.Ports {
	first, last, isRange := strings.Cut(v.v, "-")
	from, err := strconv.ParseUint(first, 10, 16)
	to := from
	if err == nil && isRange {
		to, err = strconv.ParseUint(last, 10, 16)
	}
	if err != nil || from == 0 || to < from {
		c.add(v.at, "%s is no port: want one from 1 to 65535, or a range such as 8000-8999", quote(v.v))
	}
	return selection.Ports{First: uint16(from), Last: uint16(to)}
}

// action understands what a rule does.
func (c *checker) action(w *rawRule, r selection.Rule) Rule {
	out := Rule{Rule: r}
	var actions []Position
	for _, at := range []struct {
		given bool
		at    Position
	}{{w.pvd.given, w.pvd.at}, {w.group.given, w.group.at}, {w.choose.given, w.choose.at}, {w.refuse.given, w.refuse.at}} {
		if at.given {
			actions = append(actions, at.at)
		}
	}
	switch {
	case len(actions) == 0:
		c.add(w.at, `the rule does nothing: want "pvd", "group", "choose" or "refuse"`)
	case len(actions) > 1:
		c.add(actions[1], `the rule does two things: want one of "pvd", "group", "choose" and "refuse"`)
	case w.pvd.given:
		c.existingOrDefault(w.pvd)
		out.PvD = w.pvd.v
	case w.group.given:
		c.existingGroup(w.group)
		out.Choose = selection.Requirements{selection.Require(selection.InGroup(w.group.v))}
	case w.choose.given:
		out.Choose = c.choose(w)
	default:
		if w.refuse.set && !w.refuse.v {
			c.add(w.refuse.at, `refuse is false, so the rule does nothing: want "pvd", "group" or "choose"`)
		}
		out.Refuse = true
	}
	if w.orNext.v {
		if !w.group.given && !w.choose.given {
			c.add(w.orNext.at, `"or_next" is for "group" and "choose", which may find nothing`)
		}
		out.OrNext = true
	}
	return out
}

// choose understands requirements.
func (c *checker) choose(w *rawRule) (rs selection.Requirements) {
	before := len(c.list)
	for i := range w.choose.v {
		q := &w.choose.v[i]
		p := c.property(q)
		if p == nil {
			continue
		}
		levels := map[string]func(selection.Property) selection.Requirement{
			"require": selection.Require, "prefer": selection.Prefer, "avoid": selection.Avoid, "prohibit": selection.Prohibit,
		}
		rs = append(rs, levels[q.level](p))
	}
	if err := rs.Validate(); err != nil && len(c.list) == before {
		c.add(w.choose.at, "%s: leave one out", strings.TrimPrefix(err.Error(), "selection: "))
	}
	return rs
}

// traits are the properties without a value.
var traits = map[string]selection.Trait{
	"ipv4": selection.IPv4, "ipv6": selection.IPv6, "routed": selection.Routed,
	"internet": selection.Internet, "metered": selection.Metered, "captive": selection.Captive,
}

// property understands what is required; nil after a fault.
func (c *checker) property(q *rawRequirement) selection.Property {
	if !q.kind.set {
		return nil
	}
	switch q.kind.v {
	case "medium":
		var of []pvd.Technology
		for _, v := range q.texts {
			if t, ok := c.medium(v); ok {
				of = append(of, t)
			}
		}
		return selection.Technologies(of...)
	case "group":
		c.existingGroup(q.text)
		return selection.InGroup(q.text.v)
	case "pvd":
		c.existing(q.text)
		return selection.Named(q.text.v)
	case "min_speed":
		bits, _ := c.speed(q.text, "min_speed")
		return selection.MinSpeed(bits)
	case "max_latency":
		return selection.MaxLatency(c.duration(q.text, "max_latency", "20ms or 1.5s"))
	case "max_cost":
		return selection.MaxCost(uint32(q.cost.v))
	}
	t, ok := traits[q.kind.v]
	if !ok {
		words := []string{"ipv4", "ipv6", "routed", "internet", "metered", "captive"}
		c.add(q.kind.at, "property %s is not known%s", quote(q.kind.v), hint(q.kind.v, words))
		return nil
	}
	return t
}

// existingGroup checks that a PvD in the file is a member of a group.
func (c *checker) existingGroup(v value[string]) {
	switch {
	case !v.set || slices.Contains(c.groupNames, v.v):
	case len(c.groupNames) == 0:
		c.add(v.at, "no PvD is in group %s: add it to the \"groups\" of one", quote(v.v))
	default:
		c.add(v.at, "no PvD is in group %s%s", quote(v.v), hint(v.v, c.groupNames))
	}
}
