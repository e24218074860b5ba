package ra

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// Infinite is the lifetime that never ends, and the moment that never comes. On the wire
// it has all bits set.
const Infinite time.Duration = 1<<63 - 1

// An Option is one option of a neighbour discovery message. The types of this package
// are the only ones.
type Option interface {
	// append adds the option's octets to b. Its length is a multiple of 8.
	append(b []byte) ([]byte, error)
}

// A LinkAddress is the sender's hardware address (RFC 4861 section 4.6.1).
type LinkAddress struct{ MAC net.HardwareAddr }

// A PrefixInformation says what is on the link and what addresses to make (RFC 4861
// section 4.6.2).
type PrefixInformation struct {
	Prefix     netip.Prefix // masked
	OnLink     bool         // L
	Autonomous bool         // A: make addresses of it
	Router     bool         // R (RFC 6275): the prefix carries the router's own address
	Delegation bool         // P (RFC 9762): clients should have prefixes delegated
	Valid      time.Duration
	Preferred  time.Duration
}

// An MTU is the largest packet of the link in octets (RFC 4861 section 4.6.4).
type MTU uint32

// A RouteInformation is a route through the router that sends it (RFC 4191 section 2.3).
type RouteInformation struct {
	Prefix     netip.Prefix // masked
	Preference pvd.Preference
	Lifetime   time.Duration
}

// An RDNSS names DNS servers (RFC 8106 section 5.1).
type RDNSS struct {
	Servers  []netip.Addr
	Lifetime time.Duration
}

// A DNSSL is a DNS search list (RFC 8106 section 5.2), its names in lower case and
// without trailing dots.
type DNSSL struct {
	Domains  []string
	Lifetime time.Duration
}

// A PREF64 is a prefix for NAT64 (RFC 8781). Its length is 96, 64, 56, 48, 40 or 32, its
// lifetime a multiple of 8 s up to 65,528 s.
type PREF64 struct {
	Prefix   netip.Prefix
	Lifetime time.Duration
}

// A CaptivePortal is the URI of a captive portal's API (RFC 8910 section 2.3), or
// [Unrestricted].
type CaptivePortal string

// Unrestricted is the URN that says that there is no captive portal (RFC 8910 section 2).
const Unrestricted CaptivePortal = "urn:ietf:params:capport:unrestricted"

// A Resolver is an encrypted DNS resolver that a router names (RFC 9463 section 6).
type Resolver struct {
	Priority uint16       // the lower one is preferred; 0: an alias, without Addrs
	Name     string       // to authenticate it by
	Addrs    []netip.Addr // in order of preference; none: they are to be found out by name
	Params   []byte       // service parameters in the format of RFC 9460 section 2.2
}

// An EncryptedDNS is a [Resolver] for some time.
type EncryptedDNS struct {
	Resolver
	Lifetime time.Duration
}

// A Raw is an option of a type that is not known here, with its type and length octets.
type Raw []byte

// parseOption decodes one option of the length that it says. It returns no option where
// it is of no use to a host.
func parseOption(b []byte) (Option, error) {
	switch b[0] {
	case typeSource:
		if len(b) != 8 {
			return nil, fmt.Errorf("a link-layer address of %d octets, not of Ethernet", len(b)-optionStart)
		}
		return LinkAddress{MAC: slices.Clone(b[2:8])}, nil
	case typePrefix:
		return parsePrefix(b)
	case typeMTU:
		if len(b) != 8 {
			return nil, lengthError(b)
		}
		return MTU(binary.BigEndian.Uint32(b[4:])), nil
	case typeRoute:
		return parseRoute(b)
	case typeRDNSS:
		return parseRDNSS(b)
	case typeDNSSL:
		return parseDNSSL(b)
	case typePortal:
		return parsePortal(b)
	case typePREF64:
		return parsePREF64(b)
	case typeResolver:
		return parseResolver(b)
	}
	return Raw(slices.Clone(b)), nil
}

func lengthError(b []byte) error { return fmt.Errorf("length of %d octets", len(b)) }

func parsePrefix(b []byte) (Option, error) {
	if len(b) != 32 {
		return nil, lengthError(b)
	}
	p, err := maskedPrefix(b[16:32], int(b[2]))
	if err != nil {
		return nil, err
	}
	o := PrefixInformation{
		Prefix:     p,
		OnLink:     b[3]&0x80 != 0,
		Autonomous: b[3]&0x40 != 0,
		Router:     b[3]&0x20 != 0,
		Delegation: b[3]&0x10 != 0,
		Valid:      seconds32(b[4:]),
		Preferred:  seconds32(b[8:]),
	}
	if o.Preferred > o.Valid {
		return nil, errors.New("preferred for longer than valid (RFC 4862 section 5.5.3)")
	}
	if err := usablePrefix(p); err != nil {
		return nil, err
	}
	return o, nil
}

// usablePrefix refuses prefixes that no router can hand out.
func usablePrefix(p netip.Prefix) error {
	switch a := p.Addr(); {
	case a.IsLinkLocalUnicast():
		return fmt.Errorf("prefix %s: link-local (RFC 4861 section 6.3.4)", p)
	case a.IsMulticast(), a.IsLoopback(), a.Is4In6(), a.IsUnspecified() && p.Bits() > 0:
		return fmt.Errorf("prefix %s: not of unicast addresses", p)
	case p.Bits() == 0:
		return errors.New("prefix ::/0: not a link's")
	}
	return nil
}

// maskedPrefix makes a prefix of the first octets of an address and its length.
func maskedPrefix(b []byte, bits int) (netip.Prefix, error) {
	var a [16]byte
	copy(a[:], b)
	p, err := netip.AddrFrom16(a).Prefix(bits)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("prefix length %d", bits)
	}
	return p, nil
}

func parseRoute(b []byte) (Option, error) {
	bits := int(b[2])
	// As many octets of the prefix as its length needs, or more (RFC 4191 section 2.3).
	if len(b) > 24 || bits > 128 || (len(b)-8)*8 < bits {
		return nil, fmt.Errorf("%d octets for a prefix length of %d", len(b), bits)
	}
	prf, ok := preference(b[3])
	if !ok {
		return nil, errors.New("reserved preference (RFC 4191 section 2.3)")
	}
	p, err := maskedPrefix(b[8:], bits)
	if err != nil {
		return nil, err
	}
	if a := p.Addr(); a.IsMulticast() || a.IsLoopback() || a.Is4In6() || a.IsLinkLocalUnicast() && bits >= 10 {
		return nil, fmt.Errorf("route to %s: not routed", p)
	}
	return RouteInformation{Prefix: p, Preference: prf, Lifetime: seconds32(b[4:])}, nil
}

func parseRDNSS(b []byte) (Option, error) {
	if len(b) < 24 || (len(b)-8)%16 != 0 {
		return nil, lengthError(b)
	}
	o := RDNSS{Lifetime: seconds32(b[4:])}
	for a := range slices.Chunk(b[8:], 16) {
		addr := netip.AddrFrom16([16]byte(a))
		if addr.IsMulticast() || addr.IsUnspecified() || addr.IsLoopback() || addr.Is4In6() {
			return nil, fmt.Errorf("server %s: not a unicast address", addr)
		}
		o.Servers = append(o.Servers, addr)
	}
	return o, nil
}

func parseDNSSL(b []byte) (Option, error) {
	if len(b) < 16 {
		return nil, lengthError(b)
	}
	o := DNSSL{Lifetime: seconds32(b[4:])}
	for rest := b[8:]; len(rest) > 0 && rest[0] != 0; {
		name, n, err := parseName(rest)
		if err != nil {
			return nil, err
		}
		o.Domains = append(o.Domains, string(name))
		rest = rest[n:]
	}
	if len(o.Domains) == 0 {
		return nil, errors.New("no name")
	}
	return o, nil
}

func parsePortal(b []byte) (Option, error) {
	uri := strings.TrimRight(string(b[optionStart:]), "\x00")
	if err := checkPortal(uri); err != nil {
		return nil, err
	}
	return CaptivePortal(uri), nil
}

func checkPortal(uri string) error {
	if uri == string(Unrestricted) {
		return nil
	}
	if i := strings.IndexFunc(uri, func(r rune) bool { return r <= ' ' || r >= 0x7f }); i >= 0 {
		return fmt.Errorf("URI %.100q: no such character", uri)
	}
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return fmt.Errorf("URI %.100q: malformed", uri)
	case u.Scheme != "https" || u.Hostname() == "" || u.User != nil:
		return fmt.Errorf("URI %.100q: not https://host/... (RFC 8908 section 4)", uri)
	}
	return nil
}

// pref64Bits are the prefix lengths by their code (RFC 8781 section 4).
var pref64Bits = [...]int{96, 64, 56, 48, 40, 32}

func parsePREF64(b []byte) (Option, error) {
	if len(b) != 16 {
		return nil, lengthError(b)
	}
	word := binary.BigEndian.Uint16(b[2:])
	code := int(word & 7)
	if code >= len(pref64Bits) {
		return nil, fmt.Errorf("prefix length code %d (RFC 8781 section 4)", code)
	}
	p, err := maskedPrefix(b[4:], pref64Bits[code])
	if err != nil {
		return nil, err
	}
	if err := usablePrefix(p); err != nil {
		return nil, err
	}
	return PREF64{Prefix: p, Lifetime: time.Duration(word>>3) * 8 * time.Second}, nil
}

// preference decodes the preference bits of a header or a route; ok is false for the
// reserved value.
func preference(flags byte) (p pvd.Preference, ok bool) {
	switch flags >> 3 & 3 {
	case 1:
		return pvd.High, true
	case 3:
		return pvd.Low, true
	case 0:
		return pvd.Medium, true
	}
	return pvd.Medium, false
}

func preferenceBits(p pvd.Preference) byte { return byte(p) & 3 << 3 }

// seconds32 decodes a lifetime of 32 bits.
func seconds32(b []byte) time.Duration {
	s := binary.BigEndian.Uint32(b)
	if s == 1<<32-1 {
		return Infinite
	}
	return time.Duration(s) * time.Second
}
