package dhcp6

import (
	crand "crypto/rand"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp"
)

// Ports of DHCPv6, and where clients send everything (RFC 8415 sections 7.1 and 7.2). The
// source is the link-local address of the interface.
const (
	ClientPort = 546
	ServerPort = 547
)

// Servers is All_DHCP_Relay_Agents_and_Servers.
func Servers() netip.Addr {
	return netip.AddrFrom16([16]byte{0xff, 0x02, 13: 1, 15: 2})
}

// A Config says who the client is and what it wants. With neither Addresses nor Prefixes
// it is stateless.
type Config struct {
	// DUID identifies the client, 3 to 130 octets ([dhcp.NewDUID]).
	DUID []byte

	// IAID is that of the association for addresses and of the one for prefixes.
	IAID uint32

	Addresses bool // an address (IA_NA)
	Prefixes  bool // a delegated prefix (IA_PD)

	// RapidCommit lets a server skip two of four messages (RFC 8415 section 18.2.1).
	RapidCommit bool

	// Rand is where transaction identifiers and delays come from. Nil: a source that
	// cannot be guessed, which is what keeps others from forging answers.
	Rand rand.Source

	// Accept reports whether an address that a server has for the client can be used. It is
	// called for each that a message, or Previous, has. Where it has addresses and none of
	// them can, nothing of it is used. Nil: all can.
	Accept func(netip.Addr) bool

	// Previous is a lease from before, to be verified rather than to begin anew. It may be
	// nil.
	Previous *Lease
}

// A State is what the client does.
type State uint8

// States.
const (
	Down       State = iota // the link is down, or LinkUp has not been called
	Soliciting              // looks for a server
	Requesting              // has asked one
	Bound                   // has a lease
	Renewing                // asks the server for more time
	Rebinding               // asks any server
	Confirming              // asks whether the lease is for this link
	Declining               // gives an address back that somebody else has
	Releasing               // gives everything back
	Released                // has done so; nothing goes on
	Informing               // asks for configuration only
	Informed                // has it
)

var stateNames = [...]string{
	"down", "soliciting", "requesting", "bound", "renewing", "rebinding", "confirming",
	"declining", "releasing", "released", "informing", "informed",
}

// String returns the state's name.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// A Client is a DHCPv6 client of one interface. See the package's comment; it is not safe
// for concurrent use.
//
// After each call, [Client.Packets] are to be sent, and [Client.Advance] is to be called
// at [Client.Next].
type Client struct {
	cfg  Config
	rand *rand.Rand

	state State
	next  time.Duration
	why   string

	// The exchange that is under way.
	p     params
	xid   uint32
	count int           // messages sent
	rt    time.Duration // the last wait
	start time.Duration // of the first message
	offer *offer        // the best advertisement, or the server that is asked
	heard int           // advertisements

	lease    *Lease
	previous bool // the lease is from before, and nobody has verified it yet
	info     *Info
	given    []Item // being given back: addresses
	givenPD  []Item // and prefixes
	giver    []byte // to this server
	solMaxRT time.Duration
	infMaxRT time.Duration
	refused  int // since the last lease
	declined int // since the link came up
	packets  [][]byte
	ignored  map[string]uint64
}

// New returns a client that does nothing before [Client.LinkUp].
func New(c Config) (*Client, error) {
	if n := len(c.DUID); n < minDUID || n > maxDUID {
		return nil, fmt.Errorf("dhcp6: DUID of %d octets, it has %d to %d", n, minDUID, maxDUID)
	}
	c.DUID = slices.Clone(c.DUID)
	if c.Rand == nil {
		var seed [32]byte
		crand.Read(seed[:]) // never fails
		c.Rand = rand.NewChaCha8(seed)
	}
	before := c.wanted(c.Previous)
	return &Client{
		cfg: c, rand: rand.New(c.Rand), why: "not started", ignored: make(map[string]uint64),
		solMaxRT: defaultMaxRT, infMaxRT: defaultMaxRT, lease: before, previous: before != nil,
	}, nil
}

// wanted returns what of a lease from before the client wants still, nil if that is nothing.
func (c Config) wanted(l *Lease) *Lease {
	if l == nil {
		return nil
	}
	w := *l
	switch {
	case !c.Addresses:
		w.Addrs = nil
	case c.Accept != nil && len(l.Addrs) > 0:
		w.Addrs = slices.DeleteFunc(slices.Clone(l.Addrs), func(i Item) bool { return !c.Accept(i.Prefix.Addr()) })
		if len(w.Addrs) == 0 {
			return nil // it is another network's
		}
	}
	if !c.Prefixes {
		w.Prefixes = nil
	}
	if len(w.Addrs)+len(w.Prefixes) == 0 {
		return nil
	}
	return &w
}

func (c *Client) stateful() bool { return c.cfg.Addresses || c.cfg.Prefixes }

// State returns the client's state, and why it is in it.
func (c *Client) State() (s State, why string) { return c.state, c.why }

// Lease returns the addresses and prefixes that the client has, nil if there are none. The
// caller looks after the moments at which addresses are no longer preferred. One from before
// ([Config.Previous]) is not in use until a server has confirmed or extended it, or none
// has said anything.
func (c *Client) Lease() *Lease {
	if c.previous {
		return nil
	}
	return c.lease
}

// Info returns the configuration that the client has, nil if there is none.
func (c *Client) Info() *Info {
	if l := c.Lease(); l != nil {
		return l.Info
	}
	return c.info
}

// Ignored returns how many messages have been ignored for each reason. The reasons are a
// few constants. The caller owns the map.
func (c *Client) Ignored() map[string]uint64 { return maps.Clone(c.ignored) }

// Packets returns the payloads of UDP datagrams to be sent now, to [Servers]. The caller
// owns them.
func (c *Client) Packets() [][]byte {
	p := c.packets
	c.packets = nil
	return p
}

// Next returns when Advance is to be called, and whether it is.
func (c *Client) Next() (at time.Duration, ok bool) {
	at = dhcp.Never
	if c.state != Down && c.state != Released {
		at = c.next
	}
	if c.lease != nil {
		at = min(at, c.lease.firstEnd())
	}
	if c.info != nil {
		at = min(at, c.info.Expires)
	}
	return at, at != dhcp.Never
}

// LinkUp begins, or begins again after [Client.LinkDown]: what the client has is verified,
// since the link may lead elsewhere now (RFC 8415 section 18.2.12).
func (c *Client) LinkUp(now time.Duration) {
	c.refused, c.declined = 0, 0
	c.attach(now, "link up")
}

// Resume says that the machine has been asleep: what has ended meanwhile ends, and what
// has not is verified.
func (c *Client) Resume(now time.Duration) {
	c.expire(now)
	if c.state != Down && c.state != Released {
		c.attach(now, "resumed")
	}
}

func (c *Client) attach(now time.Duration, why string) {
	c.expire(now)
	c.packets = nil
	switch {
	case !c.stateful():
		c.begin(now, Informing, information, why)
	case c.lease == nil:
		c.begin(now, Soliciting, solicit, why)
	case len(c.lease.Prefixes) > 0: // which a Confirm can not be about
		c.begin(now, Rebinding, reverify, why)
	default:
		c.begin(now, Confirming, confirm, why)
	}
	c.next += c.upTo(maxDelay)
}

// LinkDown says that nothing can be sent. What there is remains until it is over.
func (c *Client) LinkDown() {
	if c.state != Released {
		c.packets = nil
		c.enter(Down, dhcp.Never, "link down")
	}
}

// Decline says that an address of the lease turned out to be somebody else's (RFC 8415
// section 18.2.8). It is not in the lease any more afterwards.
func (c *Client) Decline(now time.Duration, a netip.Addr) {
	if c.lease == nil || c.state == Down {
		return
	}
	i := slices.IndexFunc(c.lease.Addrs, func(i Item) bool { return i.Prefix.Addr() == a })
	if i < 0 {
		return
	}
	if c.state != Declining {
		c.given, c.givenPD = nil, nil
	}
	c.given = append(c.given, c.lease.Addrs[i])
	c.giver = c.lease.Server
	l := *c.lease
	l.Addrs = slices.Delete(slices.Clone(l.Addrs), i, i+1)
	if c.lease = &l; len(l.Addrs)+len(l.Prefixes) == 0 {
		c.lease = nil
	}
	c.declined++
	c.begin(now, Declining, decline, "somebody else has the address")
	c.Advance(now)
}

// Release gives everything back and ends the client's work until the next LinkUp. The
// address must not be used any more when the message leaves (RFC 8415 section 18.2.7).
func (c *Client) Release(now time.Duration) {
	l := c.lease
	c.lease, c.info, c.packets = nil, nil, nil
	if l == nil || c.state == Down {
		c.enter(Released, dhcp.Never, "released")
		return
	}
	c.given, c.givenPD, c.giver = l.Addrs, l.Prefixes, l.Server
	c.begin(now, Releasing, release, "released")
	c.Advance(now)
}

func (c *Client) enter(s State, next time.Duration, why string) {
	c.state, c.next, c.why = s, next, why
}

// begin begins an exchange, whose first message is due at once.
func (c *Client) begin(now time.Duration, s State, p params, why string) {
	c.enter(s, now, why)
	c.p, c.count, c.rt, c.heard = p, 0, 0, 0
	c.xid = uint32(c.rand.Uint64N(1 << 24))
	if s != Requesting {
		c.offer = nil
	}
}

// restart looks for a server anew, the later the more often that was in vain.
func (c *Client) restart(now time.Duration, times int, why string) {
	c.lease = nil
	c.begin(now, Soliciting, solicit, why)
	c.next += backOff(times) + c.upTo(maxDelay)
}

// backOff returns how long to wait after having been refused so many times before.
func backOff(times int) time.Duration {
	wait := backoff
	for ; times > 0 && wait < maxBackoff; times-- {
		wait *= 2
	}
	return min(wait, maxBackoff)
}

// expire ends what is over.
func (c *Client) expire(now time.Duration) {
	if c.info != nil && c.info.Expires <= now {
		c.info = nil
	}
	if c.lease == nil || c.lease.firstEnd() > now {
		return
	}
	if c.lease = c.lease.without(now); c.lease != nil {
		return
	}
	switch c.state {
	case Bound, Renewing, Rebinding, Confirming:
		c.begin(now, Soliciting, solicit, "the lease is over")
	case Down, Soliciting, Requesting, Declining, Releasing, Released, Informing, Informed:
	}
}

// Advance does what is due at now, which may be later than Next has said.
func (c *Client) Advance(now time.Duration) {
	c.expire(now)
	if c.state == Down || c.state == Released || now < c.next {
		return
	}
	switch c.state {
	case Bound:
		c.begin(now, Renewing, renew, "half of the time is over")
		c.limit(now, c.lease.T2)
	case Informed:
		c.begin(now, Informing, information, "the configuration is to be refreshed")
		c.next += c.upTo(maxDelay) // RFC 8415 section 21.23 has it like the first
		return
	case Soliciting:
		if c.count > 0 && c.offer != nil {
			c.ask(now)
		}
	case Down, Requesting, Renewing, Rebinding, Confirming, Declining, Releasing, Released, Informing:
	}
	if c.failed(now) {
		c.giveUp(now)
		return
	}
	c.transmit(now)
}

// limit has the exchange end at a moment.
func (c *Client) limit(now, end time.Duration) {
	if end != dhcp.Never {
		c.p.mrd = max(1, end-now) // 0 would be no limit
	}
}

// failed reports whether the exchange has come to its end (RFC 8415 section 15).
func (c *Client) failed(now time.Duration) bool {
	return c.p.mrc > 0 && c.count >= c.p.mrc || c.p.mrd > 0 && c.count > 0 && now-c.start >= c.p.mrd
}

// giveUp goes on without an answer.
func (c *Client) giveUp(now time.Duration) {
	switch c.state {
	case Requesting:
		c.restart(now, c.refused, "the server does not answer any more")
		c.refused++
	case Renewing:
		c.begin(now, Rebinding, rebind, "the server does not renew the lease")
		c.limit(now, c.lease.expires())
		c.transmit(now)
	case Rebinding, Confirming: // to verify; otherwise it ends with the lease
		c.bound("no server answers; the lease goes on")
	case Declining, Releasing:
		c.gaveBack(now)
	case Down, Soliciting, Bound, Released, Informing, Informed:
	}
}

func (c *Client) bound(why string) {
	c.previous = false
	c.enter(Bound, c.lease.T1, why)
}

// gaveBack goes on after a Decline or a Release.
func (c *Client) gaveBack(now time.Duration) {
	c.given, c.givenPD = nil, nil
	switch {
	case c.state == Releasing:
		c.enter(Released, dhcp.Never, "released")
	case c.lease != nil:
		c.bound("an address was declined")
		if c.cfg.Addresses && len(c.lease.Addrs) == 0 { // there is a prefix, but what it was about is lacking
			c.next = min(c.next, now+backOff(c.declined))
		}
	default:
		c.restart(now, c.declined, "somebody else has the address")
	}
}
