package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Resolver is an encrypted DNS resolver that a network names (RFC 9463 section 3.1).
type Resolver struct {
	Priority uint16       // the lower one is preferred; 0: an alias, without Addrs
	Name     string       // to authenticate it by
	Addrs    []netip.Addr // in order of preference
	Params   []byte       // service parameters in the format of RFC 9460 section 2.2
}

// ParseResolver4 returns the resolvers of option 162 of DHCPv4 (RFC 9463 section 5.1) by
// priority, and why others were left out.
func ParseResolver4(b []byte) (rs []Resolver, problems []error) {
	for len(b) > 0 {
		if len(b) < 2 || int(binary.BigEndian.Uint16(b)) > len(b)-2 {
			return sortResolvers(rs), append(problems, errors.New("dhcp: resolver: instance cut short"))
		}
		n := int(binary.BigEndian.Uint16(b))
		r, err := parseResolver(b[2:2+n], 1, 4)
		b = b[2+n:]
		if err == nil && len(rs) == maxResolvers {
			err = fmt.Errorf("dhcp: resolver: more than %d", maxResolvers)
		}
		if err != nil {
			problems = append(problems, err)
			if len(problems) >= maxResolvers {
				break
			}
			continue
		}
		rs = append(rs, r)
	}
	return sortResolvers(rs), problems
}

// ParseResolver6 returns the resolver of one option 144 of DHCPv6 (RFC 9463 section 4.1).
func ParseResolver6(b []byte) (Resolver, error) { return parseResolver(b, 2, 16) }

// parseResolver reads an instance whose lengths of name and addresses have lenSize
// octets, of addresses of addrSize octets.
func parseResolver(b []byte, lenSize, addrSize int) (r Resolver, err error) {
	field := func(what string, ofLength bool) (f []byte) {
		if err != nil {
			return nil
		}
		n, head := 2, 0
		if ofLength {
			head = lenSize
			if len(b) < lenSize {
				err = fmt.Errorf("dhcp: resolver: %s cut short", what)
				return nil
			}
			n = int(b[0])
			if lenSize == 2 {
				n = int(binary.BigEndian.Uint16(b))
			}
		}
		if len(b)-head < n {
			err = fmt.Errorf("dhcp: resolver: %s cut short", what)
			return nil
		}
		f, b = b[head:head+n], b[head+n:]
		return f
	}
	priority := field("priority", false)
	name := field("name", true)
	if err != nil {
		return Resolver{}, err
	}
	r.Priority = binary.BigEndian.Uint16(priority)
	var next int
	if r.Name, next, err = parseName(name, 0, false); err != nil || next != len(name) {
		return Resolver{}, fmt.Errorf("dhcp: resolver: name: %w", orError(err, "more than one"))
	}
	if len(b) == 0 {
		return r, nil // by name only (RFC 9463 section 3.1.6)
	}
	if r.Priority == 0 {
		return Resolver{}, errors.New("dhcp: resolver: an alias with addresses")
	}
	addrs := field("addresses", true)
	if err != nil {
		return Resolver{}, err
	}
	if len(addrs) == 0 || len(addrs)%addrSize != 0 {
		return Resolver{}, fmt.Errorf("dhcp: resolver: %d octets of addresses", len(addrs))
	}
	for c := range slices.Chunk(addrs, addrSize) {
		a, _ := netip.AddrFromSlice(c)
		if !unicast(a) || len(r.Addrs) == maxResolverAddrs {
			continue // multicast and host loopback are dropped (RFC 9463 sections 4.2, 5.2)
		}
		r.Addrs = append(r.Addrs, a)
	}
	if len(r.Addrs) == 0 {
		return Resolver{}, errors.New("dhcp: resolver: no address that could be one")
	}
	if err := checkParams(b); err != nil {
		return Resolver{}, err
	}
	r.Params = slices.Clone(b)
	return r, nil
}

func orError(err error, text string) error {
	if err == nil {
		return errors.New(text)
	}
	return err
}

// Keys of service parameters that are forbidden here (RFC 9460 section 14.3.2).
const (
	keyIPv4Hint = 4
	keyIPv6Hint = 6
)

// checkParams applies RFC 9460 section 2.2 (whole, ascending) and RFC 9463 section 3.1.8 (no
// hints).
func checkParams(b []byte) error {
	for last := -1; len(b) > 0; {
		if len(b) < 4 || int(binary.BigEndian.Uint16(b[2:])) > len(b)-4 {
			return errors.New("dhcp: resolver: service parameters cut short")
		}
		key, n := int(binary.BigEndian.Uint16(b)), int(binary.BigEndian.Uint16(b[2:]))
		switch {
		case key <= last:
			return errors.New("dhcp: resolver: service parameters out of order")
		case key == keyIPv4Hint, key == keyIPv6Hint:
			return errors.New("dhcp: resolver: address hint among the service parameters")
		}
		last, b = key, b[4+n:]
	}
	return nil
}

func sortResolvers(rs []Resolver) []Resolver {
	slices.SortStableFunc(rs, func(a, b Resolver) int { return int(a.Priority) - int(b.Priority) })
	return rs
}

// unicast reports whether a may be somebody else's address.
func unicast(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !a.Is4In6() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255}) && !pvd.IsThisNetwork(a)
}

// ParseAddrs returns the addresses of an option that is a list of them, of size octets
// each, at most so many, without those that can not be a server's; and why some were left
// out.
func ParseAddrs(b []byte, size, most int) (addrs []netip.Addr, err error) {
	if len(b) == 0 || len(b)%size != 0 {
		return nil, fmt.Errorf("%d octets of addresses of %d", len(b), size)
	}
	for c := range slices.Chunk(b, size) {
		a, _ := netip.AddrFromSlice(c)
		switch {
		case !unicast(a):
			err = fmt.Errorf("%v can not be a server", a)
		case len(addrs) == most:
			return addrs, fmt.Errorf("more than %d addresses", most)
		case !slices.Contains(addrs, a):
			addrs = append(addrs, a)
		}
	}
	return addrs, err
}
