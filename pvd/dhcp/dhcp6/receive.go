package dhcp6

import (
	"bytes"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp"
)

// Reasons for which a message is ignored. The client waits on for a better one.
const (
	badMessage   = "malformed"
	badXID       = "to another transaction"
	badType      = "not a type that servers send"
	badState     = "not expected now"
	badServer    = "without server, or from another"
	badClient    = "to another client, or to none"
	badStatus    = "a status that leaves nothing to do"
	badAdvertise = "an advertisement of nothing that is wanted"
	badReply     = "a reply about nothing that was asked for"
	reconfigured = "Reconfigure without authentication"
)

// An offer is what a server has advertised.
type offer struct {
	server     []byte
	preference byte
	na, pd     association
	kinds      int // of what is wanted, how much there is
}

func (o *offer) items(code uint16) (items []Item) {
	from := o.na.items
	if code == optIAPD {
		from = o.pd.items
	}
	for _, i := range from {
		items = append(items, Item{Prefix: i.prefix})
	}
	return items
}

// better reports whether o goes before p (RFC 8415 section 18.2.9).
func (o *offer) better(p *offer) bool {
	if p == nil || o.preference != p.preference {
		return p == nil || o.preference > p.preference
	}
	return o.kinds > p.kinds
}

// Receive takes the payload of a datagram to port 546 that arrived on the link. It does
// not keep the payload.
func (c *Client) Receive(now time.Duration, payload []byte) {
	if reason := c.receive(now, payload); reason != "" {
		c.ignored[reason]++
	}
}

// receive returns why it has ignored the message, if it has.
func (c *Client) receive(now time.Duration, payload []byte) string {
	c.expire(now)
	m, err := Parse(payload)
	switch {
	case err != nil:
		return badMessage
	case m.Type == Reconfigure:
		return reconfigured
	case m.Type != Advertise && m.Type != Reply:
		return badType
	case messageTypes[c.state] == 0 || c.count == 0:
		return badState
	case m.XID != c.xid:
		return badXID
	}
	server, ok := get(m.Options, optServerID)
	if !ok || len(server) < minDUID || len(server) > maxDUID {
		return badServer
	}
	// RFC 8415 section 16: whom the answer is for, if the question said it.
	client, ok := get(m.Options, optClientID)
	if ok == (c.state == Informing) || ok && !bytes.Equal(client, c.cfg.DUID) {
		return badClient
	}
	// They count whatever else the message says (RFC 8415 section 18.2.9).
	c.solMaxRT = maxRT(m.Options, optSolMaxRT, c.solMaxRT)
	c.infMaxRT = maxRT(m.Options, optInfMaxRT, c.infMaxRT)
	if m.Type == Advertise {
		return c.advertised(now, m.Options, bytes.Clone(server))
	}
	return c.replied(now, m.Options, bytes.Clone(server))
}

// read reads what of the wanted associations a message has.
func (c *Client) read(options []Option, ps *problems) (o *offer) {
	o = &offer{}
	foreign := false
	read := func(want bool, code uint16) (a association) {
		if want {
			a, _ = readIA(options, code, c.cfg.IAID, ps)
		}
		if code == optIANA && len(a.items) > 0 && c.cfg.Accept != nil {
			a.items = slices.DeleteFunc(a.items, func(i lifetimes) bool { return !c.cfg.Accept(i.prefix.Addr()) })
			foreign = len(a.items) == 0
		}
		for _, i := range a.items {
			if i.valid > 0 {
				o.kinds++
				break
			}
		}
		return a
	}
	o.na, o.pd = read(c.cfg.Addresses, optIANA), read(c.cfg.Prefixes, optIAPD)
	if foreign { // what else it has is of another network, too
		return &offer{}
	}
	return o
}

func (c *Client) advertised(now time.Duration, options []Option, server []byte) string {
	if c.state != Soliciting {
		return badState
	}
	var ps problems
	o := c.read(options, &ps)
	if o.kinds == 0 || status(options) != Success || c.heard == maxAdvertises {
		return badAdvertise
	}
	c.heard++
	o.server = server
	if v, ok := get(options, optPreference); ok && len(v) == 1 {
		o.preference = v[0]
	}
	if o.better(c.offer) {
		c.offer = o
	}
	// The first wait collects; after it, or from the most preferred server, the first will
	// do (RFC 8415 section 18.2.1).
	if c.count > 1 || o.preference == 255 {
		c.ask(now)
		c.transmit(now)
	}
	return ""
}

// ask begins to ask the server of c.offer.
func (c *Client) ask(now time.Duration) { c.begin(now, Requesting, request, "advertised") }

func (c *Client) replied(now time.Duration, options []Option, server []byte) string {
	switch c.state {
	case Soliciting:
		if _, ok := get(options, optRapidCommit); !ok || !c.cfg.RapidCommit {
			return badState
		}
	case Requesting:
		if !bytes.Equal(server, c.offer.server) {
			return badServer
		}
	case Renewing:
		if !bytes.Equal(server, c.lease.Server) {
			return badServer
		}
	case Confirming:
		return c.confirmed(now, options)
	case Declining, Releasing:
		if !bytes.Equal(server, c.giver) {
			return badServer
		}
		c.gaveBack(now)
		return ""
	case Informing:
		return c.informed(now, options)
	case Rebinding, Down, Bound, Released, Informed:
	}
	switch status(options) {
	case Success:
	case NotOnLink:
		c.restart(now, c.refused, "not on the link, says the server")
		c.refused++
		return ""
	default:
		return badStatus // sent again in its time (RFC 8415 section 18.2.10)
	}
	return c.granted(now, options, server)
}

// granted takes a lease, or more time for it (RFC 8415 section 18.2.10.1).
func (c *Client) granted(now time.Duration, options []Option, server []byte) string {
	var ps problems
	o := c.read(options, &ps)
	extends := c.state == Renewing || c.state == Rebinding
	switch {
	case extends && (o.na.status == NoBinding || o.pd.status == NoBinding):
		o.server = server
		c.offer = o
		c.begin(now, Requesting, request, "the server knows of no lease")
		c.transmit(now)
		return ""
	case extends && len(o.na.items)+len(o.pd.items) == 0:
		return badReply
	case c.state == Soliciting && o.kinds == 0:
		return badReply // there may be other servers
	}
	l := &Lease{Server: server, Info: newInfo(options, now), options: recorded(options)}
	if c.lease != nil {
		l.Addrs, l.Prefixes = c.lease.Addrs, c.lease.Prefixes
	}
	l.Addrs = merge(l.Addrs, o.na.items, MaxAddrs, now)
	l.Prefixes = merge(l.Prefixes, o.pd.items, MaxPrefixes, now)
	if len(l.Addrs)+len(l.Prefixes) == 0 || c.state == Requesting && o.kinds == 0 {
		c.restart(now, c.refused, "the server gives nothing")
		c.refused++
		return ""
	}
	l.Problems = ps
	l.schedule(now, o.na, o.pd)
	c.lease, c.refused, c.offer = l, 0, nil
	c.bound("granted")
	return ""
}

func (c *Client) confirmed(now time.Duration, options []Option) string {
	switch status(options) {
	case Success:
		c.bound("confirmed")
		return ""
	case NotOnLink:
		c.lease = nil
		c.begin(now, Soliciting, solicit, "the lease is of another link")
		c.next += c.upTo(maxDelay)
		return ""
	default:
		return badStatus
	}
}

func (c *Client) informed(now time.Duration, options []Option) string {
	if status(options) != Success {
		return badStatus
	}
	c.info = newInfo(options, now)
	// Asked again from then on; it is over when nobody has answered for as long again.
	refresh := refreshTime(options, now)
	if refresh != dhcp.Never {
		c.info.Expires = refresh + (refresh - now)
	}
	c.enter(Informed, refresh, "informed")
	return ""
}
