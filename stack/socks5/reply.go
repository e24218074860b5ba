package socks5

import (
	"context"
	"errors"
	"net"
	"syscall"

	"github.com/pvdstack/pvdstack/pvd"
)

// ErrTTLExpired may be wrapped by a network's error where an ICMP time exceeded message
// ended the attempt. There is no number of the system for it.
var ErrTTLExpired = errors.New("socks5: TTL expired")

// replies says which reply an error calls for; the first match counts. A PvD that is
// gone, or has no address of the family, is to the client a network out of reach.
var replies = []struct {
	err   error
	reply Reply
}{
	{errForbidden, NotAllowed},
	{errCommand, CommandNotSupported},
	{errAddressType, AddressTypeNotSupported},
	{pvd.ErrNoPvD, NetworkUnreachable},
	{ErrTTLExpired, TTLExpired},
	{syscall.ECONNREFUSED, ConnectionRefused},
	{syscall.EHOSTUNREACH, HostUnreachable},
	{syscall.EHOSTDOWN, HostUnreachable},
	{syscall.ENETUNREACH, NetworkUnreachable},
	{syscall.ENETDOWN, NetworkUnreachable},
	{syscall.EADDRNOTAVAIL, NetworkUnreachable},
	{syscall.EAFNOSUPPORT, NetworkUnreachable},
	{syscall.EACCES, NotAllowed},
	{syscall.EPERM, NotAllowed},
	{context.DeadlineExceeded, HostUnreachable},
}

// replyOf returns the reply that tells a client of err.
func replyOf(err error) Reply {
	if err == nil {
		return Succeeded
	}
	// A name that cannot be resolved, for whatever reason, is a host out of reach: that
	// its server refused is not a refusal by the destination.
	if _, ok := errors.AsType[*net.DNSError](err); ok && !errors.Is(err, pvd.ErrNoPvD) {
		return HostUnreachable
	}
	for _, r := range replies {
		if errors.Is(err, r.err) {
			return r.reply
		}
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return HostUnreachable
	}
	return GeneralFailure
}

// telling ranks replies by how far an attempt came that failed with it. Of the errors
// of several addresses the client is told the one that ranks highest: that IPv6 has no
// route says little once IPv4 has been refused.
func telling(r Reply) int {
	switch r {
	case ConnectionRefused:
		return 4
	case TTLExpired, HostUnreachable:
		return 3
	case NetworkUnreachable:
		return 2
	case GeneralFailure:
		return 1
	default:
		return 0
	}
}
