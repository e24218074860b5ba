// Package ra learns provisioning domains from IPv6 router advertisements: it is a
// codec for advertisements, solicitations and redirects (RFC 4861), the PvD option included
// (RFC 8801), and an [Engine] that makes PvDs of what a link's routers say.
//
// The package knows neither sockets nor a stack. Bytes and the time go in; what each PvD
// consists of at that moment, and when the next thing happens, comes out. Moments are
// durations on one monotonic clock ([pvd.Clock]'s Monotonic), which should go on while
// the machine sleeps.
//
// Every option is decoded here. A library that decodes whole messages loses an
// advertisement for one malformed option, where RFC 4191, RFC 8106 and RFC 8781 each say
// that only the option is to be ignored.
package ra
