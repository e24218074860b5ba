package tun

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// A CaptureConfig sets up a [Capture]. The zero value records all, to the default limit.
type CaptureConfig struct {
	// Now gives the time that frames are stamped with. Nil: time.Now.
	Now func() time.Time
	// SnapLen is how many octets of each frame are kept. 0, or more than MaxFrame: all.
	SnapLen int
	// MaxBytes is how long the file may grow. 0: [DefaultCaptureBytes].
	MaxBytes int64
}

// A Capture writes frames to a pcapng file that Wireshark and tshark read: any number of
// interfaces, timestamps in nanoseconds, the direction of each frame. Checksums that a
// sender left to the receiver are completed in the copy, so that none shows as wrong, and
// a 64 KB segment is recorded as the one packet that crossed the link.
//
// [Capture.Link] records a link. What a link cannot know, such as the provisioning domain
// that a frame was found to belong to, whoever does know records with
// [Capture.Interface] and [Capture.Write], under a name such as "lab/corp".
//
// A writer that fails, and a file that has reached its limit, disturb no link: frames are
// left out from then on and counted. All methods may be called concurrently.
type Capture struct {
	now     func() time.Time
	snapLen int
	max     int64

	mu     sync.Mutex
	w      io.Writer
	size   int64
	err    error // the writer's first; nothing is written any more
	full   bool  // the limit has been reached
	closed bool
	ifs    []captureInterface
	ids    map[interfaceKey]int
	lost   uint64 // frames for interfaces that there was no room for
	frame  []byte // a frame in one piece
	block  block
}

type interfaceKey struct {
	name  string
	layer Layer
}

type captureInterface struct {
	layer         Layer
	seen, written uint64
}

// NewCapture returns a Capture that writes to w, each block in one Write; a bufio.Writer
// makes that cheaper. w stays the caller's, to flush and close after [Capture.Close].
func NewCapture(w io.Writer, c CaptureConfig) *Capture {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.SnapLen <= 0 || c.SnapLen > MaxFrame {
		c.SnapLen = MaxFrame
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = DefaultCaptureBytes
	}
	rec := &Capture{now: c.Now, snapLen: c.SnapLen, max: c.MaxBytes, w: w, ids: map[interfaceKey]int{}}
	rec.block = rec.block.section()
	rec.put(rec.block)
	return rec
}

// Link returns l with all that passes recorded under name; an empty name is l's own. See
// [Tap] for the order of frames. Closing the link leaves the Capture open.
func (c *Capture) Link(l Link, name string) Link {
	if name == "" {
		name = l.Name()
	}
	id := c.Interface(name, l.Layer())
	return Tap(l, func(dir Direction, bufs [][]byte, m Meta) {
		c.Write(id, dir, time.Time{}, bufs, m)
	})
}

// Interface returns the id under which Write records frames of the interface of that
// name and layer, which is made if need be. What does not print is left out of the name,
// as is what goes beyond 255 octets. When there are [MaxCaptureInterfaces], or the file
// takes no more, the id is -1, which Write accepts and counts as left out.
func (c *Capture) Interface(name string, layer Layer) int {
	key := interfaceKey{interfaceName(name), layer}
	c.mu.Lock()
	defer c.mu.Unlock()
	if id, ok := c.ids[key]; ok {
		return id
	}
	if len(c.ifs) >= MaxCaptureInterfaces {
		return -1
	}
	c.block = c.block.iface(key.name, layer, c.snapLen)
	if !c.put(c.block) {
		return -1
	}
	id := len(c.ifs)
	c.ids[key] = id
	c.ifs = append(c.ifs, captureInterface{layer: layer})
	return id
}

// interfaceName makes a name fit to be shown, since a PvD's may come from the network.
func interfaceName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	for len(s) > maxInterfaceName {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}

// Write records one frame, the concatenation of bufs, on the interface that id came from.
// It keeps nothing of bufs. A zero at is the Capture's own time.
func (c *Capture) Write(id int, dir Direction, at time.Time, bufs [][]byte, m Meta) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id < 0 || id >= len(c.ifs) {
		c.lost++
		return
	}
	i := &c.ifs[id]
	i.seen++
	if c.err != nil || c.full || c.closed {
		return
	}
	if at.IsZero() {
		at = c.now()
	}
	c.frame = c.frame[:0]
	for _, b := range bufs {
		c.frame = append(c.frame, b...)
	}
	// A frame whose Meta makes no sense is recorded as it is: that is what to look at.
	_ = Complete(c.frame, i.layer, &m)
	c.block = c.block.packet(id, dir, at, c.frame, c.snapLen)
	if c.put(c.block) {
		i.written++
	}
}

// put writes a block if it may and reports whether it has.
func (c *Capture) put(b block) bool {
	switch {
	case c.err != nil || c.full || c.closed:
		return false
	case c.size+int64(len(b)) > c.max:
		c.full = true
		return false
	}
	n, err := c.w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		c.err = fmt.Errorf("tun: write capture: %w", err)
		return false
	}
	c.size += int64(n)
	return true
}

// LeftOut returns how many frames were not written: for the limit, for an error of the
// writer, for want of an interface or because they came after Close.
func (c *Capture) LeftOut() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.lost
	for _, i := range c.ifs {
		n += i.seen - i.written
	}
	return n
}

// Err returns the first error of the writer.
func (c *Capture) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the file with the statistics of each interface, which say how many frames
// were left out, and for these alone the file may go past its limit. It returns the first
// error of the writer. Links that are recorded work on, unrecorded.
func (c *Capture) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	limit, at := c.full, c.now()
	c.full, c.max = false, int64(^uint64(0)>>1)
	for id, i := range c.ifs {
		comment := ""
		if left := i.seen - i.written; left > 0 && limit {
			comment = fmt.Sprintf("%d frames left out: the file reached its limit", left)
		}
		c.block = c.block.stats(id, at, i.seen, i.written, comment)
		c.put(c.block)
	}
	c.closed = true
	return c.err
}
