// Package dhcp4 is the client of DHCPv4 (RFC 2131) as a machine. It is told the time, what
// arrived and what became of the link, and says what to send, when to be called next and
// which lease there is. It checks an address for conflicts before it calls it a lease, and
// goes on defending it (package acd).
//
// DHCPFORCERENEW (RFC 3203) is ignored, since nothing authenticates it.
package dhcp4
