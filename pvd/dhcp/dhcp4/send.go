package dhcp4

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// wanted are the options that servers are asked for. 121 goes before 3 and 33 (RFC 3442).
var wanted = []byte{
	optMask, optClasslessRoute, optRouters, optStaticRoutes, optDNS, optDomain, optSearch, optMTU,
	optLeaseTime, optT1, optT2, optPortal, optResolvers,
}

func (c *Client) xidNew(now time.Duration) { c.xid, c.began = c.rand.Uint32(), now }

// message returns a message with what all have.
func (c *Client) message(t Type, now time.Duration) *Message {
	m := &Message{
		Op: opRequest, HType: ethernet, HLen: macLen,
		XID:  c.xid,
		Secs: uint16(min(max(0, (now-c.began)/time.Second), 0xffff)),
		Options: map[byte][]byte{
			optType:     {byte(t)},
			optClientID: c.cfg.ClientID,
		},
	}
	copy(m.Hardware[:], c.cfg.HardwareAddr[:])
	if t == Discover || t == Request {
		m.Options[optWanted] = wanted
		if c.cfg.IPv6Only {
			m.Options[optWanted] = append([]byte{optV6Only}, wanted...)
		}
		m.Options[optMaxSize] = binary.BigEndian.AppendUint16(nil, maxSize)
	}
	return m
}

func (c *Client) send(m *Message, src, dst netip.Addr) {
	c.packets = append(c.packets, Packet{
		Src:     netip.AddrPortFrom(src, clientPort),
		Dst:     netip.AddrPortFrom(dst, serverPort),
		Payload: m.Append(nil),
	})
}

func (c *Client) broadcast(m *Message) { c.send(m, netip.IPv4Unspecified(), limited) }

func (c *Client) discover(now time.Duration) {
	m := c.message(Discover, now)
	c.secs = m.Secs
	c.broadcast(m)
	c.backOff(now)
}

// request asks for what has been offered, or for what was leased before (RFC 2131 section
// 4.3.2).
func (c *Client) request(now time.Duration) {
	m := c.message(Request, now)
	l := c.before
	if c.state == Requesting {
		l = c.offer
		m.Options[optServer] = l.Server.AsSlice()
		m.Secs = c.secs // so that relays treat both the same way (RFC 2131 section 4.4.1)
	}
	c.note(now)
	m.Options[optRequestedAddr] = l.Addr.Addr().AsSlice()
	c.broadcast(m)
	c.backOff(now)
}

// renew asks for more time: the server that gave the lease until T2, then anybody.
func (c *Client) renew(now time.Duration) {
	l := c.lease
	if c.state == Renewing && now >= l.T2 {
		c.xidNew(now)
		c.enter(Rebinding, 0, "the server does not renew the lease")
	}
	m := c.message(Request, now)
	m.Client = l.Addr.Addr()
	until, dst := l.T2, l.Server
	if c.state == Rebinding {
		until, dst = l.Expires, limited
	}
	c.send(m, m.Client, dst)
	c.note(now)
	c.tries++
	// RFC 2131 section 4.4.5: half of what is left, at least a minute. At the end the
	// state ends, too.
	c.next = min(until, now+max((until-now)/2, minRenewWait))
}

// backOff sets the time of the next try by RFC 2131 section 4.1.
func (c *Client) backOff(now time.Duration) {
	wait := doubled(firstWait, c.tries)
	c.tries++
	c.next = now + wait - jitter + c.upTo(2*jitter)
}

// doubled returns d doubled n times, at most maxWait.
func doubled(d time.Duration, n int) time.Duration {
	for ; n > 0 && d < maxWait; n-- {
		d *= 2
	}
	return min(d, maxWait)
}

func (c *Client) upTo(d time.Duration) time.Duration {
	return time.Duration(c.rand.Int64N(int64(d) + 1))
}

// note remembers when a request was sent first: the server's clock begins to run no
// earlier (RFC 2131 section 4.4.1).
func (c *Client) note(now time.Duration) {
	if c.tries == 0 {
		c.asked = now
	}
}
