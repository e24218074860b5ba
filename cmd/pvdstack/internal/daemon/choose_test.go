package daemon

import (
	"context"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

// routed is a configuration of two PvDs that may both be the default.
const routed = `links:
  a: {type: tap}
  b: {type: tap}
pvds:
  corp: {links: [a], addresses: [192.168.1.2/24], routes: [{to: default, via: 192.168.1.1}], groups: [office]}
  home: {links: [b], addresses: [192.168.1.2/24], routes: [{to: default, via: 192.168.1.1}], medium: wlan}
`

// TestFailover takes away the link of the PvD that is the default: the next request of an
// application, and of those who want the default, goes by the other PvD.
func TestFailover(t *testing.T) {
	d := running(t, routed+`
default: [corp, home]
socks5:
  - {listen: 127.0.0.1:0, app: browser}
  - {listen: 127.0.0.1:0, pvd: default}
  - {listen: 127.0.0.1:0, pvd: corp}
`)
	for _, p := range d.proxies {
		if got := ask(t, p); got != "corp" {
			t.Errorf("as %s: %s, want corp", p.config.Of(), got)
		}
	}
	if err := d.host.RemoveLink("a"); err != nil {
		t.Fatal(err)
	}
	awaitDefault(t, d, d.refs["home"])
	for _, p := range d.proxies[:2] {
		if got := ask(t, p); got != "home" {
			t.Errorf("as %s: %s, want home", p.config.Of(), got)
		}
	}
	if got := ask(t, d.proxies[2]); !strings.Contains(got, "network unreachable") {
		t.Errorf("as %s: %s, which must not fall back", d.proxies[2].config.Of(), got)
	}
	if err := d.host.RemoveLink("b"); err != nil {
		t.Fatal(err)
	}
	awaitDefault(t, d, pvd.Null)
	for _, p := range d.proxies {
		if got := ask(t, p); !strings.Contains(got, "network unreachable") {
			t.Errorf("as %s: %s, although there is nothing left", p.config.Of(), got)
		}
	}
}

// awaitDefault waits until a PvD is the default.
func awaitDefault(t *testing.T, d *daemon, want pvd.Ref) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, err := range d.host.Watch(ctx, pvd.Filter{Kinds: []pvd.EventKind{pvd.DefaultChanged}}) {
		if err != nil {
			t.Fatalf("the default is %v, want %v: %v", d.host.Default(), want, err)
		}
		if d.host.Default() == want {
			return
		}
	}
}

// TestChooseWhatIsPermitted has rules choose for apps that may not use all PvDs, or only one at
// a time: among the others, or where they are.
func TestChooseWhatIsPermitted(t *testing.T) {
	d := running(t, routed+`
default: home
rules:
  - {apps: [named], choose: [require: {pvd: corp}], or_next: true}
  - {apps: [only], choose: [require: {pvd: corp}]}
  - {choose: [prefer: {group: office}]}
policy:
  rules:
    - {apps: [denied, named, only], pvds: [corp], permission: denied}
    - {apps: [hidden], pvds: [corp], permission: hidden}
  no_bridge: [single]
socks5:
  - {listen: 127.0.0.1:0, app: free}
  - {listen: 127.0.0.1:0, app: denied}
  - {listen: 127.0.0.1:0, app: hidden}
  - {listen: 127.0.0.1:0, app: named}
  - {listen: 127.0.0.1:0, app: only}
  - {listen: 127.0.0.1:0, app: single}
`)
	for i, want := range []string{"corp", "home", "home", "home", "network unreachable"} {
		if got := ask(t, d.proxies[i]); !strings.HasSuffix(got, want) {
			t.Errorf("as %s: %s, want %s", d.proxies[i].config.Of(), got, want)
		}
	}
	c, err := d.apps["single"].In(d.refs["home"]).DialContext(t.Context(), "udp", "192.168.1.1:9")
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, d.proxies[5]); got != "home" {
		t.Errorf("who is at home, and may be in one PvD only: %s", got)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRules has requests of several applications go where rules and policy say.
func TestRules(t *testing.T) {
	d := running(t, routed+`
default: corp
rules:
  - {apps: [mail, guest], pvd: home}
  - {apps: [game], refuse: true}
  - {apps: [phone], choose: [require: {medium: cellular}]}
  - {apps: [tablet], choose: [require: {medium: cellular}], or_next: true}
  - {apps: [tablet], choose: [prefer: {medium: wlan}]}
  - {marks: [7], group: office}
  - {tos: [8], pvd: home}
  - {ports: [1-6, 8-9], pvd: home}
  - {to: [192.168.1.0/25], apps: [near], pvd: home}
  - {apps: [plain], pvd: default}
policy:
  rules:
    - {apps: [guest], pvds: [home], permission: denied}
    - {apps: [kiosk], pvds: [corp], permission: hidden}
socks5:
  - {listen: 127.0.0.1:0, app: mail}
  - {listen: 127.0.0.1:0, app: guest}
  - {listen: 127.0.0.1:0, app: game}
  - {listen: 127.0.0.1:0, app: phone}
  - {listen: 127.0.0.1:0, app: tablet}
  - {listen: 127.0.0.1:0, app: browser, mark: 7, tos: 8}
  - {listen: 127.0.0.1:0, app: browser, tos: 8}
  - {listen: 127.0.0.1:0, app: browser}
  - {listen: 127.0.0.1:0, app: near}
  - {listen: 127.0.0.1:0, app: plain}
  - {listen: 127.0.0.1:0, app: kiosk}
`)
	want := []string{
		"home", "connection not allowed by ruleset", "network unreachable", "network unreachable",
		"home", "corp", "home", "corp", "home", "corp", "network unreachable",
	}
	for i, p := range d.proxies {
		if got := ask(t, p); !strings.HasSuffix(got, want[i]) {
			t.Errorf("%d, as %s: %s, want %s", i, p.config.Of(), got, want[i])
		}
	}
	if n := len(d.apps); n != 9 {
		t.Errorf("there are %d apps, want 9: proxies for the same one share it", n)
	}
}
