// Package pvd is the model of pvdstack: what a provisioning domain (PvD, RFC 7556)
// is, how one is named, described, chosen and watched.
//
// A PvD is a consistent set of network configuration: links, addresses, routes, DNS
// servers and more. An application names one by its [Ref], carries it in a context
// ([NewContext]), reads what it consists of ([Info]) and asks of any connection,
// listener or address which PvD it belongs to ([Of]).
//
// The package holds no sockets and no packets, and imports the standard library only.
// Package stack carries the model out.
package pvd
