package dns_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/stack/dns"
	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// The network of every provider is the same: only what is in it is not.
const (
	ownAddr    = "192.168.1.2"
	serverAddr = "192.168.1.1"
)

// A provider is a namespace with a name server, and a PvD that leads there.
type provider struct {
	name   string
	number int // what its answers have that others' have not
	ns     *tuntest.NS
	dir    string
	net    *stack.Network

	quiet atomic.Bool // frames are not looked at

	mu    sync.Mutex
	asked map[string]bool // names that went by UDP over its link
	stray []string        // what should not have
}

func (p *provider) addr4() string { return fmt.Sprintf("10.%d.0.1", p.number) }
func (p *provider) addr6() string { return fmt.Sprintf("fd00:%d::1", p.number) }

// see looks at the frames that leave.
func (p *provider) see(dir tun.Direction, bufs [][]byte, _ tun.Meta) {
	if dir != tun.Out || p.quiet.Load() {
		return
	}
	f := bytes.Join(bufs, nil)
	if len(f) < 14+20+8 || f[12] != 8 || f[13] != 0 {
		return
	}
	ip := f[14:]
	head := int(ip[0]&0xf) * 4
	src, dst := netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	p.mu.Lock()
	defer p.mu.Unlock()
	if src.String() != ownAddr || dst.String() != serverAddr && !dst.IsMulticast() {
		p.stray = append(p.stray, fmt.Sprintf("%v to %v", src, dst))
	}
	var m wire.Msg
	if udp := ip[head:]; ip[9] == 17 && udp[2] == 0 && udp[3] == 53 && m.Unpack(udp[8:]) == nil {
		p.asked[m.Question[0].Name] = true
	}
}

// A daemon is a name server that others wrote: what is run, and the files that it reads.
type daemon struct {
	name  string
	args  []string // {dir} is where the files are
	files map[string]string
	tls   bool // DNS over TLS and HTTPS, too
	// withoutSOA: names that do not exist are answered without the zone's SOA record.
	withoutSOA bool
}

// records are the zone example, of which {4} and {6} are the provider's, {own} its name.
const records = `$ORIGIN example.
$TTL 60
@ SOA ns me 1 3600 600 86400 30
@ NS ns
ns A 192.168.1.1
*.wild A {4}
*.wild AAAA {6}
*.only-{own} A {4}
text TXT "{own}"
long TXT {long}
alias CNAME x.wild
`

// local is the same for unbound.
const local = `
local-zone: "example." static
local-data: "example. 60 SOA ns.example. me.example. 1 3600 600 86400 30"
local-zone: "wild.example." redirect
local-data: "wild.example. 60 A {4}"
local-data: "wild.example. 60 AAAA {6}"
local-zone: "only-{own}.example." redirect
local-data: "only-{own}.example. 60 A {4}"
local-data: 'text.example. 60 TXT "{own}"'
local-data: 'long.example. 60 TXT {long}'
local-data: "alias.example. 60 CNAME x.wild.example."
`

var daemons = []daemon{
	{
		name: "dnsmasq", withoutSOA: true,
		args: []string{
			"dnsmasq", "--no-daemon", "--conf-file={dir}/dnsmasq.conf", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=",
			"--bind-interfaces", "--listen-address=" + serverAddr, "--txt-record=long.example,{commas}", // too long for a line of a file
		},
		files: map[string]string{"dnsmasq.conf": `local=/example/
address=/wild.example/{4}
address=/wild.example/{6}
address=/only-{own}.example/{4}
txt-record=text.example,{own}
host-record=x.wild.example,{4},{6}
cname=alias.example,x.wild.example
local-ttl=60
`},
	},
	{
		name: "unbound", tls: true,
		args: []string{"unbound", "-d", "-p", "-c", "{dir}/unbound.conf"},
		files: map[string]string{"unbound.conf": `server:
username: ""
chroot: ""
directory: "{dir}"
pidfile: ""
use-syslog: no
interface: 192.168.1.1
interface: 192.168.1.1@853
interface: 192.168.1.1@443
access-control: 0.0.0.0/0 allow
tls-service-key: "{dir}/key.pem"
tls-service-pem: "{dir}/cert.pem"
module-config: "iterator"
` + local + `remote-control:
control-enable: no
`},
	},
	{
		name: "named", tls: true,
		args: []string{"named", "-g", "-c", "{dir}/named.conf"},
		files: map[string]string{"example.zone": records, "named.conf": `tls own { key-file "{dir}/key.pem"; cert-file "{dir}/cert.pem"; };
options {
	directory "{dir}"; pid-file none; session-keyfile "{dir}/session.key"; lock-file none; recursion no;
	listen-on { 192.168.1.1; }; listen-on port 853 tls own { 192.168.1.1; }; listen-on port 443 tls own http default { 192.168.1.1; };
	listen-on-v6 { none; }; dnssec-validation no;
};
controls { };
zone "example" { type primary; file "example.zone"; };
`},
	},
	{
		name: "nsd",
		args: []string{"nsd", "-d", "-c", "{dir}/nsd.conf"},
		files: map[string]string{"example.zone": records, "nsd.conf": `server:
ip-address: 192.168.1.1
username: ""
chroot: ""
zonesdir: "{dir}"
database: ""
pidfile: ""
xfrdfile: "{dir}/xfrd.state"
zonelistfile: "{dir}/zone.list"
xfrdir: "{dir}"
rrl-ratelimit: 0
remote-control:
control-enable: no
zone:
name: example
zonefile: example.zone
`},
	},
}

// serve starts the daemon in p's namespace.
func (d daemon) serve(t testing.TB, p *provider) {
	t.Helper()
	if _, err := exec.LookPath(d.args[0]); err != nil {
		t.Skip("needs", d.name+":", err)
	}
	var pieces []string
	for range 20 {
		pieces = append(pieces, `"`+strings.Repeat(p.name[:1], 100)+`"`)
	}
	fill := strings.NewReplacer("{dir}", p.dir, "{4}", p.addr4(), "{6}", p.addr6(), "{own}", p.name,
		"{long}", strings.Join(pieces, " "), "{commas}", strings.ReplaceAll(strings.Join(pieces, ","), `"`, ""))
	for name, text := range d.files {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(fill.Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var args []string
	for _, a := range d.args {
		args = append(args, fill.Replace(a))
	}
	var out bytes.Buffer
	cmd := p.ns.Command(args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s of %s:\n%s", d.name, p.name, out.Bytes())
		}
	})
	ports := []string{"53"}
	if d.tls {
		ports = append(ports, "853", "443")
	}
	for _, port := range ports {
		p.await(t, port)
	}
}

// await waits until the server takes connections, and answers.
func (p *provider) await(t testing.TB, port string) {
	t.Helper()
	var err error
	for range 1000 {
		var c net.Conn
		p.ns.Do(func() { c, err = net.DialTimeout("tcp", net.JoinHostPort(serverAddr, port), time.Second) })
		if err == nil {
			ready := port != "53" || answers(c)
			c.Close()
			if ready {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("port %s: not ready: %v", port, err)
}

// answers asks for what every server has. One that listens may still have to load it.
func answers(c net.Conn) bool {
	conn := wire.Conn{Conn: c}
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if conn.WriteMsg(new(wire.Msg).SetQuestion("text.example.", wire.TypeTXT)) != nil {
		return false
	}
	m, err := conn.ReadMsg()
	return err == nil && len(m.Answer) == 1
}

// newProviders makes a host with a PvD for each name. Both PvDs have the same address, as
// their servers have.
func newProviders(t testing.TB, names ...string) []*provider {
	t.Helper()
	h, err := stack.New(stack.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	var ps []*provider
	for i, name := range names {
		p := &provider{name: name, number: i + 1, ns: tuntest.NewNS(t), dir: t.TempDir(), asked: make(map[string]bool)}
		var l tun.Link
		p.ns.Do(func() { l, err = tun.OpenTAP(tun.TAPConfig{Name: "lan", MTU: 1500}) })
		if err != nil {
			t.Fatal(err)
		}
		if err := h.AddLink(name, tun.Tap(l, p.see)); err != nil {
			t.Fatal(err)
		}
		p.ns.IP("addr", "add", serverAddr+"/24", "dev", "lan")
		p.ns.IP("link", "set", "lan", "up")
		ref, err := h.Add(t.Context(), pvd.Config{
			Name: name, Links: []string{name},
			Addresses: []pvd.Address{{Prefix: netip.MustParsePrefix(ownAddr + "/24")}},
			DNS:       pvd.DNS{Servers: []netip.AddrPort{netip.MustParseAddrPort(serverAddr + ":53")}, Search: []string{"example"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := h.WaitReady(ctx, ref, pvd.HasAddr4); err != nil {
			t.Fatal(err)
		}
		p.net = h.In(ref)
		ps = append(ps, p)
	}
	return ps
}

// resolver returns one of the PvD's, apart from the PvD's own.
func (p *provider) resolver(c dns.Config) *dns.Resolver {
	conf := pvd.DNS{Servers: []netip.AddrPort{netip.MustParseAddrPort(serverAddr + ":53")}, Search: []string{"example"}}
	c.DNS = func() pvd.DNS { return conf }
	c.Dial = p.net.DialContext
	return dns.New(c)
}

// check looks up what p has, and what only the others have. The names are p's own, so that
// they can be seen to stay on its link.
func (p *provider) check(t *testing.T, i int, others []*provider) {
	host := fmt.Sprintf("%s%d", p.name, i)
	got, err := p.net.LookupNetIP(t.Context(), "ip", host+".wild.example")
	if err != nil || len(got) != 2 || got[0].String() != p.addr6() || got[1].String() != p.addr4() {
		t.Errorf("%s: %v, %v", host, got, err)
	}
	for _, o := range others {
		got, err := p.net.LookupNetIP(t.Context(), "ip4", host+".only-"+o.name+".example")
		if o == p {
			if err != nil || len(got) != 1 || got[0].String() != p.addr4() {
				t.Errorf("%s: its own: %v, %v", host, got, err)
			}
			continue
		}
		if e, ok := errors.AsType[*net.DNSError](err); !ok || !e.IsNotFound {
			t.Errorf("%s: of %s: %v, %v", host, o.name, got, err)
		}
	}
}

// Servers that others wrote, in namespaces, at the same address: the same names have other
// answers, and no answer is mixed up, negative ones included. Nothing is asked elsewhere.
func TestR25_S7_P8_RealServers(t *testing.T) {
	notShort(t)
	for _, d := range daemons {
		t.Run(d.name, func(t *testing.T) {
			ps := newProviders(t, "corp", "home")
			for _, p := range ps {
				writeCertificate(t, p.dir)
				d.serve(t, p)
			}
			var wg sync.WaitGroup
			for i := range 200 { // of each PvD: five questions each, and half of them twice
				for _, p := range ps {
					wg.Go(func() { p.check(t, i, ps) })
					if i%2 == 0 {
						wg.Go(func() { p.check(t, i, ps) })
					}
				}
			}
			wg.Wait()
			for _, p := range ps {
				p.checkRest(t, d)
				p.judge(t)
			}
		})
	}
}

// checkRest looks up what is not addresses, is long, or is kept.
func (p *provider) checkRest(t *testing.T, d daemon) {
	t.Helper()
	r := p.resolver(dns.Config{})
	defer r.Close()
	for range 2 {
		if got, err := r.LookupTXT(t.Context(), "text"); err != nil || len(got) != 1 || got[0] != p.name {
			t.Errorf("%s: text: %q, %v", p.name, got, err)
		}
	}
	var nets []string
	ctx := dns.WithTrace(t.Context(), func(e dns.Event) { nets = append(nets, e.Net+" "+e.Source.Addr().String()) })
	got, err := r.LookupTXT(ctx, "long.example")
	if err != nil || len(got) != 1 || got[0] != strings.Repeat(p.name[:1], 2000) ||
		strings.Join(nets, ", ") != "udp "+ownAddr+", tcp "+ownAddr {
		t.Errorf("%s: long: %d texts, %v by %q", p.name, len(got), err, nets)
	}
	if d.name != "unbound" { // which does not follow what it has been told itself
		if name, err := r.LookupCNAME(t.Context(), "alias"); err != nil || name != "x.wild.example." {
			t.Errorf("%s: alias: %s, %v", p.name, name, err)
		}
	}
	q := dns.Question{Name: p.name + ".none.example.", Type: wire.TypeA}
	for _, want := range []dns.CacheState{dns.Miss, dns.Hit} {
		m, info, err := r.Query(t.Context(), q)
		if d.withoutSOA {
			want = dns.Miss
		}
		if err != nil || m.Rcode != wire.RcodeNameError || info.Cache != want {
			t.Errorf("%s: none: %v, %+v, %v", p.name, m, info, err)
		}
	}
}

// judge looks at what has left by the provider's link.
func (p *provider) judge(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.stray) > 0 {
		t.Errorf("%s: %d stray packets: %s", p.name, len(p.stray), p.stray[0])
	}
	if len(p.asked) < 400 {
		t.Errorf("%s: %d names were asked for", p.name, len(p.asked))
	}
	for name := range p.asked {
		if !strings.HasPrefix(name, p.name) && !strings.HasPrefix(name, "text") && !strings.HasPrefix(name, "long") && !strings.HasPrefix(name, "alias") {
			t.Errorf("%s: %s was asked for by its link", p.name, name)
		}
	}
}

// The same servers over TLS and HTTPS.
func TestRealServersEncrypted(t *testing.T) {
	notShort(t)
	for _, d := range daemons {
		if !d.tls {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			p := newProviders(t, "corp")[0]
			roots := writeCertificate(t, p.dir)
			d.serve(t, p)
			for _, alpn := range []string{"dot", "h2"} {
				servers := []pvd.EncryptedServer{{
					Name: resolverID, Addrs: []netip.Addr{netip.MustParseAddr(serverAddr)}, ALPN: []string{alpn}, Path: "/dns-query{?dns}",
				}}
				r := p.resolver(dns.Config{RootCAs: roots, Encrypted: func() []pvd.EncryptedServer { return servers }})
				var wg sync.WaitGroup
				for i := range 200 {
					wg.Go(func() {
						got, err := r.LookupNetIP(t.Context(), "ip4", fmt.Sprintf("x%d.wild.example", i))
						if err != nil || len(got) != 1 || got[0].String() != p.addr4() {
							t.Errorf("%s: %v, %v", alpn, got, err)
						}
					})
				}
				wg.Wait()
				if got, err := r.LookupTXT(t.Context(), "long"); err != nil || len(got) != 1 || len(got[0]) != 2000 {
					t.Errorf("%s: long: %v", alpn, err)
				}
				_ = r.Close()
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if len(p.asked) > 0 || len(p.stray) > 0 {
				t.Errorf("asked without encryption: %v, %v", p.asked, p.stray)
			}
		})
	}
}

// notShort skips a test that takes long.
func notShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("slow: starts name servers")
	}
}
