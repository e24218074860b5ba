package pvdtest

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// A Zone says what a name server answers: addresses by name, several with spaces between.
// A name without a dot is in the LAN's domain; one with dots is complete.
type Zone map[string]string

const (
	dnsPort = 53
	// dnsTTL is how long answers and denials may be kept, in seconds.
	dnsTTL = 60
)

// DNS puts a name server on the LAN that answers with the zone, and makes it the LAN's.
// Names that the zone does not have do not exist. What is too long for UDP is truncated
// and can be had over TCP.
func (n *LAN) DNS(addrs string, zone Zone) *Machine {
	n.lab.tb.Helper()
	records := n.records(zone)
	m := n.Machine(addrs)
	ln, pc := m.Listen("tcp", ":53"), m.ListenPacket("udp", ":53")
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r := n.answer(q, records)
		if _, tcp := w.RemoteAddr().(*net.TCPAddr); !tcp {
			size := dns.MinMsgSize
			if o := q.IsEdns0(); o != nil {
				size = max(size, int(o.UDPSize()))
			}
			r.Truncate(size)
		}
		// Who asked asks again if it gets nothing.
		_ = w.WriteMsg(r)
	})
	m.serve((&dns.Server{Listener: ln, Handler: h}).ActivateAndServe)
	m.serve((&dns.Server{PacketConn: pc, Handler: h}).ActivateAndServe)
	m.namesServer()
	return m
}

// Names adds to what the LAN's name servers answer. A name that they have already gets the
// new addresses in place of its own; with none it no longer exists.
func (n *LAN) Names(zone Zone) {
	n.lab.tb.Helper()
	records := n.records(zone)
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.Copy(n.names, records)
}

// records reads a zone.
func (n *LAN) records(zone Zone) map[string][]netip.Addr {
	n.lab.tb.Helper()
	records := make(map[string][]netip.Addr)
	for _, name := range slices.Sorted(maps.Keys(zone)) {
		full := n.fqdn(name)
		records[full] = nil
		for s := range strings.FieldsSeq(zone[name]) {
			a, err := netip.ParseAddr(s)
			if err != nil {
				n.lab.tb.Fatalf("pvdtest: LAN %s: zone: %s: %v", n.name, full, err)
			}
			records[full] = append(records[full], a.Unmap())
		}
	}
	return records
}

// addresses returns what a name leads to, and whether there is such a name. What the LAN
// has got later goes before a name server's own records.
func (n *LAN) addresses(name string, records map[string][]netip.Addr) (addrs []netip.Addr, exists bool) {
	name = strings.ToLower(name)
	n.mu.Lock()
	defer n.mu.Unlock()
	if addrs, exists = n.names[name]; exists {
		return addrs, len(addrs) > 0
	}
	addrs, exists = records[name]
	return addrs, exists
}

// fqdn completes a name as a Zone's are.
func (n *LAN) fqdn(name string) string {
	if !strings.Contains(name, ".") {
		name += "." + n.Domain()
	}
	return strings.ToLower(dns.Fqdn(name))
}

func (n *LAN) answer(q *dns.Msg, records map[string][]netip.Addr) *dns.Msg {
	r := new(dns.Msg)
	if len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		return r.SetRcode(q, dns.RcodeNotImplemented)
	}
	r.SetReply(q)
	r.Authoritative, r.RecursionAvailable = true, true
	if o := q.IsEdns0(); o != nil {
		r.SetEdns0(dns.DefaultMsgSize, false)
	}
	question := q.Question[0]
	addrs, exists := n.addresses(question.Name, records)
	addrs = n.synthesized(addrs)
	if !exists {
		r.Rcode = dns.RcodeNameError
	}
	for _, a := range addrs {
		hdr := dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: dnsTTL}
		switch {
		case a.Is4() && question.Qtype == dns.TypeA:
			r.Answer = append(r.Answer, &dns.A{Hdr: hdr, A: a.AsSlice()})
		case a.Is6() && question.Qtype == dns.TypeAAAA:
			hdr.Rrtype = dns.TypeAAAA
			r.Answer = append(r.Answer, &dns.AAAA{Hdr: hdr, AAAA: a.AsSlice()})
		}
	}
	if len(r.Answer) == 0 {
		// RFC 2308 section 3: a denial says how long it holds.
		r.Ns = append(r.Ns, &dns.SOA{
			Hdr: dns.RR_Header{Name: dns.Fqdn(n.Domain()), Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: dnsTTL},
			Ns:  "ns." + dns.Fqdn(n.Domain()), Mbox: "hostmaster." + dns.Fqdn(n.Domain()),
			Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: dnsTTL,
		})
	}
	return r
}
