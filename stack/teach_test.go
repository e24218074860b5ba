package stack

import (
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// A pupil is a host that learns on the link lan, where one router has advertised itself for an
// hour. It has another one aside.
type pupil struct {
	*Host
	t         *testing.T
	solicited chan struct{} // a token for each time that routers are looked for
}

// teach makes a pupil that has learned. It is prepared before it learns.
func teach(t *testing.T, prepare func(*Host)) *pupil {
	t.Helper()
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	p := &pupil{h, t, make(chan struct{}, 64)}
	prepare(h)
	aside(t, h)
	far := addLink(t, h, "lan")
	if err := h.Discover("lan", Discovery{RA: true}); err != nil {
		t.Fatal(err)
	}
	go p.listen(far) // until the link is closed
	<-p.solicited
	if err := far.Send([][]byte{advertisement(t, "fe80::1", "2001:db8:1::/64", "2001:db8:1::53")}, tun.Meta{}); err != nil {
		t.Fatal(err)
	}
	p.until("learned", 1)
	return p
}

// addLink adds an Ethernet link and returns its far end.
func addLink(t *testing.T, h *Host, name string) tun.Link {
	t.Helper()
	near, far := tun.Pipe(tun.PipeConfig{Layer: tun.Ethernet})
	t.Cleanup(func() { _ = far.Close() })
	if err := h.AddLink(name, near); err != nil {
		t.Fatal(err)
	}
	return far
}

// aside gives a host another link, with a PvD that has to be as it was at the end of the test:
// the host is to be closed by a cleanup before.
func aside(t *testing.T, h *Host) {
	t.Helper()
	addLink(t, h, "aside")
	ref, err := h.Add(t.Context(), pvd.Config{Name: "aside", Links: []string{"aside"}, Addresses: addresses("192.168.1.2/24")})
	if err != nil {
		t.Fatal(err)
	}
	was, err := h.Info(ref)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if is, err := h.Info(ref); err != nil || is != was {
			t.Errorf("the PvD of another link is %+v, %v; it was %+v", is, err, was)
		}
	})
}

func (p *pupil) listen(far tun.Link) {
	b := make([]byte, 2048)
	for {
		n, err := far.Recv([][]byte{b}, new(tun.Meta))
		if err != nil {
			return
		}
		if n > 54 && b[54] == 133 {
			p.solicited <- struct{}{}
		}
	}
}

// until waits until so many PvDs have been learned.
func (p *pupil) until(what string, n int) {
	p.t.Helper()
	for end := time.Now().Add(10 * time.Second); len(p.List()) != n+1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%s: PvDs %v", what, p.List())
		}
	}
}
