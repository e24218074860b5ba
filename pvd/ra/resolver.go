package ra

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A resolver is one that one router names.
type resolver struct {
	Resolver
	router netip.Addr
	until  time.Duration
}

// Keys of service parameters that are forbidden here (RFC 9463 section 3.1.8, RFC 9460
// section 14.3.2).
const (
	serviceIPv4Hint = 4
	serviceIPv6Hint = 6
)

// parseResolver decodes an encrypted DNS option by the rules of RFC 9463 section 3.1.8.
func parseResolver(b []byte) (Option, error) {
	if len(b) < 16 { // 10 octets before the name, which has 3 at least
		return nil, lengthError(b)
	}
	o := EncryptedDNS{Lifetime: seconds32(b[4:])}
	o.Priority = binary.BigEndian.Uint16(b[2:])
	name, rest, ok := cutField(b[8:])
	if !ok {
		return nil, errors.New("name cut short")
	}
	id, n, err := parseName(name)
	if err == nil && n != len(name) {
		err = errors.New("more than one name")
	}
	if err != nil {
		return nil, fmt.Errorf("name of the resolver: %w", err)
	}
	o.Name = string(id)
	// Padding is less than a unit of options, and the addresses and parameters of a resolver
	// are more. By name alone there is neither (section 3.1.6).
	if len(rest) < optionUnit && !slices.ContainsFunc(rest, func(b byte) bool { return b != 0 }) {
		return o, nil
	}
	addrs, rest, ok := cutField(rest)
	if !ok || len(addrs)%16 != 0 {
		return nil, errors.New("addresses cut short")
	}
	params, padding, ok := cutField(rest)
	if !ok || len(padding) >= optionUnit {
		return nil, errors.New("service parameters cut short, or longer than they say")
	}
	for a := range slices.Chunk(addrs, 16) {
		addr := netip.AddrFrom16([16]byte(a))
		if addr.IsMulticast() || addr.IsUnspecified() || addr.IsLoopback() || addr.Is4In6() {
			continue // RFC 9463 section 6.2
		}
		if len(o.Addrs) < MaxResolverAddrs {
			o.Addrs = append(o.Addrs, addr)
		}
	}
	switch {
	case len(o.Addrs) == 0:
		return nil, errors.New("no address of a resolver")
	case o.Priority == 0:
		return nil, errors.New("an alias with addresses (RFC 9460 section 2.4.2)")
	}
	if err := checkParams(params); err != nil {
		return nil, err
	}
	if len(params) > 0 {
		o.Params = slices.Clone(params)
	}
	return o, nil
}

// cutField cuts off a field that begins with its length in two octets.
func cutField(b []byte) (field, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, b, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if n > len(b)-2 {
		return nil, b, false
	}
	return b[2 : 2+n], b[2+n:], true
}

// checkParams applies RFC 9460 section 2.2 (whole, ascending) and RFC 9463 section 3.1.8
// (no hints).
func checkParams(b []byte) error {
	for last := -1; len(b) > 0; {
		if len(b) < 4 {
			return errors.New("service parameters cut short")
		}
		key := int(binary.BigEndian.Uint16(b))
		_, rest, ok := cutField(b[2:])
		switch {
		case !ok:
			return errors.New("service parameters cut short")
		case key <= last:
			return errors.New("service parameters out of order")
		case key == serviceIPv4Hint, key == serviceIPv6Hint:
			return errors.New("an address hint among the service parameters")
		}
		last, b = key, rest
	}
	return nil
}

func (o EncryptedDNS) append(b []byte) ([]byte, error) {
	id, err := pvd.ParseID(o.Name)
	if err != nil || id == "" {
		return nil, fmt.Errorf("ra: resolver %q: malformed name", o.Name)
	}
	if len(o.Addrs) > 0 && o.Priority == 0 || len(o.Addrs) == 0 && len(o.Params) > 0 {
		return nil, fmt.Errorf("ra: resolver %s: an alias with addresses, or parameters without", id)
	}
	start := len(b)
	b = binary.BigEndian.AppendUint16(append(b, typeResolver, 0), o.Priority)
	b = appendSeconds32(b, o.Lifetime)
	b = binary.BigEndian.AppendUint16(b, uint16(len(id)+2)) // a length octet, and the root's
	b = appendName(b, id)
	if len(o.Addrs) == 0 {
		return finish(b, start)
	}
	if err := checkParams(o.Params); err != nil {
		return nil, fmt.Errorf("ra: resolver %s: %w", id, err)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(16*len(o.Addrs)))
	for _, addr := range o.Addrs {
		if !addr.Is6() {
			return nil, fmt.Errorf("ra: resolver %s at %s: not IPv6", id, addr)
		}
		a := addr.As16()
		b = append(b, a[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(o.Params)))
	return finish(append(b, o.Params...), start)
}

// applyResolver takes a resolver. One with a lifetime of 0 ends all of that name that the
// same router has named (RFC 9463 section 6.1).
func (u *arrival) applyResolver(o EncryptedDNS) {
	d := u.d
	if o.Lifetime == 0 {
		d.resolve = slices.DeleteFunc(d.resolve, func(r resolver) bool {
			return r.router == u.router && r.Name == o.Name
		})
		return
	}
	n := resolver{o.Resolver, u.router, u.until(o.Lifetime)}
	i := slices.IndexFunc(d.resolve, func(r resolver) bool {
		return r.router == u.router && r.Name == o.Name && slices.Equal(r.Addrs, o.Addrs)
	})
	switch {
	case i >= 0:
		d.resolve[i] = n
	case u.e.count(func(d *domain) int { return len(d.resolve) }) >= MaxResolvers:
		u.reject("resolver %s: the link has %d, which is the most", o.Name, MaxResolvers)
	default:
		d.resolve = append(d.resolve, n)
	}
}

// resolvers lists each resolver once, by priority, until the last router's word for it ends.
func (d *domain) resolvers(link string) (ls []Lasting[Resolver]) {
	for _, r := range d.resolve {
		v := r.Resolver
		v.Addrs = slices.Clone(v.Addrs)
		for i, a := range v.Addrs {
			if a.IsLinkLocalUnicast() {
				v.Addrs[i] = a.WithZone(link)
			}
		}
		i := slices.IndexFunc(ls, func(l Lasting[Resolver]) bool { return l.Value.equal(v) })
		if i >= 0 {
			ls[i].Until = max(ls[i].Until, r.until)
			continue
		}
		ls = append(ls, Lasting[Resolver]{v, r.until})
	}
	slices.SortStableFunc(ls, func(a, b Lasting[Resolver]) int { return int(a.Value.Priority) - int(b.Value.Priority) })
	return ls
}

func (r Resolver) equal(o Resolver) bool {
	return r.Priority == o.Priority && r.Name == o.Name && slices.Equal(r.Addrs, o.Addrs) && slices.Equal(r.Params, o.Params)
}
