package tun

import "sync"

// bufferSizes are the classes of pooled frame memory: a bare acknowledgement, a packet of
// an Ethernet MTU, a jumbo frame, and anything.
var bufferSizes = [...]int{256, 2048, 16 << 10, MaxFrame}

var bufferPools [len(bufferSizes)]sync.Pool

// A buffer is memory for one frame, from a pool.
type buffer struct {
	b     []byte
	class int
}

// newBuffer returns a buffer whose b has length n, at most MaxFrame, and any content.
func newBuffer(n int) *buffer {
	class := 0
	for n > bufferSizes[class] {
		class++
	}
	b, _ := bufferPools[class].Get().(*buffer)
	if b == nil {
		b = &buffer{b: make([]byte, bufferSizes[class]), class: class}
	}
	b.b = b.b[:n]
	return b
}

// free gives the buffer back; b must not be used any more.
func (b *buffer) free() {
	bufferPools[b.class].Put(b)
}

// frameLen returns the length of the frame that bufs are the pieces of.
func frameLen(bufs [][]byte) int {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	return n
}

// gather copies the pieces of a frame to dst.
func gather(dst []byte, bufs [][]byte) {
	for _, b := range bufs {
		dst = dst[copy(dst, b):]
	}
}

// scatter copies a frame to bufs in their order, and reports whether they hold it.
func scatter(bufs [][]byte, frame []byte) bool {
	for _, b := range bufs {
		if len(frame) == 0 {
			break
		}
		frame = frame[copy(b, frame):]
	}
	return len(frame) == 0
}
