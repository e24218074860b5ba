// Package acd is IPv4 address conflict detection (RFC 5227) as a machine: it is told the
// time and what ARP packets arrive, and says which to send and whether the address may be
// used. It serves addresses from DHCP and fixed ones alike.
package acd
