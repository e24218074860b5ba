package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// errTimeout reports a server that did not answer in time.
var errTimeout = fmt.Errorf("no answer: %w", os.ErrDeadlineExceeded)

// past is a deadline that wakes up whoever waits.
var past = time.Unix(1, 0)

// ask puts q to the servers until one of them knows. A server that answers but does not
// know is not asked again, one that is silent is, in the next round. The error is that
// of the server returned, the last one asked.
func (r *Resolver) ask(ctx context.Context, servers []netip.AddrPort, q question) (addrs []netip.Addr, server netip.AddrPort, err error) {
	servers = slices.Clone(servers)
	timeout := firstTimeout
	for range maxRounds {
		var silent []netip.AddrPort
		for _, server = range servers {
			addrs, err = r.askServer(ctx, server, q, timeout)
			switch {
			case err == nil, errors.Is(err, errNoName), errors.Is(err, errNoData):
				return addrs, server, err
			case ctx.Err() != nil:
				return nil, server, context.Cause(ctx)
			case errors.Is(err, pvd.ErrNoPvD):
				return nil, server, err
			case errors.Is(err, errTimeout):
				silent = append(silent, server)
			}
			r.conf.Logger.Debug("dns: server did not help", "op", "lookup", "server", server, "name", q.name, "err", err)
		}
		if len(silent) == 0 {
			break
		}
		servers = silent
		timeout *= 2
	}
	return nil, server, err
}

// askServer puts q to one server, for at most timeout with all that it takes: over UDP,
// then without EDNS if the server does not know that, then over TCP if the answer does
// not fit or, perhaps for that reason, cannot be read.
func (r *Resolver) askServer(ctx context.Context, server netip.AddrPort, q question, timeout time.Duration) ([]netip.Addr, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer r.conf.Clock.AfterFunc(timeout, func() { cancel(errTimeout) }).Stop()

	edns := true
	addrs, err := r.exchange(ctx, "udp", server, q, edns)
	if errors.Is(err, errNoEDNS) {
		edns = false
		addrs, err = r.exchange(ctx, "udp", server, q, edns)
	}
	if errors.Is(err, errTruncated) || errors.Is(err, errParse) {
		addrs, err = r.exchange(ctx, "tcp", server, q, edns)
		if errors.Is(err, errNoEDNS) && edns {
			addrs, err = r.exchange(ctx, "tcp", server, q, false)
		}
	}
	switch {
	case errors.Is(err, errNoEDNS):
		return nil, fmt.Errorf("%w: it cannot read the query", errRcode)
	// Why the exchange was interrupted, not that it was.
	case err != nil && ctx.Err() != nil && !errors.Is(err, errNoName) && !errors.Is(err, errNoData):
		return nil, context.Cause(ctx)
	}
	return addrs, err
}

// errTruncated reports an answer that did not fit into a UDP datagram.
var errTruncated = errors.New("answer is truncated")

// exchange sends q once and waits for the answer until ctx ends. Whatever else arrives is
// passed over: who can send to us must not be able to end the query.
func (r *Resolver) exchange(ctx context.Context, network string, server netip.AddrPort, q question, edns bool) ([]netip.Addr, error) {
	msg, id, err := q.query(edns)
	if err != nil {
		return nil, err
	}
	c, err := r.conf.Dial(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(past) })()

	receive := receiveDatagram
	if network == "tcp" {
		receive = receiveStream
		msg = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	}
	if _, err := c.Write(msg); err != nil {
		return nil, err
	}
	buf := make([]byte, readSize)
	for {
		if msg, err = receive(c, buf); err != nil {
			return nil, err
		}
		if !q.answers(msg, id) {
			continue
		}
		if network == "udp" && truncated(msg) {
			return nil, errTruncated
		}
		return q.read(msg)
	}
}

// receiveDatagram returns one datagram, in buf.
func receiveDatagram(c net.Conn, buf []byte) ([]byte, error) {
	n, err := c.Read(buf)
	return buf[:n], err
}

// receiveStream returns one message with its length before it (RFC 1035 section 4.2.2),
// in buf if that is long enough.
func receiveStream(c net.Conn, buf []byte) ([]byte, error) {
	if _, err := io.ReadFull(c, buf[:2]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(buf))
	if n > len(buf) {
		buf = make([]byte, n)
	}
	_, err := io.ReadFull(c, buf[:n])
	return buf[:n], err
}
