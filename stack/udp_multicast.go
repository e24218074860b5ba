package stack

import (
	"net/netip"
	"os"
	"sync"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// multicastOptions say how a socket sends to groups.
type multicastOptions struct {
	mu      sync.Mutex
	link    string // where; "" is the first link with an address of the family
	ttl     uint8  // 0 is 1
	notLoop bool
}

// via returns the link that datagrams to groups leave by, "" if none was named.
func (o *multicastOptions) via() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.link
}

func (o *multicastOptions) loops() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.notLoop
}

// hopLimit returns the hop limit of a datagram to dst.
func (o *multicastOptions) hopLimit(dst netip.Addr, unicast uint8) uint8 {
	if !dst.IsMulticast() {
		return unicast
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return max(o.ttl, 1)
}

// JoinGroup makes the socket receive what is sent to a multicast group on a link: the one
// named, else that of the group's zone, else the PvD's first with an address of the
// family.
func (c *UDPConn) JoinGroup(link string, group netip.Addr) error {
	return c.membership(link, group, func(m tcpip.MembershipOption) tcpip.Error {
		o := tcpip.AddMembershipOption(m)
		return c.ep.SetSockOpt(&o)
	})
}

// LeaveGroup undoes JoinGroup. Closing the socket does so too.
func (c *UDPConn) LeaveGroup(link string, group netip.Addr) error {
	return c.membership(link, group, func(m tcpip.MembershipOption) tcpip.Error {
		o := tcpip.RemoveMembershipOption(m)
		return c.ep.SetSockOpt(&o)
	})
}

func (c *UDPConn) membership(link string, group netip.Addr, change func(tcpip.MembershipOption) tcpip.Error) error {
	group = group.Unmap()
	if !group.IsMulticast() {
		return c.setError(os.NewSyscallError("setsockopt", syscall.EINVAL))
	}
	if link == "" {
		link = group.Zone()
	}
	group = group.WithZone("")
	nic, err := c.nicOfLink(link, group)
	if err != nil {
		return c.setError(err)
	}
	if err := c.d.enter(); err != nil {
		return c.setError(err)
	}
	defer c.d.leave()
	if err := c.failed(); err != nil {
		return c.setError(err)
	}
	if terr := change(tcpip.MembershipOption{NIC: nic, MulticastAddr: toAddr(group)}); terr != nil {
		return c.setError(stackError("setsockopt", terr))
	}
	return nil
}

// nicOfLink returns the NIC on a link of the PvD's. The empty name stands for the first
// link that can carry dst.
func (c *UDPConn) nicOfLink(link string, dst netip.Addr) (tcpip.NICID, error) {
	p := c.d.plan.Load()
	if link == "" {
		link = p.firstLink(dst)
	}
	l, ok := p.link(link)
	if !ok {
		return 0, os.NewSyscallError("setsockopt", syscall.ENETDOWN)
	}
	return l.nic, nil
}

// SetMulticastLink names the link by which datagrams to groups leave, where the
// destination has no zone. By default that is the PvD's first link with an address of
// the family.
func (c *UDPConn) SetMulticastLink(link string) error {
	if err := c.failed(); err != nil {
		return c.setError(err)
	}
	if link != "" {
		if _, err := c.nicOfLink(link, netip.Addr{}); err != nil {
			return c.setError(err)
		}
	}
	c.multicast.mu.Lock()
	defer c.multicast.mu.Unlock()
	c.multicast.link = link
	return nil
}

// SetMulticastTTL sets the TTL or hop limit of datagrams to groups, 1 to 255. It is 1 by
// default, which keeps them on the link.
func (c *UDPConn) SetMulticastTTL(ttl int) error {
	if err := c.failed(); err != nil {
		return c.setError(err)
	}
	if ttl < 1 || ttl > 255 {
		return c.setError(os.NewSyscallError("setsockopt", syscall.EINVAL))
	}
	c.multicast.mu.Lock()
	defer c.multicast.mu.Unlock()
	c.multicast.ttl = uint8(ttl)
	if terr := c.ep.SetSockOptInt(tcpip.MulticastTTLOption, ttl); terr != nil {
		return c.setError(stackError("setsockopt", terr))
	}
	return nil
}

// SetMulticastLoopback says whether datagrams to groups are also received by the PvD's
// own members. By default they are.
func (c *UDPConn) SetMulticastLoopback(on bool) error {
	if err := c.failed(); err != nil {
		return c.setError(err)
	}
	c.multicast.mu.Lock()
	defer c.multicast.mu.Unlock()
	c.multicast.notLoop = !on
	c.ep.SocketOptions().SetMulticastLoop(on)
	return nil
}
