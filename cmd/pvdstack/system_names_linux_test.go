package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// ispUnbound and ispNamed are configurations of name servers at 192.168.1.1.
const (
	ispUnbound = `server:
username: ""
chroot: ""
directory: "{dir}"
pidfile: ""
use-syslog: no
interface: 192.168.1.1
access-control: 0.0.0.0/0 allow
module-config: "iterator"
local-zone: "isp.example." static
local-data: "isp.example. 60 SOA ns.isp.example. me.isp.example. 1 3600 600 86400 30"
local-data: "www.isp.example. 60 A 192.168.1.80"
local-data: "corp.isp.example. 60 A 192.168.1.80"
local-data: "odd.isp.example. 60 TYPE65280 \# 3 c0ffee"
local-data: 'long.isp.example. 60 TXT {long}'
remote-control:
control-enable: no
`
	ispNamed = `options {
	directory "{dir}"; pid-file none; session-keyfile "{dir}/session.key"; lock-file none; recursion no;
	listen-on { 192.168.1.1; }; listen-on-v6 { none; }; dnssec-validation no;
};
controls { };
key "host" { algorithm hmac-sha256; secret "c2VjcmV0IG9mIHRoZSBob3N0"; };
zone "isp.example" { type primary; file "zone"; update-policy { grant host zonesub ANY; }; };
`
	ispZone = `$TTL 60
@ SOA ns.isp.example. me.isp.example. 1 3600 600 86400 30
@ NS ns
ns A 192.168.1.1
www A 192.168.1.82
`
)

// startISP makes a network at the other end of a link of host's, in which the name server is
// 192.168.1.1, as everywhere.
func startISP(t *testing.T, host *tuntest.NS, wan, server string) *tuntest.NS {
	t.Helper()
	isp := tuntest.NewNS(t)
	tuntest.Veth(host, wan, isp, "eth0")
	isp.IP("link", "set", "lo", "up")
	isp.IP("addr", "add", "192.168.1.1/24", "dev", "eth0")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		long := fmt.Sprintf(`"%s" "%s" "%s" "%s" "%s" "%s"`, strings.Repeat("a", 250), strings.Repeat("b", 250), strings.Repeat("c", 250),
			strings.Repeat("d", 250), strings.Repeat("e", 250), strings.Repeat("f", 250))
		if err := os.WriteFile(path, []byte(strings.NewReplacer("{dir}", dir, "{long}", long).Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	switch server {
	case "unbound":
		keepRunning(t, isp, "unbound", "-d", "-p", "-c", write("unbound.conf", ispUnbound))
	case "named":
		write("zone", ispZone)
		keepRunning(t, isp, "named", "-g", "-c", write("named.conf", ispNamed))
	default:
		serveNames(t, isp, "192.168.1.1", "--local=/isp.example/", "--host-record=www.isp.example,192.168.1.81", "--local-ttl=60")
		return isp
	}
	eventually(t, server+" listens", func() bool {
		return strings.Contains(isp.Exec("ss", "-Hlnu"), "192.168.1.1:53 ")
	}, linkwatch/100)
	return isp
}

const namesConfig = `links:
  a: {type: packet, interface: wan0}
  b: {type: packet, interface: wan1}
  c: {type: packet, interface: wan2}
pvds:
  corp: {links: [a], addresses: [192.168.1.2/24], dns: {servers: [192.168.1.1], search: [isp.example]}}
  home: {links: [b], addresses: [192.168.1.2/24], dns: {servers: [192.168.1.1], resolving: {strategy: escalation}}}
  lab: {links: [c], addresses: [192.168.1.2/24], dns: {servers: [192.168.1.1]}}
default: home
`

func namesHost(t *testing.T) *tuntest.NS {
	t.Helper()
	host := tuntest.NewNS(t)
	for i, server := range []string{"unbound", "dnsmasq", "named"} {
		startISP(t, host, fmt.Sprintf("wan%d", i), server)
	}
	return host
}

// TestSystemStub has programs that know nothing of PvDs look names up in three of them, whose
// name servers have the same address and know the same name (S7, S32, P8, P21).
func TestSystemStub(t *testing.T) {
	t.Parallel()
	host := namesHost(t)
	d := startDaemon(t, host, namesConfig+`dns:
  - {listen: 127.0.0.1:5301, pvd: corp}
  - {listen: 127.0.0.1:5302, pvd: home}
  - {listen: 127.0.0.1:5303, pvd: lab}
  - {listen: 127.0.0.1:5304, pvd: default}
  - {listen: 127.0.0.1:53, app: browser}
steer:
  table: [{suffix: corp.isp.example, pvd: corp}, {suffix: lab.isp.example, pvd: lab}]
`)
	dig := func(port int, args ...string) string {
		t.Helper()
		return strings.TrimSpace(host.Exec(append([]string{"dig", "@127.0.0.1", "-p", fmt.Sprint(port), "+tries=1", "+time=10"}, args...)...))
	}
	for _, transport := range []string{"+notcp", "+tcp"} {
		for port, want := range map[int]string{5301: "192.168.1.80", 5302: "192.168.1.81", 5303: "192.168.1.82", 5304: "192.168.1.81", 53: "192.168.1.81"} {
			for range 2 { // from the server, from the cache
				if got := dig(port, transport, "+short", "www.isp.example"); got != want {
					t.Errorf("%s to port %d: %q, want %s", transport, port, got, want)
				}
			}
		}
		// P36, P38: names choose the PvD.
		if got := dig(53, transport, "+short", "corp.isp.example"); got != "192.168.1.80" {
			t.Errorf("%s: a name that is corp's: %q", transport, got)
		}
	}

	// RFC 5625: the case of names, types that are not known, truncation, EDNS.
	has := func(got string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
	}
	has(dig(5301, "WwW.iSp.ExAmPlE"), ";WwW.iSp.ExAmPlE.", "status: NOERROR", "flags: qr rd ra;", "EDNS: version: 0, flags:; udp: 1232")
	has(dig(5301, "+noedns", "none.isp.example"), "status: NXDOMAIN", "ADDITIONAL: 0", "SOA")
	has(dig(5301, "odd.isp.example", "TYPE65280"), `\# 3 C0FFEE`)
	has(dig(5301, "+ignore", "+noedns", "long.isp.example", "TXT"), "flags: qr tc rd ra;")
	has(dig(5301, "+noedns", "long.isp.example", "TXT"), "Truncated, retrying in TCP mode", strings.Repeat("f", 250))
	has(dig(5301, "+bufsize=4096", "long.isp.example", "TXT"), "(UDP)", strings.Repeat("f", 250))
	has(dig(5301, "+edns=1", "+noednsneg", "www.isp.example"), "status: BADVERS")
	has(dig(5302, "nothing.elsewhere.example"), "status: SERVFAIL")

	// The C library, told by resolv.conf.
	dir := t.TempDir()
	for name, text := range map[string]string{"resolv.conf": "nameserver 127.0.0.1\nsearch isp.example\n", "nsswitch.conf": "hosts: dns\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script := fmt.Sprintf("mount --bind %[1]s/resolv.conf /etc/resolv.conf && mount --bind %[1]s/nsswitch.conf /etc/nsswitch.conf && exec getent hosts ", dir)
	for name, want := range map[string]string{"www": "192.168.1.81", "corp.isp.example": "192.168.1.80"} {
		got := host.Exec("unshare", "-m", "sh", "-c", script+name)
		if first, _, _ := strings.Cut(got, " "); first != want {
			t.Errorf("getent %s: %q, want %s", name, got, want)
		}
	}
	d.stop(syscall.SIGTERM)
}

// TestP37_SystemUpdate has nsupdate change a zone in a PvD, through the stub, signed and by UDP
// and TCP. Only the PvD's server has what it says then.
func TestP37_SystemUpdate(t *testing.T) {
	t.Parallel()
	host := namesHost(t)
	d := startDaemon(t, host, namesConfig+`dns:
  - {listen: 127.0.0.1:5301, pvd: corp}
  - {listen: 127.0.0.1:5303, pvd: lab}
  - {listen: 127.0.0.1:53, app: updater}
steer: {table: [{suffix: isp.example, pvd: lab}]}
`)
	update := func(port int, what string, args ...string) error {
		cmd := host.Command(append([]string{"nsupdate", "-t", "10"}, args...)...)
		cmd.Stdin = strings.NewReader(fmt.Sprintf("server 127.0.0.1 %d\nzone isp.example\nupdate %s\nsend\n", port, what))
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	const key = "hmac-sha256:host:c2VjcmV0IG9mIHRoZSBob3N0"
	for i, transport := range [][]string{nil, {"-v"}} {
		for j, port := range []int{5303, 53} {
			name := fmt.Sprintf("h%d%d.isp.example", i, j)
			if err := update(port, "add "+name+" 60 A 192.0.2.7", append([]string{"-y", key}, transport...)...); err != nil {
				t.Errorf("%v to port %d: %v", transport, port, err)
			}
			if got := strings.TrimSpace(host.Exec("dig", "@127.0.0.1", "-p", "5303", "+short", name)); got != "192.0.2.7" {
				t.Errorf("%s is %q", name, got)
			}
			if got := host.Exec("dig", "@127.0.0.1", "-p", "5301", name); !strings.Contains(got, "status: NXDOMAIN") {
				t.Errorf("in the other PvD: %s", got)
			}
		}
	}
	if err := update(5303, "add x.isp.example 60 A 192.0.2.8"); err == nil || !strings.Contains(err.Error(), "REFUSED") {
		t.Errorf("without signature: %v", err)
	}
	if err := update(5303, "add x.isp.example 60 A 192.0.2.8", "-y", "hmac-sha256:host:d3Jvbmc="); err == nil || !strings.Contains(err.Error(), "BADSIG") {
		t.Errorf("with another key: %v", err)
	}
	// A signed question is answered with a signature, too.
	if got := host.Exec("dig", "@127.0.0.1", "-p", "5303", "-y", key, "www.isp.example"); !strings.Contains(got, "192.168.1.82") || !strings.Contains(got, "TSIG PSEUDOSECTION") || strings.Contains(got, "verify") {
		t.Errorf("signed: %s", got)
	}
	d.stop(syscall.SIGTERM)
}

// TestSystemResolve looks names up by the command alone.
func TestSystemResolve(t *testing.T) {
	t.Parallel()
	host := namesHost(t)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	before := settled(t, host)
	resolve := func(args ...string) (stdout, stderr string, code int) {
		t.Helper()
		cmd := host.Command(append([]string{path, "resolve", "-c", "-"}, args...)...)
		cmd.Stdin = strings.NewReader(namesConfig + "steer: {table: [{suffix: corp.isp.example, pvd: corp}]}\n")
		out, err := cmd.Output()
		exit, failed := errors.AsType[*exec.ExitError](err)
		if failed {
			return string(out), string(exit.Stderr), exit.ExitCode()
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(out), "", 0
	}
	type resolution struct {
		PvD     string   `json:"pvd"`
		Answers []string `json:"answers"`
		Steps   []struct {
			Name, Type, Cache, Server, Net, Source, Link, Rcode string
			NextHop                                             string `json:"next_hop"`
			Time                                                int64  `json:"nanoseconds"`
		} `json:"steps"`
	}
	for _, tt := range []struct {
		args            []string
		pvd, link, want string
	}{
		{[]string{"--pvd", "corp", "www"}, "corp", "a", "192.168.1.80"},
		{[]string{"--pvd", "home", "www.isp.example"}, "home", "b", "192.168.1.81"},
		{[]string{"www.isp.example"}, "home", "b", "192.168.1.81"},
		{[]string{"corp.isp.example"}, "corp", "a", "192.168.1.80"},
		{[]string{"--pvd", "lab", "--type", "ns", "isp.example"}, "lab", "c", "isp.example.\t60\tIN\tNS\tns.isp.example."},
	} {
		out, stderr, code := resolve(append([]string{"--json"}, tt.args...)...)
		var r resolution
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || len(r.Steps) == 0 {
			t.Errorf("%q: %v, exit code %d\n%s%s", tt.args, err, code, out, stderr)
			continue
		}
		s := r.Steps[0]
		if r.PvD != tt.pvd || !slices.Equal(r.Answers, []string{tt.want}) || s.Link != tt.link || s.Cache != "miss" || s.Server != "192.168.1.1:53" ||
			s.Net != "udp" || !strings.HasPrefix(s.Source, "192.168.1.2:") || s.NextHop != "192.168.1.1" || s.Rcode != "NOERROR" || s.Time <= 0 {
			t.Errorf("%q: %s", tt.args, out)
		}
	}
	out, stderr, code := resolve("--pvd", "corp", "--type", "A", "www.isp.example")
	for _, want := range []string{
		"pvd     corp\n\nname    www.isp.example. A\ncache   miss\nserver  192.168.1.1:53 udp\nsource  192.168.1.2:",
		"\nroute   link a, next hop 192.168.1.1\ntime    ", "\nresult  NOERROR, for 1m0s\n\nwww.isp.example.\t60\tIN\tA\t192.168.1.80\n",
	} {
		if code != 0 || stderr != "" || !strings.Contains(out, want) {
			t.Errorf("exit code %d, stderr %q, no %q in\n%s", code, stderr, want, out)
		}
	}
	if out, stderr, code := resolve("--pvd", "corp", "--trace", "--type", "TXT", "long.isp.example"); code != 0 || !strings.Contains(out, "truncated") || !strings.Contains(out, ":53 tcp\n") {
		t.Errorf("trace: exit code %d, stderr %q\n%s", code, stderr, out)
	}
	// Nobody is asked what everybody knows.
	out, stderr, code = resolve("--pvd", "corp", "localhost")
	if want := "pvd     corp\n\nname    localhost\ncache   local\nresult  known\n\n"; code != 0 || stderr != "" || !strings.HasPrefix(out, want) {
		t.Errorf("exit code %d, stderr %q, no %q in\n%s", code, stderr, want, out)
	}
	// Nobody answers where no server is.
	silent := "  quiet: {links: [c], addresses: [192.168.1.3/24], dns: {servers: [192.168.1.99], resolving: {timeout: 10ms}}}\n"
	cmd := host.Command(path, "resolve", "-c", "-", "--pvd", "quiet", "--type", "A", "x.example")
	cmd.Stdin = strings.NewReader(strings.Replace(namesConfig, "default: home\n", silent, 1))
	if out, err := cmd.Output(); err == nil || !strings.Contains(string(out), "\nresult  no answer: ") || strings.Contains(string(out), "no answer: no answer") {
		t.Errorf("without an answer: %v\n%s", err, out)
	}
	for _, tt := range []struct {
		args []string
		want string
		code int
	}{
		{[]string{"--pvd", "corp", "none.isp.example"}, "pvdstack: lookup none.isp.example on 192.168.1.1:53: no such host\n", 1},
		{[]string{"--pvd", "corp", "--type", "MX", "www.isp.example"}, "pvdstack: lookup www.isp.example: no record of type MX\n", 1},
		{[]string{"--pvd", "corp", "--type", "A", "none.isp.example"}, "pvdstack: lookup none.isp.example: no such host\n", 1},
	} {
		if out, stderr, code := resolve(tt.args...); code != tt.code || stderr != tt.want || !strings.Contains(out, "pvd     corp\n") {
			t.Errorf("%q: exit code %d, stderr %q, want %q\n%s", tt.args, code, stderr, tt.want, out)
		}
	}
	checkUnchanged(t, host, before)
}

// TestSystemResolveLearned looks a name up in a PvD that is learned from dnsmasq. The lease is given
// back.
func TestSystemResolveLearned(t *testing.T) {
	t.Parallel()
	host := tuntest.NewNS(t)
	leases := learningNetwork(t, host, "wan0", "isp")
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	before := settled(t, host)
	state := filepath.Join(t.TempDir(), "state")
	for _, tt := range []struct {
		discover, config string
		args             []string
		want             string
		code             int
	}{
		{"{dhcp4: true}", "pvds: {home: {match: {link: a}}}\ndefault: home\nstate: " + state + "\n", []string{"--pvd", "home", "--type", "A", "www.corp.example"}, "IN\tA\t192.168.1.1\n", 0},
		{"{ra: true}", "", []string{"--pvd", "corp.example.com", "--wait", "500ms", "www"}, "pvdstack: within 500ms: pvd corp.example.com has not been learned: ", 1},
	} {
		cmd := host.Command(append([]string{path, "resolve", "-c", "-"}, tt.args...)...)
		cmd.Stdin = strings.NewReader("links:\n  a: {type: packet, interface: wan0, discover: " + tt.discover + "}\n" + tt.config)
		out, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.Contains(string(out), tt.want) || code == 0 && !strings.Contains(string(out), "192.168.1.1") {
			t.Errorf("%q: %v, exit code %d, no %q in\n%s", tt.args, err, code, tt.want, out)
		}
	}
	if _, err := os.Stat(state); err == nil {
		t.Error("resolve keeps state")
	}
	eventually(t, "the leases are given back", func() bool {
		text, err := os.ReadFile(leases)
		return err == nil && !strings.Contains(string(text), " 192.168.1.1")
	}, linkwatch/20)
	checkUnchanged(t, host, before)
}
