package tun

import "fmt"

// TUNConfig describes a TUN device: a network interface of the operating system whose
// other side is the link. Frames are IP packets.
type TUNConfig struct {
	// Name is the interface's name: on Linux any of up to 15 octets, in which "%d" is
	// replaced by the first free number, and which is "tun%d" if empty; on macOS
	// "utun", or "utun" and a number. Link.Name returns what it became.
	Name string
	// MTU is in octets, from MinMTU to MaxMTU; 0 is DefaultMTU.
	MTU int
}

// TAPConfig describes a TAP device: as a TUN device, with Ethernet frames.
type TAPConfig struct {
	// Name is as in TUNConfig, and "tap%d" if empty.
	Name string
	// MTU is in octets, from MinMTU to MaxMTU; 0 is DefaultMTU.
	MTU int
}

// OpenTUN makes a TUN device, or attaches to a persistent one that nobody uses, and brings
// it up. Close removes what it made.
//
// On Linux it needs CAP_NET_ADMIN. The device belongs to the network namespace of the
// calling thread, and moves 64 KB segments unsplit both ways (virtio_net_hdr). If
// somebody deletes it, it is made anew under the same name, without what others had
// configured on it, and the link goes down and up again. On other systems packets are
// whole, the device is opened by wireguard/tun, and has to be brought up by its owner.
func OpenTUN(c TUNConfig) (Link, error) {
	if err := checkMTU(&c.MTU); err != nil {
		return nil, fmt.Errorf("tun: open TUN %q: %w", c.Name, err)
	}
	return openTUN(c)
}

// OpenTAP makes a TAP device, or attaches to a persistent one that nobody uses, and brings
// it up. Close removes what it made. All that OpenTUN says of Linux holds here; on other
// systems the error wraps errors.ErrUnsupported.
func OpenTAP(c TAPConfig) (Link, error) {
	if err := checkMTU(&c.MTU); err != nil {
		return nil, fmt.Errorf("tun: open TAP %q: %w", c.Name, err)
	}
	return openTAP(c)
}

// FDConfig describes a descriptor for FromFD.
type FDConfig struct {
	// Name is what Link.Name returns; if empty the name of the TUN or TAP device that the
	// descriptor is attached to, else "fd".
	Name string
	// Layer is what frames begin with; 0 is what the TUN or TAP device says.
	Layer Layer
	// MTU is in octets, from MinMTU to MaxMTU; 0 is DefaultMTU. The descriptor does not
	// tell it.
	MTU int
	// VNetHdr says that a virtio_net_hdr of 10 octets goes before each frame, both ways:
	// the device was made with IFF_VNET_HDR, the socket has PACKET_VNET_HDR. The link
	// then takes all offloads that the device allows.
	VNetHdr bool
}

// FromFD returns a link on an open descriptor, of which each read and write is one frame:
// a TUN or TAP device opened by someone else, an AF_PACKET socket, or a UNIX socket that
// keeps message boundaries. It owns the descriptor from then on; if the error is not
// nil, the caller still does.
//
// Other systems than Linux have not got it: the error wraps errors.ErrUnsupported.
//
// Of the device behind it only what reading and writing say is known: it never goes
// down by an Event until it is deleted, which ends Recv.
func FromFD(fd int, c FDConfig) (Link, error) {
	if err := checkMTU(&c.MTU); err != nil {
		return nil, fmt.Errorf("tun: link from descriptor: %w", err)
	}
	return fromFD(fd, c)
}

// checkMTU replaces a missing MTU and refuses an impossible one.
func checkMTU(mtu *int) error {
	if *mtu == 0 {
		*mtu = DefaultMTU
	}
	if *mtu < MinMTU || *mtu > MaxMTU {
		return fmt.Errorf("MTU %d is not within %d and %d", *mtu, MinMTU, MaxMTU)
	}
	return nil
}
