package selection

import (
	"cmp"
	"slices"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
)

// kinds says which technologies are kinds of another: whoever asks for cellular is served
// with LTE.
var kinds = map[pvd.Technology]pvd.Technology{
	"gprs": pvd.Cellular, "edge": pvd.Cellular, "cdma": pvd.Cellular, "umts": pvd.Cellular,
	"hspa": pvd.Cellular, "lte": pvd.Cellular, "nr": pvd.Cellular,
}

// AnyCellular and AnyWireless are groups of technologies.
var (
	AnyCellular = Technologies(pvd.Cellular)
	AnyWireless = Technologies(pvd.WLAN, pvd.Cellular, pvd.Bluetooth)
)

// DefaultOrder is the order of technologies where a [Policy] has none: wired before
// wireless, and WLAN before cellular. Those that are not in it come last.
var DefaultOrder = []pvd.Technology{pvd.Wired, pvd.WLAN, pvd.Bluetooth, pvd.Cellular, pvd.VPN, pvd.Virtual}

// Technologies returns the property of having one of the technologies ([pvd.Access]).
// [pvd.Cellular] stands for gprs, edge, cdma, umts, hspa, lte and nr too.
func Technologies(of ...pvd.Technology) Property {
	var words []string
	for _, t := range of {
		if t != "" {
			words = append(words, string(t))
		}
	}
	slices.Sort(words)
	// One string, so that a property can be compared.
	return technologies(strings.Join(slices.Compact(words), " or "))
}

type technologies string

func (ts technologies) String() string { return cmp.Or(string(ts), "no technology") }

func (ts technologies) words() []pvd.Technology {
	if ts == "" {
		return nil
	}
	var words []pvd.Technology
	for w := range strings.SplitSeq(string(ts), " or ") {
		words = append(words, pvd.Technology(w))
	}
	return words
}

// admits reports whether a PvD of technology t has the property.
func (ts technologies) admits(t pvd.Technology) bool {
	words := ts.words()
	return slices.Contains(words, t) || slices.Contains(words, kinds[t])
}

func (ts technologies) test(*Policy) func(*facts) bool {
	words := ts.words()
	return func(f *facts) bool {
		for _, w := range words {
			if f.technology == w || f.kind == w {
				return true
			}
		}
		return false
	}
}

func (ts technologies) implies(other Property) bool {
	o, ok := other.(technologies)
	if !ok {
		return false
	}
	for _, w := range ts.words() {
		if !o.admits(w) {
			return false
		}
	}
	return true
}

func (ts technologies) excludes(other Property) bool {
	o, ok := other.(technologies)
	if !ok {
		return false
	}
	return !slices.ContainsFunc(ts.words(), o.admits) && !slices.ContainsFunc(o.words(), ts.admits)
}
