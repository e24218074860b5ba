package tun

import (
	"encoding/binary"
	"time"
)

// Blocks and options of pcapng (draft-ietf-opsawg-pcapng).
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockStats     = 5
	blockPacket    = 6
	byteOrderMagic = 0x1a2b3c4d

	linkTypeEthernet = 1
	linkTypeRaw      = 101 // begins with an IPv4 or IPv6 header

	optEnd         = 0
	optComment     = 1
	optApplication = 4 // of a section
	optName        = 2 // of an interface
	optResolution  = 9 // of an interface
	optFlags       = 2 // of a packet
	optReceived    = 4 // of statistics
	optOSDropped   = 7 // of statistics
	optDelivered   = 8 // of statistics
	resolutionNano = 9 // timestamps count 10^-9 s
)

// A block is a pcapng block under construction.
type block []byte

var le = binary.LittleEndian

// begin starts a block in the room of b.
func (b block) begin(kind uint32) block {
	b = le.AppendUint32(b[:0], kind)
	return le.AppendUint32(b, 0)
}

func (b block) u16(v uint16) block { return le.AppendUint16(b, v) }
func (b block) u32(v uint32) block { return le.AppendUint32(b, v) }

// stamp appends a timestamp in its odd order, high word first. Times before 1970, which
// a test's clock may well give, are taken as 1970.
func (b block) stamp(t time.Time) block {
	var ns uint64
	if t.Unix() >= 0 {
		ns = uint64(t.UnixNano())
	}
	return b.u32(uint32(ns >> 32)).u32(uint32(ns))
}

// pad fills up to a multiple of four octets.
func (b block) pad() block {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// text appends an option that is text.
func (b block) text(code uint16, s string) block {
	return append(b.u16(code).u16(uint16(len(s))), s...).pad()
}

// count appends an option that is a counter.
func (b block) count(code uint16, n uint64) block {
	return le.AppendUint64(b.u16(code).u16(8), n)
}

// end closes the options and the block.
func (b block) end() block {
	b = b.u16(optEnd).u16(0)
	n := uint32(len(b) + 4)
	le.PutUint32(b[4:], n)
	return b.u32(n)
}

// section is the block that begins the file.
func (b block) section() block {
	b = b.begin(blockSection).u32(byteOrderMagic).u16(1).u16(0)
	b = le.AppendUint64(b, ^uint64(0)) // length of the section: not given
	return b.text(optApplication, "pvdstack").end()
}

func (b block) iface(name string, layer Layer, snapLen int) block {
	linkType := uint16(linkTypeRaw)
	if layer == Ethernet {
		linkType = linkTypeEthernet
	}
	b = b.begin(blockInterface).u16(linkType).u16(0).u32(uint32(snapLen)).text(optName, name)
	return append(b.u16(optResolution).u16(1), resolutionNano).pad().end()
}

func (b block) packet(id int, dir Direction, at time.Time, frame []byte, snapLen int) block {
	kept := frame[:min(len(frame), snapLen)]
	b = b.begin(blockPacket).u32(uint32(id)).stamp(at).u32(uint32(len(kept))).u32(uint32(len(frame)))
	b = append(b, kept...).pad()
	return b.u16(optFlags).u16(4).u32(uint32(dir) & 3).end()
}

func (b block) stats(id int, at time.Time, seen, written uint64, comment string) block {
	b = b.begin(blockStats).u32(uint32(id)).stamp(at)
	b = b.count(optReceived, seen).count(optOSDropped, seen-written).count(optDelivered, written)
	if comment != "" {
		b = b.text(optComment, comment)
	}
	return b.end()
}
