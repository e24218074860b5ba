package addrsel

// Rules is a set of rules of RFC 6724.
type Rules uint32

// The rules for sources, of section 5, and for destinations, of section 6. Rule 10 for
// destinations is that the order of the others' ties is left as it was, and has nothing
// in its place.
const (
	SourceSame       Rules = 1 << iota // rule 1: prefer the destination itself
	SourceScope                        // rule 2: prefer appropriate scope
	SourceDeprecated                   // rule 3: avoid deprecated addresses
	SourceHome                         // rule 4: prefer home addresses
	SourceOutgoing                     // rule 5: prefer the outgoing interface
	SourceAdvertised                   // rule 5.5: prefer a prefix advertised by the next hop
	SourceLabel                        // rule 6: prefer matching label
	SourceTemporary                    // rule 7: prefer temporary addresses
	SourceLongest                      // rule 8: use longest matching prefix

	DestUnusable   // rule 1: avoid unusable destinations
	DestScope      // rule 2: prefer matching scope
	DestDeprecated // rule 3: avoid deprecated addresses
	DestHome       // rule 4: prefer home addresses
	DestLabel      // rule 5: prefer matching label
	DestPrecedence // rule 6: prefer higher precedence
	DestNative     // rule 7: prefer native transport
	DestSmaller    // rule 8: prefer smaller scope
	DestLongest6   // rule 9 for IPv6: use longest matching prefix
	DestLongest4   // rule 9 for IPv4

	afterRules

	// DestLongest is rule 9 for both families.
	DestLongest = DestLongest6 | DestLongest4

	allRules = afterRules - 1
)

func (r Rules) has(rule Rules) bool { return r&rule != 0 }
