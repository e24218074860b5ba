package stack

import (
	"math"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"

	"github.com/pvdstack/pvdstack/pvd"
)

// An optionRule says what an option may be and what comes of it.
type optionRule struct {
	stream, datagram bool  // which sockets have it
	low, high        int64 // the least and the greatest value
	initial          int64
	early            bool                   // it is for sockets that are not bound
	apply            func(*presence, int64) // nil: the socket itself looks at it
	now              func(*presence) int64  // what it really is; nil: what was set
	query            func(*Socket) int64    // of those that can only be asked for
}

const optionCount = int(pvd.OptProtocol) + 1

var optionRules = [optionCount]optionRule{
	pvd.OptRecvPvD: onOff(true, nil),
	pvd.OptRecvPktInfo: onOff(true, func(o *tcpip.SocketOptions, on bool) {
		o.SetReceivePacketInfo(on)
		o.SetIPv6ReceivePacketInfo(on)
	}),
	pvd.OptRecvToS: onOff(true, func(o *tcpip.SocketOptions, on bool) {
		o.SetReceiveTOS(on)
		o.SetReceiveTClass(on)
	}),
	pvd.OptRecvHopLimit: onOff(true, func(o *tcpip.SocketOptions, on bool) {
		o.SetReceiveTTL(on)
		o.SetReceiveHopLimit(on)
	}),
	pvd.OptToS:       {stream: true, datagram: true, high: 255, apply: applyInts(tcpip.IPv4TOSOption, tcpip.IPv6TrafficClassOption)},
	pvd.OptHopLimit:  {stream: true, datagram: true, low: -1, high: 255, initial: -1, apply: applyHopLimit},
	pvd.OptMark:      {stream: true, datagram: true, high: math.MaxUint32},
	pvd.OptV6Only:    {stream: true, datagram: true, high: 1, early: true},
	pvd.OptReuseAddr: onOff(true, (*tcpip.SocketOptions).SetReuseAddress),
	pvd.OptBroadcast: {stream: true, datagram: true, high: 1, apply: applyBroadcast},
	pvd.OptRecvBuffer: {
		stream: true, datagram: true, high: math.MaxInt32,
		apply: func(p *presence, v int64) { _ = p.base().SetReadBuffer(atLeastOne(int(v))) },
		now:   func(p *presence) int64 { return p.base().ep.SocketOptions().GetReceiveBufferSize() },
	},
	pvd.OptSendBuffer: {
		stream: true, datagram: true, high: math.MaxInt32,
		apply: func(p *presence, v int64) { _ = p.base().SetWriteBuffer(atLeastOne(int(v))) },
		now:   func(p *presence) int64 { return p.base().ep.SocketOptions().GetSendBufferSize() },
	},
	pvd.OptNoDelay: onOff(false, func(o *tcpip.SocketOptions, on bool) { o.SetDelayOption(!on) }),
	pvd.OptLinger: {stream: true, datagram: true, low: -1, high: math.MaxInt32, initial: -1, apply: func(p *presence, v int64) {
		p.base().ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: v == 0})
	}},
	pvd.OptKeepAlive: onOff(true, (*tcpip.SocketOptions).SetKeepAlive),
	pvd.OptKeepIdle: {stream: true, low: 1, high: math.MaxInt16, initial: int64(keepAliveIdle / time.Second), apply: func(p *presence, v int64) {
		idle := tcpip.KeepaliveIdleOption(time.Duration(v) * time.Second)
		_ = p.base().ep.SetSockOpt(&idle) // TCP knows the option
	}},
	pvd.OptKeepInterval: {stream: true, low: 1, high: math.MaxInt16, initial: int64(keepAliveInterval / time.Second), apply: func(p *presence, v int64) {
		interval := tcpip.KeepaliveIntervalOption(time.Duration(v) * time.Second)
		_ = p.base().ep.SetSockOpt(&interval) // likewise
	}},
	pvd.OptKeepCount: {stream: true, low: 1, high: math.MaxInt8, initial: keepAliveCount, apply: func(p *presence, v int64) {
		_ = p.base().ep.SetSockOptInt(tcpip.KeepaliveCountOption, int(v)) // likewise
	}},
	pvd.OptMulticastHopLimit: {datagram: true, low: 1, high: 255, initial: 1, apply: func(p *presence, v int64) { _ = p.udp.SetMulticastTTL(int(v)) }},
	pvd.OptMulticastLoop:     {datagram: true, high: 1, initial: 1, apply: func(p *presence, v int64) { _ = p.udp.SetMulticastLoopback(v != 0) }},

	pvd.OptError:     queried(func(s *Socket) int64 { return int64(errnoIn(s.pending())) }),
	pvd.OptListening: queried(func(s *Socket) int64 { return int64(boolInt(s.isListening())) }),
	pvd.OptFamily:    queried(func(s *Socket) int64 { return int64(s.family) }),
	pvd.OptType:      queried(func(s *Socket) int64 { return int64(s.typ) }),
	pvd.OptProtocol:  queried(func(s *Socket) int64 { return int64(s.proto) }),
}

// onOff is the rule of an option that streams have.
func onOff(datagram bool, set func(*tcpip.SocketOptions, bool)) optionRule {
	r := optionRule{stream: true, datagram: datagram, high: 1}
	if set != nil {
		r.apply = func(p *presence, v int64) { set(p.base().ep.SocketOptions(), v != 0) }
	}
	return r
}

func queried(f func(*Socket) int64) optionRule {
	return optionRule{stream: true, datagram: true, query: f}
}

// applyInts sets options that each kind of endpoint knows.
func applyInts(options ...tcpip.SockOptInt) func(*presence, int64) {
	return func(p *presence, v int64) {
		for _, o := range options {
			_ = p.base().ep.SetSockOptInt(o, int(v)) // see above
		}
	}
}

func applyHopLimit(p *presence, v int64) {
	ep := p.base().ep
	_ = ep.SetSockOptInt(tcpip.IPv4TTLOption, int(max(v, 0))) // 0 is the default there
	_ = ep.SetSockOptInt(tcpip.IPv6HopLimitOption, int(v))
}

func applyBroadcast(p *presence, v int64) {
	if p.udp != nil {
		_ = p.udp.SetBroadcast(v != 0) // fails only where nothing is sent any more
	}
}

// socketOptions are the options that were set, for every endpoint that the socket has or
// will have.
type socketOptions struct {
	mu     sync.Mutex
	values [optionCount]int64
	set    [optionCount]bool
	groups []membership
	link   string // for multicast
}

// A membership is a multicast group on a link; "" is the first of each PvD's.
type membership struct {
	link  string
	group netip.Addr
}

// value returns an option's value.
func (o *socketOptions) value(opt pvd.SocketOption) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.set[opt] {
		return o.values[opt]
	}
	return optionRules[opt].initial
}

// is reports whether an option is on.
func (o *socketOptions) is(opt pvd.SocketOption) bool { return o.value(opt) != 0 }

func (o *socketOptions) put(opt pvd.SocketOption, v int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.values[opt], o.set[opt] = v, true
}

// inherit takes over another's options.
func (o *socketOptions) inherit(from *socketOptions) {
	from.mu.Lock()
	defer from.mu.Unlock()
	o.values, o.set = from.values, from.set
}

// apply gives a new endpoint the options.
func (o *socketOptions) apply(p *presence) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p.tcp != nil { // whose endpoints have package net's options
		p.tcp.ep.SocketOptions().SetDelayOption(true)
		p.tcp.ep.SocketOptions().SetKeepAlive(false)
	}
	for opt := range optionRules {
		if r := &optionRules[opt]; o.set[opt] && r.apply != nil {
			r.apply(p, o.values[opt])
		}
	}
	if p.udp == nil {
		return
	}
	p.udp.multicast.link = o.link
	for _, m := range o.groups {
		_ = p.udp.JoinGroup(m.link, m.group) // fails where the PvD is not on the link
	}
}

// SetOption is setsockopt. A value that the option can not have is EINVAL, and so is
// [pvd.OptV6Only] on a socket that is bound; an option that the socket does not have, or
// that can only be asked for, is ENOPROTOOPT.
func (s *Socket) SetOption(opt pvd.SocketOption, v int64) error {
	if opt == pvd.OptPvD {
		return s.SetPvD(pvd.Ref(v))
	}
	s.op.Lock()
	defer s.op.Unlock()
	return s.wrap(opSet, "setsockopt", netip.AddrPort{}, s.setOption(opt, v))
}

func (s *Socket) setOption(opt pvd.SocketOption, v int64) error {
	r, err := s.rule(opt)
	w, state := s.whereIs()
	switch {
	case err != nil:
		return err
	case r.query != nil:
		return syscall.ENOPROTOOPT
	case v < r.low || v > r.high || opt == pvd.OptHopLimit && v == 0:
		return syscall.EINVAL
	case r.early && state != stateIdle:
		return syscall.EINVAL
	}
	s.opts.put(opt, v)
	if r.apply != nil {
		s.each(w, func(p *presence) { r.apply(p, v) })
	}
	return nil
}

// rule returns the rule of an option that the socket has.
func (s *Socket) rule(opt pvd.SocketOption) (*optionRule, error) {
	if s.isClosed() {
		return nil, net.ErrClosed
	}
	if int(opt) >= optionCount {
		return nil, syscall.ENOPROTOOPT
	}
	r := &optionRules[opt]
	if s.isStream() && !r.stream || !s.isStream() && !r.datagram || opt == pvd.OptV6Only && s.family != pvd.INET6 {
		return nil, syscall.ENOPROTOOPT
	}
	return r, nil
}

// each calls f with every presence of the socket's. The caller holds op.
func (s *Socket) each(w whereabouts, f func(*presence)) {
	switch {
	case w.one != nil:
		f(w.one)
	case w.all != nil:
		// On the writer nothing joins in the meantime. A closed host has no presences.
		_ = s.host.do(func() error {
			for _, p := range w.all.all() {
				f(p)
			}
			return nil
		})
	}
	for _, v := range w.visits {
		f(&presence{sock: s, udp: v.udp})
	}
}

// Option is getsockopt. [pvd.OptError] is the error of a handshake, or what ICMP said of a
// connected datagram socket's last datagrams; after that it is 0.
func (s *Socket) Option(opt pvd.SocketOption) (int64, error) {
	if opt == pvd.OptPvD && !s.isClosed() {
		return int64(s.PvD()), nil
	}
	r, err := s.rule(opt)
	if err != nil {
		return 0, s.wrap("get", "getsockopt", netip.AddrPort{}, err)
	}
	if r.query != nil {
		return r.query(s), nil
	}
	if w, _ := s.whereIs(); r.now != nil && w.one != nil {
		return r.now(w.one), nil
	}
	return s.opts.value(opt), nil
}

// pending returns the error of [pvd.OptError], which is none after that.
func (s *Socket) pending() error {
	s.advance()
	w, state := s.whereIs()
	if err := s.takeError(); err != nil || w.one == nil {
		return err
	}
	if err := w.one.base().failed(); err != nil || state != stateConnected {
		return err
	}
	if terr := w.one.base().ep.LastError(); terr != nil {
		if w.one.tcp != nil {
			return w.one.tcp.breaks("getsockopt", terr)
		}
		return errnoOf(terr)
	}
	return nil
}

func (s *Socket) isListening() bool {
	_, state := s.whereIs()
	return state == stateListening
}

// SetRecvPvD sets [pvd.OptRecvPvD]: whether messages come with the PvD that they arrived in.
func (s *Socket) SetRecvPvD(on bool) error { return s.SetOption(pvd.OptRecvPvD, int64(boolInt(on))) }

// RecvPvD returns [pvd.OptRecvPvD].
func (s *Socket) RecvPvD() bool { return s.opts.is(pvd.OptRecvPvD) }

// SetRecvPktInfo sets [pvd.OptRecvPktInfo]: whether messages come with the link that they
// arrived on and the address that they were sent to.
func (s *Socket) SetRecvPktInfo(on bool) error {
	return s.SetOption(pvd.OptRecvPktInfo, int64(boolInt(on)))
}
