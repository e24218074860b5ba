package dhcp4

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp"
	"github.com/pvdstack/pvdstack/pvd/dhcp/acd"
)

func TestAcquire(t *testing.T) {
	w := newWorld(t)
	if _, ok := w.Next(); ok {
		t.Error("a client without link wants to be called")
	}
	w.LinkUp(0)
	w.is(Init)
	d := w.one()
	w.is(Selecting)
	if d.at > startDelay || d.Type() != Discover || !d.Packet.Broadcast() || d.Src != netip.MustParseAddrPort("0.0.0.0:68") ||
		d.Dst != netip.MustParseAddrPort("255.255.255.255:67") || d.Op != opRequest || len(d.Payload) < minLen ||
		!bytes.Equal(d.Options[optClientID], clientID) || !bytes.Equal(d.Hardware[:6], mac[:]) {
		t.Errorf("DHCPDISCOVER: %+v", d)
	}
	prl := d.Options[optWanted]
	if bytes.IndexByte(prl, optClasslessRoute) > bytes.IndexByte(prl, optRouters) || bytes.IndexByte(prl, optV6Only) >= 0 {
		t.Errorf("asked for options %v", prl)
	}
	w.now += 1500 * time.Millisecond
	w.receive(reply(d.Message, Offer))
	r := w.one()
	w.is(Requesting)
	if r.Type() != Request || r.XID != d.XID || r.Secs != d.Secs || !r.Packet.Broadcast() || !bytes.Equal(r.Options[optServer], server.AsSlice()) ||
		!bytes.Equal(r.Options[optRequestedAddr], address.AsSlice()) || r.Client != netip.IPv4Unspecified() {
		t.Errorf("DHCPREQUEST: %+v", r)
	}
	asked := w.now
	w.now += time.Second
	w.receive(reply(r.Message, Ack))
	w.is(Probing)
	if w.Lease() != nil || w.Tentative() == nil {
		t.Error("in use before it has been checked for conflicts")
	}
	w.until(w.now + 10*time.Second)
	w.is(Bound)
	l := w.Lease()
	if l == nil || w.Tentative() != nil {
		t.Fatal("no lease")
	}
	if l.Addr != netip.PrefixFrom(address, 24) || l.Server != server || l.Obtained != asked ||
		l.T1 != asked+1800*time.Second || l.T2 != asked+3150*time.Second || l.Expires != asked+3600*time.Second || len(l.Problems) != 0 {
		t.Errorf("lease %+v", l)
	}
	if len(w.arps) != 5 {
		t.Errorf("%d ARP packets, want 3 probes and 2 announcements", len(w.arps))
	}
}

func TestDiscoverBackoff(t *testing.T) {
	spread := map[time.Duration]bool{}
	for s := range uint64(100) {
		w := newWorld(t, seed(s))
		w.LinkUp(0)
		last := w.one()
		for i, want := range []time.Duration{4, 8, 16, 32, 64, 64, 64} {
			next := w.one()
			d := next.at - last.at
			spread[d] = true
			if d < want*time.Second-jitter || d > want*time.Second+jitter || next.XID != last.XID {
				t.Fatalf("try %d comes %v after the one before", i+2, d)
			}
			if next.Secs != uint16((next.at-w.began)/time.Second) {
				t.Errorf("secs %d at %v", next.Secs, next.at-w.began)
			}
			last = next
		}
	}
	if len(spread) < 600 {
		t.Errorf("%d different waits of 700", len(spread))
	}
}

func TestRequestGivesUp(t *testing.T) {
	w := newWorld(t)
	w.LinkUp(0)
	d := w.one()
	w.receive(reply(d.Message, Offer))
	for range requestTries {
		if m := w.one(); m.Type() != Request || m.XID != d.XID {
			t.Fatalf("sent %v", m.Type())
		}
	}
	if m := w.one(); m.Type() != Discover || m.XID == d.XID {
		t.Errorf("then sent type %d", m.Type())
	}
}

func TestRenewAndRebind(t *testing.T) {
	w := newWorld(t)
	l := w.bind()
	r := w.one()
	if w.is(Renewing); r.at != l.T1 || r.Packet.Broadcast() || r.Dst.Addr() != server || r.Src.Addr() != address || r.Client != address ||
		r.Options[optServer] != nil || r.Options[optRequestedAddr] != nil {
		t.Errorf("renewal %+v", r)
	}
	for now := r.at; ; { // half of what is left, at least a minute
		want := min(l.T2, now+max((l.T2-now)/2, minRenewWait))
		r = w.one()
		if r.at != want {
			t.Fatalf("next at %v, want %v", r.at, want)
		}
		if now = r.at; now == l.T2 {
			break
		}
	}
	if w.is(Rebinding); !r.Packet.Broadcast() || r.Src.Addr() != address || r.Client != address || r.Options[optServer] != nil {
		t.Errorf("rebinding %+v", r)
	}
	for now := r.at; ; {
		want := now + max((l.Expires-now)/2, minRenewWait)
		if want >= l.Expires {
			break
		}
		if r = w.one(); r.at != want {
			t.Fatalf("next at %v, want %v", r.at, want)
		}
		now = r.at
	}
	if w.Lease() == nil {
		t.Error("lost before it ended")
	}
	if r = w.one(); r.at != l.Expires || r.Type() != Discover || w.Lease() != nil {
		t.Errorf("at %v, the end of the lease being %v: type %d, lease %v", r.at, l.Expires, r.Type(), w.Lease())
	}
}

func TestRenewed(t *testing.T) {
	other := netip.MustParseAddr("192.0.2.2")
	w := newWorld(t)
	l := w.bind()
	w.arps = nil
	r := w.one()
	w.receive(reply(r.Message, Ack, option(optServer, other.AsSlice()...)))
	w.is(Renewing) // not from the server that was asked
	w.receive(reply(r.Message, Ack, option(optDNS, other.AsSlice()...)))
	w.is(Bound)
	if n := w.Lease(); n == l || n.Obtained != l.T1 || n.DNS[0] != other || l.DNS[0] != server {
		t.Errorf("renewed: %+v, before: %+v", n, l)
	}
	w.until(w.Lease().T2)
	w.is(Rebinding)
	w.until(w.now + time.Minute)
	w.XIDReply(other)
	w.is(Bound)
	if w.Lease().Server != other {
		t.Errorf("rebound by %v", w.Lease().Server)
	}
	if len(w.arps) != 0 {
		t.Errorf("an address in use was probed again: %v", w.arps)
	}
}

// XIDReply acknowledges whatever is under way.
func (w *world) XIDReply(server netip.Addr) {
	m := &Message{XID: w.xid}
	copy(m.Hardware[:], mac[:])
	w.receive(reply(m, Ack, option(optServer, server.AsSlice()...)))
}

func TestInfinite(t *testing.T) {
	w := newWorld(t)
	l := w.bind(option(optLeaseTime, 255, 255, 255, 255))
	if l.Expires != dhcp.Never || l.T1 != dhcp.Never {
		t.Errorf("lease %+v", l)
	}
	if at, ok := w.Next(); ok {
		t.Errorf("wants to be called at %v", at)
	}
}

func TestNAK(t *testing.T) {
	w := newWorld(t)
	w.LinkUp(0)
	for _, want := range []time.Duration{4, 8, 16, 32, 64, 64} {
		w.receive(reply(w.one().Message, Offer))
		r := w.one()
		w.receive(reply(r.Message, Nak, option(optServer, 192, 0, 2, 9)))
		w.is(Requesting) // another server's
		w.receive(reply(r.Message, Nak))
		w.is(Init)
		at := w.now
		if d := w.one().at - at; d != want*time.Second {
			t.Errorf("began again after %v, want %v s", d, want)
		}
		w.LinkDown()
		w.state = Init // the backoff goes on, the exchange does not
		w.next = w.now
	}
	w.bind()
	if w.naks != 0 {
		t.Error("a lease does not end the backoff")
	}
	w.receive(reply(w.one().Message, Nak))
	if w.is(Init); w.Lease() != nil {
		t.Error("a refused lease is in use")
	}
}

func TestConflictBeforeUse(t *testing.T) {
	w := newWorld(t)
	w.LinkUp(0)
	for i := range acd.MaxConflicts + 1 {
		w.receive(reply(w.one().Message, Offer))
		w.receive(reply(w.one().Message, Ack))
		w.ReceiveARP(w.now, acd.ARP{Op: acd.Reply, SenderMAC: otherMAC, SenderIP: address, TargetIP: netip.IPv4Unspecified()})
		w.is(Init)
		d := w.one()
		if d.Type() != Decline || d.at != w.now || !d.Packet.Broadcast() || !bytes.Equal(d.Options[optRequestedAddr], address.AsSlice()) ||
			!bytes.Equal(d.Options[optServer], server.AsSlice()) || d.Client != netip.IPv4Unspecified() || d.Options[optWanted] != nil {
			t.Fatalf("DHCPDECLINE: %+v", d)
		}
		want := declineWait
		if i+1 >= acd.MaxConflicts {
			want = acd.RateLimitInterval
		}
		if at, _ := w.Next(); at != w.now+want || w.Lease() != nil || w.Tentative() != nil {
			t.Errorf("after %d conflicts next at %v from now, want %v", i+1, at-w.now, want)
		}
	}
}

func TestConflictInUse(t *testing.T) {
	w := newWorld(t)
	w.bind()
	attack := acd.ARP{Op: acd.Request, SenderMAC: otherMAC, SenderIP: address, TargetIP: address}
	w.arps = nil
	w.ReceiveARP(w.now, attack)
	w.take()
	if w.is(Bound); len(w.arps) != 1 {
		t.Errorf("defended by %v", w.arps)
	}
	w.ReceiveARP(w.now+time.Second, attack)
	if d := w.one(); d.Type() != Decline || w.Lease() != nil {
		t.Errorf("sent type %d, lease %v", d.Type(), w.Lease())
	}
}

func TestInitReboot(t *testing.T) {
	l := newWorld(t).bind()
	boot := func(t *testing.T) (*world, sent) {
		w := newWorld(t, func(c *Config) { c.Previous = l; c.IPv6Only = true })
		w.LinkUp(0)
		w.is(InitReboot)
		r := w.one()
		w.is(Rebooting)
		if r.Type() != Request || !r.Packet.Broadcast() || r.Options[optServer] != nil || r.Client != netip.IPv4Unspecified() ||
			!bytes.Equal(r.Options[optRequestedAddr], address.AsSlice()) || w.Lease() != nil {
			t.Errorf("DHCPREQUEST: %+v", r)
		}
		return w, r
	}
	t.Run("acknowledged", func(t *testing.T) {
		w, r := boot(t)
		w.receive(reply(r.Message, Ack))
		w.is(Probing)
		w.until(time.Minute)
		w.is(Bound)
	})
	t.Run("refused", func(t *testing.T) {
		w, r := boot(t)
		w.receive(reply(r.Message, Nak))
		if m := w.one(); m.Type() != Discover || m.at < nakWait {
			t.Errorf("type %d at %v", m.Type(), m.at)
		}
	})
	t.Run("silence", func(t *testing.T) {
		w, _ := boot(t)
		for range rebootTries - 1 {
			w.one()
		}
		w.until(w.now + 40*time.Second)
		w.is(Bound)
		if n := w.Lease(); n == nil || n.Expires != l.Expires {
			t.Errorf("lease %+v", n)
		}
	})
	t.Run("another address", func(t *testing.T) {
		w, r := boot(t)
		w.receive(reply(r.Message, Ack, func(m *Message) { m.Your = address.Next() }))
		w.is(Rebooting)
	})
	t.Run("IPv6 only", func(t *testing.T) {
		w, r := boot(t)
		w.receive(reply(r.Message, Ack, option(optV6Only, 0, 0, 0, 0)))
		w.is(V6Only)
	})
	t.Run("over", func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Previous = l })
		w.LinkUp(l.Expires)
		w.is(Init)
	})
}

func TestV6Only(t *testing.T) {
	capable := func(c *Config) { c.IPv6Only = true }
	for _, tt := range []struct {
		option []byte
		wait   time.Duration // 0: as if it was not there
	}{
		{[]byte{0, 0, 7, 8}, 1800 * time.Second},
		{[]byte{0, 0, 0, 1}, minV6OnlyWait * time.Second},
		{[]byte{0, 7, 8}, 0},
	} {
		w := newWorld(t, capable)
		w.LinkUp(0)
		d := w.one()
		if !bytes.Contains(d.Options[optWanted], []byte{optV6Only}) {
			t.Error("108 is not asked for")
		}
		w.receive(reply(d.Message, Offer, option(optV6Only, tt.option...)))
		if tt.wait == 0 {
			w.is(Requesting)
			continue
		}
		w.is(V6Only)
		if m := w.one(); m.at != d.at+tt.wait || m.Type() != Discover {
			t.Errorf("%x: type %d after %v, want %v", tt.option, m.Type(), m.at-d.at, tt.wait)
		}
	}
	w := newWorld(t)
	w.bind(option(optV6Only, 0, 0, 7, 8)) // not capable: ignored

	w = newWorld(t, capable)
	w.LinkUp(0)
	w.receive(reply(w.one().Message, Offer, option(optV6Only, 0, 0, 7, 8)))
	w.LinkDown()
	w.LinkUp(w.now) // a new attachment ends the wait
	w.is(Init)
	w.bind()
	w.receive(reply(w.one().Message, Ack, option(optV6Only, 0, 0, 7, 8)))
	w.is(Bound) // a lease in use goes on (RFC 8925 section 3.2)
}

func TestLinkDownAndUp(t *testing.T) {
	w := newWorld(t)
	l := w.bind()
	w.LinkDown()
	if w.is(Down); w.Lease() != l {
		t.Error("the lease went with the link")
	}
	if all := w.until(l.T2); len(all) != 0 {
		t.Errorf("sent %v without link", all)
	}
	w.arps = nil
	w.LinkUp(w.now)
	w.is(InitReboot)
	r := w.one()
	if w.Lease() != l || r.Options[optServer] != nil || !bytes.Equal(r.Options[optRequestedAddr], address.AsSlice()) {
		t.Errorf("lease %v, request %+v", w.Lease(), r)
	}
	w.receive(reply(r.Message, Ack))
	if w.is(Bound); w.Lease() == l {
		t.Error("not renewed")
	}
	w.until(w.now + 10*time.Second)
	if len(w.arps) == 0 || !w.arps[0].SenderIP.IsUnspecified() {
		t.Errorf("not probed again: %v", w.arps)
	}
	w.LinkDown()
	w.until(w.Lease().Expires)
	if w.is(Down); w.Lease() != nil {
		t.Error("the lease outlives its time while the link is down")
	}
}

func TestResume(t *testing.T) {
	w := newWorld(t)
	w.bind()
	w.now += 20 * time.Minute
	w.Resume(w.now)
	w.is(InitReboot)
	r := w.one()
	w.receive(reply(r.Message, Nak)) // it is another network
	if w.is(Init); w.Lease() != nil {
		t.Error("a lease of another network is in use")
	}
	w = newWorld(t)
	l := w.bind()
	w.now = l.Expires + time.Hour
	w.Resume(w.now)
	if w.is(Init); w.Lease() != nil {
		t.Error("slept through its end and in use")
	}
	w = newWorld(t)
	l = w.bind()
	w.now = l.T2 + time.Second // slept, and nobody says so
	w.Advance(w.now)
	if r := w.one(); !r.Packet.Broadcast() {
		t.Errorf("after T2: %+v", r)
	}
	w.is(Rebinding)
	w = newWorld(t)
	w.Resume(0)
	w.is(Down)
}

func TestRelease(t *testing.T) {
	w := newWorld(t)
	w.bind()
	w.Release(w.now)
	r := w.one()
	if w.is(Released); r.Type() != Release || r.Client != address || r.Dst.Addr() != server || r.Src.Addr() != address ||
		!bytes.Equal(r.Options[optServer], server.AsSlice()) || r.Options[optWanted] != nil || r.Options[optRequestedAddr] != nil {
		t.Errorf("DHCPRELEASE %+v", r)
	}
	if _, ok := w.Next(); ok || w.Lease() != nil {
		t.Error("it goes on after Release")
	}
	w = newWorld(t) // while the address is being checked
	w.LinkUp(0)
	w.receive(reply(w.one().Message, Offer))
	w.receive(reply(w.one().Message, Ack))
	w.Release(w.now)
	// Nothing may be sent from the address yet (RFC 5227 section 2.1).
	if r := w.one(); r.Type() != Release || r.Client != address || !r.Packet.Broadcast() || !r.Src.Addr().IsUnspecified() ||
		!bytes.Equal(r.Options[optServer], server.AsSlice()) || w.Tentative() != nil {
		t.Errorf("DHCPRELEASE %+v", r)
	}
	w.LinkUp(w.now)
	w.is(Init) // what was given back is not asked for again
}

// TestBadReplies: each fault alone has a message ignored, and the next good one taken.
func TestBadReplies(t *testing.T) {
	field := func(f func(*Message)) func(*Message) { return f }
	both := []struct {
		name, reason string
		change       func(*Message)
		port         uint16
	}{
		{"op", badOp, field(func(m *Message) { m.Op = 1 }), 67},
		{"hardware type", badHardware, field(func(m *Message) { m.HType = 6 }), 67},
		{"hardware length", badHardware, field(func(m *Message) { m.HLen = 8 }), 67},
		{"chaddr", badHardware, field(func(m *Message) { m.Hardware[5]++ }), 67},
		{"xid", badXID, field(func(m *Message) { m.XID++ }), 67},
		{"client id", badClient, option(optClientID, 1, 2, 3), 67},
		{"port", badPort, field(func(*Message) {}), 1067},
		{"no type", badType, option(optType), 67},
		{"long type", badType, option(optType, 2, 2), 67},
		{"client's type", badType, option(optType, byte(Discover)), 67},
		{"NAK", "", option(optType, byte(Nak)), 67},
		{"FORCERENEW", forceRenew, option(optType, byte(ForceRenew)), 67},
		{"FORCERENEW of another exchange", forceRenew, field(func(m *Message) { m.XID++; m.Options[optType] = []byte{9} }), 67},
		{"no server", badOffer, option(optServer), 67},
		{"short server", badOffer, option(optServer, 1, 2, 3), 67},
		{"server 0.0.0.0", badOffer, option(optServer, 0, 0, 0, 0), 67},
		{"server multicast", badOffer, option(optServer, 224, 0, 0, 1), 67},
		{"no lease time", badOffer, option(optLeaseTime), 67},
		{"lease time 0", badOffer, option(optLeaseTime, 0, 0, 0, 0), 67},
		{"lease time of 3 octets", badOffer, option(optLeaseTime, 0, 9, 0), 67},
		{"mask 255.0.255.0", badOffer, option(optMask, 255, 0, 255, 0), 67},
		{"mask 0", badOffer, option(optMask, 0, 0, 0, 0), 67},
		{"short mask", badOffer, option(optMask, 255, 255), 67},
		{"overload 4", badMessage, option(optOverload, 4), 67},
	}
	for _, a := range []string{"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.255.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.0", "192.0.2.255"} {
		c := both[0]
		c.name, c.reason, c.change = "address "+a, badOffer, func(m *Message) { m.Your = netip.MustParseAddr(a) }
		both = append(both, c)
	}
	for _, tt := range both {
		t.Run(tt.name, func(t *testing.T) {
			try := func(w *world, m *Message) {
				t.Helper()
				before, _ := w.State()
				w.Receive(w.now, netip.AddrPortFrom(server, tt.port), m.Append(nil))
				if w.is(before); tt.reason != "" && w.Ignored()[tt.reason] == 0 {
					t.Errorf("in %v ignored for %v, want %q", before, w.Ignored(), tt.reason)
				}
				clear(w.ignored)
			}
			w := newWorld(t)
			w.LinkUp(0)
			d := w.one()
			try(w, reply(d.Message, Offer, tt.change))
			w.receive(reply(d.Message, Offer))
			r := w.one()
			if tt.name != "NAK" {
				try(w, reply(r.Message, Ack, tt.change))
			}
			w.receive(reply(r.Message, Ack))
			w.is(Probing)
		})
	}
	t.Run("at the wrong time", func(t *testing.T) {
		w := newWorld(t)
		w.bind()
		m := &Message{XID: w.xid}
		copy(m.Hardware[:], mac[:])
		for _, typ := range []Type{Offer, Ack, Nak} {
			w.receive(reply(m, typ))
			w.is(Bound)
		}
		if w.Ignored()[badState] != 3 {
			t.Errorf("ignored %v", w.Ignored())
		}
	})
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{
		{HardwareAddr: mac},
		{HardwareAddr: mac, ClientID: []byte{1}},
		{HardwareAddr: mac, ClientID: make([]byte, 256)},
		{ClientID: clientID},
		{HardwareAddr: [6]byte{1}, ClientID: clientID},
	} {
		if _, err := New(c); err == nil || !strings.HasPrefix(err.Error(), "dhcp4: ") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	c, err := New(Config{HardwareAddr: mac, ClientID: clientID})
	if err != nil {
		t.Fatal(err)
	}
	d, _ := New(Config{HardwareAddr: mac, ClientID: clientID})
	if c.rand.Uint64() == d.rand.Uint64() {
		t.Error("transaction identifiers can be guessed")
	}
}

// TestDay: ten links, an hour's lease each, for a day.
func TestDay(t *testing.T) {
	var worlds []*world
	for i := range uint64(10) {
		w := newWorld(t, func(c *Config) { c.Rand = rand.NewPCG(i, 1) })
		w.bind()
		worlds = append(worlds, w)
	}
	renewals := 0
	for _, w := range worlds {
		for w.now < 24*time.Hour {
			r := w.one()
			if r.Client != address {
				t.Fatal("a lease was lost")
			}
			w.receive(reply(r.Message, Ack))
			w.is(Bound)
			renewals++
		}
	}
	if renewals < 10*47 || renewals > 10*49 {
		t.Errorf("%d renewals", renewals)
	}
}

func TestStateNames(t *testing.T) {
	seen := map[string]bool{}
	for s := Down; s <= Released+1; s++ {
		seen[fmt.Sprint(s)] = true
	}
	if len(seen) != int(Released)+2 {
		t.Errorf("%d names: %v", len(seen), seen)
	}
}

// TestPreviousEnds has a lease from before that ends before anybody has confirmed it, in
// each of the states in which it is waited for.
func TestPreviousEnds(t *testing.T) {
	whole := newWorld(t).bind()
	for _, left := range []time.Duration{1, time.Second, 3 * time.Second, 6 * time.Second, 10 * time.Second, 20 * time.Second} {
		for s := range uint64(5) {
			w := newWorld(t, seed(s), func(c *Config) {
				l := *whole
				l.T1, l.T2, l.Expires = left/4, left/2, left
				c.Previous = &l
			})
			w.LinkUp(0)
			w.until(left - 1)
			if got, _ := w.State(); got != InitReboot && got != Rebooting {
				t.Fatalf("%v left: state %v", left, got)
			}
			xid := w.xid
			w.now = left
			m := &Message{XID: xid}
			copy(m.Hardware[:], mac[:])
			w.receive(reply(m, Ack)) // of which it is too late to take notice
			if got, _ := w.State(); got != Init {
				t.Fatalf("%v left: state %v", left, got)
			}
			if d := w.one(); d.Type() != Discover || d.at != left {
				t.Errorf("%v left: type %d at %v", left, d.Type(), d.at)
			}
		}
	}
	// Nobody calls in time.
	w := newWorld(t, func(c *Config) { c.Previous = whole })
	w.LinkUp(0)
	w.one()
	w.now = whole.Expires + time.Hour
	w.Advance(w.now)
	if d := w.one(); d.Type() != Discover || w.Lease() != nil {
		t.Errorf("sent type %d, lease %v", d.Type(), w.Lease())
	}
}

// TestLinkDownWhileProbing: what was being checked is asked for again.
func TestLinkDownWhileProbing(t *testing.T) {
	w := newWorld(t)
	w.LinkUp(0)
	w.receive(reply(w.one().Message, Offer))
	w.receive(reply(w.one().Message, Ack))
	w.is(Probing)
	w.LinkDown()
	if w.Tentative() != nil || w.Lease() != nil {
		t.Error("it is still there")
	}
	if n := len(w.until(time.Minute)); n > 0 || len(w.ARPs()) > 0 {
		t.Errorf("sent %d messages without link", n)
	}
	w.LinkUp(w.now)
	r := w.one()
	if w.is(Rebooting); r.Type() != Request || !bytes.Equal(r.Options[optRequestedAddr], address.AsSlice()) {
		t.Errorf("sent %+v", r)
	}
	w.receive(reply(r.Message, Ack))
	w.until(w.now + 10*time.Second)
	w.is(Bound)

	w.Release(w.now)
	w.LinkDown()
	w.is(Released) // which is for LinkUp to end
}

// TestNAKWithoutServer: nobody refuses anything without saying who it is.
func TestNAKWithoutServer(t *testing.T) {
	l := newWorld(t).bind()
	for name, change := range map[string]func(*Message){
		"none":      option(optServer),
		"short":     option(optServer, 192, 0, 2),
		"multicast": option(optServer, 224, 0, 0, 1),
	} {
		w := newWorld(t, func(c *Config) { c.Previous = l })
		w.LinkUp(0)
		w.receive(reply(w.one().Message, Nak, change))
		if w.is(Rebooting); w.Ignored()[badServer] != 1 {
			t.Errorf("%s: ignored %v", name, w.Ignored())
		}
	}
}

// TestBadMessages: what is no message of DHCP is ignored, and the next good one taken.
func TestBadMessages(t *testing.T) {
	for name, change := range map[string]func(b []byte) []byte{
		"empty":                 func([]byte) []byte { return nil },
		"without cookie":        func(b []byte) []byte { return b[:headerLen] },
		"cookie":                func(b []byte) []byte { b[headerLen+3]++; return b },
		"too long":              func(b []byte) []byte { return append(b, make([]byte, maxMessage)...) },
		"option cut":            func(b []byte) []byte { return append(b[:headerLen+4], optType, 1, byte(Offer), optMask, 4, 255) },
		"option without length": func(b []byte) []byte { return append(b[:headerLen+4], optType, 1, byte(Offer), optMask) },
		"option cut in file": func(b []byte) []byte {
			copy(b[fileAt:], bytes.Repeat([]byte{optDomain, 60}, 64))
			return append(b[:headerLen+4], optType, 1, byte(Offer), optOverload, 1, 1, optEnd)
		},
	} {
		w := newWorld(t)
		w.LinkUp(0)
		d := w.one()
		w.Receive(w.now, from, change(reply(d.Message, Offer).Append(nil)))
		if w.is(Selecting); w.Ignored()[badMessage] != 1 {
			t.Errorf("%s: ignored %v", name, w.Ignored())
		}
		w.receive(reply(d.Message, Offer))
		w.is(Requesting)
	}
}
