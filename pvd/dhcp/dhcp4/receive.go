package dhcp4

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"
)

// Reasons for which a message is ignored. The client waits on for a better one.
const (
	badMessage  = "malformed"
	badPort     = "not from a server's port"
	badOp       = "not a reply"
	badHardware = "to another hardware address"
	badClient   = "to another client identifier"
	badXID      = "to another transaction"
	badType     = "not a type that servers send"
	badState    = "not expected now"
	badServer   = "from another server"
	badOffer    = "an offer that can not be used"
	badAddr     = "another address than was asked for"
	forceRenew  = "DHCPFORCERENEW without authentication"
)

// Receive takes the payload of a datagram to port 68 that arrived on the link, with its
// source. It does not keep the payload.
func (c *Client) Receive(now time.Duration, src netip.AddrPort, payload []byte) {
	if reason := c.receive(now, src, payload); reason != "" {
		c.ignored[reason]++
	}
}

// receive returns why it has ignored the message, if it has.
func (c *Client) receive(now time.Duration, src netip.AddrPort, payload []byte) string {
	c.expire(now)
	if src.Port() != serverPort {
		return badPort
	}
	m, err := Parse(payload)
	if err != nil {
		return badMessage
	}
	if reason := c.notOurs(m); reason != "" {
		return reason
	}
	switch t := m.Type(); t {
	case Offer:
		return c.offered(now, m)
	case Ack:
		return c.acknowledged(now, m, payload)
	case Nak:
		return c.refused(now, m)
	case ForceRenew:
		return forceRenew
	default:
		return badType
	}
}

func (c *Client) notOurs(m *Message) string {
	id, hasID := m.Options[optClientID]
	switch {
	case m.Op != opReply:
		return badOp
	case m.HType != ethernet || m.HLen != macLen || [6]byte(m.Hardware[:6]) != c.cfg.HardwareAddr:
		return badHardware
	case hasID && !bytes.Equal(id, c.cfg.ClientID): // RFC 6842 section 3
		return badClient
	case m.XID != c.xid && m.Type() != ForceRenew: // which begins an exchange of its own
		return badXID
	}
	return ""
}

func (c *Client) offered(now time.Duration, m *Message) string {
	if c.state != Selecting {
		return badState
	}
	if wait, ok := c.v6Only(m); ok {
		c.drop()
		c.enter(V6Only, now+wait, "the network prefers IPv6 only")
		return ""
	}
	l, err := newLease(m, now)
	if err != nil {
		return badOffer
	}
	c.offer = l
	c.enter(Requesting, 0, "offered")
	c.request(now)
	return ""
}

// v6Only returns how long to do without IPv4, if the host can and the network asks for it
// (RFC 8925 section 3.2).
func (c *Client) v6Only(m *Message) (time.Duration, bool) {
	v := m.Options[optV6Only]
	if !c.cfg.IPv6Only || len(v) != 4 {
		return 0, false
	}
	return time.Duration(max(minV6OnlyWait, binary.BigEndian.Uint32(v))) * time.Second, true
}

func (c *Client) acknowledged(now time.Duration, m *Message, payload []byte) string {
	var asked *Lease
	switch c.state {
	case Requesting:
		asked = c.offer
	case Rebooting:
		asked = c.before
	case Renewing, Rebinding:
		asked = c.lease
	case Down, Init, Selecting, InitReboot, Probing, Bound, V6Only, Released:
		return badState
	}
	l, err := newLease(m, c.asked)
	switch {
	case err != nil || l.Expires <= now:
		return badOffer
	case l.Addr.Addr() != asked.Addr.Addr():
		return badAddr
	case l.Server != asked.Server && (c.state == Requesting || c.state == Renewing):
		return badServer
	}
	if wait, ok := c.v6Only(m); ok && c.state == Rebooting {
		c.drop()
		c.before = nil
		c.enter(V6Only, now+wait, "the network prefers IPv6 only")
		return ""
	}
	l.ack = bytes.Clone(payload)
	c.accept(now, l, "acknowledged")
	return ""
}

func (c *Client) refused(now time.Duration, m *Message) string {
	switch c.state {
	case Requesting, Renewing:
		asked := c.offer
		if c.state == Renewing {
			asked = c.lease
		}
		if !bytes.Equal(m.Options[optServer], asked.Server.AsSlice()) {
			return badServer
		}
	case Rebooting, Rebinding:
		if v := m.Options[optServer]; len(v) != 4 || !host(addrAt(v, 0)) {
			return badServer
		}
	case Down, Init, Selecting, InitReboot, Probing, Bound, V6Only, Released:
		return badState
	}
	c.drop()
	c.before = nil
	wait := doubled(nakWait, c.naks)
	c.naks++
	c.enter(Init, now+wait, "refused by the server")
	return ""
}
