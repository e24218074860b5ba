package stack_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// A sock is a socket that does not block, the kernel's or ours.
type sock interface {
	bind(netip.AddrPort) error
	connect(netip.AddrPort) error
	listen() error
	accept() (sock, error)
	send(b []byte, to netip.AddrPort) (int, error)
	recv(b []byte) (int, netip.AddrPort, error)
	shutdown(how int) error
	local() (netip.AddrPort, error)
	peer() (netip.AddrPort, error)
	option(name string) (int, error)
	set(name string, v int) error
	wait(events string) error
	poll() pvd.Events
	close() error
}

// A kernelSock is a file descriptor, which is no longer one when it is negative.
type kernelSock struct{ fd, family int }

func kernelSocket(family, typ, proto int) (sock, error) {
	fd, err := unix.Socket(family, typ|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return nil, err
	}
	return &kernelSock{fd, family}, nil
}

// sockaddr returns the address in its own family's form. The zero AddrPort is AF_UNSPEC.
func sockaddr(a netip.AddrPort) unix.Sockaddr {
	switch {
	case a.Addr().Is4():
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	case a.Addr().Is6():
		return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	}
	return nil
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// closedFD is what a descriptor becomes: one that is none.
const closedFD = -1

func (k *kernelSock) bind(a netip.AddrPort) error { return unix.Bind(k.fd, sockaddr(a)) }
func (k *kernelSock) listen() error               { return unix.Listen(k.fd, 8) }
func (k *kernelSock) shutdown(how int) error      { return unix.Shutdown(k.fd, how-1) }

func (k *kernelSock) connect(a netip.AddrPort) error {
	if !a.IsValid() {
		var unspec [16]byte // AF_UNSPEC is 0
		_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(k.fd), uintptr(unsafe.Pointer(&unspec)), 16)
		if errno != 0 {
			return errno
		}
		return nil
	}
	return unix.Connect(k.fd, sockaddr(a))
}

func (k *kernelSock) accept() (sock, error) {
	fd, _, err := unix.Accept4(k.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &kernelSock{fd, k.family}, nil
}

func (k *kernelSock) send(b []byte, to netip.AddrPort) (int, error) {
	return unix.SendmsgN(k.fd, b, nil, sockaddr(to), unix.MSG_NOSIGNAL)
}

func (k *kernelSock) recv(b []byte) (int, netip.AddrPort, error) {
	n, _, _, from, err := unix.Recvmsg(k.fd, b, nil, 0)
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	return n, addrPort(from), nil
}

func (k *kernelSock) local() (netip.AddrPort, error) {
	sa, err := unix.Getsockname(k.fd)
	return addrPort(sa), err
}

func (k *kernelSock) peer() (netip.AddrPort, error) {
	sa, err := unix.Getpeername(k.fd)
	return addrPort(sa), err
}

// kernelOptions have the options' levels and names on Linux.
var kernelOptions = map[string][2]int{
	"error":     {unix.SOL_SOCKET, unix.SO_ERROR},
	"listening": {unix.SOL_SOCKET, unix.SO_ACCEPTCONN},
	"reuse":     {unix.SOL_SOCKET, unix.SO_REUSEADDR},
	"keepalive": {unix.SOL_SOCKET, unix.SO_KEEPALIVE},
	"broadcast": {unix.SOL_SOCKET, unix.SO_BROADCAST},
	"nodelay":   {unix.IPPROTO_TCP, unix.TCP_NODELAY},
	"keepidle":  {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE},
	"v6only":    {unix.IPPROTO_IPV6, unix.IPV6_V6ONLY},
	"tos":       {unix.IPPROTO_IP, unix.IP_TOS},
	"ttl":       {unix.IPPROTO_IP, unix.IP_TTL},
}

func (k *kernelSock) option(name string) (int, error) {
	o := kernelOptions[name]
	return unix.GetsockoptInt(k.fd, o[0], o[1])
}

func (k *kernelSock) set(name string, v int) error {
	o := kernelOptions[name]
	return unix.SetsockoptInt(k.fd, o[0], o[1], v)
}

func (k *kernelSock) wait(events string) error {
	p := []unix.PollFd{{Fd: int32(k.fd)}}
	if strings.Contains(events, "r") {
		p[0].Events |= unix.POLLIN
	}
	if strings.Contains(events, "w") {
		p[0].Events |= unix.POLLOUT
	}
	for {
		n, err := unix.Poll(p, int(longest/time.Millisecond))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n == 0 && err == nil {
			err = context.DeadlineExceeded
		}
		return err
	}
}

func (k *kernelSock) poll() (e pvd.Events) {
	p := []unix.PollFd{{Fd: int32(k.fd), Events: unix.POLLIN | unix.POLLOUT | unix.POLLRDHUP}}
	if _, err := unix.Poll(p, 0); err != nil {
		return 0
	}
	for from, to := range map[int16]pvd.Events{
		unix.POLLIN: pvd.EventRead, unix.POLLOUT: pvd.EventWrite, unix.POLLRDHUP: pvd.EventReadHangUp,
		unix.POLLHUP: pvd.EventHangUp, unix.POLLERR: pvd.EventError,
	} {
		if p[0].Revents&from != 0 {
			e |= to
		}
	}
	return e
}

func (k *kernelSock) close() error {
	err := unix.Close(k.fd)
	k.fd = closedFD
	return err
}

// An ownSock is a socket of ours.
type ownSock struct{ *stack.Socket }

func (o ownSock) bind(a netip.AddrPort) error    { return o.Bind(a) }
func (o ownSock) connect(a netip.AddrPort) error { return o.Connect(context.Background(), a) }
func (o ownSock) listen() error                  { return o.Listen(8) }
func (o ownSock) shutdown(how int) error         { return o.Shutdown(pvd.Shutdown(how)) }
func (o ownSock) close() error                   { return o.Close() }

func (o ownSock) accept() (sock, error) {
	c, from, err := o.Accept(context.Background())
	if err != nil {
		return nil, err
	}
	if to, err := c.PeerAddr(); err != nil || to != from {
		return nil, fmt.Errorf("accepted from %v, the peer is %v, %w", from, to, err)
	}
	return ownSock{c}, c.SetNonblock(true)
}

func (o ownSock) send(b []byte, to netip.AddrPort) (int, error) {
	return o.SendTo(context.Background(), b, to)
}

func (o ownSock) recv(b []byte) (int, netip.AddrPort, error) {
	n, from, err := o.RecvFrom(context.Background(), b)
	if err == io.EOF { //nolint:errorlint // bare
		return 0, from, nil // the kernel's way to say so
	}
	return n, from, err
}

func (o ownSock) local() (netip.AddrPort, error) { return o.LocalAddr() }
func (o ownSock) peer() (netip.AddrPort, error)  { return o.PeerAddr() }

var ownOptions = map[string]pvd.SocketOption{
	"error": pvd.OptError, "listening": pvd.OptListening, "reuse": pvd.OptReuseAddr, "keepalive": pvd.OptKeepAlive,
	"broadcast": pvd.OptBroadcast, "nodelay": pvd.OptNoDelay, "keepidle": pvd.OptKeepIdle, "v6only": pvd.OptV6Only,
	"tos": pvd.OptToS, "ttl": pvd.OptHopLimit,
}

func (o ownSock) option(name string) (int, error) {
	v, err := o.Option(ownOptions[name])
	return int(v), err
}

func (o ownSock) set(name string, v int) error { return o.SetOption(ownOptions[name], int64(v)) }

func (o ownSock) poll() pvd.Events {
	return o.Ready(pvd.EventRead | pvd.EventWrite | pvd.EventReadHangUp)
}

func (o ownSock) wait(events string) error {
	var want pvd.Events
	if strings.Contains(events, "r") {
		want |= pvd.EventRead
	}
	if strings.Contains(events, "w") {
		want |= pvd.EventWrite
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	_, err := o.Wait(ctx, want)
	return err
}

// A sockWorld makes sockets and runs programs with them: each line names a socket by a number,
// a call and its arguments.
type sockWorld struct {
	t     *testing.T
	open  func(family, typ, proto int) (sock, error)
	socks map[string]sock
	ports map[uint16]string // by the name of the socket that had them first
}

// run runs a program and returns the outcome of each line.
func (w *sockWorld) run(program string) (outcomes []string) {
	defer func() {
		for _, s := range w.socks {
			_ = s.close()
		}
	}()
	for line := range strings.Lines(program) {
		if f := strings.Fields(line); len(f) > 1 {
			outcomes = append(outcomes, strings.TrimSpace(line)+": "+w.step(f[0], f[1], f[2:]))
		}
	}
	return outcomes
}

// address returns the address for a word: @name is where a socket is, lo@name the same at
// the loopback address, otherwise a literal, or - for none.
func (w *sockWorld) address(word string) netip.AddrPort {
	if word == "-" {
		return netip.AddrPort{}
	}
	at, name, ok := strings.Cut(word, "@")
	if !ok {
		return netip.MustParseAddrPort(word)
	}
	a, err := w.socks[name].local()
	if err != nil {
		w.t.Fatal(err)
	}
	if at != "" {
		a = netip.AddrPortFrom(netip.MustParseAddr(strings.Trim(at, "[]")), a.Port())
	}
	return a
}

// shown returns an address with the port's owner in place of the port.
func (w *sockWorld) shown(name string, a netip.AddrPort) string {
	if _, ok := w.ports[a.Port()]; !ok && a.Port() != 0 {
		w.ports[a.Port()] = name
	}
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.Addr().String() + " port of " + w.ports[a.Port()]
}

func (w *sockWorld) step(name, call string, args []string) string {
	s := w.socks[name]
	arg := func(i int) string { return args[i] }
	done := func(err error) string { return outcome(err) }
	switch call {
	case "socket":
		s, err := w.socket(arg(0))
		if err == nil {
			w.socks[name] = s
		}
		return done(err)
	case "bind":
		return done(s.bind(w.address(arg(0))))
	case "connect":
		return done(s.connect(w.address(arg(0))))
	case "listen":
		return done(s.listen())
	case "accept":
		c, err := s.accept()
		if err == nil {
			w.socks[arg(0)] = c
		}
		return done(err)
	case "send":
		n, err := s.send([]byte(arg(0)), w.address(arg(1)))
		return fmt.Sprint(n, done(err))
	case "sendmany":
		_, err := s.send(make([]byte, 70000), w.address(arg(0)))
		return done(err)
	case "recv":
		b := make([]byte, 100)
		n, from, err := s.recv(b)
		return fmt.Sprintf("%q %s %s", b[:max(n, 0)], w.shown("?", from), done(err))
	case "shutdown":
		return done(s.shutdown(map[string]int{"r": 1, "w": 2, "rw": 3, "bad": 9}[arg(0)]))
	case "local":
		a, err := s.local()
		return w.shown(name, a) + " " + done(err)
	case "peer":
		a, err := s.peer()
		if err != nil {
			return done(err)
		}
		return w.shown(name, a)
	case "get":
		v, err := s.option(arg(0))
		return fmt.Sprint(v, " ", done(err))
	case "set":
		v := 0
		_, _ = fmt.Sscan(arg(1), &v)
		return done(s.set(arg(0), v))
	case "poll":
		return fmt.Sprintf("%05b", s.poll()) // error, hang-up, the peer's, write, read
	case "wait":
		return done(s.wait(arg(0)))
	case "close":
		return done(s.close())
	}
	w.t.Fatalf("no call %q", call)
	return ""
}

func (w *sockWorld) socket(kind string) (sock, error) {
	k := map[string][3]int{
		"tcp4": {unix.AF_INET, unix.SOCK_STREAM, 0}, "tcp6": {unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP},
		"udp4": {unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP}, "udp6": {unix.AF_INET6, unix.SOCK_DGRAM, 0},
		"badfamily": {250, unix.SOCK_DGRAM, 0}, "badtype": {unix.AF_INET, unix.SOCK_RDM, 0},
		"badproto": {unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_UDP}, "badproto6": {unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_TCP},
	}[kind]
	return w.open(k[0], k[1], k[2])
}

// outcome returns the errno's name, "ok" for nil.
func outcome(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, net.ErrClosed):
		return "EBADF"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// ownSocket returns what opens a socket of a host's that does not block.
func ownSocket(open func(pvd.Family, pvd.SocketType, pvd.Protocol) (*stack.Socket, error)) func(family, typ, proto int) (sock, error) {
	return func(family, typ, proto int) (sock, error) {
		f := map[int]pvd.Family{unix.AF_INET: pvd.INET, unix.AF_INET6: pvd.INET6}[family]
		k := map[int]pvd.SocketType{unix.SOCK_STREAM: pvd.Stream, unix.SOCK_DGRAM: pvd.Datagram}[typ]
		s, err := open(f, k, pvd.Protocol(proto))
		if err != nil {
			return nil, err
		}
		return ownSock{s}, s.SetNonblock(true)
	}
}

// TestSocketAgainstKernel runs each program with the kernel's sockets and with ours: every
// call has the same outcome in every state.
func TestSocketAgainstKernel(t *testing.T) {
	for name, program := range kernelPrograms {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			pipe(t, "wire", h, nil)
			n := add(t, h, config("wire", "10.0.0.1/24", "fd00::1/64"))
			if err := h.SetDefault(n.PvD()); err != nil {
				t.Fatal(err)
			}
			kernel := &sockWorld{t: t, open: kernelSocket, socks: make(map[string]sock), ports: make(map[uint16]string)}
			own := &sockWorld{t: t, open: ownSocket(h.Socket), socks: make(map[string]sock), ports: make(map[uint16]string)}
			want, got := kernel.run(program), own.run(program)
			if !slices.Equal(got, want) {
				for i := range want {
					mark := " "
					if got[i] != want[i] {
						mark = "*"
					}
					t.Errorf("%s %-60s kernel %s", mark, got[i], strings.TrimPrefix(want[i], got[i][:strings.Index(got[i], ": ")]))
				}
			}
		})
	}
}
