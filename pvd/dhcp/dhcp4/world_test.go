package dhcp4

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp/acd"
)

var (
	mac      = [6]byte{2, 0, 0, 0, 0, 1}
	otherMAC = [6]byte{2, 0, 0, 0, 0, 2}
	clientID = []byte{255, 0, 0, 0, 1, 0, 4, 9}
	server   = netip.MustParseAddr("192.0.2.1")
	address  = netip.MustParseAddr("192.0.2.77")
)

// A sent is a message that the client has sent, decoded.
type sent struct {
	at time.Duration
	Packet
	*Message
}

// A world is a client with its time.
type world struct {
	*testing.T
	*Client
	now  time.Duration
	arps []acd.ARP
}

func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	cfg := Config{HardwareAddr: mac, ClientID: clientID, Rand: rand.NewPCG(1, 2)}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &world{T: t, Client: c}
}

func seed(n uint64) func(*Config) { return func(c *Config) { c.Rand = rand.NewPCG(n, 0) } }

func (w *world) take() (all []sent) {
	w.Helper()
	for _, p := range w.Packets() {
		m, err := Parse(p.Payload)
		if err != nil {
			w.Fatal(err)
		}
		all = append(all, sent{w.now, p, m})
	}
	w.arps = append(w.arps, w.ARPs()...)
	return all
}

// until lets the time go on to a moment and returns what was sent.
func (w *world) until(moment time.Duration) (all []sent) {
	w.Helper()
	for range 100_000 {
		all = append(all, w.take()...)
		at, ok := w.Next()
		if !ok || at > moment {
			w.now = max(w.now, moment)
			return all
		}
		w.now = max(w.now, at)
		w.Advance(w.now)
	}
	w.Fatal("the client does not come to rest")
	return nil
}

// one lets the time go on until a message is sent and returns that.
func (w *world) one() sent {
	w.Helper()
	for range 1000 {
		if all := w.take(); len(all) > 0 {
			if len(all) != 1 {
				w.Fatalf("%d messages at once", len(all))
			}
			return all[0]
		}
		at, ok := w.Next()
		if !ok {
			w.Fatalf("in state %v nothing is going to be sent", w.state)
		}
		w.now = max(w.now, at)
		w.Advance(w.now)
	}
	w.Fatal("nothing is sent")
	return sent{}
}

func (w *world) is(s State) {
	w.Helper()
	if got, why := w.State(); got != s {
		w.Fatalf("at %v: state %v (%s), want %v", w.now, got, why, s)
	}
}

func seconds(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// reply answers a message.
func reply(to *Message, t Type, change ...func(*Message)) *Message {
	m := &Message{
		Op: opReply, HType: 1, HLen: 6, XID: to.XID, Your: address, Hardware: to.Hardware,
		Options: map[byte][]byte{
			optType: {byte(t)}, optServer: server.AsSlice(), optLeaseTime: seconds(3600),
			optMask: {255, 255, 255, 0}, optRouters: server.AsSlice(), optDNS: server.AsSlice(),
		},
	}
	for _, f := range change {
		f(m)
	}
	return m
}

func option(code byte, v ...byte) func(*Message) {
	return func(m *Message) {
		m.Options = maps.Clone(m.Options)
		if m.Options[code] = v; v == nil {
			delete(m.Options, code)
		}
	}
}

var from = netip.AddrPortFrom(server, 67)

func (w *world) receive(m *Message) { w.Receive(w.now, from, m.Append(nil)) }

// bind gets the client a lease with these changes to the offer and acknowledgement.
func (w *world) bind(change ...func(*Message)) *Lease {
	w.Helper()
	w.LinkUp(w.now)
	w.receive(reply(w.one().Message, Offer, change...))
	w.receive(reply(w.one().Message, Ack, change...))
	w.is(Probing)
	w.until(w.now + 10*time.Second)
	w.is(Bound)
	return w.Lease()
}
