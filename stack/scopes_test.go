package stack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/stack/dns"
)

// A world is a host with PvDs of the same addresses that can be told apart all the same:
// in the PvD of index i the name who.example is 10.0.0.i, web.example is 10.9.0.i, and only
// there that answers.
type world struct {
	star
	names []string // of the PvDs, by which they can be found
}

// newWorld returns a world of n PvDs, which have an ID if they are to be explicit.
func newWorld(t *testing.T, n int, explicit bool) *world {
	t.Helper()
	return newWorldOf(t, n, func(i int, c *pvd.Config) {
		c.Name = fmt.Sprint("net", i)
		if explicit {
			c.ID = pvd.ID(fmt.Sprintf("net%d.example", i))
		}
	})
}

// newWorldOf is newWorld for PvDs that are called what call says.
func newWorldOf(t *testing.T, n int, call func(i int, c *pvd.Config)) *world {
	t.Helper()
	w := &world{star: star{host: newHost(t)}}
	for i := range n {
		link, peer := fmt.Sprint("wire", i), newHost(t)
		pipe(t, link, w.host, peer)
		c := config(link, "192.168.1.2/24", "fd00::2/64", "fe80::2/64")
		call(i, &c)
		c.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("192.168.1.1:53")}
		w.own = append(w.own, add(t, w.host, c))
		info, err := w.host.Info(w.ref(i))
		if err != nil {
			t.Fatal(err)
		}
		w.names = append(w.names, info.Name())
		far := add(t, peer, config(link, "192.168.1.1/24", "fd00::1/64", "fe80::1/64", answering(i)+"/32"))
		who := []string{fmt.Sprint("10.0.0.", i)}
		runDNS(t, far, map[string][]string{
			"who.example.": who, "web.example.": {answering(i)}, "_x._tcp.who.example.": who, "1.2.0.192.in-addr.arpa.": who,
		})
		mustListen(t, far, "tcp", ":80")
		w.peers = append(w.peers, far)
	}
	return w
}

// answering is the address that answers in the PvD of index i only.
func answering(i int) string { return fmt.Sprint("10.9.0.", i) }

func (w *world) ref(i int) pvd.Ref { return w.own[i].PvD() }

func (w *world) refs() (refs []pvd.Ref) {
	for i := range w.own {
		refs = append(refs, w.ref(i))
	}
	return refs
}

// A caller is what operations begin at: a Network or an App.
type caller interface {
	pvd.Network
	DialFrom(ctx context.Context, network, local, address string) (net.Conn, error)
	LookupHost(ctx context.Context, host string) ([]string, error)
	LookupIP(ctx context.Context, network, host string) ([]net.IP, error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	LookupCNAME(ctx context.Context, host string) (string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupNS(ctx context.Context, name string) ([]*net.NS, error)
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
	LookupSVCB(ctx context.Context, name string) ([]*wire.SVCB, error)
	LookupHTTPS(ctx context.Context, name string) ([]*wire.SVCB, error)
	LookupPort(ctx context.Context, network, service string) (int, error)
	Query(ctx context.Context, q dns.Question) (*wire.Msg, dns.Info, error)
	Exchange(ctx context.Context, m *wire.Msg) (*wire.Msg, dns.Info, error)
	GetAddrInfo(ctx context.Context, node, service string, hints *pvd.Hints) ([]pvd.AddrInfo, error)
	GetNameInfo(ctx context.Context, addr netip.AddrPort, flags pvd.NameInfoFlags) (host, service string, err error)
	Ping(ctx context.Context, addr netip.Addr) (time.Duration, error)
}

// told returns the PvD that an answer about who.example is from: what it says ends in its
// index.
func told[T any](w *world, v T, err error, says func(T) string) (pvd.Ref, error) {
	if err != nil {
		return pvd.Unspecified, err
	}
	text := strings.TrimSuffix(says(v), ".")
	i, err := strconv.Atoi(text[strings.LastIndexAny(text, ".-")+1:])
	return w.ref(i), err
}

// operations holds, by name, every method by which an application begins something, as one
// that returns which PvD it was in. It is expected to be in the PvD of index want.
var operations = map[string]func(ctx context.Context, w *world, c caller, want int) (pvd.Ref, error){
	"DialContext": func(ctx context.Context, _ *world, c caller, _ int) (pvd.Ref, error) {
		conn, err := c.DialContext(ctx, "tcp", "192.168.1.1:80")
		return closed(conn, err)
	},
	"DialFrom": func(ctx context.Context, _ *world, c caller, _ int) (pvd.Ref, error) {
		conn, err := c.DialFrom(ctx, "udp", "192.168.1.2:0", "192.168.1.1:80")
		return closed(conn, err)
	},
	"Listen": func(ctx context.Context, _ *world, c caller, _ int) (pvd.Ref, error) {
		l, err := c.Listen(ctx, "tcp", "192.168.1.2:0")
		return closed(l, err)
	},
	"ListenPacket": func(ctx context.Context, _ *world, c caller, _ int) (pvd.Ref, error) {
		conn, err := c.ListenPacket(ctx, "udp", "192.168.1.2:0")
		return closed(conn, err)
	},
	"LookupNetIP": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		addrs, err := c.LookupNetIP(ctx, "ip4", "who.example")
		if err != nil {
			return pvd.Unspecified, err
		}
		return w.ref(int(addrs[0].As4()[3])), nil
	},
	"LookupHost": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		v, err := c.LookupHost(ctx, "who.example")
		return told(w, v, err, func(v []string) string { return v[0] })
	},
	"LookupIP": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		v, err := c.LookupIP(ctx, "ip4", "who.example")
		return told(w, v, err, func(v []net.IP) string { return v[0].String() })
	},
	"LookupIPAddr": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		v, err := c.LookupIPAddr(ctx, "who.example")
		return told(w, v, err, func(v []net.IPAddr) string { return v[0].String() })
	},
	"LookupAddr": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		v, err := c.LookupAddr(ctx, "192.0.2.1")
		return told(w, v, err, func(v []string) string { return v[0] })
	},
	"LookupCNAME": func(ctx context.Context, w *world, c caller, want int) (pvd.Ref, error) {
		_, err := c.LookupCNAME(ctx, "web.example") // which has no other name: that it is there is all
		return w.ref(want), err
	},
	"LookupMX": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		v, err := c.LookupMX(ctx, "who.example")
		return told(w, v, err, func(v []*net.MX) string { return v[0].Host })
	},
	"LookupNS": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		v, err := c.LookupNS(ctx, "who.example")
		return told(w, v, err, func(v []*net.NS) string { return v[0].Host })
	},
	"LookupTXT": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		v, err := c.LookupTXT(ctx, "who.example")
		return told(w, v, err, func(v []string) string { return v[0] })
	},
	"LookupSRV": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		_, v, err := c.LookupSRV(ctx, "x", "tcp", "who.example")
		return told(w, v, err, func(v []*net.SRV) string { return v[0].Target })
	},
	"LookupSVCB": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		v, err := c.LookupSVCB(ctx, "who.example")
		return told(w, v, err, func(v []*wire.SVCB) string { return v[0].Target })
	},
	"LookupHTTPS": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		v, err := c.LookupHTTPS(ctx, "who.example")
		return told(w, v, err, func(v []*wire.SVCB) string { return v[0].Target })
	},
	"LookupPort": func(ctx context.Context, w *world, c caller, want int) (pvd.Ref, error) {
		_, err := c.LookupPort(ctx, "tcp", "http") // nobody is asked
		return w.ref(want), err
	},
	"Query": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		v, _, err := c.Query(ctx, dns.Question{Name: "who.example.", Type: wire.TypeTXT})
		return told(w, v, err, func(m *wire.Msg) string { return m.Answer[0].(*wire.TXT).Txt[0] })
	},
	"Exchange": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		v, _, err := c.Exchange(ctx, new(wire.Msg).SetQuestion("who.example.", wire.TypeTXT))
		return told(w, v, err, func(m *wire.Msg) string { return m.Answer[0].(*wire.TXT).Txt[0] })
	},
	"GetAddrInfo": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		v, err := c.GetAddrInfo(ctx, "who.example", "80", nil)
		return told(w, v, err, func(v []pvd.AddrInfo) string { return v[0].Addr.Addr().String() })
	},
	"GetNameInfo": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		v, _, err := c.GetNameInfo(ctx, netip.MustParseAddrPort("192.0.2.1:80"), 0)
		return told(w, v, err, func(v string) string { return v })
	},
	"Socket": func(ctx context.Context, w *world, c caller, _ int) (pvd.Ref, error) {
		s, err := socketOf(w, c)
		if err != nil {
			return pvd.Unspecified, err
		}
		defer s.Close()
		// A new socket has the App's default, as if that had been set for it. The context
		// counts where that is cleared.
		if _, ok := c.(*stack.App); ok && pvd.FromContext(ctx) != pvd.Unspecified {
			if err := s.SetPvD(pvd.Unspecified); err != nil {
				return pvd.Unspecified, err
			}
		}
		if err := s.Connect(ctx, netip.MustParseAddrPort("192.168.1.1:80")); err != nil {
			return pvd.Unspecified, err
		}
		return s.PvD(), nil
	},
	"Ping": func(ctx context.Context, w *world, c caller, want int) (pvd.Ref, error) {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_, err := c.Ping(ctx, netip.MustParseAddr(answering(want)))
		return w.ref(want), err
	},
}

// socketOf opens a socket where a Network or an App is.
func socketOf(w *world, c caller) (*stack.Socket, error) {
	open, ref := w.host.Socket, pvd.Unspecified
	switch c := c.(type) {
	case *stack.App:
		open = c.Socket
	case inApp:
		open, ref = c.app.Socket, c.PvD()
	case *stack.Network:
		ref = c.PvD()
	}
	s, err := open(pvd.INET, pvd.Stream, 0)
	if err != nil || ref == pvd.Unspecified {
		return s, err
	}
	if err := s.SetPvD(ref); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// An inApp is a network of an App, and knows which.
type inApp struct {
	*stack.Network
	app *stack.App
}

func in(a *stack.App, ref pvd.Ref) inApp { return inApp{a.In(ref), a} }

// closed closes what an operation opened, if it did, and returns its PvD.
func closed(v interface{ Close() error }, err error) (pvd.Ref, error) {
	if err != nil {
		return pvd.Unspecified, err
	}
	ref, _ := pvd.Of(v)
	return ref, v.Close()
}

// dialled connects by TCP and returns the PvD that it was in.
func dialled(t *testing.T, d pvd.Dialer, address string) (pvd.Ref, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", address)
	return closed(c, err)
}

// TestR3_EveryOperation holds that no method by which something begins is missing above,
// and that each can be given a PvD at every scope.
func TestR3_EveryOperation(t *testing.T) {
	begins := []string{"Connect", "Dial", "Exchange", "GetAddrInfo", "GetNameInfo", "Listen", "Lookup", "Open", "Ping", "Query", "Resolve", "Send", "Socket"}
	for _, v := range []any{(*stack.Network)(nil), (*stack.App)(nil), (*stack.Host)(nil)} {
		for method := range reflect.TypeOf(v).Methods() {
			name := method.Name
			_, known := operations[name]
			if !known && slices.ContainsFunc(begins, func(s string) bool { return strings.HasPrefix(name, s) }) {
				t.Errorf("%T.%s is not tested", v, name)
			}
		}
	}
	everyScope(t, newWorld(t, 5, false))
}

// everyScope has each operation obey each scope, while the coarser ones are set to
// others. The world has five PvDs.
func everyScope(t *testing.T, w *world) {
	t.Helper()
	app := w.host.App("browser")
	if err := errors.Join(w.host.SetDefault(w.ref(0)), app.SetDefault(w.ref(1))); err != nil {
		t.Fatal(err)
	}
	plain := t.Context()
	with := pvd.NewContext(plain, w.ref(2))
	for _, tt := range []struct {
		scope string
		c     caller
		ctx   context.Context
		want  int
	}{
		{"system", w.host.App("other"), plain, 0},
		{"system, for the host", w.host.In(pvd.Unspecified), plain, 0},
		{"App", app, plain, 1},
		{"context", app, with, 2},
		{"context, for the host", w.host.In(pvd.Unspecified), with, 2},
		{"call", in(app, w.ref(3)), with, 3},
		{"call, of the host", w.host.In(w.ref(4)), with, 4},
	} {
		for name, op := range operations {
			if got, err := op(tt.ctx, w, tt.c, tt.want); err != nil || got != w.ref(tt.want) {
				t.Errorf("%s by %s: in %v, %v, want %v", name, tt.scope, got, err, w.ref(tt.want))
			}
		}
		if s, ok := tt.c.(interface {
			Scope(context.Context) pvd.Ref
		}); !ok || s.Scope(tt.ctx) != w.ref(tt.want) {
			t.Errorf("Scope by %s is another", tt.scope)
		}
	}
}

// TestR22_ExplicitAndImplicit uses PvDs in the same way that somebody has named, that are
// known by their reference only, and that have an identifier.
func TestR22_ExplicitAndImplicit(t *testing.T) {
	for kind, call := range map[string]func(int, *pvd.Config){
		"static":   func(i int, c *pvd.Config) { c.Name = fmt.Sprint("net", i) },
		"implicit": func(int, *pvd.Config) {},
		"explicit": func(i int, c *pvd.Config) { c.ID = pvd.ID(fmt.Sprintf("net%d.example", i)) },
	} {
		t.Run(kind, func(t *testing.T) {
			w := newWorldOf(t, 5, call)
			everyScope(t, w)
			a := w.host.App("browser")
			if refs := a.List(); len(refs) != 5 {
				t.Errorf("%v in the list", refs)
			}
			for i, ref := range a.List() {
				info, err := a.Info(ref)
				if err != nil || (info.ID() != "") != (kind == "explicit") || (info.Name() == ref.String()) != (kind == "implicit") {
					t.Fatalf("%v, %v", info.ID(), err)
				}
				if found, err := a.Find(w.names[i]); err != nil || found != ref {
					t.Errorf("%q is %v, %v", w.names[i], found, err)
				}
				if of, err := dialled(t, a, "192.168.1.1%"+w.names[i]+":80"); err != nil || of != ref {
					t.Errorf("by name in %v, %v, want %v", of, err, ref)
				}
			}
		})
	}
}

// TestR4_OnePvD dials a name while the default goes to and fro. Each time name and
// connection are in one PvD, whichever that is: web.example is an address that answers only
// in the PvD in which it is that.
func TestR4_OnePvD(t *testing.T) {
	w := newWorld(t, 2, false)
	a := w.host.App("browser")
	if err := a.SetDefault(w.ref(0)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := a.SetDefault(w.ref(i % 2)); err != nil {
				t.Error(err)
			}
		}
	})
	for range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		c, err := a.DialContext(ctx, "tcp", "web.example:80")
		cancel()
		if err != nil {
			t.Error(err)
			break
		}
		ref, _ := pvd.Of(c)
		if to := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); to.String() != answering(slices.Index(w.refs(), ref)) {
			t.Errorf("%v in %v", to, ref)
		}
		_ = c.Close()
	}
	close(stop)
	wg.Wait()
}

// TestR11_R12_R13_ReservedRefs holds what the reserved references mean at each scope.
func TestR11_R12_R13_ReservedRefs(t *testing.T) {
	w := newWorld(t, 3, false)
	h, plain := w.host, t.Context()
	if err := h.SetDefault(w.ref(0)); err != nil {
		t.Fatal(err)
	}
	app := h.App("browser")
	set := func(ref pvd.Ref) {
		t.Helper()
		if err := app.SetDefault(ref); err != nil {
			t.Fatal(err)
		}
	}
	scope := func(what string, n *stack.Network, ctx context.Context, want pvd.Ref) {
		t.Helper()
		if got := n.Scope(ctx); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	with := func(ref pvd.Ref) context.Context { return pvd.NewContext(plain, ref) }

	// Unspecified defers to the next coarser scope, also where a finer one cleared it.
	set(w.ref(1))
	scope("Unspecified call", app.In(pvd.Unspecified), with(w.ref(2)), w.ref(2))
	scope("Unspecified context", app.In(pvd.Unspecified), with(pvd.Unspecified), w.ref(1))
	scope("cleared context", app.In(pvd.Unspecified), pvd.NewContext(with(w.ref(2)), pvd.Unspecified), w.ref(1))
	set(pvd.Unspecified)
	scope("Unspecified App", app.In(pvd.Unspecified), plain, w.ref(0))

	// SystemDefault does not defer, but follows.
	set(w.ref(1))
	scope("call to the system default", app.In(pvd.SystemDefault), with(w.ref(2)), w.ref(0))
	scope("context to the system default", app.In(pvd.Unspecified), with(pvd.SystemDefault), w.ref(0))
	set(pvd.SystemDefault)
	scope("App to the system default", app.In(pvd.Unspecified), plain, w.ref(0))
	if err := h.SetDefault(w.ref(2)); err != nil {
		t.Fatal(err)
	}
	scope("App to the new system default", app.In(pvd.Unspecified), plain, w.ref(2))

	// Null and All are found at once, whatever there is behind.
	set(w.ref(1))
	for _, ref := range []pvd.Ref{pvd.Null, pvd.All} {
		scope("call", app.In(ref), with(w.ref(2)), ref)
		scope("context", app.In(pvd.Unspecified), with(ref), ref)
	}
	set(pvd.Null)
	scope("App", app.In(pvd.Unspecified), plain, pvd.Null)
}

// TestR12_GoneDefault holds that a default whose PvD is gone is an error at each scope, and
// defers to none.
func TestR12_GoneDefault(t *testing.T) {
	w := newWorld(t, 3, false)
	h, plain := w.host, t.Context()
	app := h.App("browser")
	if err := errors.Join(h.SetDefault(w.ref(0)), app.SetDefault(w.ref(1))); err != nil {
		t.Fatal(err)
	}
	gone := w.ref(2)
	if err := h.Remove(plain, gone); err != nil {
		t.Fatal(err)
	}
	everyOperation(t, w, "call", plain, in(app, gone), pvd.ErrNoPvD)
	everyOperation(t, w, "context", pvd.NewContext(plain, gone), app, pvd.ErrNoPvD)
	if err := h.Remove(plain, w.ref(1)); err != nil {
		t.Fatal(err)
	}
	everyOperation(t, w, "App", plain, app, pvd.ErrNoPvD)
	if app.Default() != w.ref(1) {
		t.Errorf("the App's default became %v", app.Default())
	}
	if err := app.SetDefault(pvd.Unspecified); err != nil {
		t.Fatal(err)
	}
	if err := h.Remove(plain, w.ref(0)); err != nil {
		t.Fatal(err)
	}
	everyOperation(t, w, "system", plain, app, pvd.ErrNoPvD)
}

// everyOperation has each operation fail at once.
func everyOperation(t *testing.T, w *world, what string, ctx context.Context, c caller, want error) {
	t.Helper()
	for name, op := range operations {
		began := time.Now()
		_, err := op(ctx, w, c, 0)
		if !errors.Is(err, want) {
			t.Errorf("%s, by %s: %v, want %v", name, what, err, want)
		}
		if took := time.Since(began); took > soon {
			t.Errorf("%s, by %s: it took %v to fail", name, what, took)
		}
		switch err.(type) { //nolint:errorlint // outermost is what is promised
		case *net.OpError, *net.DNSError:
		default:
			t.Errorf("%s, by %s: %T", name, what, err)
		}
	}
}

// TestR13_Null has every operation fail at once in the PvD that has nothing, by whichever
// scope it is named.
func TestR13_Null(t *testing.T) {
	w := newWorld(t, 1, false)
	h, plain := w.host, t.Context()
	app := h.App("browser")
	everyOperation(t, w, "call", plain, h.In(pvd.Null), syscall.ENETUNREACH)
	everyOperation(t, w, "context", pvd.NewContext(plain, pvd.Null), app, syscall.ENETUNREACH)
	everyOperation(t, w, "system", plain, app, syscall.ENETUNREACH) // there is no default yet
	if err := errors.Join(h.SetDefault(w.ref(0)), app.SetDefault(pvd.Null)); err != nil {
		t.Fatal(err)
	}
	everyOperation(t, w, "App", plain, app, syscall.ENETUNREACH)
	if _, err := h.Info(pvd.Null); !errors.Is(err, pvd.ErrNoPvD) {
		t.Errorf("Null is described: %v", err)
	}
}

// TestX2_NullDefault holds that with Null for the system default only calls that know of
// PvDs work.
func TestX2_NullDefault(t *testing.T) {
	w := newWorld(t, 1, false)
	if err := errors.Join(w.host.SetDefault(w.ref(0)), w.host.SetDefault(pvd.Null)); err != nil {
		t.Fatal(err)
	}
	unaware, aware := w.host.App("unaware"), w.host.App("aware")
	everyOperation(t, w, "one that does not know of PvDs", t.Context(), unaware, syscall.ENETUNREACH)
	if err := aware.SetDefault(w.ref(0)); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]caller{"App": aware, "call": in(unaware, w.ref(0))} {
		for name, op := range operations {
			if got, err := op(t.Context(), w, c, 0); err != nil || got != w.ref(0) {
				t.Errorf("%s by %s: in %v, %v", name, what, got, err)
			}
		}
	}
	if ref, err := dialled(t, unaware, "192.168.1.1%net0:80"); err != nil || ref != w.ref(0) {
		t.Errorf("by zone: in %v, %v", ref, err)
	}
}

// TestR19_R20_R21_Defaults sets, reads and clears the default of each scope.
func TestR19_R20_R21_Defaults(t *testing.T) {
	w := newWorld(t, 2, false)
	h, a, ctx := w.host, w.host.App("browser"), t.Context()
	is := func(what string, got, want pvd.Ref) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %v, want %v", what, got, want)
		}
	}
	is("a call's", a.PvD(), pvd.Unspecified)
	is("a context's", pvd.FromContext(ctx), pvd.Unspecified)
	is("an App's", a.Default(), pvd.Unspecified)
	is("the system's", h.Default(), pvd.Null) // there is always one (section 3.1)

	is("a call's", a.In(w.ref(0)).PvD(), w.ref(0))
	ctx = pvd.NewContext(ctx, w.ref(0))
	is("a context's", pvd.FromContext(ctx), w.ref(0))
	if err := errors.Join(a.SetDefault(w.ref(0)), h.SetDefault(w.ref(1))); err != nil {
		t.Fatal(err)
	}
	is("an App's", a.Default(), w.ref(0))
	is("another App's", h.App("browser").Default(), pvd.Unspecified)
	is("the system's", h.Default(), w.ref(1))
	is("the system's, for an App", a.SystemDefault(), w.ref(1))

	is("a context's", pvd.FromContext(pvd.NewContext(ctx, pvd.Unspecified)), pvd.Unspecified)
	if err := errors.Join(a.SetDefault(pvd.Unspecified), h.SetDefault(pvd.Null)); err != nil {
		t.Fatal(err)
	}
	is("an App's", a.Default(), pvd.Unspecified)
	is("the system's", h.Default(), pvd.Null)

	for ref, want := range map[pvd.Ref]error{pvd.All: syscall.EINVAL, 12345: pvd.ErrNoPvD} {
		if err := a.SetDefault(ref); !errors.Is(err, want) {
			t.Errorf("SetDefault(%v): %v, want %v", ref, err, want)
		}
	}
}

// TestX3_LoopbackOfEachPvD holds why there is no loopback PvD: 127.0.0.1 and the addresses
// that PvDs have in common are each PvD's own, and one that is by itself has them too.
func TestX3_LoopbackOfEachPvD(t *testing.T) {
	w := newWorld(t, 2, false)
	pipe(t, "apart", w.host, nil)
	apart := add(t, w.host, pvd.Config{Links: []string{"apart"}})
	for _, address := range []string{"127.0.0.1:7000", "[::1]:7000", "192.168.1.2:7001"} {
		mustListen(t, w.own[0], "tcp", address)
		if ref, err := dialled(t, w.own[0], address); err != nil || ref != w.ref(0) {
			t.Errorf("%s: in %v, %v", address, ref, err)
		}
		wantOpError(t, dialErr(t.Context(), w.own[1], "tcp", address), syscall.ECONNREFUSED)
	}
	mustListen(t, apart, "tcp", "127.0.0.1:7000")
	if ref, err := dialled(t, apart, "127.0.0.1:7000"); err != nil || ref != apart.PvD() {
		t.Errorf("by itself: in %v, %v", ref, err)
	}
	wantOpError(t, dialErr(t.Context(), apart, "tcp", "192.168.1.2:7001"), syscall.EADDRNOTAVAIL)
}

// TestS8_S10_S19_S27_Errors holds which error a call gets for what it asks of a PvD, by
// whichever scope it came there.
func TestS8_S10_S19_S27_Errors(t *testing.T) {
	h, peer := newHost(t), newHost(t)
	pipe(t, "wire", h, peer)
	add(t, peer, config("wire", "10.0.0.1/24", "fd00::1/64"))
	four, six := add(t, h, config("wire", "10.0.0.2/24")), add(t, h, config("wire", "fd00::2/64"))
	app := h.App("browser")
	for _, tt := range []struct {
		what          string
		ref           pvd.Ref
		local, remote string
		want          error
	}{
		{"unknown", 12345, "", "10.0.0.1:80", pvd.ErrNoPvD},
		{"family", four.PvD(), "", "[fd00::1]:80", syscall.EADDRNOTAVAIL},
		{"family", six.PvD(), "", "10.0.0.1:80", syscall.EADDRNOTAVAIL},
		{"another PvD's address", four.PvD(), "10.0.0.1:0", "10.0.0.1:80", syscall.EADDRNOTAVAIL},
		{"another PvD's address", six.PvD(), "10.0.0.2:0", "10.0.0.1:80", syscall.EADDRNOTAVAIL},
		{"another PvD's address", four.PvD(), "[fd00::2]:0", "[fd00::1]:80", syscall.EADDRNOTAVAIL},
	} {
		with := pvd.NewContext(t.Context(), tt.ref)
		for _, network := range []string{"tcp", "udp"} {
			_, err := app.In(tt.ref).DialFrom(t.Context(), network, tt.local, tt.remote)
			wantOpError(t, err, tt.want)
			_, err = app.DialFrom(with, network, tt.local, tt.remote)
			wantOpError(t, err, tt.want)
			if tt.local != "" {
				wantOpError(t, listenErr(with, app, network, tt.local), tt.want)
			}
		}
	}
}
