package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	wire "github.com/miekg/dns"
)

// Errors for which the next server is asked.
var (
	errLame  = errors.New("server does not do recursion and knows nothing of the name")
	errLoop  = errors.New("server answered with a chain of aliases without end")
	errRcode = errors.New("server failed")
	errParse = errors.New("server sent an unreadable answer")
)

// Outcomes that are final.
var (
	errNoName = errors.New("no such host")
	errNoData = errors.New("no such host: no record of the type")
)

// errNoEDNS reports that a server wants the query without EDNS.
var errNoEDNS = errors.New("server does not know EDNS")

// headerLen is the length of a message's header (RFC 1035 section 4.1.1).
const headerLen = 12

// A question is a [Question] in a form that makes equal ones compare equal.
type question struct {
	name            string // in lower case, in miekg's presentation format, without its last dot
	qtype, class    uint16
	dnssec, unchked bool
}

// internet is a question for records of class IN.
func internet(name string, qtype uint16) question {
	return question{name: name, qtype: qtype, class: wire.ClassINET}
}

func (q question) public() Question {
	return Question{Name: q.name + ".", Type: q.qtype, Class: q.class, DNSSEC: q.dnssec, Unchecked: q.unchked}
}

// A request is a message to be sent to one server after the other, until one helps.
type request struct {
	q    question
	raw  []byte // to be sent as it is, but for its ID; nil: a message that asks q
	bare []byte // the same without EDNS; nil: there is none in it, or it has to stay

	// read makes an answer of a message that has been accepted; nil: q's.
	read func(msg []byte) (*answer, error)
}

// answer makes an answer of a message that has been accepted, and is its own from then on.
func (req *request) answer(msg []byte) (*answer, error) {
	if req.read != nil {
		return req.read(msg)
	}
	return req.q.read(msg)
}

// How a request is put into a message.
type packing struct {
	edns bool
	pad  bool // to a length that says little (RFC 8467 section 4.1)
	mix  bool // the case of letters is random
}

// A sent message is what answers are held against.
type sent struct {
	msg   []byte
	asked int // where the question section ends
	exact bool
}

// pack returns the message with an ID that is random.
func (r *Resolver) pack(req *request, p packing) (s sent, err error) {
	var id [2]byte
	if err := r.random(id[:]); err != nil {
		return s, err
	}
	end := 0 // of the name
	switch {
	case req.raw == nil:
		s.msg, end, err = packQuestion(req.q, p)
	case req.bare != nil && !p.edns:
		s.msg = slices.Clone(req.bare)
	default:
		s.msg = slices.Clone(req.raw)
	}
	if err == nil && end == 0 {
		_, end, err = wire.UnpackDomainName(s.msg, headerLen)
	}
	if err != nil {
		return s, err
	}
	copy(s.msg, id[:])
	s.asked = end + 4
	if p.mix {
		s.exact = true
		var bits [32]byte // one for each octet of a name
		if err := r.random(bits[:]); err != nil {
			return s, err
		}
		mixCase(s.msg[headerLen:end], bits[:])
	}
	return s, nil
}

// packQuestion packs a query without ID: the header, the question, and the OPT record where
// there is to be one (RFC 1035 section 4.1, RFC 6891 section 6.1). The name ends at end.
func packQuestion(q question, p packing) (msg []byte, end int, err error) {
	const (
		recursion = 1 << 8 // desired
		unchecked = 1 << 4
		dnssec    = 1 << 15
		optLen    = 11
	)
	size := headerLen + len(q.name) + 2 + 4 + optLen
	room := size
	if p.pad {
		room += padBlock
	}
	msg = make([]byte, size, room)
	flags := uint16(recursion)
	if q.unchked {
		flags |= unchecked
	}
	binary.BigEndian.PutUint16(msg[2:], flags)
	binary.BigEndian.PutUint16(msg[4:], 1)
	end, err = wire.PackDomainName(q.name+".", msg, headerLen, nil, false)
	if err != nil {
		return nil, 0, err
	}
	msg = binary.BigEndian.AppendUint16(msg[:end], q.qtype)
	msg = binary.BigEndian.AppendUint16(msg, q.class)
	if !p.edns {
		return msg, end, nil
	}
	binary.BigEndian.PutUint16(msg[10:], 1)
	msg = append(msg, 0) // the root
	msg = binary.BigEndian.AppendUint16(msg, wire.TypeOPT)
	msg = binary.BigEndian.AppendUint16(msg, udpSize)
	flags = 0
	if q.dnssec {
		flags = dnssec
	}
	msg = append(msg, 0, 0, byte(flags>>8), byte(flags)) // RCODE and version
	if !p.pad {
		return append(msg, 0, 0), end, nil
	}
	// What makes the message's length a multiple of padBlock (RFC 7830 section 3).
	n := (padBlock - (len(msg)+6)%padBlock) % padBlock
	msg = binary.BigEndian.AppendUint16(msg, uint16(4+n))
	msg = binary.BigEndian.AppendUint16(msg, wire.EDNS0PADDING)
	msg = binary.BigEndian.AppendUint16(msg, uint16(n))
	return append(msg, make([]byte, n)...), end, nil
}

// mixCase gives the letters of a name on the wire the case that the bits say. The length of
// a label is none: it is below all letters.
func mixCase(name, bits []byte) {
	for i, c := range name {
		if l := c | 0x20; 'a' <= l && l <= 'z' && bits[i/8]>>(i%8)&1 != 0 {
			name[i] ^= 0x20
		}
	}
}

// A verdict says what a message is to who waits for an answer.
type verdict uint8

const (
	other   verdict = iota // none of our business
	answers                // an answer
	recased                // one, but for the case of letters
)

// judge says whether msg is an answer. Nothing else in it counts until it is (RFC 5452
// section 9.1): the ID, that it is an answer of the same kind, and the whole question, which
// is compared as octets: no name before it could be pointed to. A server that cannot read a
// query may leave the question out of its answer, and any one may leave out what an update was
// about (RFC 2136 section 3.8).
func (s *sent) judge(msg []byte) verdict {
	const response, opcode = 0x80, 0x78
	if len(msg) < headerLen || msg[0] != s.msg[0] || msg[1] != s.msg[1] ||
		msg[2]&response == 0 || (msg[2]^s.msg[2])&opcode != 0 {
		return other
	}
	switch binary.BigEndian.Uint16(msg[4:]) {
	case 0:
		update := int(msg[2]&opcode>>3) == wire.OpcodeUpdate
		if update || len(msg) == headerLen && complains(msg) {
			return answers
		}
		return other
	case 1:
	default:
		return other
	}
	if len(msg) < s.asked {
		return other
	}
	want, got := s.msg[headerLen:s.asked], msg[headerLen:s.asked]
	if string(want) == string(got) {
		return answers
	}
	name := len(want) - 4
	if string(want[name:]) != string(got[name:]) {
		return other
	}
	for i, w := range want[:name] {
		if lower(w) != lower(got[i]) {
			return other
		}
	}
	if s.exact {
		return recased
	}
	return answers
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// complains reports whether msg says that its query could not be read or done.
func complains(msg []byte) bool {
	rcode := int(msg[3] & 0xf)
	return rcode == wire.RcodeFormatError || rcode == wire.RcodeNotImplemented
}

// truncated reports whether msg, whose end may be missing, is truncated by its own word.
func truncated(msg []byte) bool { return msg[2]&0x02 != 0 }

// An answer is what a server has said to a question. It is never changed.
type answer struct {
	msg    []byte    // as it was received
	parsed *wire.Msg // the same, until the flight takes it
	rcode  int
	addrs  []netip.Addr // of a question for addresses
	name   string       // where the chain of aliases ends, as in a question
	err    error        // errNoName or errNoData, where there is nothing
	ttl    time.Duration
	server Server
	rtt    time.Duration
	at     time.Time
	layout atomic.Pointer[layout] // of msg; nil: nobody has asked
}

// read makes an answer of a message, which belongs to the answer from then on.
func (q question) read(msg []byte) (*answer, error) {
	m := new(wire.Msg)
	if err := m.Unpack(msg); err != nil {
		return nil, fmt.Errorf("%w: %w", errParse, err)
	}
	a := &answer{msg: msg, parsed: m, rcode: m.Rcode}
	switch m.Rcode {
	case wire.RcodeSuccess:
	case wire.RcodeNameError:
		a.err = errNoName
	case wire.RcodeFormatError, wire.RcodeNotImplemented, wire.RcodeBadVers:
		return nil, errNoEDNS
	default:
		return nil, fmt.Errorf("%w: %s", errRcode, rcodeName(m.Rcode))
	}
	if a.err == nil && len(m.Answer) == 0 && !m.Authoritative && !m.RecursionAvailable {
		return nil, errLame
	}
	name, match, err := q.follow(m.Answer)
	if err != nil && a.err == nil {
		return nil, err
	}
	a.name = strings.TrimSuffix(name, ".")
	if a.err == nil {
		a.addrs = addresses(match)
		if len(match) == 0 || q.forAddresses() && len(a.addrs) == 0 {
			a.err = errNoData
		}
	}
	if err == nil && !m.Truncated {
		a.ttl = lifetime(m, name, a.err != nil)
	}
	return a, nil
}

func (q question) forAddresses() bool {
	return q.class == wire.ClassINET && (q.qtype == wire.TypeA || q.qtype == wire.TypeAAAA)
}

func rcodeName(rcode int) string {
	if s, ok := wire.RcodeToString[rcode]; ok {
		return s
	}
	return fmt.Sprintf("response code %d", rcode)
}

// follow returns the name at the end of the chain of aliases from q's, with last dot, and
// what records of q's type it has. Records that the chain does not touch say nothing about
// the name.
func (q question) follow(records []wire.RR) (name string, match []wire.RR, err error) {
	name = q.name + "."
	for range maxChain + 1 {
		alias := ""
		for _, rr := range records {
			h := rr.Header()
			if h.Class != q.class && q.class != wire.ClassANY || !strings.EqualFold(h.Name, name) {
				continue
			}
			if h.Rrtype == q.qtype || q.qtype == wire.TypeANY {
				match = append(match, rr)
			} else if c, ok := rr.(*wire.CNAME); ok && alias == "" {
				alias = c.Target
			}
		}
		if len(match) > 0 || alias == "" {
			return name, match, nil
		}
		name = strings.ToLower(alias)
	}
	return name, nil, errLoop
}

// addresses returns those that the records hold, maxAddresses at most.
func addresses(records []wire.RR) (addrs []netip.Addr) {
	for _, rr := range records {
		if a := address(rr); a.IsValid() && len(addrs) < maxAddresses {
			addrs = append(addrs, a)
		}
	}
	return addrs
}

// address returns the address that rr holds, if it is of a kind that does. An IPv4
// address in an AAAA record is none: it would be dialled as what nobody asked for.
func address(rr wire.RR) (a netip.Addr) {
	switch rr := rr.(type) {
	case *wire.A:
		a, _ = netip.AddrFromSlice(rr.A.To4())
	case *wire.AAAA:
		if a, _ = netip.AddrFromSlice(rr.AAAA); a.Is4In6() {
			return netip.Addr{}
		}
	}
	return a
}

// lifetime returns for how long m, whose aliases end at name, may be kept. That there is
// nothing is known for as long as the zone's SOA record says (RFC 2308 section 5), and
// without one not at all.
func lifetime(m *wire.Msg, name string, negative bool) time.Duration {
	ttl := maxTTL
	for _, rr := range m.Answer {
		ttl = min(ttl, seconds(rr.Header().Ttl))
	}
	if !negative {
		if len(m.Answer) == 0 {
			return 0
		}
		return ttl
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*wire.SOA); ok && wire.IsSubDomain(soa.Hdr.Name, name) {
			return min(ttl, maxNegativeTTL, seconds(soa.Hdr.Ttl), seconds(soa.Minttl))
		}
	}
	return 0
}

// seconds is a TTL, of which one with the first bit set counts as 0 (RFC 2181 section 8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// copyOf returns a message of the caller's own, with ID 0 and TTLs counted down.
func (a *answer) copyOf(age time.Duration) (*wire.Msg, error) {
	m := new(wire.Msg)
	if err := m.Unpack(a.msg); err != nil {
		return nil, fmt.Errorf("%w: %w", errParse, err)
	}
	count(m, age)
	return m, nil
}

// count gives a message of some age ID 0, and the TTLs that are left.
func count(m *wire.Msg, age time.Duration) {
	m.Id = 0
	past := uint32(max(age, 0) / time.Second)
	for _, section := range [][]wire.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			h := rr.Header()
			if h.Rrtype == wire.TypeOPT {
				continue // not a time (RFC 6891 section 6.1.3)
			}
			h.Ttl = uint32(min(seconds(h.Ttl), maxTTL) / time.Second)
			h.Ttl -= min(h.Ttl, past)
		}
	}
}
