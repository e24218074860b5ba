//go:build !race

package stack

import (
	"testing"

	"github.com/pvdstack/pvdstack/tun"
)

// Telling whose a packet is takes no memory.
func TestSharedAllocatesNothing(t *testing.T) {
	w := newWire(t, tun.IP)
	w.drain()
	ps := w.share(3)
	w.dialUDP(ps[1], ":500", "10.0.0.9:53")
	table := w.link.table.Load()
	for name, packet := range map[string][]byte{
		"a connection": udpTo(500, "10.0.0.9:53"), "a range": tcpTo(60000, "10.0.0.9:80"), "nobody's": udpTo(1, "10.0.0.9:1"),
	} {
		if n := fewestAllocs(func() { table.classify(packet) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
