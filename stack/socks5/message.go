package socks5

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
)

// A Command is what a client wants done (RFC 1928 section 4).
type Command uint8

// The commands of RFC 1928.
const (
	Connect      Command = 1
	Bind         Command = 2
	UDPAssociate Command = 3
)

// String returns the command's name as RFC 1928 writes it, or its number.
func (c Command) String() string {
	switch c {
	case Connect:
		return "CONNECT"
	case Bind:
		return "BIND"
	case UDPAssociate:
		return "UDP ASSOCIATE"
	}
	return "command " + strconv.Itoa(int(c))
}

// A Reply is the outcome of a request as the client is told (RFC 1928 section 6).
type Reply uint8

// The replies of RFC 1928.
const (
	Succeeded               Reply = 0
	GeneralFailure          Reply = 1
	NotAllowed              Reply = 2
	NetworkUnreachable      Reply = 3
	HostUnreachable         Reply = 4
	ConnectionRefused       Reply = 5
	TTLExpired              Reply = 6
	CommandNotSupported     Reply = 7
	AddressTypeNotSupported Reply = 8
)

// Numbers of RFC 1928 and RFC 1929.
const (
	version     = 5
	authVersion = 1

	methodNone     = 0x00
	methodPassword = 0x02
	methodRefused  = 0xff

	atypIPv4   = 1
	atypDomain = 3
	atypIPv6   = 4

	authSucceeded = 0
	authFailed    = 1
)

// maxHandshake is the most octets that a client's handshake has: method selection, user
// name and password, request. A reader of messages takes not one more, since what
// follows belongs to the destination.
const maxHandshake = (2 + 255) + (3 + 255 + 255) + (4 + 1 + 255 + 2)

var (
	errVersion     = errors.New("not SOCKS version 5")
	errAuthVersion = errors.New("not version 1 of user name and password authentication")
	errAddressType = errors.New("unknown address type")
	errNoHost      = errors.New("empty host name")
)

// A reader takes messages from a client, octet by octet as far as it depends on what
// came before. The slices and strings that it returns are the caller's.
type reader struct {
	r   io.Reader
	buf [255]byte
}

// next returns the next n octets, at most 255, which are good until the next call.
func (r *reader) next(n int) ([]byte, error) {
	b := r.buf[:n]
	_, err := io.ReadFull(r.r, b)
	return b, err
}

// counted returns a string that its length in one octet precedes.
func (r *reader) counted() (string, error) {
	b, err := r.next(1)
	if err != nil {
		return "", err
	}
	b, err = r.next(int(b[0]))
	return string(b), err
}

// methods reads a version identifier and method selection message (RFC 1928 section 3).
func (r *reader) methods() ([]byte, error) {
	b, err := r.next(1)
	if err != nil {
		return nil, err
	}
	if b[0] != version {
		return nil, fmt.Errorf("%w: version %d", errVersion, b[0])
	}
	m, err := r.counted()
	return []byte(m), err
}

// credentials reads a user name and a password (RFC 1929 section 2).
func (r *reader) credentials() (user, password string, err error) {
	b, err := r.next(1)
	if err != nil {
		return "", "", err
	}
	if b[0] != authVersion {
		return "", "", fmt.Errorf("%w: version %d", errAuthVersion, b[0])
	}
	if user, err = r.counted(); err != nil {
		return "", "", err
	}
	password, err = r.counted()
	return user, password, err
}

// request reads a request (RFC 1928 section 4). The reserved octet is not looked at.
func (r *reader) request() (*Request, error) {
	b, err := r.next(4)
	if err != nil {
		return nil, err
	}
	if b[0] != version {
		return nil, fmt.Errorf("%w: request of version %d", errVersion, b[0])
	}
	req := &Request{Command: Command(b[1])}
	switch atyp := b[3]; atyp {
	case atypIPv4, atypIPv6:
		n := 4
		if atyp == atypIPv6 {
			n = 16
		}
		if b, err = r.next(n); err != nil {
			return nil, err
		}
		addr, _ := netip.AddrFromSlice(b)
		req.Host = addr.String()
	case atypDomain:
		if req.Host, err = r.counted(); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%w: %d", errAddressType, atyp)
	}
	if b, err = r.next(2); err != nil {
		return nil, err
	}
	req.Port = binary.BigEndian.Uint16(b)
	if req.Host == "" {
		return nil, errNoHost
	}
	return req, nil
}

// chooseMethod returns the method to use with a client that offers those of offered.
func chooseMethod(offered []byte, auth bool) byte {
	want := byte(methodNone)
	if auth {
		want = methodPassword
	}
	if slices.Contains(offered, want) {
		return want
	}
	return methodRefused
}

// appendReply appends a reply (RFC 1928 section 6). A bound address that is not valid
// becomes 0.0.0.0:0.
func appendReply(b []byte, r Reply, bound netip.AddrPort) []byte {
	addr, port := bound.Addr().Unmap(), bound.Port()
	atyp := byte(atypIPv4)
	switch {
	case !addr.IsValid():
		addr, port = netip.IPv4Unspecified(), 0
	case addr.Is6():
		atyp = atypIPv6
	}
	b = append(b, version, byte(r), 0, atyp)
	b = append(b, addr.AsSlice()...)
	return binary.BigEndian.AppendUint16(b, port)
}
