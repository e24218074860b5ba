package stack

import (
	"context"
	"io"
	"syscall"
)

// sendStream sends octets: all of them or, if the socket does not block, those for which
// there is room.
func (s *Socket) sendStream(ctx context.Context, b []byte) (sent int, err error) {
	err = s.block(ctx, func(w whereabouts, state socketState) error {
		c, err := s.stream(w, state, syscall.EPIPE, syscall.EPIPE)
		if err != nil {
			return err
		}
		if err := c.failed(); err != nil {
			return err
		}
		c.writeMu.Lock()
		defer c.writeMu.Unlock()
		n, err := c.writeNow(b[sent:])
		sent += n
		if err == errWouldBlock && sent > 0 && s.nonblock.Load() { //nolint:errorlint // as it is
			return nil
		}
		return err
	})
	return sent, err
}

// recvStream receives what has arrived.
func (s *Socket) recvStream(ctx context.Context, b []byte) (n int, err error) {
	err = s.block(ctx, func(w whereabouts, state socketState) (err error) {
		c, err := s.stream(w, state, io.EOF, syscall.ENOTCONN)
		if err != nil {
			return err
		}
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

// stream returns the connection of a socket that has one. Otherwise the error is the
// socket's pending one or, without any, failed where the connection could not be made, and
// none where there is no connection, perhaps because it was dissolved.
func (s *Socket) stream(w whereabouts, state socketState, failed, none error) (*TCPConn, error) {
	if state == stateConnecting {
		s.advance()
		w, state = s.whereIs()
	}
	switch state {
	case stateConnecting:
		return nil, errWouldBlock
	case stateConnected:
		return w.one.tcp, nil
	case stateFailed:
		none = failed
	default:
	}
	if err := s.takeError(); err != nil {
		return nil, err
	}
	return nil, none
}
