package dns_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/stack/dns"
)

// An asker answers as it is told to, by the names of questions.
type asker struct {
	asked atomic.Int64
	slow  chan struct{} // answers to "slow." come when it is closed
}

func (a *asker) Query(ctx context.Context, q dns.Question) (*wire.Msg, dns.Info, error) {
	a.asked.Add(1)
	m := &wire.Msg{MsgHdr: wire.MsgHdr{Response: true, Authoritative: true, AuthenticatedData: true}}
	h := wire.RR_Header{Name: q.Name, Rrtype: wire.TypeA, Class: wire.ClassINET, Ttl: 7}
	switch name := strings.ToLower(q.Name); {
	case name == "slow.":
		select {
		case <-a.slow:
		case <-ctx.Done():
			return nil, dns.Info{}, ctx.Err()
		}
	case name == "missing.":
		m.Rcode = wire.RcodeNameError
	case name == "broken.":
		return nil, dns.Info{}, &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	case name == "large.":
		for i := range 200 {
			m.Answer = append(m.Answer, &wire.A{Hdr: h, A: net.IPv4(10, 0, 0, byte(i))})
		}
		return m, dns.Info{}, nil
	case name == "huge.":
		for i := range 400 {
			m.Answer = append(m.Answer, &wire.A{Hdr: h, A: net.IPv4(10, 0, byte(i/256), byte(i))})
		}
		// A signature that nobody has asked for, with which nothing would be cut.
		m.Extra = append(m.Extra, &wire.TSIG{Hdr: wire.RR_Header{Name: "key.", Rrtype: wire.TypeTSIG, Class: wire.ClassANY}, Algorithm: wire.HmacSHA256})
		return m, dns.Info{}, nil
	case q.Type == 65280:
		h.Rrtype = q.Type
		m.Answer = append(m.Answer, &wire.RFC3597{Hdr: h, Rdata: "c0ffee"})
		return m, dns.Info{}, nil
	case q.Class != wire.ClassINET:
		m.Answer = append(m.Answer, &wire.TXT{Hdr: wire.RR_Header{Name: q.Name, Rrtype: wire.TypeTXT, Class: q.Class}, Txt: []string{"class"}})
		return m, dns.Info{}, nil
	}
	if m.Rcode == 0 {
		m.Answer = append(m.Answer, &wire.A{Hdr: h, A: net.IPv4(192, 0, 2, 1)})
	}
	// What was between the server and the resolver.
	m.Extra = append(m.Extra, &wire.OPT{Hdr: wire.RR_Header{Name: ".", Rrtype: wire.TypeOPT}, Option: []wire.EDNS0{&wire.EDNS0_COOKIE{Cookie: "0011223344556677"}}})
	return m, dns.Info{}, nil
}

func (a *asker) Forward(_ context.Context, msg []byte) ([]byte, dns.Info, error) {
	r := slices.Clone(msg)
	r[2] |= 0x80
	r[3] = wire.RcodeRefused
	return r, dns.Info{}, nil
}

// serveStub runs a stub on the loopback interface.
func serveStub(t testing.TB, a dns.Asker) (addr string) {
	t.Helper()
	s := dns.NewStub(dns.StubConfig{Asker: a})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	for _, serve := range []func() error{func() error { return s.Serve(l) }, func() error { return s.ServePacket(c) }} {
		serving.Go(func() {
			if err := serve(); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
	return l.Addr().String()
}

func exchange(t *testing.T, network, addr string, m *wire.Msg) *wire.Msg {
	t.Helper()
	c := wire.Client{Net: network, Timeout: 5 * time.Second, UDPSize: 512}
	if o := m.IsEdns0(); o != nil {
		c.UDPSize = o.UDPSize()
	}
	r, _, err := c.Exchange(m, addr)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func ask(name string, typ uint16) *wire.Msg { return new(wire.Msg).SetQuestion(name, typ) }

func TestStubAnswers(t *testing.T) {
	addr := serveStub(t, &asker{})
	for _, network := range []string{"udp", "tcp"} {
		r := exchange(t, network, addr, ask("WwW.Example.", wire.TypeA))
		if len(r.Answer) != 1 || r.Answer[0].Header().Name != "WwW.Example." || r.Question[0].Name != "WwW.Example." {
			t.Errorf("%s: %v", network, r)
		}
		if r.Authoritative || !r.RecursionAvailable || r.AuthenticatedData || r.IsEdns0() != nil {
			t.Errorf("%s: %v", network, r)
		}
		if r := exchange(t, network, addr, ask("missing.", wire.TypeA)); r.Rcode != wire.RcodeNameError {
			t.Errorf("%s: %v", network, r)
		}
		if r := exchange(t, network, addr, ask("broken.", wire.TypeA)); r.Rcode != wire.RcodeServerFailure {
			t.Errorf("%s: %v", network, r)
		}
		// RFC 5625 section 4.3: types and classes that are not known pass.
		r = exchange(t, network, addr, ask("x.", 65280))
		if rr, ok := r.Answer[0].(*wire.RFC3597); !ok || rr.Rdata != "c0ffee" {
			t.Errorf("%s: %v", network, r)
		}
		chaos := ask("x.", wire.TypeTXT)
		chaos.Question[0].Qclass = wire.ClassCHAOS
		if r := exchange(t, network, addr, chaos); len(r.Answer) != 1 || r.Answer[0].Header().Class != wire.ClassCHAOS {
			t.Errorf("%s: %v", network, r)
		}
		edns := ask("x.", wire.TypeA).SetEdns0(1400, true)
		r = exchange(t, network, addr, edns)
		if o := r.IsEdns0(); o == nil || !o.Do() || len(o.Option) != 0 || !r.AuthenticatedData {
			t.Errorf("%s: %v", network, r)
		}
		r = exchange(t, network, addr, new(wire.Msg).SetUpdate("example."))
		if r.Opcode != wire.OpcodeUpdate || r.Rcode != wire.RcodeRefused {
			t.Errorf("%s: %v", network, r)
		}
	}
}

// TestStubWithoutRecursion has the server itself say what it knows, as nobody is to look for
// more: neither we, nor what others have asked before (RFC 5625 section 3). What a stub says by
// itself it says to such questions, too.
func TestStubWithoutRecursion(t *testing.T) {
	a := &asker{}
	addr := serveStub(t, a)
	for _, tt := range []struct {
		m    *wire.Msg
		want int
	}{
		{ask("x.", wire.TypeA), wire.RcodeRefused}, // what Forward says
		{ask("x.", wire.TypeA).SetEdns0(1232, true), wire.RcodeRefused},
		{ask("x.localhost.", wire.TypeA), wire.RcodeSuccess},
		{ask("x.invalid.", wire.TypeA), wire.RcodeNameError},
		{ask("x.", wire.TypeAXFR), wire.RcodeNotImplemented},
	} {
		tt.m.RecursionDesired = false
		for _, network := range []string{"udp", "tcp"} {
			if r := exchange(t, network, addr, tt.m); r.Rcode != tt.want || r.RecursionDesired {
				t.Errorf("%s: %v", network, r)
			}
		}
	}
	if n := a.asked.Load(); n != 0 {
		t.Errorf("%d questions were asked", n)
	}
}

func TestStubSizes(t *testing.T) {
	addr := serveStub(t, &asker{})
	// The client has room for 512 octets, so it would not have read more.
	if r := exchange(t, "udp", addr, ask("large.", wire.TypeA)); !r.Truncated || len(r.Answer) == 0 {
		t.Errorf("truncated %v, %d answers", r.Truncated, len(r.Answer))
	}
	if r := exchange(t, "udp", addr, ask("large.", wire.TypeA).SetEdns0(8192, false)); r.Truncated || len(r.Answer) != 200 {
		t.Errorf("truncated %v, %d answers", r.Truncated, len(r.Answer))
	}
	if r := exchange(t, "tcp", addr, ask("large.", wire.TypeA)); r.Truncated || len(r.Answer) != 200 {
		t.Errorf("truncated %v, %d answers", r.Truncated, len(r.Answer))
	}
	// Whatever the client takes, a datagram has its limit.
	huge := ask("huge.", wire.TypeA).SetEdns0(65535, false)
	r := exchange(t, "udp", addr, huge)
	if r.Compress = true; !r.Truncated || len(r.Answer) < 200 || len(packed(t, r)) > 4096 || r.IsTsig() != nil {
		t.Errorf("truncated %v, %d answers, signed %v", r.Truncated, len(r.Answer), r.IsTsig())
	}
	if r := exchange(t, "tcp", addr, huge); r.Truncated || len(r.Answer) != 400 || r.IsTsig() != nil {
		t.Errorf("truncated %v, %d answers, signed %v", r.Truncated, len(r.Answer), r.IsTsig())
	}
}

// TestStubReservedNames has nobody be asked for names that never go to a server.
func TestStubReservedNames(t *testing.T) {
	a := &asker{}
	addr := serveStub(t, a)
	for _, tt := range []struct {
		name  string
		typ   uint16
		rcode int
		want  string
	}{
		{"localhost.", wire.TypeA, wire.RcodeSuccess, "127.0.0.1"},
		{"x.LocalHost.", wire.TypeAAAA, wire.RcodeSuccess, "::1"},
		{"localhost.", wire.TypeMX, wire.RcodeSuccess, ""},
		{"secret.onion.", wire.TypeA, wire.RcodeNameError, ""},
		{"x.invalid.", wire.TypeTXT, wire.RcodeNameError, ""},
	} {
		for _, network := range []string{"udp", "tcp"} {
			r := exchange(t, network, addr, ask(tt.name, tt.typ))
			got := ""
			for _, rr := range r.Answer {
				switch rr := rr.(type) {
				case *wire.A:
					got = rr.A.String()
				case *wire.AAAA:
					got = rr.AAAA.String()
				}
				if rr.Header().Name != tt.name {
					t.Errorf("%s: %v", tt.name, rr)
				}
			}
			if r.Rcode != tt.rcode || got != tt.want || !r.RecursionAvailable {
				t.Errorf("%s %d: %v", tt.name, tt.typ, r)
			}
		}
	}
	if n := a.asked.Load(); n != 0 {
		t.Errorf("%d questions were asked", n)
	}
}

func TestStubRefuses(t *testing.T) {
	a := &asker{}
	addr := serveStub(t, a)
	tests := []struct {
		name string
		m    func() *wire.Msg
		want int
	}{
		{"two questions", func() *wire.Msg {
			m := ask("x.", wire.TypeA)
			m.Question = append(m.Question, m.Question[0])
			return m
		}, wire.RcodeFormatError},
		{"no question", func() *wire.Msg { return &wire.Msg{MsgHdr: wire.MsgHdr{Id: 7}} }, wire.RcodeFormatError},
		{"transfer", func() *wire.Msg { return ask("x.", wire.TypeAXFR) }, wire.RcodeNotImplemented},
		{"notification", func() *wire.Msg { return new(wire.Msg).SetNotify("x.") }, wire.RcodeNotImplemented},
		{"EDNS version", func() *wire.Msg {
			m := ask("x.", wire.TypeA).SetEdns0(1232, false)
			m.IsEdns0().SetVersion(1)
			return m
		}, wire.RcodeBadVers},
		// RFC 6891 section 6.1.1
		{"EDNS twice", func() *wire.Msg { return ask("x.", wire.TypeA).SetEdns0(1232, false).SetEdns0(1232, false) }, wire.RcodeFormatError},
	}
	for _, tt := range tests {
		for _, network := range []string{"udp", "tcp"} {
			if r := exchange(t, network, addr, tt.m()); r.Rcode != tt.want {
				t.Errorf("%s over %s: %v", tt.name, network, r)
			}
		}
	}
	if n := a.asked.Load(); n != 0 {
		t.Errorf("%d questions were asked", n)
	}

	// What is no question gets no answer, and what can not be read one that says so.
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answer, _ := new(wire.Msg).SetReply(ask("x.", wire.TypeA)).Pack()
	garbage, _ := ask("x.", wire.TypeA).Pack()
	garbage[12] = 0xff
	half, _ := new(wire.Msg).SetUpdate("x.").Pack()
	half = half[:len(half)-2]
	garbage[0], half[0] = 1, 2
	for _, b := range [][]byte{{}, {1, 2, 3}, answer, half} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := readReply(c); err != nil || r.Rcode != wire.RcodeFormatError || r.Id>>8 != 2 {
		t.Errorf("half an update: %v, %v", r, err)
	}
	if _, err := c.Write(garbage); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 512)
	n, err := c.Read(b)
	r := new(wire.Msg)
	if err != nil || r.Unpack(b[:n]) != nil || r.Rcode != wire.RcodeFormatError || b[0] != garbage[0] || b[1] != garbage[1] {
		t.Errorf("%v, %v", r, err)
	}
	_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(b); err == nil {
		t.Errorf("one more answer: %x", b[:n])
	}
}

func readReply(c net.Conn) (*wire.Msg, error) {
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 512)
	n, err := c.Read(b)
	if err != nil {
		return nil, err
	}
	r := new(wire.Msg)
	return r, r.Unpack(b[:n])
}

// TestStubPipelines has a slow answer hold nobody up, and comes to no harm by clients that
// leave.
func TestStubPipelines(t *testing.T) {
	a := &asker{slow: make(chan struct{})}
	addr := serveStub(t, a)
	c, err := wire.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i, name := range []string{"slow.", "fast."} {
		m := ask(name, wire.TypeA)
		m.Id = uint16(i)
		if err := c.WriteMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []uint16{1, 0} {
		r, err := c.ReadMsg()
		if err != nil || r.Id != want {
			t.Fatalf("%v, %v, want %d", r, err, want)
		}
		if want == 1 {
			close(a.slow)
		}
	}
	for i := range 20 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, "\x00\x20half"[:i%7])
		_ = c.Close()
	}
	if r := exchange(t, "tcp", addr, ask("x.", wire.TypeA)); len(r.Answer) != 1 {
		t.Error(r)
	}
}

// TestStubConnections holds the limit of connections: one more is closed, and when one has
// gone there is room.
func TestStubConnections(t *testing.T) {
	addr := serveStub(t, &asker{})
	var held []net.Conn
	t.Cleanup(func() {
		for _, c := range held {
			_ = c.Close()
		}
	})
	for range 128 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("one more connection: %v", err)
	}
	_ = c.Close()
	_ = held[0].Close()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		r, _, err := (&wire.Client{Net: "tcp"}).Exchange(ask("x.", wire.TypeA), addr)
		if err == nil && len(r.Answer) == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// FuzzStub sends anything to a server: whatever it says can be read, and is an answer to what
// was asked.
func FuzzStub(f *testing.F) {
	for _, m := range []*wire.Msg{ask("x.", wire.TypeA), ask("large.", wire.TypeA).SetEdns0(600, true), new(wire.Msg).SetUpdate("example."), ask("missing.", 65280)} {
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	addr := serveStub(f, &asker{})
	c, err := net.Dial("udp", addr)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = c.Close() })
	probe, err := ask("probe.", wire.TypeA).Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1400 || len(b) >= 2 && b[0] == probe[0] && b[1] == probe[1] {
			return
		}
		for _, m := range [][]byte{b, probe} {
			if _, err := c.Write(m); err != nil {
				t.Fatal(err)
			}
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 65535)
		for {
			n, err := c.Read(buf)
			if err != nil {
				t.Fatalf("%x has silenced the server: %v", b, err)
			}
			r := new(wire.Msg)
			if err := r.Unpack(buf[:n]); err != nil || !r.Response {
				t.Fatalf("%x: %x: %v", b, buf[:n], err)
			}
			if buf[0] == probe[0] && buf[1] == probe[1] {
				return
			}
		}
	})
}
