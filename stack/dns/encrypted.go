package dns

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
)

// Usual ports (RFC 7858 section 3.1, RFC 8484 section 8.3).
const (
	tlsPort   = 853
	httpsPort = 443
)

// serversOf returns the servers that are asked: the encrypted ones that we can speak to, or
// else the others.
func serversOf(plain []netip.AddrPort, encrypted []pvd.EncryptedServer) (servers []Server) {
	encrypted = slices.Clone(encrypted)
	slices.SortStableFunc(encrypted, func(a, b pvd.EncryptedServer) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, e := range encrypted {
		s, ok := transportOf(e)
		if !ok {
			continue
		}
		for _, a := range e.Addrs {
			s.Addr = netip.AddrPortFrom(a, s.Addr.Port())
			servers = append(servers, s)
		}
	}
	if len(servers) == 0 {
		for _, a := range plain {
			servers = append(servers, Server{Addr: a})
		}
	}
	return servers[:min(len(servers), maxServers)]
}

// transportOf returns how e is spoken to, but for its addresses: over TLS if it can be, as
// that takes less, else over HTTPS (RFC 9463 section 3.1.5).
func transportOf(e pvd.EncryptedServer) (Server, bool) {
	name := strings.TrimSuffix(e.Name, ".")
	if checkName(name) != nil {
		return Server{}, false
	}
	s := Server{Name: name}
	switch path, ok := pathOf(e.Path); {
	case slices.Contains(e.ALPN, "dot"):
		s.Transport = TLS
		s.Addr = netip.AddrPortFrom(netip.Addr{}, cmp.Or(e.Port, tlsPort))
	case ok && (slices.Contains(e.ALPN, "h2") || slices.Contains(e.ALPN, "http/1.1")):
		s.Transport, s.Path = HTTPS, path
		s.Addr = netip.AddrPortFrom(netip.Addr{}, cmp.Or(e.Port, httpsPort))
	default:
		return Server{}, false
	}
	return s, true
}

// pathOf returns what a URI template is without a query in it, as POST has it: the variable
// is dns, and there is no other (RFC 8484 section 4.1).
func pathOf(template string) (string, bool) {
	path := template
	for _, v := range []string{"{?dns}", "{&dns}", "{dns}"} {
		path = strings.Replace(path, v, "", 1)
	}
	for _, c := range []byte(path) {
		if c <= ' ' || c > '~' || c == '{' || c == '}' || c == '#' {
			return "", false
		}
	}
	return path, len(path) <= maxPath && strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//")
}
