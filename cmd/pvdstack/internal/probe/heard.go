package probe

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// A Heard is what one sender said.
type Heard struct {
	What  string   `json:"what"` // such as "router advertisement"
	From  string   `json:"from"`
	Count int      `json:"count"`
	Says  []string `json:"says,omitempty"` // each thing once, in the order of first hearing it
}

// heard is what was heard, by sender, in the order of first hearing them.
type heard []Heard

// note takes note of a frame.
func (h *heard) note(kind learn.Kind, f []byte, ethernet bool) {
	packet := f
	if ethernet {
		packet = f[etherLen:]
	}
	switch kind {
	case learn.Advertisement:
		h.advertisement(packet)
	case learn.DHCPv4:
		h.add("DHCPv4 answer", source(packet), nil)
	case learn.DHCPv6:
		h.add("DHCPv6 answer", source(packet), nil)
	case learn.Redirect, learn.ARP, learn.Other:
	}
}

// source returns the source of an IP packet, the zero Addr if it has none.
func source(packet []byte) netip.Addr {
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(packet[12:16]))
	case len(packet) >= ipv6Len && packet[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(packet[8:24]))
	}
	return netip.Addr{}
}

func (h *heard) add(what string, from netip.Addr, says []string) {
	i := slices.IndexFunc(*h, func(o Heard) bool { return o.What == what && o.From == from.String() })
	if i < 0 {
		if len(*h) >= maxHeard {
			return
		}
		i = len(*h)
		*h = append(*h, Heard{What: what, From: from.String()})
	}
	s := &(*h)[i]
	s.Count++
	for _, t := range says {
		if len(s.Says) < maxHeard && !slices.Contains(s.Says, t) {
			s.Says = append(s.Says, t)
		}
	}
}

// advertisement notes what an advertisement says, whether or not it is used. One behind
// extension headers is noted without.
func (h *heard) advertisement(packet []byte) {
	var says []string
	if len(packet) > ipv6Len && packet[6] == icmp6 {
		length := min(int(binary.BigEndian.Uint16(packet[4:])), len(packet)-ipv6Len)
		a, faults, err := ra.ParseAdvertisement(packet[ipv6Len : ipv6Len+length])
		if err != nil {
			says = []string{err.Error()}
		} else {
			says = append(headerText(a.Header), optionTexts(a.Options, "")...)
		}
		for _, f := range faults {
			says = append(says, "malformed: "+f.String())
		}
	}
	h.add("router advertisement", source(packet), says)
}

func headerText(h ra.Header) (says []string) {
	if h.Lifetime > 0 {
		says = append(says, fmt.Sprintf("default router for %v, preference %v", h.Lifetime, h.Preference))
	} else {
		says = append(says, "no default router")
	}
	if h.Managed {
		says = append(says, "addresses by DHCPv6")
	}
	if h.Other {
		says = append(says, "other configuration by DHCPv6")
	}
	return says
}

// optionTexts returns a line for each option; inside is put before each.
func optionTexts(options []ra.Option, inside string) (says []string) {
	for _, o := range options {
		if d, ok := o.(ra.PvDOption); ok {
			says = append(says, pvdText(d))
			if d.Header != nil {
				for _, t := range headerText(*d.Header) {
					says = append(says, string(d.ID)+": "+t)
				}
			}
			says = append(says, optionTexts(d.Options, string(d.ID)+": ")...)
			continue
		}
		if t := optionText(o); t != "" {
			says = append(says, inside+t)
		}
	}
	return says
}

func pvdText(d ra.PvDOption) string {
	t := fmt.Sprintf("PvD %q", d.ID)
	if d.HTTP {
		t += fmt.Sprintf(", additional information, sequence %d", d.Sequence)
	}
	if d.Legacy {
		t += ", DHCPv4 belongs to it"
	}
	return t
}

func optionText(o ra.Option) string {
	switch o := o.(type) {
	case ra.PrefixInformation:
		var flags []string
		for _, f := range []struct {
			set  bool
			name string
		}{{o.OnLink, "on link"}, {o.Autonomous, "autonomous"}, {o.Delegation, "delegation preferred"}} {
			if f.set {
				flags = append(flags, f.name)
			}
		}
		return strings.Join(append([]string{fmt.Sprintf("prefix %v for %s", o.Prefix, span(o.Valid))}, flags...), ", ")
	case ra.RouteInformation:
		return fmt.Sprintf("route %v for %s, preference %v", o.Prefix, span(o.Lifetime), o.Preference)
	case ra.RDNSS:
		return fmt.Sprintf("DNS servers %s for %s", texts(o.Servers), span(o.Lifetime))
	case ra.DNSSL:
		return fmt.Sprintf("search domains %q for %s", o.Domains, span(o.Lifetime))
	case ra.PREF64:
		return fmt.Sprintf("NAT64 prefix %v for %s", o.Prefix, span(o.Lifetime))
	case ra.CaptivePortal:
		return fmt.Sprintf("captive portal %q", string(o))
	case ra.MTU:
		return fmt.Sprintf("MTU %d", uint32(o))
	case ra.EncryptedDNS:
		return "encrypted DNS"
	}
	return "" // the hardware address, which is no news
}

func span(d time.Duration) string {
	if d == ra.Infinite {
		return "ever"
	}
	return d.String()
}

func texts[T fmt.Stringer](list []T) string {
	s := make([]string, len(list))
	for i, v := range list {
		s[i] = v.String()
	}
	return strings.Join(s, ", ")
}
