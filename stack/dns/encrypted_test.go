package dns

import (
	"net/netip"

	"github.com/pvdstack/pvdstack/pvd"
)

// encrypted is one server at 192.0.2.53.
func encrypted(name, alpn, path string, port uint16) []pvd.EncryptedServer {
	return []pvd.EncryptedServer{{
		Name: name, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.53")}, ALPN: []string{alpn}, Path: path, Port: port,
	}}
}
