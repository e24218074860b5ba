package pvdtest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
)

var (
	wikiZone = Zone{"wiki": "192.168.1.80 2001:db8:1::80"}
	wikiAddr = netip.MustParseAddr("192.168.1.80")
)

// badLab is a LAN with a bad name server and a host, in virtual time.
func badLab(t *testing.T) (*Lab, *BadDNS, *Host) {
	t.Helper()
	lab := New(t, ManualTime())
	lan := lab.LAN("corp", "192.168.1.0/24")
	b := lan.BadDNS("192.168.1.53", wikiZone)
	return lab, b, lab.Host("corp")
}

// look looks a name up and returns what virtual time it took.
func look(lab *Lab, n pvd.Resolver, name string) (addrs []netip.Addr, took time.Duration, err error) {
	lab.Run(func() {
		began := lab.Clock.Monotonic()
		addrs, err = n.LookupNetIP(context.Background(), "ip4", name)
		took = lab.Clock.Monotonic() - began
	})
	return addrs, took, err
}

// badCases are faults, and what the resolver of a PvD makes of them where it has no other
// server.
var badCases = []struct {
	name   string
	faults []DNSFault
	took   time.Duration // at least, and less than a second more
	err    string        // of the *net.DNSError; empty: the right answer
	asked  string        // networks, in order
}{
	{"good", nil, 0, "", "udp"},
	{"ID", []DNSFault{{Do: BadID}}, 7 * time.Second, "no answer: i/o timeout", "udp udp udp"},
	{"name", []DNSFault{{Do: BadName}}, 7 * time.Second, "no answer: i/o timeout", "udp udp udp"},
	{"type", []DNSFault{{Do: BadType}}, 7 * time.Second, "no answer: i/o timeout", "udp udp udp"},
	{"class", []DNSFault{{Do: BadClass}}, 7 * time.Second, "no answer: i/o timeout", "udp udp udp"},
	{"a query", []DNSFault{{Do: BadQR}}, 7 * time.Second, "no answer: i/o timeout", "udp udp udp"},
	{"all but the ID", []DNSFault{{Do: BadName | BadType}, {Do: BadClass}}, 7 * time.Second, "no answer: i/o timeout", "udp udp udp"},
	{"noise", []DNSFault{{Do: BadOctets}}, 7 * time.Second, "no answer: i/o timeout", "udp udp udp"},
	{"noise twice", []DNSFault{{Do: BadOctets, First: 2}}, 3 * time.Second, "", "udp udp udp"},
	{"another port", []DNSFault{{Do: BadPort}}, 7 * time.Second, "no answer: i/o timeout", "udp udp udp"},
	{"silent", []DNSFault{{Do: Silence}}, 7 * time.Second, "no answer: i/o timeout", "udp udp udp"},
	{"silent once", []DNSFault{{Do: Silence, First: 1}}, time.Second, "", "udp udp"},
	{"silent about the name", []DNSFault{{Name: "Wiki.corp.example", Do: Silence}}, 7 * time.Second, "no answer: i/o timeout", "udp udp udp"},
	{"silent about another name", []DNSFault{{Name: "other", Do: Silence}}, 0, "", "udp"},
	{"slow", []DNSFault{{Delay: 900 * time.Millisecond}}, 900 * time.Millisecond, "", "udp"},
	{"slower", []DNSFault{{Delay: 1900 * time.Millisecond}}, 2900 * time.Millisecond, "", "udp udp"},
	{"too slow", []DNSFault{{Delay: 5 * time.Second}}, 7 * time.Second, "no answer: i/o timeout", "udp udp udp"},
	{"truncated", []DNSFault{{Do: Truncation}}, 0, "", "udp tcp"},
	{"truncated, octet by octet", []DNSFault{{Do: Truncation | OctetByOctet}}, 0, "", "udp tcp"},
	{"truncated, a wrong ID", []DNSFault{{Do: Truncation}, {Do: BadID, Network: "tcp"}}, 7 * time.Second, "no answer: i/o timeout", "udp tcp udp tcp udp tcp"},
	{"truncated, silent", []DNSFault{{Do: Truncation}, {Do: Silence, Network: "tcp"}}, 7 * time.Second, "no answer: i/o timeout", "udp tcp udp tcp udp tcp"},
	{"truncated, hanging up", []DNSFault{{Do: Truncation}, {Do: HangUp, Network: "tcp"}}, 0, "EOF", "udp tcp"},
	{"cut off", []DNSFault{{Do: CutOff, Network: "udp"}}, 0, "", "udp tcp"},
	{"always cut off", []DNSFault{{Do: CutOff}}, 0, "server sent an unreadable answer: ", "udp tcp"},
	{"no EDNS", []DNSFault{{Do: NoEDNS}}, 0, "", "udp udp"},
	{"format error", []DNSFault{{Rcode: dns.RcodeFormatError}}, 0, "server failed: it cannot read the query", "udp udp"},
	{"refused", []DNSFault{{Rcode: dns.RcodeRefused}}, 0, "server failed: REFUSED", "udp"},
	{"failure", []DNSFault{{Rcode: dns.RcodeServerFailure}}, 0, "server failed: SERVFAIL", "udp"},
	{"referral", []DNSFault{{Do: Referral}}, 0, "server does not do recursion and knows nothing of the name", "udp"},
	{"loop", []DNSFault{{Do: AliasLoop}}, 0, "server answered with a chain of aliases without end", "udp"},
	{"junk", []DNSFault{{Junk: 100}}, 0, "", "udp"},
	{"junk, then no EDNS, octet by octet, all late", []DNSFault{
		{Junk: 50}, {Do: NoEDNS}, {Do: Truncation | OctetByOctet}, {Delay: 200 * time.Millisecond},
	}, 600 * time.Millisecond, "", "udp tcp tcp"},
	{"junk, then nothing", []DNSFault{{Junk: 100, Do: Silence}}, 7 * time.Second, "no answer: i/o timeout", "udp udp udp"},
}

func TestBadDNS(t *testing.T) {
	t.Parallel()
	for _, tt := range badCases {
		t.Run(tt.name, func(t *testing.T) {
			lab, b, h := badLab(t)
			b.Break(tt.faults...)
			addrs, took, err := look(lab, h.Await("corp"), "wiki.corp.example.")
			if tt.err == "" {
				if err != nil || !slices.Equal(addrs, []netip.Addr{wikiAddr}) {
					t.Errorf("%v, %v", addrs, err)
				}
			} else {
				wantServerError(t, err, tt.err)
			}
			if took < tt.took || took >= tt.took+time.Second {
				t.Errorf("it took %v, want %v or little more", took, tt.took)
			}
			var asked []string
			seen := make(map[DNSAsked]bool)
			for _, a := range b.Asked() {
				asked = append(asked, a.Network)
				if a.Name != "wiki.corp.example." || a.Type != dns.TypeA || seen[DNSAsked{From: a.From, ID: a.ID}] {
					t.Errorf("asked %+v", a)
				}
				seen[DNSAsked{From: a.From, ID: a.ID}] = true
			}
			if got := strings.Join(asked, " "); got != tt.asked {
				t.Errorf("asked by %q, want %q", got, tt.asked)
			}
			lab.AssertIsolated()
		})
	}
}

// wantServerError checks the error of a lookup for which 192.168.1.53 did not help: exactly,
// or how it begins where want ends in a space.
func wantServerError(t *testing.T, err error, want string) {
	t.Helper()
	var got *net.DNSError
	if !errors.As(err, &got) {
		t.Errorf("%v is no *net.DNSError", err)
		return
	}
	late := strings.Contains(want, "timeout")
	wanted := net.DNSError{Err: want, Name: "wiki.corp.example", Server: "192.168.1.53:53", IsTimeout: late, IsTemporary: true}
	have := *got
	if have.UnwrapErr = nil; strings.HasSuffix(want, " ") && strings.HasPrefix(have.Err, want) {
		have.Err = want
	}
	if have != wanted {
		t.Errorf("%+v, want %+v", have, wanted)
	}
}

// TestBadDNSAndGood has a second server, a good one: the name is found whatever the first
// does, and before it could have been asked again.
func TestBadDNSAndGood(t *testing.T) {
	t.Parallel()
	for _, tt := range badCases {
		t.Run(tt.name, func(t *testing.T) {
			lab, b, h := badLab(t)
			h.lab.lans["corp"].DNS("192.168.1.54", wikiZone)
			h = lab.Host("corp")
			b.Break(tt.faults...)
			addrs, took, err := look(lab, h.Await("corp"), "wiki.corp.example.")
			if err != nil || !slices.Equal(addrs, []netip.Addr{wikiAddr}) || took > 1500*time.Millisecond {
				t.Errorf("%v, %v after %v", addrs, err, took)
			}
			lab.AssertIsolated()
		})
	}
}

// TestBadDNSChanges has a server change while it is asked, and answers come from a machine
// that was not asked.
func TestBadDNSChanges(t *testing.T) {
	t.Parallel()
	lab := New(t, ManualTime())
	lan := lab.LAN("corp", "192.168.1.0/24", "2001:db8:1::/64")
	b := lan.BadDNS("192.168.1.53", Zone{"a": "192.168.1.1", "b": "192.168.1.2", "c": "192.168.1.3", "six": "2001:db8:1::6 192.168.1.6"})
	stranger := lan.Machine("192.168.1.66")
	n := lab.Host("corp").Await("corp")
	b.Break(DNSFault{From: stranger})
	if addrs, took, err := look(lab, n, "a.corp.example."); err == nil || took < 7*time.Second {
		t.Errorf("a stranger's answer: %v, %v after %v", addrs, err, took)
	}
	b.Break(DNSFault{From: stranger, First: 1})
	if addrs, _, err := look(lab, n, "b.corp.example."); err != nil || addrs[0] != netip.MustParseAddr("192.168.1.2") {
		t.Errorf("the second answer is right: %v, %v", addrs, err)
	}
	b.Break()
	if addrs, took, err := look(lab, n, "c.corp.example."); err != nil || took > time.Second {
		t.Errorf("a good server: %v, %v after %v", addrs, err, took)
	}
	// What is for one type leaves the other alone.
	b.Break(DNSFault{Type: dns.TypeAAAA, Do: Silence})
	var addrs []netip.Addr
	var err error
	lab.Run(func() { addrs, err = n.LookupNetIP(context.Background(), "ip", "six.corp.example.") })
	if err != nil || len(addrs) != 1 || !addrs[0].Is4() {
		t.Errorf("%v, %v", addrs, err)
	}
	if len(b.Asked()) == 0 || len(b.Asked()) != 0 {
		t.Error("what was asked is told once")
	}
	lab.AssertIsolated()
}

// TestBadDNSJunk has thousands of wrong answers come before the right one, in real time.
func TestBadDNSJunk(t *testing.T) {
	t.Parallel()
	lab := New(t)
	lan := lab.LAN("corp", "192.168.1.0/24")
	b := lan.BadDNS("192.168.1.53", wikiZone, DNSFault{Junk: junkDatagrams})
	n := lab.Host("corp").Await("corp")
	ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
	defer cancel()
	addrs, err := n.LookupNetIP(ctx, "ip4", "wiki.corp.example.")
	if err != nil || !slices.Equal(addrs, []netip.Addr{wikiAddr}) {
		t.Errorf("%v, %v", addrs, err)
	}
	if n := len(b.Asked()); n > 3 {
		t.Errorf("asked %d times", n)
	}
	lab.AssertIsolated()
}

// TestBadDNSLimits has a server do no more than it may.
func TestBadDNSLimits(t *testing.T) {
	t.Parallel()
	lab, b, h := badLab(t)
	b.Break(DNSFault{Junk: MaxJunk}, DNSFault{Junk: MaxJunk, Do: Silence})
	n := h.Await("corp")
	q := new(dns.Msg).SetQuestion("wiki.corp.example.", dns.TypeA)
	if f := b.heard(q, "udp", nil); f.Junk != MaxJunk {
		t.Errorf("%d junk datagrams", f.Junk)
	}
	for range MaxAsked {
		b.heard(q, "tcp", nil)
	}
	if n := len(b.Asked()); n != MaxAsked {
		t.Errorf("%d questions are remembered", n)
	}
	b.Break()
	for range maxBadDNS {
		if !b.begin() {
			t.Fatal("no token")
		}
	}
	if addrs, _, err := look(lab, n, "wiki.corp.example."); err == nil {
		t.Errorf("a server with too much to do: %v", addrs)
	}
	for range maxBadDNS {
		<-b.busy
	}
	if _, _, err := look(lab, n, "wiki.corp.example."); err != nil {
		t.Error(err)
	}
}

// TestBadDNSSeed has the same seed make the same junk.
func TestBadDNSSeed(t *testing.T) {
	t.Parallel()
	q := new(dns.Msg).SetQuestion("wiki.corp.example.", dns.TypeAAAA)
	var all []string
	for _, seed := range []uint64{1, 1, 2} {
		b := New(t, Seed(seed)).LAN("corp", "192.168.1.0/24").BadDNS("192.168.1.53", wikiZone)
		var s strings.Builder
		for range 100 {
			msg, err := b.junk(q)
			if err != nil {
				t.Fatal(err)
			}
			s.Write(msg)
		}
		all = append(all, s.String())
	}
	if all[0] != all[1] || all[0] == all[2] {
		t.Error("junk does not depend on the seed, or not on it alone")
	}
}

// TestBadDNSStrategies has a good server beside a silent one and one that lies, whatever the
// order in which they are asked.
func TestBadDNSStrategies(t *testing.T) {
	t.Parallel()
	for strategy, within := range map[string]time.Duration{
		"sequential": 2500 * time.Millisecond, "escalation": 3500 * time.Millisecond, "parallel": 500 * time.Millisecond,
	} {
		t.Run(strategy, func(t *testing.T) {
			lab := New(t, ManualTime())
			lan := lab.LAN("corp", "192.168.1.0/24")
			lan.BadDNS("192.168.1.51", wikiZone, DNSFault{Do: Silence})
			lan.BadDNS("192.168.1.52", wikiZone, DNSFault{Do: BadName, Junk: 10})
			lan.DNS("192.168.1.53", wikiZone)
			h := lab.Host("corp")
			c := lan.config("corp", []netip.Prefix{netip.MustParsePrefix("192.168.1.100/24")})
			c.ID, c.Name = "corp.example", "corp"
			c.Elements = append(c.Elements, pvd.Resolving.With(pvd.ResolverOptions{Strategy: strategy}))
			if err := h.Host.Remove(t.Context(), h.Ref("corp")); err != nil {
				t.Fatal(err)
			}
			h.refs["corp"] = must(h.Host.Add(t.Context(), c))
			addrs, took, err := look(lab, h.Await("corp"), "wiki.corp.example.")
			if err != nil || !slices.Equal(addrs, []netip.Addr{wikiAddr}) || took > within {
				t.Errorf("%v, %v after %v", addrs, err, took)
			}
			lab.AssertIsolated()
		})
	}
}
