package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	wgtun "golang.zx2c4.com/wireguard/tun"

	"github.com/pvdstack/pvdstack/tun"
)

// Kinds of links.
const (
	linkTUN    = "tun"
	linkTAP    = "tap"
	linkPacket = "packet"
)

// txQueueLen is the transmit queue of every interface, in packets.
const txQueueLen = 4096

// A testbed makes links to the peer, each with an address of its own.
type testbed struct {
	peer  *peer
	mtu   int
	links int
}

// next returns the name and addresses of the next link.
func (t *testbed) next() (string, attachment) {
	t.links++
	return fmt.Sprintf("bench%d", t.links), attachmentOf(t.links)
}

// open makes a link of some kind, of which the peer's kernel is the other side.
func (t *testbed) open(kind string) (tun.Link, attachment, error) {
	name, a := t.next()
	l, err := t.openNamed(kind, name)
	if err != nil {
		return nil, a, err
	}
	if err := t.addressPeer(name, a); err != nil {
		return nil, a, errors.Join(err, l.Close())
	}
	return l, a, nil
}

func (t *testbed) openNamed(kind, name string) (l tun.Link, err error) {
	switch kind {
	case linkTUN:
		err = t.peer.ns.do(func() error {
			l, err = tun.OpenTUN(tun.TUNConfig{Name: name, MTU: t.mtu})
			return err
		})
	case linkTAP:
		err = t.peer.ns.do(func() error {
			l, err = tun.OpenTAP(tun.TAPConfig{Name: name, MTU: t.mtu})
			return err
		})
	default:
		if err = t.veth(name); err == nil {
			l, err = tun.OpenPacket(tun.PacketConfig{Interface: name})
		}
	}
	return l, err
}

// veth joins the two namespaces by a cable, both ends of which have the name.
func (t *testbed) veth(name string) error {
	return errors.Join(
		ownNamespace.ip("link add %s mtu %d txqueuelen %d type veth peer name %s mtu %d txqueuelen %d netns %d",
			name, t.mtu, txQueueLen, name, t.mtu, txQueueLen, t.peer.ns),
		ownNamespace.ip("link set %s up", name),
		t.peer.ns.ip("link set %s up", name),
	)
}

func (t *testbed) addressPeer(name string, a attachment) error {
	return errors.Join(
		t.peer.ns.ip("link set %s txqueuelen %d", name, txQueueLen),
		t.peer.ns.ip("addr add %v dev %s", a.peerPrefix(), name),
	)
}

// lanes makes the named engines that work on a kind of link, each on a link of its own.
func (t *testbed) lanes(ctx context.Context, kind string, engines []string) (lanes []lane, err error) {
	for _, name := range engines {
		if name == laneWireguard && kind != linkTUN {
			continue
		}
		e, a, err := t.engine(ctx, kind, name)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s on %s: %w", name, kind, err), closeLanes(lanes))
		}
		lanes = append(lanes, lane{name, e, a.peer})
	}
	return lanes, nil
}

// engine makes an engine by its name.
func (t *testbed) engine(ctx context.Context, kind, name string) (engine, attachment, error) {
	switch name {
	case laneWireguard:
		return t.openWireguard()
	case laneKernel:
		return t.openKernel()
	}
	l, a, err := t.open(kind)
	if err != nil {
		return nil, a, err
	}
	if name == laneHost {
		e, err := newHostEngine(ctx, l, a)
		return e, a, err
	}
	e, err := newBareEngine(l, a)
	return e, a, err
}

func (t *testbed) openWireguard() (engine, attachment, error) {
	name, a := t.next()
	var dev wgtun.Device
	err := t.peer.ns.do(func() (err error) {
		dev, err = wgtun.CreateTUN(name, t.mtu)
		return err
	})
	if err != nil {
		return nil, a, err
	}
	if err := errors.Join(t.addressPeer(name, a), t.peer.ns.ip("link set %s up", name)); err != nil {
		return nil, a, errors.Join(err, dev.Close())
	}
	e, err := newWireguardEngine(dev, a, t.mtu)
	return e, a, err
}

// openKernel joins the two kernels.
func (t *testbed) openKernel() (engine, attachment, error) {
	name, a := t.next()
	err := errors.Join(t.veth(name), t.addressPeer(name, a), ownNamespace.ip("addr add %v dev %s", a.prefix(), name))
	return &kernelEngine{}, a, err
}

func closeLanes(lanes []lane) (err error) {
	for _, l := range slices.Backward(lanes) {
		err = errors.Join(err, l.close())
	}
	return err
}
