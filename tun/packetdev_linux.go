package tun

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A packetDevice is the interface that an AF_PACKET socket is bound to.
type packetDevice struct {
	name    string
	ownMAC  bool
	conn    syscall.RawConn
	rtnl    *rtnl
	members *membership

	mu      sync.Mutex
	bound   iface  // the interface, as it was seen last
	overrun uint64 // frames, by the kernel's count, which starts anew when read
}

// current returns the interface as it was seen last.
func (d *packetDevice) current() iface {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bound
}

func (d *packetDevice) see(i iface) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bound = i
}

func (d *packetDevice) address() net.HardwareAddr { return d.current().mac }

// state implements device. The interface may have got another name since it was bound.
func (d *packetDevice) state() (Event, bool) {
	i, err := d.rtnl.byIndex(d.current().index)
	switch {
	case err == nil:
		d.see(i)
		if i.running {
			d.forgetError()
		}
		return linkState(i), false
	case errors.Is(err, unix.ENODEV):
		return Event{MTU: d.current().mtu, Err: errDeleted}, true
	}
	return Event{MTU: d.current().mtu, Err: fmt.Errorf("%w: %w", ErrDown, err)}, false
}

// forgetError takes away the socket's record that the interface went down, which the
// next frame would be refused for, however long the interface is up again.
func (d *packetDevice) forgetError() {
	control(d.conn, func(fd int) error { // after Close there is none
		_, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		return err
	})
}

// revive implements device.
func (d *packetDevice) revive() error { return d.attach() }

// attach binds the socket to the interface of the device's name, and has the interface
// receive what the link is to.
func (d *packetDevice) attach() error {
	i, err := d.rtnl.byName(d.name)
	switch {
	case errors.Is(err, unix.ENODEV):
		return errors.New("there is no interface of this name")
	case err != nil:
		return err
	case !i.ethernet:
		return errors.New("not an Ethernet interface")
	}
	if d.ownMAC {
		if err := d.refuseForwarding(i); err != nil {
			return err
		}
	}
	to := unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: i.index}
	if err := control(d.conn, func(fd int) error { return unix.Bind(fd, &to) }); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	d.see(i)
	return d.members.renew()
}

// htons returns what is v in the network's octet order when stored in the machine's.
func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// setMember sets a membership of the socket in what the interface receives.
func (d *packetDevice) setMember(option int, kind uint16, a net.HardwareAddr) error {
	m := unix.PacketMreq{Ifindex: int32(d.current().index), Type: kind, Alen: uint16(len(a))}
	copy(m.Address[:], a)
	return control(d.conn, func(fd int) error {
		return unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, option, &m)
	})
}

// refuseForwarding returns an error if the kernel forwards what arrives on an interface:
// it would do so with all that comes for the hardware address it shares with the link.
func (d *packetDevice) refuseForwarding(i iface) error {
	for _, family := range []struct {
		number byte
		key    string
	}{{unix.AF_INET, "net.ipv4"}, {unix.AF_INET6, "net.ipv6"}} {
		for index, name := range map[int]string{netconfIfIndexAll: "all", i.index: i.name} {
			on, err := d.rtnl.forwards(family.number, index)
			if err != nil {
				return fmt.Errorf("ask whether the host forwards: %w", err)
			}
			if on {
				return fmt.Errorf("the host forwards (%s.conf.%s.forwarding), and would do so with packets that arrive "+
					"for the hardware address which it shares with the link: turn that off, or do without OwnMAC", family.key, name)
			}
		}
	}
	return nil
}

// checkAddr returns an error if the kernel would answer for a on the interface.
func (d *packetDevice) checkAddr(a netip.Addr) error {
	i := d.current()
	if err := d.refuseForwarding(i); err != nil {
		return err
	}
	held, err := d.rtnl.holds(a.Unmap().WithZone(""), i.index)
	if err != nil {
		return fmt.Errorf("ask whether the host holds it: %w", err)
	}
	if held {
		return errors.New("the host holds this address, and would reset the link's connections: remove it there, or do without OwnMAC")
	}
	return nil
}

// countOverrun returns how many frames were lost since the link was opened because the
// socket's buffer was full.
func (d *packetDevice) countOverrun() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	control(d.conn, func(fd int) error { // after Close the last count stands
		s, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err == nil {
			d.overrun += uint64(s.Drops)
		}
		return err
	})
	return d.overrun
}
