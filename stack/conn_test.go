package stack_test

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// TestConn runs the suite that every net.Conn has to pass.
func TestConn(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, address string
		layer         tun.Layer // of the link between two hosts; 0 is a PvD with itself
	}{
		{"loopback IPv4", "127.0.0.1", 0},
		{"loopback IPv6", "::1", 0},
		{"own address", "10.0.0.1", 0},
		{"pipe IPv4", "10.0.0.2", tun.IP},
		{"pipe IPv6", "fd00::2", tun.IP},
		{"Ethernet pipe IPv4", "10.0.0.2", tun.Ethernet},
		{"Ethernet pipe IPv6", "fd00::2", tun.Ethernet},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var a, b *stack.Network
			if tt.layer != 0 {
				a, b = coupleOver(t, tt.layer)
			} else {
				a = alone(t)
				b = a
			}
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				client, server := connect(t, a, b, tt.address)
				return client, server, func() {
					_ = client.Close()
					_ = server.Close()
				}, nil
			})
		})
	}
}
