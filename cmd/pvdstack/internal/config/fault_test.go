package config

import (
	"strings"
	"testing"
)

// base is a small configuration that the faults are put into, one each.
const base = `links:
  lab: {type: tap}
  tun: {type: tun}
pvds:
  corp:
    links: [lab]
    addresses: [192.168.1.2/24]
  home:
    links: [tun]
    addresses: [10.0.0.2/24]
socks5:
  - {listen: 127.0.0.1:1080, pvd: corp}
`

// TestFaults puts one fault each into base, by replacing one text with another, and
// expects exactly one message.
func TestFaults(t *testing.T) {
	if _, err := Parse("c", []byte(base)); err != nil {
		t.Fatal(err)
	}
	const corpAddr, homeAddr, listen = "[192.168.1.2/24]", "[10.0.0.2/24]", "listen: 127.0.0.1:1080"
	const proxy, appProxy = "socks5:\n  - {listen: 127.0.0.1:1080, pvd: corp}\n", "socks5:\n  - {listen: 127.0.0.1:1080, app: browser}\n"
	tests := []struct{ name, old, new, want string }{
		// YAML.
		{"empty", base, "", `c:1:1: the file says nothing: want at least "links" and "pvds"`},
		{"comment only", base, "# x\n", `c:1:1: the file says nothing: want at least "links" and "pvds"`},
		{"not YAML", "type: tap}", "type: tap", `c:3:3: this is not YAML: ',' or '}' must be specified`},
		{"tab", "  lab:", "\tlab:", `c:2:1: this is not YAML: found character '	' that cannot start any token`},
		{"not UTF-8", "lab: {", "lab: \xff{", `c:2:8: this octet is no text in UTF-8, which the file has to be in`},
		{"second document", "pvds:", "---\npvds:", `c:4:1: a second document begins here: a configuration is one document`},
		{"directive", "links:\n", "%YAML 1.2\n---\nlinks:\n", `c:1:1: directives are not used here: leave the line out`},
		{"anchor", "lab: {", "lab: &x {", `c:2:8: anchors are not used here: write the value out where it is wanted`},
		{"alias", corpAddr, "*x", `c:7:16: aliases are not used here: write the value out`},
		{"merge key", "{type: tun}", "{<<: {type: tun}}", `c:3:9: merge keys are not used here: write the keys out`},
		{"tag", "corp}", "!!str corp}", `c:12:35: tags are not used here: write the value without it`},
		{"complex key", "  home:\n", "  ? home\n  :\n", `c:8:3: keys after "?" are not used here: write key: value`},

		// Shapes.
		{"root", base, "- a\n", `c:1:1: the file is a list: want a mapping of keys to values` + "\n" + `c:1:1: the file has no "pvds": want at least one PvD, or a link with "discover"`},
		{"unknown key", "links:\n  l", "link:\n  l", `c:1:1: unknown key "link" in the file: did you mean "links"?` + "\n" +
			`c:6:13: link "lab" is not in the file: add it under "links"` + "\n" + `c:9:13: link "tun" is not in the file: add it under "links"`},
		{"unknown key, near", "addresses: " + corpAddr, "adresses: " + corpAddr, `c:7:5: unknown key "adresses" in a PvD: did you mean "addresses"?`},
		{"unknown key, far", "pvd: corp}", "pvd: corp, colour: red}", `c:12:41: unknown key "colour" in a proxy: want "allow", "app", "force", "limits", "listen", "mark", "pvd", "timeouts", "tos" or "users"`},
		{"duplicate key", "{type: tap}", "{type: tap, type: tap}", `c:2:20: key "type" is here for the second time, after 2:9: leave one`},
		{"duplicate link", "  tun: {type: tun}", "  lab: {type: tun}\n  tun: {type: tun}", `c:3:3: key "lab" is here for the second time, after 2:3: leave one`},
		{"duplicate PvD", "socks5:", "  corp: {links: [lab]}\nsocks5:", `c:11:3: key "corp" is here for the second time, after 5:3: leave one`},
		{"key is a number", "  home:", "  7:", `c:8:3: a key is the number 7: want a text, in quotes if need be`},
		{"mapping wanted", "{type: tap}", "tap", `c:2:8: a link is the text "tap": want a mapping of keys to values`},
		{"list wanted", "links: [lab]", "links: lab", `c:6:12: links is the text "lab": want a list`},
		{"text wanted, list", "type: tap", "type: [tap]", `c:2:15: type is a list: want a text`},
		{"text wanted, number", "corp:\n", "corp:\n    id: 5\n", `c:6:9: id is the number 5: want a text, so put it in quotes`},
		{"text wanted, nothing", "type: tap", "type:", `c:2:9: type is empty: want a text`},
		{"number wanted", "{type: tap}", "{type: tap, mtu: big}", `c:2:25: mtu is the text "big": want a whole number from 576 to 65535`},
		{"octal", "{type: tap}", "{type: tap, mtu: 01500}", `c:2:25: mtu is 01500: want a whole number from 576 to 65535`},
		{"boolean wanted", "pvd: corp}", "pvd: corp, force: yes}", `c:12:48: force is the text "yes": want true or false`},
		{"empty section", "socks5:\n  - {listen: 127.0.0.1:1080, pvd: corp}", "socks5:", `c:11:1: socks5 is empty: want a list`},

		// Links.
		{"no type", "{type: tap}", "{}", `c:2:3: link "lab" has no "type": want "tun", "tap", "packet" or "fd"`},
		{"wrong type", "type: tap", "type: veth", `c:2:15: link type "veth" is not known: want "tun", "tap", "packet" or "fd"`},
		{"link name", "  tun:", "  a b: {type: tun}\n  tun:", `c:3:3: the name of a link is "a b": want letters, digits, '.', '-' and '_' only`},
		{"link name, empty", "  tun:", "  '': {type: tun, name: x}\n  tun:", `c:3:3: a link has an empty name`},
		{"MTU too small", "{type: tap}", "{type: tap, mtu: 575}", `c:2:25: mtu is 575: want a whole number from 576 to 65535`},
		{"MTU too large", "{type: tap}", "{type: tap, mtu: 65536}", `c:2:25: mtu is 65536: want a whole number from 576 to 65535`},
		{"device name", "{type: tap}", "{type: tap, name: a/b}", `c:2:26: "a/b" is no name of an interface: want one such as pvd0`},
		{"device name, long", "{type: tap}", "{type: tap, name: abcdefghijklmnop}", `c:2:26: interface name "abcdefghijklmnop" is longer than 15 characters`},
		{"device name from link", "  tun:", "  abcdefghijklmnop: {type: tun}\n  tun:", `c:3:3: "abcdefghijklmnop" is too long to name the device too: give a "name" of at most 15 characters`},
		{"device twice", "{type: tun}", "{type: tun, name: lab}", `c:3:26: device "lab" is link "lab"'s already: every link needs one of its own`},
		{"interface of a tap", "{type: tap}", "{type: tap, interface: eth0}", `c:2:31: "interface" is for links of type packet: a tap link has none`},
		{"bridge of a tun", "{type: tun}", "{type: tun, host: {bridge: br0}}", `c:3:35: "bridge" is for links of type tap: a tun link has none`},
		{"no interface", "{type: tap}", "{type: packet}", `c:2:3: packet link "lab" has no "interface": want the name of an interface, such as eth0`},
		{"mac", "{type: tap}", "{type: packet, interface: eth0, mac: own}", `c:2:45: mac "own" is not known: want "per-pvd" or "interface"`},
		{"no fd", "{type: tap}", "{type: fd, layer: ethernet}", `c:2:3: fd link "lab" has no "fd": want the number of an open descriptor, such as 3`},
		{"standard stream", "{type: tap}", "{type: fd, fd: 2}", `c:2:23: fd is 2: want a whole number from 3 to 1048575`},
		{"layer", "{type: tap}", "{type: fd, fd: 3, layer: l2}", `c:2:33: layer "l2" is not known: want "ip" or "ethernet"`},
		{"host address", "{type: tap}", "{type: tap, host: {addresses: [10.0.0.1]}}", `c:2:39: address "10.0.0.1" has no prefix length: want one such as 10.0.0.1/24`},
		{"bridge and addresses", "{type: tap}", "{type: tap, host: {addresses: [10.0.0.1/8], bridge: br0}}", `c:2:39: a port of a bridge has no addresses of its own: give them to bridge "br0"`},

		// PvDs.
		{"no PvDs", base, "links: {}\n", `c:1:1: the file has no "pvds": want at least one PvD, or a link with "discover"`},
		{"PvD name", "  home:", "  all:", `c:8:3: a PvD can not be called "all", which has a meaning of its own`},
		{"PvD name, long", "  home:", "  " + strings.Repeat("h", 64) + ":", `c:8:3: the name of a PvD is longer than 63 characters`},
		{"id", "corp:\n", "corp:\n    id: a..b\n", `c:6:9: id "a..b" is no domain name: want one such as corp.example.com`},
		{"no links", "    links: [lab]\n", "", `c:5:3: PvD "corp" has no "links": want a list of links such as [lab]`},
		{"missing link", "links: [lab]", "links: [lan]", `c:6:13: link "lan" is not in the file: did you mean "lab"?`},
		{"link twice", "links: [lab]", "links: [lab, lab]", `c:6:18: link "lab" is here for the second time: leave one`},
		{"no prefix length", corpAddr, "[192.168.1.2]", `c:7:17: address "192.168.1.2" has no prefix length: want one such as 192.168.1.2/24`},
		{"no prefix length, IPv6", corpAddr, "['2001:db8::1']", `c:7:17: address "2001:db8::1" has no prefix length: want one such as 2001:db8::1/64`},
		{"bad prefix", corpAddr, "[192.168.1.2/33]", `c:7:17: "192.168.1.2/33" is no address: want one such as 192.168.1.2/24 or 2001:db8::2/64`},
		{"bad address", corpAddr, "[192.168.1.256/24]", `c:7:17: "192.168.1.256/24" is no address: want one such as 192.168.1.2/24 or 2001:db8::2/64`},
		{"network", corpAddr, "[192.168.1.0/24]", `c:7:17: address "192.168.1.0/24" is its whole network: want that of one host, such as 192.168.1.1/24`},
		{"broadcast", corpAddr, "[192.168.1.255/24]", `c:7:17: address "192.168.1.255/24" is its network's broadcast address: want that of one host, such as 192.168.1.254/24`},
		{"loopback", corpAddr, "[127.0.0.1/8]", `c:7:17: address "127.0.0.1/8" is a loopback address: want a unicast address`},
		{"multicast", corpAddr, "['ff02::1/64']", `c:7:17: address "ff02::1/64" is a multicast address: want a unicast address`},
		{"mapped", corpAddr, "['::ffff:10.0.0.1/128']", `c:7:17: address "::ffff:10.0.0.1/128" is an IPv4 address written as IPv6: want a unicast address`},
		{"unspecified", corpAddr, "['::/64']", `c:7:17: address "::/64" is the unspecified address: want a unicast address`},
		{"this network", corpAddr, "[0.1.2.3/8]", `c:7:17: address "0.1.2.3/8" is on "this network" (RFC 1122): want a unicast address`},
		{"reserved", corpAddr, "[240.1.2.3/8]", `c:7:17: address "240.1.2.3/8" is in the reserved range 240.0.0.0/4: want a unicast address`},
		{"address twice", corpAddr, "[192.168.1.2/24, 192.168.1.2/24]", `c:7:33: address 192.168.1.2 is here for the second time on link "lab": leave one`},
		{"address without address", corpAddr, "[{link: lab}]", `c:7:17: this has no "address": want one such as 192.168.1.2/24`},
		{"address on another's link", corpAddr, "[{address: 192.168.1.2/24, link: tun}]", `c:7:49: link "tun" is not one of PvD "corp"'s: want "lab"`},
		{"the kernel's address", "{type: tap}", "{type: tap, host: {addresses: [192.168.1.2/24]}}", `c:7:17: address 192.168.1.2 is the kernel's side of link "lab" too: want another one on the same network`},
		{"equal on a tun", "links: [lab]\n    addresses: " + corpAddr, "links: [tun]\n    addresses: " + homeAddr, `c:10:17: address 10.0.0.2 is PvD "corp"'s too, and link "tun" can not tell the two apart: want another address or another link`},
		{"MTU with IPv6", homeAddr, "['2001:db8::1/64']\n    mtu: 1279", `c:11:10: mtu is 1279: want at least 1280 where there is IPv6`},
		{"PvD MTU", homeAddr, "[]\n    mtu: 0", `c:11:10: mtu is 0: want a whole number from 576 to 65535`},

		// Routes.
		{"router off-link", corpAddr, corpAddr + "\n    routes: [{to: default, via: 10.9.9.9}]", `c:8:33: router 10.9.9.9 is on none of the PvD's networks (192.168.1.0/24): want one that is, or a route to it without "via"`},
		{"router off the link", "links: [lab]\n    addresses: " + corpAddr, "links: [lab, tun]\n    addresses: " + corpAddr + "\n    routes: [{to: default, via: 192.168.1.1, link: tun}]", `c:8:33: router 192.168.1.1 is on none of the PvD's networks on link "tun": want one that is, or a route to it without "via"`},
		{"router on another link", "links: [lab]\n    addresses: " + corpAddr, "links: [lab, tun]\n    routes: [{to: 10.9.9.9/32, link: tun}, {to: default, via: 10.9.9.9}]", `c:7:63: router 10.9.9.9 is on link "tun": add that as "link"`},
		{"router is itself", corpAddr, corpAddr + "\n    routes: [{to: default, via: 192.168.1.2}]", `c:8:33: router 192.168.1.2 is the PvD's own address: want the router's`},
		{"router is no address", corpAddr, corpAddr + "\n    routes: [{to: default, via: gw}]", `c:8:33: router "gw" is no address: want one such as 192.168.1.1 or fe80::1`},
		{"router with zone", corpAddr, corpAddr + "\n    routes: [{to: default, via: fe80::1%lab}]", `c:8:33: router "fe80::1%lab" has a zone: write fe80::1, and "link" beside it`},
		{"link-local router", "links: [lab]\n    addresses: " + corpAddr, "links: [lab, tun]\n    routes: [{to: default, via: fe80::1}]", `c:7:33: router fe80::1 is link-local and the PvD has 2 links: add "link"`},
		{"versions", corpAddr, corpAddr + "\n    routes: [{to: '::/0', via: 192.168.1.1}]", `c:8:32: router 192.168.1.1 and destination ::/0 are not of one IP version`},
		{"no to", corpAddr, corpAddr + "\n    routes: [{via: 192.168.1.1}]", `c:8:14: the route has no "to": want a prefix such as 10.0.0.0/8, or default`},
		{"to, host bits", corpAddr, corpAddr + "\n    routes: [{to: 10.1.2.3/8, via: 192.168.1.1}]", `c:8:19: destination "10.1.2.3/8" has bits set after its length: want 10.0.0.0/8`},
		{"to, no prefix", corpAddr, corpAddr + "\n    routes: [{to: all, via: 192.168.1.1}]", `c:8:19: destination "all" is no prefix: want one such as 10.0.0.0/8 or 2001:db8::/32`},
		{"to, multicast", corpAddr, corpAddr + "\n    routes: [{to: 224.0.0.0/4, via: 192.168.1.1}]", `c:8:19: destination 224.0.0.0/4 is a multicast address: want a unicast prefix`},
		{"to, loopback", corpAddr, corpAddr + "\n    routes: [{to: 127.0.0.0/8, via: 192.168.1.1}]", `c:8:19: destination 127.0.0.0/8 is a loopback address: want a unicast prefix`},
		{"from, version", corpAddr, corpAddr + "\n    routes: [{to: default, via: 192.168.1.1, from: '2001:db8::/64'}]", `c:8:52: source 2001:db8::/64 and destination 0.0.0.0/0 are not of one IP version`},
		{"default without via", corpAddr, corpAddr + "\n    routes: [{to: default}]", `c:8:19: "default" without "via" is of no IP version: want 0.0.0.0/0 or ::/0`},
		{"route link", corpAddr, corpAddr + "\n    routes: [{to: 10.0.0.0/8, link: tun}]", `c:8:37: link "tun" is not one of PvD "corp"'s: want "lab"`},
		{"preference", corpAddr, corpAddr + "\n    routes: [{to: default, via: 192.168.1.1, preference: hihg}]", `c:8:58: preference "hihg" is not known: did you mean "high"?`},
		{"metric", corpAddr, corpAddr + "\n    routes: [{to: default, via: 192.168.1.1, metric: -1}]", `c:8:54: metric is -1: want a whole number from 0 to 4294967295`},

		// Neighbors and names.
		{"mac of a group", corpAddr, corpAddr + "\n    neighbors: [{address: 192.168.1.1, mac: '01:00:5e:00:00:01'}]", `c:8:45: hardware address 01:00:5e:00:00:01 is a group's: want that of one station`},
		{"no mac address", corpAddr, corpAddr + "\n    neighbors: [{address: 192.168.1.1, mac: '02:00'}]", `c:8:45: "02:00" is no hardware address: want one such as 02:00:00:00:00:01`},
		{"neighbor without mac", corpAddr, corpAddr + "\n    neighbors: [{address: 192.168.1.1}]", `c:8:17: the neighbor has no "mac": want one such as 02:00:00:00:00:01`},
		{"neighbor without address", corpAddr, corpAddr + "\n    neighbors: [{mac: '02:00:00:00:00:01'}]", `c:8:17: the neighbor has no "address": want one such as 192.168.1.1`},
		{"neighbor on a tun", homeAddr, homeAddr + "\n    neighbors: [{address: 10.0.0.1, mac: '02:00:00:00:00:01'}]", `c:11:17: link "tun" carries IP packets, which have no hardware addresses: leave the neighbor out`},
		{"neighbor twice", corpAddr, corpAddr + "\n    neighbors: [{address: 192.168.1.1, mac: '02:00:00:00:00:01'}, {address: 192.168.1.1, mac: '02:00:00:00:00:02'}]", `c:8:67: neighbor 192.168.1.1 is here for the second time on link "lab": leave one`},
		{"server", corpAddr, corpAddr + "\n    dns: {servers: [ns1]}", `c:8:21: "ns1" is no name server: want an address such as 192.168.1.53, 192.168.1.53:5353 or [2001:db8::53]:5353`},
		{"server, bad port", corpAddr, corpAddr + "\n    dns: {servers: ['10.0.0.1:99999']}", `c:8:21: "10.0.0.1:99999" is no name server: want an address such as 192.168.1.53, 192.168.1.53:5353 or [2001:db8::53]:5353`},
		{"server, port 0", corpAddr, corpAddr + "\n    dns: {servers: ['10.0.0.1:0']}", `c:8:21: name server "10.0.0.1:0" has port 0: want one from 1 to 65535`},
		{"server, loopback", corpAddr, corpAddr + "\n    dns: {servers: [127.0.0.53]}", `c:8:21: name server 127.0.0.53 is a loopback address: want a unicast address`},
		{"server, no zone", corpAddr, corpAddr + "\n    dns: {servers: ['fe80::1']}", `c:8:21: name server fe80::1 is link-local: want its link too, as in fe80::1%lab`},
		{"server, wrong zone", corpAddr, corpAddr + "\n    dns: {servers: ['fe80::1%tun']}", `c:8:21: link "tun" is not one of PvD "corp"'s: want "lab"`},
		{"server, needless zone", corpAddr, corpAddr + "\n    dns: {servers: ['2001:db8::1%lab']}", `c:8:21: name server 2001:db8::1%lab is not link-local and needs no zone: want 2001:db8::1`},
		{"search", corpAddr, corpAddr + "\n    dns: {search: ['']}", `c:8:20: search domain "" is no domain name: want one such as corp.example.com`},

		// Attributes.
		{"medium", corpAddr, corpAddr + "\n    medium: Wi-Fi", `c:8:13: medium "Wi-Fi" is no word in lower case: want one such as wired, wlan, cellular, bluetooth, vpn or virtual`},
		{"medium, long", corpAddr, corpAddr + "\n    medium: " + strings.Repeat("x", maxTechnology+1), `c:8:13: medium "` + strings.Repeat("x", 64) + `" is no word in lower case: want one such as wired, wlan, cellular, bluetooth, vpn or virtual`},
		{"metered", corpAddr, corpAddr + "\n    metered: yes", `c:8:14: metered is the text "yes": want true or false`},
		{"cost", corpAddr, corpAddr + "\n    cost: 1.5", `c:8:11: cost is the number 1.5: want a whole number from 0 to 4294967295`},
		{"metric of a PvD", corpAddr, corpAddr + "\n    metric: -1", `c:8:13: metric is -1: want a whole number from 0 to 4294967295`},
		{"speed without unit", corpAddr, corpAddr + "\n    speed: '100'", `c:8:12: speed is "100": want bits a second, such as 64kbit/s, 100Mbit/s or 1.5Gbit/s`},
		{"speed in octets", corpAddr, corpAddr + "\n    speed: 100MB/s", `c:8:12: speed is "100MB/s": want bits a second, such as 64kbit/s, 100Mbit/s or 1.5Gbit/s`},
		{"speed with exponent", corpAddr, corpAddr + "\n    speed: 1e3Mbit/s", `c:8:12: speed is "1e3Mbit/s": want bits a second, such as 64kbit/s, 100Mbit/s or 1.5Gbit/s`},
		{"speed of nothing", corpAddr, corpAddr + "\n    speed: 0Mbit/s", `c:8:12: speed is "0Mbit/s": want bits a second, such as 64kbit/s, 100Mbit/s or 1.5Gbit/s`},
		{"speed beyond all", corpAddr, corpAddr + "\n    speed: 1001Tbit/s", `c:8:12: speed is "1001Tbit/s": want bits a second, such as 64kbit/s, 100Mbit/s or 1.5Gbit/s`},
		{"latency", corpAddr, corpAddr + "\n    latency: 20", `c:8:14: latency is the number 20: want a text, so put it in quotes`},
		{"latency without unit", corpAddr, corpAddr + "\n    latency: '20'", `c:8:14: latency is "20": want a time up to 24 hours such as 20ms or 1.5s`},
		{"group", corpAddr, corpAddr + "\n    groups: [a b]", `c:8:14: the name of a group is "a b": want letters, digits, '.', '-' and '_' only`},
		{"group twice", corpAddr, corpAddr + "\n    groups: [a, a]", `c:8:17: group "a" is here for the second time: leave one`},
		{"nat64, length", corpAddr, corpAddr + "\n    nat64: ['64:ff9b::/95']", `c:8:13: NAT64 prefix "64:ff9b::/95": want an IPv6 one of length 32, 40, 48, 56, 64 or 96, such as 64:ff9b::/96 (RFC 6052)`},
		{"nat64, IPv4", corpAddr, corpAddr + "\n    nat64: [10.0.0.0/32]", `c:8:13: NAT64 prefix "10.0.0.0/32": want an IPv6 one of length 32, 40, 48, 56, 64 or 96, such as 64:ff9b::/96 (RFC 6052)`},
		{"nat64, bits", corpAddr, corpAddr + "\n    nat64: ['2001:db8:0:0:100::/96']", `c:8:13: NAT64 prefix "2001:db8:0:0:100::/96" has a bit set from 64 to 71, which have to be zero (RFC 6052)`},
		{"nat64 twice", corpAddr, corpAddr + "\n    nat64: ['64:ff9b::/96', '64:ff9b::/96']", `c:8:29: NAT64 prefix 64:ff9b::/96 is here for the second time: leave one`},
		{"portal without API", corpAddr, corpAddr + "\n    captive_portal: {user: 'https://x.example/'}", `c:8:21: captive_portal has no "api": want the URL of its API, such as https://portal.example.com/api`},
		{"portal without TLS", corpAddr, corpAddr + "\n    captive_portal: {api: 'http://x.example/'}", `c:8:27: "http://x.example/" is no URL of a captive portal: want one such as https://portal.example.com/api`},
		{"proxy without protocol", corpAddr, corpAddr + "\n    proxies: [{address: 'x.example:1'}]", `c:8:15: the proxy has no "protocol": want "http-connect", "connect-udp", "connect-ip" or "socks5"`},
		{"proxy without address", corpAddr, corpAddr + "\n    proxies: [{protocol: socks5}]", `c:8:15: the proxy has no "address": want one such as proxy.example.com:3128`},
		{"proxy protocol", corpAddr, corpAddr + "\n    proxies: [{protocol: socks, address: 'x.example:1'}]", `c:8:26: proxy protocol "socks" is not known: did you mean "socks5"?`},
		{"proxy address", corpAddr, corpAddr + "\n    proxies: [{protocol: socks5, address: x.example}]", `c:8:43: "x.example" is no address of a proxy: want a host and a port such as proxy.example.com:3128`},
		{"proxy template", corpAddr, corpAddr + "\n    proxies: [{protocol: connect-udp, address: 'x.example:443'}]", `c:8:48: "x.example:443" is no URI template: want one such as https://proxy.example.com/masque/{target_host}/{target_port}/`},
		{"proxy for", corpAddr, corpAddr + "\n    proxies: [{protocol: socks5, address: 'x.example:1', for: [a..b]}]", `c:8:64: the destination of a proxy is "a..b": want a domain or a prefix, such as example.com or 10.0.0.0/8`},
		{"proxy for a prefix", corpAddr, corpAddr + "\n    proxies: [{protocol: socks5, address: 'x.example:1', for: [10.1.0.0/8]}]", `c:8:64: the destination of a proxy "10.1.0.0/8" has bits set after its length: want 10.0.0.0/8`},
		{"temporary IPv4", corpAddr, "[{address: 192.168.1.2/24, temporary: true}]", `c:7:54: IPv4 address 192.168.1.2 can not be temporary (RFC 8981): that is for IPv6`},
		{"home IPv4", corpAddr, "[{address: 192.168.1.2/24, home: true}]", `c:7:49: IPv4 address 192.168.1.2 can not be a home address (RFC 6275): that is for IPv6`},

		// Address selection.
		{"selection, no mapping", corpAddr, corpAddr + "\n    address_selection: first", `c:8:24: address_selection is the text "first": want a mapping of keys to values`},
		{"policy without prefix", corpAddr, corpAddr + "\n    address_selection: {policy: [{precedence: 1, label: 1}]}", `c:8:34: the row of the policy has no "prefix": want one such as 2001:db8::/32`},
		{"policy without precedence", corpAddr, corpAddr + "\n    address_selection: {policy: [{prefix: '::/0', label: 1}]}", `c:8:34: the row of the policy has no "precedence": want a number: the higher one is preferred`},
		{"policy without label", corpAddr, corpAddr + "\n    address_selection: {policy: [{prefix: '::/0', precedence: 1}]}", `c:8:34: the row of the policy has no "label": want a number: addresses of one label go together`},
		{"policy, bad prefix", corpAddr, corpAddr + "\n    address_selection: {policy: [{prefix: '2001::/8', precedence: 1, label: 1}]}", `c:8:43: policy for "2001::/8" has bits set after its length: want 2000::/8`},
		{"policy twice", corpAddr, corpAddr + "\n    address_selection: {policy: [{prefix: '::ffff:0:0/96', precedence: 1, label: 1}, {prefix: 0.0.0.0/0, precedence: 1, label: 1}]}", `c:8:95: the policy for 0.0.0.0/0 is here for the second time: leave one`},
		{"policy, precedence", corpAddr, corpAddr + "\n    address_selection: {policy: [{prefix: '::/0', precedence: -1, label: 1}]}", `c:8:63: precedence is -1: want a whole number from 0 to 2147483647`},
		{"scope without prefix", corpAddr, corpAddr + "\n    address_selection: {scopev4: [{scope: global}]}", `c:8:35: the scope has no "prefix": want one such as 10.0.0.0/8`},
		{"scope without scope", corpAddr, corpAddr + "\n    address_selection: {scopev4: [{prefix: 10.0.0.0/8}]}", `c:8:35: the scope has no "scope": want "link-local", "site-local" or "global"`},
		{"scope of IPv6", corpAddr, corpAddr + "\n    address_selection: {scopev4: [{prefix: 'fd00::/8', scope: global}]}", `c:8:44: scope of fd00::/8: IPv6 addresses say their scope themselves, want an IPv4 prefix such as 10.0.0.0/8`},
		{"scope twice", corpAddr, corpAddr + "\n    address_selection: {scopev4: [{prefix: 10.0.0.0/8, scope: global}, {prefix: 10.0.0.0/8, scope: global}]}", `c:8:81: the scope of 10.0.0.0/8 is here for the second time: leave one`},
		{"scope", corpAddr, corpAddr + "\n    address_selection: {scopev4: [{prefix: 10.0.0.0/8, scope: site}]}", `c:8:63: scope "site" is not known: want "link-local", "site-local" or "global"`},
		{"rule", corpAddr, corpAddr + "\n    address_selection: {without: [source-hom]}", `c:8:35: rule "source-hom" is not known: did you mean "source-home"?`},
		{"rule, far", corpAddr, corpAddr + "\n    address_selection: {without: [longest]}", `c:8:35: rule "longest" is not known: want one such as "source-home", "source-4", "destination-longest-ipv4" or "destination-9"`},
		{"order", corpAddr, corpAddr + "\n    address_selection: {order: route_first}", `c:8:32: order "route_first" is not known: did you mean "route-first"?`},
		{"gai.conf", corpAddr, corpAddr + "\n    address_selection: {gai_conf: precedence 1}", `c:8:35: gai_conf, line 1: precedence: a prefix and a value are wanted`},
		{"gai.conf, reload", corpAddr, corpAddr + "\n    address_selection: {gai_conf: reload yes}", `c:8:35: gai_conf says "reload yes", but is read with this file only: leave the line out`},
		{"gai.conf and policy", corpAddr, corpAddr + "\n    address_selection: {gai_conf: reload no, policy: []}", `c:8:54: "policy" and "gai_conf" say the same thing in two ways: leave one`},

		// Rules.
		{"rule, no mapping", proxy, appProxy + "rules: [pvd]", `c:13:9: a rule is the text "pvd": want a mapping of keys to values`},
		{"rule without action", proxy, appProxy + "rules: [{apps: [browser]}]", `c:13:9: the rule does nothing: want "pvd", "group", "choose" or "refuse"`},
		{"rule with two actions", proxy, appProxy + "rules: [{pvd: corp, refuse: true}]", `c:13:29: the rule does two things: want one of "pvd", "group", "choose" and "refuse"`},
		{"rule refusing not", proxy, appProxy + "rules: [{refuse: false}]", `c:13:18: refuse is false, so the rule does nothing: want "pvd", "group" or "choose"`},
		{"rule, app", proxy, appProxy + "rules: [{apps: [brwser], pvd: corp}]", `c:13:17: app "brwser" is not in the file: no proxy is for it: did you mean "browser"?`},
		{"rule, no app", proxy, appProxy + "rules: [{apps: [], pvd: corp}]", `c:13:16: apps is an empty list, which nothing meets: want an app, or no "apps"`},
		{"rule, destination", proxy, appProxy + "rules: [{to: [a..b], pvd: corp}]", `c:13:15: the destination of a rule is "a..b": want a domain or a prefix, such as example.com or 10.0.0.0/8`},
		{"rule, prefix", proxy, appProxy + "rules: [{to: [10.1.0.0/8], pvd: corp}]", `c:13:15: the destination of a rule "10.1.0.0/8" has bits set after its length: want 10.0.0.0/8`},
		{"rule, port 0", proxy, appProxy + "rules: [{ports: [0], pvd: corp}]", `c:13:18: "0" is no port: want one from 1 to 65535, or a range such as 8000-8999`},
		{"rule, port range", proxy, appProxy + "rules: [{ports: [9-8], pvd: corp}]", `c:13:18: "9-8" is no port: want one from 1 to 65535, or a range such as 8000-8999`},
		{"rule, port name", proxy, appProxy + "rules: [{ports: [http], pvd: corp}]", `c:13:18: "http" is no port: want one from 1 to 65535, or a range such as 8000-8999`},
		{"rule, protocol", proxy, appProxy + "rules: [{protocols: [sctp], pvd: corp}]", `c:13:22: protocol "sctp" is not known: did you mean "tcp"?`},
		{"rule, mark", proxy, appProxy + "rules: [{marks: [-1], pvd: corp}]", `c:13:18: one of marks is -1: want a whole number from 0 to 4294967295`},
		{"rule, no tos", proxy, appProxy + "rules: [{tos: [], pvd: corp}]", `c:13:15: tos is an empty list, which nothing meets: want a number, or no "tos"`},
		{"rule, PvD", proxy, appProxy + "rules: [{pvd: crop}]", `c:13:15: PvD "crop" is not in the file: did you mean "corp"?`},
		{"rule, no default", proxy, appProxy + "rules: [{pvd: default}]", `c:13:15: there is no default: add "default", or name a PvD here`},
		{"rule, group, hint", "addresses: [10.0.0.2/24]\nsocks5:", "groups: [office]\nrules: [{group: offce}]\nsocks5:", `c:11:17: no PvD is in group "offce": did you mean "office"?`},
		{"rule, group", proxy, appProxy + "rules: [{group: office}]", `c:13:17: no PvD is in group "office": add it to the "groups" of one`},
		{"rule, or_next", proxy, appProxy + "rules: [{pvd: corp, or_next: true}]", `c:13:30: "or_next" is for "group" and "choose", which may find nothing`},
		{"rule after all", proxy, appProxy + "rules: [{pvd: corp}, {apps: [browser], pvd: home}]", `c:13:9: every request meets this rule, so none after it counts: put it last, or say what it is for`},
		{"requirement, level", proxy, appProxy + "rules: [{choose: [{must: internet}]}]", `c:13:20: unknown key "must" in a requirement: want "avoid", "prefer", "prohibit" or "require"`},
		{"requirement, no mapping", proxy, appProxy + "rules: [{choose: [internet]}]", `c:13:19: a requirement is the text "internet": want a mapping of keys to values`},
		{"requirement, property", proxy, appProxy + "rules: [{choose: [{require: intrnet}]}]", `c:13:29: property "intrnet" is not known: did you mean "internet"?`},
		{"requirement, key", proxy, appProxy + "rules: [{choose: [{require: {speed: 1Mbit/s}}]}]", `c:13:30: unknown key "speed" in a property: want "group", "max_cost", "max_latency", "medium", "min_speed" or "pvd"`},
		{"requirement, medium", proxy, appProxy + "rules: [{choose: [{require: {medium: WLAN}}]}]", `c:13:38: medium "WLAN" is no word in lower case: want one such as wired, wlan, cellular, bluetooth, vpn or virtual`},
		{"requirement, speed", proxy, appProxy + "rules: [{choose: [{require: {min_speed: fast}}]}]", `c:13:41: min_speed is "fast": want bits a second, such as 64kbit/s, 100Mbit/s or 1.5Gbit/s`},
		{"requirement, latency", proxy, appProxy + "rules: [{choose: [{require: {max_latency: low}}]}]", `c:13:43: max_latency is "low": want a time up to 24 hours such as 20ms or 1.5s`},
		{"requirement, cost", proxy, appProxy + "rules: [{choose: [{require: {max_cost: low}}]}]", `c:13:40: max_cost is the text "low": want a whole number from 0 to 4294967295`},
		{"requirement, group", proxy, appProxy + "rules: [{choose: [{require: {group: office}}]}]", `c:13:37: no PvD is in group "office": add it to the "groups" of one`},
		{"requirement, PvD", proxy, appProxy + "rules: [{choose: [{require: {pvd: crop}}]}]", `c:13:35: PvD "crop" is not in the file: did you mean "corp"?`},
		{"contradiction", proxy, appProxy + "rules: [{choose: [{require: metered, prohibit: metered}]}]", `c:13:18: require metered contradicts prohibit metered: leave one out`},

		// The rest.
		{"default", "socks5:", "default: crop\nsocks5:", `c:11:10: default names "crop", which is no PvD: did you mean "corp"?`},
		{"default list", "socks5:", "default: [crop]\nsocks5:", `c:11:11: default names "crop", which is no PvD: did you mean "corp"?`},
		{"default list, empty", "socks5:", "default: []\nsocks5:", `c:11:10: default is an empty list: want a PvD, or several to fail over to, or null`},
		{"default list, mapping", "socks5:", "default: {corp: 1}\nsocks5:", `c:11:10: default is a mapping: want a text`},
		{"default list, no route", "socks5:", "default: [corp]\nsocks5:", `c:11:11: PvD "corp" has no routes, without which it never is the default among others: give it some, or leave it out`},
		{"default list, twice", "[192.168.1.2/24]\n  home:\n    links: [tun]\n    addresses: [10.0.0.2/24]", "[192.168.1.2/24]\n    routes: [{to: 10.0.0.0/8}]\ndefault: [corp, corp]", `c:9:17: PvD "corp" is here for the second time: leave one`},
		{"policy, no apps", "socks5:", "policy: {rules: [{pvds: ['*'], permission: denied}]}\nsocks5:", `c:11:18: the rule has no "apps": want a list of apps such as [browser], or ["*"]`},
		{"policy, no PvDs", "socks5:", "policy: {rules: [{apps: ['*'], permission: denied}]}\nsocks5:", `c:11:18: the rule has no "pvds": want a list of PvDs such as [corp], or ["*"]`},
		{"policy, no permission", "socks5:", "policy: {rules: [{apps: ['*'], pvds: ['*']}]}\nsocks5:", `c:11:18: the rule has no "permission": want "allowed", "denied" or "hidden"`},
		{"policy, permission", "socks5:", "policy: {default: deny}\nsocks5:", `c:11:19: permission "deny" is not known: want "allowed", "denied" or "hidden"`},
		{"policy, PvD", "socks5:", "policy: {rules: [{apps: ['*'], pvds: [crop], permission: denied}]}\nsocks5:", `c:11:39: PvD "crop" is not in the file: did you mean "corp"?`},
		{"policy, app", "socks5:", "policy: {no_bridge: [browser]}\nsocks5:", `c:11:22: app "browser" is not in the file: no proxy is for an app`},
		{"policy, app, hint", "socks5:\n", "default: corp\npolicy: {no_bridge: [brwser]}\nsocks5:\n  - {listen: 127.0.0.1:1081, app: browser}\n", `c:12:22: app "brwser" is not in the file: no proxy is for it: did you mean "browser"?`},
		{"policy, pattern", "socks5:\n", "default: corp\npolicy: {no_bridge: ['mail*']}\nsocks5:\n  - {listen: 127.0.0.1:1081, app: browser}\n", `c:12:22: app "mail*" is not in the file: no proxy is for it: want "browser"`},
		{"policy, empty list", "socks5:", "policy: {rules: [{apps: [], pvds: ['*'], permission: denied}]}\nsocks5:", `c:11:9: policy: rule 1: it is about no application or no PvD; "*" is all`},
		{"log level", "socks5:", "log: {level: trace}\nsocks5:", `c:11:14: log level "trace" is not known: want "debug", "info", "warn" or "error"`},
		{"log format", "socks5:", "log: {format: jsn}\nsocks5:", `c:11:15: log format "jsn" is not known: did you mean "json"?`},
		{"no listen", listen + ", ", "", `c:12:5: the proxy has no "listen": want an address and a port such as 127.0.0.1:1080`},
		{"no pvd", ", pvd: corp}", "}", `c:12:5: the proxy has no "pvd": want the name of a PvD, or "default", or an "app" instead`},
		{"missing pvd", "pvd: corp}", "pvd: cop}", `c:12:35: PvD "cop" is not in the file: did you mean "corp"?`},
		{"pvd and app", "pvd: corp}", "pvd: corp, app: browser}", `c:12:46: the proxy has both "pvd" and "app": leave one`},
		{"app's name", "pvd: corp}", "app: a b}\ndefault: corp", `c:12:35: the name of an app is "a b": want letters, digits, '.', '-' and '_' only`},
		{"app, undecided", "pvd: corp}", "app: browser}", `c:12:35: nothing says which PvD app "browser" gets: add "rules" or a "default"`},
		{"mark without app", "pvd: corp}", "pvd: corp, mark: 1}", `c:12:47: "mark" is for rules, which are asked where there is an "app" only`},
		{"tos", "pvd: corp}", "pvd: corp, tos: 256}", `c:12:46: tos is 256: want a whole number from 0 to 255`},
		{"no default", "pvd: corp}", "pvd: default}", `c:12:35: there is no default: add "default", or name a PvD here`},
		{"bad port", listen, "listen: 127.0.0.1:70000", `c:12:14: "127.0.0.1:70000" is no place to listen: want an address and a port such as 127.0.0.1:1080 or [::1]:1080`},
		{"listen on a name", listen, "listen: localhost:1080", `c:12:14: "localhost:1080" is no place to listen: want an address and a port such as 127.0.0.1:1080 or [::1]:1080`},
		{"listen on a group", listen, "force: true, listen: 224.0.0.1:1", `c:12:27: 224.0.0.1 is a multicast address: want one of this machine, such as 127.0.0.1`},
		{"public", listen, "listen: 0.0.0.0:1080", `c:12:14: 0.0.0.0:1080 can be reached from other machines, by anyone: want 127.0.0.1 or ::1, or "users", or "force: true"`},
		{"public, force: false", listen, "force: false, listen: '[2001:db8::1]:1080'", `c:12:28: [2001:db8::1]:1080 can be reached from other machines, by anyone: want 127.0.0.1 or ::1, or "users", or "force: true"`},
		{"listen twice", "pvd: corp}", "pvd: corp}\n  - {listen: 127.0.0.1:1080, pvd: home}", `c:13:14: the proxy of PvD "corp" listens on 127.0.0.1:1080 already: want another port`},
		{"listen twice, wildcard", "pvd: corp}", "pvd: corp}\n  - {listen: '[::]:1080', pvd: home, force: true}", `c:13:14: the proxy of PvD "corp" listens on 127.0.0.1:1080 already: want another port`},
		{"no user", "pvd: corp}", "pvd: corp, users: {}}", `c:12:48: there are no users, so nobody could use the proxy: want one, or no "users"`},
		{"user without name", "pvd: corp}", "pvd: corp, users: {'': x}}", `c:12:49: a user's name has 0 octets: want 1 to 255`},
		{"empty password", "pvd: corp}", "pvd: corp, users: {a: ''}}", `c:12:52: a password has 0 octets: want 1 to 255`},
		{"long password", "pvd: corp}", "pvd: corp, users: {a: " + strings.Repeat("x", 256) + "}}", `c:12:52: a password has 256 octets: want 1 to 255`},
		{"password is a number", "pvd: corp}", "pvd: corp, users: {a: 12345}}", `c:12:52: a password is not a text on one line: put it in quotes`},
		{"allow", "pvd: corp}", "pvd: corp, allow: [127.0.0.1/8]}", `c:12:49: allowed destination "127.0.0.1/8" has bits set after its length: want 127.0.0.0/8`},
		{"timeout", "pvd: corp}", "pvd: corp, timeouts: {idle: 5 minutes}}", `c:12:58: idle timeout is "5 minutes": want a time up to 24 hours such as 10s or 5m`},
		{"timeout too long", "pvd: corp}", "pvd: corp, timeouts: {dial: 25h}}", `c:12:58: dial timeout is "25h": want a time up to 24 hours such as 10s or 5m`},
		{"limit", "pvd: corp}", "pvd: corp, limits: {per_client: 0}}", `c:12:62: per_client is 0: want a whole number from 1 to 1048576`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Count(base, tt.old) != 1 {
				t.Fatalf("%q is not in base exactly once", tt.old)
			}
			_, err := Parse("c", []byte(strings.Replace(base, tt.old, tt.new, 1)))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// TestNoFault holds what looks like a fault and is none.
func TestNoFault(t *testing.T) {
	const corpAddr = "[192.168.1.2/24]"
	tests := []struct{ name, old, new string }{
		{"default null", "socks5:", "default: null\nsocks5:"},
		{"default ~", "socks5:", "default: ~\nsocks5:"},
		{"CRLF", "links:\n", "links:\r\n"},
		{"BOM", "links:\n", "\ufefflinks:\n"},
		{"document start", "links:\n", "---\nlinks:\n"},
		{"point to point", corpAddr, "[192.168.1.0/31]"},
		{"one host", corpAddr, "[192.168.1.0/32]"},
		{"equal addresses on Ethernet", "links: [tun]\n    addresses: [10.0.0.2/24]", "links: [lab]\n    addresses: [192.168.1.2/24]"},
		{"no addresses", "    addresses: " + corpAddr + "\n", ""},
		{"router by a route on the link", corpAddr, "[192.168.1.2/32]\n    routes: [{to: 10.9.9.9/32}, {to: default, via: 10.9.9.9}]"},
		{"router on a network of a link", corpAddr, corpAddr + "\n    routes: [{to: default, via: 192.168.1.1, link: lab}]"},
		{"link-local router, one link", corpAddr, corpAddr + "\n    routes: [{to: default, via: fe80::1}]"},
		{"port picked by the system", "127.0.0.1:1080, pvd: corp}", "127.0.0.1:0, pvd: corp}\n  - {listen: 127.0.0.1:0, pvd: home}"},
		{"public with users", "listen: 127.0.0.1:1080", "users: {a: b}, listen: 0.0.0.0:1080"},
		{"medium of another kind", corpAddr, corpAddr + "\n    medium: 5g-nr"},
		{"speeds", corpAddr, corpAddr + "\n    speed: 0.001kbit/s"},
		{"NAT64 prefixes", corpAddr, corpAddr + "\n    nat64: ['2001:db8::/32', '2001:db8:100::/40', '2001:db8:2::/48', '2001:db8:3::/56', '2001:db8:4::/64', '2001:db8:5::/96']"},
		{"proxies", corpAddr, corpAddr + "\n    proxies: [{protocol: connect-udp, address: 'https://x.example/{target_host}/{target_port}/'}, {protocol: http-connect, address: '[2001:db8::1]:3128'}]"},
		{"IPv6 addresses of all kinds", corpAddr, "[{address: '2001:db8::1/64', temporary: true, home: true, deprecated: true}]"},
		{"same port, other address", "pvd: corp}", "pvd: corp}\n  - {listen: 127.0.0.2:1080, pvd: home}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Count(base, tt.old) != 1 {
				t.Fatalf("%q is not in base exactly once", tt.old)
			}
			if _, err := Parse("c", []byte(strings.Replace(base, tt.old, tt.new, 1))); err != nil {
				t.Error(err)
			}
		})
	}
}
