package dns

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A server that others wrote, asked over the loopback of this machine.
func TestDnsmasq(t *testing.T) {
	dnsmasq, err := exec.LookPath("dnsmasq")
	if err != nil {
		t.Skip("needs dnsmasq:", err)
	}
	u, l := listen(t)
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	u.Close()
	l.Close()
	args := []string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=", "--no-resolv", "--no-hosts", "--log-facility=-",
		"--listen-address=127.0.0.1", "--bind-interfaces", fmt.Sprintf("--port=%d", port),
		"--local=/corp.example/", "--host-record=wiki.corp.example,10.0.0.1,fd00::1", "--cname=www.corp.example,wiki.corp.example",
	}
	var many []netip.Addr
	for i := range 60 {
		a := netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i + 1)})
		many = append(many, a)
		args = append(args, "--host-record=many.corp.example,"+a.String())
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), dnsmasq, args...)
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("dnsmasq:\n%s", out.Bytes())
		}
	}()
	for range 500 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			c.Close()
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	r := resolver([]string{"corp.example"})
	r.conf.DNS = func() pvd.DNS {
		return pvd.DNS{Servers: []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)}, Search: []string{"corp.example"}}
	}
	for _, tt := range []struct {
		network, host string
		want          []netip.Addr
	}{
		{"ip", "wiki", addrs("fd00::1 10.0.0.1")},
		{"ip4", "WIKI.corp.example.", addrs("10.0.0.1")},
		{"ip", "www", addrs("fd00::1 10.0.0.1")},
		{"ip6", "many", many}, // more than 1,232 octets: truncated
	} {
		got, err := r.LookupNetIP(t.Context(), tt.network, tt.host)
		slices.SortStableFunc(got, func(a, b netip.Addr) int { return b.BitLen() - a.BitLen() })
		if tt.host == "many" {
			slices.SortFunc(got, netip.Addr.Compare)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, %v", tt.host, got, err)
		}
	}
	_, err = r.LookupNetIP(t.Context(), "ip", "none")
	if e, ok := errors.AsType[*net.DNSError](err); !ok || e.IsNotFound {
		// corp.example does not have it, and dnsmasq, which has nobody to ask, refuses the rest.
		t.Errorf("none: %#v", err)
	}
	_, err = r.LookupNetIP(t.Context(), "ip", "none.corp.example")
	if e, ok := errors.AsType[*net.DNSError](err); !ok || !e.IsNotFound {
		t.Errorf("none.corp.example: %#v", err)
	}
}
