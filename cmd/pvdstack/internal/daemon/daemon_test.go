package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/stack/socks5"
	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

const text = `links:
  a: {type: tap}
  b: {type: tap}
pvds:
  corp: {links: [a], addresses: [192.168.1.2/24]}
  home: {links: [b], addresses: [192.168.1.2/24]}
default: corp
socks5:
  - {listen: 127.0.0.1:0, pvd: corp}
  - {listen: 127.0.0.1:0, pvd: home}
`

func parse(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := config.Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A fake is a system in memory. Each link is one end of a pipe.
type fake struct {
	fail  string        // the step that fails, such as "open b"
	stuck chan struct{} // if not nil, what undoing waits for

	mu    sync.Mutex
	steps []string            // what was done and undone
	far   map[string]tun.Link // the other ends
}

var errFake = errors.New("the step that fails")

func (f *fake) step(s string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s == f.fail {
		return errFake
	}
	f.steps = append(f.steps, s)
	return nil
}

func (f *fake) open(l config.Link) (tun.Link, error) {
	if err := f.step("open " + l.Name); err != nil {
		return nil, err
	}
	near, far := tun.Pipe(tun.PipeConfig{Names: [2]string{l.Name, l.Name + "'s other end"}})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.far == nil {
		f.far = make(map[string]tun.Link)
	}
	f.far[l.Name] = far
	return &closer{Link: near, f: f}, nil
}

// A closer notes that a link was closed.
type closer struct {
	tun.Link
	f    *fake
	once sync.Once
}

func (c *closer) Close() error {
	c.once.Do(func() { _ = c.f.step("close " + c.Name()) })
	return c.Link.Close()
}

func (f *fake) prepare(l config.Link) (undo func() error, err error) {
	if err := f.step("prepare " + l.Name); err != nil {
		return nil, err
	}
	return func() error {
		if f.stuck != nil {
			<-f.stuck
		}
		return f.step("undo " + l.Name)
	}, nil
}

func (f *fake) keep(ctx context.Context, _ []config.Link, _ *slog.Logger) error {
	if err := f.step("keep"); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// patience is how long the tests wait for what should come much sooner.
const patience = 20 * time.Second

func newTestDaemon(s system) *daemon {
	return &daemon{log: slog.New(slog.DiscardHandler), system: s, readyTimeout: readyTimeout}
}

// TestAllOrNothing lets each step fail in turn: what was done before is undone, and
// nothing else is done.
func TestAllOrNothing(t *testing.T) {
	tests := []struct {
		fail  string
		want  string // of the error
		steps string
	}{
		{"open a", "link a: ", ""},
		{"prepare a", "link a: ", "open a, close a"},
		{"open b", "link b: ", "open a, prepare a, close a, undo a"},
		{"prepare b", "link b: ", "open a, prepare a, open b, close b, close a, undo a"},
		{"keep", "kernel's sides: ", "open a, prepare a, open b, prepare b, close a, close b, undo b, undo a"},
	}
	for _, tt := range tests {
		t.Run(tt.fail, func(t *testing.T) {
			tuntest.CheckLeaks(t)
			f := &fake{fail: tt.fail}
			d := newTestDaemon(f)
			err := d.run(t.Context(), parse(t, text))
			if !errors.Is(err, errFake) || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("error %v, want %q and the step's", err, tt.want)
			}
			// The order in which a host closes its links is its own affair.
			if i, j := slices.Index(f.steps, "close b"), slices.Index(f.steps, "close a"); i >= 0 && j == i+1 && tt.fail == "keep" {
				f.steps[i], f.steps[j] = f.steps[j], f.steps[i]
			}
			if got := strings.Join(f.steps, ", "); got != tt.steps {
				t.Errorf("steps %s\nwant  %s", got, tt.steps)
			}
			for _, p := range d.proxies {
				if c, err := net.Dial("tcp", p.address()); err == nil {
					_ = c.Close()
					t.Errorf("%s still listens", p.address())
				}
			}
		})
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f := new(fake)
	err = newTestDaemon(f).run(t.Context(), parse(t, strings.Replace(text, "127.0.0.1:0, pvd: home", l.Addr().String()+", pvd: home", 1)))
	if err == nil || !strings.HasPrefix(err.Error(), `socks5 of PvD "home": listen tcp 127.0.0.1:`) || len(f.steps) > 0 {
		t.Errorf("error %v after steps %q", err, f.steps)
	}
}

// TestStopWhileStarting holds that a signal before everything is ready is an orderly end.
func TestStopWhileStarting(t *testing.T) {
	tuntest.CheckLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := new(fake)
	if err := newTestDaemon(f).run(ctx, parse(t, text)); err != nil {
		t.Error(err)
	}
	open, closed := 0, 0
	for _, s := range f.steps {
		switch {
		case strings.HasPrefix(s, "open "):
			open++
		case strings.HasPrefix(s, "close "):
			closed++
		}
	}
	if open != closed {
		t.Errorf("steps %q", f.steps)
	}
}

// TestProxies lets the daemon run on two pipes, on whose other ends a stack of its own is
// the network: 192.168.1.1 answers differently in each.
func TestProxies(t *testing.T) {
	d := running(t, text)
	for _, p := range d.proxies {
		if got := ask(t, p); got != p.config.PvD {
			t.Errorf("through the proxy of %s: %s", p.config.Of(), got)
		}
	}
	if got, want := d.host.Default(), d.refs["corp"]; got != want {
		t.Errorf("the default is %v, want %v", got, want)
	}
}

// running returns a daemon that is at work until the test ends, on two pipes that lead to
// greeters which say corp and home.
func running(t *testing.T, text string) *daemon {
	t.Helper()
	tuntest.CheckLeaks(t)
	d, far := runningOn(t, text)
	for name, link := range far {
		greeter(t, link, map[string]string{"a": "corp", "b": "home"}[name])
	}
	return d
}

// runningOn returns a daemon that is at work until the test ends, on pipes, and their other
// ends.
func runningOn(t *testing.T, text string) (*daemon, map[string]tun.Link) {
	t.Helper()
	c := parse(t, text)
	f := new(fake)
	d := newTestDaemon(f)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-served, d.close()); err != nil {
			t.Error(err)
		}
	})
	if err := d.start(ctx, c); err != nil {
		served <- nil
		t.Fatal(err)
	}
	go func() { served <- d.serve(ctx) }()
	return d, f.far
}

// ask returns what 192.168.1.1 says through a proxy, or the error.
func ask(t *testing.T, p *proxy) string {
	t.Helper()
	return askAt(t, p, "192.168.1.1:7")
}

// greeter attaches 192.168.1.1 to a link, which says hello to whoever connects to port 7.
func greeter(t *testing.T, link tun.Link, hello string) {
	t.Helper()
	h, err := stack.New(stack.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	if err := h.AddLink("far", link); err != nil {
		t.Fatal(err)
	}
	ref, err := h.Add(t.Context(), pvd.Config{
		Links:     []string{"far"},
		Addresses: []pvd.Address{{Prefix: netip.MustParsePrefix("192.168.1.1/24")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.WaitReady(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	l, err := h.In(ref).Listen(t.Context(), "tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends when the host closes
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, hello)
			_ = c.Close()
		}
	}()
}

// TestReadyTimeout holds that a PvD whose addresses do not become usable in time ends the
// start.
func TestReadyTimeout(t *testing.T) {
	f := new(fake)
	d := newTestDaemon(f)
	d.readyTimeout = 50 * time.Millisecond                    // much less than duplicate address detection takes
	ctx, cancel := context.WithTimeout(t.Context(), patience) // in case it starts after all
	defer cancel()
	// IPv4 addresses are usable at once.
	err := d.run(ctx, parse(t, strings.Replace(text, "192.168.1.2/24", "'2001:db8::2/64'", 1)))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "pvd corp: ") {
		t.Errorf("error %v", err)
	}
}

// TestCloseTimeout holds that what can not be closed does not keep the daemon.
func TestCloseTimeout(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a timeout")
	}
	f := &fake{fail: "keep", stuck: make(chan struct{})}
	defer close(f.stuck)
	err := newTestDaemon(f).run(t.Context(), parse(t, text))
	if err == nil || !strings.Contains(err.Error(), "not everything could be closed within "+closeTimeout.String()) {
		t.Errorf("error %v", err)
	}
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	if err := notify("READY=1"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	if err != nil || string(buf[:n]) != "READY=1" {
		t.Errorf("the service manager was told %q, %v", buf[:n], err)
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := notify("READY=1"); err != nil {
		t.Errorf("without a service manager: %v", err)
	}
}

// TestReferenceHasDefaults holds that the reference shows the proxy's defaults.
func TestReferenceHasDefaults(t *testing.T) {
	c, err := config.Load(filepath.Join("..", "config", "reference.yaml"), os.Stdin)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(c.Proxies, func(p config.Proxy) bool { return p.IdleTimeout != 0 })
	if i < 0 {
		t.Fatal("the reference has no proxy with timeouts")
	}
	p := c.Proxies[i]
	if p.HandshakeTimeout != socks5.DefaultHandshakeTimeout || p.DialTimeout != socks5.DefaultDialTimeout || p.IdleTimeout != socks5.DefaultIdleTimeout {
		t.Errorf("timeouts %v, %v, %v are not the defaults", p.HandshakeTimeout, p.DialTimeout, p.IdleTimeout)
	}
	if p.MaxConns != socks5.DefaultMaxConns || p.MaxPerClient != socks5.DefaultMaxConns/4*3 || p.MaxHandshakes != socks5.DefaultMaxHandshakes {
		t.Errorf("limits %d, %d, %d are not the defaults", p.MaxConns, p.MaxPerClient, p.MaxHandshakes)
	}
}
