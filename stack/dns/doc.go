// Package dns finds the addresses of names by asking the DNS servers of one
// provisioning domain, by connections that are made in that domain, and no others: where
// a domain has no server, finding a name is an error.
//
// It is a stub resolver (RFC 1034 section 5.3.1): it asks for A and AAAA records with
// recursion desired, over UDP and, where an answer is truncated, TCP. It guards against
// forged answers by what RFC 5452 lists: a fresh socket and a random ID for each query,
// and answers are held against the whole question. It keeps no cache and opens no
// sockets of its own.
package dns
