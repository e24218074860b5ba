package pvdtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// TestKernelLearns has a kernel take our advertisements and udhcpc our leases, and the
// kernel's packets through NAT and NAT64.
func TestKernelLearns(t *testing.T) {
	ns := tuntest.NewNS(t)
	needsBusybox(t)
	lab := New(t)
	internet := lab.LAN("internet", "198.51.100.0/24")
	internet.Web("198.51.100.80", "the old internet")
	lan := lab.LAN("home", "192.168.1.0/24", "2001:db8:1::/64")
	lan.DNS("192.168.1.53", Zone{})
	var tap tun.Link
	var err error
	ns.Do(func() { tap, err = tun.OpenTAP(tun.TAPConfig{Name: "lab0"}) })
	if err != nil {
		t.Fatal(err)
	}
	ns.Exec("sysctl", "-qw", "net.ipv6.conf.lab0.accept_ra=2", "net.ipv6.conf.lab0.accept_ra_rt_info_max_plen=128")
	r := lan.Router("192.168.1.1 2001:db8:1::1", Uplink{LAN: internet, Addrs: "198.51.100.1"}, NAT64{},
		DHCPv4{Search: "a.example", Portal: "https://portal.example/api"},
		RA{PvD: "home.example", Legacy: true, HopLimit: 33, Preference: pvd.High, Prefixes: "2001:db8:1::/64 2001:db8:2::/64", Options: []ra.Option{
			ra.MTU(1420),
			ra.PREF64{Prefix: defaultNAT64, Lifetime: time.Hour},
			ra.RouteInformation{Prefix: defaultNAT64, Lifetime: time.Hour},
		}})
	lan.Attach(tap)
	ns.IP("link", "set", "lab0", "up")

	deadline := time.Now().Add(15 * time.Second)
	for !strings.Contains(ns.Exec("ip", "-6", "route"), "2001:db8:64::/96 via fe80::") ||
		strings.Contains(ns.Exec("ip", "-6", "addr", "show", "dev", "lab0"), "tentative") {
		if time.Now().After(deadline) {
			t.Fatalf("the kernel has learned no router: %s; router counts %v", ns.Exec("ip", "-6", "route"), r.Stats())
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, tt := range []struct{ command, want string }{
		{"ip -6 addr show dev lab0", "2001:db8:1:"},
		{"ip -6 addr show dev lab0", "2001:db8:2:"},
		{"ip -6 route show default", "pref high"},
		{"sysctl net.ipv6.conf.lab0.mtu", "= 1420"},
		{"sysctl net.ipv6.conf.lab0.hop_limit", "= 33"},
	} {
		if got := ns.Exec(strings.Fields(tt.command)...); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s, want %s", tt.command, got, tt.want)
		}
	}
	if got := ns.Exec("curl", "-sS", "-m", "10", "http://[2001:db8:64::c633:6450]/"); got != "the old internet" {
		t.Errorf("curl by NAT64: %q", got)
	}
	ns.Exec("ping", "-c", "2", "-i", "0.2", "-W", "5", "2001:db8:64::c633:6450")

	dir := t.TempDir()
	script, said := filepath.Join(dir, "script"), filepath.Join(dir, "said")
	text := "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nip addr add $ip/$mask dev $interface && ip route add default via $router\n" +
		"echo $ip/$mask $router $dns $domain $search $lease > " + said + "\n"
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	ns.Exec("busybox", "udhcpc", "-i", "lab0", "-q", "-n", "-f", "-s", script, "-O", "search", "-t", "5", "-T", "1")
	got, err := os.ReadFile(said)
	if err != nil {
		t.Fatal(err)
	}
	if want := "192.168.1.100/24 192.168.1.1 192.168.1.53 home.example a.example 3600\n"; string(got) != want {
		t.Errorf("udhcpc has %q, want %q", got, want)
	}
	if got := ns.Exec("curl", "-sS", "-m", "10", "http://198.51.100.80/"); got != "the old internet" {
		t.Errorf("curl by NAT: %q", got)
	}
	if s := r.Stats(); s[dropChecksum]+s[dropMeta] != 0 {
		t.Errorf("router counts %v", s)
	}
}

// needsBusybox skips a test where there is no busybox, whose udhcpc is a client.
func needsBusybox(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("busybox"); err != nil {
		t.Skip("needs busybox for udhcpc")
	}
}
