package main_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// binary builds the command, once, and returns its path. TestMain removes it.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pvdstack-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "pvdstack")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return dir, fmt.Errorf("go build: %w\n%s", err, out)
	}
	built = dir
	return path, nil
})

var built string // the folder of binary

// atOnce is how many of the tests that wait for daemons run at the same time, also where
// there are fewer processors.
const atOnce = 6

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", strconv.Itoa(max(atOnce, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// pvdstack runs the command to its end and returns what it printed and its exit code.
func pvdstack(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return o.String(), e.String(), cmd.ProcessState.ExitCode()
}

const overlapping = `links:
  lab:  {type: tap, name: pvd0, mtu: 9000, host: {bridge: br0}}
  wan:  {type: packet, interface: eth1}
pvds:
  corp:
    id: corp.example.com
    links: [lab]
    addresses: [192.168.1.2/24]
    routes: [{to: 0.0.0.0/0, via: 192.168.1.1}]
    dns: {servers: [192.168.1.53], search: [corp.example.com]}
  home:
    links: [wan]
    addresses: [192.168.1.2/24]
default: corp
socks5:
  - {listen: 127.0.0.1:1080, pvd: corp}
  - {listen: 127.0.0.1:1081, pvd: home, users: {alice: secret}}
`

const overlappingSummary = `link lab: tap device pvd0, MTU 9000, in bridge br0
link wan: packet socket on eth1
pvd corp: on lab; id corp.example.com; addresses 192.168.1.2/24; 1 route; DNS 192.168.1.53:53
pvd home: on wan; addresses 192.168.1.2/24; no routes; DNS none
default: corp
socks5 127.0.0.1:1080: to corp, no users
socks5 127.0.0.1:1081: to home, 1 user
`

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "bad.yaml")
	faulty := strings.NewReplacer("type: tap", "type: tab", "pvd: home", "pvd: hoem").Replace(overlapping)
	for path, text := range map[string]string{good: overlapping, bad: faulty} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	faults := func(file string) string {
		return file + `:2:16: link type "tab" is not known: did you mean "tap"?` + "\n" +
			file + `:17:35: PvD "hoem" is not in the file: did you mean "home"?` + "\n"
	}
	missing := filepath.Join(dir, "missing.yaml")
	tests := []struct {
		name           string
		args           []string
		stdin          string
		stdout, stderr string
		code           int
	}{
		{"check", []string{"check", "-c", good}, "", overlappingSummary, "", 0},
		{"check, long flag", []string{"check", "--config=" + good}, "", overlappingSummary, "", 0},
		{"check, stdin", []string{"check", "-c", "-"}, overlapping, overlappingSummary, "", 0},
		{"check, faults", []string{"check", "-c", bad}, "", "", faults(bad), 2},
		{"check, faults on stdin", []string{"check", "-c", "-"}, faulty, "", faults("-"), 2},
		{"check, no file", []string{"check", "-c", missing}, "", "", "pvdstack: config: open " + missing + ": no such file or directory\nSee 'pvdstack check --help'.\n", 2},
		{"check, no flag", []string{"check"}, "", "", "pvdstack: required flag(s) \"config\" not set\nSee 'pvdstack check --help'.\n", 2},
		{"check, argument", []string{"check", "-c", good, "x"}, "", "", "pvdstack: unknown command \"x\" for \"pvdstack check\"\nSee 'pvdstack check --help'.\n", 2},
		{"run, faults", []string{"run", "-c", bad}, "", "", faults(bad), 2},
		{"run, no flag", []string{"run"}, "", "", "pvdstack: required flag(s) \"config\" not set\nSee 'pvdstack run --help'.\n", 2},
		{"probe, faults", []string{"probe", "-c", bad, "lab"}, "", "", faults(bad), 2},
		{"probe, no link", []string{"probe"}, "", "", "pvdstack: accepts 1 arg(s), received 0\nSee 'pvdstack probe --help'.\n", 2},
		{"probe, another link", []string{"probe", "-c", good, "wna"}, "", "", "pvdstack: there is no link \"wna\" in " + good + "\nSee 'pvdstack probe --help'.\n", 2},
		{"probe, no time", []string{"probe", "--for=0s", "wan"}, "", "", "pvdstack: --for is 0s: want a time up to 1h0m0s\nSee 'pvdstack probe --help'.\n", 2},
		{"probe, too long", []string{"probe", "--for=61m", "wan"}, "", "", "pvdstack: --for is 1h1m0s: want a time up to 1h0m0s\nSee 'pvdstack probe --help'.\n", 2},
		{"resolve, faults", []string{"resolve", "-c", bad, "x"}, "", "", faults(bad), 2},
		{"resolve, no name", []string{"resolve", "-c", good}, "", "", "pvdstack: accepts 1 arg(s), received 0\nSee 'pvdstack resolve --help'.\n", 2},
		{"resolve, empty name", []string{"resolve", "-c", good, ""}, "", "", "pvdstack: NAME is empty: want one such as www.example.com\nSee 'pvdstack resolve --help'.\n", 2},
		{"resolve, another PvD", []string{"resolve", "-c", good, "--pvd", "cork", "x"}, "", "", "pvdstack: there is no PvD \"cork\" in " + good + ": did you mean \"corp\"?\nSee 'pvdstack resolve --help'.\n", 2},
		{"resolve, type", []string{"resolve", "-c", good, "--type", "B", "x"}, "", "", "pvdstack: --type is \"B\": want a type of records such as A, MX or TYPE65\nSee 'pvdstack resolve --help'.\n", 2},
		{"resolve, no time", []string{"resolve", "-c", good, "--wait=0s", "x"}, "", "", "pvdstack: --wait is 0s: want a time up to 1h0m0s\nSee 'pvdstack resolve --help'.\n", 2},
		{"help, unknown command", []string{"help", "walk"}, "", "", "pvdstack: there is no command \"walk\"\nSee 'pvdstack help --help'.\n", 2},
		{"unknown flag", []string{"run", "-x"}, "", "", "pvdstack: unknown shorthand flag: 'x' in -x\nSee 'pvdstack run --help'.\n", 2},
		{"unknown command", []string{"walk"}, "", "", "pvdstack: unknown command \"walk\" for \"pvdstack\"\nSee 'pvdstack --help'.\n", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := pvdstack(t, tt.stdin, tt.args...)
			if code != tt.code || stdout != tt.stdout || stderr != tt.stderr {
				t.Errorf("exit code %d, want %d\nstdout %q\nwant   %q\nstderr %q\nwant   %q", code, tt.code, stdout, tt.stdout, stderr, tt.stderr)
			}
		})
	}
}

// TestCheckSaysAll holds that a summary has what a configuration says beyond addresses
// and routes.
func TestCheckSaysAll(t *testing.T) {
	const text = `links: {lab: {type: tap}}
default: [corp, home]
rules:
  - {to: [corp.example.com, 10.0.0.0/8], ports: [80, 8000-8999], protocols: [tcp], pvd: corp}
  - {apps: [browser], choose: [require: internet, avoid: metered], or_next: true}
  - {marks: [7], group: office}
  - {tos: [184], refuse: true}
  - {pvd: default}
policy:
  default: denied
  rules: [{apps: ["*"], pvds: [corp, home], permission: allowed}]
  no_bridge: [browser]
  send_across: ["bro*"]
socks5:
  - {listen: 127.0.0.1:1080, app: browser}
  - {listen: 127.0.0.1:1081, pvd: default}
steer: {table: [{suffix: Corp.Example., pvd: corp}, {suffix: ., pvd: home}]}
dns:
  - {listen: 127.0.0.1:5301, pvd: corp}
  - {listen: 127.0.0.1:5302, app: browser}
  - {listen: 127.0.0.1:5303, pvd: default}
pvds:
  home: {links: [lab], routes: [{to: 10.0.0.0/8}]}
  corp:
    links: [lab]
    routes: [{to: 10.0.0.0/8}]
    dns:
      encrypted: [{name: dns.example, addresses: [10.0.0.53], protocols: [dot, h2], path: "/{?dns}"}]
      resolving: {timeout: 2s, ndots: 3, mix_case: true}
    addresses: [{address: "2001:db8::2/64", temporary: true, deprecated: true}]
    medium: wlan
    metered: true
    cost: 3
    speed: 1.5Gbit/s
    latency: 20ms
    metric: 7
    groups: [office, site]
    internet: false
    nat64: ["64:ff9b::/96"]
    captive_portal: {api: "https://portal.example.com/api"}
    proxies: [{protocol: socks5, address: "proxy.example.com:1080"}]
    weak_host: true
    load_sharing: false
    address_selection: {first_address: true}
`
	const want = `link lab: tap device lab
pvd home: on lab; addresses none; 1 route; DNS none
pvd corp: on lab; addresses 2001:db8::2/64 temporary deprecated; 1 route; DNS none; ` +
		`encrypted dns dns.example by dot or h2, resolving sequential and timeout 2s and ndots 3 and mixed case, medium wlan, metered, cost 3, speed 1500000000 bit/s, latency 20ms, metric 7, groups office and site, no internet, nat64 64:ff9b::/96, ` +
		`captive portal https://portal.example.com/api, proxies socks5 proxy.example.com:1080, weak host, not load sharing, its own address selection
default: the first that can be used of corp, home
rule to corp.example.com or 10.0.0.0/8, port 80 or 8000-8999, over tcp: corp
rule by browser: require the internet, avoid metered, or the next rule
rule mark 7: require the group "office"
rule tos 184: refused
rule for all: the default
policy: corp and home allowed for *; otherwise denied; no bridges by browser; sending across by bro*
socks5 127.0.0.1:1080: as app browser, no users
socks5 127.0.0.1:1081: to the default, no users
names in corp.example: in corp
names in .: in home
dns 127.0.0.1:5301: to corp
dns 127.0.0.1:5302: as app browser
dns 127.0.0.1:5303: to the default
`
	stdout, stderr, code := pvdstack(t, text, "check", "-c", "-")
	if code != 0 || stdout != want || stderr != "" {
		t.Errorf("exit code %d\nstdout %s\nwant   %s\nstderr %s", code, stdout, want, stderr)
	}
}

// TestCheckSaysWhatIsLearned holds that a summary has how PvDs are learned and what becomes of
// them.
func TestCheckSaysWhatIsLearned(t *testing.T) {
	const text = `links:
  lab: {type: tap, discover: {ra: true, dhcp4: true, temporary: true, ipv6_only: true, information: false, accept: {routes: false, dns: false}}}
  wan: {type: packet, interface: eth1, discover: true}
pvds:
  corp: {match: {id: corp.example.com}, merge: true, modify: {mtu: {default: 1400}, dns: {search: ignore}}}
  site: {match: {id: corp.example.com, link: lab}}
  home: {match: {link: wan}, accept: {addresses: false}}
  guest: {match: {link: wan, router: "fe80::1"}}
default: home
state: /var/lib/pvdstack
steer: {trust: [corp, other.example.com]}
socks5: [{listen: 127.0.0.1:1080, pvd: other.example.com}]
`
	const want = `link lab: tap device lab, learning by router advertisements and DHCPv4, temporary addresses, without IPv4 where the network wants that
link wan: packet socket on eth1, learning by router advertisements and DHCPv4 and DHCPv6, asking PvDs for more
pvd corp: learned, id corp.example.com, one on all links; default mtu; ignore dns search
pvd site: learned, id corp.example.com on lab
pvd home: learned, implicit on wan; the network's addresses not accepted
pvd guest: learned, implicit on wan of router fe80::1
what is learned on lab: the network's routes and DNS not accepted
default: home
socks5 127.0.0.1:1080: to other.example.com, no users
names that PvDs claim: of corp, other.example.com
state: kept in /var/lib/pvdstack
`
	stdout, stderr, code := pvdstack(t, text, "check", "-c", "-")
	if code != 0 || stdout != want || stderr != "" {
		t.Errorf("exit code %d\nstdout %s\nwant   %s\nstderr %s", code, stdout, want, stderr)
	}
	stdout, stderr, code = pvdstack(t, strings.Replace(text, "state: ", "roots: ", 1), "check", "-c", "-")
	if code != 2 || stdout != "" || !strings.HasPrefix(stderr, "-:10:8: roots: open /var/lib/pvdstack: ") && !strings.HasPrefix(stderr, "-:10:8: roots: read /var/lib/pvdstack: ") {
		t.Errorf("roots that are not there: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// TestIndistinct gives two PvDs an equal address on one link, where nobody could tell
// whose frame is whose, until their routers are known.
func TestIndistinct(t *testing.T) {
	const text = `links: {lab: {type: tap}}
pvds:
  corp: {links: [lab], addresses: [192.168.1.2/24]}
  home: {links: [lab], addresses: [192.168.1.2/24]}
`
	for _, command := range []string{"check", "run"} {
		stdout, stderr, code := pvdstack(t, text, command, "-c", "-")
		if code != 2 || stdout != "" || !regexp.MustCompile(`^-:4:3: .*\bcorp\b.*\bhome\b.*192\.168\.1\.2.*: want another address, .*\n$`).MatchString(stderr) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", command, code, stdout, stderr)
		}
	}
	router := func(mac string) string {
		return fmt.Sprintf("24], neighbors: [{address: 192.168.1.1, mac: '02:00:00:00:00:0%s'}]", mac)
	}
	apart := strings.Replace(strings.Replace(text, "24]", router("a"), 1), "24]}\n", router("b")+"}\n", 1)
	if stdout, stderr, code := pvdstack(t, apart, "check", "-c", "-"); code != 0 {
		t.Errorf("with routers: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{nil, {"--help"}, {"help"}} {
		stdout, stderr, code := pvdstack(t, "", args...)
		for _, word := range []string{"run", "check", "probe", "resolve", "version"} {
			if !strings.Contains(stdout, "\n  "+word+" ") {
				t.Errorf("%q: help does not name %s:\n%s", args, word, stdout)
			}
		}
		if code != 0 || stderr != "" {
			t.Errorf("%q: exit code %d, stderr %q", args, code, stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	stdout, stderr, code := pvdstack(t, "", "version")
	want := regexp.MustCompile(`^pvdstack \S+( \([^)]+\))? go1\.\S+\ngvisor\.dev/gvisor v\S+\n$`)
	if code != 0 || stderr != "" || !want.MatchString(stdout) {
		t.Errorf("exit code %d, stderr %q, stdout %q", code, stderr, stdout)
	}
}
