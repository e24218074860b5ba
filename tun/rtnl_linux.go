package tun

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An rtnl asks and tells the kernel about the interfaces of one network namespace, the
// one that the thread was in which opened it (rtnetlink(7)).
type rtnl struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	buf []byte
}

// rtnlReply is as long as one answer of the kernel may be: an interface with all its
// statistics and virtual functions takes a few KB, and netlink(7) recommends no more.
const rtnlReply = 32 << 10

func openRTNL() (*rtnl, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	// The kernel answers within the request's system call; the limit is for a kernel
	// that can not, for want of memory.
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}),
	)
	if err != nil {
		unix.Close(fd) // err says more
		return nil, fmt.Errorf("set up rtnetlink socket: %w", err)
	}
	return &rtnl{fd: fd, buf: make([]byte, rtnlReply)}, nil
}

func (r *rtnl) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	fd := r.fd
	r.fd = -1
	return unix.Close(fd)
}

// do sends a request and returns the payload of the answer, which is valid under the
// lock only: use reads it. A request whose answer is only an acknowledgement has flag
// NLM_F_ACK, and a nil use.
func (r *rtnl) do(typ, flags uint16, body []byte, use func([]byte)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	msg := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	*(*unix.NlMsghdr)(unsafe.Pointer(&msg[0])) = unix.NlMsghdr{
		Len: uint32(cap(msg)), Type: typ, Flags: unix.NLM_F_REQUEST | flags, Seq: r.seq,
	}
	if err := unix.Send(r.fd, append(msg, body...), 0); err != nil {
		return fmt.Errorf("rtnetlink request: %w", err)
	}
	for {
		n, _, err := unix.Recvfrom(r.fd, r.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("rtnetlink answer: %w", err)
		}
		msgs, err := syscall.ParseNetlinkMessage(r.buf[:n])
		if err != nil {
			return fmt.Errorf("rtnetlink answer: %w", err)
		}
		for _, m := range msgs {
			if m.Header.Seq != r.seq {
				continue // the answer to a request that was given up
			}
			if m.Header.Type != unix.NLMSG_ERROR {
				if use != nil {
					use(m.Data)
				}
				return nil
			}
			if code := -int32(binary.NativeEndian.Uint32(m.Data)); code != 0 {
				return syscall.Errno(code)
			}
			return nil
		}
	}
}

// appendAttr appends an attribute to a request.
func appendAttr(b []byte, typ uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, value...)
	for len(b)%unix.RTA_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}

func appendAttr32(b []byte, typ uint16, value uint32) []byte {
	return appendAttr(b, typ, binary.NativeEndian.AppendUint32(nil, value))
}

// eachAttr calls f for each attribute of an answer.
func eachAttr(b []byte, f func(typ uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			return
		}
		f(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:n])
		b = b[min(len(b), (n+unix.RTA_ALIGNTO-1)&^(unix.RTA_ALIGNTO-1)):]
	}
}

// An iface is what the kernel says of an interface.
type iface struct {
	index    int
	name     string
	mtu      int
	mac      net.HardwareAddr
	ethernet bool // its frames have Ethernet headers, and leave the machine
	admin    bool // set up
	running  bool // set up, and has a carrier
}

// byIndex describes an interface. The error is ENODEV if there is none.
func (r *rtnl) byIndex(index int) (iface, error) {
	return r.getLink(unix.IfInfomsg{Index: int32(index)}, nil)
}

// byName describes an interface. The error is ENODEV if there is none.
func (r *rtnl) byName(name string) (iface, error) {
	return r.getLink(unix.IfInfomsg{}, appendAttr(nil, unix.IFLA_IFNAME, append([]byte(name), 0)))
}

func (r *rtnl) getLink(info unix.IfInfomsg, attrs []byte) (i iface, err error) {
	err = r.do(unix.RTM_GETLINK, 0, append(infoBytes(info), attrs...), func(b []byte) {
		if len(b) < unix.SizeofIfInfomsg {
			return
		}
		h := *(*unix.IfInfomsg)(unsafe.Pointer(&b[0]))
		i.index = int(h.Index)
		i.ethernet = h.Type == unix.ARPHRD_ETHER
		i.admin = h.Flags&unix.IFF_UP != 0
		i.running = h.Flags&(unix.IFF_UP|unix.IFF_RUNNING) == unix.IFF_UP|unix.IFF_RUNNING
		eachAttr(b[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) {
			switch {
			case typ == unix.IFLA_IFNAME:
				i.name = unix.ByteSliceToString(v)
			case typ == unix.IFLA_MTU && len(v) == 4:
				i.mtu = int(binary.NativeEndian.Uint32(v))
			case typ == unix.IFLA_ADDRESS:
				i.mac = append(net.HardwareAddr(nil), v...)
			}
		})
	})
	if err == nil && i.index == 0 {
		err = errors.New("rtnetlink: answer without an interface")
	}
	return i, err
}

func infoBytes(info unix.IfInfomsg) []byte {
	b := make([]byte, unix.SizeofIfInfomsg)
	*(*unix.IfInfomsg)(unsafe.Pointer(&b[0])) = info
	return b
}

// bringUp sets an interface's MTU and transmit queue length, and then sets it up.
func (r *rtnl) bringUp(index, mtu, txQueueLen int) error {
	b := infoBytes(unix.IfInfomsg{Index: int32(index), Flags: unix.IFF_UP, Change: unix.IFF_UP})
	b = appendAttr32(b, unix.IFLA_MTU, uint32(mtu))
	b = appendAttr32(b, unix.IFLA_TXQLEN, uint32(txQueueLen))
	return r.do(unix.RTM_NEWLINK, unix.NLM_F_ACK, b, nil)
}

// Attributes of RTM_GETNETCONF (linux/netconf.h).
const (
	netconfaIfIndex    = 1
	netconfaForwarding = 2
	netconfIfIndexAll  = -1
)

// forwards reports whether the kernel forwards packets of the family that arrive on the
// interface, or on any (netconfIfIndexAll). A family that it lacks it does not forward.
func (r *rtnl) forwards(family byte, index int) (bool, error) {
	b := appendAttr32([]byte{family, 0, 0, 0}, netconfaIfIndex, uint32(index))
	on := false
	err := r.do(unix.RTM_GETNETCONF, 0, b, func(b []byte) {
		if len(b) < 4 {
			return
		}
		eachAttr(b[4:], func(typ uint16, v []byte) {
			if typ == netconfaForwarding && len(v) == 4 {
				on = binary.NativeEndian.Uint32(v) != 0
			}
		})
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	return on, err
}

// holds reports whether the kernel takes packets to addr for its own. The interface
// counts for link-local addresses only: the others it takes on all.
func (r *rtnl) holds(addr netip.Addr, index int) (bool, error) {
	b := make([]byte, unix.SizeofRtMsg)
	h := (*unix.RtMsg)(unsafe.Pointer(&b[0]))
	h.Family, h.Dst_len = unix.AF_INET, uint8(addr.BitLen())
	if addr.Is6() {
		h.Family = unix.AF_INET6
	}
	b = appendAttr(b, unix.RTA_DST, addr.AsSlice())
	if addr.IsLinkLocalUnicast() && addr.Is6() {
		b = appendAttr32(b, unix.RTA_OIF, uint32(index))
	}
	local := false
	err := r.do(unix.RTM_GETROUTE, 0, b, func(b []byte) {
		if len(b) < unix.SizeofRtMsg {
			return
		}
		switch (*unix.RtMsg)(unsafe.Pointer(&b[0])).Type {
		case unix.RTN_LOCAL, unix.RTN_ANYCAST:
			local = true
		}
	})
	if err == nil || local {
		return local, nil
	}
	// Any other answer is an address that the kernel has no way to, or no family for.
	for _, no := range []error{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EINVAL, unix.EACCES, unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.ENODEV} {
		if errors.Is(err, no) {
			return false, nil
		}
	}
	return false, err
}
