package daemon

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	socksclient "golang.org/x/net/proxy"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

const learning = `links:
  a: {type: tap, discover: {ra: true, information: false}}
pvds:
  corp: {match: {id: corp.example.com}}
  home: {match: {link: a}}
default: home
rules:
  - {apps: [mail], pvd: corp}
  - {apps: [web], choose: [require: {pvd: corp}], or_next: true}
socks5:
  - {listen: 127.0.0.1:0, pvd: corp}
  - {listen: 127.0.0.1:0, pvd: corp.example.com}
  - {listen: 127.0.0.1:0, app: mail}
  - {listen: 127.0.0.1:0, pvd: home}
  - {listen: 127.0.0.1:0, pvd: default}
  - {listen: 127.0.0.1:0, app: web}
`

// TestLearned has PvDs come, go and come again, as their names in proxies, in rules and as
// the default do. Until they are there nothing takes their place.
func TestLearned(t *testing.T) {
	tuntest.CheckLeaks(t)
	d, links := runningOn(t, learning)
	far := links["a"]
	both(t, far)
	ofCorp, ofHome := d.proxies[:3], d.proxies[3:5]
	web := d.proxies[5]
	none := func(ps []*proxy, why string) {
		t.Helper()
		for _, p := range ps {
			if got := askAt(t, p, "[2001:db8:1::1]:7"); !strings.Contains(got, "network unreachable") {
				t.Errorf("%s: to %s: %s", why, p.config.Of(), got)
			}
		}
	}
	all := func(ps []*proxy, prefix string) {
		t.Helper()
		for _, p := range ps {
			if got := awaitAnswer(t, p, "["+prefix+"::1]:7"); got != prefix {
				t.Errorf("to %s: %s, want %s", p.config.Of(), got, prefix)
			}
		}
	}
	none(d.proxies, "before anything is learned")

	advertise(t, far, "fe80::c", "corp.example.com", "2001:db8:1::/64")
	all(ofCorp, "2001:db8:1")
	all([]*proxy{web}, "2001:db8:1")
	none(ofHome, "another PvD is there")

	advertise(t, far, "fe80::d", "", "2001:db8:2::/64")
	all(ofHome, "2001:db8:2")
	all(ofCorp, "2001:db8:1")

	// All go, and one comes again, which is another attachment.
	was := d.host.Default()
	if err := d.host.Discover("a", stack.Discovery{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all have gone", func() bool { _, err := d.learner.ref("corp"); return errors.Is(err, pvd.ErrNoPvD) })
	none(d.proxies, "all have gone")
	if err := d.discover(parse(t, learning)); err != nil {
		t.Fatal(err)
	}
	advertise(t, far, "fe80::d", "", "2001:db8:2::/64")
	all(ofHome, "2001:db8:2")
	none(ofCorp, "the other one is there")
	if now := d.host.Default(); now == was || now == pvd.Null {
		t.Errorf("the default was %v and is %v", was, now)
	}

	// A second router makes the name ambiguous, and the default stays.
	before := d.host.Default()
	advertise(t, far, "fe80::e", "", "2001:db8:1::/64")
	eventually(t, "the name is ambiguous", func() bool { _, err := d.learner.ref("home"); return errors.Is(err, pvd.ErrAmbiguous) })
	none(ofHome[:1], "there are two")
	if now := d.host.Default(); now != before {
		t.Errorf("the default is %v, want %v", now, before)
	}
}

// TestNamesAreNotTheNetworks holds that a network that calls its PvD what the configuration
// calls another one does not get what is for that.
func TestNamesAreNotTheNetworks(t *testing.T) {
	l := newLearner(parse(t, `links:
  a: {type: tap, discover: {ra: true}}
  b: {type: tap, discover: {ra: true}}
pvds:
  home: {match: {link: a}}
  guest: {match: {link: a, router: "fe80::1"}}
  corp: {match: {id: corp.example.com}}
  site: {match: {id: corp.example.com, link: b}}
default: other.example.com
`))
	routers := func(a ...string) (of []netip.Addr) {
		for _, s := range a {
			of = append(of, netip.MustParseAddr(s))
		}
		return of
	}
	r := pvd.NewRegistry(pvd.RegistryConfig{})
	for _, tt := range []struct {
		what   string
		name   string
		id     pvd.ID
		origin *learn.Origin // nil: not learned
		want   string        // the names that it is known by
	}{
		{"home", "home", "", &learn.Origin{Link: "a", Routers: routers("fe80::2")}, "home"},
		{"home, by DHCPv4 only", "home", "", &learn.Origin{Link: "a"}, "home"},
		{"an ID like a name", "home", "home", &learn.Origin{Link: "a"}, ""},
		{"the name on another link", "home", "", &learn.Origin{Link: "b"}, ""},
		{"a static PvD of that name", "home", "", nil, ""},
		{"guest", "guest", "", &learn.Origin{Link: "a", Routers: routers("fe80::2", "fe80::1")}, "guest"},
		{"another router", "guest", "", &learn.Origin{Link: "a", Routers: routers("fe80::2")}, ""},
		{"corp", "corp", "corp.example.com", &learn.Origin{Link: "a"}, "corp"},
		{"another ID", "corp", "corp.example.net", &learn.Origin{Link: "a"}, ""},
		{"site", "site", "corp.example.com", &learn.Origin{Link: "b"}, "site"},
		{"an ID", "x", "other.example.com", &learn.Origin{Link: "b"}, "other.example.com"},
		{"an ID as a name", "other.example.com", "", &learn.Origin{Link: "b"}, ""},
	} {
		t.Run(tt.what, func(t *testing.T) {
			ref, err := r.Add(t.Context(), func(b *pvd.Builder) {
				b.SetName(tt.name)
				b.SetID(tt.id)
				if tt.origin != nil {
					learn.Learned.Set(b, []learn.Origin{*tt.origin})
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			info, err := r.Info(ref)
			if err != nil {
				t.Fatal(err)
			}
			if changed := l.take(ref, info); changed != (tt.want != "") {
				t.Errorf("taking it in is a change: %v", changed)
			}
			var known []string
			for name := range l.names {
				if got, err := l.ref(name); err == nil && got == ref {
					known = append(known, name)
				}
			}
			if got := strings.Join(known, ","); got != tt.want {
				t.Errorf("it is known as %q, want %q", got, tt.want)
			}
			l.retain(map[pvd.Ref]bool{ref: true})
			if got, err := l.ref(tt.want); tt.want != "" && (err != nil || got != ref) {
				t.Errorf("retained, it is %v, %v", got, err)
			}
			if tt.id == "" {
				l.take(ref, nil)
			} else {
				l.retain(nil)
			}
			if got, err := l.ref(tt.want); !errors.Is(err, pvd.ErrNoPvD) {
				t.Errorf("after it is gone, it is %v, %v", got, err)
			}
		})
	}
}

// TestLearnedFailover fails over from a PvD that is not learned to one that is.
func TestLearnedFailover(t *testing.T) {
	tuntest.CheckLeaks(t)
	d, links := runningOn(t, `links:
  a: {type: tap, discover: {ra: true, information: false}}
  b: {type: tap}
pvds:
  corp: {match: {id: corp.example.com}}
  site: {links: [b], addresses: [192.168.1.2/24], routes: [{to: default, via: 192.168.1.1}]}
default: [site, corp]
socks5: [{listen: 127.0.0.1:0, pvd: default}]
`)
	both(t, links["a"])
	advertise(t, links["a"], "fe80::c", "corp.example.com", "2001:db8:1::/64")
	awaitPvD(t, d, "corp")
	awaitDefault(t, d, d.refs["site"])
	if err := d.host.RemoveLink("b"); err != nil {
		t.Fatal(err)
	}
	if got := awaitAnswer(t, d.proxies[0], "[2001:db8:1::1]:7"); got != "2001:db8:1" {
		t.Errorf("the default says %s", got)
	}
	if err := d.host.Discover("a", stack.Discovery{}); err != nil {
		t.Fatal(err)
	}
	awaitDefault(t, d, pvd.Null)
}

// both attaches hosts to a link that say which prefix they are in to whoever connects to
// port 7.
func both(t *testing.T, link tun.Link) {
	t.Helper()
	h, err := stack.New(stack.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	if err := h.AddLink("far", link); err != nil {
		t.Fatal(err)
	}
	refs := make(map[string]pvd.Ref)
	for _, prefix := range []string{"2001:db8:1", "2001:db8:2"} {
		refs[prefix], err = h.Add(t.Context(), pvd.Config{
			Links: []string{"far"}, Addresses: []pvd.Address{{Prefix: netip.MustParsePrefix(prefix + "::1/64")}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for prefix, ref := range refs {
		if err := h.WaitReady(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		l, err := h.In(ref).Listen(t.Context(), "tcp", ":7")
		if err != nil {
			t.Fatal(err)
		}
		go func() { // ends when the host closes
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, prefix)
				_ = c.Close()
			}
		}()
	}
}

// advertise sends a router advertisement with a prefix, of a PvD if it has an ID.
func advertise(t *testing.T, link tun.Link, router string, id pvd.ID, prefix string) {
	t.Helper()
	options := []ra.Option{ra.PrefixInformation{
		Prefix: netip.MustParsePrefix(prefix), OnLink: true, Autonomous: true, Valid: time.Hour, Preferred: time.Hour,
	}}
	if id != "" {
		options = []ra.Option{ra.PvDOption{ID: id, Options: options}}
	}
	src := netip.MustParseAddr(router)
	m, err := ra.Advertisement{Header: ra.Header{Lifetime: time.Hour}, Options: options}.Append(nil, src, ra.AllNodes)
	if err != nil {
		t.Fatal(err)
	}
	f := []byte{0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, src.As16()[15], 0x86, 0xdd, 0x60, 0, 0, 0}
	f = append(binary.BigEndian.AppendUint16(f, uint16(len(m))), 58, 255)
	f = append(append(append(f, src.AsSlice()...), ra.AllNodes.AsSlice()...), m...)
	if err := link.Send([][]byte{f}, tun.Meta{}); err != nil {
		t.Fatal(err)
	}
}

// awaitPvD waits until a PvD that is called or has the ID name is there.
func awaitPvD(t *testing.T, d *daemon, name string) {
	t.Helper()
	eventually(t, "PvD "+name+" is there", func() bool { _, err := d.host.Find(name); return err == nil })
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// askAt returns what an address says through a proxy, or the error.
func askAt(t *testing.T, p *proxy, address string) string {
	t.Helper()
	dialer, err := socksclient.SOCKS5("tcp", p.address(), nil, socksclient.Direct)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Error(err)
	}
	return string(got)
}

// awaitAnswer asks until there is an answer.
func awaitAnswer(t *testing.T, p *proxy, address string) (got string) {
	t.Helper()
	eventually(t, "an answer to "+p.config.Of(), func() bool {
		got = askAt(t, p, address)
		return !strings.Contains(got, "unreachable")
	})
	return got
}
