package stack

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
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
