package stack

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gports "gvisor.dev/gvisor/pkg/tcpip/ports"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Ping sends an ICMP echo request (RFC 792, RFC 4443 section 4.1) to a unicast address and
// returns how long the answer took. It waits as long as ctx allows, or ten seconds if
// that has no deadline.
func (n *Network) Ping(ctx context.Context, addr netip.Addr) (time.Duration, error) {
	addr = addr.Unmap()
	network := "ip6:ipv6-icmp"
	if addr.Is4() {
		network = "ip4:icmp"
	}
	q := query{call: "sendto", network: network, remote: target{literal: literalOf(addr)}}
	d, err := n.place(ctx, &q)
	var took time.Duration
	if err == nil {
		took, err = d.ping(ctx, n.owner(), q.remote.at())
	}
	if err != nil {
		var to net.Addr
		if addr.IsValid() {
			to = &net.IPAddr{IP: addr.AsSlice(), Zone: addr.Zone()}
		}
		return 0, opError(opPing, network, nil, to, err)
	}
	return took, nil
}

func (d *domain) ping(ctx context.Context, o owner, addr netip.Addr) (time.Duration, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, pingWait)
		defer cancel()
	}
	if !addr.IsValid() || addr.IsMulticast() {
		return 0, callError("sendto", syscall.EINVAL)
	}
	if addr.IsUnspecified() {
		addr = loopbackOf(addr)
	}
	p, err := d.path(ctx, netip.Addr{}, addr)
	if err != nil {
		if ctx.Err() != nil {
			return 0, contextError(ctx)
		}
		return 0, callError("sendto", err)
	}
	s, err := d.newPing(o, p, addr)
	if err != nil {
		return 0, err
	}
	defer s.close() //nolint:errcheck // the first call of close does not fail
	clock := d.host.clock
	began := clock.Monotonic()
	if err := s.sendEcho(addr); err != nil {
		return 0, err
	}
	// gVisor does not tell such a socket of a next hop that has no hardware address.
	look := make(chan struct{}, 1)
	timer := clock.AfterFunc(pingLook, func() { look <- struct{}{} })
	defer timer.Stop()
	for {
		if err := s.failed(); err != nil {
			return 0, err
		}
		if s.echoed() {
			return clock.Monotonic() - began, nil
		}
		select {
		case <-s.in.ready:
		case <-look:
			if d.unanswered(p, addr, began) {
				return 0, callError("sendto", syscall.EHOSTUNREACH)
			}
			timer.Reset(pingLook)
		case <-ctx.Done():
			return 0, contextError(ctx)
		}
	}
}

// unanswered reports whether the next hop to dst has been asked for its hardware address
// in vain since a moment on the host's clock.
func (d *domain) unanswered(p path, dst netip.Addr, since time.Duration) bool {
	l, ok := d.plan.Load().linkOfNIC(p.nic)
	if !ok {
		return false
	}
	hop, _ := l.port.nextHop(p.src, dst.WithZone(""))
	t := &l.port.hops
	t.mu.RLock()
	defer t.mu.RUnlock()
	at, ok := t.failed[hop]
	return ok && at >= since
}

// newPing makes a socket that gets the answers from one address.
func (d *domain) newPing(o owner, p path, addr netip.Addr) (*socket, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	wq := new(waiter.Queue)
	ep, terr := d.stk.NewEndpoint(echoProtocol(addr), protocolOf(addr), wq)
	if terr != nil {
		return nil, stackError("socket", terr)
	}
	s := &socket{nic: p.nic, addr: p.src}
	s.init(d, "", ep, wq)
	s.own(o)
	if err := s.connectPing(p, addr); err != nil {
		_ = s.close() // it was never open
		return nil, err
	}
	return s, nil
}

func (s *socket) connectPing(p path, addr netip.Addr) error {
	if err := s.connectEcho(p, 0, addr); err != nil {
		return err
	}
	return callError("connect", s.track())
}

// connectEcho connects an ICMP endpoint. It binds it before, where there is a need to.
func (s *socket) connectEcho(p path, ident uint16, to netip.Addr) error {
	if shared := s.d.shares(p.src); shared != nil && p.src.IsValid() {
		return s.connectEchoShared(shared, p, ident, to)
	}
	bind := !p.natural || ident != 0
	from := fullAddress(p.nic, p.src, ident)
	if bind {
		if terr := s.ep.Bind(from); terr != nil {
			return stackError("bind", terr)
		}
	}
	if terr := s.ep.Connect(fullAddress(p.nic, to, 0)); terr != nil {
		return stackError("connect", terr)
	}
	if bind {
		s.unregisterBound(from.Addr, to)
	}
	return nil
}

// unregisterBound undoes what binding an ICMP endpoint has done. gVisor registers it
// anew when it is connected, and would never take the first registration back: neither the
// identifier nor the endpoint would be free again.
func (s *socket) unregisterBound(from tcpip.Address, to netip.Addr) {
	ep, ok := s.ep.(gstack.TransportEndpoint)
	if !ok {
		return
	}
	local, _ := s.ep.GetLocalAddress() // gVisor's never fails
	id := gstack.TransportEndpointID{LocalAddress: from, LocalPort: local.Port}
	s.d.stk.UnregisterTransportEndpoint([]tcpip.NetworkProtocolNumber{protocolOf(to)}, echoProtocol(to), id, ep, gports.Flags{}, 0)
}

// echoProtocol returns the ICMP of a's family.
func echoProtocol(a netip.Addr) tcpip.TransportProtocolNumber {
	if a.Is4() {
		return header.ICMPv4ProtocolNumber
	}
	return header.ICMPv6ProtocolNumber
}

// pingData is what an echo request carries, as much as ping(8) sends.
const pingData = 56

func (s *socket) sendEcho(addr netip.Addr) error {
	b := make(slicePayload, header.ICMPv4MinimumSize+pingData)
	b[0] = byte(header.ICMPv6EchoRequest)
	if addr.Is4() {
		b[0] = byte(header.ICMPv4Echo)
	}
	b[7] = 1 // the sequence number; gVisor fills in identifier and checksum
	if _, terr := s.ep.Write(&b, tcpip.WriteOptions{}); terr != nil {
		return stackError("sendto", terr)
	}
	return nil
}

// echoed reports whether the answer is there. gVisor hands over only echo replies with
// the socket's identifier.
func (s *socket) echoed() bool {
	var none tcpip.SliceWriter
	_, terr := s.ep.Read(&none, tcpip.ReadOptions{})
	switch terr.(type) {
	case nil, *tcpip.ErrBadBuffer:
		return true
	}
	return false
}
