package ra

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

const (
	typeRedirect = 137

	redirectLen = 40 // without options
	minimumMTU  = 1280
	ipv6Header  = 40
)

// A Redirect is what a redirect message says (RFC 4861 section 4.5): packets from Source to
// Destination, which the host sends to Router, are better sent to Target.
type Redirect struct {
	// Router has sent the message, to Source.
	Router, Source netip.Addr

	// Target is the Destination itself if that is on the link, else another router's
	// link-local address.
	Destination, Target netip.Addr

	// MAC is the target's hardware address, nil if the router does not say.
	MAC net.HardwareAddr
}

// OnLink reports whether the message says that its destination is a neighbour.
func (r Redirect) OnLink() bool { return r.Target == r.Destination }

// ParseRedirect decodes a redirect message that satisfies those rules of RFC 4861 section
// 8.1 and RFC 6980 section 5 which the message alone can break. One is left to who knows
// the routes: that Router is the first hop from Source to Destination now. The error is
// [ErrInvalid] and says which rule. The result shares no memory with p.
func ParseRedirect(p Packet) (Redirect, error) {
	if err := p.check("redirect", typeRedirect, redirectLen); err != nil {
		return Redirect{}, err
	}
	r := Redirect{
		Router: p.Src, Source: p.Dst,
		Target:      netip.AddrFrom16([16]byte(p.Message[8:])),
		Destination: netip.AddrFrom16([16]byte(p.Message[24:])),
	}
	switch {
	case !r.Router.IsLinkLocalUnicast():
		return Redirect{}, invalid("redirect from %s: not a link-local address", r.Router)
	case r.Destination.IsMulticast():
		return Redirect{}, invalid("redirect for %s: a group", r.Destination)
	case !r.OnLink() && !r.Target.IsLinkLocalUnicast():
		return Redirect{}, invalid("redirect for %s to %s: neither the destination itself nor a link-local address",
			r.Destination, r.Target)
	}
	// Whatever else there is, or is wrong with an option, is to be ignored.
	for b := p.Message[redirectLen:]; len(b) > 0; b = b[int(b[1])*optionUnit:] {
		if b[0] == typeTarget && b[1] == 1 {
			r.MAC = slices.Clone(b[2:8])
		}
	}
	return r, nil
}

// Append appends the ICMPv6 message of r to b, from Router to Source. Quoted is the packet
// that it is about, from the IPv6 header on, of which it takes as much as fits.
func (r Redirect) Append(b, quoted []byte) ([]byte, error) {
	for _, a := range []netip.Addr{r.Router, r.Source, r.Destination, r.Target} {
		if !a.Is6() {
			return nil, fmt.Errorf("ra: redirect with %s: not IPv6", a)
		}
	}
	start := len(b)
	t, d := r.Target.As16(), r.Destination.As16()
	b = append(append(append(b, typeRedirect, 0, 0, 0, 0, 0, 0, 0), t[:]...), d[:]...)
	if len(r.MAC) == 6 {
		b = append(append(b, typeTarget, 1), r.MAC...)
	}
	// RFC 4861 section 4.6.3: whole units of 8 octets of the packet, after as many of the
	// option's own.
	room := minimumMTU - ipv6Header - (len(b) - start) - optionUnit
	if n := min(len(quoted), room) / optionUnit * optionUnit; n > 0 {
		b = append(b, typeRedirected, byte(1+n/optionUnit), 0, 0, 0, 0, 0, 0)
		b = append(b, quoted[:n]...)
	}
	PutChecksum(b[start:], r.Router, r.Source)
	return b, nil
}
