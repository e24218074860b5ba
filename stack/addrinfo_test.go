package stack_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdtest"
	"github.com/pvdstack/pvdstack/stack"
)

// nameWorld is a PvD of both families, one of IPv4, one of IPv6 and one with neither, and a
// peer with a name server for each.
func nameWorld(t *testing.T) (h *stack.Host, both, four, six, none *stack.Network) {
	t.Helper()
	h = newHost(t)
	names := map[string][]string{
		"both.example.": {"10.0.0.2", "2001:db8::2"}, "four.example.": {"10.0.0.2"}, "six.example.": {"2001:db8::2"},
	}
	make := func(link string, addrs, peer []string, server string) *stack.Network {
		p := newHost(t)
		pipe(t, link, h, p)
		c := config(link, addrs...)
		c.DNS = pvd.DNS{Servers: []netip.AddrPort{netip.MustParseAddrPort(server)}, Search: []string{"example"}}
		n := add(t, h, c)
		runDNS(t, add(t, p, config(link, peer...)), names)
		return n
	}
	both = make("both", []string{"10.0.0.1/24", "2001:db8::1/64"}, []string{"10.0.0.2/24", "2001:db8::2/64"}, "10.0.0.2:53")
	four = make("four", []string{"10.0.0.1/24"}, []string{"10.0.0.2/24"}, "10.0.0.2:53")
	six = make("six", []string{"2001:db8::1/64"}, []string{"2001:db8::2/64"}, "[2001:db8::2]:53")
	pipe(t, "none", h, nil)
	none = add(t, h, pvd.Config{Links: []string{"none"}})
	return h, both, four, six, none
}

func TestS33_GetAddrInfo(t *testing.T) {
	h, both, four, six, none := nameWorld(t)
	const config = pvd.AIAddrConfig
	tests := []struct {
		name          string
		n             *stack.Network
		node, service string
		hints         pvd.Hints
		want          string // addresses with ports; or "!" and a part of the error
	}{
		{"both", both, "both", "http", pvd.Hints{Type: pvd.Stream}, "[2001:db8::2]:80 10.0.0.2:80"},
		{"both types", both, "four", "53", pvd.Hints{}, "10.0.0.2:53 10.0.0.2:53"},
		{"by protocol", both, "four", "53", pvd.Hints{Protocol: pvd.UDP}, "10.0.0.2:53"},
		{"family", both, "both", "80", pvd.Hints{Type: pvd.Stream, Family: pvd.INET}, "10.0.0.2:80"},
		{"a service of TCP", both, "four", "ssh", pvd.Hints{}, "10.0.0.2:22"},
		{"no service", both, "four", "", pvd.Hints{Type: pvd.Stream}, "10.0.0.2:0"},
		{"mapped", both, "four", "80", pvd.Hints{Type: pvd.Stream, Family: pvd.INET6, Flags: pvd.AIV4Mapped}, "[::ffff:10.0.0.2]:80"},
		{"mapped not needed", both, "both", "80", pvd.Hints{Type: pvd.Stream, Family: pvd.INET6, Flags: pvd.AIV4Mapped}, "[2001:db8::2]:80"},
		{
			"all", both, "both", "80",
			pvd.Hints{Type: pvd.Stream, Family: pvd.INET6, Flags: pvd.AIV4Mapped | pvd.AIAll},
			"[2001:db8::2]:80 [::ffff:10.0.0.2]:80",
		},
		{"not mapped", both, "four", "80", pvd.Hints{Family: pvd.INET6}, "!"},
		{"passive", both, "", "80", pvd.Hints{Type: pvd.Stream, Flags: pvd.AIPassive}, "[::]:80 0.0.0.0:80"},
		{"loopback", both, "", "80", pvd.Hints{Type: pvd.Stream}, "[::1]:80 127.0.0.1:80"},
		{"address", both, "192.0.2.1", "80", pvd.Hints{Type: pvd.Stream, Flags: pvd.AINumericHost}, "192.0.2.1:80"},
		{"link-local", both, "fe80::1%both", "80", pvd.Hints{Type: pvd.Stream}, "[fe80::1%both]:80"},
		{"numeric host", both, "both", "80", pvd.Hints{Flags: pvd.AINumericHost}, "!not an address"},
		{"numeric service", both, "four", "http", pvd.Hints{Flags: pvd.AINumericServ}, "!unknown port"},
		{"unknown service", both, "four", "nosuch", pvd.Hints{}, "!unknown port"},
		{"UDP has no such service", both, "four", "ssh", pvd.Hints{Type: pvd.Datagram}, "!unknown port"},
		{"port too large", both, "four", "65536", pvd.Hints{}, "!unknown port"},
		{"nothing", both, "", "", pvd.Hints{}, "!neither"},
		{"bad flags", both, "four", "80", pvd.Hints{Flags: 128}, "!bad flags"},
		{"bad family", both, "four", "80", pvd.Hints{Family: 5}, "!bad family"},
		{"type against protocol", both, "four", "80", pvd.Hints{Type: pvd.Stream, Protocol: pvd.UDP}, "!no such type"},
		{"canonical name of nothing", both, "", "80", pvd.Hints{Flags: pvd.AICanonName}, "!canonical"},
		{"missing", both, "missing", "80", pvd.Hints{}, "!no such host"},
		// What is not configured in the PvD is not even asked for.
		{"R26 IPv4 only", four, "both", "80", pvd.Hints{Type: pvd.Stream, Flags: config}, "10.0.0.2:80"},
		{"R26 IPv6 only", six, "both", "80", pvd.Hints{Type: pvd.Stream, Flags: config}, "[2001:db8::2]:80"},
		{"R26 without", four, "both", "80", pvd.Hints{Type: pvd.Stream}, "10.0.0.2:80 [2001:db8::2]:80"},
		{"R26 loopback only", none, "both", "80", pvd.Hints{Flags: config}, "!no address of the family"},
		{"R26 nobody is asked for an address", none, "10.0.0.2", "80", pvd.Hints{Type: pvd.Stream, Flags: config}, "10.0.0.2:80"},
		{"no server", none, "both", "80", pvd.Hints{}, "!no DNS server"},
		{"PvD in the hints", h.In(pvd.Unspecified), "four", "80", pvd.Hints{Type: pvd.Stream, PvD: four.PvD()}, "10.0.0.2:80"},
		{"two PvDs", both, "four", "80", pvd.Hints{PvD: four.PvD()}, "!not the network's"},
		{"unknown PvD", h.In(pvd.Unspecified), "four", "80", pvd.Hints{PvD: 12345}, "!" + pvd.ErrNoPvD.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			infos, err := tt.n.GetAddrInfo(t.Context(), tt.node, tt.service, &tt.hints)
			if part, failed := strings.CutPrefix(tt.want, "!"); failed {
				if de := (*net.DNSError)(nil); !errors.As(err, &de) || !strings.Contains(err.Error(), part) {
					t.Errorf("%+v, %v, want a *net.DNSError with %q", infos, err, part)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, i := range infos {
				got = append(got, i.Addr.String())
				if want := max(tt.n.PvD(), tt.hints.PvD); i.PvD != want {
					t.Errorf("%v is in %v, want %v", i.Addr, i.PvD, want)
				}
				if isSix := i.Addr.Addr().Is6(); isSix != (i.Family == pvd.INET6) {
					t.Errorf("%v is of family %v", i.Addr, i.Family)
				}
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("%s, want %s", s, tt.want)
			}
		})
	}
	infos, err := both.GetAddrInfo(t.Context(), "four", "80", &pvd.Hints{Flags: pvd.AICanonName})
	if err != nil || infos[0].Name != "four.example" || infos[1].Name != "" {
		t.Errorf("canonical name: %+v, %v", infos, err)
	}
	_, err = both.GetAddrInfo(t.Context(), "", "", nil)
	if !errors.Is(err, syscall.EINVAL) {
		t.Error(err)
	}
}

func TestS34_GetNameInfo(t *testing.T) {
	h1, h2 := newHost(t), newHost(t)
	pipe(t, "wire", h1, h2)
	c := config("wire", "10.0.0.1/24")
	c.DNS = pvd.DNS{Servers: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:53")}, Search: []string{"example."}}
	n := add(t, h1, c)
	runReverseDNS(t, add(t, h2, config("wire", "10.0.0.2/24")), map[string]string{"2.0.0.10.in-addr.arpa.": "www.example."})
	tests := []struct {
		addr  string
		flags pvd.NameInfoFlags
		want  []string // host and service; nil: an error
	}{
		{"10.0.0.2:80", 0, []string{"www.example", "http"}},
		{"10.0.0.2:80", pvd.NINoFQDN, []string{"www", "http"}},
		{"10.0.0.2:80", pvd.NINumericServ, []string{"www.example", "80"}},
		{"10.0.0.2:80", pvd.NINumericHost, []string{"10.0.0.2", "http"}},
		{"10.0.0.2:69", pvd.NINumericHost, []string{"10.0.0.2", "69"}},
		{"10.0.0.2:69", pvd.NINumericHost | pvd.NIDatagram, []string{"10.0.0.2", "tftp"}},
		{"[fe80::1%wire]:1", pvd.NINumericHost, []string{"fe80::1%wire", "1"}},
		{"10.0.0.3:80", 0, []string{"10.0.0.3", "http"}},
		{"10.0.0.3:80", pvd.NINameReqd, nil},
		{"10.0.0.2:80", pvd.NINameReqd | pvd.NINumericHost, nil},
	}
	for _, tt := range tests {
		host, service, err := n.GetNameInfo(t.Context(), netip.MustParseAddrPort(tt.addr), tt.flags)
		if de := (*net.DNSError)(nil); tt.want == nil {
			if !errors.As(err, &de) {
				t.Errorf("%s %b: %s, %s, %v", tt.addr, tt.flags, host, service, err)
			}
		} else if got := []string{host, service}; err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s %b: %q, %v, want %q", tt.addr, tt.flags, got, err, tt.want)
		}
	}
}

// TestR26_AddrConfigAsksForNoOtherFamily has PvDs of one family, on Ethernet, where there is
// a link-local IPv6 address in any case: a family that is not configured is not asked for,
// the canonical name or not.
func TestR26_AddrConfigAsksForNoOtherFamily(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		prefix, server string
		addr           string
		typ            uint16
	}{
		{"192.168.1.0/24", "192.168.1.53", "192.168.1.80:80", wire.TypeA},
		{"2001:db8:1::/64", "2001:db8:1::53", "[2001:db8:1::80]:80", wire.TypeAAAA},
	} {
		lab := pvdtest.New(t, pvdtest.ManualTime())
		lan := lab.LAN("corp", tt.prefix)
		b := lan.BadDNS(tt.server, pvdtest.Zone{"www": "192.168.1.80 2001:db8:1::80"})
		n := lab.Host("corp").Await("corp")
		for _, flags := range []pvd.AddrInfoFlags{pvd.AIAddrConfig, pvd.AIAddrConfig | pvd.AICanonName} {
			var infos []pvd.AddrInfo
			var err error
			lab.Run(func() {
				infos, err = n.GetAddrInfo(context.Background(), "www", "80", &pvd.Hints{Type: pvd.Stream, Flags: flags})
			})
			if err != nil || len(infos) != 1 || infos[0].Addr.String() != tt.addr {
				t.Errorf("%v: %+v, %v", tt.prefix, infos, err)
			} else if want := map[bool]string{true: "www.corp.example"}[flags&pvd.AICanonName != 0]; infos[0].Name != want {
				t.Errorf("canonical name %q, want %q", infos[0].Name, want)
			}
		}
		for _, a := range b.Asked() {
			if a.Type != tt.typ {
				t.Errorf("%v: asked for type %d of %s", tt.prefix, a.Type, a.Name)
			}
		}
		lab.AssertIsolated()
	}
}
