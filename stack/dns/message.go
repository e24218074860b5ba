package dns

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

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
	errNoData = errors.New("no such host: no address of the family")
)

// errNoEDNS reports that a server wants the query without EDNS.
var errNoEDNS = errors.New("server does not know EDNS")

// headerLen is the length of a message's header (RFC 1035 section 4.1.1).
const headerLen = 12

// A question is what a message asks: the addresses of one family of an absolute name.
type question struct {
	name  string // in any case, with trailing dot
	qtype uint16 // wire.TypeA or wire.TypeAAAA
}

// query returns a message with a random ID that asks q.
func (q question) query(edns bool) (msg []byte, id uint16, err error) {
	var r [2]byte
	_, _ = rand.Read(r[:]) // never fails
	m := wire.Msg{
		MsgHdr:   wire.MsgHdr{Id: binary.BigEndian.Uint16(r[:]), RecursionDesired: true},
		Question: []wire.Question{{Name: q.name, Qtype: q.qtype, Qclass: wire.ClassINET}},
	}
	if edns {
		m.SetEdns0(udpSize, false)
	}
	msg, err = m.Pack()
	return msg, m.Id, err
}

// answers reports whether msg is an answer to q, asked with the given ID. Nothing else
// in it counts until it is (RFC 5452 section 9.1). A server that cannot read a query may
// leave the question out of its answer.
func (q question) answers(msg []byte, id uint16) bool {
	if len(msg) < headerLen || binary.BigEndian.Uint16(msg) != id {
		return false
	}
	const response, opcode = 0x80, 0x78
	if msg[2]&response == 0 || msg[2]&opcode != 0 {
		return false
	}
	switch binary.BigEndian.Uint16(msg[4:]) {
	case 0:
		return complains(msg) && len(msg) == headerLen
	case 1:
	default:
		return false
	}
	name, off, err := wire.UnpackDomainName(msg, headerLen)
	if err != nil || len(msg) < off+4 || !strings.EqualFold(name, q.name) {
		return false
	}
	return binary.BigEndian.Uint16(msg[off:]) == q.qtype && binary.BigEndian.Uint16(msg[off+2:]) == wire.ClassINET
}

// complains reports whether msg says that its query could not be read or done.
func complains(msg []byte) bool {
	rcode := int(msg[3] & 0xf)
	return rcode == wire.RcodeFormatError || rcode == wire.RcodeNotImplemented
}

// truncated reports whether msg, whose end may be missing, is truncated by its own word.
func truncated(msg []byte) bool { return msg[2]&0x02 != 0 }

// read returns the addresses that msg, an answer to q, gives, at least one.
func (q question) read(msg []byte) ([]netip.Addr, error) {
	var m wire.Msg
	if err := m.Unpack(msg); err != nil {
		return nil, fmt.Errorf("%w: %w", errParse, err)
	}
	switch rcode := m.Rcode; rcode {
	case wire.RcodeSuccess:
	case wire.RcodeNameError:
		return nil, errNoName
	case wire.RcodeFormatError, wire.RcodeNotImplemented, wire.RcodeBadVers:
		return nil, errNoEDNS
	default:
		return nil, fmt.Errorf("%w: %s", errRcode, rcodeName(rcode))
	}
	if len(m.Answer) == 0 && !m.Authoritative && !m.RecursionAvailable {
		return nil, errLame
	}
	addrs, err := q.follow(m.Answer)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, errNoData
	}
	return addrs, nil
}

func rcodeName(rcode int) string {
	if s, ok := wire.RcodeToString[rcode]; ok {
		return s
	}
	return fmt.Sprintf("response code %d", rcode)
}

// follow returns the addresses that the chain of aliases from q's name leads to. Records
// that the chain does not touch say nothing about the name.
func (q question) follow(records []wire.RR) ([]netip.Addr, error) {
	alias := make(map[string]string)
	found := make(map[string][]netip.Addr)
	for _, rr := range records {
		h := rr.Header()
		if h.Class != wire.ClassINET {
			continue
		}
		owner := strings.ToLower(h.Name)
		if c, ok := rr.(*wire.CNAME); ok {
			if _, have := alias[owner]; !have {
				alias[owner] = strings.ToLower(c.Target)
			}
			continue
		}
		if a := address(rr); a.IsValid() && h.Rrtype == q.qtype && len(found[owner]) < maxAddresses {
			found[owner] = append(found[owner], a)
		}
	}
	name := strings.ToLower(q.name)
	for range maxChain + 1 {
		if addrs := found[name]; len(addrs) > 0 {
			return addrs, nil
		}
		target, ok := alias[name]
		if !ok {
			return nil, nil
		}
		name = target
	}
	return nil, errLoop
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
