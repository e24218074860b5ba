package learn

// Rules change proposals. The first rule that matches a PvD is the one that counts.
type Rules []Rule

// A Rule changes what is learned of the PvDs that it matches.
type Rule struct{}

// Apply returns p as the rules have it, p itself where none matches.
func (r Rules) Apply(p *Proposal) *Proposal { return p }
