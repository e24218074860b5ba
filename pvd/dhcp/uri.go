package dhcp

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
)

// Unrestricted is the URI by which a network says that it has no captive portal (RFC 8910
// section 2).
const Unrestricted = "urn:ietf:params:capport:unrestricted"

// ParsePortal returns the URI of a captive portal's API as an option has it (RFC 8910
// section 2): https with a host and without user, or [Unrestricted]. Trailing NULs are not
// part of it.
func ParsePortal(b []byte) (string, error) {
	b = bytes.TrimRight(b, "\x00")
	if len(b) > maxURI {
		return "", fmt.Errorf("dhcp: captive portal: URI of %d octets, at most %d are taken", len(b), maxURI)
	}
	for _, c := range b {
		if c <= ' ' || c >= 0x7f {
			return "", fmt.Errorf("dhcp: captive portal: octet %#02x in a URI", c)
		}
	}
	s := string(b)
	if s == Unrestricted {
		return s, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return "", fmt.Errorf("dhcp: captive portal: %w", err)
	}
	if u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return "", errors.New("dhcp: captive portal: not https with a host")
	}
	return s, nil
}
