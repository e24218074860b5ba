//go:build unix

package stack

import (
	"io"
	"os"
	"syscall"
)

// A kernelReader reads a stream socket of the operating system's into buffers that are
// borrowed when something has arrived.
type kernelReader struct {
	raw syscall.RawConn
	try func(fd uintptr) bool // k.read, once

	buf *[copyBuffer]byte
	n   int
	err error
}

func newKernelReader(r io.Reader) (*kernelReader, bool) {
	raw, ok := streamConn(r)
	if !ok {
		return nil, false
	}
	k := &kernelReader{raw: raw}
	k.try = k.read
	return k, true
}

// fill reads into buf, or into one that it borrows, and returns it. A buffer that would
// be held while waiting is given back instead.
func (k *kernelReader) fill(buf *[copyBuffer]byte) (*[copyBuffer]byte, int, error) {
	k.buf, k.n, k.err = buf, 0, nil
	err := k.raw.Read(k.try)
	if err == nil {
		err = k.err
	}
	if err == nil && k.n == 0 {
		err = io.EOF
	}
	return k.buf, k.n, err
}

// read is called whenever the socket may be readable, and reports whether it was.
func (k *kernelReader) read(fd uintptr) bool {
	if k.buf == nil {
		k.buf = borrow()
	}
	n, err := syscall.Read(int(fd), k.buf[:])
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), k.buf[:])
	}
	if err == syscall.EAGAIN {
		giveBack(k.buf)
		k.buf = nil
		return false
	}
	k.n, k.err = max(n, 0), os.NewSyscallError("read", err)
	return true
}
