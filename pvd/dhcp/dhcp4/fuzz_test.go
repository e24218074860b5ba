package dhcp4

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func same(a, b *Message) bool {
	return a.Op == b.Op && a.HType == b.HType && a.HLen == b.HLen && a.XID == b.XID && a.Secs == b.Secs && a.Broadcast == b.Broadcast &&
		a.Client == b.Client && a.Your == b.Your && a.Next == b.Next && a.Relay == b.Relay && a.Hardware == b.Hardware &&
		maps.EqualFunc(a.Options, b.Options, slices.Equal)
}

func FuzzMessage(f *testing.F) {
	for t := Discover; t <= ForceRenew; t++ {
		m := reply(&Message{XID: 7}, t, option(optClasslessRoute, 8, 10, 192, 0, 2, 9), option(200, make([]byte, 300)...))
		f.Add(m.Append(nil))
		m.Options[optOverload] = []byte{3}
		f.Add(m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		wire := m.Append(nil)
		if len(wire) > maxMessage {
			return // it had pieces that share their fields with names
		}
		again, err := Parse(wire)
		if err != nil || !same(m, again) {
			t.Errorf("%+v became %+v, %v", m, again, err)
		}
		l, err := newLease(m, 0)
		if err != nil {
			return
		}
		if !host(l.Addr.Addr()) || !(0 < l.T1 && l.T1 <= l.T2 && l.T2 <= l.Expires) || len(l.Routes) > MaxRoutes || len(l.Problems) > maxProblems {
			t.Errorf("lease %+v", l)
		}
	})
}

// FuzzClient: whatever arrives in whatever state, the client has a lease only as long as
// it says, and goes on.
func FuzzClient(f *testing.F) {
	ack := reply(&Message{}, Ack)
	copy(ack.Hardware[:], mac[:])
	for typ := Discover; typ <= ForceRenew; typ++ {
		for state := range byte(5) {
			ack.Options[optType] = []byte{byte(typ)}
			f.Add(state, ack.Append(nil))
		}
	}
	f.Fuzz(func(t *testing.T, state byte, b []byte) {
		w := newWorld(t)
		if state == 4 { // with a lease from before that is about to end
			w = newWorld(t, func(c *Config) {
				c.Previous = &Lease{
					Addr: netip.PrefixFrom(address, 24), Server: server,
					T1: time.Second, T2: 2 * time.Second, Expires: 10 * time.Second,
				}
			})
		}
		w.LinkUp(0)
		d := w.one()
		if state > 0 && state < 4 {
			w.receive(reply(d.Message, Offer))
			d = w.one()
		}
		if state > 1 && state < 4 {
			w.receive(reply(d.Message, Ack))
			w.until(time.Minute)
		}
		if state > 2 && state < 4 {
			d = w.one()
		}
		if len(b) >= 8 { // most of it is to be about this exchange
			b = slices.Clone(b)
			b[4], b[5], b[6], b[7] = byte(d.XID>>24), byte(d.XID>>16), byte(d.XID>>8), byte(d.XID)
		}
		w.Receive(w.now, from, b)
		w.until(w.now + 2*time.Hour)
		if l := w.Lease(); l != nil && l.Expires <= w.now {
			t.Errorf("at %v a lease until %v", w.now, l.Expires)
		}
		if s, _ := w.State(); s != Bound && s != Selecting && s != Requesting && s != Renewing && s != Rebinding {
			t.Errorf("state %v after two hours", s)
		}
	})
}

func FuzzRecord(f *testing.F) {
	wall := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ack := reply(&Message{}, Ack)
	l, err := newLease(ack, 0)
	if err != nil {
		f.Fatal(err)
	}
	l.ack = ack.Append(nil)
	b, err := l.Record(wall, time.Second)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseRecord(b, wall, time.Hour)
		if err != nil {
			return
		}
		again, err := l.Record(wall, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := ParseRecord(again, wall, time.Hour); err != nil || m.Addr != l.Addr || m.Expires != l.Expires {
			t.Errorf("%+v became %+v, %v", l, m, err)
		}
	})
}
