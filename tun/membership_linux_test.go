package tun_test

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pvdstack/pvdstack/tun"
)

// A fakeKernel keeps memberships, and refuses those of some kinds.
type fakeKernel struct {
	members map[string]int
	refuse  map[uint16]error
}

func (k *fakeKernel) set(option int, kind uint16, a net.HardwareAddr) error {
	if err := k.refuse[kind]; err != nil {
		return err
	}
	name := map[uint16]string{
		unix.PACKET_MR_UNICAST: "unicast ", unix.PACKET_MR_PROMISC: "promiscuous ", unix.PACKET_MR_ALLMULTI: "multicast",
	}[kind] + a.String()
	if option == unix.PACKET_ADD_MEMBERSHIP {
		k.members[name]++
		return nil
	}
	if k.members[name]--; k.members[name] < 0 {
		return fmt.Errorf("%s dropped more often than added", name)
	}
	if k.members[name] == 0 {
		delete(k.members, name)
	}
	return nil
}

func (k *fakeKernel) check(t *testing.T, when string, want ...string) {
	t.Helper()
	got := slices.Sorted(maps.Keys(k.members))
	if !slices.Equal(got, want) {
		t.Errorf("%s: memberships are %q, want %q", when, strings.Join(got, ", "), strings.Join(want, ", "))
	}
}

func TestMembershipFallsBack(t *testing.T) {
	k := &fakeKernel{members: map[string]int{}, refuse: map[uint16]error{unix.PACKET_MR_UNICAST: unix.EOPNOTSUPP}}
	s, renew := tun.NewMembership(k.set)
	add := func(a net.HardwareAddr) {
		t.Helper()
		if err := s.AddMAC(a); err != nil {
			t.Fatal(err)
		}
	}
	add(ourMAC)
	add(peerMAC)
	k.check(t, "interface without filter", "multicast", "promiscuous "+peerMAC.String(), "promiscuous "+ourMAC.String())
	if err := s.RemoveMAC(ourMAC); err != nil {
		t.Fatal(err)
	}
	k.check(t, "one removed", "multicast", "promiscuous "+peerMAC.String())

	// The next interface can filter; none is there in between.
	k.members = map[string]int{}
	k.refuse = map[uint16]error{unix.PACKET_MR_UNICAST: unix.ENODEV, unix.PACKET_MR_ALLMULTI: unix.ENODEV}
	add(ourMAC)
	k.check(t, "no interface")
	k.refuse = nil
	if err := renew(); err != nil {
		t.Fatal(err)
	}
	k.check(t, "interface with filter", "multicast", "unicast "+peerMAC.String(), "unicast "+ourMAC.String())
	for _, a := range []net.HardwareAddr{ourMAC, peerMAC} {
		if err := s.RemoveMAC(a); err != nil {
			t.Fatal(err)
		}
	}
	k.check(t, "all removed")
}

func TestMembershipOfGroups(t *testing.T) {
	k := &fakeKernel{members: map[string]int{}}
	s, _ := tun.NewMembership(k.set)
	if err := s.AddMAC(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}); err != nil {
		t.Fatal(err)
	}
	k.check(t, "a group", "multicast")
	k.refuse = map[uint16]error{unix.PACKET_MR_UNICAST: unix.EPERM, unix.PACKET_MR_PROMISC: unix.EPERM}
	if err := s.AddMAC(ourMAC); !errors.Is(err, unix.EPERM) {
		t.Errorf("an address that can not be received: %v, want %v", err, unix.EPERM)
	}
	if err := s.RemoveMAC(ourMAC); err == nil {
		t.Error("an address that could not be added was removed")
	}
}
