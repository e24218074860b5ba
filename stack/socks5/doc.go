// Package socks5 is a SOCKS version 5 proxy (RFC 1928, RFC 1929) in front of a
// network, as a rule that of one provisioning domain: names are resolved there,
// connections are made there, and where that fails the client gets the reply that says
// why. Nothing is ever done elsewhere instead.
//
// The package opens no sockets: the listener and the network are given to it. It
// carries out CONNECT; BIND and UDP ASSOCIATE are answered with "command not
// supported".
package socks5
