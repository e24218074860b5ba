package pvd

import (
	"net/netip"
	"slices"
	"time"
)

// What a PvD is like, and what it may be used for, beyond addresses and routes. Any source
// may set these: a [Config] by its Elements, a router advertisement, additional
// information. An element that is missing is not known.
var (
	// Access is the access technology of the PvD's first link.
	Access = NewKey[Technology]("medium", nil)

	// Metered says whether traffic is counted or paid for.
	Metered = NewKey[bool]("metered", nil)

	// Cost is what traffic costs, in a unit of the operator's choice that is the same for
	// all PvDs of a host. 0 is free.
	Cost = NewKey[uint32]("cost", nil)

	// Speed is how many bits a second arrive at best.
	Speed = NewKey[uint64]("speed", nil)

	// Latency is the time to the first hop that matters and back.
	Latency = NewKey[time.Duration]("latency", nil)

	// Metric orders PvDs where nothing else does: the lower one is preferred. A PvD
	// without it counts as 0.
	Metric = NewKey[uint32]("metric", nil)

	// Groups are the names of the groups that the PvD is a member of: PvDs of one group
	// lead to the same place.
	Groups = NewKey("groups", slices.Clone[[]string])

	// NoInternet says that the PvD leads to some destinations only
	// (RFC 8801 section 4.3).
	NoInternet = NewKey[bool]("no internet", nil)

	// NAT64 are the prefixes from which addresses for IPv4 destinations are made
	// (RFC 6052, RFC 8781).
	NAT64 = NewKey("nat64", slices.Clone[[]netip.Prefix])

	// CaptivePortal is what stands between the PvD and other networks (RFC 8908).
	CaptivePortal = NewKey[Portal]("captive portal", nil)

	// EncryptedDNS are the PvD's DNS servers that are spoken to by encrypted protocols, in
	// order of preference (RFC 9463). Where there are some that can be spoken to, the others
	// are not asked.
	EncryptedDNS = NewKey("encrypted dns", cloneEncryptedServers)

	// Proxies are the proxies that the PvD offers, in order of preference.
	Proxies = NewKey("proxies", cloneProxies)

	// Ends is when the PvD is about to go. It is only known ahead of time.
	Ends = NewKey[time.Time]("ends", nil)

	// HopLimit is what the hop limit of packets begins with, 1 to 255 (RFC 4861 section
	// 6.3.2, CurHopLimit). Without it, it is 64.
	HopLimit = NewKey[uint8]("hop limit", nil)

	// ReachableTime is for how long a neighbour counts as reachable after it was, and
	// RetransmitTime the time between two solicitations of one (RFC 4861 section 6.3.2).
	ReachableTime  = NewKey[time.Duration]("reachable time", nil)
	RetransmitTime = NewKey[time.Duration]("retransmit time", nil)

	// WeakHost makes the PvD answer on each of its links for its addresses on the others
	// (the weak end system model, RFC 1122 section 3.3.4.2). Without it, it does not.
	WeakHost = NewKey[bool]("weak host", nil)

	// LoadSharing spreads destinations over routers that are equally good (RFC 4311).
	// Without it all go by the first.
	LoadSharing = NewKey[bool]("load sharing", nil)
)

// A Technology is a kind of access network, in lower case. Those below are known here;
// any other word may be used.
type Technology string

// Technologies.
const (
	Wired     Technology = "wired"
	WLAN      Technology = "wlan"
	Cellular  Technology = "cellular"
	Bluetooth Technology = "bluetooth"
	VPN       Technology = "vpn"
	Virtual   Technology = "virtual"
)

// A Portal is a captive portal (RFC 8908 section 5).
type Portal struct {
	API     string // the URL of its API
	User    string // the URL for people; may be empty
	Captive bool   // whether it is in the way now
}

// A Proxy is one that a PvD offers for reaching destinations.
type Proxy struct {
	// ID names the proxy where rules say what it is for (draft-ietf-intarea-proxy-config);
	// several proxies may share it. Such a proxy must not be used but by its rules. Empty:
	// For says all.
	ID string

	// Protocol is http-connect, https-connect, connect-tcp, connect-udp, connect-ip or
	// socks5.
	Protocol string

	// Address is host:port, or a URI template where the protocol has one.
	Address string

	// For are the domains and prefixes that the proxy is for; empty: for all.
	For []string
}

func cloneProxies(ps []Proxy) []Proxy {
	ps = slices.Clone(ps)
	for i := range ps {
		ps[i].For = slices.Clone(ps[i].For)
	}
	return ps
}
