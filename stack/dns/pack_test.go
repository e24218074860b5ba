package dns

import (
	"strings"
	"testing"

	wire "github.com/miekg/dns"
)

// What is sent is what was meant, as others read it.
func TestPackedQueries(t *testing.T) {
	r := New(Config{})
	for _, name := range []string{"", "a", "wiki.corp", `a\.b.corp`, `\000\255.corp`, strings.Repeat("x.", 126) + "x"} {
		for i := range 32 {
			q := question{name: name, qtype: wire.TypeTXT, class: wire.ClassINET, dnssec: i&1 != 0, unchked: i&2 != 0}
			p := packing{edns: i&4 != 0, pad: i&8 != 0, mix: i&16 != 0}
			s, err := r.pack(&request{q: q}, p)
			if err != nil {
				t.Fatalf("%q: %v", name, err)
			}
			var m wire.Msg
			if err := m.Unpack(s.msg); err != nil {
				t.Fatalf("%q %+v: %v", name, p, err)
			}
			got := m.Question[0]
			if !m.RecursionDesired || m.Response || m.Opcode != wire.OpcodeQuery || m.CheckingDisabled != q.unchked ||
				len(m.Question) != 1 || len(m.Answer)+len(m.Ns) != 0 || got.Qtype != q.qtype || got.Qclass != q.class ||
				!strings.EqualFold(got.Name, name+".") || !p.mix && got.Name != name+"." {
				t.Errorf("%q: %v", name, &m)
			}
			o := m.IsEdns0()
			if (o != nil) != p.edns || len(m.Extra) > 1 {
				t.Errorf("%q: %v", name, &m)
			}
			if o == nil {
				continue
			}
			if o.UDPSize() != udpSize || o.Do() != q.dnssec || o.Version() != 0 || len(o.Option) > 1 || (len(o.Option) == 1) != p.pad {
				t.Errorf("%q: %v", name, o)
			}
			if p.pad && len(s.msg)%padBlock != 0 {
				t.Errorf("%q: %d octets", name, len(s.msg))
			}
		}
	}
}
