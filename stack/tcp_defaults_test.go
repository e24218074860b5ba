package stack

import (
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// Every connection begins with the options of package net's, dialled or accepted.
func TestDefaultsOfConnections(t *testing.T) {
	s := newSite(t, "a")
	n := s.In(s.add("p", []string{"a 10.0.0.2/24"}, nil).ref)
	l, err := n.Listen(t.Context(), "tcp", "10.0.0.2:80")
	if err != nil {
		t.Fatal(err)
	}
	dialled, err := n.DialContext(t.Context(), "tcp", "10.0.0.2:80")
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*TCPConn{"dialled": dialled.(*TCPConn), "accepted": accepted.(*TCPConn)} {
		var idle tcpip.KeepaliveIdleOption
		var interval tcpip.KeepaliveIntervalOption
		if err := c.ep.GetSockOpt(&idle); err != nil {
			t.Fatal(err)
		}
		if err := c.ep.GetSockOpt(&interval); err != nil {
			t.Fatal(err)
		}
		count, terr := c.ep.GetSockOptInt(tcpip.KeepaliveCountOption)
		if terr != nil {
			t.Fatal(terr)
		}
		if o := c.ep.SocketOptions(); !o.GetKeepAlive() || o.GetDelayOption() || count != 9 ||
			time.Duration(idle) != 15*time.Second || time.Duration(interval) != 15*time.Second {
			t.Errorf("%s: keep-alive %v after %v, every %v, %d times, small segments are gathered: %v",
				name, o.GetKeepAlive(), time.Duration(idle), time.Duration(interval), count, o.GetDelayOption())
		}
	}
}
