package ra

import (
	"errors"
	"fmt"
)

// Types of options.
const (
	typeSource     = 1
	typeTarget     = 2
	typePrefix     = 3
	typeRedirected = 4
	typeMTU        = 5
	typePvD        = 21
	typeRoute      = 24
	typeRDNSS      = 25
	typeDNSSL      = 31
	typePortal     = 37
	typePREF64     = 38
	typeResolver   = 144
	optionUnit     = 8 // octets that the length of an option counts
	optionStart    = 2 // octets of type and length
)

// ErrInvalid is what a message as a whole is refused with; errors.Is finds it. What is
// around it says which rule was broken.
var ErrInvalid = errors.New("invalid message")

func invalid(format string, args ...any) error {
	return fmt.Errorf("ra: %w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// checkOptions reports what makes options unusable as a whole: one without length, for
// which RFC 4861 section 4.6 discards the packet, or one that goes on behind the end.
func checkOptions(b []byte) error {
	for at := 0; at < len(b); {
		if len(b)-at < optionStart {
			return fmt.Errorf("%d octets behind the last option", len(b)-at)
		}
		n := int(b[at+1]) * optionUnit
		switch {
		case n == 0:
			return fmt.Errorf("option %d has length 0: %w", b[at], errZeroLength)
		case n > len(b)-at:
			return fmt.Errorf("option %d of %d octets: %d are left", b[at], n, len(b)-at)
		}
		at += n
	}
	return nil
}

var errZeroLength = errors.New("RFC 4861 section 4.6")

// A Fault is an option that was skipped, and why. What came with it was used.
type Fault struct {
	Type   uint8 // of the option
	Nested bool  // in a PvD option
	Err    error
}

// String returns what is wrong with which option.
func (f Fault) String() string {
	where := "option"
	if f.Nested {
		where = "nested option"
	}
	return fmt.Sprintf("%s %d: %v", where, f.Type, f.Err)
}

// parseOptions decodes options that checkOptions has passed. Those that are malformed are
// left out and told of.
func parseOptions(b []byte, nested bool) (options []Option, faults []Fault, err error) {
	seenPvD := false
	for len(b) > 0 {
		n := int(b[1]) * optionUnit
		raw := b[:n:n]
		b = b[n:]
		fail := func(err error) { faults = append(faults, Fault{Type: raw[0], Nested: nested, Err: err}) }
		if raw[0] == typePvD {
			if nested {
				fail(errors.New("a PvD option in a PvD option (RFC 8801 section 3.2)"))
				continue
			}
			if seenPvD {
				fail(errors.New("not the first PvD option (RFC 8801 section 3.4)"))
				continue
			}
			seenPvD = true
			p, more, err := parsePvD(raw)
			faults = append(faults, more...)
			switch {
			case errors.Is(err, errZeroLength):
				return nil, faults, err
			case err != nil:
				fail(err)
			default:
				options = append(options, p)
			}
			continue
		}
		o, err := parseOption(raw)
		if err != nil {
			fail(err)
		}
		if o != nil {
			options = append(options, o)
		}
	}
	return options, faults, nil
}
