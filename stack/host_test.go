package stack

import (
	"errors"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// heldJoiner is a joiner, and with it a PvD's attachment, that can be held up.
type heldJoiner struct{ joins, release chan struct{} }

func newHeldJoiner() *heldJoiner {
	return &heldJoiner{joins: make(chan struct{}), release: make(chan struct{})}
}

func (j *heldJoiner) join(*domain) error {
	select {
	case j.joins <- struct{}{}:
	case <-j.release:
	}
	<-j.release
	return nil
}

func (j *heldJoiner) left(*domain) {}
func (j *heldJoiner) close() error { return nil }

// heldLink is a link whose attachment can be held up.
type heldLink struct {
	tun.Link
	asked, release chan struct{}
}

func (l *heldLink) Layer() tun.Layer {
	select {
	case <-l.release:
	default:
		close(l.asked)
		<-l.release
	}
	return l.Link.Layer()
}

// closing closes the host while something is held up, and lets that go on then.
func closing(t *testing.T, h *Host, release chan struct{}) {
	t.Helper()
	closed := make(chan error, 1)
	go func() { closed <- h.Close() }()
	if !eventually(h.isClosed) {
		t.Fatal("Close does not begin")
	}
	time.Sleep(10 * time.Millisecond) // let it look for what there is to take away
	close(release)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// Close takes away what was being attached when it was called, and nothing is attached
// afterwards.
func TestCloseDuringAdd(t *testing.T) {
	w := newWire(t, tun.IP)
	j := newHeldJoiner()
	if err := w.host.addJoiner(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	added := make(chan error, 2)
	add := func(address string) {
		_, err := w.host.Add(t.Context(), pvd.Config{Links: []string{"lab"}, Addresses: addresses(address)})
		added <- err
	}
	go add("10.0.0.2/24")
	<-j.joins
	go add("10.0.0.3/24") // waits for the first
	closing(t, w.host, j.release)
	for range 2 {
		if err := <-added; err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	if n := len(w.host.domains); n != 0 || len(w.host.List()) != 0 {
		t.Errorf("%d PvDs remain", n)
	}
}

func TestCloseDuringAddLink(t *testing.T) {
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	near, far := tun.Pipe(tun.PipeConfig{})
	defer far.Close()
	l := &heldLink{Link: near, asked: make(chan struct{}), release: make(chan struct{})}
	added := make(chan error, 1)
	go func() { added <- h.AddLink("lab", l) }()
	<-l.asked
	closing(t, h, l.release)
	if err := <-added; err != nil {
		t.Error(err)
	}
	if n := len(h.Links()); n != 0 {
		t.Errorf("%d links remain", n)
	}
	if err := near.Send([][]byte{make([]byte, 60)}, tun.Meta{}); err == nil {
		t.Error("the link is still open")
	}
}

// Whatever is asked of a closed host, the error is one.
func TestClosedHost(t *testing.T) {
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.Close(), h.Close()); err != nil {
		t.Error(err)
	}
	near, _ := tun.Pipe(tun.PipeConfig{})
	c := pvd.Config{Links: []string{"lab"}}
	_, errAdd := h.Add(t.Context(), c)
	_, errListen := h.In(pvd.All).Listen(t.Context(), "tcp", ":0")
	for name, err := range map[string]error{
		"Add": errAdd, "Update": h.Update(t.Context(), 16, c), "Remove": h.Remove(t.Context(), 16),
		"AddLink": h.AddLink("lab", near), "RemoveLink": h.RemoveLink("lab"), "Listen": errListen,
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// PvDs of one name have counters of their own.
func TestStatsOfOneName(t *testing.T) {
	w := newWire(t, tun.IP)
	for _, a := range []string{"10.0.0.2/24", "10.0.0.3/24"} {
		w.add(pvd.Config{Name: "twin", Addresses: addresses(a)}).stats.add(sent)
	}
	var n uint64
	for _, of := range w.host.Stats().PvDs {
		n += of["lab"]["sent"]
	}
	if n != 2 {
		t.Errorf("%d of 2 packets in %v", n, w.host.Stats().PvDs)
	}
}

// The addresses of a PvD whose link is down say so, and recover with it.
func TestAddressesFollowTheLink(t *testing.T) {
	near, far := tun.Pipe(tun.PipeConfig{Layer: tun.IP})
	defer far.Close()
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	l := &eventLink{Link: near, events: make(chan tun.Event)}
	defer h.Close()
	defer close(l.events)
	if err := h.AddLink("lab", l); err != nil {
		t.Fatal(err)
	}
	p := (&wire{t: t, host: h}).add(pvd.Config{Addresses: addresses("10.0.0.2/24")})
	for _, up := range []bool{true, false, true} {
		l.events <- tun.Event{Up: up, MTU: near.MTU()}
		want := pvd.Preferred
		if !up {
			want = pvd.Down
		}
		if !eventually(func() bool {
			info, err := h.Info(p.domain.ref)
			as, _ := pvd.Addresses.Get(info)
			return err == nil && as[0].State == want
		}) {
			t.Errorf("not %v on a link of which up is %v", want, up)
		}
	}
}

// eventLink is a link whose events the test makes.
type eventLink struct {
	tun.Link
	events chan tun.Event
}

func (l *eventLink) Events() <-chan tun.Event { return l.events }

// A link that fails for good is down.
func TestFailedLinkIsDown(t *testing.T) {
	near, far := tun.Pipe(tun.PipeConfig{Layer: tun.IP})
	defer far.Close()
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	l := &failingLink{Link: near, fail: make(chan struct{})}
	if err := h.AddLink("lab", l); err != nil {
		t.Fatal(err)
	}
	p := (&wire{t: t, host: h}).add(pvd.Config{Addresses: addresses("10.0.0.2/24")})
	close(l.fail)
	if !eventually(func() bool {
		info, err := h.Info(p.domain.ref)
		return err == nil && !pvd.HasAddr4.Holds(info)
	}) {
		t.Error("its addresses can be used")
	}
}

type failingLink struct {
	tun.Link
	fail chan struct{}
}

func (l *failingLink) Recv([][]byte, *tun.Meta) (int, error) {
	<-l.fail
	return 0, errors.New("out of order")
}
