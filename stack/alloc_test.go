//go:build !race

package stack_test

import (
	"io"
	"net"
	"testing"
)

// TestAllocations holds that reading and writing allocate nothing here. What there is
// allocates gVisor: two lists of packets for a segment and its acknowledgment; packets,
// routes and their like for a datagram.
func TestAllocations(t *testing.T) {
	n := alone(t)
	client, server := connect(t, n, n, "127.0.0.1")
	buf := make([]byte, 1000)
	exchange := fewestAllocs(func() {
		if _, err := client.Write(buf); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(server, buf); err != nil {
			t.Fatal(err)
		}
	})
	if exchange > 2 {
		t.Errorf("TCP: %v allocations", exchange)
	}
	a, b := mustListenPacket(t, n, "udp", "127.0.0.1:0"), mustListenPacket(t, n, "udp", "127.0.0.1:0")
	to := b.LocalAddr().(*net.UDPAddr).AddrPort()
	datagram := fewestAllocs(func() {
		if _, err := a.WriteToUDPAddrPort(buf, to); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.ReadFromUDPAddrPort(buf); err != nil {
			t.Fatal(err)
		}
	})
	if datagram > 9 {
		t.Errorf("UDP: %v allocations", datagram)
	}
}

// fewestAllocs returns how much f allocates. What goes on beside it, such as the garbage
// collector emptying pools, makes some of the measurements too high.
func fewestAllocs(f func()) float64 {
	fewest := testing.AllocsPerRun(500, f)
	for range 9 {
		fewest = min(fewest, testing.AllocsPerRun(500, f))
	}
	return fewest
}
