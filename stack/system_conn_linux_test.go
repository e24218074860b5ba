package stack_test

import (
	"net"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// TestSystemConn runs the suite that every net.Conn has to pass over each kind of link,
// dialled and accepted. On TUN and TAP the other end is the kernel's, on AF_PACKET another
// host of ours at the other end of the cable.
func TestSystemConn(t *testing.T) {
	for _, kind := range kinds {
		for _, dialled := range []bool{true, false} {
			name := kind + " accepted"
			if dialled {
				name = kind + " dialled"
			}
			t.Run(name, func(t *testing.T) {
				r := newRig(t)
				var here, there node
				if kind == kindPacket {
					a, b := tuntest.NewNS(t), tuntest.NewNS(t)
					r.attach("wire", openPacket(t, a, "wire", b, "wire", 1500))
					far := anotherRig(t)
					var l tun.Link
					var err error
					b.Do(func() { l, err = tun.OpenPacket(tun.PacketConfig{Interface: "wire"}) })
					if err != nil {
						t.Fatal(err)
					}
					far.attach("wire", l)
					here, there = r.add(config("wire", "192.0.2.2/24"))[0], far.add(config("wire", "192.0.2.1/24"))[0]
				} else {
					ns := tuntest.NewNS(t)
					r.wire("wire", kind, ns, "dev", 1500)
					addrs(ns, "dev", "192.0.2.1/24")
					here, there = r.add(config("wire", "192.0.2.2/24"))[0], kernel{ns}
				}
				from, to, addr := here, there, "192.0.2.1"
				if !dialled {
					from, to, addr = there, here, "192.0.2.2"
				}
				nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
					client, server := join(t, from, to, addr)
					return client, server, func() {
						_ = client.Close()
						_ = server.Close()
					}, nil
				})
			})
		}
	}
}
