//go:build !race

package stack

import (
	"net"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// TestAllocations holds that reading and writing allocate no more than gVisor does for
// the same segments and datagrams.
func TestAllocations(t *testing.T) {
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	mustStack := func(err tcpip.Error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	compare := func(what string, ours, gvisors func()) {
		t.Helper()
		control, got := fewestAllocs(gvisors), fewestAllocs(ours)
		if got > control {
			t.Errorf("%s: %v allocations, of which gVisor makes %v", what, got, control)
		}
	}
	data, into := make([]byte, 1000), make([]byte, 2000)
	var payload slicePayload
	var sink tcpip.SliceWriter

	out, in := joined(t)
	compare("TCP", func() {
		_, err := out.Write(data)
		must(err)
		_, err = in.Read(into)
		must(err)
	}, func() {
		payload, sink = data, into
		_, err := out.ep.Write(&payload, tcpip.WriteOptions{})
		mustStack(err)
		for {
			_, err = in.ep.Read(&sink, tcpip.ReadOptions{})
			if _, again := err.(*tcpip.ErrWouldBlock); !again {
				break
			}
			<-in.in.ready
		}
		mustStack(err)
	})

	h, d := limited(t)
	listen := func() *UDPConn {
		c, err := h.In(d.ref).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		must(err)
		t.Cleanup(func() { _ = c.Close() })
		return c.(*UDPConn)
	}
	from, to := listen(), listen()
	at := to.LocalAddr().(*net.UDPAddr).AddrPort()
	options := tcpip.WriteOptions{To: &tcpip.FullAddress{NIC: loopbackNIC, Addr: toAddr(at.Addr()), Port: at.Port()}}
	compare("UDP", func() {
		_, err := from.WriteToUDPAddrPort(data, at)
		must(err)
		_, _, err = to.ReadFromUDPAddrPort(into)
		must(err)
	}, func() {
		payload, sink = data, into
		_, err := from.ep.Write(&payload, options)
		mustStack(err)
		_, err = to.ep.Read(&sink, tcpip.ReadOptions{NeedRemoteAddr: true})
		mustStack(err)
	})
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
