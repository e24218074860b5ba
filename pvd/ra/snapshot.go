package ra

import (
	"net"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Snapshot is what the engine knew at one moment. It never changes, and neither does
// anything that it points to: it may be shared, and is only to be read.
type Snapshot struct {
	// Version counts the changes, those of lifetimes included.
	Version uint64

	// PvDs are those of the link, the oldest first. One that is as in an earlier snapshot
	// is the same pointer.
	PvDs []*PvD
}

// A PvD is one that was learned. Every moment in it is when something ends; [Infinite] is never.
type PvD struct {
	Key Key

	// Instance is a number that no other PvD of the engine has had: a PvD that ended and
	// came again is another attachment.
	Instance uint64

	// Since is when the PvD began, Until when it will end, which is when the last of what
	// it consists of does.
	Since, Until time.Duration

	// Option is the latest PvD option, without Header and Options, and without Delay and
	// Sequence where HTTP is not set; nil in an implicit PvD.
	Option *PvDOption

	// Managed and Other say that a router of the PvD has addresses, or other configuration,
	// by DHCPv6.
	Managed, Other bool

	Routers   []Router                // the oldest first
	Prefixes  []Prefix                // the oldest first
	Addresses []Address               // the link-local one first
	Routes    []Route                 // the default routes first
	Servers   []Lasting[netip.Addr]   // DNS servers; link-local ones have the link's name as zone
	Search    []Lasting[string]       // search domains
	NAT64     []Lasting[netip.Prefix] // RFC 8781
	Resolvers []Lasting[Resolver]     // by priority; link-local addresses have the link's name as zone

	// Portal is the URI of the captive portal's API, or Unrestricted. Empty: nothing was
	// said.
	Portal CaptivePortal

	// MTU in octets, HopLimit, Reachable (BaseReachableTime) and Retransmit are 0 where
	// no router specified them, and within the limits otherwise.
	MTU        int
	HopLimit   uint8
	Reachable  time.Duration
	Retransmit time.Duration
}

// A Router is one that speaks for a PvD.
type Router struct {
	Addr netip.Addr       // link-local, without zone
	MAC  net.HardwareAddr // as it says itself; nil if it does not

	// Heard is when it last did.
	Heard time.Duration

	// Unreachable is what [Engine.SetReachable] was told.
	Unreachable bool
}

// A Prefix is one that a router advertises. A prefix of two routers is listed twice,
// since packets from its addresses should go by one that has it (RFC 8028 section 3).
type Prefix struct {
	Prefix     netip.Prefix
	Router     netip.Addr
	OnLink     time.Duration // until when it is on the link; 0: it is not
	Valid      time.Duration // until when addresses of it are valid
	Autonomous bool          // the host makes addresses of it

	// Delegation says that clients should have prefixes delegated instead, while the prefix is
	// preferred (RFC 9762 section 7.1). To make addresses of it all the same is what hosts
	// that use no delegated prefixes have to do.
	Delegation bool
}

// An Address is one that the PvD has or is to have, once duplicate address detection has
// found it free.
type Address struct {
	Prefix    netip.Prefix // holds the address itself
	Temporary bool         // RFC 8981

	// Preferred is until when the address may begin new communication, Valid until when it
	// may be used at all. Deprecated says that Preferred has passed.
	Preferred, Valid time.Duration
	Deprecated       bool

	// Attempt counts the addresses of the prefix that were found to be duplicates.
	Attempt uint8
}

// A Route leads through a router.
type Route struct {
	To         netip.Prefix // ::/0 for a default router
	Via        netip.Addr
	Preference pvd.Preference
	Until      time.Duration
}

// A Lasting is something until a moment.
type Lasting[T any] struct {
	Value T
	Until time.Duration
}

// Find returns the PvD with a key, or nil.
func (s *Snapshot) Find(k Key) *PvD {
	for _, d := range s.PvDs {
		if d.Key == k {
			return d
		}
	}
	return nil
}

// A Change is a difference between snapshots. Before is nil for a PvD that began, After
// for one that ended. A PvD that ended and began again is two changes.
type Change struct {
	Before, After *PvD
}

// Refreshed reports whether nothing but moments differ: the routers have repeated what
// they said before.
func (c Change) Refreshed() bool {
	return c.Before != nil && c.After != nil &&
		reflect.DeepEqual(c.Before.timeless(), c.After.timeless())
}

// timeless returns p without what a repeated advertisement changes.
func (p *PvD) timeless() *PvD {
	t := *p
	t.Until = 0
	t.Routers = slices.Clone(p.Routers)
	for i := range t.Routers {
		t.Routers[i].Heard = 0
	}
	t.Prefixes = slices.Clone(p.Prefixes)
	for i, x := range t.Prefixes {
		t.Prefixes[i].OnLink, t.Prefixes[i].Valid = min(x.OnLink, 1), 0
	}
	t.Addresses = slices.Clone(p.Addresses)
	for i := range t.Addresses {
		t.Addresses[i].Preferred, t.Addresses[i].Valid = 0, 0
	}
	t.Routes = slices.Clone(p.Routes)
	for i := range t.Routes {
		t.Routes[i].Until = 0
	}
	t.Servers, t.Search = forever(p.Servers), forever(p.Search)
	t.NAT64, t.Resolvers = forever(p.NAT64), forever(p.Resolvers)
	return &t
}

func forever[T any](ls []Lasting[T]) []Lasting[T] {
	ls = slices.Clone(ls)
	for i := range ls {
		ls[i].Until = 0
	}
	return ls
}

// Changes returns what is different in s from an earlier snapshot, which may be nil:
// first what ended, then the rest in the order of s.
func (s *Snapshot) Changes(since *Snapshot) (changes []Change) {
	if since == nil {
		since = &Snapshot{}
	}
	was := make(map[uint64]*PvD, len(since.PvDs))
	for _, d := range since.PvDs {
		was[d.Instance] = d
	}
	for _, d := range s.PvDs {
		switch before := was[d.Instance]; {
		case before == nil:
			changes = append(changes, Change{After: d})
		case before != d:
			changes = append(changes, Change{Before: before, After: d})
		}
		delete(was, d.Instance)
	}
	var ended []Change
	for _, d := range since.PvDs {
		if was[d.Instance] != nil {
			ended = append(ended, Change{Before: d})
		}
	}
	return append(ended, changes...)
}
