package tun

// A Direction is the way that a frame goes, as seen from whoever holds the link.
type Direction uint8

const (
	// In is the direction of what Recv returns.
	In Direction = iota + 1
	// Out is the direction of what Send takes.
	Out
)

// String returns "in" or "out".
func (d Direction) String() string {
	switch d {
	case In:
		return "in"
	case Out:
		return "out"
	}
	return "unknown"
}

// Tap returns l with an observer: fn is called for each frame that Recv has received and
// that Send has sent, in the goroutine that called it, before the call returns. A frame
// that Send refuses is not shown, since it will come again. As the frame is on its way
// by then, fn may see an answer before what it answers.
//
// The frame is the concatenation of bufs. fn must neither change bufs nor keep them, and
// must not call the link's Recv, Send or Close. It may be called by several goroutines
// at once. Nothing is copied and nothing allocated.
func Tap(l Link, fn func(dir Direction, bufs [][]byte, m Meta)) Link {
	return &tap{decorated: decorated{l}, fn: fn}
}

type tap struct {
	decorated
	fn   func(Direction, [][]byte, Meta)
	seen [][]byte // of the latest Recv; there is one at a time
}

func (t *tap) Recv(bufs [][]byte, m *Meta) (int, error) {
	n, err := t.Link.Recv(bufs, m)
	if err != nil {
		return n, err
	}
	t.seen = appendPrefix(t.seen[:0], bufs, n)
	t.fn(In, t.seen, *m)
	clear(t.seen)
	return n, nil
}

func (t *tap) Send(bufs [][]byte, m Meta) error {
	if err := t.Link.Send(bufs, m); err != nil {
		return err
	}
	t.fn(Out, bufs, m)
	return nil
}

// appendPrefix appends to dst what of bufs holds their first n octets.
func appendPrefix(dst, bufs [][]byte, n int) [][]byte {
	for _, b := range bufs {
		if n <= 0 {
			break
		}
		b = b[:min(n, len(b))]
		dst = append(dst, b)
		n -= len(b)
	}
	return dst
}
