package stack_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// serve runs a daemon in a namespace until the test ends. Its arguments may name files with
// the contents in files as {name}.
func serve(t *testing.T, ns *tuntest.NS, files map[string]string, args ...string) *output {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "{"+name+"}", path)
		}
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "{dir}", dir)
	}
	return start(t, ns.Command(args...))
}

// radvd runs radvd with a configuration.
func radvd(t *testing.T, ns *tuntest.NS, conf string) *output {
	t.Helper()
	return serve(t, ns, map[string]string{"radvd.conf": conf}, "radvd", "-n", "-m", "stderr", "-d", "1", "-u", "root",
		"-C", "{radvd.conf}", "-p", "{dir}/pid")
}

// dnsmasq runs dnsmasq with further arguments.
func dnsmasq(t *testing.T, ns *tuntest.NS, args ...string) *output {
	t.Helper()
	return serve(t, ns, nil, append([]string{
		"dnsmasq", "--no-daemon", "--conf-file=" + os.DevNull, "--no-resolv", "--no-hosts", "--user=root",
		"--log-dhcp", "--dhcp-leasefile={dir}/leases", "--dhcp-authoritative", "--no-ping",
	}, args...)...)
}

// await returns the PvD that is called name, once it is there and the conditions hold.
func await(t *testing.T, h *stack.Host, name string, conds ...pvd.Condition) *stack.Network {
	t.Helper()
	var ref pvd.Ref
	eventually(t, "PvD "+name+" is there", func() bool {
		for _, r := range h.List() {
			if info, err := h.Info(r); err == nil && (info.Name() == name || string(info.ID()) == name) {
				ref = r
				return true
			}
		}
		return false
	})
	ctx, cancel := context.WithTimeout(t.Context(), systemPatience)
	defer cancel()
	if err := h.WaitReady(ctx, ref, conds...); err != nil {
		t.Fatalf("PvD %s: %v\n%s", name, err, describe(h))
	}
	return h.In(ref)
}

// describe tells what PvDs a host has.
func describe(h *stack.Host) string {
	var b strings.Builder
	for _, r := range h.List() {
		info, err := h.Info(r)
		if err != nil {
			continue
		}
		addrs, _ := pvd.Addresses.Get(info)
		routes, _ := pvd.Routes.Get(info)
		dns, _ := pvd.DNSServers.Get(info)
		origin, _ := learn.Learned.Get(info)
		fmt.Fprintf(&b, "%v %s: %+v\n  %+v\n  %v %+v\n", r, info.Name(), addrs, routes, dns, origin)
	}
	return b.String()
}

// TestSystemLearnsDualStack learns one PvD from radvd and dnsmasq on one link.
func TestSystemLearnsDualStack(t *testing.T) {
	for _, kind := range []string{kindPacket, kindTAP} {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t)
			isp := tuntest.NewNS(t)
			r.wire("wan", kind, isp, "lan", 1500)
			isp.IP("link", "set", "lo", "up")
			addrs(isp, "lan", "192.168.1.1/24", "2001:db8:1::1/64", "fe80::1/64")
			isp.Sysctl("net.ipv6.conf.all.forwarding", "1")
			radvd(t, isp, `interface lan {
				AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;
				AdvRASrcAddress { fe80::1; };
				prefix 2001:db8:1::/64 {};
				RDNSS 2001:db8:1::1 {};
				DNSSL corp.example {};
			};`)
			dnsmasq(t, isp, "--interface=lan", "--bind-interfaces", "--dhcp-range=192.168.1.100,192.168.1.110,1h",
				"--dhcp-option=option:dns-server,192.168.1.1", "--host-record=wiki.corp.example,192.168.1.1,2001:db8:1::1")
			r.discover("wan", stack.Discovery{RA: true, DHCPv4: true, DHCPv6: true}, "192.168.1.0/24", "2001:db8:1::/64")
			n := await(t, r.host, "wan", pvd.HasAddr4, pvd.HasAddr6, pvd.HasDefault4, pvd.HasDefault6, pvd.HasDNS)
			ctx, cancel := context.WithTimeout(t.Context(), systemPatience)
			defer cancel()
			got, err := n.LookupNetIP(ctx, "ip", "wiki")
			if err != nil {
				t.Fatalf("%v\n%s", err, describe(r.host))
			}
			slices.SortFunc(got, netip.Addr.Compare)
			if want := []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("2001:db8:1::1")}; !slices.Equal(got, want) {
				t.Errorf("wiki is %v, want %v", got, want)
			}
			for _, to := range []string{"192.168.1.1:7", "[2001:db8:1::1]:7"} {
				l, err := kernel{isp}.Listen(ctx, "tcp", to)
				if err != nil {
					t.Fatal(err)
				}
				c, err := n.DialContext(ctx, "tcp", to)
				if err != nil {
					t.Fatal(err)
				}
				_ = c.Close()
				_ = l.Close()
			}
			if all := r.host.List(); len(all) != 1 {
				t.Errorf("%d PvDs, want one\n%s", len(all), describe(r.host))
			}
		})
	}
}
