package pvdtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
)

// An ia is an association that a client has sent: a name for what it has or wants.
type ia struct {
	code  uint16
	id    [4]byte
	items []netip.Prefix
}

var errIA = errors.New("an association that is malformed")

func parseIA(o dhcp6.Option) (a ia, err error) {
	if len(o.Data) < iaHeaderLen {
		return ia{}, errIA
	}
	a = ia{code: o.Code, id: [4]byte(o.Data)}
	for b := o.Data[iaHeaderLen:]; len(b) > 0; {
		if len(b) < 4 || len(b)-4 < int(binary.BigEndian.Uint16(b[2:])) {
			return ia{}, errIA
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		code, data := binary.BigEndian.Uint16(b), b[4:4+n]
		switch {
		case a.code == opt6IANA && code == opt6IAAddr && n >= iaAddrLen:
			a.items = append(a.items, netip.PrefixFrom(netip.AddrFrom16([16]byte(data)), 128))
		case a.code == opt6IAPD && code == opt6IAPrefix && n >= iaPrefixLen && data[8] <= 128:
			a.items = append(a.items, netip.PrefixFrom(netip.AddrFrom16([16]byte(data[9:])), int(data[8])).Masked())
		}
		b = b[4+n:]
	}
	return a, nil
}

// each calls f with the associations of a message.
func each(m *dhcp6.Message, f func(client string, a ia)) {
	duid, _ := find6(m.Options, opt6ClientID)
	for _, o := range m.Options {
		if o.Code != opt6IANA && o.Code != opt6IAPD {
			continue
		}
		if a, err := parseIA(o); err == nil {
			f(fmt.Sprintf("%x %d %x", duid, a.code, a.id), a)
		}
	}
}

// encode makes an association's option. Items have lifetimes of zero if they are gone.
func (s *server6) encode(a ia, have, gone []netip.Prefix, status dhcp6.Status) dhcp6.Option {
	valid := or(s.says.Valid, defaultValid6)
	preferred := min(or(s.says.Preferred, valid/2), valid)
	b := slices.Concat(a.id[:], seconds32(s.says.T1), seconds32(s.says.T2))
	put := func(item netip.Prefix, preferred, valid time.Duration) {
		addr := item.Addr().As16()
		times := append(seconds32(preferred), seconds32(valid)...)
		if a.code == opt6IANA {
			b = binary.BigEndian.AppendUint32(b, opt6IAAddr<<16|iaAddrLen)
			b = append(append(b, addr[:]...), times...)
			return
		}
		b = binary.BigEndian.AppendUint32(b, opt6IAPrefix<<16|iaPrefixLen)
		b = append(append(append(b, times...), byte(item.Bits())), addr[:]...)
	}
	for _, item := range have {
		put(item, preferred, valid)
	}
	for _, item := range gone {
		put(item, 0, 0)
	}
	if status != dhcp6.Success {
		b = binary.BigEndian.AppendUint32(b, opt6Status<<16|2)
		b = append(b, statusData(status)...)
	}
	return dhcp6.Option{Code: a.code, Data: b}
}

// associations answers those of a Solicit, Request, Renew or Rebind (RFC 8415 sections
// 18.3.1 to 18.3.5). Commit says that the client has them from now on.
func (s *server6) associations(c *core, m *dhcp6.Message, commit bool, from netip.Addr) (all []dhcp6.Option) {
	now := c.clock.Monotonic()
	each(m, func(client string, a ia) {
		l := s.leases[client]
		if l != nil && (l.until <= now || !s.offers(l.item)) {
			s.forget(c, l)
			l = nil
		}
		again := m.Type == dhcp6.Renew || m.Type == dhcp6.Rebind
		switch {
		case s.says.Withdraw && again:
			if l != nil {
				s.forget(c, l)
			}
			all = append(all, s.encode(a, nil, a.items, dhcp6.Success))
			return
		case s.says.Withdraw:
			l = nil
		case again && l == nil:
			if gone := slices.DeleteFunc(a.items, s.offers); len(gone) > 0 {
				all = append(all, s.encode(a, nil, gone, dhcp6.Success))
			} else if m.Type == dhcp6.Renew {
				all = append(all, s.encode(a, nil, nil, dhcp6.NoBinding))
			}
			return
		case l == nil:
			l = s.assign(c, client, a, now)
		}
		if l == nil {
			status := dhcp6.NoAddrsAvail
			if a.code == opt6IAPD {
				status = dhcp6.NoPrefixAvail
			}
			all = append(all, s.encode(a, nil, nil, status))
			return
		}
		if commit {
			l.offer, l.until = false, now+or(s.says.Valid, defaultValid6)
			if a.code == opt6IAPD {
				c.routeTo(l.item, from, s.ifc)
			}
		}
		gone := slices.DeleteFunc(a.items, func(p netip.Prefix) bool { return p == l.item || !again })
		all = append(all, s.encode(a, []netip.Prefix{l.item}, gone, dhcp6.Success))
	})
	return all
}

// offers reports whether an address or a prefix is one that the server gives.
func (s *server6) offers(item netip.Prefix) bool {
	if item.Bits() < 128 {
		return s.delegate.IsValid() && item.Bits() == s.bits && s.delegate.Contains(item.Addr())
	}
	a := s.first
	for range s.size {
		if a.IsValid() && a == item.Addr() {
			return true
		}
		a = a.Next()
	}
	return false
}

// assign offers what the client asks for, if that is free, or the next that is.
func (s *server6) assign(c *core, client string, a ia, now time.Duration) *lease6 {
	if len(s.leases) >= maxLeases {
		for _, l := range s.leases {
			if l.until <= now {
				s.forget(c, l)
			}
		}
		if len(s.leases) >= maxLeases {
			return nil
		}
	}
	for _, item := range a.items {
		if s.offers(item) {
			if l := s.take(c, client, item, now); l != nil {
				return l
			}
		}
	}
	item := netip.PrefixFrom(s.first, 128)
	if a.code == opt6IAPD {
		item = netip.PrefixFrom(s.delegate.Addr(), s.bits)
	}
	for range s.size {
		if !item.Addr().IsValid() || !s.offers(item) {
			return nil
		}
		if l := s.take(c, client, item, now); l != nil {
			return l
		}
		item = following(item)
	}
	return nil
}

// following returns the next prefix of the same length.
func following(p netip.Prefix) netip.Prefix {
	a := p.Addr().As16()
	for i, step := (p.Bits()-1)/8, 1<<(7-(p.Bits()-1)%8); i >= 0 && step > 0; i-- {
		step += int(a[i])
		a[i] = byte(step)
		step >>= 8
	}
	return netip.PrefixFrom(netip.AddrFrom16(a), p.Bits())
}

func (s *server6) take(c *core, client string, item netip.Prefix, now time.Duration) *lease6 {
	if l := s.items[item]; l != nil {
		if l.until > now {
			return nil
		}
		s.forget(c, l)
	}
	if item.Bits() == 128 && !s.lan.reserve(item.Addr(), s.name) {
		return nil
	}
	l := &lease6{client: client, item: item, until: now + offerHold, offer: true}
	s.leases[client], s.items[item] = l, l
	return l
}

func (s *server6) forget(c *core, l *lease6) {
	delete(s.leases, l.client)
	delete(s.items, l.item)
	if l.item.Bits() < 128 {
		c.routes = slices.DeleteFunc(c.routes, func(r route) bool { return r.to == l.item })
	}
}

// routeTo makes the router reach a delegated prefix by who has it.
func (c *core) routeTo(p netip.Prefix, via netip.Addr, ifc *iface) {
	c.routes = slices.DeleteFunc(c.routes, func(r route) bool { return r.to == p })
	c.routes = append(c.routes, route{p, via, ifc})
}

// confirm says whether a client's addresses are of this link (RFC 8415 section 18.3.3).
func (s *server6) confirm(m *dhcp6.Message) (status dhcp6.Status, any bool) {
	each(m, func(_ string, a ia) {
		for _, item := range a.items {
			any = true
			if item.Bits() == 128 && !s.ifc.onLink(item.Addr()) {
				status = dhcp6.NotOnLink
			}
		}
	})
	return status, any
}

// giveBack takes what a client does not want any more, or has found to be somebody else's
// (RFC 8415 sections 18.3.7 and 18.3.8), and returns what it never had.
func (s *server6) giveBack(c *core, m *dhcp6.Message) (unknown []dhcp6.Option) {
	each(m, func(client string, a ia) {
		l := s.leases[client]
		if l == nil {
			unknown = append(unknown, s.encode(a, nil, nil, dhcp6.NoBinding))
			return
		}
		if !slices.Contains(a.items, l.item) {
			return
		}
		s.forget(c, l)
		if m.Type == dhcp6.Decline {
			s.lan.lab.note("DHCPv6: declined", "lan", s.lan.name, "addr", l.item)
			s.items[l.item] = &lease6{item: l.item, until: c.clock.Monotonic() + declineHold}
		}
	})
	return unknown
}
