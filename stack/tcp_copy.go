package stack

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"gvisor.dev/gvisor/pkg/waiter"
)

// Buffers are lent to copies while they have something to copy: an idle connection that
// is being relayed holds none.
var (
	copyBuffers = sync.Pool{New: func() any { return new([copyBuffer]byte) }}
	copyLent    atomic.Int64 // how many are lent
)

func borrow() *[copyBuffer]byte {
	copyLent.Add(1)
	return copyBuffers.Get().(*[copyBuffer]byte)
}

// giveBack takes a buffer back; nil is none.
func giveBack(b *[copyBuffer]byte) {
	if b != nil {
		copyLent.Add(-1)
		copyBuffers.Put(b)
	}
}

// WriteTo writes what arrives to w until the peer has no more, and returns how much that
// was; see [io.WriterTo]. While it waits for the peer it holds no buffer.
func (c *TCPConn) WriteTo(w io.Writer) (int64, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	n, err := c.writeTo(w)
	if err != nil {
		err = c.opError(opWriteTo, err)
	}
	return n, err
}

func (c *TCPConn) writeTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if err := c.waitReadable(); err != nil {
			return total, err
		}
		n, err := c.drainTo(w)
		total += n
		switch {
		case errors.Is(err, errWouldBlock):
		case err == io.EOF: //nolint:errorlint // ours is bare; w's would be an error
			return total, nil
		default:
			return total, err
		}
	}
}

// waitReadable waits until a read would not wait.
func (c *TCPConn) waitReadable() error {
	for {
		if err := c.check(&c.readUntil); err != nil {
			return err
		}
		if c.ep.Readiness(waiter.ReadableEvents)&waiter.ReadableEvents != 0 {
			return nil
		}
		if err := c.wait(&c.in, &c.readUntil); err != nil {
			return err
		}
	}
}

// drainTo writes what is there to w. The error is never nil.
func (c *TCPConn) drainTo(w io.Writer) (int64, error) {
	buf := borrow()
	defer giveBack(buf)
	var total int64
	for {
		if err := c.check(&c.readUntil); err != nil {
			return total, err
		}
		n, err := c.readNow(buf[:])
		if err != nil {
			return total, err
		}
		m, err := w.Write(buf[:n])
		total += int64(max(m, 0))
		if err != nil {
			return total, err
		}
		if m < n {
			return total, io.ErrShortWrite
		}
	}
}

// ReadFrom writes what it reads from r until r has no more, and returns how much that
// was; see [io.ReaderFrom]. While it waits for a connection of the operating system it
// holds no buffer; while it waits for another kind of reader it holds 64 KB.
func (c *TCPConn) ReadFrom(r io.Reader) (int64, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	n, err := c.readFrom(r)
	if err != nil {
		err = c.opError(opReadFrom, err)
	}
	return n, err
}

func (c *TCPConn) readFrom(r io.Reader) (int64, error) {
	fill := func(buf *[copyBuffer]byte) (*[copyBuffer]byte, int, error) {
		if buf == nil {
			buf = borrow()
		}
		n, err := r.Read(buf[:])
		return buf, n, err
	}
	if k, ok := newKernelReader(r); ok {
		fill = k.fill
	}
	var total int64
	var buf *[copyBuffer]byte
	defer func() { giveBack(buf) }()
	for {
		if err := c.check(&c.writeUntil); err != nil {
			return total, err
		}
		var n int
		var err error
		buf, n, err = fill(buf)
		if n > 0 {
			m, werr := c.write(buf[:n])
			total += int64(m)
			if werr != nil {
				return total, werr
			}
		}
		if err == io.EOF { //nolint:errorlint // one that is wrapped is an error, as to io.Copy
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// streamConn returns the raw connection below r if r is a stream socket of the operating
// system's.
func streamConn(r io.Reader) (syscall.RawConn, bool) {
	s, ok := r.(interface {
		net.Conn
		syscall.Conn
	})
	if !ok {
		return nil, false
	}
	switch s.LocalAddr().Network() {
	case "tcp", "unix":
	default:
		return nil, false // datagrams may be empty, which is no end
	}
	raw, err := s.SyscallConn()
	return raw, err == nil
}
