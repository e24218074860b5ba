package ra

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// An address is one that the engine has made, as RFC 4862 has it.
type address struct {
	Address
	tries  int  // that were duplicates
	failed bool // all were: there is none

	// mostPreferred and mostValid bound a temporary address, whatever routers say (RFC 8981
	// section 3.4).
	mostPreferred, mostValid time.Duration
}

// An autoconf is what a PvD makes of one /64.
type autoconf struct {
	prefix    netip.Prefix
	stable    *address
	temporary []*address // the oldest first

	tries      int           // temporary addresses in a row that were duplicates
	gaveUp     bool          // on temporary addresses (RFC 8981 section 3.4)
	regenerate time.Duration // when the next temporary address is due; Infinite: not
}

var linkLocalPrefix = netip.MustParsePrefix("fe80::/64")

// autoconfigure makes the addresses of d what its prefixes say at this moment.
func (e *Engine) autoconfigure(now time.Duration, d *domain) {
	if d.linkLocal == nil {
		d.linkLocal = &address{}
		e.stableAddress(d, d.linkLocal, linkLocalPrefix, 0)
		d.linkLocal.Preferred, d.linkLocal.Valid = Infinite, Infinite
	}
	for _, p := range d.prefixes {
		if p.Autonomous && !slices.ContainsFunc(d.auto, func(c *autoconf) bool { return c.prefix == p.Prefix.Prefix }) {
			c := &autoconf{prefix: p.Prefix.Prefix, stable: &address{}}
			e.stableAddress(d, c.stable, c.prefix, 0)
			d.auto = append(d.auto, c)
		}
	}
	d.auto = slices.DeleteFunc(d.auto, func(c *autoconf) bool {
		preferred, valid := d.lifetimes(c.prefix)
		if valid <= now {
			return true
		}
		c.stable.last(now, preferred, valid)
		for _, a := range c.temporary {
			a.last(now, min(preferred, a.mostPreferred), min(valid, a.mostValid))
		}
		c.temporary = slices.DeleteFunc(c.temporary, func(a *address) bool { return a.Valid <= now })
		if e.cfg.Temporary {
			e.regenerate(now, d, c)
		}
		return false
	})
}

// lifetimes are those of the addresses of a prefix: the longest that any router gives
// them, so that no router ends what another one vouches for.
func (d *domain) lifetimes(of netip.Prefix) (preferred, valid time.Duration) {
	for _, p := range d.prefixes {
		if p.Prefix.Prefix == of && p.Autonomous {
			preferred, valid = max(preferred, p.preferred), max(valid, p.Valid)
		}
	}
	return preferred, valid
}

func (a *address) last(now, preferred, valid time.Duration) {
	a.Preferred, a.Valid = preferred, valid
	a.Deprecated = preferred <= now
}

// stableAddress makes a the address with an attempt's identifier, or of the next one that
// may be used.
func (e *Engine) stableAddress(d *domain, a *address, of netip.Prefix, attempt uint8) {
	counter := attempt
	for range 256 {
		if id := e.cfg.Identifier(of, d.key, counter); !reserved(id) {
			a.Prefix = netip.PrefixFrom(join(of, id), of.Bits())
			a.Attempt = counter
			return
		}
		counter++
	}
	a.failed = true // the identifiers are no function of the counter
}

// regenerate gives c a new temporary address when it is time for one (RFC 8981 sections
// 3.4 and 3.5).
func (e *Engine) regenerate(now time.Duration, d *domain, c *autoconf) {
	c.regenerate = Infinite
	if c.gaveUp {
		return
	}
	if n := len(c.temporary); n > 0 {
		if at := c.temporary[n-1].mostPreferred - tempAdvance; at > now {
			c.regenerate = at
			return
		}
		c.tries = 0 // the one before was none's duplicate
	}
	e.temporaryAddress(now, d, c)
}

// temporaryAddress adds one to c, if it would be preferred for long enough.
func (e *Engine) temporaryAddress(now time.Duration, d *domain, c *autoconf) {
	preferred, valid := d.lifetimes(c.prefix)
	life := e.cfg.TemporaryPreferred
	life -= time.Duration(e.solicit.random() * tempDesync * float64(life)) // DESYNC_FACTOR
	a := &address{mostPreferred: now + life, mostValid: now + e.cfg.TemporaryValid}
	a.Temporary = true
	a.last(now, min(preferred, a.mostPreferred), min(valid, a.mostValid))
	if a.Preferred-now <= tempAdvance || len(c.temporary) >= MaxTemporary {
		return
	}
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], e.cfg.Random())
	if reserved(id) {
		id[0] ^= 0x80 // which none of the others has
	}
	a.Prefix = netip.PrefixFrom(join(c.prefix, id), c.prefix.Bits())
	c.temporary = append(c.temporary, a)
	c.regenerate = a.mostPreferred - tempAdvance
}

// Duplicate tells that another node has an address of a PvD (RFC 4862 section 5.4.5). The
// PvD gets another in its place, three times at most; then it goes without.
func (e *Engine) Duplicate(now time.Duration, of Key, addr netip.Addr) {
	e.advance(now)
	i := slices.IndexFunc(e.domains, func(d *domain) bool { return d.key == of })
	if i < 0 {
		return
	}
	d := e.domains[i]
	if !d.linkLocal.failed && d.linkLocal.Prefix.Addr() == addr {
		e.nextStable(now, d, d.linkLocal, linkLocalPrefix)
	}
	for _, c := range d.auto {
		if !c.stable.failed && c.stable.Prefix.Addr() == addr {
			e.nextStable(now, d, c.stable, c.prefix)
		}
		had := len(c.temporary)
		c.temporary = slices.DeleteFunc(c.temporary, func(a *address) bool { return a.Prefix.Addr() == addr })
		if len(c.temporary) < had {
			e.nextTemporary(now, d, c)
		}
	}
	e.update(now, d)
}

func (e *Engine) nextStable(now time.Duration, d *domain, a *address, of netip.Prefix) {
	a.tries++
	if a.tries > retries {
		a.failed = true
		e.reject(now, d.routerAddr(), "prefix "+of.String()+" of "+d.key.String()+
			": every address of it is another node's (RFC 7217 section 6)")
		return
	}
	e.stableAddress(d, a, of, a.Attempt+1)
}

func (e *Engine) nextTemporary(now time.Duration, d *domain, c *autoconf) {
	c.tries++
	if c.tries > retries {
		c.gaveUp = true
		c.regenerate = Infinite
		e.reject(now, d.routerAddr(), "prefix "+c.prefix.String()+" of "+d.key.String()+
			": every temporary address of it is another node's (RFC 8981 section 3.4)")
		return
	}
	e.temporaryAddress(now, d, c)
}
