package ra

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

// A PvDOption is the PvD option (RFC 8801 section 3.1), which says that what comes with it, and
// in it, is of an explicit PvD.
type PvDOption struct {
	ID pvd.ID

	// HTTP, the H-flag, says that there is additional information. Delay (0 to 15) and
	// Sequence are about it: 2^(10+Delay) ms is for how long at most a host waits before it
	// fetches the information again when Sequence has changed. Without the flag both are to
	// be ignored.
	HTTP     bool
	Delay    uint8
	Sequence uint16

	// Legacy, the L-flag, says that the link's DHCPv4 belongs to the PvD.
	Legacy bool

	// Header is the message header in the option, for which the R-flag stands. It takes the
	// place of the one outside.
	Header *Header

	// Options are those in the option. None is a PvD option.
	Options []Option
}

const pvdFixed = 6 // octets before the name

// parsePvD decodes a PvD option. Faults are of options in it.
func parsePvD(b []byte) (PvDOption, []Fault, error) {
	if len(b) < optionUnit {
		return PvDOption{}, nil, lengthError(b)
	}
	p := PvDOption{
		HTTP:     b[2]&0x80 != 0,
		Legacy:   b[2]&0x40 != 0,
		Delay:    b[3] & 0x0f,
		Sequence: binary.BigEndian.Uint16(b[4:]),
	}
	id, n, err := parseName(b[pvdFixed:])
	if err != nil {
		return PvDOption{}, nil, fmt.Errorf("PvD ID: %w", err)
	}
	p.ID = id
	at := (pvdFixed + n + optionUnit - 1) / optionUnit * optionUnit
	if b[2]&0x20 != 0 {
		if len(b)-at < headerLen {
			return PvDOption{}, nil, errors.New("no message header, for which the R-flag is set")
		}
		// Its type, code and checksum are to be ignored.
		h := parseHeader(b[at:])
		p.Header = &h
		at += headerLen
	}
	if err := checkOptions(b[at:]); err != nil {
		return PvDOption{}, nil, fmt.Errorf("in the PvD option: %w", err)
	}
	options, faults, err := parseOptions(b[at:], true)
	if err != nil {
		return PvDOption{}, faults, err
	}
	p.Options = options
	return p, faults, nil
}

func (p PvDOption) append(b []byte) ([]byte, error) {
	id, err := pvd.ParseID(string(p.ID))
	switch {
	case err != nil:
		return nil, fmt.Errorf("ra: PvD option: %w", err)
	case id == "":
		return nil, errors.New("ra: PvD option: no ID")
	case p.Delay > 15:
		return nil, fmt.Errorf("ra: PvD option: delay %d: 15 is the most", p.Delay)
	case slices.ContainsFunc(p.Options, func(o Option) bool { _, nested := o.(PvDOption); return nested }):
		return nil, errors.New("ra: PvD option: a PvD option in it (RFC 8801 section 3.2)")
	}
	var flags byte
	for i, set := range []bool{p.HTTP, p.Legacy, p.Header != nil} {
		if set {
			flags |= 0x80 >> i
		}
	}
	start := len(b)
	b = binary.BigEndian.AppendUint16(append(b, typePvD, 0, flags, p.Delay), p.Sequence)
	if b, err = finish(appendName(b, id), start); err != nil {
		return nil, err
	}
	if p.Header != nil {
		b = p.Header.append(b)
	}
	if b, err = appendOptions(b, p.Options); err != nil {
		return nil, err
	}
	return finish(b, start)
}
