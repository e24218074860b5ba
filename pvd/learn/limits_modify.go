package learn

const (
	// MaxRules of one link agent. They are gone through for each proposal, and a person
	// writes them.
	MaxRules = 4096

	// MaxModifiers of a rule: five operations for each of the elements there are.
	MaxModifiers = 256
)
