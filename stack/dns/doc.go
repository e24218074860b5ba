// Package dns finds names by asking the DNS servers of one provisioning domain, by
// connections that are made in that domain, and no others: where a domain has no server,
// finding a name is an error.
//
// A [Resolver] is a stub resolver (RFC 1034 section 5.3.1) that lives for as long as its PvD
// stays attached. It asks over UDP and, where an answer is truncated, TCP; or over TLS (RFC
// 7858) or HTTPS (RFC 8484) where the PvD has servers for that. It guards against forged
// answers by what RFC 5452 lists: a fresh socket and a random ID for each query, and answers
// are held against the whole question. Its cache is its own and holds what servers deny,
// too (RFC 2308). It opens no sockets but by the function that it is given, and reads none
// of the host's files.
package dns
