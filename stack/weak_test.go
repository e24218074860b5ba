package stack_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// A twoLinks is a PvD with two links, "inner" and "outer", and a station on each of them.
// The one on the outer link takes the PvD for its router to the inner one, or for the owner
// of the inner addresses.
type twoLinks struct {
	host         *stack.Host
	config       pvd.Config
	n            *stack.Network // 10.1.0.2 and fd01::2 are inner, 10.2.0.2 and fd02::2 outer
	inner, outer *stack.Network // 10.1.0.9 and fd01::9, 10.2.0.9 and fd02::9
}

func newTwoLinks(t *testing.T, inner, outer tun.Layer, weak, asOwner bool) twoLinks {
	t.Helper()
	h, in, out := newHost(t), newHost(t), newHost(t)
	pipeOf(t, inner, "inner", h, in)
	pipeOf(t, outer, "outer", h, out)
	c := pvd.Config{Links: []string{"inner", "outer"}, Elements: []pvd.Element{pvd.WeakHost.With(weak)}}
	for _, a := range []string{"10.1.0.2/24", "fd01::2/64"} {
		c.Addresses = append(c.Addresses, pvd.Address{Prefix: netip.MustParsePrefix(a), Link: "inner"})
	}
	for _, a := range []string{"10.2.0.2/24", "fd02::2/64"} {
		c.Addresses = append(c.Addresses, pvd.Address{Prefix: netip.MustParsePrefix(a), Link: "outer"})
	}
	station := func(link string, n int) pvd.Config {
		c := pvd.Config{Links: []string{link}, Addresses: []pvd.Address{
			{Prefix: netip.MustParsePrefix(fmt.Sprintf("10.%d.0.9/24", n))}, {Prefix: netip.MustParsePrefix(fmt.Sprintf("fd0%d::9/64", n))},
		}}
		for _, to := range []string{"10.0.0.0/8", "fd00::/8"} {
			r := pvd.Route{To: netip.MustParsePrefix(to)}
			if !asOwner {
				r.Via = netip.MustParseAddr(fmt.Sprintf("10.%d.0.2", n))
				if r.To.Addr().Is6() {
					r.Via = netip.MustParseAddr(fmt.Sprintf("fd0%d::2", n))
				}
			}
			c.Routes = append(c.Routes, r)
		}
		return c
	}
	return twoLinks{host: h, config: c, n: add(t, h, c), inner: add(t, in, station("inner", 1)), outer: add(t, out, station("outer", 2))}
}

// reaches reports whether a connection can be made from an address, which may be empty,
// and carries something both ways.
func reaches(t *testing.T, from *stack.Network, local, to string, wait time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	c, err := from.DialFrom(ctx, "tcp", local, to)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte("ping")); err != nil {
		return err
	}
	var b [4]byte
	if _, err := c.Read(b[:]); err != nil {
		return err
	}
	if string(b[:]) != "ping" {
		return errors.New("something else came back")
	}
	return nil
}

// echo answers on port 80 of all addresses and returns where connections came from.
func echo(t *testing.T, n *stack.Network) <-chan string {
	t.Helper()
	from := make(chan string, 16)
	l := mustListen(t, n, "tcp", ":80")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			from <- c.RemoteAddr().(*net.TCPAddr).IP.String()
			go func() {
				defer c.Close()
				b := make([]byte, 16)
				for {
					n, err := c.Read(b)
					if err != nil {
						return
					}
					_, _ = c.Write(b[:n])
				}
			}()
		}
	}()
	return from
}

func kind(l tun.Layer) string {
	if l == tun.IP {
		return "IP"
	}
	return "Ethernet"
}

// patience is how long a test waits for what must not come.
const patience = 300 * time.Millisecond

// The model is the strong one: nothing is received on one link for an address on another,
// nor sent from there (RFC 1122 section 3.3.4.2), in either family.
func TestP34_StrongHostByDefault(t *testing.T) {
	t.Parallel()
	for _, layer := range []tun.Layer{tun.IP, tun.Ethernet} {
		for _, asOwner := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, owner %v", kind(layer), asOwner), func(t *testing.T) {
				t.Parallel()
				w := newTwoLinks(t, layer, layer, false, asOwner)
				echo(t, w.n)
				echo(t, w.outer)
				for _, inner := range []string{"10.1.0.2", "fd01::2"} {
					if err := reaches(t, w.outer, "", net.JoinHostPort(inner, "80"), patience); err == nil {
						t.Errorf("%s answers on the other link", inner)
					}
				}
				for _, outer := range []string{"10.2.0.2", "fd02::2"} {
					if err := reaches(t, w.outer, "", net.JoinHostPort(outer, "80"), 10*time.Second); err != nil {
						t.Errorf("%s: %v", outer, err)
					}
				}
				for local, to := range map[string]string{"10.1.0.2": "10.2.0.9", "fd01::2": "fd02::9"} {
					if err := reaches(t, w.n, net.JoinHostPort(local, "0"), net.JoinHostPort(to, "80"), patience); !errors.Is(err, syscall.ENETUNREACH) {
						t.Errorf("from %s: %v", local, err)
					}
				}
			})
		}
	}
}

// Where the PvD is a weak host, it answers on each of its links for its addresses on the
// others and sends from them, in both families and over links of both kinds.
func TestP45_WeakHost(t *testing.T) {
	t.Parallel()
	for _, layers := range [][2]tun.Layer{{tun.IP, tun.IP}, {tun.Ethernet, tun.Ethernet}, {tun.IP, tun.Ethernet}, {tun.Ethernet, tun.IP}} {
		for _, asOwner := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s to %s, owner %v", kind(layers[1]), kind(layers[0]), asOwner), func(t *testing.T) {
				t.Parallel()
				w := newTwoLinks(t, layers[0], layers[1], true, asOwner)
				from := echo(t, w.n)
				atOuter := echo(t, w.outer)
				for inner, station := range map[string]string{"10.1.0.2": "10.2.0.9", "fd01::2": "fd02::9"} {
					if err := reaches(t, w.outer, "", net.JoinHostPort(inner, "80"), 10*time.Second); err != nil {
						t.Errorf("to %s: %v", inner, err)
					} else if got := <-from; got != station {
						t.Errorf("to %s: from %s", inner, got)
					}
					if err := reaches(t, w.n, net.JoinHostPort(inner, "0"), net.JoinHostPort(station, "80"), 10*time.Second); err != nil {
						t.Errorf("from %s: %v", inner, err)
					} else if got := <-atOuter; got != inner {
						t.Errorf("from %s: they see %s", inner, got)
					}
					if _, err := w.outer.Ping(t.Context(), netip.MustParseAddr(inner)); err != nil {
						t.Errorf("ping %s: %v", inner, err)
					}
				}
				// The links' own addresses go on as before.
				for _, to := range []string{"10.2.0.2", "fd02::2"} {
					if err := reaches(t, w.outer, "", net.JoinHostPort(to, "80"), 10*time.Second); err != nil {
						t.Errorf("to %s: %v", to, err)
					}
				}
				// A source is still that of the outgoing link, where it has one.
				if err := reaches(t, w.n, "", "10.2.0.9:80", 10*time.Second); err != nil {
					t.Error(err)
				} else if got := <-atOuter; got != "10.2.0.2" {
					t.Errorf("the source is %s", got)
				}
				if errs := w.transfer(t); errs != nil {
					t.Error(errs)
				}
			})
		}
	}
}

// transfer has a megabyte cross to an inner address and back.
func (w twoLinks) transfer(t *testing.T) error {
	t.Helper()
	l := mustListen(t, w.n, "tcp", "10.1.0.2:81")
	const size = 1 << 20
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		b := make([]byte, size)
		if _, err = io.ReadFull(c, b); err == nil {
			_, err = c.Write(b)
		}
		done <- err
	}()
	c := mustDial(t, w.outer, "tcp", "10.1.0.2:81")
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	go func() { _, _ = c.Write(make([]byte, size)) }()
	if _, err := io.ReadFull(c, make([]byte, size)); err != nil {
		return err
	}
	return <-done
}

// The model can be changed while the PvD works: what there is stays, and from then on the
// other one holds. Android has the weak model by default, and can be configured for the
// strong one (RFC 6419 section 3.1.4).
func TestP23_HostModelIsConfigurable(t *testing.T) {
	t.Parallel()
	w := newTwoLinks(t, tun.Ethernet, tun.Ethernet, true, true)
	echo(t, w.n)
	kept := mustDial(t, w.outer, "tcp", "10.2.0.2:80")
	defer kept.Close()
	if err := reaches(t, w.outer, "", "10.1.0.2:80", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, weak := range []bool{false, true} {
		c := w.config
		c.Elements = []pvd.Element{pvd.WeakHost.With(weak)}
		if err := w.host.Update(t.Context(), w.n.PvD(), c); err != nil {
			t.Fatal(err)
		}
		wait := patience
		if weak {
			wait = 10 * time.Second
		}
		if err := reaches(t, w.outer, "", "10.1.0.2:80", wait); (err == nil) != weak {
			t.Errorf("weak %v: %v", weak, err)
		}
		_ = kept.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := kept.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if _, err := kept.Read(make([]byte, 1)); err != nil {
			t.Errorf("weak %v: a connection that was there: %v", weak, err)
		}
	}
}

// What a weak host answers for on a link has to be told apart there like any address.
func TestWeakHostIsRefusedWhereAmbiguous(t *testing.T) {
	h := newHost(t)
	pipe(t, "inner", h, nil)
	pipe(t, "outer", h, nil)
	c := pvd.Config{Name: "weak", Links: []string{"inner", "outer"}, Elements: []pvd.Element{pvd.WeakHost.With(true)}, Addresses: []pvd.Address{
		{Prefix: netip.MustParsePrefix("10.1.0.2/24"), Link: "inner"}, {Prefix: netip.MustParsePrefix("10.2.0.2/24"), Link: "outer"},
	}}
	other := config("outer", "10.1.0.2/24")
	other.Name = "other"
	add(t, h, other)
	if _, err := h.Add(t.Context(), c); err == nil || !strings.Contains(err.Error(), "weak") || !strings.Contains(err.Error(), "other") {
		t.Errorf("both have 10.1.0.2 on the outer link: %v", err)
	}
	c.Elements = nil
	n := add(t, h, c)
	if err := h.Remove(t.Context(), n.PvD()); err != nil {
		t.Error(err)
	}
}

// A link of a weak host that goes takes its addresses along, on every link.
func TestWeakHostLosesALink(t *testing.T) {
	t.Parallel()
	w := newTwoLinks(t, tun.Ethernet, tun.Ethernet, true, true)
	echo(t, w.n)
	c := mustDial(t, w.outer, "tcp", "10.1.0.2:80")
	defer c.Close()
	if err := reaches(t, w.outer, "", "10.1.0.2:80", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := w.host.RemoveLink("inner"); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection to the address: %v", err)
	}
	if err := reaches(t, w.outer, "", "10.1.0.2:80", patience); err == nil {
		t.Error("the address still answers")
	}
	if err := reaches(t, w.outer, "", "10.2.0.2:80", 10*time.Second); err != nil {
		t.Errorf("the other link: %v", err)
	}
}
