package tun

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	wgtun "golang.zx2c4.com/wireguard/tun"
)

const (
	tunPath = "/dev/net/tun"

	// What the kernel may leave to us of a frame that it sends, so that it hands over
	// segments of 64 KB: checksums, and cutting up TCP; since Linux 6.2 also UDP.
	tunOffloads    = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	tunOffloadsUDP = unix.TUN_F_USO4 | unix.TUN_F_USO6
)

// A tunDevice is a TUN or TAP device that one descriptor is attached to.
type tunDevice struct {
	kind  uint16 // unix.IFF_TUN or IFF_TAP
	name  string
	mtu   int
	conn  syscall.RawConn
	rtnl  *rtnl
	index int
}

func openTUN(c TUNConfig) (Link, error) {
	if c.Name == "" {
		c.Name = "tun%d"
	}
	l, err := openTunDevice(unix.IFF_TUN, c.Name, c.MTU, func(fd int) (*os.File, func() error, error) {
		// No goroutines of its own: those of CreateTUN would poll the device each second.
		d, _, err := wgtun.CreateUnmonitoredTUNFromFD(fd)
		if err != nil {
			return nil, nil, err
		}
		return d.File(), d.Close, nil
	})
	if err != nil {
		return nil, fmt.Errorf("tun: open TUN %q: %w", c.Name, err)
	}
	return l, nil
}

func openTAP(c TAPConfig) (Link, error) {
	if c.Name == "" {
		c.Name = "tap%d"
	}
	l, err := openTunDevice(unix.IFF_TAP, c.Name, c.MTU, func(fd int) (*os.File, func() error, error) {
		f := os.NewFile(uintptr(fd), tunPath)
		return f, f.Close, nil
	})
	if err != nil {
		return nil, fmt.Errorf("tun: open TAP %q: %w", c.Name, err)
	}
	return l, nil
}

// openTunDevice makes a device and a link on it. wrap makes a file of the descriptor,
// and tells how to close it; it owns the descriptor even if it fails.
func openTunDevice(kind uint16, name string, mtu int, wrap func(fd int) (*os.File, func() error, error)) (_ *fdLink, err error) {
	if err := checkInterfaceName(name); err != nil {
		return nil, err
	}
	fd, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", tunPath, err)
	}
	d := &tunDevice{kind: kind, mtu: mtu}
	if d.name, err = attachTun(fd, kind, name); err != nil {
		unix.Close(fd) // err says more
		return nil, err
	}
	file, closer, err := wrap(fd)
	if err != nil {
		return nil, err
	}
	var undo closers
	undo.add(closer)
	defer undo.unlessOK(&err)

	if d.conn, err = file.SyscallConn(); err != nil {
		return nil, err
	}
	if d.rtnl, err = openRTNL(); err != nil {
		return nil, err
	}
	undo.add(d.rtnl.close)
	watch, err := openLinkWatch()
	if err != nil {
		return nil, err
	}
	offload, err := d.setUp()
	if err != nil {
		watch.close() // err says more
		return nil, err
	}
	return newFDLink(fdConfig{
		name: d.name, layer: tunLayer(kind), vnet: true, offload: offload,
		file: file, conn: d.conn, closer: undo.all, dev: d, watch: watch,
	}), nil
}

// checkInterfaceName refuses what the kernel would cut off or refuse without a reason.
func checkInterfaceName(name string) error {
	switch {
	case len(name) >= unix.IFNAMSIZ:
		return fmt.Errorf("an interface's name has at most %d octets", unix.IFNAMSIZ-1)
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\r\v\f\x00"):
		return errors.New("this can not be the name of an interface")
	}
	return nil
}

func tunLayer(kind uint16) Layer {
	if kind == unix.IFF_TAP {
		return Ethernet
	}
	return IP
}

// attachTun attaches a descriptor of /dev/net/tun to the device of that name, which it
// makes if there is none, and returns the name it has. The device is in the network
// namespace in which the descriptor was opened.
func attachTun(fd int, kind uint16, name string) (string, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return "", err
	}
	ifr.SetUint16(kind | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	switch err := unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); {
	case errors.Is(err, unix.EPERM):
		return "", fmt.Errorf("make the device: %w (needs CAP_NET_ADMIN)", err)
	case errors.Is(err, unix.EBUSY):
		return "", fmt.Errorf("attach to the device: %w (somebody else has it open)", err)
	case errors.Is(err, unix.EINVAL):
		return "", fmt.Errorf("attach to the device: %w (an interface of another kind has this name)", err)
	case err != nil:
		return "", fmt.Errorf("make the device: %w", err)
	}
	return ifr.Name(), nil
}

// setUp gives a new device its properties and brings it up.
func (d *tunDevice) setUp() (Offload, error) {
	var offload Offload
	err := control(d.conn, func(fd int) (err error) {
		offload, err = setTunOffload(fd)
		return err
	})
	if err != nil {
		return 0, err
	}
	i, err := d.rtnl.byName(d.name)
	if err != nil {
		return 0, fmt.Errorf("find the new device: %w", err)
	}
	if err := d.rtnl.bringUp(i.index, d.mtu, TxQueueLen); err != nil {
		return 0, fmt.Errorf("set MTU %d and bring up: %w", d.mtu, err)
	}
	d.index = i.index
	return offload, nil
}

// setTunOffload asks for all offloads that a device has, and returns them.
func setTunOffload(fd int) (Offload, error) {
	if unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tunOffloads|tunOffloadsUDP) == nil {
		return OffloadCsum | OffloadTCP4 | OffloadTCP6 | OffloadUDP, nil
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tunOffloads); err != nil {
		return 0, fmt.Errorf("set offloads: %w", err)
	}
	return OffloadCsum | OffloadTCP4 | OffloadTCP6, nil
}

// state implements device.
func (d *tunDevice) state() (Event, bool) {
	i, err := d.rtnl.byIndex(d.index)
	switch {
	case err == nil:
		return linkState(i), false
	case !errors.Is(err, unix.ENODEV):
		return Event{MTU: d.mtu, Err: fmt.Errorf("%w: %w", ErrDown, err)}, false
	case d.attached():
		// It was moved to another network namespace, where it works as before, though
		// nobody tells us of its state.
		return Event{Up: true, MTU: d.mtu}, false
	}
	return Event{MTU: d.mtu, Err: errDeleted}, true
}

// attached reports whether the descriptor has a device.
func (d *tunDevice) attached() bool {
	return control(d.conn, func(fd int) error {
		ifr, err := unix.NewIfreq("")
		if err != nil {
			return err
		}
		return unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr)
	}) == nil
}

// revive implements device: it makes a deleted device anew.
func (d *tunDevice) revive() error {
	err := control(d.conn, func(fd int) error {
		if _, err := attachTun(fd, d.kind, d.name); err != nil {
			return err
		}
		// Who polls a device that is not up is woken when it comes up: the runtime's
		// poller, which after the deletion waits for nothing else than to be woken.
		unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0) // see noPollerRetry
		return nil
	})
	if err == nil {
		_, err = d.setUp()
	}
	if err != nil {
		return fmt.Errorf("can not be made anew: %w", err)
	}
	return nil
}

// closers undo what was opened, the last first.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) all() error {
	var errs []error
	for _, f := range slices.Backward(*c) {
		errs = append(errs, f())
	}
	*c = nil
	return errors.Join(errs...)
}

// unlessOK is deferred: it undoes all if the function returns an error.
func (c *closers) unlessOK(err *error) {
	if *err != nil {
		c.all() // *err says more
	}
}
