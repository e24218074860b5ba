package tun

// Meta is what travels beside a frame when work was left to the receiver: the fields
// of virtio_net_hdr (OASIS virtio 1.2, section 5.1.6). The zero Meta is a whole packet
// with nothing left to do.
type Meta struct {
	Flags      Flags
	GSO        GSO
	HdrLen     uint16 // octets from the frame's start to the end of its transport header
	GSOSize    uint16 // octets of payload in each segment, when GSO is not None
	CsumStart  uint16 // where the checksum begins, from the frame's start
	CsumOffset uint16 // where it is stored, from CsumStart
}

// Flags are the flags of a Meta.
type Flags uint8

const (
	// NeedsCsum: the octets from CsumStart on have still to be summed; where the result
	// belongs the sum of the pseudo header stands.
	NeedsCsum Flags = 1
	// DataValid: the checksums have been verified.
	DataValid Flags = 2
)

// GSO says how a frame longer than the MTU is to be segmented.
type GSO uint8

// The values are those of virtio_net_hdr's gso_type.
const (
	GSONone GSO = 0
	GSOTCP4 GSO = 1
	GSOTCP6 GSO = 4
	GSOUDP  GSO = 5
)

// Offload is a set of the things that a link's Send accepts.
type Offload uint8

const (
	// OffloadCsum: frames with NeedsCsum.
	OffloadCsum Offload = 1 << iota
	// OffloadTCP4 and OffloadTCP6: frames with GSOTCP4, GSOTCP6; they imply OffloadCsum.
	OffloadTCP4
	OffloadTCP6
	// OffloadUDP: frames with GSOUDP.
	OffloadUDP
)
