package tun

// PacketConfig describes an AF_PACKET link: a share in an Ethernet interface of the
// operating system.
type PacketConfig struct {
	// Interface is the interface's name. There has to be one when the link is opened;
	// when it is deleted, another that gets the same name takes its place.
	Interface string

	// OwnMAC has all who send on the link use the interface's own hardware address, for
	// networks that admit only that one (Wi-Fi, many clouds' switches). The kernel
	// receives the same frames then: it answers for addresses it holds, forwards if it is
	// a router, and resets connections that it does not know. So OpenPacket refuses while
	// the kernel forwards, CheckAddr also addresses that the kernel holds, and the kernel
	// should have no address on the interface. By default each sender has an address of
	// its own, which the kernel ignores.
	OwnMAC bool
}

// OpenPacket returns a link on an Ethernet interface that the kernel keeps using: a raw
// socket (packet(7)) which moves 64 KB segments unsplit both ways (virtio_net_hdr).
// It needs Linux and CAP_NET_RAW; on other systems the error wraps
// errors.ErrUnsupported. The interface is that of the calling thread's network
// namespace, is not brought up (if it is down, the first Event says so), and is left as
// it was by Close.
//
// The link is a [Station]: it receives frames to addresses added, and multicast and
// broadcast while there is one. Frames to others' addresses may arrive as well. What the
// host itself sends on the interface does not arrive, nor does a frame with VLAN
// tag, which belongs to another network.
//
// With OwnMAC it is an [AddressChecker].
func OpenPacket(c PacketConfig) (Link, error) {
	return openPacket(c)
}
