package pvdtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// twins makes two LANs that are alike but for their page.
func twins(lab *Lab) {
	for _, name := range []string{"corp", "home"} {
		lan := lab.LAN(name, "192.168.1.0/24")
		lan.Router("192.168.1.1")
		lan.DNS("192.168.1.53", Zone{"wiki": "192.168.1.80"})
		lan.Web("192.168.1.80", name)
	}
}

func TestOverlappingLANs(t *testing.T) {
	t.Parallel()
	lab := New(t)
	twins(lab)
	h := lab.Host("corp", "home")
	for _, name := range []string{"corp", "home"} {
		n := h.Await(name)
		for _, url := range []string{"http://192.168.1.80/", "http://wiki/", "http://wiki." + name + ".example/"} {
			Get(t, n, url).Is(name)
		}
	}
	other := map[string]string{"corp": "home", "home": "corp"}
	for name, not := range other {
		if r := Get(t, h.In(name), "http://wiki."+not+".example/"); r.Err == nil {
			t.Errorf("%s knows a name of %s", name, not)
		}
	}
	if a, b := h.Ref("corp"), h.Ref("home.example"); a == b || h.In("corp").PvD() != a {
		t.Errorf("refs %v and %v", a, b)
	}
	lab.AssertIsolated()
}

// uplinked makes an inside LAN with both families and an internet behind its router.
func uplinked(lab *Lab, up Uplink) (inside *LAN, r *Router) {
	internet := lab.LAN("internet", "198.51.100.0/24", "2001:db8:ff::/64")
	inside = lab.LAN("inside", "10.0.0.0/8", "2001:db8:1::/64")
	// A server that is there before there is a route to the inside, and one after.
	internet.Web("198.51.100.80 2001:db8:ff::80", "the internet")
	up.LAN, up.Addrs = internet, "198.51.100.1 2001:db8:ff::1"
	r = inside.Router("10.0.0.1 2001:db8:1::1", up)
	internet.Echo("198.51.100.7 2001:db8:ff::7")
	return inside, r
}

func TestUplink(t *testing.T) {
	t.Parallel()
	lab := New(t)
	_, r := uplinked(lab, Uplink{})
	h := lab.Host("inside")
	n := h.Await("inside")
	Get(t, n, "http://198.51.100.80/").Is("the internet")
	Get(t, n, "http://[2001:db8:ff::80]/").Is("the internet")
	for _, to := range []string{"10.0.0.1", "198.51.100.1", "198.51.100.80", "2001:db8:1::1", "2001:db8:ff::80"} {
		if _, err := n.Ping(t.Context(), netip.MustParseAddr(to)); err != nil {
			t.Errorf("ping %s: %v", to, err)
		}
	}
	for _, to := range []string{"198.51.100.7:7", "[2001:db8:ff::7]:7"} {
		for _, size := range []int{10, 1400, 9000} { // the last in fragments, through NAT
			if err := echoUDP(t, n, to, size); err != nil {
				t.Errorf("echo of %d octets at %s: %v", size, to, err)
			}
		}
		if err := echoTCP(t, n, to, 2<<20); err != nil {
			t.Errorf("echo at %s: %v", to, err)
		}
	}
	lab.AssertIsolated()
	if s := r.Stats(); s[countForwarded] == 0 || s[dropChecksum]+s[dropMeta]+s[dropNATNone] != 0 {
		t.Errorf("router counts %v", s)
	}
}

// TestPathMTU has a narrow place behind the router, of which only ICMP tells.
func TestPathMTU(t *testing.T) {
	t.Parallel()
	lab := New(t)
	_, r := uplinked(lab, Uplink{MTU: 1300})
	h := lab.Host("inside")
	n := h.Await("inside")
	for _, to := range []string{"198.51.100.7:7", "[2001:db8:ff::7]:7"} {
		if err := echoTCP(t, n, to, 1<<20); err != nil {
			t.Errorf("echo at %s: %v", to, err)
		}
	}
	if r.Stats()[dropTooBig] == 0 {
		t.Error("nothing was too big: the test tests nothing")
	}
	lab.AssertIsolated()
}

// TestLANMTU has frames larger than Ethernet's.
func TestLANMTU(t *testing.T) {
	t.Parallel()
	lab := New(t)
	lan := lab.LAN("corp", "192.168.1.0/24")
	lan.SetMTU(9000)
	lan.Echo("192.168.1.7")
	h := lab.Host("corp")
	h.Link("corp").Impair(tun.Impairment{MTU: 9000}) // so that segments are cut
	n := h.Await("corp")
	if err := errors.Join(echoUDP(t, n, "192.168.1.7:7", 8000), echoTCP(t, n, "192.168.1.7:7", 1<<20)); err != nil {
		t.Error(err)
	}
	if out, _ := h.Link("corp").Counters(); out.Frames > 400 || out.DropMTU != 0 {
		t.Errorf("%+v: too many for 1 MiB in frames of 9,000", out)
	}
	lab.AssertIsolated()
}

func TestRouterToHostErrors(t *testing.T) {
	t.Parallel()
	lab := New(t)
	uplinked(lab, Uplink{})
	n := lab.Host("inside").Await("inside")
	var all sync.WaitGroup
	for _, tt := range []struct {
		to   string
		want error
	}{
		{"198.51.100.1:80", syscall.ECONNREFUSED},  // the router's reset
		{"203.0.113.1:80", syscall.ENETUNREACH},    // no route there
		{"198.51.100.99:80", syscall.EHOSTUNREACH}, // nobody there
		{"[2001:db8:ff::1]:80", syscall.ECONNREFUSED},
		{"[2001:db8:ee::1]:80", syscall.ENETUNREACH},
		{"[2001:db8:ff::99]:80", syscall.EHOSTUNREACH},
	} {
		all.Go(func() { // it takes three seconds until a neighbour is given up
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
			defer cancel()
			if _, err := n.DialContext(ctx, "tcp", tt.to); !errors.Is(err, tt.want) {
				t.Errorf("dial %s: %v, want %v", tt.to, err, tt.want)
			}
		})
	}
	all.Wait()
	lab.AssertIsolated()
}

func TestZone(t *testing.T) {
	t.Parallel()
	lab := New(t)
	lan := lab.LAN("corp", "192.168.1.0/24", "2001:db8:1::/64")
	lan.Router("192.168.1.1 2001:db8:1::1")
	var many []string
	for i := range 60 {
		many = append(many, fmt.Sprintf("2001:db8::%x", i+1))
	}
	lan.DNS("192.168.1.53", Zone{
		"wiki": "192.168.1.80 2001:db8:1::80", "www.example.net": "203.0.113.80", "many": strings.Join(many, " "),
	})
	n := lab.Host("corp").Await("corp")
	for _, tt := range []struct{ network, name, want string }{
		{"ip4", "wiki", "192.168.1.80"},
		{"ip6", "wiki", "2001:db8:1::80"},
		{"ip4", "WIKI.corp.example", "192.168.1.80"},
		{"ip", "www.example.net", "203.0.113.80"},
		{"ip", "many", strings.Join(many, " ")}, // more than UDP takes
	} {
		got, err := n.LookupNetIP(t.Context(), tt.network, tt.name)
		var want []netip.Addr
		for s := range strings.FieldsSeq(tt.want) {
			want = append(want, netip.MustParseAddr(s))
		}
		slices.SortFunc(got, netip.Addr.Compare)
		slices.SortFunc(want, netip.Addr.Compare)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s %s: %v, %v; want %v", tt.network, tt.name, got, err, want)
		}
	}
	for _, name := range []string{"nowhere", "nowhere.example.net"} {
		_, err := n.LookupNetIP(t.Context(), "ip", name)
		var dns *net.DNSError
		if !errors.As(err, &dns) || !dns.IsNotFound {
			t.Errorf("%s: %v, want not found", name, err)
		}
	}
	lab.AssertIsolated()
}

func TestImpair(t *testing.T) {
	t.Parallel()
	lab := New(t)
	twins(lab)
	h := lab.Host("corp", "home")
	h.Await("corp")
	h.Await("home")
	h.Link("home").ImpairOut(tun.Impairment{Drop: tun.Nth(1, tun.SYN)})
	h.Link("corp").Impair(tun.Impairment{Delay: 30 * time.Millisecond})
	began := time.Now()
	if _, err := h.In("corp").Ping(t.Context(), netip.MustParseAddr("192.168.1.1")); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d < 60*time.Millisecond {
		t.Errorf("an answer over 30 ms each way after %v", d)
	}
	Get(t, h.In("home"), "http://192.168.1.80/").Is("home") // the second SYN gets through
	if out, _ := h.Link("home").Counters(); out.DropPredicate != 1 {
		t.Errorf("dropped %+v, want one by predicate", out)
	}
	h.Link("corp").Impair(tun.Impairment{})
	lab.AssertIsolated()
}

// TestManualTime moves bytes over loss and delay that take long, in no time.
func TestManualTime(t *testing.T) {
	t.Parallel()
	lab := New(t, ManualTime(), Seed(7))
	lan := lab.LAN("corp", "192.168.1.0/24", "2001:db8:1::/64")
	lan.Echo("192.168.1.7")
	h := lab.Host("corp")
	n := h.Await("corp")
	if now := lab.Clock.Monotonic(); now < 900*time.Millisecond {
		t.Errorf("duplicate address detection took %v", now)
	}
	h.Link("corp").Impair(tun.Impairment{Delay: 250 * time.Millisecond, Loss: 0.02})
	began := lab.Clock.Monotonic()
	var err error
	lab.Run(func() { err = echoTCP(t, n, "192.168.1.7:7", 256<<10) })
	if err != nil {
		t.Error(err)
	}
	if took := lab.Clock.Monotonic() - began; took < time.Second {
		t.Errorf("256 KB over 500 ms there and back took %v", took)
	}
	if !lab.Clock.Advance(time.Hour) {
		t.Error("no rest")
	}
	lab.AssertIsolated()
}

// TestAssertIsolatedFails has the host send what it must not, and lose what it got.
func TestAssertIsolatedFails(t *testing.T) {
	t.Parallel()
	fake := &fakeTB{TB: t}
	lab := New(fake)
	twins(lab)
	h := lab.Host("corp", "home")
	h.Await("corp")
	h.Await("home")
	lab.AssertIsolated()
	if got := fake.take(); got != "" {
		t.Fatalf("at first: %s", got)
	}
	router := &iface{mac: broadcastMAC}
	stray := packetTo(router, mac{2, 0, 0, 0, 0, 9}, protoUDP, netip.MustParseAddr("10.9.9.9"), netip.MustParseAddr("10.0.0.1"), udp(1, 2, "stray"))
	if err := h.Link("home").cable.far.Send([][]byte{stray}, tun.Meta{}); err != nil {
		t.Fatal(err)
	}
	lab.AssertIsolated()
	if got := fake.take(); !strings.Contains(got, "link home: 1 × IPv4 from 10.9.9.9") || strings.Contains(got, "link corp") {
		t.Errorf("a stray frame: %q", got)
	}
	Get(t, h.In("home"), "http://192.168.1.80/").Is("home")
	h.Link("home").seen = newSenders()
	lab.AssertIsolated()
	if got := fake.take(); !strings.Contains(got, "0 frames arrived, the host counts") {
		t.Errorf("a frame that the host made up: %q", got)
	}
}

// TestOwnersKeepHistory: what a PvD sent is judged by what it had, after it is gone too.
func TestOwnersKeepHistory(t *testing.T) {
	t.Parallel()
	lab := New(t)
	twins(lab)
	h := lab.Host("corp")
	n := h.Await("corp")
	Get(t, n, "http://wiki/").Is("corp")
	ref, err := h.Host.Add(t.Context(), pvd.Config{
		Name: "second", Links: []string{"corp"},
		Addresses: []pvd.Address{{Prefix: netip.MustParsePrefix("192.168.1.200/24")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Host.WaitReady(t.Context(), ref, pvd.HasAddr4); err != nil {
		t.Fatal(err)
	}
	Get(t, h.Host.In(ref), "http://192.168.1.80/").Is("corp")
	lab.AssertIsolated()
	if err := errors.Join(h.Host.Remove(t.Context(), ref), h.Host.Remove(t.Context(), h.Ref("corp"))); err != nil {
		t.Fatal(err)
	}
	lab.AssertIsolated()
}

// TestLabLeavesNothing: every goroutine ends with the lab.
func TestLabLeavesNothing(t *testing.T) {
	before, labs := runtime.NumGoroutine(), 3
	if testing.Short() {
		labs = 1
	}
	for range labs {
		var log strings.Builder
		if !Main("lab", &log, func(tb TB) {
			lab := New(tb)
			uplinked(lab, Uplink{})
			lab.LAN("home", "192.168.1.0/24").DNS("192.168.1.53", nil)
			h := lab.Host("inside", "home")
			h.Link("home").Impair(tun.Impairment{Delay: time.Second})
			Get(tb, h.Await("inside"), "http://198.51.100.80/").Is("the internet")
			// Nobody takes the answer: calls are under way when the lab ends.
			c, err := h.In("inside").DialContext(context.Background(), "tcp", "198.51.100.7:7")
			if err != nil {
				tb.Fatalf("%v", err)
			}
			_, _ = c.Write(make([]byte, 1000))
		}) {
			t.Fatal(log.String())
		}
	}
	waitFor(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
}

type artifactFake struct {
	*fakeTB
	dir      string
	cleanups []func()
}

func (a *artifactFake) ArtifactDir() string { return a.dir }
func (a *artifactFake) Cleanup(f func())    { a.cleanups = append(a.cleanups, f) }

func TestArtifacts(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		fake := &artifactFake{fakeTB: &fakeTB{TB: t}, dir: filepath.Join(t.TempDir(), "artifacts")}
		lab := New(fake)
		lan := lab.LAN("corp", "192.168.1.0/24")
		lan.Web("192.168.1.80", "corp")
		n := lab.Host("corp").Await("corp")
		Get(fake, n, "http://192.168.1.80/").Is("corp")
		if fails {
			Get(fake, n, "http://192.168.1.80/").Is("something else")
		}
		for _, f := range slices.Backward(fake.cleanups) {
			f()
		}
		if got := fake.take(); strings.Contains(got, `got "corp", want "something else"`) != fails {
			t.Errorf("errors %q", got)
		}
		if !fails {
			if _, err := os.Stat(fake.dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("artifacts of a test that passed: %v", err)
			}
			continue
		}
		for name, want := range map[string]string{
			"corp-host1.pcapng":        "\n\r\r\n",
			"corp-192.168.1.80.pcapng": "\n\r\r\n",
			"timeline.txt":             "host joined",
			"host1.txt":                "192.168.1.100/24",
		} {
			b, err := os.ReadFile(filepath.Join(fake.dir, name))
			if err != nil || !bytes.Contains(b, []byte(want)) {
				t.Errorf("%s: %d octets, %v; want %q in it", name, len(b), err, want)
			}
		}
	}
}

func TestTraceLimits(t *testing.T) {
	tr := newTrace(pvd.SystemClock())
	for range maxTraceFrames + 10 {
		tr.add(tun.Out, [][]byte{make([]byte, 60)}, tun.Meta{})
	}
	if len(tr.entries) != maxTraceFrames || tr.frames() != maxTraceFrames+10 {
		t.Errorf("%d kept of %d", len(tr.entries), tr.frames())
	}
	for range 2 * maxTraceBytes / 60000 {
		tr.add(tun.Out, [][]byte{make([]byte, 60000)}, tun.Meta{})
	}
	var file bytes.Buffer
	if err := tr.write(&file, "x"); err != nil {
		t.Fatal(err)
	}
	if n := file.Len(); tr.bytes > maxTraceBytes || n < maxTraceBytes*9/10 || n > maxTraceBytes*11/10 {
		t.Errorf("%d octets kept, file of %d", tr.bytes, n)
	}
	line := newTimeline(pvd.SystemClock())
	for i := range maxTimeline + 1 {
		fmt.Fprintf(line, "event %d\n", i)
	}
	if s := line.String(); strings.Count(s, "\n") != maxTimeline || strings.Contains(s, "event 0\n") {
		t.Error("the timeline does not forget")
	}
}

func TestLANErrors(t *testing.T) {
	for _, tt := range []struct {
		want string
		f    func(TB, *Lab)
	}{
		{"not a DNS label", func(_ TB, l *Lab) { l.LAN("a.b", "10.0.0.0/8") }},
		{"no prefix", func(_ TB, l *Lab) { l.LAN("a") }},
		{"not the network", func(_ TB, l *Lab) { l.LAN("a", "10.0.0.1/8") }},
		{"second prefix", func(_ TB, l *Lab) { l.LAN("a", "10.0.0.0/8", "11.0.0.0/8") }},
		{"two LANs", func(_ TB, l *Lab) { l.LAN("a", "10.0.0.0/8"); l.LAN("a", "10.0.0.0/8") }},
		{"is not on", func(_ TB, l *Lab) { l.LAN("a", "10.0.0.0/8").Router("11.0.0.1") }},
		{"is a/router", func(_ TB, l *Lab) { n := l.LAN("a", "10.0.0.0/8"); n.Router("10.0.0.1"); n.Web("10.0.0.1", "") }},
		{"no such LAN", func(_ TB, l *Lab) { l.Host("a") }},
		{"named twice", func(_ TB, l *Lab) { l.LAN("a", "10.0.0.0/8"); l.Host("a", "a") }},
		{"no address left", func(_ TB, l *Lab) { l.LAN("a", "10.0.0.0/30").Pool("10.0.0.2"); l.Host("a"); l.Host("a") }},
		{"uplink leads nowhere", func(_ TB, l *Lab) { l.LAN("a", "10.0.0.0/8").Router("10.0.0.1", Uplink{}) }},
		{"MTU 100", func(_ TB, l *Lab) { l.LAN("a", "10.0.0.0/8").SetMTU(100) }},
		{"zone", func(_ TB, l *Lab) { l.LAN("a", "10.0.0.0/8").DNS("10.0.0.53", Zone{"x": "y"}) }},
		{"is not on \"b\"", func(_ TB, l *Lab) { l.LAN("a", "10.0.0.0/8"); l.Host("a").Ref("b") }},
	} {
		var log strings.Builder
		if Main("errors", &log, func(tb TB) { tt.f(tb, New(tb)) }) || !strings.Contains(log.String(), tt.want) {
			t.Errorf("got %q, want %q", log.String(), tt.want)
		}
	}
}

func echoUDP(t *testing.T, n *stack.Network, to string, size int) error {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := n.DialContext(ctx, "udp", to)
	if err != nil {
		return err
	}
	defer c.Close()
	d, _ := ctx.Deadline()
	_ = c.SetDeadline(d)
	msg := bytes.Repeat([]byte("pvdstack"), size/8+1)[:size]
	if _, err := c.Write(msg); err != nil {
		return err
	}
	got := make([]byte, size+1)
	k, err := c.Read(got)
	if err == nil && !bytes.Equal(got[:k], msg) {
		err = fmt.Errorf("%d octets came back, other ones", k)
	}
	return err
}

func echoTCP(t *testing.T, n *stack.Network, to string, size int) error {
	c, err := n.DialContext(t.Context(), "tcp", to)
	if err != nil {
		return err
	}
	defer c.Close()
	msg := bytes.Repeat([]byte("pvdstack"), size/8)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(msg)
		sent <- errors.Join(err, c.(interface{ CloseWrite() error }).CloseWrite())
	}()
	got, err := io.ReadAll(c)
	if err == nil && !bytes.Equal(got, msg) {
		err = fmt.Errorf("%d octets came back of %d", len(got), len(msg))
	}
	return errors.Join(err, <-sent)
}
