package stack

import (
	"errors"
	"iter"
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	gports "gvisor.dev/gvisor/pkg/tcpip/ports"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/pvdstack/pvdstack/pvd"
)

// gVisor chooses ports in the range that it has been given, but knows nothing of what the
// other PvDs with the address have open outside of theirs: by an application's choice, or
// since before the ports were divided anew. So where an address is shared ports are chosen
// here.

// shares returns the PvD's part of the ephemeral ports if a socket at the address a, which
// may be unspecified, has to do with a shared address; else nil. Who is to act on it has
// entered the domain.
func (d *domain) shares(a netip.Addr) *portShare {
	s := d.share.Load()
	if s == nil {
		return nil
	}
	return s.concerning(a)
}

// claimPort calls claim with the port that is wanted for a flow or, if that is 0, with one
// after another of the PvD's own until it takes one, which is when the error is another than
// EADDRINUSE. Ports at which other PvDs have something open are passed over. The caller has
// entered the domain and found that it shares the address.
func (d *domain) claimPort(s *portShare, f flow, claim func(port uint16) error) error {
	d.host.ports.claiming.Lock()
	defer d.host.ports.claiming.Unlock()
	take := func() error {
		err := claim(f.port)
		if err == nil {
			d.noteFlow(f)
		}
		return err
	}
	if f.port != 0 {
		if d.flowTaken(f) {
			return syscall.EADDRINUSE
		}
		return take()
	}
	n := uint32(s.high) - uint32(s.low) + 1
	rng := d.stk.SecureRNG()
	start := rng.Uint32() % n
	for i := range n {
		f.port = s.low + uint16((start+i)%n) // RFC 6056 section 3.3.1
		if d.holds(s.addrs, f) != holdsNothing || s.portTaken(f) {
			continue
		}
		if err := take(); !errors.Is(err, syscall.EADDRINUSE) {
			return err
		}
	}
	return syscall.EADDRNOTAVAIL
}

// portTaken reports whether another PvD has anything open at a port.
func (s *portShare) portTaken(f flow) bool {
	r := gports.Reservation{Networks: []tcpip.NetworkProtocolNumber{ipv4.ProtocolNumber}, Transport: f.proto, Port: f.port}
	for _, o := range s.others {
		if o.holds(s.addrs, f) != holdsNothing {
			return true
		}
		if f.proto == header.ICMPv4ProtocolNumber {
			continue // it reserves nothing
		}
		if _, terr := o.stk.ReservePort(o.stk.SecureRNG(), r, nil); terr != nil {
			return true
		}
		o.stk.ReleasePort(r)
	}
	return false
}

// flowTaken reports whether another PvD that has the same address uses the same ends.
func (d *domain) flowTaken(f flow) bool {
	if !f.remote.IsValid() {
		return false
	}
	now := d.host.clock.Monotonic()
	for p, sh := range d.sharings() {
		if sh.usedBy(sh.memory.flowOf(f, now), f, p) {
			return true
		}
	}
	return false
}

// noteFlow takes note of what has been connected, so that others that remember such a flow
// as their own do not go on with it.
func (d *domain) noteFlow(f flow) {
	if !f.remote.IsValid() || f.proto == tcp.ProtocolNumber {
		return
	}
	for p, sh := range d.sharings() {
		sh.takeFlow(f, p)
	}
}

// sharings yields the addresses that the PvD shares, each with its port on the link.
func (d *domain) sharings() iter.Seq2[*port, *sharing] {
	return func(yield func(*port, *sharing) bool) {
		for _, p := range *d.nics.Load() {
			for _, sh := range p.link.table.Load().shared {
				if sh.by.has(p) && !yield(p, sh) {
					return
				}
			}
		}
	}
}

// usedBy reports whether another PvD than p's uses the ends of a flow: it is connected, or it
// was the last to send and has the port still.
func (sh *sharing) usedBy(last pvd.Ref, f flow, p *port) bool {
	for _, q := range sh.by {
		if q == p {
			continue
		}
		if h := q.holds(f, sh.addr); h == holdsFlow || h == holdsPort && last == q.domain.ref {
			return true
		}
	}
	return false
}

// holds returns the most that any endpoint of the PvD's has to do with a flow to one of some
// addresses.
func (d *domain) holds(own []netip.Addr, f flow) holding {
	most := holdsNothing
	for _, p := range *d.nics.Load() {
		for _, a := range own {
			most = max(most, p.holds(f, a))
		}
	}
	return most
}

// reserve keeps a port from others in the PvD, which may look whether it is free just now.
func (d *domain) reserve(r gports.Reservation) error {
	if d.share.Load() != nil {
		d.host.ports.claiming.Lock()
		defer d.host.ports.claiming.Unlock()
	}
	if _, terr := d.stk.ReservePort(d.stk.SecureRNG(), r, nil); terr != nil {
		return stackError("bind", terr)
	}
	return nil
}

// bindPort binds the socket's endpoint. The caller has entered the domain.
func (s *socket) bindPort(proto tcpip.TransportProtocolNumber, nic tcpip.NICID, at netip.AddrPort) error {
	bind := func(port uint16) error {
		if terr := s.ep.Bind(fullAddress(nic, at.Addr(), port)); terr != nil {
			return stackError("bind", terr)
		}
		return nil
	}
	share := s.d.shares(at.Addr())
	if share == nil {
		return bind(at.Port())
	}
	return callError("bind", s.d.claimPort(share, flow{proto: proto, port: at.Port()}, bind))
}

// connectShared begins a handshake from a shared address.
func (dl *dialing) connectShared(p path, to netip.AddrPort) (*TCPConn, error) {
	if err := dl.d.enter(); err != nil {
		return nil, err
	}
	defer dl.d.leave()
	var c *TCPConn
	connect := func(port uint16) (err error) {
		from := netip.AddrPortFrom(p.src, port)
		if from == to && dl.local.Port() == 0 {
			return syscall.EADDRINUSE // a connection with itself
		}
		c, err = dl.newTCP(p, from, to)
		return err
	}
	f := flow{tcp.ProtocolNumber, dl.local.Port(), to.Addr(), to.Port()}
	var err error
	if share := dl.d.shares(p.src); share != nil {
		err = dl.d.claimPort(share, f, connect)
	} else { // it does no longer
		err = connect(f.port)
	}
	if errors.Is(err, syscall.EADDRNOTAVAIL) && f.port == 0 && p.natural {
		// gVisor knows which of the PvD's own ports may be taken over from TIME-WAIT.
		c, err = dl.newTCP(p, netip.AddrPort{}, to)
	}
	return c, callError("connect", err)
}

// connectShared connects the socket from a shared address.
func (c *UDPConn) connectShared(s *portShare, p path, port uint16, to netip.AddrPort) error {
	f := flow{udp.ProtocolNumber, port, to.Addr(), to.Port()}
	err := c.d.claimPort(s, f, func(port uint16) error {
		if terr := c.ep.Bind(fullAddress(p.nic, p.src, port)); terr != nil {
			return stackError("bind", terr)
		}
		if terr := c.ep.Connect(fullAddress(p.nic, to.Addr(), to.Port())); terr != nil {
			return stackError("connect", terr)
		}
		return nil
	})
	return callError("connect", err)
}

// connectEchoShared connects an ICMP endpoint from a shared address.
func (s *socket) connectEchoShared(share *portShare, p path, ident uint16, to netip.Addr) error {
	from := fullAddress(p.nic, p.src, 0)
	err := s.d.claimPort(share, flow{proto: header.ICMPv4ProtocolNumber, port: ident, remote: to}, func(ident uint16) error {
		from.Port = ident
		if terr := s.ep.Bind(from); terr != nil {
			return stackError("bind", terr)
		}
		if terr := s.ep.Connect(fullAddress(p.nic, to, 0)); terr != nil {
			return stackError("connect", terr)
		}
		return nil
	})
	if err == nil {
		s.unregisterBound(from.Addr, to)
	}
	return callError("connect", err)
}
