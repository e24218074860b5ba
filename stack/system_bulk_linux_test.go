package stack_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// setOffload switches what an interface's kernel leaves to others, or does at once for
// many packets, on or off.
func setOffload(ns *tuntest.NS, dev string, on bool) {
	state := "off"
	if on {
		state = "on"
	}
	args := []string{"ethtool", "-K", dev}
	for _, what := range []string{"tx", "sg", "tso", "gso", "gro"} {
		args = append(args, what, state)
	}
	ns.Exec(args...)
}

// TestSystemBulk moves much in one connection, each way, between a PvD and a kernel: over
// each kind of link, at several MTUs, with large segments and without.
func TestSystemBulk(t *testing.T) {
	for _, kind := range kinds {
		for _, mtu := range []int{1280, 1500, 9000} {
			for _, offload := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, MTU %d, offload %t", kind, mtu, offload), func(t *testing.T) {
					r := newRig(t)
					ns := tuntest.NewNS(t)
					r.wire("wire", kind, ns, "dev", mtu)
					addrs(ns, "dev", "192.0.2.1/24", "2001:db8::1/64")
					setOffload(ns, "dev", offload)
					if kind == kindPacket {
						setOffload(r.box, "wire", offload)
					}
					n := r.add(config("wire", "192.0.2.2/24", "2001:db8::2/64"))[0]
					bulk(t, n, kernel{ns}, "192.0.2.1")
					bulk(t, n, kernel{ns}, "2001:db8::1")
					bulk(t, kernel{ns}, n, "192.0.2.2")
					bulk(t, kernel{ns}, n, "2001:db8::2")
					sent, heard := r.watches["wire"].lengths()
					if sent < 40000 {
						t.Errorf("the longest frame that we have sent has %d octets, want segments of 64 KB", sent)
					}
					if offload != (heard > mtu+tun.EthernetHeaderLen) {
						t.Errorf("the longest frame that the kernel has sent has %d octets", heard)
					}
					if t.Failed() {
						t.Logf("%v", r.host.Stats())
					}
				})
			}
		}
	}
}

// bulk moves bulkSize octets from one node to another.
func bulk(t *testing.T, from, to node, addr string) {
	t.Helper()
	began := time.Now()
	c, s := join(t, from, to, addr)
	results := make(chan error, 2)
	go func() { results <- sendStream(c, 1, bulkSize) }()
	go func() { results <- receiveStream(s, 1, bulkSize) }()
	for range cap(results) {
		if err := <-results; err != nil {
			t.Errorf("to %s: %v", addr, err)
		}
	}
	_ = c.Close()
	_ = s.Close()
	took := time.Since(began)
	t.Logf("to %s: %v, %.0f Mbit/s", addr, took.Round(time.Millisecond), 8*bulkSize/1e6/took.Seconds())
}
