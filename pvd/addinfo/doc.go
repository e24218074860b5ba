// Package addinfo learns what a PvD says of itself beyond router advertisements: the
// additional information of RFC 8801 section 4, and the state of a captive portal by its
// API (RFC 8908).
//
// A [Schedule] decides when to ask and what the answers mean for one attachment to a link;
// a [PortalWatch] does the same for one captive portal. Neither has a goroutine, a timer or
// a socket: their owner feeds them what router advertisements say and carries out what
// they ask for by a [Fetcher], which reaches servers by the network of one PvD only.
//
// Nothing here decides about security: the dates in additional information depend on
// clocks that may be wrong (RFC 8801 section 6).
package addinfo
