// Package tun holds links: the places where frames enter and leave a stack in user
// space. A [Link] is a TUN or TAP device, an AF_PACKET socket on an interface, one end
// of a [Pipe] in memory, or one of these behind a decorator that records or impairs.
//
// The package knows nothing of stacks or of provisioning domains. Frames cross it in
// memory that the caller owns, up to 64 KB at a time: what a kernel hands over as one
// large segment (virtio_net_hdr) stays one, both ways.
package tun

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// A Layer says what a link's frames begin with.
type Layer uint8

const (
	// IP frames begin with an IPv4 or IPv6 header (TUN).
	IP Layer = iota + 1
	// Ethernet frames begin with an Ethernet header (TAP, AF_PACKET).
	Ethernet
)

// A Link carries frames in and out. Recv may be called by one goroutine at a time; all
// other methods by any number at once.
type Link interface {
	// Name returns the link's name as the operating system has it, or as it was given.
	Name() string

	// Layer returns what frames begin with. It never changes.
	Layer() Layer

	// MTU returns the largest network-layer packet, in octets, without the Ethernet
	// header. It may change; an Event says so.
	MTU() int

	// HardwareAddr returns the one address that all who send on the link have to use, nil
	// where each may have an address of its own or (an IP link) nobody has any.
	HardwareAddr() net.HardwareAddr

	// Offload returns what Send accepts beyond whole packets with whole checksums.
	Offload() Offload

	// Recv waits for one frame, writes it to bufs in their order, as much to each as it
	// holds, sets m to what the sender left to the receiver, and returns the frame's
	// length. A frame longer than bufs is dropped and counted by the link. The error
	// wraps net.ErrClosed after Close; Recv rides out anything less final, such as a
	// device that goes down, by itself.
	Recv(bufs [][]byte, m *Meta) (int, error)

	// Send sends one frame, the concatenation of bufs, which it does not keep. It does
	// not wait: the error is ErrFull when the link can take no more for the moment, and
	// otherwise says why this frame can not be sent.
	Send(bufs [][]byte, m Meta) error

	// WaitSend waits until a Send has a chance again, for at most d, or until cancel is
	// closed, and reports whether it has. A nil cancel never fires.
	WaitSend(d time.Duration, cancel <-chan struct{}) bool

	// Events returns the channel on which changes of the link's state arrive. It has one
	// reader, and is closed by Close. State changes that the reader is late for are
	// merged, so that the last one is always delivered.
	Events() <-chan Event

	// Close ends the link and every call in progress, and undoes what opening it made.
	// Calls after the first return nil.
	Close() error
}

// An Event is a link's state after a change.
type Event struct {
	Up  bool  // frames can pass
	MTU int   // as Link.MTU
	Err error // why the link is down, if known; nil when Up
}

// A Station is a link that filters what it receives by hardware address and has to be
// told which ones to let through, as AF_PACKET does. Additions are counted: an address
// passes until it has been removed as often as it was added.
type Station interface {
	AddMAC(net.HardwareAddr) error
	RemoveMAC(net.HardwareAddr) error
}

// An AddressChecker is a link that can tell that a network address must not be used on
// it, because the operating system would answer for it too. The error says why.
type AddressChecker interface {
	CheckAddr(netip.Addr) error
}

// Errors of links. Send's error may also be any that the operating system gave.
var (
	// ErrFull reports that a link can take no more frames for the moment.
	ErrFull = errors.New("tun: link is full")
	// ErrDown reports that a link is down: frames sent are lost.
	ErrDown = errors.New("tun: link is down")
	// ErrTooLong reports a frame longer than the link carries.
	ErrTooLong = errors.New("tun: frame too long")
)

// EthernetHeaderLen is the length of an Ethernet header, without VLAN tag.
const EthernetHeaderLen = 14

// MaxFrame is the length of the longest frame that any link carries: an IP packet of
// 65,535 octets behind an Ethernet header.
const MaxFrame = 65535 + EthernetHeaderLen
