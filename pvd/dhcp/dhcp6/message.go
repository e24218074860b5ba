package dhcp6

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A Type is the type of a message (RFC 8415 section 7.3).
type Type byte

// Types of messages between clients and servers.
const (
	Solicit Type = 1 + iota
	Advertise
	Request
	Confirm
	Renew
	Rebind
	Reply
	Release
	Decline
	Reconfigure
	InformationRequest
)

// Codes of the options that the client knows.
const (
	optClientID    = 1
	optServerID    = 2
	optIANA        = 3
	optIAAddr      = 5
	optRequested   = 6
	optPreference  = 7
	optElapsed     = 8
	optStatus      = 13
	optRapidCommit = 14
	optDNS         = 23
	optSearch      = 24
	optIAPD        = 25
	optIAPrefix    = 26
	optRefresh     = 32
	optSolMaxRT    = 82
	optInfMaxRT    = 83
	optPortal      = 103
	optResolver    = 144
)

// A Status is a status code (RFC 8415 section 21.13).
type Status uint16

// Status codes.
const (
	Success Status = iota
	UnspecFail
	NoAddrsAvail
	NoBinding
	NotOnLink
	UseMulticast
	NoPrefixAvail
)

// An Option is an option as it is on the wire.
type Option struct {
	Code uint16
	Data []byte
}

// A Message is a message between client and server. Options keep their order.
type Message struct {
	Type    Type
	XID     uint32 // 24 bits
	Options []Option
}

// Append appends the message's wire form.
func (m *Message) Append(b []byte) []byte {
	b = append(b, byte(m.Type), byte(m.XID>>16), byte(m.XID>>8), byte(m.XID))
	return appendOptions(b, m.Options)
}

func appendOptions(b []byte, options []Option) []byte {
	for _, o := range options {
		b = binary.BigEndian.AppendUint16(b, o.Code)
		b = binary.BigEndian.AppendUint16(b, uint16(len(o.Data)))
		b = append(b, o.Data...)
	}
	return b
}

// Parse reads a message. Its options refer to b.
func Parse(b []byte) (*Message, error) {
	if len(b) < 4 || len(b) > maxMessage {
		return nil, fmt.Errorf("dhcp6: message of %d octets", len(b))
	}
	options, err := parseOptions(b[4:])
	if err != nil {
		return nil, err
	}
	return &Message{Type(b[0]), binary.BigEndian.Uint32(b) & 0xffffff, options}, nil
}

func parseOptions(b []byte) (options []Option, err error) {
	for len(b) > 0 {
		if len(b) < 4 || len(b)-4 < int(binary.BigEndian.Uint16(b[2:])) {
			return nil, errors.New("dhcp6: option cut short")
		}
		if len(options) == maxOptions {
			return nil, fmt.Errorf("dhcp6: more than %d options", maxOptions)
		}
		n := 4 + int(binary.BigEndian.Uint16(b[2:]))
		options = append(options, Option{binary.BigEndian.Uint16(b), b[4:n:n]})
		b = b[n:]
	}
	return options, nil
}

// get returns the first option with a code, and whether there is one.
func get(options []Option, code uint16) ([]byte, bool) {
	for _, o := range options {
		if o.Code == code {
			return o.Data, true
		}
	}
	return nil, false
}

// status returns the status code among options, Success if there is none
// (RFC 8415 section 21.13).
func status(options []Option) Status {
	v, ok := get(options, optStatus)
	switch {
	case !ok:
		return Success
	case len(v) < 2:
		return UnspecFail
	}
	return Status(binary.BigEndian.Uint16(v))
}
