package dhcp6

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp"
)

func TestStateless(t *testing.T) {
	w := newWorld(t)
	w.LinkUp(0)
	w.is(Informing)
	m := w.one()
	oro, _ := get(m.Options, optRequested)
	if _, has := get(m.Options, optClientID); m.Type != InformationRequest || m.at > maxDelay || has ||
		!bytes.Contains(oro, u16(optRefresh)) || !bytes.Contains(oro, u16(optInfMaxRT)) {
		t.Errorf("sent %+v", m)
	}
	w.receive(answer(m.Message, Reply, server1, opt(optDNS, dns.AsSlice()...), opt(optSearch, []byte("\x07example\x03org\x00")...)))
	w.is(Informed)
	i := w.Info()
	if !slices.Equal(i.DNS, []netip.Addr{dns}) || !slices.Equal(i.Search, []string{"example.org"}) || len(i.Problems) > 0 {
		t.Errorf("%+v", i)
	}
	at := w.now
	if m = w.one(); m.at < at+defaultRefresh || m.at > at+defaultRefresh+maxDelay {
		t.Errorf("refreshed after %v", m.at-at)
	}
	if w.Info() == nil {
		t.Error("forgotten while it is refreshed")
	}
	w.until(at + 2*defaultRefresh)
	if w.Info() != nil {
		t.Error("goes on for ever")
	}
}

func TestRefreshTime(t *testing.T) {
	for _, tt := range []struct {
		option []byte
		want   time.Duration
	}{
		{u32(3600), 3600 * time.Second},
		{u32(1), leastRefresh},
		{u32(0xffffffff), dhcp.Never},
		{u16(3600), defaultRefresh},
	} {
		if got := refreshTime([]Option{{optRefresh, tt.option}}, 0); got != tt.want {
			t.Errorf("%x: %v, want %v", tt.option, got, tt.want)
		}
	}
}

// within reports whether a wait is what RFC 8415 section 15 makes of want.
func within(d, want time.Duration) bool { return d >= want*9/10 && d <= want*11/10 }

// TestRetransmission holds every message to its IRT, MRT, MRC and MRD.
func TestRetransmission(t *testing.T) {
	bind := func(w *world) { w.bind() }
	tests := []struct {
		typ    Type
		p      params
		mrt    time.Duration
		config []func(*Config)
		begin  func(w *world)
	}{
		{Solicit, solicit, defaultMaxRT, []func(*Config){addresses}, func(w *world) { w.LinkUp(0) }},
		{InformationRequest, information, defaultMaxRT, nil, func(w *world) { w.LinkUp(0) }},
		{Request, request, 30 * time.Second, []func(*Config){addresses}, func(w *world) {
			w.LinkUp(0)
			w.receive(answer(w.one().Message, Advertise, server1, append(good(), opt(optPreference, 255))...))
		}},
		{Renew, params{irt: 10 * time.Second, mrd: 1000 * time.Second}, 600 * time.Second, []func(*Config){addresses}, bind},
		{Rebind, params{irt: 10 * time.Second, mrd: 2000 * time.Second}, 600 * time.Second, []func(*Config){addresses}, func(w *world) {
			l := w.bind()
			w.until(l.T2 - 1)
			w.Packets()
		}},
		{Confirm, confirm, 4 * time.Second, []func(*Config){addresses}, func(w *world) { w.bind(); w.LinkDown(); w.LinkUp(w.now) }},
		{Rebind, reverify, 4 * time.Second, []func(*Config){addresses, prefixes}, func(w *world) { w.bind(); w.LinkDown(); w.LinkUp(w.now) }},
		{Decline, decline, 0, []func(*Config){addresses}, func(w *world) { w.bind(); w.Decline(w.now, addr) }},
		{Release, release, 0, []func(*Config){addresses}, func(w *world) { w.bind(); w.Release(w.now) }},
	}
	for _, tt := range tests {
		for s := range uint64(20) {
			w := newWorld(t, append(tt.config, func(c *Config) { c.Rand = rand.NewPCG(s, 0) })...)
			tt.begin(w)
			first := w.one()
			last, rt, count := first, time.Duration(0), 1
			for ; count < 20; count++ {
				if tt.p.mrc > 0 && count == tt.p.mrc {
					break
				}
				next := w.one()
				if next.Type != tt.typ {
					break
				}
				d := next.at - last.at
				want := tt.p.irt
				if rt > 0 {
					want = 2 * rt
					// RT is twice the last and a tenth of that last more or less.
					if tt.mrt == 0 || d < tt.mrt*9/10 {
						if d < want-rt/10 || d > want+rt/10 {
							t.Fatalf("type %d: wait %v after %v", tt.typ, d, rt)
						}
					} else if !within(d, tt.mrt) && !within(d, want) {
						t.Fatalf("type %d: wait %v, MRT %v", tt.typ, d, tt.mrt)
					}
				} else if !within(d, want) || tt.typ == Solicit && d <= want {
					t.Fatalf("type %d: first wait %v", tt.typ, d)
				}
				elapsed, _ := get(next.Options, optElapsed)
				if want := u16(int(min((next.at-first.at)/(10*time.Millisecond), 0xffff))); !bytes.Equal(elapsed, want) {
					t.Fatalf("type %d: elapsed %x, want %x", tt.typ, elapsed, want)
				}
				if next.XID != first.XID {
					t.Fatalf("type %d: another transaction", tt.typ)
				}
				rt, last = d, next
			}
			if tt.p.mrc > 0 && count != tt.p.mrc {
				t.Fatalf("type %d: sent %d times", tt.typ, count)
			}
			if end := last.at - first.at; tt.p.mrd > 0 && end > tt.p.mrd {
				t.Fatalf("type %d: sent for %v", tt.typ, end)
			}
			if tt.p.mrc > 0 || tt.p.mrd > 0 {
				w.until(w.now + 650*time.Second)
			}
			if s, _ := w.State(); messageTypes[s] == tt.typ && count < 20 {
				t.Fatalf("type %d: goes on in %v", tt.typ, s)
			}
		}
	}
}

func TestAcquire(t *testing.T) {
	w := newWorld(t, addresses, prefixes)
	w.LinkUp(0)
	s := w.one()
	_, na := get(s.Options, optIANA)
	_, pd := get(s.Options, optIAPD)
	_, rapid := get(s.Options, optRapidCommit)
	if s.Type != Solicit || !na || !pd || rapid {
		t.Errorf("Solicit %+v", s)
	}
	// The best of those within the first wait: the preference first, then how much.
	w.receive(answer(s.Message, Advertise, []byte{0, 4, 9, 9, 9}, good()[0]))
	w.receive(answer(s.Message, Advertise, server1, good()...))
	w.receive(answer(s.Message, Advertise, server2, append(good()[:1], opt(optPreference, 5))...))
	w.is(Soliciting)
	r := w.one()
	id, _ := get(r.Options, optServerID)
	if r.Type != Request || !bytes.Equal(id, server2) || r.XID == s.XID || r.at-s.at < solicit.irt {
		t.Errorf("Request %+v at %v", r, r.at-s.at)
	}
	b, _ := get(r.Options, optIANA)
	if !bytes.Contains(b, addr.AsSlice()) {
		t.Error("the advertised address is not asked for")
	}
	w.receive(answer(r.Message, Reply, server1, good()...)) // another server's
	w.is(Requesting)
	w.receive(answer(r.Message, Reply, server2, good()...))
	w.is(Bound)
	want := Item{netip.PrefixFrom(addr, 128), w.now + 3000*time.Second, w.now + 4000*time.Second}
	wantPD := want
	wantPD.Prefix = prefix
	l := w.Lease()
	if !slices.Equal(l.Addrs, []Item{want}) || !slices.Equal(l.Prefixes, []Item{wantPD}) || !bytes.Equal(l.Server, server2) ||
		l.T1 != w.now+1000*time.Second || l.T2 != w.now+2000*time.Second || !slices.Equal(w.Info().DNS, []netip.Addr{dns}) {
		t.Errorf("%+v", l)
	}
}

func TestSelection(t *testing.T) {
	// 255 is taken at once; after the first wait the first is.
	w := newWorld(t, addresses)
	w.LinkUp(0)
	s := w.one()
	w.receive(answer(s.Message, Advertise, server1, append(good(), opt(optPreference, 255))...))
	if r := w.one(); r.Type != Request || r.at != s.at {
		t.Errorf("type %d after %v", r.Type, r.at-s.at)
	}
	w = newWorld(t, addresses)
	w.LinkUp(0)
	w.one()
	s = w.one()
	w.receive(answer(s.Message, Advertise, server1, good()...))
	if r := w.one(); r.Type != Request || r.at != s.at {
		t.Errorf("type %d after %v", r.Type, r.at-s.at)
	}
}

func TestRapidCommit(t *testing.T) {
	for _, wanted := range []bool{true, false} {
		w := newWorld(t, addresses, func(c *Config) { c.RapidCommit = wanted })
		w.LinkUp(0)
		s := w.one()
		if _, has := get(s.Options, optRapidCommit); has != wanted {
			t.Errorf("in the Solicit: %v", has)
		}
		w.receive(answer(s.Message, Reply, server1, good()...)) // without the option
		w.is(Soliciting)
		w.receive(answer(s.Message, Reply, server1, append(good(), opt(optRapidCommit))...))
		if wanted {
			w.is(Bound)
		} else {
			w.is(Soliciting)
		}
	}
}

// TestBadMessages: each fault alone has a message ignored, and the next good one taken.
func TestBadMessages(t *testing.T) {
	with := func(code uint16, data ...byte) func(*Message) {
		return func(m *Message) {
			i := slices.IndexFunc(m.Options, func(o Option) bool { return o.Code == code })
			m.Options[i].Data = data
		}
	}
	without := func(code uint16) func(*Message) {
		return func(m *Message) {
			m.Options = slices.DeleteFunc(m.Options, func(o Option) bool { return o.Code == code })
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*Message)
	}{
		{"xid", func(m *Message) { m.XID ^= 1 }},
		{"client's type", func(m *Message) { m.Type = Solicit }},
		{"Reconfigure", func(m *Message) { m.Type = Reconfigure }},
		{"no server", without(optServerID)},
		{"empty server", with(optServerID)},
		{"long server", with(optServerID, make([]byte, 200)...)},
		{"no client", without(optClientID)},
		{"other client", with(optClientID, 0, 4, 1, 2, 4)},
		{"status", func(m *Message) { m.Options = append(m.Options, statusOption(UnspecFail)) }},
		{"short status", func(m *Message) { m.Options = append(m.Options, opt(optStatus, 0)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, addresses)
			w.LinkUp(0)
			s := w.one()
			bad := answer(s.Message, Advertise, server1, append(good(), opt(optPreference, 255))...)
			tt.change(bad)
			w.receive(bad)
			w.is(Soliciting)
			w.receive(answer(s.Message, Advertise, server1, append(good(), opt(optPreference, 255))...))
			r := w.one()
			bad = answer(r.Message, Reply, server1, good()...)
			tt.change(bad)
			w.receive(bad)
			w.is(Requesting)
			if n := len(w.Ignored()); n == 0 {
				t.Error("not counted")
			}
			w.receive(answer(r.Message, Reply, server1, good()...))
			w.is(Bound)
		})
	}
	w := newWorld(t, addresses)
	w.LinkUp(0)
	s := w.one()
	for _, options := range [][]Option{
		nil,
		{statusOption(NoAddrsAvail)},
		{ia(optIANA, 0, 0, statusOption(NoAddrsAvail))},
		{ia(optIANA, 0, 0, iaAddr(addr, 0, 0))},
		{ia(optIAPD, 0, 0, iaPrefix(prefix, 100, 100))}, // not wanted
	} {
		w.receive(answer(s.Message, Advertise, server1, append(options, opt(optPreference, 255))...))
		w.is(Soliciting)
	}
	w = newWorld(t)
	w.LinkUp(0)
	m := w.one()
	w.receive(answer(m.Message, Reply, server1, opt(optClientID, duid...))) // none was sent
	w.is(Informing)
	if w.Ignored()[badClient] != 1 {
		t.Errorf("ignored %v", w.Ignored())
	}
}

// TestAssociations: what is wrong with one is left out, the rest is taken.
func TestAssociations(t *testing.T) {
	other := netip.MustParseAddr("2001:db8::8")
	tests := []struct {
		name  string
		inner Option
	}{
		{"preferred longer than valid", iaAddr(other, 200, 100)},
		{"valid 0", iaAddr(other, 0, 0)},
		{"status", iaAddr(other, 100, 100, statusOption(UnspecFail))},
		{"multicast", iaAddr(netip.MustParseAddr("ff02::1"), 100, 100)},
		{"unspecified", iaAddr(netip.IPv6Unspecified(), 100, 100)},
		{"loopback", iaAddr(netip.IPv6Loopback(), 100, 100)},
		{"link-local", iaAddr(netip.MustParseAddr("fe80::1"), 100, 100)},
		{"IPv4", iaAddr(netip.MustParseAddr("::ffff:192.0.2.1"), 100, 100)},
		{"cut short", opt(optIAAddr, make([]byte, 23)...)},
		{"twice", iaAddr(addr, 1, 1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, addresses)
			l := w.bind(ia(optIANA, 10, 20, iaAddr(addr, 3000, 4000), tt.inner))
			if len(l.Addrs) != 1 || l.Addrs[0].Prefix.Addr() != addr {
				t.Errorf("%+v", l.Addrs)
			}
		})
	}
	var many []Option
	for i := range byte(3 * MaxAddrs) {
		many = append(many, iaAddr(netip.AddrFrom16([16]byte{0x20, 1, 15: i + 1}), 100, 100))
	}
	if l := newWorld(t, addresses).bind(ia(optIANA, 0, 0, many...)); len(l.Addrs) != MaxAddrs || len(l.Problems) != maxProblems {
		t.Errorf("%d addresses, %d problems", len(l.Addrs), len(l.Problems))
	}
	// T1 > T2: the association is none; another with the same number counts.
	l := newWorld(t, addresses).bind(ia(optIANA, 20, 10, iaAddr(other, 100, 100)), good()[0])
	if len(l.Addrs) != 1 || l.Addrs[0].Prefix.Addr() != addr {
		t.Errorf("%+v", l.Addrs)
	}
}

func TestTimes(t *testing.T) {
	const inf = 0xffffffff
	for _, tt := range []struct{ t1, t2, preferred, valid, wantT1, wantT2 uint32 }{
		{1000, 2000, 3000, 4000, 1000, 2000},
		{0, 0, 3000, 4000, 1500, 2400},
		{0, 2000, 3000, 4000, 1500, 2000},
		{0, 1000, 3000, 4000, 625, 1000},
		{1000, 0, 3000, 4000, 1000, 2400},
		{1000, 9000, 3000, 4000, 1000, 3200}, // T2 after the end
		{9000, 9000, 3000, 4000, 2000, 3200}, // both
		{0, 0, 0, 4000, 2000, 3200},          // never preferred
		{inf, inf, inf, inf, inf, inf},
		{0, 0, inf, inf, inf, inf},
	} {
		l := newWorld(t, addresses).bind(ia(optIANA, tt.t1, tt.t2, iaAddr(addr, tt.preferred, tt.valid)))
		began := l.Addrs[0].Valid
		if tt.valid != inf {
			began -= time.Duration(tt.valid) * time.Second
		} else {
			began = 0
		}
		if l.T1 != dhcp.After(began, tt.wantT1) || l.T2 != dhcp.After(began, tt.wantT2) {
			t.Errorf("%+v: T1 %v, T2 %v", tt, l.T1-began, l.T2-began)
		}
	}
}

func TestRenewRebindExpire(t *testing.T) {
	w := newWorld(t, addresses)
	l := w.bind()
	r := w.one()
	id, _ := get(r.Options, optServerID)
	if w.is(Renewing); r.Type != Renew || r.at != l.T1 || !bytes.Equal(id, server1) {
		t.Errorf("%+v", r)
	}
	w.receive(answer(r.Message, Reply, server2, good()...)) // another server's
	w.is(Renewing)
	w.receive(answer(r.Message, Reply, server1)) // says nothing of it
	w.is(Renewing)
	w.receive(answer(r.Message, Reply, server1, good()...))
	w.is(Bound)
	if n := w.Lease(); n.T1 != w.now+1000*time.Second || len(n.Addrs) != 1 || len(l.Addrs) != 1 {
		t.Errorf("%+v", n)
	}
	l = w.Lease()
	w.until(l.T2)
	w.is(Rebinding)
	w.until(l.T2 + 15*time.Second)
	r = w.one()
	if _, has := get(r.Options, optServerID); r.Type != Rebind || has {
		t.Errorf("%+v", r)
	}
	w.receive(answer(r.Message, Reply, server2, good()...))
	if w.is(Bound); !bytes.Equal(w.Lease().Server, server2) {
		t.Errorf("server %x", w.Lease().Server)
	}
	l = w.Lease()
	w.until(l.Addrs[0].Valid - 1)
	if w.Lease() == nil {
		t.Error("lost before it ended")
	}
	w.until(l.Addrs[0].Valid)
	if w.is(Soliciting); w.Lease() != nil {
		t.Error("outlives its time")
	}
}

func TestRenewChanges(t *testing.T) {
	other := netip.MustParseAddr("2001:db8::8")
	w := newWorld(t, addresses)
	w.bind()
	w.receive(answer(w.one().Message, Reply, server1, ia(optIANA, 100, 200, iaAddr(other, 300, 400))))
	if l := w.Lease(); len(l.Addrs) != 2 {
		t.Errorf("what was not mentioned went: %+v", l.Addrs)
	}
	w.receive(answer(w.one().Message, Reply, server1, ia(optIANA, 100, 200, iaAddr(addr, 0, 0), iaAddr(other, 300, 400))))
	l := w.Lease()
	if len(l.Addrs) != 1 || l.Addrs[0].Prefix.Addr() != other {
		t.Errorf("after lifetime 0: %+v", l.Addrs)
	}
	r := w.one()
	w.receive(answer(r.Message, Reply, server1, ia(optIANA, 0, 0, statusOption(NoBinding))))
	r = w.one()
	b, _ := get(r.Options, optIANA)
	if w.is(Requesting); r.Type != Request || !bytes.Contains(b, other.AsSlice()) || w.Lease() == nil {
		t.Errorf("after NoBinding: %+v", r)
	}
	w.receive(answer(r.Message, Reply, server1, ia(optIANA, 0, 0, statusOption(NoAddrsAvail))))
	if w.is(Soliciting); w.Lease() != nil {
		t.Error("in use without binding")
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, addresses)
	w.LinkUp(0)
	for i, bad := range []Option{statusOption(NotOnLink), ia(optIANA, 0, 0, statusOption(NoAddrsAvail)), statusOption(NotOnLink), statusOption(NotOnLink)} {
		w.receive(answer(w.one().Message, Advertise, server1, append(good(), opt(optPreference, 255))...))
		w.receive(answer(w.one().Message, Reply, server1, bad))
		w.is(Soliciting)
		at := w.now
		if d := w.one().at - at; d < backoff<<i || d > backoff<<i+maxDelay {
			t.Errorf("after %d refusals begun again after %v", i+1, d)
		}
		w.LinkDown()
		w.attach(w.now, "again")
	}
}

func TestConfirm(t *testing.T) {
	again := func(t *testing.T, config ...func(*Config)) (*world, *Lease, sent) {
		w := newWorld(t, config...)
		l := w.bind()
		w.LinkDown()
		if n := w.until(w.now + 20*time.Minute); n > 0 || w.Lease() != l {
			t.Errorf("without link %d messages, lease %v", n, w.Lease())
		}
		w.LinkUp(w.now)
		return w, l, w.one()
	}
	w, l, m := again(t, addresses)
	b, _ := get(m.Options, optIANA)
	if _, has := get(m.Options, optServerID); m.Type != Confirm || has || !bytes.Contains(b, addr.AsSlice()) || w.Lease() != l {
		t.Errorf("%+v", m)
	}
	w.receive(answer(m.Message, Reply, server2, statusOption(Success)))
	w.is(Bound)
	if r := w.one(); r.Type != Renew || r.at != m.at { // T1 was while the link was down
		t.Errorf("type %d after %v", r.Type, r.at-m.at)
	}
	w, _, m = again(t, addresses)
	w.receive(answer(m.Message, Reply, server2, statusOption(NotOnLink)))
	if w.is(Soliciting); w.Lease() != nil {
		t.Error("a lease of another link is in use")
	}
	w, l, m = again(t, addresses)
	w.until(m.at + confirmTime - 1)
	w.is(Confirming)
	w.Advance(m.at + confirmTime)
	if w.is(Bound); w.Lease() != l {
		t.Error("lost without an answer")
	}
	w, l, m = again(t, addresses, prefixes)
	if m.Type != Rebind {
		t.Errorf("type %d for a prefix", m.Type)
	}
	w.Advance(m.at + confirmTime)
	if w.is(Bound); w.Lease() != l {
		t.Error("lost without an answer")
	}
	w = newWorld(t, addresses)
	w.bind()
	w.now += time.Minute
	w.Resume(w.now)
	w.is(Confirming)
	w.now += 2 * time.Hour // slept through its end
	w.Resume(w.now)
	if w.is(Soliciting); w.Lease() != nil {
		t.Error("slept through its end and in use")
	}
}

func TestDecline(t *testing.T) {
	other := netip.MustParseAddr("2001:db8::8")
	w := newWorld(t, addresses)
	w.bind(ia(optIANA, 100, 200, iaAddr(addr, 300, 400), iaAddr(other, 300, 400)))
	w.Decline(w.now, netip.MustParseAddr("2001:db8::9")) // not ours
	w.is(Bound)
	w.Decline(w.now, addr)
	d := w.one()
	id, _ := get(d.Options, optServerID)
	b, _ := get(d.Options, optIANA)
	if d.Type != Decline || !bytes.Equal(id, server1) || !bytes.Contains(b, addr.AsSlice()) || bytes.Contains(b, other.AsSlice()) ||
		len(w.Lease().Addrs) != 1 {
		t.Errorf("%+v", d)
	}
	w.receive(answer(d.Message, Reply, server1, statusOption(Success)))
	w.is(Bound)
	w.Decline(w.now, other)
	w.one()
	if w.Lease() != nil {
		t.Error("in use")
	}
	w.until(w.now + 20*time.Second) // nobody answers
	w.is(Soliciting)
}

// TestDeclineBesideAPrefix: another address is asked for at once, not at T1.
func TestDeclineBesideAPrefix(t *testing.T) {
	w := newWorld(t, addresses, prefixes)
	w.bind()
	w.Decline(w.now, addr)
	w.receive(answer(w.one().Message, Reply, server1, statusOption(Success)))
	w.is(Bound)
	at := w.now
	r := w.one()
	if _, has := get(r.Options, optIANA); r.Type != Renew || !has || r.at-at > 2*backoff {
		t.Errorf("type %d after %v", r.Type, r.at-at)
	}
	if backOff(1000) != maxBackoff || backOff(0) != backoff {
		t.Errorf("waits %v and %v", backOff(0), backOff(1000))
	}
}

func TestRelease(t *testing.T) {
	w := newWorld(t, addresses, prefixes)
	w.bind()
	w.Release(w.now)
	r := w.one()
	na, _ := get(r.Options, optIANA)
	pd, _ := get(r.Options, optIAPD)
	if r.Type != Release || w.Lease() != nil || !bytes.Contains(na, addr.AsSlice()) || !bytes.Contains(pd, prefix.Addr().AsSlice()[:6]) {
		t.Errorf("%+v", r)
	}
	w.receive(answer(r.Message, Reply, server1, statusOption(NoBinding)))
	w.is(Released)
	if _, ok := w.Next(); ok {
		t.Error("it goes on")
	}
}

func TestMaxRT(t *testing.T) {
	w := newWorld(t, addresses)
	w.LinkUp(0)
	s := w.one()
	for _, tt := range []struct {
		set  uint32
		want time.Duration
	}{{59, defaultMaxRT}, {86401, defaultMaxRT}, {120, 120 * time.Second}} {
		// Even with a status that says no.
		w.receive(answer(s.Message, Advertise, server1, statusOption(NoAddrsAvail), opt(optSolMaxRT, u32(tt.set)...), opt(optInfMaxRT, u32(tt.set)...)))
		if w.solMaxRT != tt.want || w.infMaxRT != tt.want {
			t.Errorf("%d: %v and %v", tt.set, w.solMaxRT, w.infMaxRT)
		}
	}
	last := s.at
	for range 12 {
		s = w.one()
		if s.at-last > 132*time.Second {
			t.Errorf("wait %v", s.at-last)
		}
		last = s.at
	}
}

func TestInfoOptions(t *testing.T) {
	resolver := func(priority byte) Option {
		b := []byte{0, priority, 0, 5, 3, 'd', 'n', 's', 0, 0, 16}
		return Option{optResolver, append(append(b, dns.AsSlice()...), 0, 1, 0, 2, 1, 'h')}
	}
	tests := []struct {
		name   string
		option Option
		good   func(*Info) bool
		bad    bool
	}{
		{"portal", opt(optPortal, []byte("https://example.com/")...), func(i *Info) bool { return i.Portal == "https://example.com/" }, false},
		{"portal with a user", opt(optPortal, []byte("https://u@example.com/")...), func(i *Info) bool { return i.Portal == "" }, true},
		{"resolver", resolver(2), func(i *Info) bool { return len(i.Resolvers) == 2 && i.Resolvers[1].Addrs[0] == dns }, false},
		{"resolver cut short", opt(optResolver, 0), func(i *Info) bool { return len(i.Resolvers) == 1 }, true},
		{"DNS of 15 octets", opt(optDNS, make([]byte, 15)...), func(i *Info) bool { return i.DNS == nil }, true},
		{"DNS multicast", opt(optDNS, netip.MustParseAddr("ff02::fb").AsSlice()...), func(i *Info) bool { return i.DNS == nil }, true},
		{"search compressed", opt(optSearch, 1, 'a', 0, 0xc0, 0), func(i *Info) bool { return i.Search == nil }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := newInfo([]Option{tt.option, resolver(1)}, 0)
			if !tt.good(i) || (len(i.Problems) > 0) != tt.bad || i.Resolvers[0].Priority != 1 {
				t.Errorf("%+v", i)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []Config{{}, {DUID: []byte{1, 2}}, {DUID: make([]byte, maxDUID+1)}} {
		if _, err := New(c); err == nil || !strings.HasPrefix(err.Error(), "dhcp6: ") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := Parse(make([]byte, maxMessage+4)); err == nil {
		t.Error("a message may be of any length")
	}
	if _, err := Parse(make([]byte, 4+4*(maxOptions+1))); err == nil {
		t.Error("a message may have any number of options")
	}
	w := newWorld(t, addresses)
	w.LinkUp(0)
	s := w.one()
	for i := range maxAdvertises + 1 {
		w.receive(answer(s.Message, Advertise, []byte{0, 4, byte(i)}, append(good(), opt(optPreference, byte(i)))...))
	}
	if w.offer.preference != maxAdvertises-1 {
		t.Errorf("took advertisement %d", w.offer.preference)
	}
}

// TestDay: ten links, a lease each with T1 of 1000 s, for a day.
func TestDay(t *testing.T) {
	renewals := 0
	for range 10 {
		w := newWorld(t, addresses)
		w.bind()
		for w.now < 24*time.Hour {
			r := w.one()
			if r.Type != Renew {
				t.Fatalf("sent %d", r.Type)
			}
			w.receive(answer(r.Message, Reply, server1, good()...))
			renewals++
		}
	}
	if renewals < 850 || renewals > 880 {
		t.Errorf("%d renewals", renewals)
	}
}

func TestStateNames(t *testing.T) {
	seen := map[string]bool{}
	for s := Down; s <= Informed+1; s++ {
		seen[fmt.Sprint(s)] = true
	}
	if len(seen) != int(Informed)+2 {
		t.Errorf("%d names: %v", len(seen), seen)
	}
}

func FuzzMessage(f *testing.F) {
	for typ := Solicit; typ <= InformationRequest; typ++ {
		f.Add(answer(&Message{XID: 9}, typ, server1, good()...).Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		if again := m.Append(nil); !bytes.Equal(b, again) {
			t.Errorf("%x became %x", b, again)
		}
	})
}

// FuzzClient: whatever arrives in whatever state, the client has addresses only as long
// as it says, and goes on.
func FuzzClient(f *testing.F) {
	for typ := Solicit; typ <= InformationRequest; typ++ {
		for state := range byte(5) {
			f.Add(state, answer(&Message{}, typ, server1, good()...).Append(nil))
		}
	}
	f.Fuzz(func(t *testing.T, state byte, b []byte) {
		w := newWorld(t, addresses, prefixes)
		if state == 4 {
			w = newWorld(t)
		}
		w.LinkUp(0)
		s := w.one()
		if state == 1 || state == 2 || state == 3 {
			w.receive(answer(s.Message, Advertise, server1, append(good(), opt(optPreference, 255))...))
			s = w.one()
		}
		if state == 2 || state == 3 {
			w.receive(answer(s.Message, Reply, server1, good()...))
			if state == 3 {
				w.LinkUp(w.now)
			}
			s = w.one()
		}
		if len(b) >= 4 {
			b = slices.Clone(b)
			b[1], b[2], b[3] = byte(s.XID>>16), byte(s.XID>>8), byte(s.XID)
		}
		w.Receive(w.now, b)
		w.until(w.now + 3*time.Hour)
		if l := w.Lease(); l != nil && (l.firstEnd() <= w.now || len(l.Addrs) > MaxAddrs || len(l.Prefixes) > MaxPrefixes) {
			t.Errorf("at %v lease %+v", w.now, l)
		}
	})
}

// TestItemsEnd lets one address, one prefix and then the rest of a lease end, each at its
// own moment, with a server that does not answer any more.
func TestItemsEnd(t *testing.T) {
	other := netip.MustParseAddr("2001:db8::8")
	narrow := netip.MustParsePrefix("2001:db8:2::/56")
	w := newWorld(t, addresses, prefixes)
	l := w.bind(
		ia(optIANA, 0, 0, iaAddr(addr, 500, 1000), iaAddr(other, 500, 4000)),
		ia(optIAPD, 0, 0, iaPrefix(prefix, 500, 2000), iaPrefix(narrow, 500, 3000)),
	)
	began := w.now
	for _, tt := range []struct {
		at         uint32
		addrs, pds int
		state      State
	}{
		{1000, 1, 2, Rebinding},
		{2000, 1, 1, Rebinding},
		{3000, 1, 0, Rebinding},
		{4000, 0, 0, Soliciting},
	} {
		end := began + time.Duration(tt.at)*time.Second
		w.until(end - 1)
		before := w.Lease()
		if n := len(before.Addrs) + len(before.Prefixes); n != tt.addrs+tt.pds+1 {
			t.Errorf("just before %d s: %d items", tt.at, n)
		}
		w.until(end)
		w.is(tt.state)
		switch now := w.Lease(); {
		case tt.addrs == 0:
			if now != nil {
				t.Errorf("after %d s: %+v", tt.at, now)
			}
		case len(now.Addrs) != tt.addrs || len(now.Prefixes) != tt.pds || now == before:
			t.Errorf("after %d s: %+v", tt.at, now)
		}
	}
	if len(l.Addrs) != 2 || len(l.Prefixes) != 2 {
		t.Error("a lease that was handed out has changed")
	}
}

// TestPrefixRenewed has a delegated prefix be given more time, and another one in its place.
func TestPrefixRenewed(t *testing.T) {
	narrow := netip.MustParsePrefix("2001:db8:2::/56")
	w := newWorld(t, prefixes)
	l := w.bind(ia(optIAPD, 0, 0, iaPrefix(prefix, 1000, 2000)))
	if l.T1 != w.now+500*time.Second || l.T2 != w.now+800*time.Second {
		t.Errorf("T1 %v, T2 %v", l.T1-w.now, l.T2-w.now)
	}
	r := w.one()
	pd, _ := get(r.Options, optIAPD)
	if _, has := get(r.Options, optIANA); r.Type != Renew || has || !bytes.Contains(pd, prefix.Addr().AsSlice()) {
		t.Errorf("sent %+v", r)
	}
	w.receive(answer(r.Message, Reply, server1, ia(optIAPD, 0, 0, iaPrefix(prefix, 0, 0), iaPrefix(narrow, 1000, 2000))))
	if n := w.Lease(); len(n.Prefixes) != 1 || n.Prefixes[0] != (Item{narrow, w.now + 1000*time.Second, w.now + 2000*time.Second}) {
		t.Errorf("%+v", n)
	}
}
