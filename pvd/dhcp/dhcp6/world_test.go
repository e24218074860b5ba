package dhcp6

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var (
	duid    = []byte{0, 4, 1, 2, 3}
	server1 = []byte{0, 4, 9, 9, 1}
	server2 = []byte{0, 4, 9, 9, 2}
	addr    = netip.MustParseAddr("2001:db8::7")
	prefix  = netip.MustParsePrefix("2001:db8:1::/48")
	dns     = netip.MustParseAddr("2001:db8::53")
)

const iaid = 7

// A sent is a message that the client has sent, decoded.
type sent struct {
	at time.Duration
	*Message
}

// A world is a client with its time.
type world struct {
	*testing.T
	*Client
	now time.Duration
}

func addresses(c *Config) { c.Addresses = true }
func prefixes(c *Config)  { c.Prefixes = true }

func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	cfg := Config{DUID: duid, IAID: iaid, Rand: rand.NewPCG(1, 2)}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &world{T: t, Client: c}
}

// one lets the time go on until a message is sent and returns that.
func (w *world) one() sent {
	w.Helper()
	for range 1000 {
		if all := w.Packets(); len(all) > 0 {
			if len(all) != 1 {
				w.Fatalf("%d messages at once", len(all))
			}
			m, err := Parse(all[0])
			if err != nil {
				w.Fatal(err)
			}
			return sent{w.now, m}
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

// until lets the time go on to a moment and returns what was sent.
func (w *world) until(moment time.Duration) (n int) {
	w.Helper()
	for range 100_000 {
		n += len(w.Packets())
		at, ok := w.Next()
		if !ok || at > moment {
			w.now = max(w.now, moment)
			return n
		}
		w.now = max(w.now, at)
		w.Advance(w.now)
	}
	w.Fatal("the client does not come to rest")
	return n
}

func (w *world) is(s State) {
	w.Helper()
	if got, why := w.State(); got != s {
		w.Fatalf("at %v: state %v (%s), want %v", w.now, got, why, s)
	}
}

func u16(n int) []byte    { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func opt(code uint16, data ...byte) Option { return Option{code, data} }

func statusOption(s Status) Option { return opt(optStatus, u16(int(s))...) }

// ia makes an IA option of ours.
func ia(code uint16, t1, t2 uint32, inner ...Option) Option {
	b := append(append(u32(iaid), u32(t1)...), u32(t2)...)
	return Option{code, appendOptions(b, inner)}
}

func iaAddr(a netip.Addr, preferred, valid uint32, inner ...Option) Option {
	b := append(append(a.AsSlice(), u32(preferred)...), u32(valid)...)
	return Option{optIAAddr, appendOptions(b, inner)}
}

func iaPrefix(p netip.Prefix, preferred, valid uint32) Option {
	b := append(append(u32(preferred), u32(valid)...), byte(p.Bits()))
	return Option{optIAPrefix, append(b, p.Addr().AsSlice()...)}
}

// answer makes a server's message.
func answer(to *Message, t Type, server []byte, options ...Option) *Message {
	m := &Message{Type: t, XID: to.XID, Options: []Option{opt(optServerID, server...)}}
	if to.Type != InformationRequest {
		m.Options = append(m.Options, opt(optClientID, duid...))
	}
	m.Options = append(m.Options, options...)
	return m
}

func (w *world) receive(m *Message) { w.Receive(w.now, m.Append(nil)) }

// good is what servers give here.
func good() []Option {
	return []Option{
		ia(optIANA, 1000, 2000, iaAddr(addr, 3000, 4000)),
		ia(optIAPD, 1000, 2000, iaPrefix(prefix, 3000, 4000)),
		opt(optDNS, dns.AsSlice()...),
	}
}

func (w *world) bind(options ...Option) *Lease {
	w.Helper()
	if options == nil {
		options = good()
	}
	w.LinkUp(w.now)
	w.receive(answer(w.one().Message, Advertise, server1, append(options, opt(optPreference, 255))...))
	w.receive(answer(w.one().Message, Reply, server1, options...))
	w.is(Bound)
	return w.Lease()
}
