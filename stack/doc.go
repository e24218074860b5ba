// Package stack is a TCP/IP stack in user space whose unit is the provisioning domain.
//
// A [Host] holds links and PvDs. Every PvD has a network stack of its own, with a NIC on
// each of its links; a link may carry any number of PvDs, and what arrives on it is
// given to the PvD whose address it is for before the stacks see it. What leaves is
// checked against the PvD's addresses and follows the PvD's routes.
//
// Applications use a PvD through its [Network], which has the methods of package net:
//
//	corp := host.In(ref)
//	c, err := corp.DialContext(ctx, "tcp", "10.0.0.5:443")
//
// What a PvD lacks is an error. Nothing falls back to another PvD or to the host.
package stack
