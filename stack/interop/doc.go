// Package interop holds tests that other people's libraries work over the connections
// of package stack: SSH, gRPC, QUIC and HTTP/3, beside the standard library's TLS and
// HTTP. It is a module of its own, so that who uses pvdstack takes on none of them.
//
// The snippets of docs/libraries.md are the functions in snippets_test.go, which the
// tests call.
package interop
