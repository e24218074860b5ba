package pvdtest

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/tun"
)

// A reassembler puts IPv4 datagrams together that the router has to see as a whole: those
// that NAT translates, since only the first fragment has ports (RFC 4787 REQ-14), and
// those for the router itself.
type reassembler struct {
	pending map[fragKey]*partial
}

type fragKey struct {
	src, dst [4]byte
	id       uint16
	proto    uint8
}

// A partial is a datagram of which not all has come.
type partial struct {
	since  time.Duration
	first  *packet // the fragment with offset 0
	pieces []piece // sorted, without overlap
	have   int     // octets of payload in pieces
	total  int     // octets of payload in all, -1 until the last one has come
}

type piece struct {
	at   int
	data []byte
}

// reassemble takes a fragment and returns the datagram if this was its last missing
// piece, else nil.
func (c *core) reassemble(p *packet) *packet {
	ip := p.ip()
	key := fragKey{[4]byte(ip[12:16]), [4]byte(ip[16:20]), binary.BigEndian.Uint16(ip[4:]), ip[9]}
	d := c.partialFor(key)
	if !d.add(p) {
		delete(c.frags.pending, key)
		c.drop(dropFragment)
		return nil
	}
	if d.first == nil || d.have != d.total {
		return nil
	}
	delete(c.frags.pending, key)
	whole := d.join()
	if whole == nil {
		c.drop(dropFragment)
	}
	return whole
}

// partialFor finds or begins a datagram. Old ones make room.
func (c *core) partialFor(key fragKey) *partial {
	if c.frags.pending == nil {
		c.frags.pending = make(map[fragKey]*partial)
	}
	now := c.clock.Monotonic()
	d := c.frags.pending[key]
	if d != nil && now-d.since <= reassemblyTimeout {
		return d
	}
	var oldest fragKey
	for k, o := range c.frags.pending {
		if now-o.since > reassemblyTimeout {
			delete(c.frags.pending, k)
			c.drop(dropFragment)
		} else if c.frags.pending[oldest] == nil || o.since < c.frags.pending[oldest].since {
			oldest = k
		}
	}
	if len(c.frags.pending) >= maxReassemblies {
		delete(c.frags.pending, oldest)
		c.drop(dropFragment)
	}
	d = &partial{since: now, total: -1}
	c.frags.pending[key] = d
	return d
}

// add takes a fragment. It is false if the fragments contradict each other, in which case
// all are discarded, as RFC 5722 does.
func (d *partial) add(p *packet) bool {
	ip := p.ip()
	bits := fragBits4(ip)
	at, data := int(bits&offsetMask)*8, ip[hlen4(ip):]
	end := at + len(data)
	last := bits&flagMF == 0
	if len(data) == 0 || end > 65535 || !last && len(data)%8 != 0 || len(d.pieces) == maxFragments {
		return false
	}
	if last {
		if d.total >= 0 && d.total != end {
			return false
		}
		d.total = end
	}
	if d.total >= 0 && end > d.total {
		return false
	}
	i, dup := slices.BinarySearchFunc(d.pieces, at, func(q piece, at int) int { return q.at - at })
	if dup && len(d.pieces[i].data) == len(data) {
		return true // the same piece again
	}
	if dup || i > 0 && d.pieces[i-1].at+len(d.pieces[i-1].data) > at ||
		i < len(d.pieces) && d.pieces[i].at < end {
		return false
	}
	q := p.clone()
	if at == 0 {
		d.first = q
	}
	d.pieces = slices.Insert(d.pieces, i, piece{at, q.ip()[hlen4(ip):]})
	d.have += len(data)
	return d.total < 0 || d.have <= d.total
}

// join makes the datagram, nil if it is too long.
func (d *partial) join() *packet {
	head := d.first.frame[:tun.EthernetHeaderLen+hlen4(d.first.ip())]
	total := len(head) - tun.EthernetHeaderLen + d.total
	if total > 65535 {
		return nil
	}
	frame := make([]byte, 0, tun.EthernetHeaderLen+total)
	frame = append(frame, head...)
	for _, q := range d.pieces {
		frame = append(frame, q.data...)
	}
	whole := *d.first
	whole.frame = frame
	ip := whole.ip()
	binary.BigEndian.PutUint16(ip[2:], uint16(total))
	binary.BigEndian.PutUint16(ip[6:], 0)
	putIP4Checksum(ip)
	return &whole
}
