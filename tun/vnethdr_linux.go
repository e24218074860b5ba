package tun

import "encoding/binary"

// vnetHdrLen is the length of a virtio_net_hdr without buffer count.
const vnetHdrLen = 10

// gsoFlagECN is a bit of gso_type: of the segments only the first has CWR set. To one who
// does not cut the frame up it says nothing, and on TUN and TAP it never comes, since it
// is not asked for.
const gsoFlagECN = 0x80

// putVnetHdr writes m as a virtio_net_hdr, in the machine's octet order as TUN, TAP and
// AF_PACKET have it.
func putVnetHdr(b *[vnetHdrLen]byte, m Meta) {
	b[0], b[1] = byte(m.Flags), byte(m.GSO)
	binary.NativeEndian.PutUint16(b[2:], m.HdrLen)
	binary.NativeEndian.PutUint16(b[4:], m.GSOSize)
	binary.NativeEndian.PutUint16(b[6:], m.CsumStart)
	binary.NativeEndian.PutUint16(b[8:], m.CsumOffset)
}

// parseVnetHdr reads a virtio_net_hdr, and reports whether it says what Meta can.
func parseVnetHdr(b *[vnetHdrLen]byte) (Meta, bool) {
	m := Meta{Flags: Flags(b[0]) & (NeedsCsum | DataValid), GSO: GSO(b[1] &^ gsoFlagECN)}
	switch m.GSO {
	case GSONone:
	case GSOTCP4, GSOTCP6, GSOUDP:
		m.HdrLen = binary.NativeEndian.Uint16(b[2:])
		m.GSOSize = binary.NativeEndian.Uint16(b[4:])
	default:
		return Meta{}, false
	}
	if m.Flags&NeedsCsum != 0 {
		m.CsumStart = binary.NativeEndian.Uint16(b[6:])
		m.CsumOffset = binary.NativeEndian.Uint16(b[8:])
	}
	return m, true
}
