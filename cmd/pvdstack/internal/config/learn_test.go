package config

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addrsel"
	"github.com/pvdstack/pvdstack/pvd/learn"
)

// learning is a configuration of which most is left to the networks.
const learning = `links:
  lab:  {type: tap, name: pvd0, discover: true}
  wan:
    type: packet
    interface: eth1
    discover: {ra: true, dhcp4: true, ipv6_only: true, information: false, accept: {dns: false}, modify: {mtu: {default: 1400}}}
pvds:
  corp:
    match: {id: Corp.Example.com.}
    merge: true
    modify:
      dns: {servers: {append: [192.168.1.53]}}
  home:
    match: {link: wan}
default: home
state: /var/lib/pvdstack
roots: roots.pem
socks5:
  - {listen: 127.0.0.1:1080, pvd: corp}
  - {listen: 127.0.0.1:1081, pvd: other.example.com}
`

func TestLearning(t *testing.T) {
	got, err := Parse("c.yaml", []byte(learning))
	if err != nil {
		t.Fatal(err)
	}
	servers := []netip.AddrPort{netip.MustParseAddrPort("192.168.1.53:53")}
	want := &Config{
		File: "c.yaml",
		Links: []Link{
			{Name: "lab", Type: TAP, Device: "pvd0", Discover: Discover{RA: true, DHCP4: true, DHCP6: true, Information: true}},
			{Name: "wan", Type: Packet, Interface: "eth1", Discover: Discover{RA: true, DHCP4: true, IPv6Only: true}},
		},
		Default: "home",
		Learned: []Learned{{Name: "corp", ID: "corp.example.com", At: Position{8, 3}}, {Name: "home", At: Position{13, 3}}},
		Learn: learn.Rules{
			{Match: learn.Match{ID: "corp.example.com"}, Name: "corp", Merge: true, Modify: []learn.Modifier{learn.Append(pvd.DNSServers.With(servers))}},
			{Match: learn.Match{Link: "wan", Implicit: true}, Name: "home"},
			{Match: learn.Match{Link: "wan"}, Refuse: learn.Refuse{DNS: true}, Modify: []learn.Modifier{learn.Default(pvd.MTU.With(1400))}},
		},
		State: "/var/lib/pvdstack",
		Roots: "roots.pem", RootsAt: Position{17, 8},
		Proxies: []Proxy{
			{Listen: netip.MustParseAddrPort("127.0.0.1:1080"), PvD: "corp"},
			{Listen: netip.MustParseAddrPort("127.0.0.1:1081"), PvD: "other.example.com"},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for name, learned := range map[string]bool{"corp": true, "other.example.com": true} {
		if got.IsLearned(name) != learned {
			t.Errorf("IsLearned(%q) = %v", name, !learned)
		}
	}
}

// TestModifyEachElement holds that whatever a PvD may say of itself can be modified, with the
// outcome that it has there, and that what is a list can be prepended and appended to.
func TestModifyEachElement(t *testing.T) {
	prefix := netip.MustParsePrefix
	tests := map[string]pvd.Element{
		"addresses: @[192.168.1.2/24]":                   pvd.Addresses.With([]pvd.AddressInfo{{Address: pvd.Address{Prefix: prefix("192.168.1.2/24")}}}),
		"routes: @[{to: default, via: 10.0.0.1}]":        pvd.Routes.With([]pvd.Route{{To: prefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.0.1")}}),
		"dns: {servers: @['fe80::53']}":                  pvd.DNSServers.With([]netip.AddrPort{netip.MustParseAddrPort("[fe80::53]:53")}),
		"dns: {search: @[Example.com]}":                  pvd.DNSSearch.With([]string{"example.com"}),
		"nat64: @['64:ff9b::/96']":                       pvd.NAT64.With([]netip.Prefix{prefix("64:ff9b::/96")}),
		"groups: @[office]":                              pvd.Groups.With([]string{"office"}),
		"proxies: @[{protocol: socks5, address: 'a:1'}]": pvd.Proxies.With([]pvd.Proxy{{Protocol: "socks5", Address: "a:1"}}),
		"dns: {encrypted: @[{name: x.example, addresses: [10.0.0.1], protocols: [dot]}]}": pvd.EncryptedDNS.With([]pvd.EncryptedServer{{
			Priority: 1, Name: "x.example", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, ALPN: []string{"dot"},
		}}),
		"dns: {resolving: &{ndots: 2}}": pvd.Resolving.With(pvd.ResolverOptions{Ndots: 2}),
		"mtu: 1400":                     pvd.MTU.With(1400),
		"medium: wlan":                  pvd.Access.With(pvd.WLAN),
		"metered: true":                 pvd.Metered.With(true),
		"cost: 3":                       pvd.Cost.With(3),
		"speed: 1Mbit/s":                pvd.Speed.With(1_000_000),
		"latency: 20ms":                 pvd.Latency.With(20 * time.Millisecond),
		"metric: 4":                     pvd.Metric.With(4),
		"internet: false":               pvd.NoInternet.With(true),
		"captive_portal: {api: 'https://x.example/'}": pvd.CaptivePortal.With(pvd.Portal{API: "https://x.example/"}),
		"weak_host: true":    pvd.WeakHost.With(true),
		"load_sharing: true": pvd.LoadSharing.With(true),
		"address_selection: {without: [source-temporary]}": addrsel.Key.With(addrsel.Config{Off: addrsel.SourceTemporary}),
	}
	seen := make(map[pvd.AnyKey]bool)
	of := func(t *testing.T, text string) []learn.Modifier {
		t.Helper()
		c, err := Parse("c", []byte("links: {a: {type: tap, discover: {ra: true, modify: {"+text+"}}}}"))
		if err != nil {
			t.Fatal(err)
		}
		return c.Learn[0].Modify
	}
	for text, e := range tests {
		t.Run(text, func(t *testing.T) {
			seen[e.Key()] = true
			ops := []func(pvd.Element) learn.Modifier{learn.Default, learn.Supersede, learn.Prepend, learn.Append}
			before, value, list := strings.Cut(text, "@")
			if !list {
				var below bool
				if before, value, below = strings.Cut(text, "&"); !below {
					before, value, _ = strings.Cut(text, ": ")
					before += ": "
				}
				ops = ops[:2]
			}
			end := strings.Repeat("}", strings.Count(before, "{"))
			value = strings.TrimSuffix(value, end)
			for _, op := range ops {
				want := []learn.Modifier{op(e)}
				if got := of(t, before+"{"+want[0].Op().String()+": "+value+"}"+end); !reflect.DeepEqual(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
			}
			want := []learn.Modifier{learn.Ignore(e.Key())}
			if got := of(t, before+"ignore"+end); !reflect.DeepEqual(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
	for key, k := range modified {
		if !seen[k] {
			t.Errorf("nothing here modifies %q", key)
		}
	}
	known := pvdFields(&reader{}, new(rawPvD))
	for _, key := range append(notModified, "dns") {
		delete(known, key)
	}
	for key := range known {
		if _, ok := modified[key]; !ok {
			t.Errorf("a PvD's %q can not be modified", key)
		}
	}
}

// TestLearningFaults makes one change to learning each.
func TestLearningFaults(t *testing.T) {
	const (
		wan   = "{ra: true, dhcp4: true, ipv6_only: true, information: false, accept: {dns: false}, modify: {mtu: {default: 1400}}}"
		match = "{id: Corp.Example.com.}"
		mods  = "dns: {servers: {append: [192.168.1.53]}}"
	)
	tests := []struct{ name, old, new, want string }{
		{"nothing", wan, "{}", `c:6:15: discover learns nothing: want "ra", "dhcp4" or "dhcp6" to be true, or "discover: true" for all of them`},
		{"a text", wan, "yes please", `c:6:15: discover is the text "yes please": want true, false or a mapping such as {ra: true}`},
		{"empty", wan, "", `c:6:5: discover is empty: want true, false or a mapping such as {ra: true}`},
		{"dhcp6 alone", wan, "{dhcp4: true, dhcp6: true}", `c:6:36: dhcp6 needs "ra" to be true, too`},
		{"prefixes", wan, "{ra: true, prefixes: true}", `c:6:36: prefixes needs "dhcp6" to be true, too`},
		{"IPv6 only", wan, "{ra: true, ipv6_only: true}", `c:6:37: ipv6_only needs "dhcp4" to be true, too`},
		{"information", wan, "{dhcp4: true, information: true}", `c:6:42: information needs "ra" to be true, too`},
		{"temporary", wan, "{dhcp4: true, temporary: true}", `c:6:40: temporary needs "ra" to be true, too`},
		{"dhcp4 on IP", "lab:  {type: tap, name: pvd0, discover: true}", "lab:  {type: tun, discover: {ra: true, dhcp4: true}}", `c:2:49: dhcp4 is for Ethernet: link "lab" carries IP packets`},
		{"key", wan, "{ra: true, dhcp: true}", `c:6:26: unknown key "dhcp" in discover: did you mean "dhcp4"?`},
		{"accept", "dns: false", "dsn: false", `c:6:85: unknown key "dsn" in accept: did you mean "dns"?`},
		{"not a yes", "dns: false", "dns: none", `c:6:90: dns is the text "none": want true or false`},
		{"empty match", match, "{}", `c:9:12: match says neither "id" nor "link": want {id: corp.example.com} or {link: lab}`},
		{"match's ID", match, "{id: a..b}", `c:9:17: id "a..b" is no domain name: want one such as corp.example.com`},
		{"ID and router", match, "{id: a.b, link: lab, router: 'fe80::1'}", `c:9:41: a PvD with an id is not known by its router: leave one` + "\n" +
			`c:10:12: merge is for a match by "id" alone: nothing else is the same on several links`},
		{"router", "match: {link: wan}", "match: {link: wan, router: 192.168.1.1}", `c:14:32: router "192.168.1.1" is no link-local address: want one such as fe80::1`},
		{"router alone", "match: {link: wan}", "match: {router: 'fe80::1'}", `c:14:12: match says neither "id" nor "link": want {id: corp.example.com} or {link: lab}`},
		{"unknown link", "match: {link: wan}", "match: {link: wna}", `c:14:19: link "wna" is not in the file: did you mean "wan"?`},
		{"link without discover", "name: pvd0, discover: true}", "name: pvd0}", ""},
		{"merge", match, "{link: lab}", `c:10:12: merge is for a match by "id" alone: nothing else is the same on several links`},
		{"same match", match + "\n    merge: true", "{link: wan}", `c:13:12: PvD "corp" has this match already: leave one`},
		{"static key", match, match + "\n    mtu: 1400", `c:10:10: "mtu" is for PvDs that are not learned: leave it or "match" out, or say under "modify" what becomes of what is learned`},
		{"links", match, match + "\n    links: [lab]", `c:10:12: "links" is for PvDs that are not learned: leave it or "match" out`},
		{"no match", "match: " + match, "links: [lab]", `c:10:12: "merge" is for PvDs that are learned: add "match", or leave it out` + "\n" +
			`c:12:7: "modify" is for PvDs that are learned: add "match", or leave it out`},
		{"modify's key", mods, "neighbors: ignore", `c:12:7: unknown key "neighbors" in modify`},
		{"operation", mods, "mtu: {prepend: 1400}", `c:12:13: unknown key "prepend" in what modifies mtu: want "default" or "supersede"`},
		{"word", mods, "mtu: ignored", `c:12:12: what modifies mtu is the text "ignored": want "ignore" or a mapping such as {default: ...}`},
		{"no operation", mods, "mtu: 1400", `c:12:12: what modifies mtu is the number 1400: want a mapping of keys to values`},
		{"value", mods, "mtu: {default: 12}", `c:12:22: mtu is 12: want a whole number from 576 to 65535`},
		{"empty list", mods, "dns: {servers: {supersede: []}}", `c:12:34: supersede of servers has nothing: want something, or "servers: ignore" to have none`},
		{"two operations", mods, "dns: {search: {supersede: [a.b], append: [c.d]}}", `c:12:48: append of search has no effect beside "supersede": leave one`},
		{"server's zone", mods, "dns: {servers: {append: ['fe80::1%lab']}}", `c:12:32: name server fe80::1%lab has a zone: a PvD that is learned has its servers on its own link, want fe80::1`},
		{"address's link", mods, "addresses: {append: [{address: 10.0.0.1/8, link: lab}]}", `c:12:56: an address of a PvD that is learned is on the PvD's own link: leave "link" out`},
		{"address twice", mods, "addresses: {append: [10.0.0.1/8, 10.0.0.1/24]}", `c:12:28: address 10.0.0.1 is here for the second time: leave one`},
		{"route's link", mods, "routes: {append: [{to: 10.0.0.0/8, link: lab}]}", `c:12:48: a route of a PvD that is learned is on the PvD's own link: leave "link" out`},
		{"route's families", mods, "routes: {append: [{to: 10.0.0.0/8, via: 'fe80::1'}]}", `c:12:47: router fe80::1 and destination 10.0.0.0/8 are not of one IP version`},
		{"default", "default: home", "default: hoem", `c:15:10: default names "hoem", which is no PvD: did you mean "home"?`},
		{"proxy", "pvd: other.example.com", "pvd: other", `c:20:35: PvD "other" is not in the file: want "corp" or "home"`},
		{
			"a name that is another's ID", "  home:\n    match: {link: wan}\ndefault: home", "  home.example:\n    match: {link: wan}\ndefault: home.example",
			`c:13:3: PvD "home.example" has a name that one which is learned could have as its ID: want a name without dots, or its own ID`,
		},
		{"a name that is its own ID", "  home:\n    match: {link: wan}\ndefault: home", "  home.example:\n    match: {id: home.example}\ndefault: home.example", ""},
		{"state", "/var/lib/pvdstack", "''", `c:16:8: state is "": want a path`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Count(learning, tt.old) != 1 {
				t.Fatalf("%q is not in the file exactly once", tt.old)
			}
			_, err := Parse("c", []byte(strings.Replace(learning, tt.old, tt.new, 1)))
			if err == nil && tt.want == "" {
				return
			}
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
	for text, want := range map[string]string{
		"links: {a: {type: tap}}\npvds: {b: {match: {link: a}}}":                                             `c:2:26: nothing is learned on link "a": add "discover" to it`,
		"links: {a: {type: tap, discover: {dhcp4: true}}}\npvds: {b: {match: {id: x.y}}}":                    `c:2:19: no link learns by router advertisements: add "discover" to one`,
		"links: {a: {type: tap, discover: {dhcp4: true}}}\ndefault: corp.example.com":                        `c:2:10: default names "corp.example.com", which is no PvD`,
		"links: {a: {type: tap, discover: false}}":                                                           `c:1:1: the file has no "pvds": want at least one PvD, or a link with "discover"`,
		"links: {a: {type: tap, discover: {dhcp4: true}}}\npvds: {b: {match: {link: a, router: 'fe80::1'}}}": `c:2:26: link "a" does not learn by router advertisements: add "ra: true" to its "discover"`,
	} {
		if _, err := Parse("c", []byte(text)); err == nil || err.Error() != want {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}
