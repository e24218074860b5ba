package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addrsel"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/pvd/selection"
	"github.com/pvdstack/pvdstack/pvd/steer"
)

// outline is a configuration with two PvDs that overlap on purpose.
const outline = `links:
  lab:  {type: tap, name: pvd0}
  wan:  {type: packet, interface: eth1}
pvds:
  corp:
    id: corp.example.com
    links: [lab]
    addresses: [192.168.1.2/24]
    routes: [{to: 0.0.0.0/0, via: 192.168.1.1}]
    dns: {servers: [192.168.1.53], search: [corp.example.com]}
  home:
    links: [wan]
    addresses: [192.168.1.2/24]
    routes: [{to: default, via: 192.168.1.1}]
default: corp
socks5:
  - {listen: 127.0.0.1:1080, pvd: corp}
  - {listen: 127.0.0.1:1081, pvd: home}
`

func TestOutline(t *testing.T) {
	got, err := Parse("c.yaml", []byte(outline))
	if err != nil {
		t.Fatal(err)
	}
	own := []pvd.Address{{Prefix: netip.MustParsePrefix("192.168.1.2/24")}}
	routes := []pvd.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.168.1.1")}}
	want := &Config{
		File: "c.yaml",
		Links: []Link{
			{Name: "lab", Type: TAP, Device: "pvd0"},
			{Name: "wan", Type: Packet, Interface: "eth1"},
		},
		PvDs: []PvD{
			{Name: "corp", At: Position{5, 3}, Config: pvd.Config{
				ID: "corp.example.com", Name: "corp", Links: []string{"lab"}, Addresses: own, Routes: routes,
				DNS: pvd.DNS{Servers: []netip.AddrPort{netip.MustParseAddrPort("192.168.1.53:53")}, Search: []string{"corp.example.com"}},
			}},
			{Name: "home", At: Position{11, 3}, Config: pvd.Config{Name: "home", Links: []string{"wan"}, Addresses: own, Routes: routes}},
		},
		Default: "corp",
		Proxies: []Proxy{
			{Listen: netip.MustParseAddrPort("127.0.0.1:1080"), PvD: "corp"},
			{Listen: netip.MustParseAddrPort("127.0.0.1:1081"), PvD: "home"},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestReference parses the reference, whose every key the test then finds in the result.
func TestReference(t *testing.T) {
	got, err := Load("reference.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	gai, _, err := addrsel.ParseGAI(strings.NewReader("precedence ::ffff:0:0/96 100\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		File: "reference.yaml",
		Links: []Link{
			{
				Name: "lab", Type: TAP, Device: "pvd0", MTU: 1500,
				Host: HostSide{Addresses: []netip.Prefix{prefix("192.168.1.1/24"), prefix("2001:db8:1::1/64")}},
			},
			{
				Name: "tunnel", Type: TUN, Device: "pvd1", MTU: 1420,
				Host: HostSide{Addresses: []netip.Prefix{prefix("10.9.0.1/24")}},
			},
			{
				Name: "wan", Type: Packet, Interface: "eth1",
				Discover: Discover{RA: true, DHCP4: true, DHCP6: true, Information: true},
			},
			{Name: "inherited", Type: FD, FD: 3, Layer: IP, VNetHdr: true, MTU: 1500},
		},
		PvDs: []PvD{
			{Name: "corp", At: Position{58, 3}, Config: pvd.Config{
				ID: "corp.example.com", Name: "corp", Links: []string{"lab", "inherited"},
				Addresses: []pvd.Address{{Prefix: prefix("192.168.1.2/24")}, {Prefix: prefix("2001:db8:1::2/64"), Link: "lab"}, {Prefix: prefix("2001:db8:1::3/64"), Temporary: true, Deprecated: true}},
				Routes: []pvd.Route{
					{To: prefix("0.0.0.0/0"), Via: addr("192.168.1.1")},
					{To: prefix("::/0"), Via: addr("fe80::1"), Link: "lab"},
					{To: prefix("10.0.0.0/8"), Link: "inherited"},
				},
				Neighbors: []pvd.Neighbor{{Addr: addr("192.168.1.1"), MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Link: "lab"}},
				DNS: pvd.DNS{
					Servers: []netip.AddrPort{
						netip.MustParseAddrPort("192.168.1.53:53"), netip.MustParseAddrPort("192.168.1.54:5353"),
						netip.MustParseAddrPort("[2001:db8:1::53]:53"), netip.MustParseAddrPort("[fe80::53%lab]:53"),
					},
					Search: []string{"corp.example.com", "example.com"},
				},
				MTU: 1400,
				Elements: []pvd.Element{
					pvd.EncryptedDNS.With([]pvd.EncryptedServer{{
						Priority: 1, Name: "dns.corp.example.com", Addrs: []netip.Addr{addr("192.168.1.55")},
						ALPN: []string{"dot", "h2"}, Port: 853, Path: "/dns-query{?dns}",
					}}),
					pvd.Resolving.With(pvd.ResolverOptions{Strategy: "sequential", Timeout: time.Second, Ndots: 1}),
					pvd.Access.With(pvd.Wired),
					pvd.Metered.With(false),
					pvd.Cost.With(0),
					pvd.Speed.With(1_500_000_000),
					pvd.Latency.With(20 * time.Millisecond),
					pvd.Metric.With(10),
					pvd.Groups.With([]string{"office"}),
					pvd.NoInternet.With(false),
					pvd.NAT64.With([]netip.Prefix{prefix("64:ff9b::/96")}),
					pvd.CaptivePortal.With(pvd.Portal{API: "https://portal.example.com/api", User: "https://portal.example.com/"}),
					pvd.Proxies.With([]pvd.Proxy{{Protocol: "socks5", Address: "proxy.example.com:1080", For: []string{"example.com", "10.0.0.0/8"}}}),
					pvd.WeakHost.With(false),
					pvd.LoadSharing.With(false),
					addrsel.Key.With(addrsel.Config{
						Policy:  []addrsel.Row{{Prefix: prefix("::/0"), Precedence: 40, Label: 1}, {Prefix: prefix("0.0.0.0/0"), Precedence: 100, Label: 4}},
						Scopes4: []addrsel.Scope4{{Prefix: prefix("10.0.0.0/8"), Scope: addrsel.SiteLocal}},
						Off:     addrsel.SourceTemporary | addrsel.SourceLongest | addrsel.DestLongest4 | addrsel.DestNative,
					}),
				},
			}},
			{Name: "home", At: Position{139, 3}, Config: pvd.Config{
				Name: "home", Links: []string{"wan"}, Addresses: []pvd.Address{{Prefix: prefix("192.168.1.2/24")}},
				Routes:   []pvd.Route{{To: prefix("0.0.0.0/0"), Via: addr("192.168.1.1")}},
				DNS:      pvd.DNS{Servers: []netip.AddrPort{netip.MustParseAddrPort("192.168.1.1:53")}},
				Elements: []pvd.Element{addrsel.Key.With(gai)},
			}},
			{Name: "site", At: Position{149, 3}, Config: pvd.Config{Name: "site", Links: []string{"tunnel"}, Addresses: []pvd.Address{{Prefix: prefix("10.9.0.2/24")}}}},
		},
		Learned: []Learned{{Name: "uni", ID: "uni.example.com", At: Position{156, 3}}, {Name: "guest", At: Position{180, 3}}},
		Learn: learn.Rules{
			{
				Match: learn.Match{ID: "uni.example.com"}, Name: "uni", Merge: true, Refuse: learn.Refuse{Routes: true},
				Modify: []learn.Modifier{
					learn.Append(pvd.Addresses.With([]pvd.AddressInfo{{Address: pvd.Address{Prefix: prefix("10.8.0.2/24")}}})),
					learn.Supersede(pvd.Routes.With([]pvd.Route{{To: prefix("10.0.0.0/8"), Via: addr("10.8.0.1")}})),
					learn.Prepend(pvd.DNSServers.With([]netip.AddrPort{netip.MustParseAddrPort("10.8.0.53:53")})),
					learn.Default(pvd.DNSServers.With([]netip.AddrPort{netip.MustParseAddrPort("10.8.0.54:53")})),
					learn.Ignore(pvd.DNSSearch.Any()),
					learn.Supersede(pvd.Resolving.With(pvd.ResolverOptions{Ndots: 2})),
					learn.Default(pvd.MTU.With(1400)),
					learn.Supersede(pvd.Metered.With(false)),
					learn.Ignore(pvd.NAT64.Any()),
				},
			},
			{Match: learn.Match{Link: "wan", Router: addr("fe80::1")}, Name: "guest"},
			{Match: learn.Match{Link: "wan"}, Modify: []learn.Modifier{learn.Default(pvd.MTU.With(1500))}},
		},
		State: "/var/lib/pvdstack", Roots: "/etc/pvdstack/roots.pem", RootsAt: Position{286, 8},
		Failover: []string{"corp", "home"},
		Rules: []Rule{
			{PvD: "corp", Rule: selection.Rule{
				Name: "reference.yaml:192", Domains: []string{"corp.example.com"}, Destinations: []netip.Prefix{prefix("10.0.0.0/8")},
			}},
			{OrNext: true, Rule: selection.Rule{
				Name: "reference.yaml:196", Apps: []string{"browser"}, Ports: []selection.Ports{{First: 443, Last: 443}, {First: 8000, Last: 8999}}, Networks: []string{"tcp"},
			}, Choose: selection.Requirements{
				selection.Require(selection.Internet), selection.Prefer(selection.Technologies(pvd.WLAN, pvd.Wired)),
				selection.Avoid(selection.Metered), selection.Prohibit(selection.Captive),
				selection.Prefer(selection.MinSpeed(10_000_000)), selection.Prefer(selection.MaxLatency(100 * time.Millisecond)),
				selection.Prefer(selection.MaxCost(5)), selection.Prefer(selection.InGroup("office")), selection.Prefer(selection.Named("corp")),
			}},
			{Choose: selection.Requirements{selection.Require(selection.InGroup("office"))}, Rule: selection.Rule{Name: "reference.yaml:208", Marks: []selection.Mark{{Value: 7}}}},
			{Refuse: true, Rule: selection.Rule{Name: "reference.yaml:211", ToS: []selection.ToS{{Value: 184}}}},
		},
		Policy: &pvd.Policy{
			Rules:    []pvd.PolicyRule{{Apps: []string{"browser"}, PvDs: []string{"site"}, What: pvd.Hidden}},
			NoBridge: []string{"*"},
		},
		Proxies: []Proxy{
			{Listen: netip.MustParseAddrPort("127.0.0.1:1080"), PvD: "corp"},
			{
				Listen: netip.MustParseAddrPort("[::1]:1081"), PvD: "home",
				Users: map[string]string{"alice": "correct horse"}, Allow: []netip.Prefix{prefix("169.254.0.0/16")},
				HandshakeTimeout: 10 * time.Second, DialTimeout: 30 * time.Second, IdleTimeout: 2*time.Hour + 4*time.Minute,
				MaxConns: 1024, MaxPerClient: 768, MaxHandshakes: 128,
			},
			{Listen: netip.MustParseAddrPort("127.0.0.1:1083"), App: "browser", Mark: 7, ToS: 184},
			{Listen: netip.MustParseAddrPort("127.0.0.1:1084"), PvD: SystemDefault},
			{Listen: netip.MustParseAddrPort("0.0.0.0:1082"), PvD: "site"},
		},
		Steer: Steer{Table: []steer.Entry{{Suffix: "corp.example.com", PvD: "corp"}}, Trust: []string{"uni"}},
		Stubs: []Stub{
			{Listen: netip.MustParseAddrPort("127.0.0.1:5301"), PvD: "corp"},
			{Listen: netip.MustParseAddrPort("127.0.0.1:5302"), App: "browser"},
			{Listen: netip.MustParseAddrPort("0.0.0.0:5303"), PvD: "site"},
		},
		Log: Log{Level: slog.LevelInfo},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestReferenceIsComplete reads the reference with a reader that notes which keys exist,
// so that no key is added without being documented.
func TestReferenceIsComplete(t *testing.T) {
	text, err := os.ReadFile("reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("raw*.go")
	if err != nil {
		t.Fatal(err)
	}
	var source []byte
	for _, file := range files {
		s, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, s...)
	}
	keys := 0
	for line := range strings.Lines(string(source)) {
		key, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || !strings.HasPrefix(key, `"`) || strings.HasPrefix(rest, "=") {
			continue
		}
		keys++
		if key = strings.Trim(key, `"`); !strings.Contains(string(text), key+":") {
			t.Errorf("key %q is not in reference.yaml", key)
		}
	}
	if keys < 60 {
		t.Errorf("found %d keys in %q, expected more", keys, files)
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(path, []byte(outline), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(path, nil); err != nil || len(c.PvDs) != 2 {
		t.Errorf("Load(file) = %+v, %v", c, err)
	}
	if c, err := Load("-", strings.NewReader(outline)); err != nil || len(c.PvDs) != 2 {
		t.Errorf("Load(stdin) = %+v, %v", c, err)
	}
	if _, err := Load("-", strings.NewReader("x: 1")); err == nil || !strings.HasPrefix(err.Error(), "-:1:1: ") {
		t.Errorf("Load(stdin) of a fault = %v", err)
	}
	if _, err := Load(path+"?", nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load(missing) = %v", err)
	}
}

// TestAllFaults shows that faults of every stage are told together, in order.
func TestAllFaults(t *testing.T) {
	text := strings.NewReplacer("type: tap", "type: tab", "pvd: home", "pvd: hoem", "dns:", "dsn:", "192.168.1.2/24", "192.168.1.2").Replace(outline)
	_, err := Parse("c.yaml", []byte(text))
	want := `c.yaml:2:16: link type "tab" is not known: did you mean "tap"?
c.yaml:8:17: address "192.168.1.2" has no prefix length: want one such as 192.168.1.2/24
c.yaml:10:5: unknown key "dsn" in a PvD: did you mean "dns"?
c.yaml:13:17: address "192.168.1.2" has no prefix length: want one such as 192.168.1.2/24
c.yaml:18:35: PvD "hoem" is not in the file: did you mean "home"?`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	var fs Faults
	if !errors.As(err, &fs) || len(fs) != 5 {
		t.Errorf("error is %T of length %d, want 5 Faults", err, len(fs))
	}
}

func TestLimits(t *testing.T) {
	var many strings.Builder
	for i := range maxKeys + 1 {
		fmt.Fprintf(&many, "  l%d: {}\n", i)
	}
	tests := []struct{ name, text, want string }{
		{"size", strings.Repeat("#", MaxSize+1), "c.yaml:1:1: the file is longer than 1048576 octets: that is the most that is read"},
		{"flow depth", strings.Repeat("[", maxDepth+1), "c.yaml:1:33: lists and mappings nest more than 32 deep here"},
		{"flow depth, long", strings.Repeat("{", MaxSize), "c.yaml:1:33: lists and mappings nest more than 32 deep here"},
		{"block depth", strings.Repeat("- ", MaxSize/2), "c.yaml:1:65: lists and mappings nest more than 32 deep here"},
		{"keys", "links:\n" + many.String(), "c.yaml:10002:9: a mapping has more than 10000 keys here"},
		{"quoted", "default: " + strings.Repeat("x", 1000) + "\npvds: {}", `c.yaml:1:10: default names "` + strings.Repeat("x", maxQuoted) + `…", which is no PvD` + "\nc.yaml:2:7: the file has no PvD: want at least one, or a link with \"discover\""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("c.yaml", []byte(tt.text))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
	t.Run("faults", func(t *testing.T) {
		const n = 2 * maxFaults
		_, err := Parse("c.yaml", []byte(strings.Repeat("a: 1\n", n)))
		var fs Faults
		if !errors.As(err, &fs) || len(fs) != maxFaults+1 {
			t.Fatalf("got %d faults, want %d", len(fs), maxFaults+1)
		}
		if got, want := fs[maxFaults].Message, fmt.Sprintf("%d more from here on: mend those above first", n+1-maxFaults); got != want {
			t.Errorf("last is %q, want %q", got, want)
		}
	})
	t.Run("the model's", func(t *testing.T) {
		var list strings.Builder
		for i := range pvd.MaxAddresses + 1 {
			fmt.Fprintf(&list, "'2001:db8::%x/64',", i+1)
		}
		_, err := Parse("c.yaml", []byte(strings.Replace(outline, "addresses: [192.168.1.2/24]", "addresses: [192.168.1.2/24,"+list.String()+"]", 1)))
		if err == nil || !strings.HasPrefix(err.Error(), `c.yaml:5:3: PvD "corp": addresses: `) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the policy table's", func(t *testing.T) {
		var list strings.Builder
		for i := range addrsel.MaxRows + 1 {
			fmt.Fprintf(&list, "{prefix: '2001:db8:%x::/48', precedence: 1, label: 1},", i)
		}
		_, err := Parse("c.yaml", []byte(strings.Replace(outline, "addresses: [192.168.1.2/24]", "address_selection: {policy: ["+list.String()+"]}", 1)))
		if err == nil || !strings.HasPrefix(err.Error(), "c.yaml:8:24: address_selection: policy: ") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("failover", func(t *testing.T) {
		var pvds, list strings.Builder
		for i := range selection.MaxFailover + 1 {
			fmt.Fprintf(&pvds, "  p%d: {links: [wan], routes: [{to: 10.0.0.0/8}]}\n", i)
			fmt.Fprintf(&list, "p%d,", i)
		}
		text := strings.Replace(outline, "default: corp", "default: ["+list.String()+"]", 1)
		_, err := Parse("c.yaml", []byte(strings.Replace(text, "pvds:\n", "pvds:\n"+pvds.String(), 1)))
		if err == nil || !strings.HasSuffix(err.Error(), ":10: default has 65 PvDs: want 64 at most") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("rules", func(t *testing.T) {
		_, err := Parse("c.yaml", []byte(outline+"rules: ["+strings.Repeat("{},", selection.MaxRules+1)+"]\n"))
		if err == nil || err.Error() != "c.yaml:19:8: there are 65537 rules: want 65536 at most" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the policy's", func(t *testing.T) {
		rules := strings.Repeat("{apps: ['*'], pvds: ['*'], permission: denied},", pvd.MaxPolicyRules+1)
		_, err := Parse("c.yaml", []byte(outline+"policy: {rules: ["+rules+"]}\n"))
		if err == nil || err.Error() != "c.yaml:19:9: policy: 1025 rules, of which there may be 1024" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("at the limit", func(t *testing.T) {
		text := outline + strings.Repeat("#", MaxSize-len(outline))
		if _, err := Parse("c.yaml", []byte(text)); err != nil {
			t.Error(err)
		}
	})
}
