package dhcp4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/dhcp"
)

// A Lease is an address and what came with it. It is not changed once it has been handed
// out, and must not be.
type Lease struct {
	Addr   netip.Prefix // the address, with the length of its network's prefix
	Server netip.Addr   // who gave it

	// Routes are the way out: those of option 121, else those of options 3 and 33. Via is
	// the zero Addr where what is beyond is on the link. Of default routes the first goes
	// before the others, which have a higher Metric.
	Routes []pvd.Route

	DNS       []netip.Addr
	Search    []string // option 119
	Domain    string   // option 15
	Resolvers []dhcp.Resolver
	Portal    string // the URI of the captive portal's API; empty: not known
	MTU       int    // 0: not known

	// Moments. T1 and T2 are when the client asks for more time. Those of a lease that
	// does not end are [dhcp.Never].
	Obtained, T1, T2, Expires time.Duration

	// Problems are what of the message has been left out, and why. The text is safe to
	// log if quoted.
	Problems []string

	ack []byte // the message, for the record
}

// SearchList returns what names are completed with: the search list, or else the domain.
func (l *Lease) SearchList() []string {
	if len(l.Search) == 0 && l.Domain != "" {
		return []string{l.Domain}
	}
	return slices.Clone(l.Search)
}

func (l *Lease) problem(format string, args ...any) {
	if len(l.Problems) < maxProblems {
		l.Problems = append(l.Problems, fmt.Sprintf(format, args...))
	}
}

// newLease reads what a DHCPOFFER or DHCPACK offers. An error means that it can not be
// used at all.
func newLease(m *Message, now time.Duration) (*Lease, error) {
	l := &Lease{Obtained: now}
	if err := l.readAddress(m); err != nil {
		return nil, err
	}
	server := m.Options[optServer]
	if len(server) != 4 {
		return nil, errors.New("no server identifier")
	}
	if l.Server = addrAt(server, 0); !host(l.Server) {
		return nil, fmt.Errorf("server %v can not be one", l.Server)
	}
	if err := l.readTimes(m, now); err != nil {
		return nil, err
	}
	l.readRoutes(m)
	l.readNames(m)
	if v, ok := m.Options[optMTU]; ok {
		if len(v) == 2 && binary.BigEndian.Uint16(v) >= minMTU {
			l.MTU = int(binary.BigEndian.Uint16(v))
		} else {
			l.problem("mtu: %x", v[:min(len(v), 4)])
		}
	}
	return l, nil
}

// readAddress refuses what no host can have.
func (l *Lease) readAddress(m *Message) error {
	a := m.Your
	if !host(a) {
		return fmt.Errorf("address %v can not be a host's", a)
	}
	length := classLen(a)
	if v, ok := m.Options[optMask]; ok {
		if len(v) != 4 {
			return fmt.Errorf("mask of %d octets", len(v))
		}
		mask := binary.BigEndian.Uint32(v)
		length = bits.LeadingZeros32(^mask)
		if mask<<length != 0 {
			return fmt.Errorf("mask %v is not contiguous", addrAt(v, 0))
		}
		if length == 0 {
			return errors.New("mask 0.0.0.0")
		}
	}
	l.Addr = netip.PrefixFrom(a, length)
	if rest := uint32(1)<<(32-length) - 1; length < 31 {
		if h := toUint(a) & rest; h == 0 || h == rest {
			return fmt.Errorf("%v is the network's own or its broadcast address", l.Addr)
		}
	}
	return nil
}

// readTimes has T1 < T2 < the lease time, which RFC 2131 section 4.4.5 demands, by its
// defaults if need be.
func (l *Lease) readTimes(m *Message, now time.Duration) error {
	v := m.Options[optLeaseTime]
	if len(v) != 4 {
		return errors.New("no lease time")
	}
	seconds := binary.BigEndian.Uint32(v)
	if seconds < minLease {
		return fmt.Errorf("lease of %d s", seconds)
	}
	if l.Expires = dhcp.After(now, seconds); l.Expires == dhcp.Never {
		l.T1, l.T2 = dhcp.Never, dhcp.Never
		return nil
	}
	lease := time.Duration(seconds) * time.Second
	t2 := seconds64(m.Options[optT2])
	if t2 <= 0 || t2 >= lease {
		t2 = lease / 8 * 7
	}
	t1 := seconds64(m.Options[optT1])
	if t1 <= 0 || t1 >= t2 {
		if t1 = lease / 2; t1 >= t2 {
			t1 = t2 / 2
		}
	}
	l.T1, l.T2 = now+t1, now+t2
	return nil
}

func seconds64(v []byte) time.Duration {
	if len(v) != 4 {
		return 0
	}
	return time.Duration(binary.BigEndian.Uint32(v)) * time.Second
}

// readRoutes takes option 121 alone where it is valid (RFC 3442: a client that takes it
// ignores options 3 and 33).
func (l *Lease) readRoutes(m *Message) {
	if v, ok := m.Options[optClasslessRoute]; ok {
		routes, err := parseClassless(v)
		if err == nil {
			l.addRoutes(routes)
			return
		}
		l.problem("classless routes: %v", err)
	}
	var routes []pvd.Route
	if v, ok := m.Options[optStaticRoutes]; ok {
		static, err := parseStatic(v)
		if err != nil {
			l.problem("static routes: %v", err)
		}
		routes = static
	}
	if v, ok := m.Options[optRouters]; ok {
		routers, err := dhcp.ParseAddrs(v, 4, MaxRouters)
		if err != nil {
			l.problem("routers: %v", err)
		}
		for i, r := range routers {
			routes = append(routes, pvd.Route{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: r, Metric: uint32(i)})
		}
	}
	l.addRoutes(routes)
}

// addRoutes takes those whose router can be reached: on the address's own prefix or one
// that another route makes on-link, as providers do that give out /32.
func (l *Lease) addRoutes(routes []pvd.Route) {
	for _, r := range routes {
		switch {
		case len(l.Routes) == MaxRoutes:
			l.problem("more than %d routes", MaxRoutes)
			return
		case r.Via == l.Addr.Addr():
			l.problem("route to %v by the address itself", r.To)
			continue
		case neverLeaves(r.To):
			l.problem("route to %v, which never leaves a host", r.To)
			continue
		case r.Via.IsValid() && !l.onLink(r.Via, routes):
			l.problem("router %v is not on the link", r.Via)
			continue
		case slices.Contains(l.Routes, r):
			continue
		}
		l.Routes = append(l.Routes, r)
	}
}

// neverLeaves reports whether a route is for nothing but what is never sent. One to 0.0.0.0/1
// is half of the default route.
func neverLeaves(to netip.Prefix) bool {
	a := to.Addr()
	return a.IsLoopback() || a.IsMulticast() || pvd.IsThisNetwork(a) && to.Bits() >= 8
}

func (l *Lease) onLink(router netip.Addr, routes []pvd.Route) bool {
	if !host(router) {
		return false
	}
	return l.Addr.Contains(router) || slices.ContainsFunc(routes, func(r pvd.Route) bool {
		return !r.Via.IsValid() && r.To.Contains(router)
	})
}

// parseClassless reads option 121 (RFC 3442).
func parseClassless(b []byte) (routes []pvd.Route, err error) {
	if len(b) == 0 {
		return nil, errors.New("empty")
	}
	for len(b) > 0 && len(routes) <= MaxRoutes {
		n := int(b[0])
		octets := (n + 7) / 8
		if n > 32 || len(b) < 1+octets+4 {
			return nil, errors.New("cut short")
		}
		var dest [4]byte
		copy(dest[:], b[1:1+octets])
		// Bits beyond the width are to be ignored (RFC 3442).
		r := pvd.Route{To: netip.PrefixFrom(netip.AddrFrom4(dest), n).Masked()}
		if via := addrAt(b, 1+octets); !via.IsUnspecified() {
			r.Via = via
		}
		routes = append(routes, r)
		b = b[1+octets+4:]
	}
	return routes, nil
}

// parseStatic reads option 33: pairs of a classful destination and a router (RFC 2132
// section 5.8, which forbids a default route in it).
func parseStatic(b []byte) (routes []pvd.Route, err error) {
	if len(b) == 0 || len(b)%8 != 0 {
		return nil, fmt.Errorf("%d octets", len(b))
	}
	for c := range slices.Chunk(b, 8) {
		to := addrAt(c, 0)
		if to.IsUnspecified() {
			err = errors.New("a default route")
			continue
		}
		length := classLen(to)
		if p := netip.PrefixFrom(to, length); p.Masked() != p {
			length = 32
		}
		routes = append(routes, pvd.Route{To: netip.PrefixFrom(to, length), Via: addrAt(c, 4)})
	}
	return routes, err
}

func (l *Lease) readNames(m *Message) {
	var err error
	if v, ok := m.Options[optDNS]; ok {
		if l.DNS, err = dhcp.ParseAddrs(v, 4, MaxDNS); err != nil {
			l.problem("dns: %v", err)
		}
	}
	if v, ok := m.Options[optDomain]; ok {
		if l.Domain, err = dhcp.CheckName(strings.TrimRight(string(v), "\x00")); err != nil {
			l.problem("domain: %v", err)
		}
	}
	if v, ok := m.Options[optSearch]; ok {
		if l.Search, err = dhcp.ParseNames(v, true); err != nil {
			l.problem("search list: %v", err)
		}
	}
	if v, ok := m.Options[optPortal]; ok {
		if l.Portal, err = dhcp.ParsePortal(v); err != nil {
			l.problem("%v", err)
		}
	}
	if v, ok := m.Options[optResolvers]; ok {
		rs, problems := dhcp.ParseResolver4(v)
		l.Resolvers = rs
		for _, err := range problems {
			l.problem("%v", err)
		}
	}
}

// host reports whether a can be a host's on a network.
func host(a netip.Addr) bool {
	return a.Is4() && !a.IsMulticast() && !a.IsLoopback() && !pvd.IsThisNetwork(a) && a.As4()[0] < 240
}

// classLen returns the prefix length of an address's class (RFC 791 section 2.3).
func classLen(a netip.Addr) int {
	switch first := a.As4()[0]; {
	case first < 128:
		return 8
	case first < 192:
		return 16
	}
	return 24
}

func toUint(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
