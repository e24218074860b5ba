package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// learningNetwork makes a network of radvd and dnsmasq at the other end of wan in host. It
// returns the file in which dnsmasq keeps its leases.
func learningNetwork(t *testing.T, host *tuntest.NS, wan, name string) (leases string) {
	t.Helper()
	isp := tuntest.NewNS(t)
	host.Sysctl("net.ipv6.conf.default.accept_ra", "0") // its kernel is to learn nothing
	tuntest.Veth(host, wan, isp, "lan")
	for _, a := range []string{"192.168.1.1/24", "2001:db8:1::1/64", "fe80::1/64"} {
		isp.IP("addr", "add", a, "dev", "lan", "nodad")
	}
	isp.Sysctl("net.ipv6.conf.all.forwarding", "1")
	serveText(t, isp, ":80", name)
	conf := filepath.Join(t.TempDir(), "radvd.conf")
	if err := os.WriteFile(conf, []byte(`interface lan {
		AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvManagedFlag on;
		AdvRASrcAddress { fe80::1; };
		prefix 2001:db8:1::/64 { };
		RDNSS 2001:db8:1::1 { };
		DNSSL lan.example { };
	};`), 0o600); err != nil {
		t.Fatal(err)
	}
	keepRunning(t, isp, "radvd", "-n", "-m", "stderr", "-d", "1", "-u", "root", "-C", conf, "-p", conf+".pid")
	keepRunning(t, isp, "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts", "--user=root",
		"--log-dhcp", "--dhcp-leasefile="+conf+".leases", "--dhcp-authoritative", "--no-ping",
		"--interface=lan", "--bind-interfaces", "--address=/www.corp.example/192.168.1.1",
		"--dhcp-range=192.168.1.100,192.168.1.110,1h", "--dhcp-range=2001:db8:1::100,2001:db8:1::1ff,64,1h",
		"--dhcp-option=option:dns-server,192.168.1.1")
	eventually(t, "dnsmasq listens", func() bool {
		return strings.Contains(isp.Exec("ss", "-Hlnu"), ":67 ")
	}, linkwatch/50)
	return conf + ".leases"
}

// keepRunning runs a command in a namespace until the test ends.
func keepRunning(t *testing.T, ns *tuntest.NS, args ...string) {
	t.Helper()
	cmd := ns.Command(args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Wait() // it is killed when the test ends
		t.Logf("%s: %s", args[0], &out)
	})
}

// TestSystemRunLearns has the daemon learn a PvD from radvd and dnsmasq, under the name that
// the configuration gives it, with its changes, and have the same lease after a restart.
func TestSystemRunLearns(t *testing.T) {
	t.Parallel()
	host := tuntest.NewNS(t)
	leases := learningNetwork(t, host, "wan0", "isp")
	state := filepath.Join(t.TempDir(), "state")
	config := `links:
  a: {type: packet, interface: wan0, discover: true}
pvds:
  home:
    match: {link: a}
    modify: {dns: {search: {supersede: [corp.example]}}}
default: home
state: ` + state + `
socks5:
  - {listen: 127.0.0.1:1080, pvd: home}
  - {listen: 127.0.0.1:1081, pvd: default}
`
	starts := 2
	if testing.Short() {
		starts = 1
	}
	for range starts {
		d := startDaemon(t, host, config)
		eventually(t, "the PvD has an IPv4 address", func() bool {
			return host.Command("curl", "-sS", "--fail", "--max-time", "5", "-o", os.DevNull, "--proxy", "socks5://127.0.0.1:1080", "http://192.168.1.1/").Run() == nil
		}, linkwatch/20)
		for _, proxy := range []string{"socks5h://127.0.0.1:1080", "socks5h://127.0.0.1:1081"} {
			d.curl(proxy, "http://192.168.1.1/", "isp")
			d.curl(proxy, "http://[2001:db8:1::1]/", "isp")
			d.curl(proxy, "http://www.corp.example/", "isp")
			d.curl(proxy, "http://www/", "isp")
		}
		d.stop(syscall.SIGTERM)
	}
	text, err := os.ReadFile(leases)
	if n := strings.Count(string(text), " 192.168.1.1"); err != nil || n != 1 {
		t.Errorf("%d leases of IPv4 addresses, want one for all times: %v\n%s", n, err, text)
	}
}

// TestSystemProbe probes a network of radvd and dnsmasq, and one that nobody is in.
func TestSystemProbe(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: probes for 20 s")
	}
	t.Parallel()
	host := tuntest.NewNS(t)
	learningNetwork(t, host, "wan0", "isp")
	tuntest.Veth(host, "wan1", tuntest.NewNS(t), "eth0")
	before := settled(t, host)
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	out, err := host.Command(path, "probe", "wan0", "--for", "20s", "--json").Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var r struct {
		PvDs []struct {
			Name      string   `json:"name"`
			Addresses []string `json:"addresses"`
			Routes    []string `json:"routes"`
			Servers   []string `json:"dns_servers"`
			From      struct {
				Routers []string `json:"routers"`
				DHCPv4  string   `json:"dhcpv4_server"`
			} `json:"from"`
		} `json:"pvds"`
		Heard []struct{ What, From string } `json:"heard"`
	}
	if err := json.Unmarshal(out, &r); err != nil || len(r.PvDs) != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	p := r.PvDs[0]
	hasAddress := func(start string) bool {
		return slices.ContainsFunc(p.Addresses, func(a string) bool { return strings.HasPrefix(a, start) })
	}
	if !slices.Equal(p.From.Routers, []string{"fe80::1"}) || p.From.DHCPv4 != "192.168.1.1" ||
		!hasAddress("192.168.1.1") || !hasAddress("2001:db8:1:0:") || !hasAddress("2001:db8:1::1") || !hasAddress("fe80::") ||
		!slices.Contains(p.Routes, "0.0.0.0/0 via 192.168.1.1") || !slices.Contains(p.Routes, "::/0 via fe80::1") ||
		!slices.Contains(p.Servers, "192.168.1.1:53") || !slices.Contains(p.Servers, "[2001:db8:1::1]:53") || len(r.Heard) < 3 {
		t.Errorf("%s", out)
	}
	text, err := host.Command(path, "probe", "wan1", "--for", "200ms").CombinedOutput()
	if want := "0 PvDs learned on wan1 in 200ms\npvdstack: link wan1: there is no PvD\n"; err == nil || err.Error() != "exit status 1" || string(text) != want {
		t.Errorf("%v, %q, want %q", err, text, want)
	}
	text, err = host.Command(path, "probe", "wan7").CombinedOutput()
	if err == nil || err.Error() != "exit status 1" || !strings.HasPrefix(string(text), "pvdstack: link wan7: ") {
		t.Errorf("%v, %q", err, text)
	}
	checkUnchanged(t, host, before)
}
