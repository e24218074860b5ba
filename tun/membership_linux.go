package tun

import (
	"errors"
	"fmt"
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// A membership is what an interface is asked to receive for an AF_PACKET socket: frames
// to the addresses added, and all multicast while there is one, since which groups the
// addresses' owners are in nobody says here. Interfaces that can not filter by more
// than one address are made to receive everything.
type membership struct {
	// set sets or drops one membership of the socket (packet(7)).
	set    func(option int, kind uint16, a net.HardwareAddr) error
	always bool // multicast is received without an address, too

	mu    sync.Mutex
	macs  map[[6]byte]*member
	multi bool // multicast is received
}

// A member is one address.
type member struct {
	count int
	kind  int // of the membership that has it received; noKind if there is none
}

// noKind is what groups have, which multicast covers, and what addresses have that were
// added while there was no interface.
const noKind = -1

func newMembership(set func(int, uint16, net.HardwareAddr) error, always bool) *membership {
	return &membership{set: set, always: always, macs: make(map[[6]byte]*member)}
}

var errNotAdded = errors.New("it was not added")

func (m *membership) add(a net.HardwareAddr) error {
	if len(a) != 6 {
		return fmt.Errorf("an Ethernet address has 6 octets, not %d", len(a))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if one := m.macs[[6]byte(a)]; one != nil {
		one.count++
		return nil
	}
	one := &member{count: 1}
	if err := m.join([6]byte(a), one); err != nil {
		return err
	}
	m.macs[[6]byte(a)] = one
	if err := m.joinMulti(); err != nil {
		m.leave([6]byte(a), one)
		delete(m.macs, [6]byte(a))
		return err
	}
	return nil
}

func (m *membership) remove(a net.HardwareAddr) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var key [6]byte
	copy(key[:], a)
	one := m.macs[key]
	if one == nil || len(a) != len(key) {
		return errNotAdded
	}
	if one.count--; one.count > 0 {
		return nil
	}
	m.leave(key, one)
	delete(m.macs, key)
	if m.multi && len(m.macs) == 0 && !m.always {
		m.multi = false
		m.set(unix.PACKET_DROP_MEMBERSHIP, unix.PACKET_MR_ALLMULTI, nil) // goes with the interface
	}
	return nil
}

// renew asks an interface that is new to the socket for all.
func (m *membership) renew() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.multi = false
	errs := []error{m.joinMulti()}
	for a, one := range m.macs {
		errs = append(errs, m.join(a, one))
	}
	return errors.Join(errs...)
}

// join has frames to an address received. It is no error that there is no interface: one
// that comes is asked by renew.
func (m *membership) join(a [6]byte, one *member) error {
	one.kind = noKind
	if a[0]&1 != 0 {
		return nil
	}
	var errs []error
	for _, kind := range []uint16{unix.PACKET_MR_UNICAST, unix.PACKET_MR_PROMISC} {
		err := m.set(unix.PACKET_ADD_MEMBERSHIP, kind, a[:])
		if err == nil {
			one.kind = int(kind)
			return nil
		}
		if errors.Is(err, unix.ENODEV) {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (m *membership) leave(a [6]byte, one *member) {
	if one.kind != noKind {
		m.set(unix.PACKET_DROP_MEMBERSHIP, uint16(one.kind), a[:]) // goes with the interface
	}
}

// joinMulti has multicast received if somebody wants it.
func (m *membership) joinMulti() error {
	if m.multi || len(m.macs) == 0 && !m.always {
		return nil
	}
	switch err := m.set(unix.PACKET_ADD_MEMBERSHIP, unix.PACKET_MR_ALLMULTI, nil); {
	case errors.Is(err, unix.ENODEV):
	case err != nil:
		return fmt.Errorf("receive multicast: %w", err)
	default:
		m.multi = true
	}
	return nil
}
