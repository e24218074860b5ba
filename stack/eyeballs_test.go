package stack_test

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd/pvdtest"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// The tests below have a name server misbehave, and dial by name: RFC 8305 section 3 has no
// family wait for the other's answer, but IPv4 for 50 ms. All of it is in virtual time.

// eyeballsZone has a server of both families, www, and others that nobody is at.
var eyeballsZone = pvdtest.Zone{
	"www": "192.168.1.80 2001:db8:1::80", "four": "192.168.1.80", "six": "2001:db8:1::80",
	"half4": "192.168.1.99 2001:db8:1::80", "half6": "192.168.1.80 2001:db8:1::99", "none": "",
	// One candidate of the search list has one family, the next one the other.
	"split": "192.168.1.80", "split.": "2001:db8:1::80", "late.": "192.168.1.80 2001:db8:1::80",
}

func eyeballsLab(t *testing.T, faults ...pvdtest.DNSFault) (*pvdtest.Lab, *stack.Network) {
	t.Helper()
	lab := pvdtest.New(t, pvdtest.ManualTime())
	lan := lab.LAN("corp", "192.168.1.0/24", "2001:db8:1::/64")
	lan.BadDNS("192.168.1.53", eyeballsZone, faults...)
	lan.Web("192.168.1.80 2001:db8:1::80", "hello")
	return lab, lab.Host("corp").Await("corp")
}

// dialTimed dials in virtual time, and returns how long it took.
func dialTimed(lab *pvdtest.Lab, n *stack.Network, network, address string) (c net.Conn, took time.Duration, err error) {
	lab.Run(func() {
		began := lab.Clock.Monotonic()
		c, err = n.DialContext(context.Background(), network, address)
		took = lab.Clock.Monotonic() - began
	})
	return c, took, err
}

func TestEyeballsResolution(t *testing.T) {
	t.Parallel()
	const (
		ms   = time.Millisecond
		soon = 40 * ms // what an exchange, or an attempt, takes less than
		aaaa = wire.TypeAAAA
		a    = wire.TypeA
		four = "192.168.1.80:80"
		six  = "[2001:db8:1::80]:80"
	)
	type faults []pvdtest.DNSFault
	nxdomain := func(typ uint16) pvdtest.DNSFault { return pvdtest.DNSFault{Type: typ, Rcode: wire.RcodeNameError} }
	silent := func(typ uint16) pvdtest.DNSFault { return pvdtest.DNSFault{Type: typ, Do: pvdtest.Silence} }
	slow := func(typ uint16, d time.Duration) pvdtest.DNSFault { return pvdtest.DNSFault{Type: typ, Delay: d} }
	tests := []struct {
		name    string
		faults  faults
		address string
		want    string // an address; or "!" and a part of the error
		took    time.Duration
	}{
		{"good", nil, "www:80", six, 0},
		{"AAAA within the delay", faults{slow(aaaa, 30*ms)}, "www:80", six, 30 * ms},
		{"AAAA after the delay", faults{slow(aaaa, 200*ms)}, "www:80", four, 50 * ms},
		{"AAAA silent", faults{silent(aaaa)}, "www:80", four, 50 * ms},
		{"AAAA with a wrong ID", faults{{Type: aaaa, Do: pvdtest.BadID}}, "www:80", four, 50 * ms},
		{"AAAA fails", faults{{Type: aaaa, Rcode: wire.RcodeServerFailure}}, "www:80", four, 0},
		{"AAAA refused", faults{{Type: aaaa, Rcode: wire.RcodeRefused}}, "www:80", four, 0},
		{"AAAA loops", faults{{Type: aaaa, Do: pvdtest.AliasLoop}}, "www:80", four, 0},
		{"AAAA does not exist", faults{nxdomain(aaaa)}, "www:80", four, 0}, // RFC 4074 section 4.2
		{"no AAAA", nil, "four:80", four, 0},
		{"AAAA fails late", faults{{Type: aaaa, Rcode: wire.RcodeServerFailure, Delay: 45 * ms}}, "www:80", four, 45 * ms},
		{"A slow", faults{slow(a, 200*ms)}, "www:80", six, 0},
		{"A silent", faults{silent(a)}, "www:80", six, 0},
		{"A fails", faults{{Type: a, Rcode: wire.RcodeServerFailure}}, "www:80", six, 0},
		{"no A", nil, "six:80", six, 0},
		{"both slow", faults{slow(0, 300*ms)}, "www:80", six, 300 * ms},

		// What comes late joins in, at the next attempt's turn.
		{"late AAAA joins", faults{slow(aaaa, 200*ms)}, "half4:80", six, 300 * ms},
		{"later AAAA joins", faults{slow(aaaa, 700*ms)}, "half4:80", six, 700 * ms},
		{"late A joins", faults{slow(a, 200*ms)}, "half6:80", four, 250 * ms},
		{"later A joins", faults{slow(a, 900*ms)}, "half6:80", four, 900 * ms},
		{"late A before its turn", faults{slow(a, 240*ms)}, "half6:80", four, 250 * ms},

		// Names that do not exist, and what is not known.
		{"no such name", nil, "missing:80", "!no such host", 0},
		{"no such name, AAAA silent", faults{silent(aaaa)}, "missing:80", "!no such host", 0},
		{"no address", nil, "none:80", "!no such host", 0},
		{"all silent", faults{silent(0)}, "www:80", "!i/o timeout", 7 * time.Second},
		{"all fail", faults{{Rcode: wire.RcodeServerFailure}}, "www:80", "!SERVFAIL", 0},
		{"no AAAA, A fails", faults{{Type: a, Rcode: wire.RcodeServerFailure}}, "four:80", "!SERVFAIL", 0},
		{"no A, AAAA fails", faults{{Type: aaaa, Rcode: wire.RcodeServerFailure}}, "six:80", "!SERVFAIL", 0},
		{"no AAAA, A silent", faults{silent(a)}, "four:80", "!i/o timeout", 7 * time.Second},

		// Refused by all that is known: the other family has its time, and then it is said.
		{"refused, A silent", faults{silent(a)}, "www:81", "!connection refused", 1500 * ms},
		{"refused, AAAA silent", faults{silent(aaaa)}, "www:81", "!connection refused", 1500 * ms},
		{"refused, AAAA fails", faults{{Type: aaaa, Rcode: wire.RcodeServerFailure}}, "www:81", "!connection refused", 0},

		// The search list: never the addresses of two names.
		{"one suffix", faults{silent(aaaa)}, "split:80", four, 50 * ms},
		{"one suffix without AAAA", nil, "split:81", "!connection refused", 0},
		{"the next suffix", nil, "late:80", six, 0},
		{"the next suffix, AAAA late", faults{slow(aaaa, 20*ms)}, "late:80", six, 20 * ms},
		{"a suffix that fails", faults{{Type: aaaa, Rcode: wire.RcodeServerFailure}}, "none:80", "!SERVFAIL", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lab, n := eyeballsLab(t, tt.faults...)
			c, took, err := dialTimed(lab, n, "tcp", tt.address)
			if part, failed := strings.CutPrefix(tt.want, "!"); failed {
				wantOpError(t, err)
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("%v, want %q", err, part)
				}
				if de := (*net.DNSError)(nil); !errors.Is(err, syscall.ECONNREFUSED) && !errors.As(err, &de) {
					t.Errorf("%v is no *net.DNSError", err)
				}
			} else if err != nil {
				t.Error(err)
			} else if got := c.RemoteAddr().String(); got != tt.want {
				t.Errorf("connected to %s, want %s", got, tt.want)
			}
			if took < tt.took || took > tt.took+soon {
				t.Errorf("it took %v, want %v", took, tt.took)
			}
			if c != nil {
				_ = c.Close()
			}
			lab.AssertIsolated()
		})
	}
}

// TestEyeballsOneFamily has a PvD of one family not wait for the addresses of the other.
func TestEyeballsOneFamily(t *testing.T) {
	t.Parallel()
	silent := pvdtest.DNSFault{Type: wire.TypeAAAA, Do: pvdtest.Silence}
	lab := pvdtest.New(t, pvdtest.ManualTime())
	lan := lab.LAN("corp", "192.168.1.0/24")
	lan.BadDNS("192.168.1.53", eyeballsZone, silent)
	lan.Web("192.168.1.80", "hello")
	n := lab.Host("corp").Await("corp")
	c, took, err := dialTimed(lab, n, "tcp", "www:80")
	if err != nil || took > 40*time.Millisecond {
		t.Errorf("%v after %v", err, took)
	} else {
		_ = c.Close()
	}
	// From an address of one family likewise.
	lab, n = eyeballsLab(t, silent)
	var from net.Conn
	lab.Run(func() {
		began := lab.Clock.Monotonic()
		from, err = n.DialFrom(context.Background(), "tcp", "192.168.1.100:0", "www:80")
		took = lab.Clock.Monotonic() - began
	})
	if err != nil || took > 40*time.Millisecond {
		t.Errorf("%v after %v", err, took)
	} else {
		_ = from.Close()
	}
	for _, network := range []string{"tcp4", "udp4"} {
		if c, took, err := dialTimed(lab, n, network, "www:80"); err != nil || took > 40*time.Millisecond {
			t.Errorf("%s: %v after %v", network, err, took)
		} else {
			_ = c.Close()
		}
	}
}

// TestEyeballsTranslated has IPv4 addresses be translated while IPv6 ones are still waited
// for, and what asks for the translator not keep those waiting.
func TestEyeballsTranslated(t *testing.T) {
	t.Parallel()
	const translated = "[2001:db8:64::c0a8:150]:80" // of 192.168.1.80
	for _, tt := range []struct {
		name    string
		faults  []pvdtest.DNSFault
		address string
		want    string
		took    time.Duration
	}{
		{"good", nil, "four:80", translated, 0},
		{"AAAA silent", []pvdtest.DNSFault{{Type: wire.TypeAAAA, Do: pvdtest.Silence}}, "www:80", "", 1500 * time.Millisecond},
		{"AAAA of the name silent", []pvdtest.DNSFault{{Name: "www", Type: wire.TypeAAAA, Do: pvdtest.Silence}}, "www:80", translated, 50 * time.Millisecond},
		{"A silent", []pvdtest.DNSFault{{Type: wire.TypeA, Do: pvdtest.Silence}}, "www:80", "[2001:db8:1::80]:80", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lab := pvdtest.New(t, pvdtest.ManualTime())
			lan := lab.LAN("corp", "2001:db8:1::/64")
			zone := pvdtest.Zone{"ipv4only.arpa": "192.0.0.170 192.0.0.171 2001:db8:64::c000:aa 2001:db8:64::c000:ab"}
			maps.Copy(zone, eyeballsZone)
			lan.BadDNS("2001:db8:1::53", zone, tt.faults...)
			internet := lab.LAN("internet", "192.168.1.0/24")
			internet.Web("192.168.1.80", "old")
			lan.Web("2001:db8:1::80", "new")
			lan.Router("2001:db8:1::1", pvdtest.NAT64{}, pvdtest.Uplink{LAN: internet, Addrs: "192.168.1.1"})
			n := lab.Host("corp").Await("corp")
			c, took, err := dialTimed(lab, n, "tcp", tt.address)
			switch {
			case tt.want == "":
				if err == nil {
					t.Errorf("connected to %v", c.RemoteAddr())
				}
			case err != nil:
				t.Error(err)
			case c.RemoteAddr().String() != tt.want:
				t.Errorf("connected to %v, want %s", c.RemoteAddr(), tt.want)
			}
			if took < tt.took || tt.want != "" && took > tt.took+40*time.Millisecond {
				t.Errorf("%v after %v, want %v", err, took, tt.took)
			}
			if c != nil {
				_ = c.Close()
			}
		})
	}
}

// TestEyeballsManyAddresses has a name of very many addresses, all silent, be tried one by
// one, eight at a time; what is refused makes room.
func TestEyeballsManyAddresses(t *testing.T) {
	t.Parallel()
	many := make([]string, 0, 30)
	for i := range 29 {
		many = append(many, netip.AddrFrom4([4]byte{192, 168, 1, byte(200 + i)}).String())
	}
	zone := pvdtest.Zone{"many": strings.Join(many, " ") + " 192.168.1.80"}
	lab := pvdtest.New(t, pvdtest.ManualTime())
	lan := lab.LAN("corp", "192.168.1.0/24")
	lan.BadDNS("192.168.1.53", zone)
	lan.Web("192.168.1.80", "hello")
	h := lab.Host("corp")
	n := h.Await("corp")
	var mu sync.Mutex
	sought := make(map[netip.Addr]bool)
	h.Link("corp").ImpairOut(tun.Impairment{Drop: func(f tun.Frame) bool {
		if f.EtherType() == 0x0806 { // ARP
			mu.Lock()
			defer mu.Unlock()
			sought[netip.AddrFrom4([4]byte(f.Bytes()[38:42]))] = true
		}
		return false
	}})
	began := lab.Clock.Monotonic()
	ctx, cancel := context.WithCancel(t.Context())
	lab.Clock.AfterFunc(2500*time.Millisecond, cancel) // when the first attempt has not failed yet
	var err error
	lab.Run(func() { _, err = n.DialContext(ctx, "tcp", "many:80") })
	wantOpError(t, err, context.Canceled)
	if op := (*net.OpError)(nil); !errors.As(err, &op) || op.Addr == nil || op.Addr.String() != many[0]+":80" {
		t.Errorf("%v", err)
	}
	mu.Lock()
	delete(sought, netip.MustParseAddr("192.168.1.53"))
	if len(sought) != 8 {
		t.Errorf("%d addresses were tried at a time: %v", len(sought), sought)
	}
	mu.Unlock()
	if took := lab.Clock.Monotonic() - began; took > 2600*time.Millisecond {
		t.Errorf("it took %v to give up", took)
	}
	lab.Clock.Advance(time.Minute) // what was not answered is forgotten

	// When attempts fail, others take their place, and the last address is come to.
	c, _, err := dialTimed(lab, n, "tcp", "many:80")
	if err != nil || c.RemoteAddr().String() != "192.168.1.80:80" {
		t.Errorf("%v, %v", c, err)
	} else {
		_ = c.Close()
	}
}

// TestEyeballsLateAnswerIsKept has the answer that came after the connection be there for the
// next one (RFC 8305 section 5).
func TestEyeballsLateAnswerIsKept(t *testing.T) {
	t.Parallel()
	lab := pvdtest.New(t, pvdtest.ManualTime())
	lan := lab.LAN("corp", "192.168.1.0/24", "2001:db8:1::/64")
	b := lan.BadDNS("192.168.1.53", eyeballsZone, pvdtest.DNSFault{Type: wire.TypeAAAA, Delay: 700 * time.Millisecond})
	lan.Web("192.168.1.80 2001:db8:1::80", "hello")
	n := lab.Host("corp").Await("corp")
	c, _, err := dialTimed(lab, n, "tcp", "www:80")
	if err != nil || c.RemoteAddr().String() != "192.168.1.80:80" {
		t.Fatalf("%v, %v", c, err)
	}
	_ = c.Close()
	lab.Clock.Advance(time.Second)
	b.Asked()
	c, took, err := dialTimed(lab, n, "tcp", "www:80")
	if err != nil || c.RemoteAddr().String() != "[2001:db8:1::80]:80" || took > 40*time.Millisecond {
		t.Errorf("%v, %v after %v", c, err, took)
	} else {
		_ = c.Close()
	}
	if asked := b.Asked(); len(asked) != 0 {
		t.Errorf("asked again: %+v", asked)
	}
}
