package tun

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// packetFilter is what the kernel asks of each frame before it reaches an AF_PACKET link.
// The VLAN tag of a frame that arrived is not in the frame any more: without this one of
// VLAN 10 would read as if it had none.
var packetFilter = []bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtType},
	bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 6}, // and PACKET_LOOPBACK and later
	bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 4},
	bpf.LoadAbsolute{Off: 12, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_8021Q, SkipTrue: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_8021AD, SkipTrue: 1},
	bpf.RetConstant{Val: 1<<32 - 1}, // all of it
	bpf.RetConstant{Val: 0},
}

// A packetLink is an fdLink on an AF_PACKET socket, with what only such a link has.
type packetLink struct {
	*fdLink
	dev *packetDevice
}

var (
	_ Station        = (*packetLink)(nil)
	_ AddressChecker = (*packetLink)(nil)
)

func openPacket(c PacketConfig) (Link, error) {
	l, err := newPacketLink(c)
	if err != nil {
		return nil, fmt.Errorf("tun: open interface %q: %w", c.Interface, err)
	}
	return l, nil
}

func newPacketLink(c PacketConfig) (_ *packetLink, err error) {
	if err := checkInterfaceName(c.Interface); err != nil {
		return nil, err
	}
	var undo closers
	defer undo.unlessOK(&err)
	d := &packetDevice{name: c.Interface, ownMAC: c.OwnMAC}
	if d.rtnl, err = openRTNL(); err != nil {
		return nil, err
	}
	undo.add(d.rtnl.close)
	watch, err := openLinkWatch()
	if err != nil {
		return nil, err
	}
	undo.add(watch.close)
	file, err := openPacketSocket(c.Interface)
	if err != nil {
		return nil, err
	}
	undo.add(file.Close)
	if d.conn, err = file.SyscallConn(); err != nil {
		return nil, err
	}
	d.members = newMembership(d.setMember, c.OwnMAC)
	if err := d.attach(); err != nil {
		return nil, err
	}
	l := newFDLink(fdConfig{
		name: c.Interface, layer: Ethernet, vnet: true, offload: packetOffload(),
		file: file, conn: d.conn, closer: func() error { return errors.Join(file.Close(), d.rtnl.close()) },
		dev: d, watch: watch,
	})
	return &packetLink{l, d}, nil
}

// openPacketSocket opens a socket that receives nothing until it is bound, by which time
// its filter is in place.
func openPacketSocket(name string) (_ *os.File, err error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("open socket: %w (needs CAP_NET_RAW)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	if err := setUpPacketSocket(fd); err != nil {
		unix.Close(fd) // err says more
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func setUpPacketSocket(fd int) error {
	raw, err := bpf.Assemble(packetFilter)
	if err != nil {
		return fmt.Errorf("assemble filter: %w", err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filter[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return fmt.Errorf("set PACKET_VNET_HDR: %w", err)
	}
	// The filter drops those too; this, since Linux 4.20, saves it the work.
	unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1) // see above
	for force, plain := range map[int]int{unix.SO_SNDBUFFORCE: unix.SO_SNDBUF, unix.SO_RCVBUFFORCE: unix.SO_RCVBUF} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, packetBuffer) == nil {
			continue
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, plain, packetBuffer); err != nil {
			return fmt.Errorf("set socket buffer: %w", err)
		}
	}
	return nil
}

// packetOffload is what the kernel takes from an AF_PACKET socket with virtio_net_hdr.
// It knows UDP segmentation there since the version in which TUN learned it, and has no way
// to be asked.
func packetOffload() Offload {
	o := OffloadCsum | OffloadTCP4 | OffloadTCP6
	var u unix.Utsname
	var major, minor int
	if unix.Uname(&u) != nil {
		return o
	}
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		return o
	}
	if major > 6 || major == 6 && minor >= 2 {
		o |= OffloadUDP
	}
	return o
}

// HardwareAddr implements Link.
func (l *packetLink) HardwareAddr() net.HardwareAddr {
	if !l.dev.ownMAC {
		return nil
	}
	return l.dev.address()
}

// AddMAC implements Station.
func (l *packetLink) AddMAC(a net.HardwareAddr) error {
	if err := l.dev.members.add(a); err != nil {
		return fmt.Errorf("tun: receive frames to %v on %s: %w", a, l.name, err)
	}
	return nil
}

// RemoveMAC implements Station.
func (l *packetLink) RemoveMAC(a net.HardwareAddr) error {
	if err := l.dev.members.remove(a); err != nil {
		return fmt.Errorf("tun: receive no more frames to %v on %s: %w", a, l.name, err)
	}
	return nil
}

// CheckAddr implements AddressChecker.
func (l *packetLink) CheckAddr(a netip.Addr) error {
	if !l.dev.ownMAC {
		return nil
	}
	if err := l.dev.checkAddr(a); err != nil {
		return fmt.Errorf("tun: address %v on %s: %w", a, l.name, err)
	}
	return nil
}

// Losses implements LossCounter.
func (l *packetLink) Losses() Losses {
	n := l.fdLink.Losses()
	n.Overrun = l.dev.countOverrun()
	return n
}
