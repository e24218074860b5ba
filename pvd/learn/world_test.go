package learn

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
	"github.com/pvdstack/pvdstack/pvd/dhcp/acd"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

var (
	hostMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 9}
	allNodes = netip.MustParseAddr("ff02::1")
	epoch    = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
)

// A virtualClock stands still until a test moves it.
type virtualClock struct {
	now   time.Duration
	slept time.Duration // which only the time of day shows
}

func (c *virtualClock) Now() time.Time           { return epoch.Add(c.now + c.slept) }
func (c *virtualClock) Monotonic() time.Duration { return c.now }
func (c *virtualClock) AfterFunc(time.Duration, func()) pvd.Timer {
	panic("a machine asks for no calls")
}

// A world is a machine, its time, and a host that does what it says.
type world struct {
	testing.TB
	*Machine
	clock *virtualClock
	steps int // calls of Advance

	seen    map[uint64]Observation
	checked uint64 // the version that check has looked at last

	lazy      bool                                  // nobody looks at the proposals
	unready   bool                                  // names can not be looked up
	taken     map[netip.Addr]bool                   // addresses that others have
	silent    map[netip.Addr]bool                   // routers that do not answer
	dhcp4     func(m *dhcp4.Message) *dhcp4.Message // nil: there is no server
	station4  [6]byte                               // that its answers come from
	dhcp6     func(m *dhcp6.Message) []dhcp6.Option // the options of an answer; nil: none
	fetch     func(Request) Result                  // nil: requests wait in asked
	asked     []Request
	sent4     []sent4
	sent6     []sent6
	arps      []acd.ARP
	solicited []time.Duration
}

type sent4 struct {
	at       time.Duration
	src, dst netip.AddrPort
	instance uint64  // 0: in a frame
	station  [6]byte // which that was to
	*dhcp4.Message
}

type sent6 struct {
	at  time.Duration
	src netip.Addr
	*dhcp6.Message
}

func newWorld(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	clock := &virtualClock{now: time.Hour}
	c := Config{
		Link: "lab", HardwareAddr: hostMAC, MTU: 1500, Secret: []byte("secret"), Clock: clock, Random: rand.NewPCG(1, 2),
		RA: true, DHCPv4: true, DHCPv6: true, Prefixes: true, Information: true,
	}
	for _, f := range change {
		f(&c)
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, Machine: m, clock: c.Clock.(*virtualClock), taken: map[netip.Addr]bool{}, silent: map[netip.Addr]bool{}, seen: map[uint64]Observation{}}
	w.station4 = [6]byte{2, 0, 0, 0, 0, 99}
	w.up()
	return w
}

func (w *world) up()     { w.Helper(); w.LinkUp(); w.follow() }
func (w *world) down()   { w.Helper(); w.LinkDown(); w.follow() }
func (w *world) resume() { w.Helper(); w.Resume(); w.follow() }

// receive hands in the packet in a frame.
func (w *world) receive(packet []byte) {
	w.Helper()
	w.Receive(ethernet(packet))
	w.follow()
}

// follow does what a machine's owner has to, until there is no more to do.
func (w *world) follow() {
	w.Helper()
	for range 100 {
		version := w.Version()
		if !w.lazy {
			w.observe()
		}
		frames, datagrams, requests := w.Frames(), w.Datagrams(), w.Requests()
		for _, f := range frames {
			w.transmit(f)
		}
		for _, d := range datagrams {
			w.sent(datagram{d.Src, d.Dst, d.Payload}, d.Instance, [6]byte{})
		}
		for _, r := range requests {
			if w.fetch == nil {
				w.asked = append(w.asked, r)
			} else {
				w.Done(w.fetch(r))
			}
		}
		w.check()
		if len(frames)+len(datagrams)+len(requests) == 0 && w.Version() == version {
			return
		}
	}
	w.Fatalf("at %v: the machine does not come to rest", w.clock.now)
}

// observe tells the machine that its proposals have become PvDs, where it does not know.
func (w *world) observe() {
	for _, p := range w.Proposals() {
		o := Observation{}
		for _, a := range p.Addresses {
			if addr := a.Prefix.Addr(); w.taken[addr] {
				o.Duplicate = append(o.Duplicate, addr)
			} else {
				o.Usable = append(o.Usable, addr)
				o.Ready = o.Ready || !w.unready && len(p.Servers) > 0 && !addr.IsLinkLocalUnicast()
			}
		}
		for r, silent := range w.silent {
			if silent {
				o.Unreachable = append(o.Unreachable, r)
			}
		}
		slices.SortFunc(o.Unreachable, netip.Addr.Compare)
		if last, ok := w.seen[p.Instance]; !ok || !same(last, o) {
			w.seen[p.Instance] = o
			w.Observe(p.Instance, o)
		}
	}
}

// check looks for what must never be.
func (w *world) check() {
	w.Helper()
	if w.Version() == w.checked {
		return
	}
	w.checked = w.Version()
	names := map[string]bool{}
	instances := map[uint64]bool{}
	keys := map[ra.Key]bool{}
	for _, p := range w.Proposals() {
		if err := (Union{p}).Config().Validate(); err != nil {
			w.Fatalf("at %v: the proposal for %q can not be: %v\n%+v", w.clock.now, p.Key, err, p)
		}
		if p.Name == "" != p.Key.Explicit() && w.config.Rules == nil || p.Name != "" && names[p.Name] {
			w.Fatalf("at %v: name %q of %q", w.clock.now, p.Name, p.Key)
		}
		if instances[p.Instance] || keys[p.Key] || p.Link != "lab" && p.Link != "lab2" {
			w.Fatalf("at %v: %+v", w.clock.now, p)
		}
		names[p.Name], instances[p.Instance], keys[p.Key] = true, true, true
	}
}

// transmit has the servers see a frame.
func (w *world) transmit(f []byte) {
	w.Helper()
	if len(f) < etherLen || net.HardwareAddr(f[6:12]).String() != hostMAC.String() {
		w.Fatalf("frame %x", f)
	}
	packet := f[etherLen:]
	if binary.BigEndian.Uint16(f[12:]) == etherARP {
		a, err := acd.Parse(packet)
		if err != nil {
			w.Fatal(err)
		}
		w.arps = append(w.arps, a)
		return
	}
	if p, ok := icmp6(packet); ok {
		if err := p.CheckSolicitation(); err != nil {
			w.Fatal(err)
		}
		w.solicited = append(w.solicited, w.clock.now)
		return
	}
	d, ok := udp(packet)
	if !ok {
		w.Fatalf("frame %x", f)
	}
	w.sent(d, 0, [6]byte(f))
}

func (w *world) sent(d datagram, instance uint64, station [6]byte) {
	w.Helper()
	if d.dst.Port() == 67 {
		m, err := dhcp4.Parse(d.payload)
		if err != nil {
			w.Fatal(err)
		}
		w.sent4 = append(w.sent4, sent4{w.clock.now, d.src, d.dst, instance, station, m})
		if w.dhcp4 != nil {
			if answer := w.dhcp4(m); answer != nil {
				w.answer4(answer)
			}
		}
		return
	}
	m, err := dhcp6.Parse(d.payload)
	if err != nil || d.dst.Port() != 547 || !d.src.Addr().IsLinkLocalUnicast() {
		w.Fatalf("%v: %v", d, err)
	}
	w.sent6 = append(w.sent6, sent6{w.clock.now, d.src.Addr(), m})
	if w.dhcp6 == nil {
		return
	}
	if options := w.dhcp6(m); options != nil {
		w.answer6(w.sent6[len(w.sent6)-1], options)
	}
}

// answer4 has the DHCPv4 server answer.
func (w *world) answer4(answer *dhcp4.Message) {
	f := ethernet(packetOf(datagram{server4, netip.MustParseAddrPort("255.255.255.255:68"), answer.Append(nil)}))
	copy(f[6:], w.station4[:])
	w.Receive(f)
}

// answer6 has the DHCPv6 server answer.
func (w *world) answer6(to sent6, options []dhcp6.Option) {
	answer := &dhcp6.Message{Type: dhcp6.Reply, XID: to.XID, Options: []dhcp6.Option{{Code: 2, Data: []byte{0, 4, 9, 9, 1}}}}
	if to.Type == dhcp6.Solicit {
		answer.Options = append(answer.Options, dhcp6.Option{Code: 14}) // rapid commit
	}
	if id := option6(to.Message, 1); id != nil {
		answer.Options = append(answer.Options, dhcp6.Option{Code: 1, Data: id})
	}
	answer.Options = append(answer.Options, options...)
	d := datagram{server6, netip.AddrPortFrom(to.src, 546), answer.Append(nil)}
	w.Receive(ethernet(packetOf(d)))
}

func option6(m *dhcp6.Message, code uint16) []byte {
	for _, o := range m.Options {
		if o.Code == code {
			return o.Data
		}
	}
	return nil
}

// wait lets some time go by.
func (w *world) wait(d time.Duration) {
	w.Helper()
	end := w.clock.now + d
	most := w.steps + 1000 + int(d/time.Second) // what can be called busy
	still := 0
	for {
		at, ok := w.Next()
		if !ok || at > end {
			break
		}
		if still++; at > w.clock.now {
			still = 0
		}
		if still > 100 {
			w.Fatalf("at %v: the machine wants to be called again and again", w.clock.now)
		}
		w.clock.now = max(w.clock.now, at)
		if w.steps++; w.steps > most {
			w.Fatalf("at %v: the machine is busy: %d calls", w.clock.now, w.steps)
		}
		w.Advance()
		w.follow()
	}
	w.clock.now = end
}

// A router is one on the link.
type router struct {
	*world
	addr netip.Addr
	mac  net.HardwareAddr
}

func (w *world) router(addr string) *router {
	a := netip.MustParseAddr(addr)
	return &router{w, a, net.HardwareAddr{2, 0, 0, 1, 0, a.As16()[15]}}
}

// says sends an advertisement with these options; a Header among them is its header, which
// is that of a default router otherwise.
func (r *router) says(what ...any) {
	r.Helper()
	r.receive(r.packet(what...))
}

func (r *router) packet(what ...any) []byte {
	r.Helper()
	a := ra.Advertisement{Header: ra.Header{Lifetime: 1800 * time.Second}}
	a.Options = append(a.Options, ra.LinkAddress{MAC: r.mac})
	for _, o := range what {
		switch o := o.(type) {
		case ra.Header:
			a.Header = o
		case ra.Option:
			a.Options = append(a.Options, o)
		case []ra.Option:
			a.Options = append(a.Options, o...)
		default:
			r.Fatalf("%T", o)
		}
	}
	m, err := a.Append(nil, r.addr, allNodes)
	if err != nil {
		r.Fatal(err)
	}
	return append(appendIP(nil, r.addr, allNodes, protoICMPv6, len(m)), m...)
}

// Things that routers say.

func pio(prefix string) ra.PrefixInformation {
	return ra.PrefixInformation{
		Prefix: netip.MustParsePrefix(prefix), OnLink: true, Autonomous: true,
		Valid: 2 * time.Hour, Preferred: time.Hour,
	}
}

func forManaged(prefix string) ra.PrefixInformation {
	p := pio(prefix)
	p.Autonomous = false
	return p
}

func rdnss(servers ...string) ra.RDNSS {
	o := ra.RDNSS{Lifetime: time.Hour}
	for _, s := range servers {
		o.Servers = append(o.Servers, netip.MustParseAddr(s))
	}
	return o
}

func explicit(id pvd.ID, inside ...ra.Option) ra.PvDOption {
	return ra.PvDOption{ID: id, Options: inside}
}

func legacy(id pvd.ID) ra.PvDOption { return ra.PvDOption{ID: id, Legacy: true} }

func withInfo(sequence uint16) ra.PvDOption {
	return ra.PvDOption{ID: corp, HTTP: true, Sequence: sequence}
}

var (
	managed = ra.Header{Managed: true, Lifetime: 1800 * time.Second}
	other   = ra.Header{Other: true, Lifetime: 1800 * time.Second}
	leaving = ra.Header{}
)

// Servers.

const (
	lease4Time = 3600 // s
	lease6Time = 4000 // s; preferred for 3000
)

// leases is a DHCPv4 server that gives everybody an address.
func leases(prefix string, change ...func(map[byte][]byte)) func(m *dhcp4.Message) *dhcp4.Message {
	p := netip.MustParsePrefix(prefix)
	return func(m *dhcp4.Message) *dhcp4.Message {
		answer := &dhcp4.Message{
			Op: 2, HType: 1, HLen: 6, XID: m.XID, Your: p.Addr(), Hardware: m.Hardware,
			Options: map[byte][]byte{
				54: server4.Addr().AsSlice(), 51: binary.BigEndian.AppendUint32(nil, lease4Time),
				1: net.CIDRMask(p.Bits(), 32), 3: server4.Addr().AsSlice(), 6: server4.Addr().AsSlice(),
			},
		}
		switch m.Type() {
		case dhcp4.Discover:
			answer.Options[53] = []byte{byte(dhcp4.Offer)}
		case dhcp4.Request:
			answer.Options[53] = []byte{byte(dhcp4.Ack)}
		default:
			return nil
		}
		for _, f := range change {
			f(answer.Options)
		}
		return answer
	}
}

func refuses(m *dhcp4.Message) *dhcp4.Message {
	if m.Type() != dhcp4.Request {
		return nil
	}
	return &dhcp4.Message{Op: 2, HType: 1, HLen: 6, XID: m.XID, Hardware: m.Hardware, Options: map[byte][]byte{
		54: server4.Addr().AsSlice(), 53: {byte(dhcp4.Nak)},
	}}
}

// gives is a DHCPv6 server that gives everybody this address, and whoever asks for it a
// prefix; it names a DNS server.
func gives(addr string) func(m *dhcp6.Message) []dhcp6.Option {
	return func(m *dhcp6.Message) (options []dhcp6.Option) {
		options = []dhcp6.Option{{Code: 23, Data: netip.MustParseAddr("2001:db8::5353").AsSlice()}}
		times := func(b []byte) []byte { return append(append(b, 0, 0, 0x0b, 0xb8), 0, 0, 0x0f, 0xa0) } // 3000, 4000
		ia := func(code, inner uint16, data []byte) {
			of := option6(m, code)
			if of == nil {
				return
			}
			b := append(slices.Clone(of[:4]), 0, 0, 0x03, 0xe8, 0, 0, 0x07, 0xd0) // T1 1000, T2 2000
			b = binary.BigEndian.AppendUint16(b, inner)
			b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
			options = append(options, dhcp6.Option{Code: code, Data: append(b, data...)})
		}
		switch m.Type {
		case dhcp6.Solicit, dhcp6.Request, dhcp6.Renew, dhcp6.Rebind:
			ia(3, 5, times(netip.MustParseAddr(addr).AsSlice()))
			ia(25, 26, append(append(times(nil), 56), netip.MustParseAddr("2001:db8:ff00::").AsSlice()...))
		case dhcp6.InformationRequest, dhcp6.Confirm, dhcp6.Decline, dhcp6.Release:
		default:
			return nil
		}
		return options
	}
}

// What is proposed.

// only returns the one proposal that there is.
func (w *world) only() *Proposal {
	w.Helper()
	if ps := w.Proposals(); len(ps) != 1 {
		w.Fatalf("at %v there are %d proposals: %s", w.clock.now, len(ps), w.names())
	}
	return w.Proposals()[0]
}

func (w *world) names() (names []string) {
	for _, p := range w.Proposals() {
		names = append(names, (Union{p}).Config().Label())
	}
	return names
}

func (w *world) called(names ...string) {
	w.Helper()
	if got := w.names(); !slices.Equal(got, names) {
		w.Fatalf("at %v there are %q, want %q", w.clock.now, got, names)
	}
}

// named returns the proposal that people call so, nil if there is none.
func (w *world) named(name string) *Proposal {
	for _, p := range w.Proposals() {
		if (Union{p}).Config().Label() == name {
			return p
		}
	}
	return nil
}

// addresses returns those of a proposal but for the link-local ones.
func (p *Proposal) addresses() (list []pvd.AddressInfo) {
	return slices.DeleteFunc(slices.Clone(p.Addresses), func(a pvd.AddressInfo) bool { return a.Prefix.Addr().IsLinkLocalUnicast() })
}

func (p *Proposal) in(prefix string) (list []pvd.AddressInfo) {
	in := netip.MustParsePrefix(prefix)
	return slices.DeleteFunc(slices.Clone(p.Addresses), func(a pvd.AddressInfo) bool { return !in.Contains(a.Prefix.Addr()) })
}

func (p *Proposal) linkLocal() netip.Addr {
	return p.in("fe80::/10")[0].Prefix.Addr()
}

func (p *Proposal) leads(to, via string) bool {
	return slices.ContainsFunc(p.Routes, func(r pvd.Route) bool {
		return r.To == netip.MustParsePrefix(to) && r.Via == netip.MustParseAddr(via)
	})
}

// element returns an element of a proposal, and whether it has it.
func element[T any](p *Proposal, k pvd.Key[T]) (v T, ok bool) {
	for _, e := range p.Elements {
		if e.Key() == k.Any() {
			return e.Value().(T), true
		}
	}
	return v, false
}

func (p *Proposal) origin() Origin {
	os, _ := element(p, Learned)
	return os[0]
}

func (w *world) remarked(part string) bool {
	return slices.ContainsFunc(w.Remarks(), func(r Remark) bool { return strings.Contains(r.What, part) })
}

// succeed and fail are what becomes of requests.
func succeed(o *addinfo.Object) func(Request) Result {
	return func(r Request) Result { return Result{request: r, object: o} }
}

func fail(reason addinfo.Reason) func(Request) Result {
	return func(r Request) Result {
		return Result{request: r, err: &addinfo.Fault{Reason: reason, Detail: "as the test has it", Err: errors.New("cause")}}
	}
}

func same(a, b any) bool { return reflect.DeepEqual(a, b) }

// servers are DNS servers with these addresses.
func servers(list ...string) (of []netip.AddrPort) {
	for _, s := range list {
		of = append(of, netip.AddrPortFrom(netip.MustParseAddr(s), dnsPort))
	}
	return of
}

// with6 has a DHCPv6 server give an option more.
func with6(server func(*dhcp6.Message) []dhcp6.Option, code uint16, data string) func(*dhcp6.Message) []dhcp6.Option {
	return func(m *dhcp6.Message) []dhcp6.Option {
		return append(server(m), dhcp6.Option{Code: code, Data: []byte(data)})
	}
}
