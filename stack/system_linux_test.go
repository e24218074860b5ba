package stack_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// systemPatience is how long the system tests wait for what should come much sooner.
const systemPatience = 30 * time.Second

// The kinds of link to a kernel.
const (
	kindTUN    = "tun"
	kindTAP    = "tap"
	kindPacket = "packet"
)

var kinds = []string{kindTUN, kindTAP, kindPacket}

// A rig is a host under test, whose links lead to kernels, and a watch on each of them.
type rig struct {
	t       *testing.T
	host    *stack.Host
	box     *tuntest.NS // where the interfaces are that links of kind packet use
	watches map[string]*watch

	follow   sync.Once     // the watches are told what PvDs are learned
	followed chan struct{} // closed when that has ended; nil: it has not begun

	mu       sync.Mutex // guards watches, which only the test changes, and versions
	versions []version  // of learned PvDs, as far as they are followed
}

// newRig returns a host without links, which is the first thing that the test makes. When
// the test has ended and the host is closed, every frame that left by any link is judged,
// and nothing of it all may be left.
func newRig(t *testing.T) *rig {
	t.Helper()
	if testing.Short() {
		t.Skip("slow: waits for kernels and for addresses to be found unique")
	}
	tuntest.CheckLeaks(t)
	return anotherRig(t)
}

// anotherRig returns one more host.
func anotherRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, watches: make(map[string]*watch)}
	t.Cleanup(func() {
		if r.followed != nil {
			<-r.followed
		}
		for _, w := range r.watches {
			w.judge(t)
		}
		r.checkStations()
		if t.Failed() && r.followed != nil {
			t.Logf("the learned PvDs:\n%s", r.timeline())
		}
	})
	r.host = newHost(t)
	return r
}

// attach gives the host a link, watched.
func (r *rig) attach(name string, l tun.Link) {
	r.t.Helper()
	w := newWatch(name, l.Layer())
	if err := r.host.AddLink(name, tun.Tap(l, w.see)); err != nil {
		_ = l.Close()
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watches[name] = w
}

// wire makes a link of a kind, whose other end is the interface dev of ns.
func (r *rig) wire(name, kind string, ns *tuntest.NS, dev string, mtu int) {
	r.t.Helper()
	if kind == kindPacket {
		if r.box == nil {
			r.box = tuntest.NewNS(r.t)
		}
		r.attach(name, openPacket(r.t, r.box, name, ns, dev, mtu))
		return
	}
	var l tun.Link
	var err error
	ns.Do(func() {
		if kind == kindTUN {
			l, err = tun.OpenTUN(tun.TUNConfig{Name: dev, MTU: mtu})
		} else {
			l, err = tun.OpenTAP(tun.TAPConfig{Name: dev, MTU: mtu})
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.attach(name, l)
}

// openPacket lays a cable from the interface near of box to the interface dev of ns and
// returns a link on near.
func openPacket(t *testing.T, box *tuntest.NS, near string, ns *tuntest.NS, dev string, mtu int) tun.Link {
	t.Helper()
	tuntest.Veth(box, near, ns, dev)
	box.IP("link", "set", "dev", near, "mtu", strconv.Itoa(mtu))
	ns.IP("link", "set", "dev", dev, "mtu", strconv.Itoa(mtu))
	var l tun.Link
	var err error
	box.Do(func() { l, err = tun.OpenPacket(tun.PacketConfig{Interface: near}) })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// add attaches PvDs, waits until they can be used, and tells the watches what is theirs.
func (r *rig) add(configs ...pvd.Config) []*stack.Network {
	r.t.Helper()
	networks := make([]*stack.Network, len(configs))
	for i, c := range configs {
		ref, err := r.host.Add(r.t.Context(), c)
		if err != nil {
			r.t.Fatal(err)
		}
		networks[i] = r.host.In(ref)
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), systemPatience)
	defer cancel()
	for _, n := range networks {
		if err := r.host.WaitReady(ctx, n.PvD()); err != nil {
			r.t.Fatal(err)
		}
		info, err := r.host.Info(n.PvD())
		if err != nil {
			r.t.Fatal(err)
		}
		addrs, _ := pvd.Addresses.Get(info)
		for _, a := range addrs {
			if !a.State.Usable() {
				r.t.Fatalf("PvD %s: address %v is %v", info.Name(), a.Prefix, a.State)
			}
			r.watches[a.Link].permit(a.Prefix.Addr(), info.Name())
		}
	}
	return networks
}

// addrs gives an interface addresses that can be used at once: even with detection of
// duplicates switched off, an IPv6 address is tentative for a moment.
func addrs(ns *tuntest.NS, dev string, prefixes ...string) {
	for _, p := range prefixes {
		cmd := []string{"addr", "add", p, "dev", dev}
		if strings.Contains(p, ":") {
			cmd = append(cmd, "nodad")
		}
		ns.IP(cmd...)
	}
}

// macOf returns an interface's hardware address, nil if it has none.
func macOf(t *testing.T, ns *tuntest.NS, dev string) net.HardwareAddr {
	t.Helper()
	text := strings.TrimSpace(ns.Exec("cat", "/sys/class/net/"+dev+"/address"))
	if text == "" {
		return nil
	}
	a, err := net.ParseMAC(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(systemPatience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", systemPatience, what)
		}
	}
}

// A node is where connections begin and end: a PvD, or a kernel in a namespace.
type node interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
}

// A kernel is a namespace as a node.
type kernel struct{ ns *tuntest.NS }

func (k kernel) DialContext(ctx context.Context, network, address string) (c net.Conn, err error) {
	return k.DialFrom(ctx, network, "", address)
}

// DialFrom connects from a local address, "host:port", if that is not empty.
func (k kernel) DialFrom(ctx context.Context, network, local, address string) (c net.Conn, err error) {
	var d net.Dialer
	if local != "" && strings.HasPrefix(network, "udp") {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(local))
	} else if local != "" {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))
	}
	k.ns.Do(func() { c, err = d.DialContext(ctx, network, address) })
	return c, err
}

func (k kernel) Listen(ctx context.Context, network, address string) (l net.Listener, err error) {
	k.ns.Do(func() { l, err = new(net.ListenConfig).Listen(ctx, network, address) })
	return l, err
}

func (k kernel) ListenPacket(ctx context.Context, network, address string) (c net.PacketConn, err error) {
	k.ns.Do(func() { c, err = new(net.ListenConfig).ListenPacket(ctx, network, address) })
	return c, err
}

// A nodeAt is a node that dials from one of its addresses.
type nodeAt struct {
	dialer
	addr string
}

// A dialer is a node that can be told where to dial from.
type dialer interface {
	node
	DialFrom(ctx context.Context, network, local, address string) (net.Conn, error)
}

func (n nodeAt) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return n.DialFrom(ctx, network, net.JoinHostPort(n.addr, "0"), address)
}

// join returns the two ends of a TCP connection from one node to an address of another.
func join(t *testing.T, from, to node, address string) (client, server net.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), systemPatience)
	defer cancel()
	l, err := to.Listen(ctx, "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		defer close(accepted)
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	if client, err = from.DialContext(ctx, "tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	select {
	case server = <-accepted:
	case <-ctx.Done():
	}
	if server == nil {
		t.Fatalf("%v connected to %v, who has not accepted it", client.LocalAddr(), l.Addr())
	}
	t.Cleanup(func() { _ = server.Close() })
	for _, c := range []net.Conn{client, server} {
		_ = c.SetDeadline(time.Now().Add(systemPatience))
	}
	return client, server
}

// A pattern is a stream of octets that does not repeat.
func pattern(seed uint64) *rand.ChaCha8 {
	return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
}

// sendStream writes n octets of a pattern and ends the stream.
func sendStream(c net.Conn, seed uint64, n int) error {
	p, buf := pattern(seed), make([]byte, 256<<10)
	for n > 0 {
		b := buf[:min(n, len(buf))]
		_, _ = p.Read(b)
		if _, err := c.Write(b); err != nil {
			return err
		}
		n -= len(b)
	}
	return c.(interface{ CloseWrite() error }).CloseWrite()
}

// receiveStream reads a stream to its end, which has to be n octets of a pattern.
func receiveStream(c net.Conn, seed uint64, n int) error {
	p, buf, want := pattern(seed), make([]byte, 256<<10), make([]byte, 256<<10)
	for got := 0; ; {
		k, err := c.Read(buf)
		_, _ = p.Read(want[:k])
		if string(buf[:k]) != string(want[:k]) {
			return fmt.Errorf("octets within %d of the stream's octet %d are not those that were sent", k, got)
		}
		got += k
		switch {
		case err != nil && got == n && err.Error() == "EOF":
			return nil
		case err != nil:
			return fmt.Errorf("after %d octets of %d: %w", got, n, err)
		}
	}
}

// command runs a command to its end and returns what it printed.
func command(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }
