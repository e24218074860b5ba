package stack

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/tun"
)

// advertisement is the frame of a router's advertisement of a prefix and a DNS server.
func advertisement(t *testing.T, router, prefix, server string) []byte {
	t.Helper()
	src := netip.MustParseAddr(router)
	a := ra.Advertisement{Header: ra.Header{Lifetime: time.Hour}, Options: []ra.Option{
		ra.PrefixInformation{Prefix: netip.MustParsePrefix(prefix), OnLink: true, Autonomous: true, Valid: time.Hour, Preferred: time.Hour},
		ra.RDNSS{Servers: []netip.Addr{netip.MustParseAddr(server)}, Lifetime: time.Hour},
	}}
	message, err := a.Append(nil, src, ra.AllNodes)
	if err != nil {
		t.Fatal(err)
	}
	f := []byte{0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 1, src.As16()[15], 0x86, 0xdd, 0x60, 0, 0, 0}
	f = binary.BigEndian.AppendUint16(f, uint16(len(message)))
	f = append(append(append(f, 58, 255), src.AsSlice()...), ra.AllNodes.AsSlice()...)
	return append(f, message...)
}

// What is refused is tried again when its time has come, however often other PvDs of the
// link change until then.
func TestRefusedIsTriedAgain(t *testing.T) {
	clock := &steppedClock{Clock: pvd.SystemClock()}
	near, far := tun.Pipe(tun.PipeConfig{Layer: tun.Ethernet})
	defer far.Close()
	h, err := New(Config{Secret: []byte("for the test"), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	aside(t, h)
	if err := h.AddLink("lab", near); err != nil {
		t.Fatal(err)
	}
	l, _ := h.link("lab")
	a, err := newAgent(h, l, Discovery{RA: true})
	if err != nil {
		t.Fatal(err)
	}
	defer a.cancel()
	a.machine.LinkUp()
	a.machine.Receive(advertisement(t, "fe80::1", "2001:db8:1::/64", "2001:db8:1::53"))
	first := a.machine.Proposals()[0]
	i := slices.IndexFunc(first.Addresses, func(a pvd.AddressInfo) bool { return !a.Prefix.Addr().IsLinkLocalUnicast() })
	inTheWay, err := h.Add(t.Context(), pvd.Config{Name: "first come", Links: []string{"lab"}, Addresses: []pvd.Address{first.Addresses[i].Address}})
	if err != nil {
		t.Fatal(err)
	}
	a.reconcile()
	at := a.attached[first.Instance]
	if at.refused == nil || a.retryAt == 0 {
		t.Fatalf("refused %v, tried again at %v", at.refused, a.retryAt)
	}
	due := a.retryAt
	for _, server := range []string{"2001:db8:2::53", "2001:db8:2::54"} {
		clock.ahead += refusedRetry / 3
		a.machine.Receive(advertisement(t, "fe80::2", "2001:db8:2::/64", server))
		a.reconcile()
	}
	if a.retryAt != due {
		t.Errorf("it is tried again at %v, not at %v", a.retryAt, due)
	}
	if err := h.Remove(t.Context(), inTheWay); err != nil {
		t.Fatal(err)
	}
	clock.ahead = refusedRetry
	a.reconcile()
	if at.refused != nil || a.retryAt != 0 || a.machine.Proposals()[0] != first {
		t.Errorf("still refused: %v, tried again at %v", at.refused, a.retryAt)
	}
	if _, ok := learn.Learned.Get(mustInfo(t, h, at.ref)); !ok {
		t.Error("the PvD is not there")
	}
}

func mustInfo(t *testing.T, h *Host, r pvd.Ref) *pvd.Info {
	t.Helper()
	i, err := h.Info(r)
	if err != nil {
		t.Fatal(err)
	}
	return i
}
