package pvdtest

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// Nothing stands for an empty list or a time of zero where the zero value stands for a
// default.
const (
	Nothing               = "nothing"
	Zero    time.Duration = -1
)

// An RA makes a router send router advertisements (RFC 4861 section 6.2): some when it
// begins and whenever they change, then one every now and then, and one in answer to each
// solicitation. The zero RA is that of an ordinary router of the LAN; a router may send
// several from different addresses, and is as many routers to the hosts then.
//
// A router that advertises a prefix that is not the LAN's has an address in it and is the
// way to it for everybody else.
//
// The advertisement is as long as it takes: what does not fit the LAN's MTU goes into
// further ones with the same header and PvD.
type RA struct {
	// From is the link-local address that it is sent from. Empty: the router's first.
	From string

	// PvD is the ID that the PvD option has (RFC 8801 section 3.1). Empty: there is no
	// such option, and hosts take it for an implicit PvD. HTTP and Legacy are its H- and
	// L-flags.
	PvD          string
	HTTP, Legacy bool
	Delay        uint8
	Sequence     uint16

	// Nested puts the header and all options into the PvD option, where only hosts that
	// know of PvDs see them. The header outside is that of no default router then.
	Nested bool

	// Header is what the PvD option has a header for, where Nested does not put it there:
	// it takes the place of the one outside. nil: none. Inside are the options in the PvD
	// option.
	Header *ra.Header
	Inside []ra.Option

	// Lifetime of the router as a default router. 0: three times Interval, as long as
	// 16 bits of seconds allow; Zero: it is none.
	Lifetime       time.Duration
	Preference     pvd.Preference
	Managed, Other bool // the M- and O-flags: addresses, or other things, by DHCPv6
	HopLimit       uint8
	Reachable      time.Duration
	Retransmit     time.Duration

	// Prefixes are on the link and for hosts to make addresses of, for as long as Valid
	// and Preferred say. Empty: the LAN's own; [Nothing]: none. The times of RFC 4861
	// section 6.2.1 stand for 0, which [Zero] stands for.
	Prefixes         string
	Valid, Preferred time.Duration

	// DNS are name servers, and Search a search list, with spaces between. Empty: those
	// of the LAN by IPv6 as they are when it is sent; [Nothing]: none. Their lifetime is
	// three times Interval.
	DNS, Search string

	// Options are all others, such as ra.MTU, ra.RouteInformation, ra.PREF64,
	// ra.CaptivePortal, and ra.Raw for what is malformed.
	Options []ra.Option

	// Interval is the longest time between advertisements to everybody. 0: 600 s.
	Interval time.Duration

	// Gap is the least time between two to everybody, MIN_DELAY_BETWEEN_RAS, but for what
	// changes, which is sent at once. 0: 30 ms, as where hosts move about (RFC 6275 section
	// 7.5), so that they need not wait in a lab either; RFC 4861 section 10 has 3 s.
	Gap time.Duration

	// Mute makes it leave solicitations unanswered.
	Mute bool
}

// The defaults of RFC 4861 section 6.2.1, and lengths of fields.
const (
	defaultInterval  = 600 * time.Second
	leastInterval    = 4 * time.Second
	defaultValid     = 30 * 24 * time.Hour
	defaultPreferred = 7 * 24 * time.Hour
	maxRouterLife    = (1<<16 - 1) * time.Second
)

// or returns d, what stands for 0, or 0 for Zero.
func or(d, zero time.Duration) time.Duration {
	switch {
	case d == 0:
		return zero
	case d < 0:
		return 0
	}
	return d
}

func (a *RA) interval() time.Duration { return max(or(a.Interval, defaultInterval), leastInterval) }

func (a *RA) gap() time.Duration { return max(or(a.Gap, minRAGap), minRAGap) }

// life is how long what an advertisement says holds: some of them may be lost.
func (a *RA) life() time.Duration { return 3 * a.interval() }

func (a *RA) header() ra.Header {
	return ra.Header{
		HopLimit: a.HopLimit, Managed: a.Managed, Other: a.Other, Preference: a.Preference,
		Lifetime:  min(or(a.Lifetime, a.life()), maxRouterLife),
		Reachable: a.Reachable, Retransmit: a.Retransmit,
	}
}

// list returns the words of s, or what stands for the empty s.
func list(s string, empty []string) []string {
	switch s {
	case "":
		return empty
	case Nothing:
		return nil
	}
	return strings.Fields(s)
}

// prefixes returns what hosts are told of.
func (a *RA) prefixes(n *LAN) (ps []netip.Prefix, err error) {
	var own []string
	if p := n.prefix(true); p.IsValid() {
		own = []string{p.String()}
	}
	for _, s := range list(a.Prefixes, own) {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, err
		}
		if p != p.Masked() || !p.Addr().Is6() {
			return nil, fmt.Errorf("%v is not a prefix of IPv6", p)
		}
		ps = append(ps, p)
	}
	return ps, nil
}

// options are those that every host is to have, but for the sender's address.
func (a *RA) options(n *LAN) ([]ra.Option, error) {
	var options []ra.Option
	ps, err := a.prefixes(n)
	if err != nil {
		return nil, err
	}
	valid := or(a.Valid, defaultValid)
	for _, p := range ps {
		options = append(options, ra.PrefixInformation{
			Prefix: p, OnLink: true, Autonomous: p.Bits() == 64, Valid: valid,
			Preferred: min(or(a.Preferred, defaultPreferred), valid),
		})
	}
	var own []string
	for _, s := range n.nameServers(true) {
		own = append(own, s.String())
	}
	servers := ra.RDNSS{Lifetime: a.life()}
	for _, s := range list(a.DNS, own) {
		s, err := netip.ParseAddr(s)
		if err != nil {
			return nil, err
		}
		servers.Servers = append(servers.Servers, s)
	}
	if len(servers.Servers) > 0 {
		options = append(options, servers)
	}
	own = nil
	if len(servers.Servers) > 0 {
		own = []string{n.Domain()}
	}
	if names := list(a.Search, own); len(names) > 0 {
		options = append(options, ra.DNSSL{Domains: names, Lifetime: a.life()})
	}
	return append(options, a.Options...), nil
}

// advertisements returns the messages that together say what a does.
func (a *RA) advertisements(n *LAN, from mac, mtu int) ([]ra.Advertisement, error) {
	outside, err := a.options(n)
	if err != nil {
		return nil, err
	}
	var inside []ra.Option
	if a.PvD != "" {
		inside = a.Inside
		if a.Nested {
			outside, inside = nil, append(outside, inside...)
		}
	} else if a.Nested || len(a.Inside) > 0 || a.Header != nil {
		return nil, errors.New("options inside of a PvD option, and no PvD")
	}
	var all []ra.Advertisement
	var in, out []ra.Option // of the next message
	fits := func() (ra.Advertisement, int, error) {
		m := a.message(from, in, out)
		b, err := m.Append(nil, ra.AllNodes, ra.AllNodes) // whoever
		return m, len(b), err
	}
	last, _, err := fits()
	if err != nil {
		return nil, err
	}
	add := func(to *[]ra.Option, o ra.Option) error {
		*to = append(*to, o)
		m, size, err := fits()
		if (err != nil || ip6HeaderLen+size > mtu) && len(in)+len(out) > 1 {
			all = append(all, last)
			in, out = nil, nil
			*to = []ra.Option{o}
			m, size, err = fits()
		}
		if err == nil && ip6HeaderLen+size > mtu {
			err = fmt.Errorf("an option of %d octets does not fit an MTU of %d", size, mtu)
		}
		last = m
		return err
	}
	for _, o := range inside {
		if err := add(&in, o); err != nil {
			return nil, err
		}
	}
	for _, o := range outside {
		if err := add(&out, o); err != nil {
			return nil, err
		}
	}
	if all = append(all, last); len(all) > maxAdvertisements {
		return nil, fmt.Errorf("%d messages: %d is the most", len(all), maxAdvertisements)
	}
	return all, nil
}

// message makes one message with some of the options.
func (a *RA) message(from mac, inside, outside []ra.Option) ra.Advertisement {
	m := ra.Advertisement{Header: a.header(), Options: []ra.Option{ra.LinkAddress{MAC: slices.Clone(from[:])}}}
	if a.PvD != "" {
		o := ra.PvDOption{
			ID: pvd.ID(a.PvD), HTTP: a.HTTP, Legacy: a.Legacy, Delay: a.Delay, Sequence: a.Sequence,
			Header: a.Header, Options: slices.Clone(inside),
		}
		if a.Nested && o.Header == nil {
			h := a.header()
			o.Header = &h
		}
		if a.Nested {
			m.Header = ra.Header{HopLimit: a.HopLimit}
		}
		m.Options = append(m.Options, o)
	}
	m.Options = append(m.Options, outside...)
	return m
}

// ended returns a with a lifetime of zero for the router or, where all is set, for all
// that it said (RFC 4861 section 6.2.5, RFC 8106 section 5, RFC 4191 section 2.3, RFC
// 8781 section 4, RFC 9463 section 6.1). Options that have no lifetime go on.
func ended(m ra.Advertisement, all bool) ra.Advertisement {
	m.Lifetime = 0
	options := func(list []ra.Option) []ra.Option {
		list = slices.Clone(list)
		for i, o := range list {
			switch o := o.(type) {
			case ra.PrefixInformation:
				o.Valid, o.Preferred = 0, 0
				list[i] = o
			case ra.RouteInformation:
				o.Lifetime = 0
				list[i] = o
			case ra.RDNSS:
				o.Lifetime = 0
				list[i] = o
			case ra.DNSSL:
				o.Lifetime = 0
				list[i] = o
			case ra.PREF64:
				o.Lifetime = 0
				list[i] = o
			case ra.EncryptedDNS:
				o.Lifetime = 0
				list[i] = o
			}
		}
		return list
	}
	if all {
		m.Options = options(m.Options)
	}
	for i, o := range m.Options {
		p, is := o.(ra.PvDOption)
		if !is {
			continue
		}
		if p.Header != nil {
			h := *p.Header
			h.Lifetime = 0
			p.Header = &h
		}
		if all {
			p.Options = options(p.Options)
		}
		m.Options = slices.Clone(m.Options)
		m.Options[i] = p
	}
	return m
}
