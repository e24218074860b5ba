package stack_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdtest"
	"github.com/pvdstack/pvdstack/stack"
)

// One datagram socket in two PvDs with the same addresses. Each message says which PvD it
// arrived in; the answer names that PvD, and goes back there.
func ExampleApp_Socket() {
	pvdtest.Main("example", os.Stdout, func(tb pvdtest.TB) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		lab := pvdtest.New(tb)
		neighbors := make(map[string]pvd.Dialer)
		for _, name := range []string{"corp", "home"} {
			neighbors[name] = lab.LAN(name, "192.168.1.0/24").Machine("192.168.1.2").Network()
		}
		h := lab.Host("corp", "home") // 192.168.1.100 in both
		h.Await("corp")
		h.Await("home")

		app := h.Host.App("example") // without a default: its sockets are for all PvDs
		s, err := app.Socket(pvd.INET, pvd.Datagram, 0)
		if err != nil {
			tb.Fatalf("%v", err)
		}
		defer s.Close()
		if err := s.Bind(netip.MustParseAddrPort("0.0.0.0:7")); err != nil {
			tb.Fatalf("%v", err)
		}
		if err := s.SetRecvPvD(true); err != nil { // IP_RECVPVD
			tb.Fatalf("%v", err)
		}
		for _, name := range []string{"corp", "home"} {
			c, err := neighbors[name].DialContext(ctx, "udp", "192.168.1.100:7")
			if err != nil {
				tb.Fatalf("%v", err)
			}
			defer c.Close()
			if _, err := c.Write([]byte("where am I?")); err != nil {
				tb.Fatalf("%v", err)
			}
			m := stack.Msg{Data: make([]byte, 100)}
			if _, err := s.RecvMsg(ctx, &m); err != nil {
				tb.Fatalf("%v", err)
			}
			info, err := h.Host.Info(m.Control.PvD)
			if err != nil {
				tb.Fatalf("%v", err)
			}
			answer := stack.Msg{
				Data:    []byte("in " + info.Name()),
				Addr:    m.Addr,
				Control: pvd.Control{PvD: m.Control.PvD}, // IP_PVD
			}
			if _, err := s.SendMsg(ctx, &answer); err != nil {
				tb.Fatalf("%v", err)
			}
			b := make([]byte, 100)
			n, err := c.Read(b)
			if err != nil {
				tb.Fatalf("%v", err)
			}
			fmt.Println(string(b[:n]))
		}
	})
	// Output:
	// in corp
	// in home
}
