package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
)

// device returns the name of the interface that a link is on, empty if it is not known.
func device(l config.Link) string {
	if l.Type == config.Packet {
		return l.Interface
	}
	return l.Device
}

// handedOver reports an error if a descriptor is not one that the process was started with:
// those that it has opened itself, and its runtime, are to be closed when a program begins.
func handedOver(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err == nil && flags&unix.FD_CLOEXEC != 0 {
		err = unix.EBADF
	}
	if err != nil {
		return fmt.Errorf("descriptor %d was not handed over to this process: %w", fd, err)
	}
	return nil
}

func (k *kernel) prepare(l config.Link) (undo func() error, err error) {
	var done []func() error
	revert := func() error {
		var errs []error
		for _, f := range slices.Backward(done) {
			if err := f(); err != nil && !gone(err) {
				errs = append(errs, fmt.Errorf("link %s: %w", l.Name, err))
			}
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, revert())
		}
	}()
	name := device(l)
	if name == "" {
		return revert, nil
	}
	dev, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	if f, err := bringUp(dev); err != nil {
		return nil, fmt.Errorf("bring %s up: %w", name, err)
	} else if f != nil {
		done = append(done, f)
	}
	if l.Host.Bridge != "" {
		f, err := joinBridge(dev, l.Host.Bridge)
		if err != nil {
			return nil, fmt.Errorf("put %s into bridge %s: %w", name, l.Host.Bridge, err)
		}
		done = append(done, f)
	}
	for _, p := range l.Host.Addresses {
		f, err := addAddress(dev, p)
		if err != nil {
			return nil, fmt.Errorf("give %s address %s: %w", name, p, err)
		}
		done = append(done, f)
	}
	k.prepared[name] = dev.Attrs().Index
	return revert, nil
}

// gone reports whether err says that there is nothing left to undo: the device went, or
// somebody was faster.
func gone(err error) bool {
	_, notFound := errors.AsType[netlink.LinkNotFoundError](err)
	return notFound || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EADDRNOTAVAIL)
}

// bringUp returns nil to undo an interface that was up.
func bringUp(dev netlink.Link) (undo func() error, err error) {
	if dev.Attrs().Flags&net.FlagUp != 0 {
		return nil, nil
	}
	if err := netlink.LinkSetUp(dev); err != nil {
		return nil, err
	}
	return func() error { return netlink.LinkSetDown(dev) }, nil
}

func joinBridge(dev netlink.Link, name string) (undo func() error, err error) {
	bridge, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	if bridge.Type() != "bridge" {
		return nil, fmt.Errorf("it is of type %q", bridge.Type())
	}
	if err := netlink.LinkSetMasterByIndex(dev, bridge.Attrs().Index); err != nil {
		return nil, err
	}
	return func() error { return netlink.LinkSetNoMaster(dev) }, nil
}

func addAddress(dev netlink.Link, p netip.Prefix) (undo func() error, err error) {
	a := &netlink.Addr{IPNet: &net.IPNet{
		IP:   p.Addr().AsSlice(),
		Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}}
	if err := netlink.AddrAdd(dev, a); err != nil {
		return nil, err
	}
	return func() error { return netlink.AddrDel(dev, a) }, nil
}

// keep sets the kernel's side again of devices that were deleted and made anew, which
// have lost it.
func (k *kernel) keep(ctx context.Context, links []config.Link, log *slog.Logger) error {
	made := make(map[string]config.Link)
	for _, l := range links {
		if l.Type == config.TUN || l.Type == config.TAP {
			made[l.Device] = l
		}
	}
	if len(made) == 0 {
		<-ctx.Done()
		return nil
	}
	for ctx.Err() == nil {
		if err := k.watch(ctx, made, log); err != nil {
			return fmt.Errorf("watch interfaces: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchPause):
		}
	}
	return nil
}

// watch returns when ctx ends, or when the kernel had more to tell than there was room
// for.
func (k *kernel) watch(ctx context.Context, made map[string]config.Link, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	updates := make(chan netlink.LinkUpdate)
	// Those that exist are told first, so none made anew before now is missed.
	if err := netlink.LinkSubscribeWithOptions(updates, ctx.Done(), netlink.LinkSubscribeOptions{ListExisting: true}); err != nil {
		return err
	}
	for u := range updates {
		l, ours := made[u.Attrs().Name]
		if ours && u.Header.Type == unix.RTM_NEWLINK && u.Attrs().Index != k.prepared[l.Device] {
			k.prepareAgain(l, log)
		}
	}
	return nil
}

// prepareAgain leaves nothing to undo: a device that was made goes with its link.
func (k *kernel) prepareAgain(l config.Link, log *slog.Logger) {
	if _, err := k.prepare(l); err != nil {
		// It may be gone again, and if not there will be another update.
		log.Warn("cannot set the kernel's side again", "link", l.Name, "op", "prepare", "err", err)
		return
	}
	log.Info("kernel's side set again", "link", l.Name)
}
