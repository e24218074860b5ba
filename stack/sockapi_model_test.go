package stack_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// A modelState is a state in which the model has a socket.
type modelState int

const (
	modelIdle modelState = iota
	modelBound
	modelListening
	modelConnecting
	modelFailed
	modelConnected
	modelClosed
)

// A modelKind is a kind of socket.
type modelKind int

const (
	modelStream modelKind = iota
	modelDatagram
	modelEcho
)

func kindOf(typ pvd.SocketType, p pvd.Protocol) modelKind {
	switch {
	case typ == pvd.Stream:
		return modelStream
	case p == pvd.ICMP || p == pvd.ICMPv6:
		return modelEcho
	}
	return modelDatagram
}

// A modelSock is a socket and what the model knows of it. The methods that are named after
// calls return the outcomes that the call may have, and take note of what it does; where
// that depends on the outcome, then is called with it.
type modelSock struct {
	m         *socketModel
	s         *stack.Socket
	kind      modelKind
	family    pvd.Family
	v6only    bool
	broadcast bool

	state    modelState
	scope    pvd.Ref    // as set
	in       pvd.Ref    // where it is: Unspecified, or All if in all
	home     pvd.Ref    // where it is bound
	src      netip.Addr // what it is bound to, without IPv6 form; invalid: nothing specific
	explicit bool       // bound by Bind or Listen
	told     bool       // Connect has told of the connection
	shut     pvd.Shutdown
	vague    bool // the model has lost track of where it is

	then func(outcome string)
}

// check compares an outcome.
func (m *socketModel) check(call string, k *modelSock, err error, allowed []string) {
	got := modelOutcome(err)
	where := ""
	if k != nil {
		where = fmt.Sprintf(" %d(%d,%d)", slices.Index(m.socks, k), k.kind, k.state)
	}
	m.trace = append(m.trace, call+where+": "+got)
	if !slices.Contains(allowed, got) {
		m.t.Errorf("%v\n%s: %v, want one of %v", m.trace, call, err, allowed)
	}
	if _, ok := err.(*net.OpError); err != nil && !ok && err != io.EOF { //nolint:errorlint // outermost is what is promised
		m.t.Errorf("%s: %T %v, want a *net.OpError", call, err, err)
	}
	if k != nil && k.then != nil {
		then := k.then
		k.then = nil
		then(got)
	}
}

func modelOutcome(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, net.ErrClosed):
		return "EBADF"
	case errors.Is(err, pvd.ErrNoPvD):
		return "ENOPVD"
	case errors.Is(err, io.EOF):
		return "EOF"
	case errors.As(err, &errno):
		for e, name := range modelErrnos {
			if errno == e {
				return name
			}
		}
	}
	return err.Error()
}

var modelErrnos = map[syscall.Errno]string{
	syscall.EACCES: "EACCES", syscall.EADDRINUSE: "EADDRINUSE", syscall.EADDRNOTAVAIL: "EADDRNOTAVAIL", syscall.EAFNOSUPPORT: "EAFNOSUPPORT",
	syscall.EAGAIN: "EAGAIN", syscall.EALREADY: "EALREADY", syscall.ECONNABORTED: "ECONNABORTED", syscall.ECONNREFUSED: "ECONNREFUSED",
	syscall.ECONNRESET: "ECONNRESET", syscall.EDESTADDRREQ: "EDESTADDRREQ", syscall.EHOSTUNREACH: "EHOSTUNREACH", syscall.EINPROGRESS: "EINPROGRESS",
	syscall.EINVAL: "EINVAL", syscall.EISCONN: "EISCONN", syscall.EMSGSIZE: "EMSGSIZE", syscall.ENETUNREACH: "ENETUNREACH", syscall.ENOBUFS: "ENOBUFS",
	syscall.ENODEV: "ENODEV", syscall.ENOPROTOOPT: "ENOPROTOOPT", syscall.ENOTCONN: "ENOTCONN", syscall.EOPNOTSUPP: "EOPNOTSUPP", syscall.EPIPE: "EPIPE",
	syscall.EPROTO: "EPROTO", syscall.EPROTONOSUPPORT: "EPROTONOSUPPORT", syscall.ESOCKTNOSUPPORT: "ESOCKTNOSUPPORT",
}

// open returns outcomes of a call that a closed socket does not take.
func (k *modelSock) open(outcomes ...string) []string {
	if k.state == modelClosed {
		return []string{"EBADF"}
	}
	return outcomes
}

// catchUp follows a handshake, which goes on by itself.
func (k *modelSock) catchUp() {
	if k.state != modelConnecting {
		return
	}
	if _, err := k.s.PeerAddr(); err == nil {
		k.state = modelConnected
	} else if k.s.Ready(0)&pvd.EventError != 0 {
		k.state = modelFailed
	}
}

// unsure has the model take for possible what it does not follow.
func (k *modelSock) unsure() { k.vague = true }

// pvd is what Socket.PvD is to return.
func (k *modelSock) pvd() pvd.Ref {
	if k.vague {
		return k.s.PvD()
	}
	if k.in != pvd.Unspecified && k.in != pvd.All {
		return k.in
	}
	return k.scope
}

func (k *modelSock) setPvD(ref pvd.Ref) []string {
	switch {
	case k.state == modelClosed:
		return k.open()
	case k.vague:
		k.then = func(got string) {
			if got == "ok" && k.s.PvD() == ref {
				k.scope = ref
			}
		}
		return []string{"ok", "EINVAL", "ENOPVD"}
	case ref == k.pvd():
		return []string{"ok"}
	case ref == 99999:
		return []string{"ENOPVD"}
	case k.state != modelIdle:
		return []string{"EINVAL"}
	}
	k.scope = ref
	return []string{"ok"}
}

// has reports whether a PvD has an address.
func (k *modelSock) has(ref pvd.Ref, a netip.Addr) bool {
	own := map[pvd.Ref][]string{k.m.a: {"10.0.0.1", "10.1.0.1", "fd01::1"}, k.m.b: {"10.0.0.1", "10.2.0.1"}}[ref]
	return a.IsLoopback() || slices.Contains(own, a.String())
}

// resolve returns the PvD that a scope comes down to.
func (k *modelSock) resolve(ref pvd.Ref) pvd.Ref {
	if ref == pvd.Unspecified || ref == pvd.SystemDefault {
		return k.m.a
	}
	return ref
}

// rivals returns EADDRINUSE if a socket of the same kind may have the port.
func (k *modelSock) rivals(port uint16) []string {
	for _, o := range k.m.socks {
		if a, err := o.s.LocalAddr(); o != k && err == nil && a.Port() == port && o.kind == k.kind {
			return []string{"EADDRINUSE"}
		}
	}
	return nil
}

// locate finds where Bind puts the socket, or why it does not.
func (k *modelSock) locate(at netip.Addr) (in pvd.Ref, refusal string) {
	a := at.Unmap()
	switch {
	case k.family == pvd.INET && at.IsValid() && !at.Is4(), k.family == pvd.INET6 && !at.Is6():
		return 0, "EAFNOSUPPORT"
	case at.Is4In6() && (k.v6only || k.kind == modelEcho):
		return 0, "EINVAL"
	}
	wild := !a.IsValid() || a.IsUnspecified()
	switch {
	case k.scope == pvd.Null:
		return 0, "ENETUNREACH"
	case (k.scope == pvd.Unspecified || k.scope == pvd.All) && wild:
		return pvd.All, ""
	case k.scope == pvd.All:
		return 0, "EADDRNOTAVAIL"
	case a.Zone() != "":
		return 0, "ENOPVD"
	case k.scope != pvd.Unspecified:
		if in = k.resolve(k.scope); wild || k.has(in, a) {
			return in, ""
		}
		return 0, "EADDRNOTAVAIL"
	}
	for _, ref := range []pvd.Ref{k.m.a, k.m.b} { // the default first
		if k.has(ref, a) {
			return ref, ""
		}
	}
	return 0, "EADDRNOTAVAIL"
}

func (k *modelSock) bind(at netip.AddrPort) []string {
	if k.state == modelClosed {
		return k.open()
	}
	in, refusal := k.locate(at.Addr())
	switch {
	case k.vague:
		k.then = func(got string) { k.bound(got, in, at) }
		return []string{"ok", "EINVAL", "EADDRINUSE", "EADDRNOTAVAIL", "ENETUNREACH", "ENOPVD", "EAFNOSUPPORT"}
	case refusal != "":
		return []string{refusal}
	case k.state != modelIdle:
		return []string{"EINVAL"}
	}
	k.then = func(got string) { k.bound(got, in, at) }
	if r := k.rivals(at.Port()); r != nil && at.Port() != 0 {
		return append(r, "ok")
	}
	return []string{"ok"}
}

func (k *modelSock) bound(got string, in pvd.Ref, at netip.AddrPort) {
	if got != "ok" {
		return
	}
	k.state, k.in, k.home, k.explicit, k.src = modelBound, in, in, true, netip.Addr{}
	if a := at.Addr().Unmap(); a.IsValid() && !a.IsUnspecified() {
		k.src = a
	}
}

// destination returns the destination without its IPv6 form, or why there is none.
func (k *modelSock) destination(to netip.Addr) (netip.Addr, string) {
	mapped := to.Is4In6()
	switch {
	case k.family == pvd.INET && !to.Is4():
		return to, "EAFNOSUPPORT"
	case k.family == pvd.INET6 && to.Is4() && k.kind != modelDatagram:
		return to, "EAFNOSUPPORT"
	}
	if (mapped || k.family == pvd.INET6 && to.Is4()) && (k.v6only || k.kind == modelEcho) {
		return to, "ENETUNREACH"
	}
	a := to.Unmap()
	if a.IsUnspecified() {
		a = netip.IPv6Loopback()
		if to.Unmap().Is4() {
			a = netip.MustParseAddr("127.0.0.1")
		}
	}
	return a, ""
}

// reach says what becomes of an attempt to reach a destination in a PvD: "" is success.
func (k *modelSock) reach(in pvd.Ref, to netip.Addr) string {
	switch in {
	case pvd.Null:
		return "ENETUNREACH"
	case 99999:
		return "ENOPVD"
	default:
	}
	if to.Zone() != "" {
		return "ENOPVD"
	}
	if in == pvd.All {
		return "EINVAL"
	}
	switch src := k.src; {
	case src.IsValid() && src.Is4() && to.Is6():
		return "EAFNOSUPPORT"
	case src.IsValid() && src.Is6() && to.Is4():
		return "ENETUNREACH"
	case k.has(in, to):
		return ""
	case src.IsLoopback():
		return "EADDRNOTAVAIL"
	case to.IsMulticast() && to.Is6() && in == k.m.b:
		return "EPROTONOSUPPORT" // no address to send from
	case to.IsMulticast(), to.String() == "255.255.255.255":
		return ""
	case in == k.m.b && to.Is6():
		return "EPROTONOSUPPORT"
	case in == k.m.b:
		return ""
	case netip.MustParsePrefix("10.0.0.0/24").Contains(to), netip.MustParsePrefix("fd01::/64").Contains(to):
		return ""
	}
	return "ENETUNREACH"
}

func (k *modelSock) connect(at netip.AddrPort) []string {
	if k.state == modelClosed {
		return k.open()
	}
	if !at.Addr().IsValid() {
		k.dissolve()
		return []string{"ok"}
	}
	if k.kind == modelStream {
		return k.connectStream(at)
	}
	to, refusal := k.destination(at.Addr())
	if refusal != "" {
		return []string{refusal}
	}
	if k.kind == modelDatagram && at.Port() == 0 {
		return []string{"EADDRNOTAVAIL"}
	}
	in := k.resolve(k.scope)
	if k.explicit && k.home != pvd.All {
		in = k.home
	}
	if why := k.reach(in, to); why != "" && !k.vague {
		return []string{why}
	}
	k.then = func(got string) {
		if got == "ok" {
			k.state, k.in = modelConnected, in
		}
	}
	// Ports and broadcast are others' tests.
	allowed := append(k.rivalsOfPort(), "ok")
	if k.vague || to.IsMulticast() || to.String() == "255.255.255.255" {
		k.unsure()
		allowed = append(allowed, "ENETUNREACH", "EADDRNOTAVAIL", "EACCES", "EPROTONOSUPPORT", "ENOPVD", "EINVAL", "EAFNOSUPPORT")
	}
	return allowed
}

// rivalsOfPort returns EADDRINUSE where the socket's own port may be another's too.
func (k *modelSock) rivalsOfPort() []string {
	if a, err := k.s.LocalAddr(); err == nil && a.Port() != 0 {
		return k.rivals(a.Port())
	}
	return nil
}

// dissolve is Connect with no address.
func (k *modelSock) dissolve() {
	switch k.state {
	case modelIdle, modelBound:
	default:
		k.back()
	}
}

// back returns the socket to what it was bound to.
func (k *modelSock) back() {
	k.told = false
	if k.vague {
		k.state = modelIdle
		if a, err := k.s.LocalAddr(); err == nil && a.Port() != 0 {
			k.state = modelBound
		}
		return
	}
	if k.explicit {
		k.state, k.in = modelBound, k.home
		if len(k.rivalsOfPort()) > 0 {
			k.unsure() // it may have lost the port
		}
		return
	}
	k.state, k.in, k.home, k.src = modelIdle, pvd.Unspecified, pvd.Unspecified, netip.Addr{}
}

var handshakeErrors = []string{"ECONNREFUSED", "ECONNABORTED", "ECONNRESET", "EHOSTUNREACH", "ENETUNREACH"}

func (k *modelSock) connectStream(at netip.AddrPort) []string {
	switch k.state {
	case modelConnecting:
		k.then = func(got string) {
			switch {
			case got == "ok":
				k.state, k.told = modelConnected, true
			case slices.Contains(handshakeErrors, got):
				k.back()
			}
		}
		return append(slices.Clone(handshakeErrors), "EALREADY", "ok")
	case modelFailed:
		k.then = func(string) { k.back() }
		return handshakeErrors
	case modelListening:
		return []string{"EISCONN"}
	case modelConnected:
		if k.told {
			return []string{"EISCONN"}
		}
		k.told = true
		return []string{"ok"}
	default:
	}
	to, refusal := k.destination(at.Addr())
	if refusal != "" {
		return []string{refusal}
	}
	in := k.resolve(k.scope)
	if k.state == modelBound && k.in != pvd.All {
		in = k.in
	}
	switch why := k.reach(in, to); {
	case in == pvd.Null || in == pvd.All || to.Zone() != "":
		return []string{why}
	case to.IsMulticast() || to.String() == "255.255.255.255":
		return []string{"ENETUNREACH"}
	case at.Port() == 0:
		return []string{"EADDRNOTAVAIL"}
	case why != "" && !k.vague:
		return []string{why}
	}
	k.then = func(got string) {
		switch {
		case got == "EINPROGRESS":
			k.state, k.in, k.told = modelConnecting, in, false
		case got != "ENETUNREACH":
			k.unsure()
		}
	}
	allowed := append(k.rivalsOfPort(), "EINPROGRESS")
	if k.explicit || k.vague {
		// A connection of the same ends may still be on its way out, or the socket would
		// have itself for a peer.
		allowed = append(allowed, "EADDRINUSE", "EADDRNOTAVAIL", "ENETUNREACH", "EPROTONOSUPPORT", "EAFNOSUPPORT", "EINVAL")
	}
	return allowed
}
