package stack

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// A change that fails half-way leaves everything as it was.
func TestFailedChangeLeavesNothing(t *testing.T) {
	w := newWire(t, tun.Ethernet)
	near, far := tun.Pipe(tun.PipeConfig{})
	defer far.Close()
	if err := w.host.AddLink("other", near); err != nil {
		t.Fatal(err)
	}
	p := w.add(pvd.Config{Addresses: addresses("10.0.0.2/24"), MTU: 1400})
	d := p.domain
	// The stack refuses an address that it has.
	taken := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: toAddr(ip("10.0.0.9")).WithPrefix()}
	if err := d.stk.AddProtocolAddress(p.nic, taken, gstack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	c := pvd.Config{Links: []string{"lab", "other"}, Addresses: addresses("10.0.0.5/24", "10.0.0.9/24"), MTU: 1300}
	if err := w.host.Update(t.Context(), d.ref, c); err == nil || !strings.Contains(err.Error(), "10.0.0.9") {
		t.Errorf("%v", err)
	}
	plan := d.plan.Load()
	if len(plan.addrs) != 1 || plan.addrs[0].Prefix.Addr() != ip("10.0.0.2") || !plan.addrs[0].State.Usable() || len(plan.links) != 1 {
		t.Errorf("plan: %+v", plan)
	}
	if n := len(*d.nics.Load()); n != 1 {
		t.Errorf("%d ports", n)
	}
	table := w.link.table.Load()
	if len(table.owners) != 1 || p.owns(ip("10.0.0.5")) || !p.owns(ip("10.0.0.2")) || p.MTU() != 1400 {
		t.Errorf("the port has %v, MTU %d; the table %v", p.egress.Load().own, p.MTU(), table.owners)
	}
	for _, a := range d.stk.AllAddresses()[p.nic] {
		if fromAddr(a.AddressWithPrefix.Address) == ip("10.0.0.5") {
			t.Error("the stack has kept an address")
		}
	}
	if len(d.addrStates) != 1 {
		t.Errorf("states: %v", d.addrStates)
	}
	other, _ := w.host.link("other")
	if left := other.table.Load().ports; len(left) != 0 {
		t.Errorf("%d ports are in the table of the other link", len(left))
	}
}

// A logger may use the host: none of gVisor's locks is held when it is told of a duplicate
// address.
func TestDuplicateIsLogged(t *testing.T) {
	near, far := tun.Pipe(tun.PipeConfig{})
	log := &askingHandler{}
	log.Handler = slog.NewTextHandler(&log.text, nil)
	h, err := New(Config{Logger: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	defer far.Close()
	if err := h.AddLink("lab", near); err != nil {
		t.Fatal(err)
	}
	ref, err := h.Add(t.Context(), pvd.Config{Name: "corp", Links: []string{"lab"}, Addresses: addresses("2001:db8::2/64")})
	if err != nil {
		t.Fatal(err)
	}
	d, err := h.domain(ref)
	if err != nil {
		t.Fatal(err)
	}
	log.mu.Lock()
	log.ask = func() { d.stk.AllAddresses() }
	log.mu.Unlock()
	group := fromAddr(header.SolicitedNodeAddr(toAddr(ip("2001:db8::2"))))
	probe := ethFrame(stranger, mac([]byte(header.EthernetAddressFromMulticastIPv6Address(toAddr(group)))), ipv6.ProtocolNumber,
		solicitation(ip("::"), group, ip("2001:db8::2")))
	if err := far.Send([][]byte{probe}, tun.Meta{}); err != nil {
		t.Fatal(err)
	}
	if !eventually(func() bool {
		info, err := h.Info(ref)
		as, _ := pvd.Addresses.Get(info)
		return err == nil && slices.ContainsFunc(as, func(a pvd.AddressInfo) bool { return a.State == pvd.Duplicate })
	}) {
		t.Fatal("the duplicate has not been noticed")
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if !strings.Contains(log.text.String(), "another node has the address") {
		t.Errorf("log: %q", log.text.String())
	}
}

// askingHandler asks something at every record.
type askingHandler struct {
	slog.Handler
	mu   sync.Mutex
	text bytes.Buffer
	ask  func()
}

func (h *askingHandler) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ask != nil {
		h.ask()
	}
	return h.Handler.Handle(ctx, r)
}

func (h *askingHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// A link's removal reaches a PvD that has lost another link, which it can not have back.
func TestRemovalReachesPvDsThatLackALink(t *testing.T) {
	w := newWire(t, tun.Ethernet)
	attach := func(name string, wrap func(tun.Link) tun.Link) {
		t.Helper()
		near, far := tun.Pipe(tun.PipeConfig{})
		t.Cleanup(func() { _ = far.Close() })
		if err := w.host.AddLink(name, wrap(near)); err != nil {
			t.Fatal(err)
		}
	}
	plain := func(l tun.Link) tun.Link { return l }
	attach("other", plain)
	ref, err := w.host.Add(t.Context(), pvd.Config{
		Links:     []string{"lab", "other"},
		Addresses: []pvd.Address{{Prefix: prefix("10.0.0.2/24")}, {Prefix: prefix("10.0.1.2/24"), Link: "other"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	d, err := w.host.domain(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.host.RemoveLink("other"); err != nil {
		t.Fatal(err)
	}
	attach("other", func(l tun.Link) tun.Link { return &fullStation{Link: l, err: errors.New("no more addresses")} })
	if err := w.host.RemoveLink("lab"); err != nil {
		t.Fatal(err)
	}
	if n := len(*d.nics.Load()); n != 0 {
		t.Errorf("%d ports remain", n)
	}
	attach("lab", plain)
	if err := w.host.RemoveLink("other"); err != nil {
		t.Fatal(err)
	}
	attach("other", plain)
	if n := len(*d.nics.Load()); n != 2 {
		t.Errorf("%d ports are back", n)
	}
}

// An address that the system has taken since is no reason to refuse a change of something
// else.
func TestOnlyNewAddressesAreChecked(t *testing.T) {
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	near, far := tun.Pipe(tun.PipeConfig{})
	defer far.Close()
	l := &choosyLink{Link: near}
	if err := h.AddLink("lab", l); err != nil {
		t.Fatal(err)
	}
	p := (&wire{t: t, host: h}).add(pvd.Config{Addresses: addresses("10.0.0.2/24")})
	l.err.Store(errors.New("the system has it"))
	c := pvd.Config{Links: []string{"lab"}, Addresses: addresses("10.0.0.2/24"), MTU: 1400}
	if err := h.Update(t.Context(), p.domain.ref, c); err != nil {
		t.Error(err)
	}
	c.Addresses = addresses("10.0.0.2/24", "10.0.0.3/24")
	if err := h.Update(t.Context(), p.domain.ref, c); err == nil || !strings.Contains(err.Error(), "10.0.0.3") {
		t.Errorf("a new one: %v", err)
	}
}

// choosyLink is a link that may have something against every address.
type choosyLink struct {
	tun.Link
	err atomic.Value
}

func (l *choosyLink) CheckAddr(netip.Addr) error {
	err, _ := l.err.Load().(error)
	return err
}

// A link-local address that is configured stays one, though it would have been automatic.
func TestConfiguredLinkLocal(t *testing.T) {
	w := newWire(t, tun.IP)
	p := w.add(pvd.Config{Addresses: addresses("2001:db8::2/64")})
	own := func() (as []pvd.AddressInfo) {
		t.Helper()
		info, err := w.host.Info(p.domain.ref)
		if err != nil {
			t.Fatal(err)
		}
		as, _ = pvd.Addresses.Get(info)
		return as
	}
	as := own()
	if len(as) != 2 || as[0].Automatic || !as[1].Automatic || !as[1].Prefix.Addr().IsLinkLocalUnicast() {
		t.Fatalf("at first: %+v", as)
	}
	c := pvd.Config{Links: []string{"lab"}, Addresses: []pvd.Address{as[1].Address}}
	for range 2 {
		if err := w.host.Update(t.Context(), p.domain.ref, c); err != nil {
			t.Fatal(err)
		}
		if got := own(); len(got) != 1 || got[0].Automatic || got[0].Address != as[1].Address {
			t.Errorf("configured: %+v", got)
		}
	}
}

// The addresses that lead gVisor to us can not be anybody's.
func TestAnchorsAreNoNeighbors(t *testing.T) {
	w := newWire(t, tun.Ethernet)
	for _, a := range []netip.Addr{anchor4, anchor6} {
		_, err := w.host.Add(t.Context(), pvd.Config{
			Links: []string{"lab"}, Addresses: addresses("10.0.0.2/24"), Neighbors: []pvd.Neighbor{{Addr: a, MAC: stranger[:]}},
		})
		if err == nil || !strings.Contains(err.Error(), a.String()) {
			t.Errorf("%v: %v", a, err)
		}
	}
}
