package pvdtest

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// A BadDNS is a name server that misbehaves as it is told to. Its methods may be called
// concurrently, but for Break, which is for the test's goroutine.
type BadDNS struct {
	*Machine

	records map[string][]netip.Addr
	pc      net.PacketConn // port 53
	aside   net.PacketConn // another port
	busy    chan struct{}  // a token for each question and connection at work
	done    chan struct{}  // closed when the test is over

	mu     sync.Mutex
	rng    *rand.Rand
	faults []activeFault
	others map[*Machine]net.PacketConn // port 53 of those that answer in its place
	asked  []DNSAsked
}

// A DNSFault is what a [BadDNS] does with some questions. Several that are for one question
// add up. The zero value changes nothing.
type DNSFault struct {
	// Name is the name whose questions are meant, as the zone has it, Type the type of record,
	// Network "udp" or "tcp", and First how many of those questions, from Break on. Zero: all.
	Name    string
	Type    uint16
	Network string
	First   int

	// Do is what is wrong with the answer, and Rcode the response code that it has in
	// place of records.
	Do    Misdeed
	Rcode int

	// Delay is how late everything is, by the lab's clock.
	Delay time.Duration

	// Junk is how many wrong datagrams come before an answer by UDP, each wrong in a way of
	// its own and with an address in it, [Forged]. No more than [MaxJunk] come.
	Junk int

	// From is a machine of the LAN's that answers by UDP, from its port 53, in place of the
	// one that was asked.
	From *Machine
}

// A Misdeed is what can be wrong with an answer, any number of things together.
type Misdeed uint32

// All of them, the octets of the message first. What makes it not an answer to the question
// has [Forged] for its address.
const (
	BadID     Misdeed = 1 << iota // another ID
	BadName                       // another name in the question
	BadType                       // another type in the question
	BadClass                      // another class in the question
	BadQR                         // a query
	BadOctets                     // noise
	CutOff                        // the end is missing
	BadPort                       // by UDP, from another port

	Silence      // there is none; a TCP connection stays open
	HangUp       // there is none; a TCP connection ends
	Truncation   // by UDP, nothing but that it is truncated (RFC 1035 section 4.1.1)
	NoEDNS       // the format error of one that does not know EDNS (RFC 6891 section 7)
	Referral     // nothing but that the root servers may know
	AliasLoop    // two aliases for each other
	OctetByOctet // by TCP, each octet is a segment
)

const forgery = BadID | BadName | BadType | BadClass | BadQR | BadOctets

// Forged is the address in datagrams that answer no question: nobody ever has it.
var Forged = netip.AddrFrom4([4]byte{203, 0, 113, 66})

// forgedIPv6 is its counterpart.
var forgedIPv6 = netip.MustParseAddr("2001:db8:bad::66")

// activeFault is one with how many questions it is still for.
type activeFault struct {
	DNSFault
	left int
}

// A DNSAsked is a question that a [BadDNS] was asked.
type DNSAsked struct {
	At      time.Duration // by the lab's clock, from a moment in the past on
	From    netip.AddrPort
	Network string // "udp" or "tcp"
	ID      uint16
	Name    string // as it was written, with a dot at the end
	Type    uint16
	EDNS    bool
}

// BadDNS puts a name server on the LAN, as [LAN.DNS] does, that misbehaves. Without faults it
// is a good one. What is random about it is the same each time, as [Seed] says.
func (n *LAN) BadDNS(addrs string, zone Zone, faults ...DNSFault) *BadDNS {
	n.lab.tb.Helper()
	m := n.Machine(addrs)
	b := &BadDNS{
		Machine: m, records: n.records(zone),
		pc: m.ListenPacket("udp", ":53"), aside: m.ListenPacket("udp", ":5300"),
		busy: make(chan struct{}, maxBadDNS), done: make(chan struct{}),
		rng:    rand.New(rand.NewPCG(n.lab.seed, dnsPort)),
		others: make(map[*Machine]net.PacketConn),
	}
	ln := m.Listen("tcp", ":53")
	n.lab.tb.Cleanup(func() { close(b.done) })
	b.Break(faults...)
	m.serve(b.servePacket)
	m.serve(func() error { return b.serve(ln) })
	m.namesServer()
	return b
}

// Break has these faults take the place of those that the server had. With none it is good.
func (b *BadDNS) Break(faults ...DNSFault) {
	b.lan.lab.tb.Helper()
	b.lan.lab.note("name server broken", "machine", b.name, "faults", len(faults))
	var active []activeFault
	for _, f := range faults {
		active = append(active, activeFault{f, f.First})
		if f.From == nil {
			continue
		}
		b.mu.Lock()
		known := b.others[f.From] != nil
		b.mu.Unlock()
		if !known {
			pc := f.From.ListenPacket("udp", ":53")
			b.mu.Lock()
			b.others[f.From] = pc
			b.mu.Unlock()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = active
}

// Asked returns the questions that the server was asked, and forgets them: the first
// [MaxAsked].
func (b *BadDNS) Asked() []DNSAsked {
	b.mu.Lock()
	defer b.mu.Unlock()
	asked := b.asked
	b.asked = nil
	return asked
}

// heard notes a question and returns what is to be wrong with the answer.
func (b *BadDNS) heard(q *dns.Msg, network string, from net.Addr) (f DNSFault) {
	a := DNSAsked{At: b.lan.lab.clock.Monotonic(), Network: network, ID: q.Id, EDNS: q.IsEdns0() != nil}
	a.Name, a.Type = q.Question[0].Name, q.Question[0].Qtype
	switch from := from.(type) {
	case *net.UDPAddr:
		a.From = from.AddrPort()
	case *net.TCPAddr:
		a.From = from.AddrPort()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.asked) < MaxAsked {
		b.asked = append(b.asked, a)
	}
	for i := range b.faults {
		g := &b.faults[i]
		if g.Name != "" && b.lan.fqdn(g.Name) != strings.ToLower(a.Name) || g.Type != 0 && g.Type != a.Type || g.Network != "" && g.Network != network {
			continue
		}
		if g.First > 0 {
			if g.left == 0 {
				continue
			}
			g.left--
		}
		f.Do |= g.Do
		f.Delay = max(f.Delay, g.Delay)
		f.Junk = min(f.Junk+g.Junk, MaxJunk)
		if g.Rcode != 0 {
			f.Rcode = g.Rcode
		}
		if g.From != nil {
			f.From = g.From
		}
	}
	return f
}

// namesServer makes the machine one of the LAN's name servers.
func (m *Machine) namesServer() {
	m.lan.lab.tb.Helper()
	m.lan.mu.Lock()
	for _, p := range m.addrs {
		m.lan.dns = append(m.lan.dns, netip.AddrPortFrom(p.Addr(), dnsPort))
	}
	m.lan.mu.Unlock()
	m.lan.refresh()
}

// answerTo makes the octets of an answer with the faults of f.
func (b *BadDNS) answerTo(q *dns.Msg, network string, f DNSFault) ([]byte, error) {
	r := b.lan.answer(q, b.records)
	switch edns := q.IsEdns0() != nil; {
	case edns && f.Do&NoEDNS != 0:
		r = &dns.Msg{MsgHdr: dns.MsgHdr{Id: q.Id, Response: true, Rcode: dns.RcodeFormatError}}
	case f.Rcode != 0:
		r = new(dns.Msg).SetRcode(q, f.Rcode)
	case f.Do&Referral != 0:
		r = new(dns.Msg).SetReply(q)
		r.Ns = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: dnsTTL}, Ns: "a.root-servers.net."}}
	case f.Do&AliasLoop != 0:
		r = new(dns.Msg).SetReply(q)
		r.RecursionAvailable = true
		name, other := q.Question[0].Name, "loop."+q.Question[0].Name
		hdr := dns.RR_Header{Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: dnsTTL}
		there, back := &dns.CNAME{Hdr: hdr, Target: other}, &dns.CNAME{Hdr: hdr, Target: name}
		there.Hdr.Name, back.Hdr.Name = name, other
		r.Answer = []dns.RR{there, back}
	}
	if network == "udp" {
		if f.Do&Truncation != 0 {
			r = new(dns.Msg).SetReply(q)
			r.Truncated = true
		}
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = max(size, int(o.UDPSize()))
		}
		r.Truncate(size)
	}
	if f.Do&forgery != 0 {
		return b.forge(q, f.Do)
	}
	msg, err := r.Pack()
	if f.Do&CutOff != 0 && err == nil {
		msg = msg[:len(msg)-5]
	}
	return msg, err
}

// forge makes the octets of a message that is no answer to q, wrong in all ways of do.
func (b *BadDNS) forge(q *dns.Msg, do Misdeed) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if do&BadOctets != 0 {
		return b.noise(q), nil
	}
	r := new(dns.Msg).SetReply(q)
	r.Question = slices.Clone(r.Question)
	r.RecursionAvailable, r.Response = true, do&BadQR == 0
	if do&BadID != 0 {
		r.Id ^= 1 << b.rng.IntN(16)
	}
	question := &r.Question[0]
	if do&BadName != 0 {
		question.Name = "evil." + question.Name
	}
	hdr := dns.RR_Header{Name: q.Question[0].Name, Rrtype: question.Qtype, Class: question.Qclass, Ttl: dnsTTL}
	if hdr.Rrtype == dns.TypeAAAA {
		r.Answer = []dns.RR{&dns.AAAA{Hdr: hdr, AAAA: forgedIPv6.AsSlice()}}
	} else {
		hdr.Rrtype = dns.TypeA
		r.Answer = []dns.RR{&dns.A{Hdr: hdr, A: Forged.AsSlice()}}
	}
	if do&BadType != 0 {
		question.Qtype = dns.TypeTXT
		if q.Question[0].Qtype == dns.TypeTXT {
			question.Qtype = dns.TypeA
		}
	}
	if do&BadClass != 0 {
		question.Qclass ^= dns.ClassCHAOS ^ dns.ClassINET
	}
	return r.Pack()
}

// noise is octets that may begin as an answer does, but have a question that is none.
func (b *BadDNS) noise(q *dns.Msg) []byte {
	msg := make([]byte, b.rng.IntN(dns.MinMsgSize))
	for i := range msg {
		msg[i] = byte(b.rng.Uint32())
	}
	if len(msg) > 12 {
		msg[0], msg[1], msg[2] = byte(q.Id>>8), byte(q.Id), 0x81
		msg[4], msg[5] = 0, 1    // one question
		msg[12] = 0xc0 | msg[12] // to whose name there is a pointer, and nothing before it
	}
	return msg
}

// junk is one way to be wrong, or several.
func (b *BadDNS) junk(q *dns.Msg) ([]byte, error) {
	b.mu.Lock()
	ways := [...]Misdeed{BadID, BadName, BadType, BadClass, BadQR, BadOctets}
	do := ways[b.rng.IntN(len(ways))]
	do |= ways[b.rng.IntN(len(ways))]
	b.mu.Unlock()
	return b.forge(q, do)
}
