package config

import (
	"strings"
	"testing"
)

// TestNamesFaults makes one change each to a configuration of DNS servers and steering.
func TestNamesFaults(t *testing.T) {
	const (
		encrypted = "{name: dns.example, addresses: [192.168.1.53], protocols: [dot]}"
		resolving = "{strategy: parallel, timeout: 2s, ndots: 2, mix_case: true}"
		stub      = "listen: 127.0.0.1:53, pvd: corp"
		entry     = "{suffix: corp.example, pvd: corp}"
		trust     = "[uni]"
	)
	text := base + "dns:\n  - {" + stub + "}\nsteer:\n  table: [" + entry + "]\n  trust: " + trust + "\n"
	text = strings.Replace(text, "{type: tun}", "{type: tun, discover: {ra: true}}", 1)
	text = strings.Replace(text, "  home:\n", "    dns: {encrypted: ["+encrypted+"], resolving: "+resolving+"}\n  uni: {match: {link: tun}}\n  home:\n", 1)
	if _, err := Parse("c", []byte(text)); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, old, new, want string }{
		// How servers are asked.
		{"no name", "name: dns.example, ", "", `c:8:23: the server has no "name": want what its certificate is for, such as dns.example.com`},
		{"name", "dns.example", "a..b", `c:8:30: name "a..b" is no domain name: want what the server's certificate is for, such as dns.example.com`},
		{"no addresses", "addresses: [192.168.1.53], ", "", `c:8:23: the server has no "addresses": want a list such as [192.168.1.53]: its name is not looked up`},
		{"address with port", "[192.168.1.53]", "['192.168.1.53:853']", `c:8:55: "192.168.1.53:853" is no address of a name server: want one such as 192.168.1.53 or fe80::53%lab`},
		{"multicast", "[192.168.1.53]", "[224.0.0.1]", `c:8:55: name server 224.0.0.1 is a multicast address: want a unicast address`},
		{"link-local without link", "[192.168.1.53]", "['fe80::1']", `c:8:55: name server fe80::1 is link-local: want its link too, as in fe80::1%lab`},
		{"no protocols", ", protocols: [dot]", "", `c:8:23: the server has no "protocols": want a list of "dot", "h2" or "http/1.1"`},
		{"protocol", "[dot]", "[doq]", `c:8:82: protocol "doq" is not known: did you mean "dot"?`},
		{"no path", "[dot]", "[h2]", `c:8:23: the server has no "path": want a URI template such as /dns-query{?dns}`},
		{"path", "[dot]", "[h2], path: dns-query", `c:8:93: path "dns-query" is no URI template of a DNS server: want one such as /dns-query{?dns}`},
		{"name of no host", "dns.example", "dns!.example", `c:8:30: name "dns!.example" is no domain name: want what the server's certificate is for, such as dns.example.com`},
		{"path, another variable", "[dot]", "[h2], path: '/{?dns}{?x}'", `c:8:93: path "/{?dns}{?x}" is no URI template of a DNS server: want one such as /dns-query{?dns}`},
		{"path, two slashes", "[dot]", "[h2], path: '//x{?dns}'", `c:8:93: path "//x{?dns}" is no URI template of a DNS server: want one such as /dns-query{?dns}`},
		{"path, fragment", "[dot]", "[h2], path: '/{?dns}#x'", `c:8:93: path "/{?dns}#x" is no URI template of a DNS server: want one such as /dns-query{?dns}`},
		{"path, space", "[dot]", "[h2], path: '/ {?dns}'", `c:8:93: path "/ {?dns}" is no URI template of a DNS server: want one such as /dns-query{?dns}`},
		{"path, long", "[dot]", "[h2], path: '/" + strings.Repeat("x", maxPath) + "{?dns}'", `c:8:93: path "/` + strings.Repeat("x", maxQuoted-1) + `…" is no URI template of a DNS server: want one such as /dns-query{?dns}`},
		{"port", "[dot]", "[dot], port: 0", `c:8:94: port is 0: want a whole number from 1 to 65535`},
		{"strategy", "parallel", "paralle", `c:8:112: strategy "paralle" is not known: did you mean "parallel"?`},
		{"timeout", "2s", "2", `c:8:131: timeout is the number 2: want a text, so put it in quotes`},
		{"timeout, bare", "2s", "'2'", `c:8:131: timeout is "2": want a time up to 24 hours such as 1s or 500ms`},
		{"ndots", "ndots: 2", "ndots: 128", `c:8:142: ndots is 128: want a whole number from 1 to 127`},

		// DNS servers.
		{"no listen", stub, "pvd: corp", `c:16:5: the DNS server has no "listen": want an address and a port such as 127.0.0.1:5301`},
		{"no PvD", stub, "listen: 127.0.0.1:53", `c:16:5: the DNS server has no "pvd": want the name of a PvD, or "default", or an "app" instead`},
		{"both", stub, stub + ", app: x", `c:16:44: the DNS server has both "pvd" and "app": leave one`},
		{"no default", stub, "listen: 127.0.0.1:53, pvd: default", `c:16:33: there is no default: add "default", or name a PvD here`},
		{"other PvD", stub, "listen: 127.0.0.1:53, pvd: cor", `c:16:33: PvD "cor" is not in the file: did you mean "corp"?`},
		{"public", stub, "listen: 0.0.0.0:53, pvd: corp", `c:16:14: 0.0.0.0:53 can be reached from other machines, by anyone: want 127.0.0.1 or ::1, or "force: true"`},
		{"nowhere", stub, "listen: 53, pvd: corp", `c:16:14: listen is the number 53: want a text, so put it in quotes`},
		{"no port", stub, "listen: 127.0.0.1, pvd: corp", `c:16:14: "127.0.0.1" is no place to listen: want an address and a port such as 127.0.0.1:5301 or [::1]:5301`},
		{"twice", "{" + stub + "}", "{" + stub + "}\n  - {" + stub + "}", `c:17:14: the DNS server of PvD "corp" listens on 127.0.0.1:53 already: want another port`},
		{"beside a proxy", "127.0.0.1:53", "127.0.0.1:1080", `c:16:14: the proxy of PvD "corp" listens on 127.0.0.1:1080 already: want another port`},

		// Steering.
		{"nothing", "  table: [" + entry + "]\n  trust: " + trust, "  table: []", `c:18:3: steer says neither "table" nor "trust": want one, or no "steer"`},
		{"a list", "  table: [" + entry + "]\n  trust: " + trust, "  - " + entry, `c:18:3: steer is a list: want a mapping of keys to values`},
		{"no suffix", entry, "{pvd: corp}", `c:18:11: the entry has no "suffix": want a domain such as corp.example.com, or "." for all`},
		{"entry without PvD", entry, "{suffix: corp.example}", `c:18:11: the entry has no "pvd": want the name of a PvD`},
		{"suffix", "suffix: corp.example", "suffix: '*.corp.example'", `c:18:20: suffix "*.corp.example" is no domain name: want one such as corp.example.com, or "." for all`},
		{"suffix twice", entry, entry + ", {suffix: CORP.example., pvd: home}", `c:18:55: suffix "CORP.example." is here for the second time: leave one`},
		{"PvD of a suffix", entry, "{suffix: corp.example, pvd: crop}", `c:18:39: PvD "crop" is not in the file: did you mean "corp"?`},
		{"trust in nobody", trust, "[unni]", `c:19:11: PvD "unni" is not in the file: did you mean "uni"?`},
		{"trust in what is not learned", trust, "[corp]", `c:19:11: PvD "corp" is not learned, so it claims no names: put its names into "table"`},
		{"trust twice", trust, "[uni, uni]", `c:19:16: PvD "uni" is here for the second time: leave one`},
		{"too many entries", entry, entry + strings.Repeat(", {}", 1024), ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(text, tt.old) {
				t.Fatalf("%q is not in the configuration", tt.old)
			}
			_, err := Parse("c", []byte(strings.Replace(text, tt.old, tt.new, 1)))
			switch {
			case tt.want == "" && (err == nil || !strings.Contains(err.Error(), "the table has 1025 entries: want 1024 at most")):
				t.Errorf("got %v", err)
			case tt.want != "" && (err == nil || err.Error() != tt.want):
				t.Errorf("got\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
}
