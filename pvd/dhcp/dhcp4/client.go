package dhcp4

import (
	crand "crypto/rand"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp"
	"github.com/pvdstack/pvdstack/pvd/dhcp/acd"
)

// A Config says who the client is.
type Config struct {
	// HardwareAddr is that of the one interface that the client speaks on.
	HardwareAddr [6]byte

	// ClientID identifies the client to servers, 2 to 255 octets ([dhcp.ClientID4]).
	ClientID []byte

	// Rand is where transaction identifiers and delays come from. Nil: a source that
	// cannot be guessed, which is what keeps others from forging answers.
	Rand rand.Source

	// IPv6Only says that the host can do without IPv4 where the network asks for it
	// (RFC 8925).
	IPv6Only bool

	// Previous is a lease from before, to be confirmed rather than to begin anew
	// (INIT-REBOOT). It may be nil.
	Previous *Lease
}

// A State is one of RFC 2131 section 4.4, or of what the client does besides.
type State uint8

// States.
const (
	Down       State = iota // the link is down, or Start has not been called
	Init                    // about to look for a server, maybe after a wait
	Selecting               // a DHCPDISCOVER is out
	Requesting              // an offer has been asked for
	InitReboot              // about to ask for the address from before
	Rebooting               // that has been asked for
	Probing                 // the address is being checked for conflicts
	Bound
	Renewing
	Rebinding
	V6Only   // the network wants no IPv4 (RFC 8925); asked again later
	Released // the lease has been given back; nothing goes on
)

var stateNames = [...]string{
	"down", "init", "selecting", "requesting", "init-reboot", "rebooting", "probing",
	"bound", "renewing", "rebinding", "ipv6-only", "released",
}

// String returns the state's name.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// A Packet is the payload of a UDP datagram that is to be sent.
type Packet struct {
	Src, Dst netip.AddrPort
	Payload  []byte
}

// Broadcast reports whether the packet goes to the Ethernet broadcast address, as
// raw frame: its source may be 0.0.0.0. Otherwise it goes by the lease's routes. That which
// [Client.Release] sends may be the last from the lease's address: where the address goes at
// once, it has to be a frame to the station that the lease's DHCPACK came from.
func (p Packet) Broadcast() bool { return p.Dst.Addr() == limited }

var limited = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// A Client is a DHCPv4 client of one interface. See the package's comment; it is not safe
// for concurrent use.
//
// After each call, [Client.Packets] and [Client.ARPs] are to be sent, and [Client.Advance]
// is to be called at [Client.Next].
type Client struct {
	cfg  Config
	rand *rand.Rand

	state   State
	next    time.Duration // what Advance does at this time depends on state
	xid     uint32
	began   time.Duration // the exchange
	asked   time.Duration // the first request of this state: what a lease counts from
	secs    uint16        // of the last DHCPDISCOVER
	tries   int           // messages sent in this state
	offer   *Lease        // asked for, in Requesting; being checked, in Probing
	lease   *Lease        // in use
	before  *Lease        // from before the link went down or the program began
	acd     *acd.Machine  // nil: no address to watch over
	naks    int           // since the last lease
	taken   int           // conflicts since the link came up
	why     string
	packets []Packet
	ignored map[string]uint64
}

// New returns a client that does nothing before [Client.LinkUp].
func New(c Config) (*Client, error) {
	if n := len(c.ClientID); n < 2 || n > maxClientID {
		return nil, fmt.Errorf("dhcp4: client identifier of %d octets, it has 2 to %d", n, maxClientID)
	}
	if c.HardwareAddr[0]&1 != 0 || c.HardwareAddr == [6]byte{} {
		return nil, fmt.Errorf("dhcp4: hardware address %x is not a sender's", c.HardwareAddr)
	}
	c.ClientID = slices.Clone(c.ClientID)
	if c.Rand == nil {
		var seed [32]byte
		crand.Read(seed[:]) // never fails
		c.Rand = rand.NewChaCha8(seed)
	}
	return &Client{cfg: c, rand: rand.New(c.Rand), before: c.Previous, why: "not started", ignored: make(map[string]uint64)}, nil
}

// State returns the client's state, and why it is in it.
func (c *Client) State() (s State, why string) { return c.state, c.why }

// Lease returns the lease that is in use, nil if there is none. While the client looks
// whether it is still good (InitReboot and Rebooting, after [Client.LinkUp] or
// [Client.Resume]) it remains in use.
func (c *Client) Lease() *Lease { return c.lease }

// Tentative returns the lease whose address is being checked for conflicts before it is
// used, nil if there is none. Nothing must answer for the address yet.
func (c *Client) Tentative() *Lease {
	if c.state == Probing {
		return c.offer
	}
	return nil
}

// Ignored returns how many messages have been ignored for each reason. The reasons are a
// few constants. The caller owns the map.
func (c *Client) Ignored() map[string]uint64 { return maps.Clone(c.ignored) }

// Packets returns what is to be sent now. The caller owns it.
func (c *Client) Packets() []Packet {
	p := c.packets
	c.packets = nil
	return p
}

// ARPs returns the ARP packets to be sent now, to the Ethernet broadcast address. The
// caller owns them.
func (c *Client) ARPs() []acd.ARP {
	if c.acd == nil {
		return nil
	}
	return c.acd.Take()
}

// Next returns when Advance is to be called, and whether it is.
func (c *Client) Next() (at time.Duration, ok bool) {
	at = dhcp.Never
	if c.state != Down && c.state != Released {
		at = c.next
	}
	if l := c.held(); l != nil {
		at = min(at, l.Expires)
	}
	if c.asksAgain() {
		at = min(at, c.before.Expires)
	}
	if c.acd != nil && c.state != Down {
		if t, ok := c.acd.Next(); ok {
			at = min(at, t)
		}
	}
	return at, at != dhcp.Never
}

// held returns what ends by its lease time.
func (c *Client) held() *Lease {
	if c.state == Probing {
		return c.offer
	}
	return c.lease
}

// asksAgain reports whether the client is about to ask, or asks, for what was leased before.
func (c *Client) asksAgain() bool { return c.state == InitReboot || c.state == Rebooting }

// LinkUp begins, or begins again after [Client.LinkDown]: a lease that is not over is
// asked for again, since the link may lead elsewhere now (RFC 2131 section 3.7).
func (c *Client) LinkUp(now time.Duration) {
	c.naks, c.taken = 0, 0
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
	c.pause()
	if c.acd != nil {
		c.acd.Restart(now)
	}
	at := now + c.upTo(startDelay)
	if c.before != nil && c.before.Expires > now {
		c.enter(InitReboot, at, why)
		return
	}
	c.enter(Init, at, why)
}

// LinkDown says that nothing can be sent. A lease remains until it is over.
func (c *Client) LinkDown() {
	if c.state == Released {
		return
	}
	c.pause()
	c.enter(Down, dhcp.Never, "link down")
}

// pause ends what is going on, and remembers what has been leased.
func (c *Client) pause() {
	switch {
	case c.lease != nil:
		c.before = c.lease
	case c.state == Probing:
		c.before = c.offer
	}
	if c.lease == nil {
		c.acd = nil
	}
	c.offer, c.packets = nil, nil
}

// Release gives the lease back and ends the client's work until the next LinkUp. RFC 2131
// section 4.4.4 has that sent to the server alone; but while the address is being checked
// for conflicts nothing can be sent from it, and everybody hears.
func (c *Client) Release(now time.Duration) {
	if l := c.held(); l != nil && c.state != Down {
		c.xidNew(now)
		m := c.message(Release, now)
		m.Client, m.Options[optServer] = l.Addr.Addr(), l.Server.AsSlice()
		if c.state == Probing {
			c.broadcast(m)
		} else {
			c.send(m, l.Addr.Addr(), l.Server)
		}
	}
	c.drop()
	c.before = nil
	c.enter(Released, dhcp.Never, "released")
}

// drop forgets every address.
func (c *Client) drop() { c.lease, c.offer, c.acd = nil, nil, nil }

func (c *Client) enter(s State, next time.Duration, why string) {
	c.state, c.next, c.why, c.tries = s, next, why, 0
}

// expire ends what is over.
func (c *Client) expire(now time.Duration) {
	if c.before != nil && c.before.Expires <= now {
		c.before = nil
		if c.asksAgain() {
			c.enter(Init, now, "the lease from before is over")
		}
	}
	l := c.held()
	if l == nil || l.Expires > now {
		return
	}
	c.drop()
	if c.state != Down && c.state != Released {
		c.enter(Init, now, "the lease is over")
	}
}

// Advance does what is due at now, which may be later than Next has said.
func (c *Client) Advance(now time.Duration) {
	c.expire(now)
	if c.state == Down || c.state == Released {
		return
	}
	if c.acd != nil {
		c.acd.Advance(now)
		c.checked(now)
	}
	if now < c.next {
		return
	}
	switch c.state {
	case Init, V6Only:
		c.xidNew(now)
		c.enter(Selecting, 0, c.why)
		c.discover(now)
	case Selecting:
		c.discover(now)
	case Requesting:
		if c.tries == requestTries {
			c.offer = nil
			c.enter(Init, now, "the server does not answer any more")
			c.Advance(now)
			return
		}
		c.request(now)
	case InitReboot:
		c.xidNew(now)
		c.enter(Rebooting, 0, c.why)
		c.request(now)
	case Rebooting:
		if c.tries == rebootTries {
			// RFC 2131 section 3.2 allows to go on with it.
			c.accept(now, c.before, "no server answers; the lease from before goes on")
			return
		}
		c.request(now)
	case Bound:
		c.xidNew(now)
		c.enter(Renewing, 0, "half of the lease is over")
		c.renew(now)
	case Renewing, Rebinding:
		c.renew(now)
	case Probing, Down, Released:
	}
}

// accept takes a lease that may be used as far as servers are concerned.
func (c *Client) accept(now time.Duration, l *Lease, why string) {
	c.before = nil
	if c.lease != nil && c.acd != nil && c.lease.Addr.Addr() == l.Addr.Addr() {
		c.offer = nil
		c.bind(l, why)
		return
	}
	c.drop()
	c.offer = l
	c.enter(Probing, dhcp.Never, why)
	c.acd = acd.New(now, c.cfg.HardwareAddr, l.Addr.Addr(), c.cfg.Rand)
}

func (c *Client) bind(l *Lease, why string) {
	c.lease, c.offer, c.naks = l, nil, 0
	c.enter(Bound, l.T1, why)
}

// checked looks at what the conflict detection has come to.
func (c *Client) checked(now time.Duration) {
	switch s := c.acd.State(); {
	case s == acd.Conflict:
		c.conflict(now)
	case s.Usable() && c.state == Probing:
		c.bind(c.offer, c.why)
	}
}

// conflict gives an address back that somebody else has (RFC 2131 section 3.1.5).
func (c *Client) conflict(now time.Duration) {
	l := c.held()
	if l != nil {
		c.xidNew(now)
		m := c.message(Decline, now)
		m.Secs = 0
		m.Options[optServer] = l.Server.AsSlice()
		m.Options[optRequestedAddr] = l.Addr.Addr().AsSlice()
		c.send(m, netip.IPv4Unspecified(), limited)
	}
	c.drop()
	c.before = nil
	wait := declineWait
	if c.taken++; c.taken >= acd.MaxConflicts {
		wait = acd.RateLimitInterval
	}
	c.enter(Init, now+wait, "somebody else has the address")
}

// ReceiveARP takes note of an ARP packet that arrived on the link, to whomever.
func (c *Client) ReceiveARP(now time.Duration, a acd.ARP) {
	if c.acd != nil && c.state != Down {
		c.acd.Receive(now, a)
		c.checked(now)
	}
}
