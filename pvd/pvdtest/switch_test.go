package pvdtest

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/tun"
)

// A station is the far end of a cable into a switch.
type station struct {
	t    *testing.T
	link tun.Link
	mac  mac
}

func plugIn(t *testing.T, s *etherSwitch, last byte, c tun.PipeConfig) *station {
	far, near := tun.Pipe(c)
	s.plug(near, true)
	return &station{t, far, mac{2, 0, 0, 0, 0, last}}
}

func (st *station) send(to mac, payload string, m tun.Meta) {
	st.t.Helper()
	f := append(append(to[:], st.mac[:]...), 0x08, 0x00)
	if err := st.link.Send([][]byte{f, []byte(payload)}, m); err != nil {
		st.t.Fatal(err)
	}
}

func (st *station) recv() ([]byte, tun.Meta) {
	st.t.Helper()
	buf := make([]byte, tun.MaxFrame)
	var m tun.Meta
	n, err := st.link.Recv([][]byte{buf}, &m)
	if err != nil {
		st.t.Fatal(err)
	}
	return buf[:n], m
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestSwitchLearns(t *testing.T) {
	s := newSwitch()
	t.Cleanup(s.close)
	a, b, c := plugIn(t, s, 1, tun.PipeConfig{}), plugIn(t, s, 2, tun.PipeConfig{}), plugIn(t, s, 3, tun.PipeConfig{})
	a.send(b.mac, "to whom it may concern", tun.Meta{})
	for _, st := range []*station{b, c} {
		if f, _ := st.recv(); string(f[14:]) != "to whom it may concern" {
			t.Errorf("got %q", f)
		}
	}
	meta := tun.Meta{Flags: tun.NeedsCsum, GSO: tun.GSOTCP4, GSOSize: 1000, CsumStart: 34, CsumOffset: 16, HdrLen: 54}
	big := string(bytes.Repeat([]byte("x"), 60000))
	b.send(a.mac, big, meta)
	if f, m := a.recv(); string(f[14:]) != big || m != meta {
		t.Errorf("%d octets with %+v", len(f), m)
	}
	c.send(broadcastMAC, "all", tun.Meta{}) // and the first thing that c sees is this coming back
	a.recv()
	b.send(c.mac, "c", tun.Meta{})
	if f, _ := c.recv(); string(f[14:]) != "c" {
		t.Errorf("c got %q", f)
	}
}

// TestSwitchPortFull has a reader that does not read: others are not held up by it, and
// every frame is accounted for.
func TestSwitchPortFull(t *testing.T) {
	s := newSwitch()
	t.Cleanup(s.close)
	a, slow := plugIn(t, s, 1, tun.PipeConfig{}), plugIn(t, s, 2, tun.PipeConfig{Queue: 4})
	slow.send(a.mac, "here I am", tun.Meta{})
	a.recv()
	for range 10 {
		a.send(slow.mac, "x", tun.Meta{})
	}
	waitFor(t, "10 frames carried or dropped", func() bool {
		return s.counts.full.Load()+s.counts.carried.Load() == 1+10
	})
	if full := s.counts.full.Load(); full != 6 {
		t.Errorf("%d dropped, want 6", full)
	}
}

func TestSwitchUnplug(t *testing.T) {
	s := newSwitch()
	t.Cleanup(s.close)
	a, b, c := plugIn(t, s, 1, tun.PipeConfig{}), plugIn(t, s, 2, tun.PipeConfig{}), plugIn(t, s, 3, tun.PipeConfig{})
	b.send(a.mac, "a last word", tun.Meta{})
	if err := b.link.Close(); err != nil {
		t.Fatal(err)
	}
	for _, st := range []*station{a, c} {
		if f, _ := st.recv(); string(f[14:]) != "a last word" {
			t.Errorf("got %q", f)
		}
	}
	waitFor(t, "the port to go", func() bool {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return len(s.ports) == 2 && s.learn[b.mac] == nil
	})
	a.send(b.mac, "gone?", tun.Meta{})
	c.recv() // flooded again
}

func TestSwitchTable(t *testing.T) {
	s := newSwitch()
	t.Cleanup(s.close)
	a, _ := plugIn(t, s, 1, tun.PipeConfig{}), plugIn(t, s, 2, tun.PipeConfig{Queue: 1})
	for i := range maxMACs + 10 {
		a.mac = mac{2, 1, 0, 0, byte(i >> 8), byte(i)}
		for {
			f := append(append(broadcastMAC[:], a.mac[:]...), 0x08, 0x00)
			err := a.link.Send([][]byte{f}, tun.Meta{})
			if err == nil {
				break
			}
			if !errors.Is(err, tun.ErrFull) {
				t.Fatal(err)
			}
			a.link.WaitSend(time.Second, nil)
		}
	}
	waitFor(t, "all frames", func() bool { return s.counts.received.Load() == maxMACs+10 })
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.learn) != maxMACs {
		t.Errorf("%d addresses learned, want %d", len(s.learn), maxMACs)
	}
}

// poor is a link that takes no offload.
type poor struct{ tun.Link }

func (poor) Offload() tun.Offload { return 0 }

func (p poor) Send(bufs [][]byte, m tun.Meta) error {
	if m != (tun.Meta{}) {
		return errors.New("poor: no offload")
	}
	return p.Link.Send(bufs, m)
}

// TestSwitchSegments sends a large segment to a port that takes none and to one that does.
func TestSwitchSegments(t *testing.T) {
	s := newSwitch()
	t.Cleanup(s.close)
	a, rich := plugIn(t, s, 1, tun.PipeConfig{}), plugIn(t, s, 2, tun.PipeConfig{})
	far, near := tun.Pipe(tun.PipeConfig{})
	s.plug(poor{near}, true)
	thin := &station{t, far, mac{2, 0, 0, 0, 0, 3}}

	l4 := tcp(5000, 80, 16, string(bytes.Repeat([]byte("x"), 14000)))
	ifc := &iface{mac: broadcastMAC}
	f := packetTo(ifc, a.mac, protoTCP, inside4, outside4, l4)
	m := tun.Meta{Flags: tun.NeedsCsum, GSO: tun.GSOTCP4, GSOSize: 1400, CsumStart: 34, CsumOffset: 16, HdrLen: 54}
	ps := fold(pseudo(inside4.AsSlice(), outside4.AsSlice(), protoTCP, len(l4)))
	f[14+20+16], f[14+20+17] = byte(ps>>8), byte(ps)
	if err := a.link.Send([][]byte{f}, m); err != nil {
		t.Fatal(err)
	}
	if got, gm := rich.recv(); !bytes.Equal(got, f) || gm != m {
		t.Errorf("the large segment changed: %d octets, %+v", len(got), gm)
	}
	for i := range 10 {
		got, gm := thin.recv()
		if gm != (tun.Meta{}) || len(got) != 14+40+1400 {
			t.Errorf("segment %d: %d octets, %+v", i, len(got), gm)
		}
		checkFrame(t, output{via: &iface{mac: a.mac, mtu: 1500}, frame: got})
	}
	a.send(broadcastMAC, "nonsense", tun.Meta{GSO: tun.GSOTCP4, GSOSize: 1})
	rich.recv()
	waitFor(t, "the malformed frame", func() bool { return s.counts.malformed.Load() == 1 })
}
