package pvd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// An EncryptedServer is a DNS server that is authenticated by name (RFC 9463 section 3.1).
type EncryptedServer struct {
	// Priority orders the servers that one source names: the lower one is preferred.
	Priority uint16

	// Name is what its certificate has to be for.
	Name string

	// Addrs are its addresses, in order of preference, as its name is not looked up. A
	// link-local one carries the link's name as its zone.
	Addrs []netip.Addr

	// ALPN are the protocols that it speaks, as in TLS: "dot" for DNS over TLS (RFC 7858),
	// "h2" for DNS over HTTPS (RFC 8484), and others.
	ALPN []string

	// Port is its port. 0: the usual one of the protocol.
	Port uint16

	// Path is the URI template, relative to the server, of DNS over HTTPS, such as
	// "/dns-query{?dns}" (RFC 9461 section 5).
	Path string
}

// ParseService sets ALPN, Port and Path from service parameters in the format of RFC 9460
// section 2.2. Others are passed over, but a server for which something else is mandatory
// to know can not be used, which is an error as bad parameters are.
func (s *EncryptedServer) ParseService(params []byte) error {
	last := -1
	mandatory := []byte(nil)
	for len(params) > 0 {
		if len(params) < 4 || int(binary.BigEndian.Uint16(params[2:])) > len(params)-4 {
			return errors.New("service parameters cut short")
		}
		key, n := int(binary.BigEndian.Uint16(params)), int(binary.BigEndian.Uint16(params[2:]))
		if key <= last {
			return errors.New("service parameters out of order")
		}
		value := params[4 : 4+n]
		last, params = key, params[4+n:]
		switch key {
		case serviceMandatory:
			if n%2 != 0 {
				return fmt.Errorf("service parameter mandatory of %d octets", n)
			}
			mandatory = value
		case serviceALPN:
			s.ALPN = nil
			for len(value) > 0 {
				n := int(value[0])
				if n == 0 || n > len(value)-1 {
					return errors.New("service parameter alpn cut short")
				}
				s.ALPN = append(s.ALPN, string(value[1:1+n]))
				value = value[1+n:]
			}
		case servicePort:
			if n != 2 {
				return fmt.Errorf("service parameter port of %d octets", n)
			}
			s.Port = binary.BigEndian.Uint16(value)
		case servicePath:
			s.Path = string(value)
		}
	}
	for ; len(mandatory) >= 2; mandatory = mandatory[2:] {
		switch key := binary.BigEndian.Uint16(mandatory); key {
		case serviceALPN, serviceNoDefaultALPN, servicePort, servicePath:
		default:
			return fmt.Errorf("service parameter %d is mandatory and not known here", key)
		}
	}
	return nil
}

// Keys of service parameters (RFC 9460 section 14.3.2, RFC 9461 section 5).
const (
	serviceMandatory     = 0
	serviceALPN          = 1
	serviceNoDefaultALPN = 2
	servicePort          = 3
	servicePath          = 7
)

func cloneEncryptedServers(ss []EncryptedServer) []EncryptedServer {
	ss = slices.Clone(ss)
	for i := range ss {
		ss[i].Addrs = slices.Clone(ss[i].Addrs)
		ss[i].ALPN = slices.Clone(ss[i].ALPN)
	}
	return ss
}
