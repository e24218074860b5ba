package tun_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// awaitEvent returns the first event that is as wanted.
func awaitEvent(t *testing.T, l tun.Link, what string, want func(tun.Event) bool) tun.Event {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e, open := <-l.Events():
			if !open {
				t.Fatalf("%s: Events of %s ended", what, l.Name())
			}
			if want(e) {
				return e
			}
		case <-timeout:
			t.Fatalf("%s: no event of %s", what, l.Name())
		}
	}
}

func awaitUp(t *testing.T, l tun.Link, what string) tun.Event {
	t.Helper()
	e := awaitEvent(t, l, what, func(e tun.Event) bool { return e.Up })
	if e.Err != nil {
		t.Errorf("%s: up with error %v", what, e.Err)
	}
	return e
}

func awaitDown(t *testing.T, l tun.Link, what, reason string) {
	t.Helper()
	e := awaitEvent(t, l, what, func(e tun.Event) bool { return !e.Up })
	if !errors.Is(e.Err, tun.ErrDown) || !strings.Contains(e.Err.Error(), reason) {
		t.Errorf("%s: event says %v, want %q", what, e.Err, reason)
	}
	if err := l.Send([][]byte{make([]byte, 60)}, tun.Meta{}); !errors.Is(err, tun.ErrDown) {
		t.Errorf("%s: send while down: %v, want %v", what, err, tun.ErrDown)
	}
}

func TestTUNSetDownAndUp(t *testing.T) {
	ns := tuntest.NewNS(t)
	l := openTUN(t, ns, tun.TUNConfig{Name: "dev"})
	ns.IP("addr", "add", "192.0.2.1/24", "dev", "dev")
	probe(t, ns, l)
	for range 3 {
		ns.IP("link", "set", "dev", "dev", "down")
		awaitDown(t, l, "set down", "set down")
		ns.IP("link", "set", "dev", "dev", "up")
		awaitUp(t, l, "set up")
		probe(t, ns, l)
	}
	ns.IP("link", "set", "dev", "dev", "mtu", "1400")
	e := awaitEvent(t, l, "MTU changed", func(e tun.Event) bool { return e.MTU == 1400 })
	if !e.Up || l.MTU() != 1400 {
		t.Errorf("after the change of MTU: %+v, MTU %d, want up, 1400", e, l.MTU())
	}
}

// A deleted device is made anew, and the Recv that waited through all of it goes on.
func TestDeletedDeviceIsMadeAnew(t *testing.T) {
	for kind, open := range map[string]func(*testing.T, *tuntest.NS) tun.Link{
		"tun": func(t *testing.T, ns *tuntest.NS) tun.Link {
			return openTUN(t, ns, tun.TUNConfig{Name: "dev", MTU: 1400})
		},
		"tap": func(t *testing.T, ns *tuntest.NS) tun.Link {
			return openTAP(t, ns, tun.TAPConfig{Name: "dev", MTU: 1400})
		},
	} {
		t.Run(kind, func(t *testing.T) {
			tuntest.CheckLeaks(t)
			ns := tuntest.NewNS(t)
			// Without IPv6 nothing comes from the new device by itself, and the wait
			// below is a wait for our frame.
			ns.Sysctl("net.ipv6.conf.default.disable_ipv6", "1")
			l := open(t, ns)
			for range 3 {
				received := make(chan int)
				go func() {
					var m tun.Meta
					n, err := l.Recv([][]byte{make([]byte, 2000)}, &m)
					if err != nil {
						t.Errorf("recv: %v", err)
					}
					received <- n
				}()
				ns.IP("link", "del", "dev", "dev")
				e := awaitUp(t, l, "deleted")
				if e.MTU != 1400 {
					t.Errorf("the new device has MTU %d, want 1400", e.MTU)
				}
				ns.IP("addr", "add", "192.0.2.1/24", "brd", "+", "dev", "dev")
				sendProbe(t, ns)
				select {
				case <-received:
				case <-time.After(patience):
					t.Fatal("recv does not go on after the device was made anew")
				}
				probe(t, ns, l)
			}
		})
	}
}

// While the name is taken by an interface of another kind the link stays down, and it
// comes up when the name is free.
func TestDeletedDeviceWaitsForItsName(t *testing.T) {
	ns := tuntest.NewNS(t)
	l := openTAP(t, ns, tun.TAPConfig{Name: "dev"})
	ns.IP("link", "set", "dev", "dev", "name", "other")
	ns.IP("link", "add", "name", "dev", "type", "bridge")
	ns.IP("link", "del", "dev", "other")
	awaitDown(t, l, "name taken", "can not be made anew")
	ns.IP("link", "del", "dev", "dev")
	awaitUp(t, l, "name free")
}

func TestMovedDeviceWorksOn(t *testing.T) {
	a, b := tuntest.NewNS(t), tuntest.NewNS(t)
	l := openTUN(t, a, tun.TUNConfig{Name: "dev"})
	a.IP("link", "set", "dev", "dev", "netns", b.Name)
	b.IP("link", "set", "dev", "dev", "up")
	b.IP("addr", "add", "192.0.2.1/24", "dev", "dev")
	probe(t, b, l)
	if strings.Contains(a.IP("-br", "link"), "dev") {
		t.Error("the device was made anew though it had only moved")
	}
}

// probeBody is what sendProbe sends.
const probeBody = "is anybody there"

// sendProbe has the kernel send a broadcast on the device with address 192.0.2.1/24.
func sendProbe(t *testing.T, ns *tuntest.NS) {
	t.Helper()
	ns.Do(func() {
		t.Helper()
		c, err := net.ListenPacket("udp4", "192.0.2.1:0") // package net allows broadcast
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.WriteTo([]byte(probeBody), &net.UDPAddr{IP: net.IPv4(192, 0, 2, 255), Port: 9}); err != nil {
			t.Fatal(err)
		}
	})
}

// probe has the kernel send something and waits for it on the link.
func probe(t *testing.T, ns *tuntest.NS, l tun.Link) {
	t.Helper()
	sendProbe(t, ns)
	recvUntil(t, l, func(f []byte) bool { return strings.Contains(string(f), probeBody) })
}
