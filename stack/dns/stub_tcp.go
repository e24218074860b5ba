package dns

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"

	wire "github.com/miekg/dns"
)

// Serve answers what connections to l ask, which it closes, until Close or l is closed. It returns net.ErrClosed after Close.
func (s *Stub) Serve(l net.Listener) error {
	if !s.enter(l) {
		return errors.Join(net.ErrClosed, l.Close())
	}
	defer s.leave(l)
	defer l.Close()
	for {
		c, err := l.Accept()
		if err != nil {
			if err = s.enduring(err); err != nil {
				return err
			}
			continue
		}
		if !s.admit() {
			s.log.Debug("too many connections", "op", "dns stub")
			_ = c.Close()
			continue
		}
		if !s.enter(c) {
			return errors.Join(net.ErrClosed, c.Close())
		}
		go func() { // until the client or Close ends the connection, or nothing is asked for a while
			defer s.leave(c)
			defer s.release()
			defer c.Close()
			s.converse(c)
		}()
	}
}

// admit counts a connection, if there may be one more.
func (s *Stub) admit() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns >= maxStubConns {
		return false
	}
	s.conns++
	return true
}

func (s *Stub) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns--
}

// converse answers the questions of one connection, several at a time and in the order in
// which the answers come (RFC 7766 section 6.2.1.1).
func (s *Stub) converse(c net.Conn) {
	var writing sync.Mutex
	var answering sync.WaitGroup
	defer answering.Wait()
	pipelined := make(chan struct{}, maxStubPipelined)
	for {
		_ = c.SetReadDeadline(s.config.Clock.Now().Add(stubIdleTimeout)) // what fails here fails in reading
		var length [2]byte
		n, err := io.ReadFull(c, length[:])
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && len(pipelined) > 0 {
			continue // who waits for an answer is not idle (RFC 7766 section 3)
		}
		if err != nil {
			return
		}
		b := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		m, reply := s.read(b)
		if m == nil {
			return
		}
		select {
		case pipelined <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		answering.Go(func() {
			defer func() { <-pipelined }()
			var answer []byte
			switch {
			case reply != nil:
			case asIs(m):
				answer, reply = s.forward(m, b)
			default:
				reply = s.answer(m)
			}
			if reply != nil {
				answer = packed(m, reply)
			}
			s.write(c, &writing, answer)
		})
	}
}

// packed returns a reply as it is sent on a connection, nil if it can not be packed at all.
func packed(m, reply *wire.Msg) []byte {
	reply.Compress = true
	b, err := reply.Pack()
	if err != nil || len(b) > maxMessage {
		if b, err = failure(m, wire.RcodeServerFailure).Pack(); err != nil {
			return nil
		}
	}
	return b
}

// write sends a message on a connection. One that can not be sent ends it.
func (s *Stub) write(c net.Conn, writing *sync.Mutex, b []byte) {
	if b == nil {
		return
	}
	writing.Lock()
	defer writing.Unlock()
	_ = c.SetWriteDeadline(s.config.Clock.Now().Add(stubIdleTimeout))
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)); err != nil {
		_ = c.Close()
	}
}
