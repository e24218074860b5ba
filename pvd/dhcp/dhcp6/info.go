package dhcp6

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp"
)

// An Info is the configuration beside addresses and prefixes. It is not changed once it
// has been handed out, and must not be.
type Info struct {
	DNS       []netip.Addr // link-local ones are on the client's link
	Search    []string
	Portal    string // the URI of the captive portal's API; empty: not known
	Resolvers []dhcp.Resolver

	// Moments. What comes with a lease, and is not refreshed apart from it, ends with it:
	// Expires is Never then.
	Obtained, Expires time.Duration

	// Problems are what of the message has been left out, and why. The text is safe to
	// log if quoted.
	Problems []string
}

type problems []string

func (p *problems) add(format string, args ...any) {
	if len(*p) < maxProblems {
		*p = append(*p, fmt.Sprintf(format, args...))
	}
}

func newInfo(options []Option, now time.Duration) *Info {
	i := &Info{Obtained: now, Expires: dhcp.Never}
	var ps problems
	var err error
	seen := make(map[uint16]bool)
	for _, o := range options {
		if seen[o.Code] && o.Code != optResolver {
			continue // the first one counts of those that may appear once
		}
		seen[o.Code] = true
		switch o.Code {
		case optDNS:
			if i.DNS, err = dhcp.ParseAddrs(o.Data, 16, MaxDNS); err != nil {
				ps.add("dns: %v", err)
			}
		case optSearch:
			if i.Search, err = dhcp.ParseNames(o.Data, false); err != nil {
				ps.add("search list: %v", err)
			}
		case optPortal:
			if i.Portal, err = dhcp.ParsePortal(o.Data); err != nil {
				ps.add("%v", err)
			}
		case optResolver:
			i.addResolver(o.Data, &ps)
		}
	}
	i.Problems = ps
	return i
}

func (i *Info) addResolver(b []byte, ps *problems) {
	r, err := dhcp.ParseResolver6(b)
	switch {
	case err != nil:
		ps.add("%v", err)
		return
	case len(i.Resolvers) == maxResolvers:
		ps.add("more than %d resolvers", maxResolvers)
		return
	}
	at := len(i.Resolvers)
	for at > 0 && i.Resolvers[at-1].Priority > r.Priority {
		at--
	}
	i.Resolvers = append(i.Resolvers, dhcp.Resolver{})
	copy(i.Resolvers[at+1:], i.Resolvers[at:])
	i.Resolvers[at] = r
}

// refreshTime returns how long stateless configuration is good for (RFC 8415 section
// 21.23).
func refreshTime(options []Option, now time.Duration) time.Duration {
	v, ok := get(options, optRefresh)
	if !ok || len(v) != 4 {
		return now + defaultRefresh
	}
	return max(now+leastRefresh, dhcp.After(now, binary.BigEndian.Uint32(v)))
}

// maxRT returns the time that a server sets for SOL_MAX_RT or INF_MAX_RT, the old one if it
// does not.
func maxRT(options []Option, code uint16, old time.Duration) time.Duration {
	v, ok := get(options, code)
	if !ok || len(v) != 4 {
		return old
	}
	if s := binary.BigEndian.Uint32(v); s >= leastMaxRT && s <= mostMaxRT {
		return time.Duration(s) * time.Second
	}
	return old
}
