package tun

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func fromFD(fd int, c FDConfig) (Link, error) {
	offload, err := inspectFD(fd, &c)
	if err != nil {
		return nil, fmt.Errorf("tun: link from descriptor %d: %w", fd, err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("tun: link from descriptor %d: %w", fd, err)
	}
	f := os.NewFile(uintptr(fd), c.Name)
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("tun: link from descriptor %d: %w", fd, err)
	}
	return newFDLink(fdConfig{
		name: c.Name, layer: c.Layer, mtu: c.MTU, vnet: c.VNetHdr, offload: offload,
		file: f, conn: conn, closer: f.Close,
	}), nil
}

// inspectFD completes the description of a descriptor by what the descriptor says of
// itself, refuses one that contradicts it, and returns what can be offloaded.
func inspectFD(fd int, c *FDConfig) (Offload, error) {
	all := OffloadCsum | OffloadTCP4 | OffloadTCP6 | OffloadUDP
	ifr, _ := unix.NewIfreq("")
	if unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr) != nil { // no TUN or TAP
		if c.Layer == 0 {
			return 0, errors.New("not a TUN or TAP device: what frames begin with has to be given")
		}
		if c.Name == "" {
			c.Name = "fd"
		}
		if !c.VNetHdr {
			all = 0
		}
		return all, nil
	}
	if c.Name == "" {
		c.Name = ifr.Name()
	}
	flags := ifr.Uint16()
	layer := tunLayer(flags & (unix.IFF_TUN | unix.IFF_TAP))
	switch {
	case c.Layer != 0 && c.Layer != layer:
		return 0, fmt.Errorf("device %s is of the other layer", ifr.Name())
	case flags&unix.IFF_NO_PI == 0:
		return 0, fmt.Errorf("device %s was made without IFF_NO_PI", ifr.Name())
	case c.VNetHdr != (flags&unix.IFF_VNET_HDR != 0):
		return 0, fmt.Errorf("device %s: IFF_VNET_HDR is %t, not %t", ifr.Name(), !c.VNetHdr, c.VNetHdr)
	}
	c.Layer = layer
	if !c.VNetHdr {
		return 0, nil
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, vnetHdrLen); err != nil {
		return 0, fmt.Errorf("set the length of virtio_net_hdr: %w", err)
	}
	return setTunOffload(fd)
}
