package pvdtest

import (
	"encoding/binary"
	"io"
	"net"
	"time"

	"github.com/miekg/dns"
)

// servePacket answers by UDP until the machine ends.
func (b *BadDNS) servePacket() error {
	buf := make([]byte, dns.MaxMsgSize)
	for {
		n, from, err := b.pc.ReadFrom(buf)
		if err != nil {
			return err
		}
		q := readQuestion(buf[:n])
		if q == nil || !b.begin() {
			continue // as a name server with too much to do has it, or one that cannot read
		}
		f := b.heard(q, "udp", from)
		b.serve1(func() error { return b.reply(q, f, from) })
	}
}

// serve answers by TCP until the machine ends.
func (b *BadDNS) serve(ln net.Listener) error {
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		if !b.begin() {
			_ = c.Close() // who asked sees that
			continue
		}
		b.serve1(func() error {
			defer c.Close()
			return b.converse(c)
		})
	}
}

// begin takes a token, if there is one.
func (b *BadDNS) begin() bool {
	select {
	case b.busy <- struct{}{}:
		return true
	default:
		return false
	}
}

// serve1 does one thing with a token that was taken, in a goroutine that ends with it.
func (b *BadDNS) serve1(f func() error) {
	b.Machine.serve(func() error {
		defer func() { <-b.busy }()
		return f()
	})
}

// wait waits by the lab's clock, and reports whether the test still runs.
func (b *BadDNS) wait(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	over := make(chan struct{})
	timer := b.lan.lab.clock.AfterFunc(d, func() { close(over) })
	defer timer.Stop()
	select {
	case <-over:
		return true
	case <-b.done:
		return false
	}
}

// reply answers one question by UDP.
func (b *BadDNS) reply(q *dns.Msg, f DNSFault, to net.Addr) error {
	if !b.wait(f.Delay) {
		return net.ErrClosed
	}
	pc := b.pc
	if f.Do&BadPort != 0 {
		pc = b.aside
	}
	if f.From != nil {
		b.mu.Lock()
		pc = b.others[f.From]
		b.mu.Unlock()
	}
	for i := range f.Junk {
		msg, err := b.junk(q)
		if err != nil {
			return err
		}
		// What is lost was junk.
		_, _ = b.pc.WriteTo(msg, to)
		if i%junkBurst == junkBurst-1 && !b.wait(junkPause) {
			return net.ErrClosed
		}
	}
	if f.Do&(Silence|HangUp) != 0 {
		return nil
	}
	msg, err := b.answerTo(q, "udp", f)
	if err != nil {
		return err
	}
	// Who asked asks again if it gets nothing.
	_, _ = pc.WriteTo(msg, to)
	return nil
}

// converse answers the questions of a connection, one after the other.
func (b *BadDNS) converse(c net.Conn) error {
	stop := make(chan struct{})
	defer close(stop)
	b.Machine.serve(func() error { // until the connection or the test is over
		select {
		case <-b.done:
			return c.Close()
		case <-stop:
			return nil
		}
	})
	for {
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return nil //nolint:nilerr // the client has gone
		}
		msg := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, msg); err != nil {
			return nil //nolint:nilerr // likewise
		}
		q := readQuestion(msg)
		if q == nil {
			return nil
		}
		f := b.heard(q, "tcp", c.RemoteAddr())
		if !b.wait(f.Delay) || f.Do&HangUp != 0 {
			return nil
		}
		if f.Do&Silence != 0 {
			continue
		}
		msg, err := b.answerTo(q, "tcp", f)
		if err != nil {
			return err
		}
		if err := writeStream(c, msg, f.Do&OctetByOctet != 0); err != nil {
			return nil //nolint:nilerr // likewise
		}
	}
}

// writeStream writes a message with its length before it, in one piece or in many.
func writeStream(c net.Conn, msg []byte, octets bool) error {
	msg = append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...)
	for octets && len(msg) > 1 {
		if _, err := c.Write(msg[:1]); err != nil {
			return err
		}
		msg = msg[1:]
	}
	_, err := c.Write(msg)
	return err
}

// readQuestion decodes a query with one question, nil if it is none.
func readQuestion(msg []byte) *dns.Msg {
	q := new(dns.Msg)
	if err := q.Unpack(msg); err != nil || q.Response || len(q.Question) != 1 {
		return nil
	}
	return q
}
