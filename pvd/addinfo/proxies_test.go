package addinfo

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

func TestMatch(t *testing.T) {
	o, err := Parse([]byte(`{`+mandatoryKeys+`,
		"proxies":[
			{"protocol":"http-connect","proxy":"tcp.example:80","identifier":"tcp"},
			{"protocol":"http-connect","proxy":"tcp2.example:80","identifier":"tcp","mandatory":["identifier"]},
			{"protocol":"connect-udp","proxy":"https://udp.example/{?target_host,target_port}","identifier":"udp","alpn":["h3"]},
			{"protocol":"socks5","proxy":"[2001:db8::1]:1080","identifier":"unused"},
			{"protocol":"https-connect","proxy":"any.example:443"}],
		"proxy-match":[
			{"proxies":[],"domains":["secret.internal.example."]},
			{"proxies":["udp","tcp"],"domains":["*.internal.example","one.example"],"ports":["80","443-444"]},
			{"proxies":["nobody"]},
			{"proxies":["tcp"],"subnets":["10.0.0.0/8","2001:db8:1::5"]},
			{"proxies":["unused"],"acme_pid":["7"]}]}`), "cafe.example.com", now)
	if err != nil || len(o.Notes) != 1 {
		t.Fatalf("%+v, %v", o, err)
	}
	tcp := func(p pvd.Proxy) bool { return p.Protocol != "connect-udp" }
	udp := func(p pvd.Proxy) bool { return p.Protocol == "connect-udp" }
	at := func(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }
	const udpTemplate = "https://udp.example/{?target_host,target_port}"
	tests := []struct {
		name   string
		to     Destination
		usable func(pvd.Proxy) bool
		want   []string
	}{
		{"below a wildcard", Destination{Name: "a.b.internal.example", Port: 80}, nil, []string{udpTemplate, "tcp.example:80", "tcp2.example:80"}},
		{"a wildcard's own name", Destination{Name: "Internal.Example.", Port: 443}, tcp, []string{"tcp.example:80", "tcp2.example:80"}},
		{"only one protocol", Destination{Name: "x.internal.example", Port: 444}, udp, []string{udpTemplate}},
		{"a name that only ends so", Destination{Name: "xinternal.example", Port: 80}, nil, []string{"any.example:443"}},
		{"an exact name", Destination{Name: "one.example", Port: 80}, tcp, []string{"tcp.example:80", "tcp2.example:80"}},
		{"below an exact name", Destination{Name: "a.one.example", Port: 80}, tcp, []string{"any.example:443"}},
		{"another port", Destination{Name: "one.example", Port: 445}, nil, []string{"any.example:443"}},
		{"no proxy at all", Destination{Name: "secret.internal.example", Port: 80}, nil, nil},
		{"an address", Destination{Addrs: at("10.1.2.3"), Port: 22}, tcp, []string{"tcp.example:80", "tcp2.example:80"}},
		{"an address in IPv6 form", Destination{Addrs: at("::ffff:10.1.2.3"), Port: 22}, tcp, []string{"tcp.example:80", "tcp2.example:80"}},
		{"a single address", Destination{Addrs: at("2001:db8:1::5"), Port: 22}, tcp, []string{"tcp.example:80", "tcp2.example:80"}},
		{"its neighbour", Destination{Addrs: at("2001:db8:1::6"), Port: 22}, tcp, []string{"any.example:443"}},
		{"no proxy of the rule is usable", Destination{Addrs: at("10.1.2.3"), Port: 22}, udp, nil},
	}
	for _, tt := range tests {
		var got []string
		for _, p := range Match(o.Proxies, o.Rules, tt.to, tt.usable) {
			got = append(got, p.Address)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
