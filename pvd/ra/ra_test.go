package ra_test

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/ra"
)

var (
	routerA = netip.MustParseAddr("fe80::a")
	routerB = netip.MustParseAddr("fe80::b")
	prefix1 = netip.MustParsePrefix("2001:db8:1::/64")
	prefix2 = netip.MustParsePrefix("2001:db8:2::/64")
	macA    = net.HardwareAddr{2, 0, 0, 0, 0, 0xa}
)

// long is what is advertised for so long that it does not end in a test.
const long = 18 * time.Hour

// pio is a prefix information option with both flags.
func pio(p netip.Prefix, valid, preferred time.Duration) ra.PrefixInformation {
	return ra.PrefixInformation{Prefix: p, OnLink: true, Autonomous: true, Valid: valid, Preferred: preferred}
}

// header is an advertisement's that makes a default router.
func header(life time.Duration, options ...ra.Option) ra.Advertisement {
	return ra.Advertisement{Header: ra.Header{Lifetime: life}, Options: options}
}

// packet is an advertisement on its way.
func packet(t testing.TB, from netip.Addr, a ra.Advertisement) ra.Packet {
	t.Helper()
	b, err := a.Append(nil, from, ra.AllNodes)
	if err != nil {
		t.Fatal(err)
	}
	return ra.Packet{Src: from, Dst: ra.AllNodes, HopLimit: 255, Message: b}
}

// resum corrects the checksum after a test has changed something else.
func resum(p ra.Packet) ra.Packet {
	ra.PutChecksum(p.Message, p.Src, p.Dst)
	return p
}

// withOctets is an advertisement with options as they are on the wire.
func withOctets(t testing.TB, from netip.Addr, octets ...byte) ra.Packet {
	p := packet(t, from, header(long))
	p.Message = append(p.Message, octets...)
	return resum(p)
}

func octets(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// a world is an engine with its time.
type world struct {
	t testing.TB
	*ra.Engine
	now  time.Duration
	sent []time.Duration // solicitations
}

func newWorld(t testing.TB, change ...func(*ra.Config)) *world {
	t.Helper()
	cfg := ra.Config{
		Link: "lan", MTU: 1500,
		Identifier: ra.StableIdentifiers([]byte("a secret for tests"), "lan"),
		Random:     rand.New(rand.NewPCG(1, 2)).Uint64,
	}
	for _, f := range change {
		f(&cfg)
	}
	e, err := ra.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, Engine: e}
}

// hear takes an advertisement.
func (w *world) hear(from netip.Addr, a ra.Advertisement) {
	w.t.Helper()
	w.take(packet(w.t, from, a))
}

func (w *world) take(p ra.Packet) {
	w.t.Helper()
	if err := w.Receive(w.now, p); err != nil {
		w.t.Fatal(err)
	}
}

// run lets time go by, moment by moment.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	end := w.now + d
	for {
		at, ok := w.Next()
		if !ok || at > end {
			break
		}
		if at < w.now {
			w.t.Fatalf("next moment %v is before %v", at, w.now)
		}
		w.now = at
		if w.Advance(at) {
			w.sent = append(w.sent, at)
		}
		if next, ok := w.Next(); ok && next <= at {
			w.t.Fatalf("at %v the next moment is %v", at, next)
		}
	}
	w.now = end
	if w.Advance(end) {
		w.t.Fatalf("a solicitation at %v that Next did not announce", end)
	}
}

// only is the one PvD.
func (w *world) only() *ra.PvD {
	w.t.Helper()
	s := w.Snapshot()
	if len(s.PvDs) != 1 {
		w.t.Fatalf("%d PvDs, want 1", len(s.PvDs))
	}
	return s.PvDs[0]
}

func (w *world) pvd(k ra.Key) *ra.PvD {
	w.t.Helper()
	p := w.Snapshot().Find(k)
	if p == nil {
		w.t.Fatalf("no PvD %s", k)
	}
	return p
}

// rejected fails the test unless the latest rejection says why.
func (w *world) rejected(why string) {
	w.t.Helper()
	list, _ := w.Rejections()
	if len(list) == 0 || !strings.Contains(list[len(list)-1].Why, why) {
		w.t.Errorf("rejections %v, want one with %q last", list, why)
	}
}

// addressesIn are those that a PvD has of a prefix.
func addressesIn(p *ra.PvD, of netip.Prefix) (as []ra.Address) {
	for _, a := range p.Addresses {
		if of.Contains(a.Prefix.Addr()) {
			as = append(as, a)
		}
	}
	return as
}

func invalid(err error) bool { return errors.Is(err, ra.ErrInvalid) }
