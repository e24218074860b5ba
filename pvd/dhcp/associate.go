package dhcp

import (
	"net/netip"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Candidate is a PvD of a link, as far as the rules about leases need to know it.
type Candidate struct {
	Ref pvd.Ref

	// Explicit says that the PvD has an identifier; it is implicit otherwise.
	Explicit bool

	// Legacy is the PvD's L flag (RFC 8801 section 3.1): DHCPv4 belongs to it.
	Legacy bool

	// Managed and Other are the M and O flags of the router advertisement (RFC 4861
	// section 4.2) that the PvD is known by.
	Managed, Other bool

	// Prefixes are those of the advertisement's prefix information options.
	Prefixes []netip.Prefix
}

// A Decision says which PvDs something belongs to, and by which rule.
type Decision struct {
	Refs   []pvd.Ref // in the order of the candidates
	Reason string    // for logs; constant text

	// Misconfigured says that what the network announced contradicts itself, which is
	// worth a warning.
	Misconfigured bool
}

// Lease4 decides whose a DHCPv4 lease is (RFC 8801 section 3.4.2), among all the PvDs of
// the link that it was got on: the one explicit PvD that says so, or else all implicit
// ones. Where several explicit PvDs say so, none of them has it, and no implicit one
// either: the network has said that it is not theirs.
func Lease4(all []Candidate) Decision {
	claim := refs(all, func(c Candidate) bool { return c.Explicit && c.Legacy })
	switch len(claim) {
	case 0:
		return Decision{Refs: refs(all, implicit), Reason: "no explicit PvD has the L flag: all implicit PvDs of the link"}
	case 1:
		return Decision{Refs: claim, Reason: "the one explicit PvD with the L flag"}
	}
	return Decision{Reason: "several explicit PvDs have the L flag: none", Misconfigured: true}
}

// Stateless6 decides whose the answer to a DHCPv6 information-request is (RFC 8801
// section 3.4.1): every PvD's, explicit or implicit, that was advertised with O set.
func Stateless6(all []Candidate) Decision {
	rs := refs(all, func(c Candidate) bool { return c.Other })
	if len(rs) == 0 {
		return Decision{Reason: "no PvD was advertised with the O flag: none"}
	}
	return Decision{Refs: rs, Reason: "all PvDs advertised with the O flag"}
}

// Options6 decides whose the DNS servers and the like are that came with an address: those
// of the PvDs advertised with O or M set, since M makes O redundant (RFC 4861 section 4.2).
func Options6(all []Candidate) Decision {
	rs := refs(all, func(c Candidate) bool { return c.Other || c.Managed })
	if len(rs) == 0 {
		return Decision{Reason: "no PvD was advertised with the O or M flag: none"}
	}
	return Decision{Refs: rs, Reason: "all PvDs advertised with the O or M flag"}
}

// Address6 decides whose an address is that DHCPv6 gave (RFC 8801 section 3.4.1): that of
// the PvDs advertised with M set and a prefix that contains the address; else of all
// implicit PvDs of the link, which the RFC allows and wants logged.
func Address6(all []Candidate, a netip.Addr) Decision {
	rs := refs(all, func(c Candidate) bool {
		return c.Managed && slices.ContainsFunc(c.Prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
	})
	if len(rs) > 0 {
		return Decision{Refs: rs, Reason: "advertised with the M flag and a prefix that contains the address"}
	}
	return Decision{
		Refs:          refs(all, implicit),
		Reason:        "no PvD was advertised with the M flag and a prefix that contains the address: all implicit PvDs of the link",
		Misconfigured: true,
	}
}

func implicit(c Candidate) bool { return !c.Explicit }

func refs(all []Candidate, want func(Candidate) bool) (rs []pvd.Ref) {
	for _, c := range all {
		if want(c) && !slices.Contains(rs, c.Ref) {
			rs = append(rs, c.Ref)
		}
	}
	return rs
}
