package ra

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// appendSeconds32 encodes a lifetime of 32 bits, rounded down.
func appendSeconds32(b []byte, d time.Duration) []byte {
	if d == Infinite {
		return binary.BigEndian.AppendUint32(b, math.MaxUint32)
	}
	s := min(max(d/time.Second, 0), math.MaxUint32-1)
	return binary.BigEndian.AppendUint32(b, uint32(s))
}

func (o LinkAddress) append(b []byte) ([]byte, error) {
	if len(o.MAC) != 6 {
		return nil, fmt.Errorf("ra: link-layer address of %d octets", len(o.MAC))
	}
	return append(append(b, typeSource, 1), o.MAC...), nil
}

func (o PrefixInformation) append(b []byte) ([]byte, error) {
	if !o.Prefix.IsValid() || !o.Prefix.Addr().Is6() {
		return nil, fmt.Errorf("ra: prefix %s: not of IPv6", o.Prefix)
	}
	var flags byte
	for i, set := range []bool{o.OnLink, o.Autonomous, o.Router, o.Delegation} {
		if set {
			flags |= 0x80 >> i
		}
	}
	b = append(b, typePrefix, 4, byte(o.Prefix.Bits()), flags)
	b = appendSeconds32(appendSeconds32(b, o.Valid), o.Preferred)
	a := o.Prefix.Addr().As16()
	return append(append(b, 0, 0, 0, 0), a[:]...), nil
}

func (o MTU) append(b []byte) ([]byte, error) {
	return binary.BigEndian.AppendUint32(append(b, typeMTU, 1, 0, 0), uint32(o)), nil
}

func (o RouteInformation) append(b []byte) ([]byte, error) {
	if !o.Prefix.IsValid() || !o.Prefix.Addr().Is6() {
		return nil, fmt.Errorf("ra: route to %s: not of IPv6", o.Prefix)
	}
	octets := (o.Prefix.Bits() + 63) / 64 * 8
	b = append(b, typeRoute, byte(1+octets/8), byte(o.Prefix.Bits()), preferenceBits(o.Preference))
	a := o.Prefix.Masked().Addr().As16()
	return append(appendSeconds32(b, o.Lifetime), a[:octets]...), nil
}

func (o RDNSS) append(b []byte) ([]byte, error) {
	if n := len(o.Servers); n == 0 || n > 127 {
		return nil, fmt.Errorf("ra: %d DNS servers in an option", n)
	}
	b = append(b, typeRDNSS, byte(1+2*len(o.Servers)), 0, 0)
	b = appendSeconds32(b, o.Lifetime)
	for _, s := range o.Servers {
		if !s.Is6() {
			return nil, fmt.Errorf("ra: DNS server %s: not of IPv6", s)
		}
		a := s.As16()
		b = append(b, a[:]...)
	}
	return b, nil
}

func (o DNSSL) append(b []byte) ([]byte, error) {
	if len(o.Domains) == 0 {
		return nil, errors.New("ra: an empty search list")
	}
	start := len(b)
	b = appendSeconds32(append(b, typeDNSSL, 0, 0, 0), o.Lifetime)
	for _, d := range o.Domains {
		id, err := pvd.ParseID(d)
		if err != nil || id == "" {
			return nil, fmt.Errorf("ra: search domain %q: malformed", d)
		}
		b = appendName(b, id)
	}
	return finish(b, start)
}

func (o CaptivePortal) append(b []byte) ([]byte, error) {
	if err := checkPortal(string(o)); err != nil {
		return nil, fmt.Errorf("ra: captive portal: %w", err)
	}
	start := len(b)
	return finish(append(append(b, typePortal, 0), o...), start)
}

func (o PREF64) append(b []byte) ([]byte, error) {
	code := slices.Index(pref64Bits[:], o.Prefix.Bits())
	if code < 0 || !o.Prefix.Addr().Is6() {
		return nil, fmt.Errorf("ra: NAT64 prefix %s: not of a length of RFC 8781 section 4", o.Prefix)
	}
	// RFC 8781 section 4.1: rounded up.
	units := min((max(o.Lifetime, 0)/time.Second+7)/8, 1<<13-1)
	b = binary.BigEndian.AppendUint16(append(b, typePREF64, 2), uint16(units)<<3|uint16(code))
	a := o.Prefix.Masked().Addr().As16()
	return append(b, a[:12]...), nil
}

func (o Raw) append(b []byte) ([]byte, error) {
	if len(o) < optionUnit || len(o) != int(o[1])*optionUnit {
		return nil, fmt.Errorf("ra: option of %d octets: not the length that it says", len(o))
	}
	return append(b, o...), nil
}

// finish pads the option that begins at start and fills in its length.
func finish(b []byte, start int) ([]byte, error) {
	for (len(b)-start)%optionUnit != 0 {
		b = append(b, 0)
	}
	if n := len(b) - start; n > MaxOption {
		return nil, fmt.Errorf("ra: option %d of %d octets: %d is the most", b[start], n, MaxOption)
	}
	b[start+1] = byte((len(b) - start) / optionUnit)
	return b, nil
}

func appendOptions(b []byte, options []Option) (_ []byte, err error) {
	for _, o := range options {
		if b, err = o.append(b); err != nil {
			return nil, err
		}
	}
	return b, nil
}
