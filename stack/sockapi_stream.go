package stack

import (
	"context"
	"io"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// sendStream sends octets: all of them or, if the socket does not block, those for which
// there is room.
func (s *Socket) sendStream(ctx context.Context, b []byte) (sent int, err error) {
	err = s.block(ctx, func(w whereabouts, state socketState) error {
		if state == stateConnecting {
			s.advance()
			w, state = s.whereIs()
		}
		switch state {
		case stateConnecting:
			return errWouldBlock
		case stateFailed:
			if err := s.takeError(); err != nil {
				return err
			}
			return syscall.EPIPE
		case stateConnected:
		default:
			if err := s.takeError(); err != nil { // a connection was dissolved
				return err
			}
			return syscall.EPIPE
		}
		n, err := w.one.tcp.writeNow(b[sent:])
		sent += n
		if err == errWouldBlock && sent > 0 && s.nonblock.Load() { //nolint:errorlint // as it is
			return nil
		}
		return err
	})
	return sent, err
}

// writeNow writes what there is room for: errWouldBlock if that is not all.
func (c *TCPConn) writeNow(b []byte) (sent int, err error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if err := c.failed(); err != nil {
		return 0, err
	}
	for sent < len(b) {
		c.writer = b[sent:]
		n, terr := c.ep.Write(&c.writer, tcpip.WriteOptions{})
		c.writer = nil
		sent += int(n)
		switch terr.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			return sent, errWouldBlock
		case *tcpip.ErrClosedForSend:
			return sent, c.whyUnwritable()
		default:
			return sent, c.breaks("write", terr)
		}
	}
	return sent, nil
}

// recvStream receives what has arrived.
func (s *Socket) recvStream(ctx context.Context, b []byte) (n int, err error) {
	err = s.block(ctx, func(w whereabouts, state socketState) (err error) {
		if state == stateConnecting {
			s.advance()
			w, state = s.whereIs()
		}
		switch state {
		case stateConnecting:
			return errWouldBlock
		case stateFailed:
			if err := s.takeError(); err != nil {
				return err
			}
			return io.EOF
		case stateConnected:
		default:
			if err := s.takeError(); err != nil { // likewise
				return err
			}
			return syscall.ENOTCONN
		}
		c := w.one.tcp
		if err := c.failed(); err != nil || len(b) == 0 {
			return err
		}
		c.readMu.Lock()
		defer c.readMu.Unlock()
		n, err = c.readNow(b)
		return err
	})
	return n, err
}
