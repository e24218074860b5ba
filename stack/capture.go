package stack

import "github.com/pvdstack/pvdstack/tun"

// A Recorder is shown every frame that crosses a port, that is, every frame of a known
// PvD. It must keep neither the buffers nor the caller. Package tun's Capture, for one,
// writes them to a file.
type Recorder interface {
	// Record is called for a frame of pvd on link. The frame is the concatenation of
	// bufs.
	Record(link, pvd string, out bool, bufs [][]byte, m tun.Meta)
}
