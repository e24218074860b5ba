package dns

import (
	"encoding/binary"
	"net"
	"net/netip"
	"time"

	wire "github.com/miekg/dns"
)

// A Cache is an [Asker] with answers at hand, as [Resolver.Cached] has them.
type Cache interface {
	Cached(b, query []byte) (reply []byte, ok bool)
}

// Cached appends to b what a [Stub] replies to a query by UDP, if the cache has the answer and
// it fits. It never waits and asks nobody. What is not a plain question it leaves alone, though
// [Resolver.Query] might have an answer.
func (r *Resolver) Cached(b, query []byte) (reply []byte, ok bool) {
	var p plainQuery
	if !p.read(query) {
		return b, false
	}
	v, err := r.view(r.conf.DNS())
	if err != nil {
		return b, false
	}
	a, age := v.cache.get(p.question, r.conf.Clock.Now)
	if a == nil {
		return b, false
	}
	if _, ok := special(p.name); ok {
		return b, false // somebody has asked for it all the same
	}
	return a.replyTo(b, &p, age)
}

// A plainQuery is a query with one question for a name as hosts have them, for which recursion
// is desired, and perhaps an OPT record.
type plainQuery struct {
	question
	msg  []byte
	end  int // of the question
	edns bool
	size int // of the longest reply
}

// Flags of messages, in octets 2 and 3, and of OPT records.
const (
	flagResponse  = 1 << 7
	flagRecursion = 1 << 0 // desired
	flagAvailable = 1 << 7 // recursion is
	flagAuthentic = 1 << 5
	flagUnchecked = 1 << 4
	maskRcode     = 0xf
	flagDNSSEC    = 1 << 15
)

// optLen is the length of an OPT record without options (RFC 6891 section 6.1.2).
const optLen = 11

// read reports whether msg is such a query.
func (p *plainQuery) read(msg []byte) bool {
	if len(msg) < headerLen || msg[2] != flagRecursion || binary.BigEndian.Uint16(msg[4:]) != 1 ||
		binary.BigEndian.Uint32(msg[6:]) != 0 || binary.BigEndian.Uint16(msg[10:]) > 1 {
		return false
	}
	var name [256]byte
	n, ok := readName(&name, msg[headerLen:])
	if !ok || len(msg) < headerLen+n+2+4 {
		return false
	}
	p.msg, p.end, p.size = msg, headerLen+n+2+4, wire.MinMsgSize
	p.question = question{
		name:  string(name[:n]),
		qtype: binary.BigEndian.Uint16(msg[p.end-4:]), class: binary.BigEndian.Uint16(msg[p.end-2:]),
		unchked: msg[3]&flagUnchecked != 0,
	}
	rest := msg[p.end:]
	if p.edns = msg[11] == 1; !p.edns {
		return len(rest) == 0
	}
	// The root, the type, the version and the length of the options.
	if len(rest) < optLen || rest[0] != 0 || binary.BigEndian.Uint16(rest[1:]) != wire.TypeOPT || rest[6] != 0 ||
		int(binary.BigEndian.Uint16(rest[9:])) != len(rest)-optLen {
		return false
	}
	p.size = min(max(p.size, int(binary.BigEndian.Uint16(rest[3:]))), maxStubDatagram)
	p.dnssec = binary.BigEndian.Uint16(rest[7:])&flagDNSSEC != 0
	return true
}

// readName reads a name that is not compressed and needs no escapes, in the form that
// questions have. It has two octets more in msg.
func readName(name *[256]byte, msg []byte) (n int, ok bool) {
	for i := 0; i < len(msg); {
		label := int(msg[i])
		if label == 0 {
			return max(n-1, 0), n > 1
		}
		if label > 63 || i+1+label > len(msg) || n+label+1 > 254 {
			return 0, false
		}
		for _, c := range msg[i+1 : i+1+label] {
			c = lower(c)
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return 0, false
			}
			name[n] = c
			n++
		}
		name[n] = '.'
		n++
		i += 1 + label
	}
	return 0, false
}

// A layout is where in a message is what replies have of their own.
type layout struct {
	end   int      // of all records but the OPT record, which comes last; 0: it is not known
	extra uint16   // how many of them are in the additional section
	ttls  []uint16 // where they are
	names []uint16 // where the name of the question stands again
}

// layoutOf returns it for an answer.
func layoutOf(msg []byte) (none layout) {
	_, at, err := wire.UnpackDomainName(msg, headerLen)
	if err != nil || binary.BigEndian.Uint16(msg[4:]) != 1 || at+4 > len(msg) {
		return none
	}
	name := msg[headerLen:at]
	l := layout{end: at + 4, extra: binary.BigEndian.Uint16(msg[10:])}
	records := int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:])) + int(l.extra)
	for i := range records {
		_, at, err := wire.UnpackDomainName(msg, l.end)
		if err != nil || at+10 > len(msg) {
			return none
		}
		switch binary.BigEndian.Uint16(msg[at:]) {
		case wire.TypeOPT:
			if i != records-1 || l.extra == 0 {
				return none
			}
			l.extra--
			return l
		case wire.TypeTSIG, wire.TypeSIG:
			return none
		}
		if at-l.end == len(name) && sameFold(name, msg[l.end:at]) {
			l.names = append(l.names, uint16(l.end))
		}
		l.ttls = append(l.ttls, uint16(at+4))
		l.end = at + 10 + int(binary.BigEndian.Uint16(msg[at+8:]))
		if l.end > len(msg) {
			return none
		}
	}
	return l
}

// sameFold reports whether two names on the wire, of one length, are the same.
func sameFold(a, b []byte) bool {
	for i := range a {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// replyTo appends the reply to a query, if it fits. It is [Stub]'s other way to the same.
func (a *answer) replyTo(b []byte, p *plainQuery, age time.Duration) ([]byte, bool) {
	l := a.layout.Load()
	if l == nil {
		made := layoutOf(a.msg)
		l = &made
		a.layout.Store(l)
	}
	size := l.end
	if p.edns {
		size += optLen
	}
	if l.end < p.end || size > p.size {
		return b, false
	}
	before := len(b)
	b = append(b, a.msg[:l.end]...)
	m := b[before:]
	copy(m, p.msg[:2])
	m[2] = flagResponse | flagRecursion
	m[3] = flagAvailable | p.msg[3]&flagUnchecked | a.msg[3]&maskRcode
	if p.dnssec || p.msg[3]&flagAuthentic != 0 {
		m[3] |= a.msg[3] & flagAuthentic
	}
	copy(m[headerLen:], p.msg[headerLen:p.end])
	for _, at := range l.names {
		copy(m[at:], p.msg[headerLen:p.end-4])
	}
	past := uint32(max(age, 0) / time.Second)
	for _, at := range l.ttls {
		ttl := uint32(min(seconds(binary.BigEndian.Uint32(m[at:])), maxTTL) / time.Second)
		binary.BigEndian.PutUint32(m[at:], ttl-min(ttl, past))
	}
	extra := l.extra
	if p.edns {
		var flags uint16
		if p.dnssec {
			flags = flagDNSSEC
		}
		b = append(b, 0, 0, byte(wire.TypeOPT), byte(udpSize>>8), byte(udpSize&0xff), 0, 0, byte(flags>>8), byte(flags), 0, 0)
		extra++
	}
	binary.BigEndian.PutUint16(b[before+10:], extra)
	return b, true
}

// serveUDP is ServePacket for a socket of the system's, where an answer that is at hand
// costs nothing but its way.
func (s *Stub) serveUDP(c *net.UDPConn) error {
	cache, _ := s.config.Asker.(Cache)
	buf, out := make([]byte, maxMessage), make([]byte, 0, maxMessage)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			if err = s.enduring(err); err != nil {
				return err
			}
			continue
		}
		if cache != nil {
			if reply, ok := cache.Cached(out, buf[:n]); ok {
				s.reply(c, from, reply)
				continue
			}
		}
		s.take(c, net.UDPAddrFromAddrPort(from), buf[:n])
	}
}

func (s *Stub) reply(c *net.UDPConn, to netip.AddrPort, b []byte) {
	if _, err := c.WriteToUDPAddrPort(b, to); err != nil && s.ctx.Err() == nil {
		s.log.Debug("an answer is lost", "op", "dns stub", "err", err)
	}
}
