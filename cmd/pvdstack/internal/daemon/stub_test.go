package daemon

import (
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/stack/dns"
	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// nameServer attaches a DNS server with an address to a link. It says text of every name.
func nameServer(t *testing.T, link tun.Link, address netip.Prefix, text string) {
	t.Helper()
	h, err := stack.New(stack.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	if err := h.AddLink("far", link); err != nil {
		t.Fatal(err)
	}
	ref, err := h.Add(t.Context(), pvd.Config{Links: []string{"far"}, Addresses: []pvd.Address{{Prefix: address}}})
	if err == nil {
		err = h.WaitReady(t.Context(), ref)
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.In(ref).ListenPacket(t.Context(), "udp", ":53")
	if err != nil {
		t.Fatal(err)
	}
	s := &wire.Server{PacketConn: c, Handler: wire.HandlerFunc(func(w wire.ResponseWriter, q *wire.Msg) {
		m := new(wire.Msg).SetReply(q)
		m.RecursionAvailable = true
		switch q.Question[0].Qtype {
		case wire.TypeTXT:
			m.Answer = []wire.RR{&wire.TXT{Hdr: wire.RR_Header{Name: q.Question[0].Name, Rrtype: wire.TypeTXT, Class: wire.ClassINET, Ttl: 60}, Txt: []string{text}}}
		case wire.TypeA:
			m.Answer = []wire.RR{&wire.A{Hdr: wire.RR_Header{Name: q.Question[0].Name, Rrtype: wire.TypeA, Class: wire.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 1)}}
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.ActivateAndServe() // ends when the host closes
	}()
	t.Cleanup(func() {
		_ = s.Shutdown()
		<-done
	})
}

// textAt returns what a DNS server says of a name, or the response code.
func textAt(t *testing.T, s *stub, network, name string) string {
	t.Helper()
	r, _, err := (&wire.Client{Net: network, Timeout: patience}).Exchange(new(wire.Msg).SetQuestion(name, wire.TypeTXT), s.address())
	switch {
	case err != nil:
		t.Fatal(err)
	case len(r.Answer) == 1:
		return r.Answer[0].(*wire.TXT).Txt[0]
	}
	return wire.RcodeToString[r.Rcode]
}

const steered = `links:
  a: {type: tap, discover: {ra: true, information: false}}
  b: {type: tap}
  c: {type: tap}
pvds:
  corp: {match: {id: corp.example.com}}
  home: {links: [b], addresses: [192.168.1.2/24], dns: {servers: [192.168.1.1]}}
  lab: {links: [c], addresses: [192.168.1.2/24], dns: {servers: [192.168.1.1]}}
default: home
rules:
  - {to: [rule.example], pvd: lab}
steer:
  table: [{suffix: lab.example, pvd: lab}, {suffix: corp.lab.example, pvd: corp}]
  trust: [corp]
dns:
  - {listen: 127.0.0.1:0, pvd: corp}
  - {listen: 127.0.0.1:0, pvd: home}
  - {listen: 127.0.0.1:0, pvd: default}
  - {listen: 127.0.0.1:0, app: browser}
`

// P36, P38: names choose the PvD, by the table and by what a PvD claims that is trusted, the
// longest suffix first, then rules, then the default. While a PvD that is learned is not there
// its names are nobody's.
func TestP38_Steer(t *testing.T) {
	tuntest.CheckLeaks(t)
	d, far := runningOn(t, steered)
	nameServer(t, far["b"], netip.MustParsePrefix("192.168.1.1/24"), "home")
	nameServer(t, far["c"], netip.MustParsePrefix("192.168.1.1/24"), "lab")
	corp, home, def, app := d.stubs[0], d.stubs[1], d.stubs[2], d.stubs[3]
	say := func(when string, s *stub, name, want string) {
		t.Helper()
		for _, network := range []string{"udp", "tcp"} {
			if got := textAt(t, s, network, name); got != want {
				t.Errorf("%s: %s of %s by %s: %s, want %s", when, name, s.config.Of(), network, got, want)
			}
		}
	}
	say("first", home, "x.lab.example.", "home")
	say("first", def, "x.lab.example.", "home")
	say("first", corp, "x.lab.example.", "SERVFAIL")
	for name, want := range map[string]string{
		"other.example.": "home", "X.Lab.Example.": "lab", "lab.example.": "lab", "xlab.example.": "home", "rule.example.": "lab",
		"corp.lab.example.": "SERVFAIL", "x.corp.lab.example.": "SERVFAIL", "claimed.example.": "home",
	} {
		say("without corp", app, name, want)
	}
	// It comes, with claims, as it would be learned.
	near, end := tun.Pipe(tun.PipeConfig{})
	if err := d.host.AddLink("d", near); err != nil {
		t.Fatal(err)
	}
	nameServer(t, end, netip.MustParsePrefix("192.168.1.1/24"), "corp")
	add := func(name string, id pvd.ID) pvd.Ref {
		t.Helper()
		ref, err := d.host.Add(t.Context(), pvd.Config{
			Name: name, ID: id, Links: []string{"d"}, Addresses: []pvd.Address{{Prefix: netip.MustParsePrefix("192.168.1.2/24")}},
			DNS: pvd.DNS{Servers: []netip.AddrPort{netip.MustParseAddrPort("192.168.1.1:53")}},
			Elements: []pvd.Element{
				learn.Learned.With([]learn.Origin{{Link: "a"}}),
				addinfo.DNSZones.With([]string{"claimed.example", "rule.example", "lab.example", "deep.lab.example"}),
			},
		})
		if err == nil {
			err = d.host.WaitReady(t.Context(), ref)
		}
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	// One that only calls itself so gets nothing.
	impostor := add("corp", "corp.example.net")
	for name, want := range map[string]string{"claimed.example.": "home", "x.corp.lab.example.": "SERVFAIL"} {
		say("with an impostor", app, name, want)
	}
	if err := d.host.Remove(t.Context(), impostor); err != nil {
		t.Fatal(err)
	}
	ref := add("corp", "corp.example.com")
	eventually(t, "corp is known", func() bool { _, err := d.learner.ref("corp"); return err == nil })
	say("with corp", corp, "x.lab.example.", "corp")
	for name, want := range map[string]string{
		"other.example.": "home", "x.lab.example.": "lab", "x.corp.lab.example.": "corp", "claimed.example.": "corp",
		"rule.example.": "corp", "deep.lab.example.": "corp",
	} {
		say("with corp", app, name, want)
	}
	say("with corp", def, "claimed.example.", "home")
	if err := d.host.Remove(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	eventually(t, "corp is gone", func() bool { _, err := d.learner.ref("corp"); return err != nil })
	say("corp has gone", app, "x.corp.lab.example.", "SERVFAIL")
	say("corp has gone", corp, "x.corp.lab.example.", "SERVFAIL")
}

// TestStubListens has the ports of a DNS server be taken, and one whose UDP port is.
func TestStubListens(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	port := c.LocalAddr().(*net.UDPAddr).Port
	d := newTestDaemon(new(fake))
	err = d.start(t.Context(), parse(t, strings.Replace(text, "default: corp", "dns: [{listen: 127.0.0.1:"+strconv.Itoa(port)+", pvd: corp}]", 1)))
	if err == nil || !strings.HasPrefix(err.Error(), `dns of PvD "corp": listen udp 127.0.0.1:`) {
		t.Errorf("%v", err)
	}
	if err := d.close(); err != nil {
		t.Error(err)
	}
	if l, err := net.Listen("tcp", c.LocalAddr().String()); err != nil {
		t.Errorf("the TCP port is still taken: %v", err)
	} else {
		_ = l.Close()
	}
}

// TestResolveNeeds holds that no more is built for a lookup than it needs.
func TestResolveNeeds(t *testing.T) {
	c := parse(t, steered+"socks5: [{listen: 127.0.0.1:0, pvd: home}]\nstate: /nowhere\n")
	for _, tt := range []struct{ pvd, links, pvds string }{
		{"", "a+,b,c", "home,lab"},
		{"home", "b", "home"},
		{"corp", "a+", ""},
		{"other.example.com", "a+", ""},
	} {
		n := Lookup{PvD: tt.pvd}.needs(c)
		var links, pvds []string
		for _, l := range n.Links {
			if l.Discover != (config.Discover{}) {
				l.Name += "+"
			}
			links = append(links, l.Name)
		}
		for _, p := range n.PvDs {
			pvds = append(pvds, p.Name)
		}
		if got := strings.Join(links, ","); got != tt.links {
			t.Errorf("for %q: links %s, want %s", tt.pvd, got, tt.links)
		}
		if got := strings.Join(pvds, ","); got != tt.pvds {
			t.Errorf("for %q: PvDs %s, want %s", tt.pvd, got, tt.pvds)
		}
		if n.State != "" || len(n.Proxies)+len(n.Stubs) > 0 {
			t.Errorf("for %q: %+v", tt.pvd, n)
		}
	}
}

// TestResolve looks names up on pipes.
func TestResolve(t *testing.T) {
	tuntest.CheckLeaks(t)
	c := parse(t, steered)
	resolve := func(l Lookup, wants string) (*Resolution, error) {
		t.Helper()
		f := &serving{t: t, of: map[string]string{"b": "home", "c": "lab"}}
		l.Wait = time.Second
		r, err := newTestDaemon(f).resolve(t.Context(), c, l)
		if got := strings.Join(f.steps, ", "); got != wants {
			t.Errorf("steps %s, want %s", got, wants)
		}
		return r, err
	}
	r, err := resolve(Lookup{Name: "www", PvD: "home"}, "open b, prepare b, keep, close b, undo b")
	if err != nil || r.PvD != "home" || !slices.Equal(r.Answers, []string{"192.0.2.1"}) || len(r.Steps) != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	s := r.Steps[slices.IndexFunc(r.Steps, func(s Step) bool { return s.Type == "A" })]
	if s.Link != "b" || s.NextHop != netip.MustParseAddr("192.168.1.1") || s.Source.Addr() != netip.MustParseAddr("192.168.1.2") || s.Server != "192.168.1.1:53" || s.Cache != "miss" {
		t.Errorf("%+v", s)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
	const all = "open a, prepare a, open b, prepare b, open c, prepare c, keep, close a, close b, close c, undo c, undo b, undo a"
	r, err = resolve(Lookup{Name: "x.lab.example", Type: wire.TypeTXT}, all)
	if err != nil || r.PvD != "lab" || len(r.Answers) != 1 || !strings.HasSuffix(r.Answers[0], `"lab"`) {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = resolve(Lookup{Name: "x.lab.example", PvD: "home", Type: wire.TypeMX}, "open b, prepare b, keep, close b, undo b")
	if err == nil || err.Error() != "lookup x.lab.example: no record of type MX" || r.PvD != "home" || r.Error != err.Error() {
		t.Errorf("%+v, %v", r, err)
	}
	r, err = resolve(Lookup{Name: "x.example", PvD: "corp"}, "open a, prepare a, keep, close a, undo a")
	if err == nil || !strings.HasPrefix(err.Error(), "within 1s: pvd corp has not been learned: ") || r != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestResolveWithoutServers holds that a PvD that is not learned is not waited for to get DNS
// servers, though others are learned, and that a program finds lists where there is nothing.
func TestResolveWithoutServers(t *testing.T) {
	tuntest.CheckLeaks(t)
	c := parse(t, strings.Replace(steered, ", dns: {servers: [192.168.1.1]}", "", 1))
	for _, name := range []string{"home", ""} {
		r, err := newTestDaemon(&fake{}).resolve(t.Context(), c, Lookup{Name: "www", PvD: name, Wait: time.Second})
		if err == nil || !strings.HasPrefix(err.Error(), "lookup www: no DNS server") || r == nil || r.PvD != "home" {
			t.Fatalf("in %q: %+v, %v", name, r, err)
		}
		text, err := json.Marshal(r)
		if err != nil || !strings.Contains(string(text), `"steps":[],"answers":[],`) {
			t.Errorf("in %q: %s, %v", name, text, err)
		}
	}
}

// TestStepRcode holds that an answer with a response code without a name is not taken for none.
func TestStepRcode(t *testing.T) {
	for code, want := range map[int]string{-1: "", wire.RcodeNameError: "NXDOMAIN", 14: "RCODE14"} {
		if s := new(daemon).step(t.Context(), absent, dns.Event{Rcode: code}); s.Rcode != want {
			t.Errorf("response code %d is %q, want %q", code, s.Rcode, want)
		}
	}
}

// A serving system has name servers at the other ends of links.
type serving struct {
	fake
	t  *testing.T
	of map[string]string
}

func (s *serving) open(l config.Link) (tun.Link, error) {
	link, err := s.fake.open(l)
	if text := s.of[l.Name]; err == nil && text != "" {
		nameServer(s.t, s.far[l.Name], netip.MustParsePrefix("192.168.1.1/24"), text)
	}
	return link, err
}
