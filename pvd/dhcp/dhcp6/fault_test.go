package dhcp6

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestIgnored has what arrives when nothing is expected, or is no message, or says nothing
// in the state in which it comes: it changes nothing, and the reason is counted.
func TestIgnored(t *testing.T) {
	bound := func(w *world) *Message { w.bind(); return &Message{XID: w.xid} }
	for name, tt := range map[string]struct {
		config []func(*Config)
		begin  func(w *world) *Message // what the message answers
		answer func(to *Message) []byte
		reason string
	}{
		"empty":      {nil, (*world).begun, func(*Message) []byte { return nil }, badMessage},
		"3 octets":   {nil, (*world).begun, func(*Message) []byte { return []byte{byte(Reply), 0, 0} }, badMessage},
		"option cut": {nil, (*world).begun, func(to *Message) []byte { return append(answer(to, Reply, server1).Append(nil), 0, 23, 0, 16, 1) }, badMessage},
		"half an option": {nil, (*world).begun, func(to *Message) []byte {
			return append(answer(to, Reply, server1).Append(nil), 0, 23, 0)
		}, badMessage},
		"before anything was sent": {nil, func(w *world) *Message {
			w.LinkUp(0)
			return &Message{Type: InformationRequest, XID: w.xid}
		}, func(to *Message) []byte { return answer(to, Reply, server1).Append(nil) }, badState},
		"advertised to who has not solicited": {nil, (*world).begun, func(to *Message) []byte {
			return answer(to, Advertise, server1, good()...).Append(nil)
		}, badState},
		"nothing is asked": {
			[]func(*Config){addresses},
			bound,
			func(to *Message) []byte { return answer(to, Reply, server1, good()...).Append(nil) }, badState,
		},
		"information refused": {nil, (*world).begun, func(to *Message) []byte {
			return answer(to, Reply, server1, statusOption(UnspecFail)).Append(nil)
		}, badStatus},
		"rapid commit of nothing": {
			[]func(*Config){addresses, func(c *Config) { c.RapidCommit = true }},
			(*world).begun,
			func(to *Message) []byte { return answer(to, Reply, server1, opt(optRapidCommit)).Append(nil) }, badReply,
		},
		"neither confirmed nor refused": {
			[]func(*Config){addresses},
			func(w *world) *Message { w.bind(); w.LinkUp(w.now); return w.one().Message },
			func(to *Message) []byte { return answer(to, Reply, server1, statusOption(UnspecFail)).Append(nil) }, badStatus,
		},
		"another server's answer to a Release": {
			[]func(*Config){addresses},
			func(w *world) *Message { w.bind(); w.Release(w.now); return w.one().Message },
			func(to *Message) []byte { return answer(to, Reply, server2, statusOption(Success)).Append(nil) }, badServer,
		},
		"another server's answer to a Decline": {
			[]func(*Config){addresses},
			func(w *world) *Message { w.bind(); w.Decline(w.now, addr); return w.one().Message },
			func(to *Message) []byte { return answer(to, Reply, server2, statusOption(Success)).Append(nil) }, badServer,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tt.config...)
			to := tt.begin(w)
			state, _ := w.State()
			lease, next := w.Lease(), w.next
			w.Receive(w.now, tt.answer(to))
			w.is(state)
			if got := w.Ignored(); got[tt.reason] != 1 || len(got) != 1 {
				t.Errorf("ignored %v, want one %q", got, tt.reason)
			}
			if w.Lease() != lease || w.next != next || len(w.Packets()) > 0 {
				t.Errorf("lease %+v, next %v", w.Lease(), w.next)
			}
		})
	}
}

// begun is the first message of a client whose link is up.
func (w *world) begun() *Message {
	w.LinkUp(0)
	return w.one().Message
}

// TestMalformedBesideGood puts each malformed association, address and prefix beside a good
// one: that one is taken, and the other said in the problems.
func TestMalformedBesideGood(t *testing.T) {
	other := netip.MustParseAddr("2001:db8::8")
	wide := netip.MustParsePrefix("2001:db8:2::/48")
	prefixWith := func(f func(b []byte) []byte) Option {
		o := iaPrefix(wide, 100, 100)
		return Option{o.Code, f(slices.Clone(o.Data))}
	}
	for name, tt := range map[string]struct {
		bad  Option
		good []Option // in whose place bad is not to be
	}{
		"association of 11 octets": {opt(optIANA, make([]byte, 11)...), nil},
		"association of another":   {opt(optIANA, make([]byte, 12)...), nil},
		"association with an option cut": {
			Option{optIANA, append(ia(optIANA, 1, 2).Data, 0, 5, 0, 24, 1)}, nil,
		},
		"T1 after T2":           {ia(optIANA, 20, 10, iaAddr(other, 100, 100)), nil},
		"address of 23 octets":  {Option{}, []Option{opt(optIAAddr, make([]byte, 23)...)}},
		"address's options cut": {Option{}, []Option{{optIAAddr, append(iaAddr(other, 100, 100).Data, 0, 13, 0)}}},
		"refused address":       {Option{}, []Option{iaAddr(other, 100, 100, statusOption(NoAddrsAvail))}},
		"site's address as IPv4": {
			Option{}, []Option{iaAddr(netip.MustParseAddr("::ffff:10.0.0.1"), 100, 100)},
		},
	} {
		w := newWorld(t, addresses)
		options := []Option{tt.bad, ia(optIANA, 1000, 2000, append(tt.good, iaAddr(addr, 3000, 4000))...)}
		if tt.bad.Code == 0 {
			options = options[1:]
		}
		l := w.bind(options...)
		if len(l.Addrs) != 1 || l.Addrs[0].Prefix.Addr() != addr || l.T1 != w.now+1000*time.Second {
			t.Errorf("%s: %+v", name, l)
		}
		if silent := name == "association of 11 octets" || name == "association of another"; (len(l.Problems) == 0) != silent {
			t.Errorf("%s: problems %q", name, l.Problems)
		}
	}
	for name, bad := range map[string]Option{
		"prefix of 24 octets":                    prefixWith(func(b []byte) []byte { return b[:24] }),
		"prefix of length 0":                     prefixWith(func(b []byte) []byte { b[8] = 0; return b }),
		"prefix of length 129":                   prefixWith(func(b []byte) []byte { b[8] = 129; return b }),
		"prefix's options cut":                   prefixWith(func(b []byte) []byte { return append(b, 0, 13, 0, 9) }),
		"prefix multicast":                       prefixWith(func(b []byte) []byte { b[9] = 0xff; return b }),
		"prefix preferred for longer than valid": prefixWith(func(b []byte) []byte { b[3] = 101; return b }),
		"the same twice":                         iaPrefix(prefix, 1, 1),
	} {
		w := newWorld(t, prefixes)
		inner := []Option{iaPrefix(prefix, 3000, 4000), bad}
		l := w.bind(ia(optIAPD, 1000, 2000, inner...))
		if len(l.Prefixes) != 1 || l.Prefixes[0].Prefix != prefix || l.Prefixes[0].Valid != w.now+4000*time.Second || len(l.Problems) != 1 {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

// TestMostResolvers names more of them than are kept.
func TestMostResolvers(t *testing.T) {
	var options []Option
	for i := range byte(maxResolvers + 1) {
		options = append(options, opt(optResolver, 0, i+1, 0, 5, 3, 'd', 'n', 's', 0))
	}
	if i := newInfo(options, 0); len(i.Resolvers) != maxResolvers || len(i.Problems) != 1 {
		t.Errorf("%d resolvers, problems %q", len(i.Resolvers), i.Problems)
	}
}

// TestNothingToGiveBack releases and declines what the client does not have.
func TestNothingToGiveBack(t *testing.T) {
	w := newWorld(t, addresses)
	w.Decline(w.now, addr)
	w.is(Down)
	w.LinkUp(0)
	w.one()
	w.Decline(w.now, addr)
	w.is(Soliciting)
	w.Release(w.now)
	w.is(Released)
	w.LinkDown()
	w.is(Released)
	w.Resume(w.now)
	w.is(Released)
	if _, ok := w.Next(); ok || len(w.Packets()) > 0 {
		t.Error("it goes on")
	}
	w.LinkUp(w.now)
	w.is(Soliciting)
}

// TestNotOnLinkWhileRebinding has a server that any may ask say that the lease is of another
// link.
func TestNotOnLinkWhileRebinding(t *testing.T) {
	w := newWorld(t, addresses)
	l := w.bind()
	w.until(l.T2)
	w.is(Rebinding)
	r := w.one()
	w.receive(answer(r.Message, Reply, server2, statusOption(NotOnLink)))
	if w.is(Soliciting); w.Lease() != nil {
		t.Error("in use on another link")
	}
}

// TestTransactions: each exchange has a number of its own, which nobody can guess.
func TestTransactions(t *testing.T) {
	if Servers() != netip.MustParseAddr("ff02::1:2") {
		t.Errorf("sent to %v", Servers())
	}
	seen := map[uint32]bool{}
	for range 20 {
		c, err := New(Config{DUID: duid, IAID: iaid})
		if err != nil {
			t.Fatal(err)
		}
		w := &world{T: t, Client: c}
		seen[w.begun().XID] = true
	}
	if len(seen) < 19 {
		t.Errorf("%d numbers of 20", len(seen))
	}
	w := newWorld(t, addresses)
	s := w.begun()
	w.receive(answer(s, Advertise, server1, append(good(), opt(optPreference, 255))...))
	r := w.one()
	w.receive(answer(r.Message, Reply, server1, good()...))
	if n := w.one(); n.XID == r.XID || r.XID == s.XID || !bytes.Equal(w.Lease().Server, server1) {
		t.Errorf("numbers %x, %x and %x", s.XID, r.XID, n.XID)
	}
}
