package stack_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// eyeballs are a PvD and a peer with a name server, on an IP link on which nobody says that
// an address is nobody's: what is sent to it is lost.
func eyeballs(t *testing.T, names map[string][]string) (a, b *stack.Network) {
	t.Helper()
	h1, h2 := newHost(t), newHost(t)
	pipe(t, "wire", h1, h2)
	c := config("wire", "10.0.0.1/24", "2001:db8::1/64")
	c.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:53")}
	a = add(t, h1, c)
	b = add(t, h2, config("wire", "10.0.0.2/24", "10.0.0.3/24", "2001:db8::2/64"))
	runDNS(t, b, names)
	return a, b
}

// TestDialFamiliesRace has the first address say nothing: the next one, of the other family,
// is not kept waiting.
func TestDialFamiliesRace(t *testing.T) {
	t.Parallel()
	a, b := eyeballs(t, map[string][]string{
		"half.example.":   {"2001:db8::99", "10.0.0.2"},
		"silent.example.": {"2001:db8::98", "2001:db8::99", "10.0.0.98"},
		"later.example.":  {"2001:db8::97", "2001:db8::98", "2001:db8::99", "10.0.0.97", "10.0.0.2"},
	})
	mustListen(t, b, "tcp", "10.0.0.2:80")
	for _, name := range []string{"half", "later"} {
		begun := time.Now()
		c := mustDial(t, a, "tcp", name+".example:80")
		if got := c.RemoteAddr().String(); got != "10.0.0.2:80" {
			t.Errorf("%s: connected to %s", name, got)
		}
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("%s: it took %v", name, took)
		}
	}

	// Where nobody answers the deadline ends all attempts, and the first address is blamed.
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	begun := time.Now()
	err := dialErr(ctx, a, "tcp", "silent.example:80")
	wantOpError(t, err, context.DeadlineExceeded)
	if op := (*net.OpError)(nil); !errors.As(err, &op) || op.Addr == nil || op.Addr.String() != "[2001:db8::98]:80" {
		t.Errorf("%v", err)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("it took %v to give up", took)
	}
}

// TestDialRefusedGoesOn has addresses that refuse cost no time.
func TestDialRefusedGoesOn(t *testing.T) {
	a, b := eyeballs(t, map[string][]string{"refusing.example.": {"2001:db8::2", "10.0.0.3", "10.0.0.2"}})
	mustListen(t, b, "tcp", "10.0.0.2:80")
	if c := mustDial(t, a, "tcp", "refusing.example:80"); c.RemoteAddr().String() != "10.0.0.2:80" {
		t.Errorf("connected to %v", c.RemoteAddr())
	}
	wantOpError(t, dialErr(t.Context(), a, "tcp", "refusing.example:81"), syscall.ECONNREFUSED)
}

// TestDialTranslated has a PvD without IPv4 reach IPv4 destinations, by name and by address,
// through a translator that it is told of or finds out about.
func TestDialTranslated(t *testing.T) {
	for _, told := range []bool{true, false} {
		h1, h2 := newHost(t), newHost(t)
		pipe(t, "wire", h1, h2)
		c := config("wire", "2001:db8::1/64")
		c.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::2]:53")}
		if told {
			c.Elements = []pvd.Element{pvd.NAT64.With([]netip.Prefix{netip.MustParsePrefix("2001:db8:64::/96")})}
		}
		a := add(t, h1, c)
		// The peer is what is behind the translator, with its addresses.
		b := add(t, h2, config("wire", "2001:db8::2/64", "2001:db8:64::a00:2/96"))
		names := map[string][]string{"old.example.": {"10.0.0.2"}}
		if !told {
			names["ipv4only.arpa."] = []string{"192.0.0.170", "192.0.0.171", "2001:db8:64::c000:aa", "2001:db8:64::c000:ab"}
		}
		runDNS(t, b, names)
		mustListen(t, b, "tcp", "[2001:db8:64::a00:2]:80")
		for _, address := range []string{"old.example:80", "10.0.0.2:80"} {
			c := mustDial(t, a, "tcp", address)
			if got := c.RemoteAddr().String(); got != "[2001:db8:64::a00:2]:80" {
				t.Errorf("told %v: %s is %s", told, address, got)
			}
		}
		// What is for IPv4 only stays so, and what is about the PvD itself too.
		wantOpError(t, dialErr(t.Context(), a, "tcp4", "10.0.0.2:80"), syscall.EADDRNOTAVAIL)
		wantOpError(t, dialErr(t.Context(), a, "tcp", "127.0.0.1:80"), syscall.ECONNREFUSED)
	}
}

// TestDialNoTranslator has what there is no translator for be the error that it is.
func TestDialNoTranslator(t *testing.T) {
	h1, h2 := newHost(t), newHost(t)
	pipe(t, "wire", h1, h2)
	a := add(t, h1, config("wire", "2001:db8::1/64"))
	wantOpError(t, dialErr(t.Context(), a, "tcp", "10.0.0.2:80"), syscall.EADDRNOTAVAIL)
}
