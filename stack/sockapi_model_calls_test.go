package stack_test

import (
	"net/netip"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

func (k *modelSock) listen() []string {
	switch {
	case k.state == modelClosed:
		return k.open()
	case k.kind != modelStream:
		return []string{"EOPNOTSUPP"}
	case k.vague:
		k.then = func(got string) {
			if got == "ok" {
				k.state, k.explicit = modelListening, true
			}
		}
		return []string{"ok", "EINVAL", "EADDRINUSE", "ENETUNREACH"}
	case k.state == modelIdle && k.scope == pvd.Null:
		return []string{"ENETUNREACH"}
	case k.state == modelIdle:
		in := k.resolve(k.scope)
		if k.scope == pvd.Unspecified {
			in = pvd.All
		}
		k.state, k.in, k.home, k.explicit = modelListening, in, in, true
		return []string{"ok"}
	case k.state == modelBound:
		allowed := append(k.rivalsOfPort(), "ok")
		k.then = func(got string) {
			if got == "ok" {
				k.state = modelListening
			}
		}
		return allowed
	case k.state == modelListening:
		return []string{"ok"}
	}
	return []string{"EINVAL"}
}

func (k *modelSock) accept() []string {
	switch {
	case k.state == modelClosed:
		return k.open()
	case k.kind != modelStream:
		return []string{"EOPNOTSUPP"}
	case k.state != modelListening:
		return []string{"EINVAL"}
	}
	return []string{"ok", "EAGAIN"}
}

func (k *modelSock) send(data []byte, at netip.AddrPort, ref pvd.Ref) []string {
	if k.state == modelClosed && (k.kind != modelStream || ref == pvd.Unspecified) {
		return k.open()
	}
	if k.kind == modelStream {
		return k.sendStream(ref)
	}
	switch {
	case len(data) > 65535:
		return []string{"EMSGSIZE"}
	case k.kind == modelEcho && (len(data) < 8 || data[0] != map[pvd.Family]byte{pvd.INET: 8, pvd.INET6: 128}[k.family]):
		return []string{"EINVAL"}
	}
	to, refusal := at.Addr(), ""
	if to.IsValid() {
		to, refusal = k.destination(to)
		switch {
		case refusal != "":
			return []string{refusal}
		case at.Port() == 0 && k.kind == modelDatagram:
			return []string{"EINVAL"}
		}
	} else if k.state != modelConnected {
		if k.vague {
			return k.sendVague()
		}
		return []string{"EDESTADDRREQ"}
	}
	if k.vague || k.state == modelConnected || ref != pvd.Unspecified && ref != k.pvd() || to.IsMulticast() || to.String() == "255.255.255.255" {
		return k.sendVague()
	}
	in := k.resolve(k.pvd())
	if k.scope == pvd.All && k.in == pvd.All || k.scope == pvd.All && k.state == modelIdle {
		in = k.m.a // it is bound everywhere, and sends by the scopes
	}
	why := k.reach(in, to)
	if in == pvd.Null || to.Zone() != "" {
		return []string{why}
	}
	if k.state == modelIdle { // is bound now, whatever becomes of the datagram
		k.state, k.in = modelBound, k.resolve(k.scope)
		if k.scope == pvd.Unspecified || k.scope == pvd.All {
			k.in = pvd.All
		}
	}
	switch {
	case k.shut&pvd.ShutWrite != 0:
		return []string{"EPIPE"}
	case why != "":
		return []string{why}
	}
	return []string{"ok"}
}

// sendVague is for datagrams whose way the model does not follow.
func (k *modelSock) sendVague() []string {
	if k.state != modelConnected {
		k.unsure()
	}
	return []string{
		"ok", "EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "EAFNOSUPPORT", "ECONNREFUSED", "EDESTADDRREQ", "EHOSTUNREACH", "EINVAL", "ENETUNREACH",
		"ENOPVD", "EPIPE", "EPROTONOSUPPORT", "EMSGSIZE",
	}
}

func (k *modelSock) sendStream(ref pvd.Ref) []string {
	if ref != pvd.Unspecified && ref != k.pvd() {
		return []string{"EACCES", "EPIPE", "EBADF", "EAGAIN", "ECONNREFUSED", "ECONNRESET"}
	}
	switch k.state {
	case modelClosed:
		return k.open()
	case modelConnecting, modelFailed:
		return append(slices.Clone(handshakeErrors), "ok", "EAGAIN", "EPIPE")
	case modelConnected:
		return []string{"ok", "EAGAIN", "EPIPE", "ECONNRESET"}
	default:
		return []string{"EPIPE", "ECONNRESET"}
	}
}

func (k *modelSock) recv() []string {
	switch {
	case k.state == modelClosed:
		return k.open()
	case k.kind != modelStream && k.state == modelConnected:
		return []string{"ok", "EAGAIN", "ECONNREFUSED"}
	case k.kind != modelStream && (k.vague || k.state != modelIdle):
		return []string{"ok", "EAGAIN", "ECONNREFUSED"}
	case k.kind != modelStream:
		return []string{"EAGAIN"}
	case k.state == modelConnecting || k.state == modelFailed:
		return append(slices.Clone(handshakeErrors), "ok", "EAGAIN", "EOF")
	case k.state == modelConnected:
		return []string{"ok", "EAGAIN", "EOF", "ECONNRESET"}
	}
	return []string{"ENOTCONN", "ECONNRESET"}
}

func (k *modelSock) shutdown(how pvd.Shutdown) []string {
	switch {
	case k.state == modelClosed:
		return k.open()
	case how == 0 || how > pvd.ShutBoth:
		return []string{"EINVAL"}
	case k.kind != modelStream:
		k.shut |= how
		if k.vague {
			return []string{"ok", "ENOTCONN"}
		}
		if k.state != modelConnected {
			return []string{"ENOTCONN"}
		}
		return []string{"ok"}
	}
	switch k.state {
	case modelConnecting:
		k.then = func(got string) {
			if _, err := k.s.PeerAddr(); got == "ok" && err != nil {
				k.back()
			}
		}
		return []string{"ok", "ENOTCONN"}
	case modelListening:
		if how&pvd.ShutRead != 0 {
			k.state = modelBound
		}
		return []string{"ok"}
	case modelConnected:
		return []string{"ok", "ENOTCONN"}
	default:
	}
	if k.vague {
		return []string{"ok", "ENOTCONN"}
	}
	return []string{"ENOTCONN"}
}

func (k *modelSock) close() []string {
	allowed := k.open("ok")
	k.state = modelClosed
	return allowed
}
