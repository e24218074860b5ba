package pvd

import "time"

// Resolving says how the PvD's DNS servers are asked. It counts from when the PvD is
// attached: what changes later does not.
var Resolving = NewKey[ResolverOptions]("resolving", nil)

// ResolverOptions are those of a resolver. The zero value is what most PvDs have.
type ResolverOptions struct {
	// Strategy is the order in which servers are asked: "sequential", which is that of the
	// empty string, too, "escalation" or "parallel".
	Strategy string

	// Timeout is what a server has to answer in the first time. 0: one second.
	Timeout time.Duration

	// Ndots is how many dots make a name absolute, one with which is not looked for in the
	// search list. 0: 1.
	Ndots int

	// MixCase has the case of letters in queries be random, which makes answers harder to
	// forge.
	MixCase bool
}
