package stack_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// FuzzSocketCalls takes octets for a program of calls on a few sockets, which runs against a
// host with two PvDs and against a model of what sockets do, which predicts the outcome of
// each call. None may panic or hang.
func FuzzSocketCalls(f *testing.F) {
	for _, seed := range socketPrograms {
		f.Add([]byte(seed))
	}
	f.Fuzz(runSocketProgram)
}

// TestSocketCallsAtRandom runs programs of calls that are all drawn at random.
func TestSocketCallsAtRandom(t *testing.T) {
	programs := 2000
	if testing.Short() {
		programs = 100
	}
	for seed := range programs {
		program := make([]byte, 4*maxFuzzCalls)
		r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
		_, _ = r.Read(program)
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runSocketProgram(t, program) })
	}
}

func runSocketProgram(t *testing.T, program []byte) {
	if len(program) > 4*maxFuzzCalls {
		program = program[:4*maxFuzzCalls]
	}
	m := newSocketModel(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for len(program) >= 4 && !t.Failed() {
			m.step([4]byte(program))
			program = program[4:]
		}
		for _, k := range m.socks {
			_ = k.s.Close()
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatalf("a call hangs after %v", m.trace)
	}
}

const (
	maxFuzzCalls = 100
	maxFuzzSocks = 8
)

// socketPrograms are seeds: four octets a call, of which the first is the call and the
// second the socket; see [socketModel.step].
var socketPrograms = []string{
	"\x00\x00\x00\x00\x02\x00\x02\x01\x04\x00\x00\x00\x00\x00\x00\x00\x03\x01\x02\x01\x0b\x01\x00\x00\x05\x00\x00\x00\x06\x01\x00\x00\x08\x02\x00\x00\x09\x01\x03\x00\x0a\x00\x00\x00",
	"\x00\x00\x02\x00\x02\x00\x01\x01\x00\x00\x02\x00\x07\x01\x02\x01\x08\x00\x00\x00\x03\x00\x02\x02\x06\x00\x00\x00\x08\x00\x00\x00\x03\x00\x00\x00",
	"\x00\x00\x01\x00\x01\x00\x04\x00\x02\x00\x09\x00\x04\x00\x00\x00\x01\x00\x05\x00\x0c\x00\x10\x01\x0d\x00\x17\x00",
	"\x00\x00\x03\x00\x07\x00\x0c\x02\x0e\x00\x15\x32\x0e\x00\x44\x21\x08\x00\x00\x00\x0f\x00\x00\x00\x09\x00\x01\x00\x08\x00\x00\x00",
	"\x00\x00\x04\x00\x07\x00\x02\x00\x03\x00\x02\x00\x06\x00\x01\x00\x08\x00\x00\x00\x00\x00\x05\x00\x07\x01\x09\x00\x00\x00\x06\x00\x00\x00\x07\x00\x00\x00\x08\x00",
}

// The addresses that programs use. Both PvDs have 10.0.0.1, the first 10.1.0.1 and fd01::1,
// the second, which has no IPv6, 10.2.0.1 and a default route.
var fuzzAddrs = []netip.Addr{
	{},
	netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("127.0.0.1"),
	netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.2.0.1"),
	netip.MustParseAddr("192.0.2.1"),
	netip.MustParseAddr("::"), netip.MustParseAddr("::1"), netip.MustParseAddr("fd01::1"), netip.MustParseAddr("2001:db8::1"),
	netip.MustParseAddr("::ffff:10.1.0.1"), netip.MustParseAddr("::ffff:10.2.0.1"), netip.MustParseAddr("::ffff:127.0.0.1"),
	netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("::ffff:0.0.0.0"),
	netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb"), netip.MustParseAddr("255.255.255.255"),
	netip.MustParseAddr("fe80::1%nolink"), netip.MustParseAddr("10.0.0.77"), netip.MustParseAddr("fd01::77"),
}

var fuzzPorts = []uint16{0, 4000, 4001, 4002}

// A socketModel runs programs.
type socketModel struct {
	t     *testing.T
	host  *stack.Host
	a, b  pvd.Ref
	socks []*modelSock
	trace []string
}

func newSocketModel(t *testing.T) *socketModel {
	h := newHost(t)
	pipe(t, "wire", h, nil)
	pipe(t, "side", h, nil)
	p := netip.MustParsePrefix
	a := add(t, h, pvd.Config{Links: []string{"wire"}, Addresses: []pvd.Address{
		{Prefix: p("10.0.0.1/24")}, {Prefix: p("10.1.0.1/24")}, {Prefix: p("fd01::1/64")},
	}})
	b := add(t, h, pvd.Config{
		Links:     []string{"side"},
		Addresses: []pvd.Address{{Prefix: p("10.0.0.1/24")}, {Prefix: p("10.2.0.1/24")}},
		Routes:    []pvd.Route{{To: p("0.0.0.0/0")}},
	})
	if err := h.SetDefault(a.PvD()); err != nil {
		t.Fatal(err)
	}
	return &socketModel{t: t, host: h, a: a.PvD(), b: b.PvD()}
}

// refs are the PvDs that programs name; the last one is none.
func (m *socketModel) refs() []pvd.Ref {
	return []pvd.Ref{pvd.Unspecified, pvd.Null, pvd.SystemDefault, pvd.All, m.a, m.b, 99999}
}

func pick[T any](from []T, b byte) T { return from[int(b)%len(from)] }

// step runs one call and compares its outcome with what the model allows.
func (m *socketModel) step(c [4]byte) {
	if c[0]%16 == 0 || len(m.socks) == 0 {
		m.open(c[2])
		return
	}
	k := m.socks[int(c[1])%len(m.socks)]
	k.catchUp()
	at := netip.AddrPortFrom(pick(fuzzAddrs, c[2]), pick(fuzzPorts, c[3]))
	ctx := context.Background()
	switch c[0] % 16 {
	case 1:
		ref := pick(m.refs(), c[2])
		m.check("SetPvD "+ref.String(), k, k.s.SetPvD(ref), k.setPvD(ref))
	case 2:
		allowed := k.bind(at)
		m.check("Bind "+at.String(), k, k.s.Bind(at), allowed)
	case 3:
		allowed := k.connect(at)
		m.check("Connect "+at.String(), k, k.s.Connect(ctx, at), allowed)
	case 4:
		m.check("Listen", k, k.s.Listen(int(int8(c[2]))), k.listen())
	case 5:
		child, _, err := k.s.Accept(ctx)
		m.check("Accept", k, err, k.accept())
		if err == nil {
			_ = child.SetNonblock(true)
			m.add(&modelSock{m: m, s: child, kind: k.kind, family: k.family, state: modelConnected, told: true, in: child.PvD(), scope: child.PvD()})
		}
	case 6:
		data := m.payload(k, c[2])
		_, err := k.s.Send(ctx, data)
		m.check("Send", k, err, k.send(data, netip.AddrPort{}, pvd.Unspecified))
	case 7:
		data := m.payload(k, c[1])
		allowed := k.send(data, at, pvd.Unspecified)
		_, err := k.s.SendTo(ctx, data, at)
		m.check("SendTo "+at.String(), k, err, allowed)
	case 8:
		_, err := k.s.Recv(ctx, make([]byte, c[2]))
		m.check("Recv", k, err, k.recv())
	case 9:
		how := pvd.Shutdown(c[2] % 5)
		m.check("Shutdown", k, k.s.Shutdown(how), k.shutdown(how))
	case 10:
		m.check("Close", k, k.s.Close(), k.close())
	case 11:
		m.look(k)
	case 12, 13:
		m.option(k, c)
	case 14:
		m.message(k, c)
	case 15:
		m.group(k, c)
	}
}

// add puts a socket in the place of the oldest if there are too many.
func (m *socketModel) add(k *modelSock) {
	if len(m.socks) == maxFuzzSocks {
		_ = m.socks[0].s.Close()
		m.socks = m.socks[1:]
	}
	m.socks = append(m.socks, k)
}

func (m *socketModel) open(b byte) {
	kinds := []struct {
		f    pvd.Family
		typ  pvd.SocketType
		p    pvd.Protocol
		want string
	}{
		{pvd.INET, pvd.Stream, 0, "ok"},
		{pvd.INET6, pvd.Stream, pvd.TCP, "ok"},
		{pvd.INET, pvd.Datagram, 0, "ok"},
		{pvd.INET6, pvd.Datagram, pvd.UDP, "ok"},
		{pvd.INET, pvd.Datagram, pvd.ICMP, "ok"},
		{pvd.INET6, pvd.Datagram, pvd.ICMPv6, "ok"},
		{pvd.INET6, pvd.Datagram, pvd.ICMP, "EPROTONOSUPPORT"},
		{pvd.INET, pvd.Stream, pvd.UDP, "EPROTONOSUPPORT"},
		{99, pvd.Stream, 0, "EAFNOSUPPORT"},
		{pvd.INET, 99, 0, "ESOCKTNOSUPPORT"},
	}
	k := pick(kinds, b)
	s, err := m.host.Socket(k.f, k.typ, k.p)
	m.check("Socket", nil, err, []string{k.want})
	if err == nil {
		_ = s.SetNonblock(true)
		m.add(&modelSock{m: m, s: s, kind: kindOf(k.typ, k.p), family: k.f})
	}
}

// payload is an echo request for sockets that want one, mostly.
func (m *socketModel) payload(k *modelSock, b byte) []byte {
	switch {
	case b == 255:
		return make([]byte, 70000)
	case k.kind == modelEcho && b < 200:
		kind := byte(8)
		if k.family == pvd.INET6 {
			kind = 128
		}
		return append([]byte{kind}, make([]byte, 10)...)
	}
	return make([]byte, b%16)
}

// look asks a socket about itself.
func (m *socketModel) look(k *modelSock) {
	_, err := k.s.LocalAddr()
	m.check("LocalAddr", k, err, k.open("ok"))
	peer := k.open("ENOTCONN")
	switch k.state {
	case modelConnected:
		peer = []string{"ok"}
	case modelConnecting:
		peer = []string{"ok", "ENOTCONN"}
	default:
	}
	_, err = k.s.PeerAddr()
	m.check("PeerAddr", k, err, peer)
	if got := k.s.PvD(); k.state != modelClosed && got != k.pvd() {
		m.t.Errorf("%v: PvD is %v, the model has %v", m.trace, got, k.pvd())
	}
	k.s.Ready(pvd.EventRead | pvd.EventWrite)
}

func (m *socketModel) option(k *modelSock, c [4]byte) {
	opt, v := pvd.SocketOption(c[2]%40), int64(int8(c[3]))
	if opt == pvd.OptError || opt == pvd.OptPvD {
		return // changes what the model has; others test it
	}
	if c[0]%16 == 13 {
		_, err := k.s.Option(opt)
		m.check("Option", k, err, k.open("ok", "ENOPROTOOPT"))
		return
	}
	err := k.s.SetOption(opt, v)
	m.check("SetOption", k, err, k.open("ok", "ENOPROTOOPT", "EINVAL"))
	if err == nil && opt == pvd.OptV6Only {
		k.v6only = v != 0
	}
	if err == nil && opt == pvd.OptBroadcast {
		k.broadcast = v != 0
	}
}

// message sends and receives with control messages.
func (m *socketModel) message(k *modelSock, c [4]byte) {
	ref := pick(m.refs(), c[2]&15)
	at := netip.AddrPortFrom(pick(fuzzAddrs, c[3]>>2), pick(fuzzPorts, c[3]))
	msg := stack.Msg{Data: m.payload(k, c[1]), Addr: at, Control: pvd.Control{PvD: ref}}
	if c[2]&16 != 0 {
		msg.Control.HopLimit, msg.Control.ToS = new(c[3]), new(c[2])
	}
	if c[2]&32 != 0 {
		msg.Control.PktInfo = pvd.PktInfo{Addr: pick(fuzzAddrs, c[3])}
	}
	if c[2]&64 != 0 {
		msg.Control.PktInfo.Link = "wire"
	}
	allowed := k.send(msg.Data, at, ref)
	if c[2]&(16|32|64) != 0 {
		k.unsure() // what the other control messages come to is for tests with names
		allowed = append(allowed, "ok", "EINVAL", "EACCES", "EADDRNOTAVAIL", "ENETUNREACH", "ENODEV", "EAFNOSUPPORT", "EHOSTUNREACH",
			"EPROTONOSUPPORT", "EDESTADDRREQ", "EADDRINUSE", "EAGAIN", "ENOPVD", "EPIPE")
	}
	_, err := k.s.SendMsg(context.Background(), &msg)
	m.check("SendMsg", k, err, allowed)
	_ = k.s.SetRecvPvD(true)
	_ = k.s.SetRecvPktInfo(true)
	in := stack.Msg{Data: make([]byte, 4)}
	k.catchUp()
	_, err = k.s.RecvMsg(context.Background(), &in)
	m.check("RecvMsg", k, err, k.recv())
}

func (m *socketModel) group(k *modelSock, c [4]byte) {
	link := pick([]string{"", "wire", "side", "nolink"}, c[3])
	a := pick(fuzzAddrs, c[2])
	allowed := k.open("ok", "EINVAL", "ENODEV", "EADDRINUSE", "EADDRNOTAVAIL", "ENOBUFS")
	if k.kind == modelStream {
		allowed = k.open("EPROTO")
	} else if !a.IsMulticast() {
		allowed = k.open("EINVAL")
	}
	if c[3]&4 == 0 {
		m.check("JoinGroup", k, k.s.JoinGroup(link, a), allowed)
	} else {
		m.check("LeaveGroup", k, k.s.LeaveGroup(link, a), allowed)
	}
}
