package socks5

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// CheckListen says whether a proxy may listen on address, a host and a port as for
// [net.Listen], where auth is whether its clients have to authenticate and force
// whether its owner insists. Loopback addresses and the name localhost may always be
// used. Any other one can be reached by others, who would be free to use the network
// behind the proxy, so it takes authentication or force. So does a name, as it may
// stand for anything.
func CheckListen(address string, auth, force bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("socks5: listen address %q: %w", address, err)
	}
	if auth || force || strings.EqualFold(host, "localhost") {
		return nil
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return nil
	}
	return fmt.Errorf("socks5: listen address %q: not a loopback address: "+
		"others could use the proxy, which asks for no user name and password", address)
}

// checkListener applies CheckListen to a listener that has an IP address. Any other is
// reached by those only who can reach the process or the file system.
func (s *Server) checkListener(a net.Addr) error {
	ip, ok := a.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return nil
	}
	return CheckListen(ip.AddrPort().String(), len(s.cfg.Users) > 0, s.cfg.AllowPublic)
}
