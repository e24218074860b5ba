package daemon

import (
	"errors"
	"fmt"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/tun"
)

// kernel is the machine's own kernel. Its methods are called by one goroutine at a time.
type kernel struct {
	prepared map[string]int // the index of each interface that prepare was done to
}

var _ system = (*kernel)(nil)

func newKernel() *kernel { return &kernel{prepared: make(map[string]int)} }

// OpenLink opens a link, as [Run] does, for whoever wants nothing else. What undoes its
// kernel's side is for after the link has been closed.
func OpenLink(l config.Link) (link tun.Link, undo func() error, err error) {
	k := newKernel()
	if link, err = k.open(l); err != nil {
		return nil, nil, err
	}
	if undo, err = k.prepare(l); err != nil {
		return nil, nil, errors.Join(err, link.Close())
	}
	return link, undo, nil
}

func (*kernel) open(l config.Link) (tun.Link, error) {
	switch l.Type {
	case config.TUN:
		return tun.OpenTUN(tun.TUNConfig{Name: l.Device, MTU: l.MTU})
	case config.TAP:
		return tun.OpenTAP(tun.TAPConfig{Name: l.Device, MTU: l.MTU})
	case config.Packet:
		return tun.OpenPacket(tun.PacketConfig{Interface: l.Interface, OwnMAC: l.InterfaceMAC})
	case config.FD:
		if err := handedOver(l.FD); err != nil {
			return nil, err
		}
		c := tun.FDConfig{Name: l.Name, MTU: l.MTU, VNetHdr: l.VNetHdr}
		switch l.Layer {
		case config.IP:
			c.Layer = tun.IP
		case config.Ethernet:
			c.Layer = tun.Ethernet
		}
		return tun.FromFD(l.FD, c)
	}
	return nil, fmt.Errorf("links of type %q do not exist", l.Type)
}
