// Package dhcp6 is the client of DHCPv6 (RFC 8415, RFC 9915) as a machine. It is told the
// time, what arrived and what became of the link, and says what to send, when to be called
// next and what it has got: other configuration alone (stateless), or addresses and
// delegated prefixes too (stateful).
//
// It leaves duplicate address detection to whoever holds the addresses, who reports what it
// finds by Decline. Reconfigure messages are ignored, since nothing authenticates them, and
// so is a server's wish to be spoken to by unicast, which RFC 9915 has removed.
package dhcp6
