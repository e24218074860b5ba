package stack_test

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/pvdstack/pvdstack/stack"
)

// TestConn runs the suite that every net.Conn has to pass.
func TestConn(t *testing.T) {
	for _, tt := range []struct {
		name, address string
		far           bool
	}{
		{"loopback IPv4", "127.0.0.1", false},
		{"loopback IPv6", "::1", false},
		{"own address", "10.0.0.1", false},
		{"pipe IPv4", "10.0.0.2", true},
		{"pipe IPv6", "fd00::2", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a, b *stack.Network
			if tt.far {
				a, b = couple(t)
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
