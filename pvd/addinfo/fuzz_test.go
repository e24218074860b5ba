package addinfo

import (
	"net/netip"
	"net/url"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{` + mandatoryKeys + `}`))
	f.Add([]byte(`{` + mandatoryKeys + `,"dnsZones":["example.com","\u00e9"],"noInternet":true,"vendor-foo":{"private-key":[-1.5e3,null]}}`))
	f.Add([]byte(`{` + mandatoryKeys + `,"proxies":[{"protocol":"socks5","proxy":"[2001:db8::1]:1080","identifier":"a","mandatory":["alpn"],"alpn":["h2"]},
		{"protocol":"connect-udp","proxy":"https://p.example/{target_host}"}],
		"proxy-match":[{"proxies":["a"],"domains":["*.example.com"],"subnets":["10.0.0.0/8"],"ports":["80","1-2"]},{"proxies":[]}]}`))
	f.Add([]byte(`{"identifier":"\ud83d\ude00","expires":"2026-03-02T06:00:60Z","prefixes":["::/0"]}`))
	f.Add([]byte(`{"a":[[[[[[[[1,]]]]]]]]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if raw, fault := parseJSON(body); fault == nil {
			agree(t, body, raw)
		}
		o, err := Parse(body, cafe, now)
		if err != nil {
			if _, ok := err.(*Fault); !ok || o != nil || len(err.Error()) > 1000 { //nolint:errorlint // it is documented to be one, not to wrap one
				t.Fatalf("%v, %T %v", o, err, err)
			}
			return
		}
		if o.ID != cafe || !o.Expires.After(now) || len(o.Zones) > MaxZones || len(o.Proxies) > MaxProxies || len(o.Rules) > MaxRules || len(o.Notes) > MaxNotes {
			t.Fatalf("%+v", o)
		}
		for _, p := range o.Prefixes {
			if !p.IsValid() || !p.Addr().Is6() || p != p.Masked() {
				t.Fatalf("prefix %v", p)
			}
		}
		for _, z := range o.Zones {
			if id, err := pvd.ParseID(z); err != nil || string(id) != z {
				t.Fatalf("zone %q: %v", z, err)
			}
		}
		o.Elements()
		Match(o.Proxies, o.Rules, Destination{Name: "www.example.com", Addrs: []netip.Addr{netip.IPv4Unspecified()}, Port: 80}, nil)
	})
}

func FuzzParsePortal(f *testing.F) {
	f.Add([]byte(`{"captive":true,"user-portal-url":"https://example.org/portal.html"}`))
	f.Add([]byte(`{"captive":false,"venue-info-url":"http://flight.example.com/","seconds-remaining":326,"can-extend-session":true,"bytes-remaining":1e9}`))
	f.Add([]byte(`{"captive":null,"seconds-remaining":-1.5}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := ParsePortal(body, api, now)
		if err != nil {
			return
		}
		if a.Portal.API != api || a.Session.Until.Before(now) && !a.Session.Until.IsZero() || a.Session.Until.Sub(now) > maxLifetime || len(a.Notes) > 5 {
			t.Fatalf("%+v", a)
		}
		for _, s := range []string{a.Portal.User, a.Session.Venue} {
			if u, err := url.Parse(s); s != "" && (err != nil || u.Host == "" || !isText(s)) {
				t.Fatalf("%q: %v", s, err)
			}
		}
	})
}
