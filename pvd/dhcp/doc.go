// Package dhcp holds what the DHCP clients of its subpackages share: names and encrypted
// resolvers as options carry them, and identifiers that do not correlate between PvDs. Which
// PvDs a lease belongs to follows from what routers say: package ra knows (RFC 8801 section
// 3.4).
//
// The clients are packages dhcp4 (RFC 2131) and dhcp6 (RFC 8415); package acd is address
// conflict detection (RFC 5227). All are machines without sockets, goroutines and time of
// their own: they are told the time, what arrived and what happened, and say what to send,
// when they want to be called next and what they know. None may be used concurrently.
//
// The times they are given count from the same moment, never go back, and include the time
// that the machine was suspended. They encode and decode the messages themselves: the
// usual library's message type brings an LZ4 compressor along, does not know option
// overload, and for one bad option drops the whole message.
package dhcp
