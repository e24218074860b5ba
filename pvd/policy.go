package pvd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Policy says which application may do what with which PvD. It is a value: whoever takes
// one keeps a copy. The zero Policy, and a nil one, lets every application use every PvD.
//
// An application is known by its name. A pattern for one is the name in full, or its
// beginning and a "*"; "*" alone is for all.
type Policy struct {
	// Rules are asked in order. The first one that is about the application and the PvD
	// decides.
	Rules []PolicyRule

	// Default is for what no rule is about.
	Default Permission

	// NoBridge are patterns for applications that may have sockets in one PvD at a time
	// only: as long as one is open there, all use of another PvD is EACCES, and so is
	// listening in [All].
	NoBridge []string

	// SendAcross are patterns for applications that may send with a source address of one
	// PvD through another, where both are on the link. Others may not: it is EACCES.
	SendAcross []string
}

// A PolicyRule is what a [Policy] says of some applications and some PvDs.
type PolicyRule struct {
	Apps []string   // patterns for applications
	PvDs []string   // the names and IDs of PvDs; "*" is all
	What Permission // what those may do with these
}

// A Permission is what an application may do with a PvD.
type Permission uint8

const (
	// Allowed: the application may use the PvD.
	Allowed Permission = iota

	// Denied: the application sees the PvD, but to use it is EACCES.
	Denied

	// Hidden: for the application there is no such PvD. It finds it in no list and by no
	// name, and to use its Ref is [ErrNoPvD].
	Hidden
)

// String returns "allowed", "denied" or "hidden".
func (p Permission) String() string {
	switch p {
	case Allowed:
		return "allowed"
	case Denied:
		return "denied"
	case Hidden:
		return "hidden"
	default:
		return fmt.Sprintf("permission %d", uint8(p))
	}
}

// Permission returns what an application may do with a PvD. A nil Info is that of a PvD of
// which nothing is known: only rules about all PvDs are about it.
func (p *Policy) Permission(app string, i *Info) Permission {
	if p == nil {
		return Allowed
	}
	for _, r := range p.Rules {
		if r.concerns(i) && matches(r.Apps, app) {
			return r.What
		}
	}
	return p.Default
}

// Permits returns a function that reports whether a PvD is [Allowed] for an application. It
// is nil if all of them are. It is for those who ask about many PvDs, and worth keeping:
// which rules are about the application, and which one about a PvD, is found out once.
func (p *Policy) Permits(app string) func(*Info) bool {
	if p == nil {
		return nil
	}
	var what []Permission // of the rules that are about the application
	otherwise := p.Default
	names, ids := make(map[string]int), make(map[string]int) // the first such rule about each
	for _, r := range p.Rules {
		if !matches(r.Apps, app) {
			continue
		}
		if slices.Contains(r.PvDs, everything) {
			otherwise = r.What
			break
		}
		for _, s := range r.PvDs {
			first(names, s, len(what))
			first(ids, strings.ToLower(strings.TrimSuffix(s, ".")), len(what))
		}
		what = append(what, r.What)
	}
	if otherwise == Allowed && !slices.ContainsFunc(what, func(w Permission) bool { return w != Allowed }) {
		return nil
	}
	return func(i *Info) bool {
		if i == nil {
			return otherwise == Allowed
		}
		at, ok := names[i.name]
		if i.id != "" {
			if by, also := ids[strings.ToLower(string(i.id))]; also && (!ok || by < at) {
				at, ok = by, true
			}
		}
		if ok {
			return what[at] == Allowed
		}
		return otherwise == Allowed
	}
}

// first enters the rule at a place, if none is entered that goes before it.
func first(rules map[string]int, about string, at int) {
	if _, ok := rules[about]; !ok {
		rules[about] = at
	}
}

// MayBridge reports whether an application may have sockets in several PvDs at once.
func (p *Policy) MayBridge(app string) bool { return p == nil || !matches(p.NoBridge, app) }

// MaySendAcross reports whether an application may send with a source address of one PvD
// through another.
func (p *Policy) MaySendAcross(app string) bool { return p != nil && matches(p.SendAcross, app) }

func (r PolicyRule) concerns(i *Info) bool {
	return slices.ContainsFunc(r.PvDs, func(s string) bool {
		return s == everything || i != nil && s == i.name || i != nil && i.id != "" && strings.EqualFold(strings.TrimSuffix(s, "."), string(i.id))
	})
}

// everything stands for all PvDs and, at the end of a pattern, for whatever follows.
const everything = "*"

func matches(patterns []string, app string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		start, open := strings.CutSuffix(p, everything)
		return app == p || open && strings.HasPrefix(app, start)
	})
}

// Clone returns a copy of p that shares no memory with it, nil for nil.
func (p *Policy) Clone() *Policy {
	if p == nil {
		return nil
	}
	c := &Policy{
		Rules: slices.Clone(p.Rules), Default: p.Default,
		NoBridge: slices.Clone(p.NoBridge), SendAcross: slices.Clone(p.SendAcross),
	}
	for i, r := range c.Rules {
		c.Rules[i].Apps, c.Rules[i].PvDs = slices.Clone(r.Apps), slices.Clone(r.PvDs)
	}
	return c
}

// Validate returns all that is wrong with p, in one error: permissions that there are not,
// rules about nobody or nothing, patterns that can not mean what they say, and what is over
// a limit. A rule may be about a PvD that is not there yet.
func (p *Policy) Validate() error {
	if p == nil {
		return nil
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("policy: "+format, args...)) }
	if n := len(p.Rules); n > MaxPolicyRules {
		return fmt.Errorf("policy: %d rules, of which there may be %d", n, MaxPolicyRules)
	}
	if p.Default > Hidden {
		bad("default: %v is unknown", p.Default)
	}
	patterns := func(where string, list []string) {
		if err := checkPatterns(list); err != nil {
			bad("%s: %w", where, err)
		}
	}
	patterns("no bridge", p.NoBridge)
	patterns("send across", p.SendAcross)
	for i, r := range p.Rules {
		where := fmt.Sprintf("rule %d", i+1)
		if len(r.Apps) == 0 || len(r.PvDs) == 0 {
			bad("%s: it is about no application or no PvD; \"*\" is all", where)
		}
		if r.What > Hidden {
			bad("%s: %v is unknown", where, r.What)
		}
		patterns(where+": applications", r.Apps)
		if err := checkPvDNames(r.PvDs); err != nil {
			bad("%s: PvDs: %w", where, err)
		}
	}
	return errors.Join(errs...)
}

func checkPatterns(patterns []string) error {
	if err := checkList(patterns); err != nil {
		return err
	}
	for _, p := range patterns {
		if strings.Contains(strings.TrimSuffix(p, everything), everything) {
			return fmt.Errorf("pattern %q: a %q stands at the end only", p, everything)
		}
	}
	return nil
}

func checkPvDNames(names []string) error {
	if err := checkList(names); err != nil {
		return err
	}
	for _, n := range names {
		if n != everything && strings.HasSuffix(n, everything) {
			return fmt.Errorf("%q is no pattern: PvDs are named in full", n)
		}
	}
	return nil
}

// checkList checks what names of applications and of PvDs have in common.
func checkList(names []string) error {
	if len(names) > MaxPolicyNames {
		return fmt.Errorf("%d names, of which there may be %d", len(names), MaxPolicyNames)
	}
	for _, n := range names {
		switch {
		case n == "":
			return errors.New("empty name")
		case len(n) > MaxName:
			return fmt.Errorf("name %.20q... is longer than %d octets", n, MaxName)
		}
	}
	return nil
}
