package stack

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"
)

// sharedPorts are the ephemeral ports of a host's PvDs that share addresses.
type sharedPorts struct {
	now map[*domain]*portShare // the registry's writer only

	// claiming is held by who takes a port in a PvD that shares an address. A PvD's gate
	// comes before it.
	claiming sync.Mutex
}

// A portShare is the part of the ephemeral ports that a PvD has which shares addresses.
type portShare struct {
	low, high uint16
	addrs     []netip.Addr // the shared ones
	others    []*domain    // those that have the other parts, the oldest first
}

func (s *portShare) has(port uint16) bool { return s.low <= port && port <= s.high }

func (s *portShare) equal(o *portShare) bool {
	if s == nil || o == nil {
		return s == o
	}
	return s.low == o.low && s.high == o.high && slices.Equal(s.addrs, o.addrs) && slices.Equal(s.others, o.others)
}

// divide divides the ephemeral ports among PvDs that share addresses in any of some tables,
// also by way of third ones: equally, in the order of their age.
func divide(tables []*linkTable) map[*domain]*portShare {
	addrs := make(map[*domain][]netip.Addr)
	group := make(map[*domain]*[]*domain)
	for _, t := range tables {
		for a, sh := range t.shared {
			all := new([]*domain)
			for _, p := range sh.by {
				d := p.domain
				if !slices.Contains(addrs[d], a) {
					addrs[d] = append(addrs[d], a)
				}
				with := []*domain{d}
				if g := group[d]; g == all {
					continue
				} else if g != nil {
					with = *g
				}
				*all = append(*all, with...)
				for _, d := range with {
					group[d] = all
				}
			}
		}
	}
	shares := make(map[*domain]*portShare, len(group))
	for d, g := range group {
		slices.SortFunc(*g, func(d, e *domain) int { return cmp.Compare(d.ref, e.ref) })
		i, n := slices.Index(*g, d), len(*g)
		size := (lastEphemeral - firstEphemeral + 1) / n
		low := uint16(firstEphemeral + i*size)
		slices.SortFunc(addrs[d], netip.Addr.Compare)
		shares[d] = &portShare{
			low: low, high: low + uint16(size) - 1,
			addrs: addrs[d], others: slices.DeleteFunc(slices.Clone(*g), func(o *domain) bool { return o == d }),
		}
	}
	return shares
}

// sharedTables returns the tables of the host's links in which there are shared addresses,
// those in next in the place of their links' own.
func (h *Host) sharedTables(next map[*hostLink]*linkTable) []*linkTable {
	var tables []*linkTable
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, l := range h.links {
		t := next[l]
		if t == nil {
			t = l.table.Load()
		}
		if t.shared != nil {
			tables = append(tables, t)
		}
	}
	return tables
}

// canShare reports why a PvD's ports can not be divided as the tables would have it. It runs
// on the registry's writer.
func (d *domain) canShare(next map[*hostLink]*linkTable) error {
	if !anyShared(next) {
		return nil
	}
	if s := divide(d.host.sharedTables(next))[d]; s != nil && len(s.others)+1 > maxSharers {
		return fmt.Errorf("%d PvDs would share addresses, the limit is %d", len(s.others)+1, maxSharers)
	}
	return nil
}

func anyShared(tables map[*hostLink]*linkTable) bool {
	for _, t := range tables {
		if t.shared != nil {
			return true
		}
	}
	return false
}

// dividePorts gives every PvD that shares an address its part of the ephemeral ports, and all
// of them back to those that do no longer. While a PvD changes, next are the tables that it
// is to have: nobody has more than by the tables before and after. What is open stays open.
// It runs on the registry's writer.
func (h *Host) dividePorts(next map[*hostLink]*linkTable) {
	if len(h.ports.now) == 0 && !anyShared(next) {
		return
	}
	tables := h.sharedTables(nil)
	for _, t := range next {
		if t.shared != nil {
			tables = append(tables, t)
		}
	}
	was, now := h.ports.now, divide(tables)
	h.ports.now = now
	var changed []*domain
	for d, s := range now {
		if !s.equal(was[d]) {
			changed = append(changed, d)
		}
	}
	for d := range was {
		if now[d] == nil {
			changed = append(changed, d)
		}
	}
	// With all gates held nobody is about to take a port by the division before.
	for _, d := range changed {
		d.gate.Lock()
		defer d.gate.Unlock()
	}
	for _, d := range changed {
		s := now[d]
		d.share.Store(s)
		low, high := uint16(firstEphemeral), uint16(lastEphemeral)
		if s != nil {
			low, high = s.low, s.high
		}
		if terr := d.stk.SetPortRange(low, high); terr != nil {
			d.log.Error("ephemeral ports not set", "op", "share", "err", terr.String())
		}
	}
}

// concerning returns the share if a socket at the address a, which may be unspecified, has to
// do with a shared address; else nil.
func (s *portShare) concerning(a netip.Addr) *portShare {
	if a.IsValid() && !a.IsUnspecified() && !slices.Contains(s.addrs, a.Unmap()) {
		return nil
	}
	return s
}
