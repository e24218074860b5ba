package stack

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// The operations that a *net.OpError names in its Op field, in package net's words.
const (
	opDial     = "dial"
	opListen   = "listen"
	opAccept   = "accept"
	opRead     = "read"
	opWrite    = "write"
	opReadFrom = "readfrom" // TCPConn.ReadFrom; receiving a datagram is opRead
	opWriteTo  = "writeto"  // TCPConn.WriteTo; sending a datagram is opWrite
	opClose    = "close"
	opSet      = "set"
	opPing     = "ping"
)

// errnoOf returns the system's number for an error of gVisor's. Its text is for a
// person, its number is what programs compare with.
func errnoOf(err tcpip.Error) syscall.Errno {
	switch err.(type) {
	case *tcpip.ErrNetworkUnreachable:
		return syscall.ENETUNREACH
	// ErrNoNet is an ICMP code of a router's. ENONET stands for a PvD that is gone.
	case *tcpip.ErrHostUnreachable, *tcpip.ErrHostDown, *tcpip.ErrNoNet:
		return syscall.EHOSTUNREACH
	// A route is in an invalid state when its source has just been taken away.
	case *tcpip.ErrBadLocalAddress, *tcpip.ErrNoPortAvailable, *tcpip.ErrInvalidEndpointState:
		return syscall.EADDRNOTAVAIL
	case *tcpip.ErrUnknownDevice, *tcpip.ErrUnknownNICID, *tcpip.ErrInvalidNICID:
		return syscall.ENETDOWN
	case *tcpip.ErrPortInUse:
		return syscall.EADDRINUSE
	case *tcpip.ErrConnectionRefused:
		return syscall.ECONNREFUSED
	case *tcpip.ErrConnectionReset:
		return syscall.ECONNRESET
	case *tcpip.ErrAborted, *tcpip.ErrConnectionAborted:
		return syscall.ECONNABORTED
	case *tcpip.ErrBroadcastDisabled, *tcpip.ErrNotPermitted:
		return syscall.EACCES
	case *tcpip.ErrTimeout:
		return syscall.ETIMEDOUT
	case *tcpip.ErrClosedForSend:
		return syscall.EPIPE
	case *tcpip.ErrClosedForReceive, *tcpip.ErrNotConnected:
		return syscall.ENOTCONN
	case *tcpip.ErrMessageTooLong:
		return syscall.EMSGSIZE
	case *tcpip.ErrDestinationRequired:
		return syscall.EDESTADDRREQ
	case *tcpip.ErrNoBufferSpace:
		return syscall.ENOBUFS
	case *tcpip.ErrWouldBlock:
		return syscall.EAGAIN
	case *tcpip.ErrAlreadyConnected:
		return syscall.EISCONN
	case *tcpip.ErrAlreadyConnecting, *tcpip.ErrConnectStarted:
		return syscall.EALREADY
	case *tcpip.ErrAddressFamilyNotSupported:
		return syscall.EAFNOSUPPORT
	case *tcpip.ErrUnknownProtocol:
		return syscall.EPROTONOSUPPORT
	case *tcpip.ErrUnknownProtocolOption:
		return syscall.ENOPROTOOPT
	case *tcpip.ErrNotSupported:
		return syscall.ENOTSUP
	}
	return syscall.EINVAL
}

// stackError returns an error of gVisor's in the form that package net gives to what a
// system call returned.
func stackError(call string, err tcpip.Error) error {
	return os.NewSyscallError(call, errnoOf(err))
}

// callError puts the name of the system call, as package net has it, before an error that
// is a bare number. Other errors stay as they are.
func callError(call string, err error) error {
	if errno, ok := err.(syscall.Errno); ok { //nolint:errorlint // one that is wrapped has its call already
		return os.NewSyscallError(call, errno)
	}
	return err
}

// canceledError is what a cancelled context gives. Its text is package net's.
type canceledError struct{ cause error }

func (canceledError) Error() string        { return "operation was canceled" }
func (canceledError) Is(target error) bool { return target == context.Canceled }
func (e canceledError) Unwrap() error      { return e.cause }

// timeoutError is what a context gives whose deadline has passed. To those who compare
// it is the deadline of a context and that of a connection.
type timeoutError struct{ cause error }

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }
func (timeoutError) Is(target error) bool {
	return target == context.DeadlineExceeded || target == os.ErrDeadlineExceeded
}
func (e timeoutError) Unwrap() error { return e.cause }

// contextError returns why ctx, which has ended, has.
func contextError(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return timeoutError{context.Cause(ctx)}
	}
	return canceledError{context.Cause(ctx)}
}

// opError is an error as package net returns it. A nil source or addr stays out of it.
func opError(op, network string, source, addr net.Addr, err error) error {
	return &net.OpError{Op: op, Net: network, Source: source, Addr: addr, Err: err}
}
