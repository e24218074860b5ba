package learn

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// A Remark is about something that was not used, or that contradicts itself.
type Remark struct {
	From  netip.Addr // who said it; the zero Addr: nobody in particular, or a DHCP server
	What  string     // the text is safe to log if quoted
	Count uint64     // how often
	Last  time.Duration
}

// remarks are the latest of each kind, the oldest first.
type remarks struct{ list []Remark }

// remark takes note of something; what was last noted comes last.
func (m *Machine) remark(format string, args ...any) {
	r := &m.remarks
	next := Remark{What: fmt.Sprintf(format, args...)}
	same := func(o Remark) bool { return o.What == next.What }
	if i := slices.IndexFunc(r.list, same); i >= 0 {
		next = r.list[i]
		r.list = slices.Delete(r.list, i, i+1)
	} else if len(r.list) >= maxRemarks {
		r.list = slices.Delete(r.list, 0, 1)
	}
	next.Count++
	next.Last = m.now()
	r.list = append(r.list, next)
}

// Remarks returns what was not used of what the network has said, and why: the latest of
// each kind.
func (m *Machine) Remarks() []Remark {
	all := slices.Clone(m.remarks.list)
	if m.ra != nil {
		rejected, _ := m.ra.Rejections()
		for _, r := range rejected {
			all = append(all, Remark{From: r.Router, What: r.Why, Count: r.Count, Last: r.Last})
		}
	}
	now := m.now()
	ignored := func(which string, by map[string]uint64) {
		for why, n := range by {
			all = append(all, Remark{What: which + ": " + why, Count: n, Last: now})
		}
	}
	if m.v4 != nil {
		ignored("DHCPv4", m.v4.Ignored())
		if l := m.v4.Lease(); l != nil {
			all = append(all, problems(l.Server, "DHCPv4", l.Problems, l.Obtained)...)
		}
	}
	for _, c := range m.clients6() {
		ignored("DHCPv6", c.Ignored())
		if l := c.Lease(); l != nil {
			all = append(all, problems(netip.Addr{}, "DHCPv6", l.Problems, now)...)
		}
		if i := c.Info(); i != nil {
			all = append(all, problems(netip.Addr{}, "DHCPv6", i.Problems, i.Obtained)...)
		}
	}
	return all
}

func problems(from netip.Addr, which string, texts []string, at time.Duration) (rs []Remark) {
	for _, t := range texts {
		rs = append(rs, Remark{From: from, What: which + ": " + t, Count: 1, Last: at})
	}
	return rs
}
