// Package learn makes provisioning domains of what a link's network says: router
// advertisements with the PvD option (RFC 4861, RFC 8801), DHCPv4 (RFC 2131), DHCPv6
// (RFC 8415) and additional information (RFC 8801 section 4).
//
// A [Machine] is for one link. It has no goroutine, clock or socket: frames and the time go
// in; frames to be sent, the moment at which it wants to be called, and a [Proposal] for
// each PvD come out. What links teach never mixes here, since no machine knows of another.
package learn
