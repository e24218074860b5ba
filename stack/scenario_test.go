package stack_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/selection"
	"github.com/pvdstack/pvdstack/stack"
)

// The scenarios set up what RFC 6419 says of systems with several interfaces, each with our
// means, and assert what comes out. In all of them, the same addresses are in use on every
// network unless it is said otherwise (P9): what is told apart is told apart by PvD.

// An equipment is a host with a connection manager, and networks that it can be on. On each,
// it is 192.168.1.2 and 2001:db8:1::2, a server of the network's is 192.168.1.1 and 2001:db8:1::1, and
// 203.0.113.80 and 2001:db8::80 are a site that says by which network it was reached.
type equipment struct {
	t     *testing.T
	host  *stack.Host
	peers map[string]*stack.Network
}

const (
	site4 = "203.0.113.80"
	site6 = "2001:db8::80"
)

func newEquipment(t *testing.T) *equipment {
	t.Helper()
	return &equipment{t: t, host: newHost(t), peers: make(map[string]*stack.Network)}
}

// lay makes a network and the link to it, and returns the PvD that goes with it, which is
// not attached yet. change may be nil.
func (e *equipment) lay(name string, change func(*pvd.Config)) pvd.Config {
	e.t.Helper()
	peer := newHost(e.t)
	pipe(e.t, name, e.host, peer)
	n := add(e.t, peer, config(name, "192.168.1.1/24", "2001:db8:1::1/64", site4+"/32", site6+"/128"))
	e.peers[name] = n
	for _, network := range []string{"tcp4", "tcp6"} {
		greet(mustListen(e.t, n, network, ":80"), name+" "+network)
		greet(mustListen(e.t, n, network, ":5060"), name+" "+network)
	}
	c := config(name, "192.168.1.2/24", "2001:db8:1::2/64")
	c.Name = name
	c.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("192.168.1.1:53")}
	runDNS(e.t, n, map[string][]string{
		"site.example.":          {site4, site6},
		"intranet.corp.example.": {"192.168.1.1"},
		"who." + name + ".test.": {"192.0.2.1"},
	})
	if change != nil {
		change(&c)
	}
	return c
}

// greet says hello to whoever connects, until the listener is closed.
func greet(l net.Listener, hello string) {
	go func() {
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

// join lays a network and attaches the PvD.
func (e *equipment) join(name string, elements ...pvd.Element) pvd.Ref {
	e.t.Helper()
	return e.attach(e.lay(name, func(c *pvd.Config) { c.Elements = elements }))
}

func (e *equipment) attach(c pvd.Config) pvd.Ref {
	e.t.Helper()
	ref := add(e.t, e.host, c).PvD()
	return ref
}

func (e *equipment) detach(ref pvd.Ref) {
	e.t.Helper()
	if err := e.host.Remove(e.t.Context(), ref); err != nil {
		e.t.Fatal(err)
	}
}

// manage gives the host a connection manager, which decides the calls of its applications.
func (e *equipment) manage(c selection.Config) *selection.Manager {
	e.t.Helper()
	c.Registry = e.host
	m, err := selection.New(c)
	if err != nil {
		e.t.Fatal(err)
	}
	e.host.SetSelector(m)
	e.t.Cleanup(func() {
		if err := m.Close(); err != nil {
			e.t.Error(err)
		}
	})
	// What is attached is known from here on.
	if _, err := m.Rank(e.t.Context(), nil); err != nil {
		e.t.Fatal(err)
	}
	return m
}

// reach asserts by which network, and family, an address is reached.
func (e *equipment) reach(n pvd.Dialer, network, address, want string) {
	e.t.Helper()
	if got, err := hello(e.t.Context(), n, network, address); err != nil || got != want {
		e.t.Errorf("%s %s: by %q, %v; want %q", network, address, got, err, want)
	}
}

// hello returns what the site at an address says.
func hello(ctx context.Context, n pvd.Dialer, network, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	c, err := n.DialContext(ctx, network, address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	return string(b), err
}

// fails asserts that an address is not reached, and why.
func (e *equipment) fails(n pvd.Dialer, network, address string, want error) {
	e.t.Helper()
	if got, err := hello(e.t.Context(), n, network, address); !errors.Is(err, want) {
		e.t.Errorf("%s %s: %q, %v; want %v", network, address, got, err, want)
	}
}

// eventual waits for something that another goroutine brings about.
func (e *equipment) eventual(what string, is func() bool) {
	e.t.Helper()
	for end := time.Now().Add(longest); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			e.t.Fatalf("%s: not within %v", what, longest)
		}
	}
}

func named(name string) selection.Action {
	return selection.Choose(selection.Require(selection.Named(name)))
}

// onDemand is a provider whose network is there, but not attached.
type onDemand struct {
	e     *equipment
	offer selection.Offer
	c     pvd.Config
}

// offered lays a network that is opened on demand. It takes resource for itself.
func (e *equipment) offered(name, resource string, elements ...pvd.Element) *onDemand {
	e.t.Helper()
	return &onDemand{
		e: e, c: e.lay(name, func(c *pvd.Config) { c.Elements = elements }),
		offer: selection.Offer{
			Name: name, Elements: elements, Resource: resource,
			Traits: []selection.Trait{selection.IPv4, selection.IPv6, selection.Internet},
		},
	}
}

func (o *onDemand) Offer() selection.Offer { return o.offer }

func (o *onDemand) Attach(ctx context.Context) (pvd.Ref, error) { return o.e.host.Add(ctx, o.c) }

func (o *onDemand) Detach(ctx context.Context, ref pvd.Ref) error {
	return o.e.host.Remove(ctx, ref)
}

// attached reports whether a PvD of a name is there.
func (e *equipment) attached(name string) bool {
	_, err := e.host.Find(name)
	return err == nil
}
