package addinfo

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const mandatoryKeys = `"identifier":"cafe.example.com.","expires":"2026-03-02T06:00:00Z","prefixes":["2001:db8:1::/48","2001:db8:4::/48"]`

func prefixes(ss ...string) (ps []netip.Prefix) {
	for _, s := range ss {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func TestParse(t *testing.T) {
	o, err := Parse([]byte(`{`+mandatoryKeys+`,
		"dnsZones":["Example.com.","sub.example.com","example.com"], "noInternet":true,
		"proxies":[{"protocol":"socks5","proxy":"proxy.example.com:1080","identifier":"s"}],
		"proxy-match":[{"proxies":["s"],"domains":["*.Example.com."],"subnets":["192.0.2.9","2001:db8::1/32"],"ports":["80","1024-2048"]}],
		"vendor-foo":{"private-key":"private-value","noInternet":false}, "urn:ietf:x":{}, "splitDnsClaims":7, "unknown":[{}]}`),
		"cafe.example.com", now)
	if err != nil {
		t.Fatal(err)
	}
	yes := true
	want := &Object{
		ID: "cafe.example.com", Expires: time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC),
		Prefixes: prefixes("2001:db8:1::/48", "2001:db8:4::/48"),
		Zones:    []string{"example.com", "sub.example.com"}, NoInternet: &yes,
		Proxies: []pvd.Proxy{{ID: "s", Protocol: "socks5", Address: "proxy.example.com:1080"}},
		Rules: []Rule{{
			Proxies: []string{"s"}, Domains: []string{"*.example.com"},
			Subnets: prefixes("192.0.2.9/32", "2001:db8::/32"), Ports: []PortRange{{80, 80}, {1024, 2048}},
		}},
	}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("got %+v\nwant %+v", o, want)
	}
	var keys []string
	for _, e := range o.Elements() {
		keys = append(keys, e.Key().String())
	}
	if got := fmt.Sprint(keys); got != "[dns zones no internet proxies proxy rules]" {
		t.Errorf("elements %s", got)
	}
	o, err = Parse([]byte(`{`+mandatoryKeys+`}`), "cafe.example.com", now)
	if err != nil || len(o.Elements()) != 0 || o.NoInternet != nil {
		t.Errorf("mandatory keys only: %+v, %v", o, err)
	}
}

// TestParseRefuses has one fault each.
func TestParseRefuses(t *testing.T) {
	with := func(old, replacement string) string {
		s := "{" + mandatoryKeys + "}"
		if !strings.Contains(s, old) {
			t.Fatalf("no %s", old)
		}
		return strings.Replace(s, old, replacement, 1)
	}
	const date = `"2026-03-02T06:00:00Z"`
	tests := []struct {
		name, body string
		reason     Reason
		want       string
	}{
		{"the first example of RFC 8801 section 4.3.1", `{
     "identifier": "cafe.example.com.",
     "expires": "2026-05-23T06:00:00Z",
     "prefixes": ["2001:db8:1::/48", "2001:db8:4::/48"],
   }`, BadJSON, "'}' where a name is expected"},
		{"the second example of RFC 8801 section 4.3.1", `{
     "identifier": "company.foo.example.com.",
     "expires": "2026-05-23T06:00:00Z",
     "prefixes": ["2001:db8:1::/48", "2001:db8:4::/48"],
     "vendor-foo":
       {
           "private-key": "private-value",
       },
   }`, BadJSON, "'}' where a name is expected"},
		{"no identifier", with(`"identifier":"cafe.example.com.",`, ``), MissingKey, "identifier"},
		{"another case of a key", with(`"identifier"`, `"Identifier"`), MissingKey, "identifier"},
		{"identifier of another type", with(`"cafe.example.com."`, `["cafe.example.com"]`), BadValue, "identifier: an array, want a string"},
		{"empty identifier", with(`"cafe.example.com."`, `""`), BadValue, `identifier: "" is no domain name`},
		{"bad identifier", with(`"cafe.example.com."`, `"cafe..com"`), BadValue, "no domain name"},
		{"another identifier", with(`cafe`, `tea`), OtherID, `"tea.example.com.", but the PvD is "cafe.example.com"`},
		{"an identifier with more", with(`cafe.example.com.`, `cafe.example.com.evil`), OtherID, "evil"},
		{"no date", with(`"expires":"2026-03-02T06:00:00Z",`, ``), MissingKey, "expires"},
		{"date of another type", with(date, `1772431200`), BadValue, "expires: a number, want a string"},
		{"date without time", with(date, `"2026-03-02"`), BadValue, "expires"},
		{"date without zone", with(date, `"2026-03-02T06:00:00"`), BadValue, "expires"},
		{"date with a space", with(date, `"2026-03-02 06:00:00Z"`), BadValue, "expires"},
		{"date with a comma", with(date, `"2026-03-02T06:00:00,5Z"`), BadValue, "expires"},
		{"date of another form", with(date, `"Mon, 02 Mar 2026 06:00:00 GMT"`), BadValue, "expires"},
		{"no such day", with(date, `"2026-02-30T06:00:00Z"`), BadValue, "expires"},
		{"no such leap second", with(date, `"2026-03-02T06:00:60Z"`), BadValue, "expires"},
		{"date that is past", with(`2026-03-02`, `2020-05-23`), Expired, "not in the future"},
		{"date that is now", with(date, `"2026-03-01T12:00:00Z"`), Expired, "not in the future"},
		{"date that is past in another zone", with(date, `"2026-03-01T13:00:00+02:00"`), Expired, "not in the future"},
		{"no prefixes", with(`,"prefixes":["2001:db8:1::/48","2001:db8:4::/48"]`, ``), MissingKey, "prefixes"},
		{"prefixes of another type", with(`["2001:db8:1::/48","2001:db8:4::/48"]`, `"2001:db8:1::/48"`), BadValue, "prefixes: a string, want an array"},
		{"null", with(`["2001:db8:1::/48","2001:db8:4::/48"]`, `null`), BadValue, "prefixes: null, want an array"},
		{"a prefix of another type", with(`"2001:db8:4::/48"`, `4`), BadValue, "prefixes[1]: a number"},
		{"an IPv4 prefix", with(`2001:db8:4::/48`, `192.0.2.0/24`), BadValue, `prefixes[1]: "192.0.2.0/24" is no IPv6 prefix`},
		{"an IPv4 prefix in IPv6 form", with(`2001:db8:4::/48`, `::ffff:192.0.2.0/120`), BadValue, "prefixes[1]"},
		{"an address", with(`2001:db8:4::/48`, `2001:db8:4::1`), BadValue, "prefixes[1]"},
		{"too long a length", with(`2001:db8:4::/48`, `2001:db8:4::/129`), BadValue, "prefixes[1]"},
		{"a zone", with(`2001:db8:4::/48`, `fe80::%eth0/64`), BadValue, "prefixes[1]"},
		{"too many prefixes", with(`["2001:db8:1::/48"`, `[`+strings.Repeat(`"::/0",`, MaxPrefixes)+`"::/0"`), TooMany, "prefixes: 1026 entries, the limit is 1024"},
	}
	for _, tt := range tests {
		o, err := Parse([]byte(tt.body), "cafe.example.com", now)
		f, ok := errors.AsType[*Fault](err)
		if o != nil || !ok || f.Reason != tt.reason || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, %v, want %q and %q", tt.name, o, err, tt.reason, tt.want)
		}
	}
}

func TestParseAccepts(t *testing.T) {
	tests := []struct{ identifier, date, prefixes string }{
		{"CAFE.Example.coM", "2026-03-02T06:00:00Z", `[]`},
		{"cafe.example.com", "2026-03-02t06:00:00.25z", `["::/0"]`},
		{"cafe.example.com.", "2026-12-31T23:59:60Z", `["2001:db8::1/128"]`},
		{"cafe.example.com.", "2026-03-01T12:00:01+00:00", `["2001:DB8::/32"]`},
		{"cafe.example.com.", "9999-12-31T23:59:59-12:00", `["2001:0db8:0::/32"]`},
	}
	for _, tt := range tests {
		body := fmt.Sprintf(`{"identifier":%q,"expires":%q,"prefixes":%s}`, tt.identifier, tt.date, tt.prefixes)
		if o, err := Parse([]byte(body), "cafe.example.com", now); err != nil || len(o.Notes) != 0 {
			t.Errorf("%s: %v, %v", body, o, err)
		}
	}
}

// TestParseNotes holds that an optional part that is wrong is left out, alone, and noted.
func TestParseNotes(t *testing.T) {
	tests := []struct{ key, value, want string }{
		{"noInternet", `"true"`, "noInternet: a string, want a boolean"},
		{"dnsZones", `"example.com"`, "dnsZones: a string, want an array"},
		{"dnsZones", `[7]`, "dnsZones[0]: a number, want a string"},
		{"dnsZones", `["a b"]`, `dnsZones[0]: "a b" is no domain name`},
		{"dnsZones", `[""]`, "dnsZones[0]"},
		{"proxies", `{}`, "proxies: an object, want an array"},
		{"proxies", `[1]`, "proxies[0]: a number, want an object"},
		{"proxies", `[{"proxy":"h:1"}]`, "proxies[0].protocol: it is mandatory"},
		{"proxies", `[{"protocol":"socks5"}]`, "proxies[0].proxy: it is mandatory"},
		{"proxies", `[{"protocol":5,"proxy":"h:1"}]`, "proxies[0].protocol: want a string"},
		{"proxies", `[{"protocol":"socks5","proxy":"h:1","identifier":""}]`, "proxies[0].identifier: want a string"},
		{"proxies", `[{"protocol":"socks4","proxy":"h:1"}]`, `proxies[0].protocol: "socks4" is not known`},
		{"proxies", `[{"protocol":"socks5","proxy":"h"}]`, `proxies[0].proxy: "h" is no place`},
		{"proxies", `[{"protocol":"socks5","proxy":"h:0"}]`, `proxies[0].proxy: "h:0" is no place`},
		{"proxies", `[{"protocol":"socks5","proxy":"h:99999"}]`, "proxies[0].proxy"},
		{"proxies", `[{"protocol":"http-connect","proxy":"https://h/"}]`, "proxies[0].proxy"},
		{"proxies", `[{"protocol":"connect-udp","proxy":"h:443"}]`, "proxies[0].proxy"},
		{"proxies", `[{"protocol":"connect-udp","proxy":"http://h/{target_host}"}]`, "proxies[0].proxy"},
		{"proxies", `[{"protocol":"connect-ip","proxy":"https://u@h/"}]`, "proxies[0].proxy"},
		{"proxies", `[{"protocol":"socks5","proxy":"h:1","mandatory":["acme_x"],"acme_x":1}]`, `proxies[0].mandatory: "acme_x" is not understood`},
		{"proxies", `[{"protocol":"socks5","proxy":"h:1","mandatory":true}]`, "proxies[0].mandatory: a boolean"},
		{"proxies", `[{"protocol":"socks5","proxy":"h:1","mandatory":[1]}]`, "proxies[0].mandatory: a number"},
		{"proxy-match", `{}`, "proxy-match: an object, want an array"},
		{"proxy-match", `[true]`, "proxy-match[0]: a boolean, want an object"},
		{"proxy-match", `[{"ports":["80"]}]`, "proxy-match[0].proxies: it is mandatory"},
		{"proxy-match", `[{"proxies":"a"}]`, "proxy-match[0].proxies: a string, want an array"},
		{"proxy-match", `[{"proxies":[],"acme_pid":["1"]}]`, `proxy-match[0]: key "acme_pid" is not known`},
		{"proxy-match", `[{"proxies":[],"domains":[]}]`, "proxy-match[0].domains: it is empty"},
		{"proxy-match", `[{"proxies":[],"domains":["a.*.b"]}]`, "proxy-match[0].domains[0]"},
		{"proxy-match", `[{"proxies":[],"domains":["*"]}]`, "proxy-match[0].domains[0]"},
		{"proxy-match", `[{"proxies":[],"subnets":["10.0.0.0/33"]}]`, "proxy-match[0].subnets[0]"},
		{"proxy-match", `[{"proxies":[],"subnets":["fe80::1%x"]}]`, "proxy-match[0].subnets[0]"},
		{"proxy-match", `[{"proxies":[],"ports":[80]}]`, "proxy-match[0].ports[0]"},
		{"proxy-match", `[{"proxies":[],"ports":["90-80"]}]`, "proxy-match[0].ports[0]"},
		{"proxy-match", `[{"proxies":[],"ports":["80-65536"]}]`, "proxy-match[0].ports[0]"},
	}
	for _, tt := range tests {
		body := fmt.Sprintf("{%s,%q:%s}", mandatoryKeys, tt.key, tt.value)
		o, err := Parse([]byte(body), "cafe.example.com", now)
		if err != nil || len(o.Elements()) != 0 || len(o.Notes) != 1 || !strings.Contains(o.Notes[0].Error(), tt.want) {
			t.Errorf("%s %s: %+v, %v, want a note with %q", tt.key, tt.value, o, err, tt.want)
		}
	}
	o, err := Parse([]byte(`{`+strings.Replace(mandatoryKeys, "2001:db8:4::/48", "2001:db8:4::5/48", 1)+`}`), "cafe.example.com", now)
	if err != nil || o.Prefixes[1] != netip.MustParsePrefix("2001:db8:4::/48") || len(o.Notes) != 1 {
		t.Errorf("bits beyond the length: %+v, %v", o, err)
	}
}

func TestParseLimits(t *testing.T) {
	many := func(n int, format string) string {
		var parts []string
		for i := range n {
			parts = append(parts, fmt.Sprintf(format, i))
		}
		return strings.Join(parts, ",")
	}
	o, err := Parse([]byte(`{`+mandatoryKeys+`,"dnsZones":[`+many(MaxZones+1, `"z%d.example"`)+
		`],"proxies":[`+many(MaxProxies+1, `{"protocol":"socks5","proxy":"h%d:1"}`)+
		`],"proxy-match":[`+many(MaxRules+1, `{"proxies":["p%d"]}`)+`]}`), "cafe.example.com", now)
	if err != nil || len(o.Zones) != MaxZones || len(o.Proxies) != MaxProxies || len(o.Rules) != MaxRules || len(o.Notes) != 3 {
		t.Fatalf("%d zones, %d proxies, %d rules, %v, %v", len(o.Zones), len(o.Proxies), len(o.Rules), o.Notes, err)
	}
	o, err = Parse([]byte(`{`+mandatoryKeys+`,"proxy-match":[{"proxies":[`+many(MaxRuleEntries+1, `"p%d"`)+`]}]}`), "cafe.example.com", now)
	if err != nil || len(o.Rules) != 0 || len(o.Notes) != 1 || o.Notes[0].Reason != TooMany {
		t.Errorf("a long rule: %v, %v, %v", o.Rules, o.Notes, err)
	}
	o, err = Parse([]byte(`{`+mandatoryKeys+`,"dnsZones":[`+many(MaxZones, `%d`)+`]}`), "cafe.example.com", now)
	if err != nil || len(o.Notes) != MaxNotes {
		t.Errorf("%d notes, %v, want %d", len(o.Notes), err, MaxNotes)
	}
}

// TestFaultIsShort holds that a fault repeats little of what the network says, and only
// what can be shown.
func TestFaultIsShort(t *testing.T) {
	_, err := Parse([]byte(`{"identifier":"`+strings.Repeat(`\u001b[31m`, 1000)+`","expires":"","prefixes":[]}`), "cafe.example.com", now)
	if s := err.Error(); len(s) > 500 || strings.Contains(s, "\x1b") {
		t.Errorf("%d octets: %q", len(s), s)
	}
}

func TestCovers(t *testing.T) {
	tests := []struct {
		has, pios []netip.Prefix
		want      string
	}{
		{nil, nil, ""},
		{prefixes("2001:db8:1::/48"), nil, ""},
		{prefixes("2001:db8:1::/48"), prefixes("2001:db8:1:2::/64"), ""},
		{prefixes("2001:db8:1::/48"), prefixes("2001:db8:1::/48"), ""},
		{prefixes("2001:db8:1::/48", "2001:db8:4::/48"), prefixes("2001:db8:4:2::/64", "2001:db8:1:2::/64"), ""},
		{prefixes("::/0"), prefixes("fd00::/8"), ""},
		{nil, prefixes("2001:db8:1::/64"), "2001:db8:1::/64"},
		{prefixes("2001:db8:1::/48"), prefixes("2001:db8::/32"), "2001:db8::/32"},
		{prefixes("2001:db8:1::/48"), prefixes("2001:db8:1::/64", "2001:db8:2::/64"), "2001:db8:2::/64"},
	}
	for _, tt := range tests {
		err := (&Object{Prefixes: tt.has}).Covers(tt.pios)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%v covers %v: %v", tt.has, tt.pios, err)
		case tt.want != "" && (ReasonOf(err) != NotCovered || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%v covers %v: %v, want one with %s", tt.has, tt.pios, err, tt.want)
		}
	}
}
