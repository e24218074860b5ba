package dns

import (
	"context"
	"net"
	"strconv"
	"strings"
)

// services are the ones that LookupPort knows by name (the IANA Service Name and Transport
// Protocol Port Number Registry). The host's own list is none of the PvD's.
var services = map[string]map[string]int{
	"tcp": {
		"domain": 53, "domain-s": 853, "ftp": 21, "ftp-data": 20, "ftps": 990, "gopher": 70, "http": 80, "https": 443,
		"imap": 143, "imap2": 143, "imap3": 220, "imaps": 993, "ldap": 389, "ldaps": 636, "ntske": 4460, "pop3": 110,
		"pop3s": 995, "rsync": 873, "smtp": 25, "smtps": 465, "socks": 1080, "ssh": 22, "submission": 587,
		"submissions": 465, "telnet": 23, "whois": 43,
	},
	"udp": {"domain": 53, "domain-s": 853, "http": 80, "https": 443, "ntp": 123, "snmp": 161, "syslog": 514, "tftp": 69},
}

// LookupPort returns the port of a service, which is a number or one of a few well-known
// names. The network is ip, tcp, tcp4, tcp6, udp, udp4, udp6, or empty as ip is: either
// protocol. No server is asked.
func (r *Resolver) LookupPort(_ context.Context, network, service string) (int, error) {
	if n, err := strconv.Atoi(service); err == nil || service == "" {
		if n < 0 || n > 65535 {
			return 0, &net.AddrError{Err: "invalid port", Addr: service}
		}
		return n, nil
	}
	var protocols []string
	switch network {
	case "tcp", "tcp4", "tcp6":
		protocols = []string{"tcp"}
	case "udp", "udp4", "udp6":
		protocols = []string{"udp"}
	case "", "ip":
		protocols = []string{"tcp", "udp"}
	default:
		return 0, &net.DNSError{Err: "unknown network", Name: network + "/" + service}
	}
	for _, p := range protocols {
		if port, ok := services[p][strings.ToLower(service)]; ok {
			return port, nil
		}
	}
	return 0, &net.DNSError{Err: "unknown port", Name: network + "/" + service, IsNotFound: true}
}

// ServiceName returns the name of the service at a port of TCP, or of UDP, empty if it has
// none that [Resolver.LookupPort] knows.
func ServiceName(port uint16, udp bool) string {
	protocol := "tcp"
	if udp {
		protocol = "udp"
	}
	name := ""
	for n, p := range services[protocol] {
		if p == int(port) && (name == "" || n < name) {
			name = n // of several the first, so that it is always the same one
		}
	}
	return name
}
