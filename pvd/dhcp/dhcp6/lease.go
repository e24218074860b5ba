package dhcp6

import (
	"cmp"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp"
)

// A Lease is what a server has given for some time. It is not changed once it has been
// handed out, and must not be.
type Lease struct {
	Server []byte // the server's DUID

	// Addrs are full-length prefixes: DHCPv6 does not say what is on the link
	// (RFC 5942 section 4). Prefixes are those delegated (IA_PD).
	Addrs, Prefixes []Item

	// Moments at which the client asks the server, and then any server, for more time.
	T1, T2 time.Duration

	Info     *Info // what came along
	Problems []string

	options []byte // what Info was read from, for the record
}

// preferredOrValid is what renewal is reckoned from; of what is not to be preferred at all,
// the time that it is valid.
func (i lifetimes) preferredOrValid() uint32 { return cmp.Or(i.preferred, i.valid) }

// An Item is an address or a prefix with the moments at which it ends: it should not begin
// new communication after Preferred, nor be used after Valid.
type Item struct {
	Prefix           netip.Prefix
	Preferred, Valid time.Duration
}

// expires returns when nothing of the lease is left.
func (l *Lease) expires() time.Duration {
	var last time.Duration
	for _, i := range slices.Concat(l.Addrs, l.Prefixes) {
		last = max(last, i.Valid)
	}
	return last
}

// firstEnd returns when the next of the items ends.
func (l *Lease) firstEnd() time.Duration {
	first := dhcp.Never
	for _, i := range slices.Concat(l.Addrs, l.Prefixes) {
		first = min(first, i.Valid)
	}
	return first
}

// without returns the lease without what is over at now, nil if that is everything.
func (l *Lease) without(now time.Duration) *Lease {
	c := *l
	over := func(i Item) bool { return i.Valid <= now }
	c.Addrs = slices.DeleteFunc(slices.Clone(l.Addrs), over)
	c.Prefixes = slices.DeleteFunc(slices.Clone(l.Prefixes), over)
	if len(c.Addrs)+len(c.Prefixes) == 0 {
		return nil
	}
	return &c
}

// An association is what one IA option says.
type association struct {
	t1, t2 uint32
	items  []lifetimes
	status Status
}

type lifetimes struct {
	prefix           netip.Prefix
	preferred, valid uint32
}

// readIA returns the first association of ours in a message, and whether there is one. One
// that must be discarded (RFC 8415 sections 21.4 and 21.21) is none.
func readIA(options []Option, code uint16, iaid uint32, ps *problems) (a association, ok bool) {
	for _, o := range options {
		if o.Code != code || len(o.Data) < 12 || binary.BigEndian.Uint32(o.Data) != iaid {
			continue
		}
		inner, err := parseOptions(o.Data[12:])
		if err != nil {
			ps.add("association: %v", err)
			continue
		}
		a.t1, a.t2 = binary.BigEndian.Uint32(o.Data[4:]), binary.BigEndian.Uint32(o.Data[8:])
		if a.t1 > a.t2 && a.t2 > 0 {
			ps.add("association: T1 %d > T2 %d", a.t1, a.t2)
			continue
		}
		a.status = status(inner)
		a.items = readItems(inner, code, ps)
		return a, true
	}
	return association{}, false
}

func readItems(options []Option, ia uint16, ps *problems) (items []lifetimes) {
	code, most := uint16(optIAAddr), MaxAddrs
	if ia == optIAPD {
		code, most = optIAPrefix, MaxPrefixes
	}
	for _, o := range options {
		if o.Code != code {
			continue
		}
		i, why := readItem(o)
		switch {
		case why == "" && len(items) == most:
			why = "too many"
		case why == "" && slices.ContainsFunc(items, func(j lifetimes) bool { return i.prefix == j.prefix }):
			why = "twice"
		}
		if why != "" {
			ps.add("%v: %s", i.prefix, why)
			continue
		}
		items = append(items, i)
	}
	return items
}

// readItem reads an IA Address or IA Prefix option and says what is wrong with it.
func readItem(o Option) (i lifetimes, why string) {
	b := o.Data
	if o.Code == optIAAddr {
		if len(b) < 24 {
			return i, "cut short"
		}
		i.prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte(b)), 128)
		i.preferred, i.valid = binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[20:])
		b = b[24:]
	} else {
		if len(b) < 25 || b[8] == 0 || b[8] > 128 {
			return i, "cut short or without length"
		}
		i.prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte(b[9:])), int(b[8])).Masked()
		i.preferred, i.valid = binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
		b = b[25:]
	}
	inner, err := parseOptions(b)
	switch a := i.prefix.Addr(); {
	case err != nil:
		return i, "options cut short"
	case status(inner) != Success:
		return i, "refused"
	case i.preferred > i.valid:
		return i, "preferred longer than valid"
	case !leasable(a):
		return i, "not one that can be leased"
	}
	return i, ""
}

func leasable(a netip.Addr) bool {
	return a.Is6() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !a.Is4In6() && !a.IsLinkLocalUnicast() &&
		a.Zone() == ""
}

// merge returns the items of a lease after what a server has said about them: what it does
// not mention stays as it was (RFC 8415 section 18.2.10.1), what it gives no time ends.
func merge(old []Item, said []lifetimes, most int, now time.Duration) []Item {
	items := slices.Clone(old)
	for _, s := range said {
		items = slices.DeleteFunc(items, func(i Item) bool { return i.Prefix == s.prefix })
		if s.valid > 0 && len(items) < most {
			items = append(items, Item{s.prefix, dhcp.After(now, s.preferred), dhcp.After(now, s.valid)})
		}
	}
	return items
}

// schedule sets T1 and T2: the server's, or where it leaves them to the client 0.5 and 0.8
// of the shortest preferred lifetime (RFC 8415 section 21.4). They come in order, and
// before everything has ended.
func (l *Lease) schedule(now time.Duration, as ...association) {
	l.T1, l.T2 = dhcp.Never, dhcp.Never
	shortest := uint32(math.MaxUint32)
	for _, a := range as {
		for _, i := range a.items {
			if i.valid > 0 {
				shortest = min(shortest, i.preferredOrValid())
			}
		}
	}
	for _, a := range as {
		if len(a.items) == 0 {
			continue
		}
		if a.t1 > 0 {
			l.T1 = min(l.T1, dhcp.After(now, a.t1))
		}
		if a.t2 > 0 {
			l.T2 = min(l.T2, dhcp.After(now, a.t2))
		}
		if shortest != math.MaxUint32 {
			d := time.Duration(shortest) * time.Second
			if a.t1 == 0 {
				l.T1 = min(l.T1, now+d/2)
			}
			if a.t2 == 0 {
				l.T2 = min(l.T2, now+d/5*4)
			}
		}
	}
	if end := l.expires(); end != dhcp.Never {
		left := end - now
		if l.T2 >= end {
			l.T2 = now + left/5*4
		}
	}
	if l.T1 >= l.T2 && l.T2 != dhcp.Never {
		l.T1 = now + (l.T2-now)/8*5
	}
	l.T1 = max(l.T1, now+minRenew)
	l.T2 = max(l.T2, l.T1)
}
