package dhcp6

import (
	"encoding/binary"
	"math"
	"time"
)

// transmit sends the message of the exchange, for the first time or again, and sets when
// to do so next (RFC 8415 section 15).
func (c *Client) transmit(now time.Duration) {
	if c.count == 0 {
		c.start = now
	}
	c.packets = append(c.packets, c.message(now).Append(nil))
	mrt := c.p.mrt
	switch c.state {
	case Soliciting:
		mrt = c.solMaxRT
	case Informing:
		mrt = c.infMaxRT
	case Down, Requesting, Bound, Renewing, Rebinding, Confirming, Declining, Releasing, Released, Informed:
	}
	if c.count == 0 {
		// The first wait of a Solicit is no shorter than IRT (RFC 8415 section 18.2.1).
		c.rt = c.p.irt + c.randomly(c.p.irt, c.state == Soliciting)
	} else {
		c.rt = 2*c.rt + c.randomly(c.rt, false)
	}
	if mrt > 0 && c.rt > mrt {
		c.rt = mrt + c.randomly(mrt, false)
	}
	c.count++
	c.next = now + c.rt
	if c.p.mrd > 0 {
		c.next = min(c.next, c.start+c.p.mrd)
	}
}

// randomly returns RAND*d: up to a tenth more or less, or only more.
func (c *Client) randomly(d time.Duration, more bool) time.Duration {
	if more {
		return 1 + c.upTo(d/10)
	}
	return c.upTo(d/5) - d/10
}

func (c *Client) upTo(d time.Duration) time.Duration {
	return time.Duration(c.rand.Int64N(int64(d) + 1))
}

var messageTypes = map[State]Type{
	Soliciting: Solicit, Requesting: Request, Renewing: Renew, Rebinding: Rebind,
	Confirming: Confirm, Declining: Decline, Releasing: Release, Informing: InformationRequest,
}

// message makes the message of the state (RFC 8415 section 18.2).
func (c *Client) message(now time.Duration) *Message {
	m := &Message{Type: messageTypes[c.state], XID: c.xid}
	add := func(code uint16, data []byte) { m.Options = append(m.Options, Option{code, data}) }
	if c.state != Informing { // which needs none, and tells nobody who asks (RFC 7844 section 4.3.1)
		add(optClientID, c.cfg.DUID)
	}
	elapsed := min((now-c.start)/(10*time.Millisecond), math.MaxUint16)
	add(optElapsed, binary.BigEndian.AppendUint16(nil, uint16(elapsed)))
	var na, pd []Item
	if c.lease != nil {
		na, pd = c.lease.Addrs, c.lease.Prefixes
	}
	switch c.state {
	case Soliciting:
		if c.cfg.RapidCommit {
			add(optRapidCommit, nil)
		}
	case Requesting:
		add(optServerID, c.offer.server)
		if c.lease == nil {
			na, pd = c.offer.items(optIANA), c.offer.items(optIAPD)
		}
	case Renewing:
		add(optServerID, c.lease.Server)
	case Confirming:
		add(optIANA, c.association(optIANA, na))
		return m
	case Declining, Releasing:
		add(optServerID, c.giver)
		if len(c.given) > 0 {
			add(optIANA, c.association(optIANA, c.given))
		}
		if len(c.givenPD) > 0 {
			add(optIAPD, c.association(optIAPD, c.givenPD))
		}
		return m
	case Informing:
		add(optRequested, codes(optDNS, optSearch, optPortal, optResolver, optRefresh, optInfMaxRT))
		return m
	case Down, Bound, Rebinding, Released, Informed:
	}
	add(optRequested, codes(optDNS, optSearch, optPortal, optResolver, optSolMaxRT))
	if c.cfg.Addresses {
		add(optIANA, c.association(optIANA, na))
	}
	if c.cfg.Prefixes {
		add(optIAPD, c.association(optIAPD, pd))
	}
	return m
}

func codes(cs ...uint16) (b []byte) {
	for _, c := range cs {
		b = binary.BigEndian.AppendUint16(b, c)
	}
	return b
}

// association makes an IA option's data. Its times are 0: it is the server that sets them
// (RFC 8415 section 21.4).
func (c *Client) association(code uint16, items []Item) []byte {
	b := binary.BigEndian.AppendUint32(nil, c.cfg.IAID)
	b = append(b, make([]byte, 8)...)
	for _, i := range items {
		a := i.Prefix.Addr().As16()
		o := Option{Code: optIAAddr, Data: append(a[:], make([]byte, 8)...)}
		if code == optIAPD {
			o = Option{Code: optIAPrefix, Data: append(append(make([]byte, 8), byte(i.Prefix.Bits())), a[:]...)}
		}
		b = appendOptions(b, []Option{o})
	}
	return b
}
