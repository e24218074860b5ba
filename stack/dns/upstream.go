package dns

import (
	"net/netip"
)

// A Transport is the way in which a server is spoken to.
type Transport uint8

const (
	// Plain is UDP, and TCP where an answer does not fit (RFC 1035 section 4.2).
	Plain Transport = iota
	// TLS is DNS over TLS (RFC 7858).
	TLS
	// HTTPS is DNS over HTTPS (RFC 8484).
	HTTPS
)

// String returns "plain", "tls" or "https".
func (t Transport) String() string {
	switch t {
	case TLS:
		return "tls"
	case HTTPS:
		return "https"
	default:
		return "plain"
	}
}

// A Server is a DNS server as it is spoken to. It is comparable.
type Server struct {
	Transport Transport
	Addr      netip.AddrPort // a link-local address has the link's name as its zone
	Name      string         // what its certificate has to be for; empty for Plain
	Path      string         // of its URL, for HTTPS
}

// String returns the address of a plain server, as in "192.0.2.53:53", and for others their
// name as well, as in "tls://dns.example@192.0.2.53:853".
func (s Server) String() string {
	switch s.Transport {
	case TLS:
		return "tls://" + s.Name + "@" + s.Addr.String()
	case HTTPS:
		return "https://" + s.Name + "@" + s.Addr.String() + s.Path
	default:
		return s.Addr.String()
	}
}
