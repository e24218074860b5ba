// Package selection chooses the PvD for those who do not name one. It is the intermediate
// level of the API (RFC 7556 section 6.2): an application says what it needs, and gets a
// [pvd.Ref].
//
//	r := selection.Requirements{
//		selection.Require(selection.Internet),
//		selection.Prefer(selection.Technologies(pvd.WLAN)),
//		selection.Avoid(selection.Metered),
//	}
//	ref, err := selection.Best(infos, r)
//
// [Rank] and [Best] work on descriptions at hand. A [Manager] works on a host: it follows
// the host's PvDs and answers the same questions about them ([Manager.WaitFor],
// [Manager.Follow]), decides calls by rules (it is a [pvd.Selector]), asks a person where
// the rules say so, keeps the system default on the first of a list that works, and opens
// and closes networks that are there on demand ([Manager.Acquire]).
//
// # The order
//
// Of the PvDs that have everything that is required and nothing that is prohibited, one
// goes before another if it does so at the first of these points where they differ:
//
//  1. it has a route to the destination, where that is known by its address;
//  2. it is not about to leave ([pvd.Ends]);
//  3. the preferences, in the order in which they were stated: it has what is preferred,
//     or has not what is to be avoided;
//  4. its place in the group that was required, where a [Policy] orders the members: of
//     several groups, in the first that it orders;
//  5. it is attached already, where a network would have to be opened;
//  6. the criteria of the [Policy]: the lower [pvd.Metric], and then the technology, wired
//     before wlan before cellular, unless the Policy says otherwise;
//  7. where the Policy spreads destinations: the destination's hash;
//  8. it was attached earlier.
//
// What is not known of a PvD, it does not have: a PvD of unknown speed has no minimum
// speed, and one that is not known to be metered may be used where metered ones are
// prohibited.
package selection
