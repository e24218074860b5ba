package ra

import "net/netip"

// A Packet is an IPv6 packet with an ICMPv6 message, as it arrived.
type Packet struct {
	Src, Dst   netip.Addr // no zones
	HopLimit   uint8
	Fragmented bool   // it had a fragment header, be it of a single fragment
	Message    []byte // from the ICMPv6 type on; only read, and not kept
}

// CheckAdvertisement applies the rules for received router advertisements (RFC 4861
// section 6.1.2, RFC 6980 section 5). The error is [ErrInvalid] and says which rule.
func (p Packet) CheckAdvertisement() error {
	if err := p.check("advertisement", typeAdvertisement, headerLen); err != nil {
		return err
	}
	if !p.Src.IsLinkLocalUnicast() {
		return invalid("advertisement from %s: not a link-local address", p.Src)
	}
	return nil
}

// CheckSolicitation applies the rules for received router solicitations (RFC 4861 section
// 6.1.1, RFC 6980 section 5), which are a router's to check.
func (p Packet) CheckSolicitation() error {
	if err := p.check("solicitation", typeSolicitation, solicitationLen); err != nil {
		return err
	}
	if !p.Src.IsUnspecified() {
		return nil
	}
	for b := p.Message[solicitationLen:]; len(b) > 0; b = b[int(b[1])*optionUnit:] {
		if b[0] == typeSource {
			return invalid("solicitation from :: with a link-layer address")
		}
	}
	return nil
}

// check applies the rules that both have.
func (p Packet) check(what string, typ byte, least int) error {
	m := p.Message
	switch {
	case !p.Src.Is6() || !p.Dst.Is6() || p.Src.Is4In6() || p.Dst.Is4In6():
		return invalid("%s from %s to %s: not IPv6", what, p.Src, p.Dst)
	case p.Fragmented:
		return invalid("%s in a fragment (RFC 6980 section 5)", what)
	case p.HopLimit != 255:
		return invalid("%s with hop limit %d: not from this link", what, p.HopLimit)
	case len(m) < least:
		return invalid("%s of %d octets: %d is the least", what, len(m), least)
	case len(m) > maxMessage:
		return invalid("%s of %d octets", what, len(m))
	case m[0] != typ:
		return invalid("ICMPv6 type %d: not that of a %s", m[0], what)
	case m[1] != 0:
		return invalid("%s with code %d", what, m[1])
	case sum(m, p.Src, p.Dst) != 0xffff:
		return invalid("%s with a wrong checksum", what)
	}
	if err := checkOptions(m[least:]); err != nil {
		return invalid("%s: %v", what, err)
	}
	return nil
}
