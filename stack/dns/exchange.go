package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// past is a deadline that wakes up whoever waits.
var past = time.Unix(1, 0)

// Reasons to ask the same server again, over TCP.
var (
	errTruncated = errors.New("answer is truncated")
	errCase      = errors.New("answer does not keep the case of the name")
)

// errUnread reports a server that can read no query of ours.
var errUnread = fmt.Errorf("%w: it cannot read the query", errRcode)

// buffers are for datagrams.
var buffers = sync.Pool{New: func() any { return new([readSize]byte) }}

// overPlain sends s once, over UDP or TCP by a connection of its own, and waits for the
// answer until ctx ends. Whatever else arrives is passed over: who can send to us must not
// be able to end the query.
func (u *upstream) overPlain(ctx context.Context, network string, s *sent) (msg []byte, source netip.AddrPort, err error) {
	c, err := u.r.conf.Dial(ctx, network, u.addr)
	if err != nil {
		return nil, source, err
	}
	defer c.Close()
	defer whenOver(ctx, func() { _ = c.SetDeadline(past) })()
	source = sourceOf(c)
	if network == "tcp" {
		msg, err = overStream(c, s)
		return msg, source, err
	}
	if _, err := c.Write(s.msg); err != nil {
		return nil, source, err
	}
	buf := buffers.Get().(*[readSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := c.Read(buf[:])
		if err != nil {
			return nil, source, err
		}
		switch v := s.judge(buf[:n]); {
		case v == other:
			continue
		case v == recased:
			err = errCase
		case truncated(buf[:n]):
			err = errTruncated
		}
		return slices.Clone(buf[:n]), source, err
	}
}

func overStream(c net.Conn, s *sent) ([]byte, error) {
	if err := writeMessage(c, s.msg); err != nil {
		return nil, err
	}
	for {
		msg, err := readMessage(c)
		if err != nil || s.judge(msg) != other {
			return msg, err
		}
	}
}

// writeMessage writes a message with its length before it (RFC 1035 section 4.2.2), in one
// piece (RFC 7766 section 8).
func writeMessage(w io.Writer, msg []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg))), msg...))
	return err
}

// readMessage is its counterpart.
func readMessage(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(r, msg); err != nil {
		return nil, err
	}
	return msg, nil
}
