package dhcp4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// A Type is the type of a message (RFC 2132 section 9.6).
type Type byte

// Types of messages.
const (
	Discover Type = 1 + iota
	Offer
	Request
	Decline
	Ack
	Nak
	Release
	Inform
	ForceRenew // RFC 3203
)

// Codes of the options that the client knows.
const (
	optPad            = 0
	optMask           = 1
	optRouters        = 3
	optDNS            = 6
	optDomain         = 15
	optMTU            = 26
	optStaticRoutes   = 33
	optRequestedAddr  = 50
	optLeaseTime      = 51
	optOverload       = 52
	optType           = 53
	optServer         = 54
	optWanted         = 55
	optMaxSize        = 57
	optT1             = 58
	optT2             = 59
	optClientID       = 61
	optV6Only         = 108 // RFC 8925
	optPortal         = 114 // RFC 8910
	optSearch         = 119 // RFC 3397
	optClasslessRoute = 121 // RFC 3442
	optResolvers      = 162 // RFC 9463
	optEnd            = 255
)

// Parts of a message (RFC 2131 section 2).
const (
	headerLen  = 236
	snameAt    = 44
	fileAt     = 108
	minLen     = 300 // BOOTP's, which relays and servers may insist on (RFC 1542 section 2.1)
	opRequest  = 1
	opReply    = 2
	ethernet   = 1
	broadcast  = 0x8000
	macLen     = 6
	serverPort = 67
	clientPort = 68
)

var cookie = [4]byte{99, 130, 83, 99}

// A Message is a DHCP message. Its options are in one piece each, however they came: in
// several pieces (RFC 3396), or in the fields for names (option overload).
type Message struct {
	Op, HType, HLen byte
	XID             uint32
	Secs            uint16
	Broadcast       bool
	// Addresses, each IPv4; the zero Addr is sent as 0.0.0.0.
	Client, Your, Next, Relay netip.Addr
	Hardware                  [16]byte
	Options                   map[byte][]byte
}

// Type returns the message's type, 0 if it has none.
func (m *Message) Type() Type {
	if v := m.Options[optType]; len(v) == 1 {
		return Type(v[0])
	}
	return 0
}

// Append appends the message's wire form. Options longer than 255 octets are split.
func (m *Message) Append(b []byte) []byte {
	start := len(b)
	b = append(b, m.Op, m.HType, m.HLen, 0)
	b = binary.BigEndian.AppendUint32(b, m.XID)
	b = binary.BigEndian.AppendUint16(b, m.Secs)
	var flags uint16
	if m.Broadcast {
		flags = broadcast
	}
	b = binary.BigEndian.AppendUint16(b, flags)
	for _, a := range []netip.Addr{m.Client, m.Your, m.Next, m.Relay} {
		if !a.Is4() {
			a = netip.IPv4Unspecified()
		}
		b = append(b, a.AsSlice()...)
	}
	b = append(b, m.Hardware[:]...)
	b = append(b, make([]byte, headerLen-snameAt)...)
	b = append(b, cookie[:]...)
	if v, ok := m.Options[optType]; ok {
		b = appendOption(b, optType, v) // first, as everybody has it
	}
	for _, code := range slices.Sorted(maps.Keys(m.Options)) {
		if code != optType && code != optPad && code != optEnd {
			b = appendOption(b, code, m.Options[code])
		}
	}
	b = append(b, optEnd)
	return append(b, make([]byte, max(0, minLen-(len(b)-start)))...)
}

func appendOption(b []byte, code byte, v []byte) []byte {
	for {
		n := min(len(v), 255)
		b = append(append(b, code, byte(n)), v[:n]...)
		if v = v[n:]; len(v) == 0 {
			return b
		}
	}
}

// Parse reads a message. It does not keep b.
func Parse(b []byte) (*Message, error) {
	if len(b) < headerLen+len(cookie) || len(b) > maxMessage {
		return nil, fmt.Errorf("dhcp4: message of %d octets", len(b))
	}
	if [4]byte(b[headerLen:]) != cookie {
		return nil, errors.New("dhcp4: no magic cookie")
	}
	m := &Message{
		Op: b[0], HType: b[1], HLen: b[2],
		XID:       binary.BigEndian.Uint32(b[4:]),
		Secs:      binary.BigEndian.Uint16(b[8:]),
		Broadcast: binary.BigEndian.Uint16(b[10:])&broadcast != 0,
		Client:    addrAt(b, 12),
		Your:      addrAt(b, 16),
		Next:      addrAt(b, 20),
		Relay:     addrAt(b, 24),
		Hardware:  [16]byte(b[28:]),
		Options:   make(map[byte][]byte),
	}
	if err := m.parseOptions(b[headerLen+len(cookie):]); err != nil {
		return nil, err
	}
	// RFC 2131 section 4.1: the options field, then file, then sname.
	overload, ok := m.Options[optOverload]
	delete(m.Options, optOverload)
	if ok && (len(overload) != 1 || overload[0] < 1 || overload[0] > 3) {
		return nil, errors.New("dhcp4: option overload is none of 1, 2 and 3")
	}
	if ok && overload[0]&1 != 0 {
		if err := m.parseOptions(b[fileAt:headerLen]); err != nil {
			return nil, fmt.Errorf("file: %w", err)
		}
	}
	if ok && overload[0]&2 != 0 {
		if err := m.parseOptions(b[snameAt:fileAt]); err != nil {
			return nil, fmt.Errorf("sname: %w", err)
		}
	}
	if ok {
		delete(m.Options, optOverload) // again: the fields can not be overloaded themselves
	}
	return m, nil
}

// parseOptions reads the options of one field, and joins the pieces of one (RFC 3396
// section 7).
func (m *Message) parseOptions(b []byte) error {
	for len(b) > 0 {
		code := b[0]
		switch {
		case code == optPad:
			b = b[1:]
			continue
		case code == optEnd:
			return nil
		case len(b) < 2 || len(b)-2 < int(b[1]):
			return fmt.Errorf("dhcp4: option %d cut short", code)
		}
		n := int(b[1])
		m.Options[code] = append(m.Options[code], b[2:2+n]...)
		b = b[2+n:]
	}
	return nil
}

func addrAt(b []byte, at int) netip.Addr { return netip.AddrFrom4([4]byte(b[at:])) }
