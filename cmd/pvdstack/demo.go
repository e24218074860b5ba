package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/proxy"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdtest"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/stack/socks5"
)

// A demo shows two networks that are alike but for their pages, and one that is learned from
// its router and has no IPv4, in one process.
type demo struct {
	once bool
	pcap string
	out  io.Writer
	err  io.Writer
}

// A demoNetwork is one of them: what its PvD is called, the port at which its proxy listens if
// it can, and an address of its web server.
type demoNetwork struct{ name, listen, web string }

// The first two are alike. The third has an identifier, which its router advertises, and
// reaches its web server by a translator.
var demoNetworks = []demoNetwork{
	{"corp", "127.0.0.1:1080", demoWeb},
	{"home", "127.0.0.1:1081", demoWeb},
	{"six.example", "127.0.0.1:1082", demoOld},
}

// What the first two have, at the same addresses, and the third.
const (
	demoPrefix = "192.168.1.0/24"
	demoRouter = "192.168.1.1"
	demoDNS    = "192.168.1.53"
	demoWeb    = "192.168.1.80"
	demoName   = "wiki"

	demoPrefix6 = "2001:db8:6::/64"
	demoRouter6 = "2001:db8:6::1"
	demoDNS6    = "2001:db8:6::53"
	demoNAT64   = "2001:db8:64::/96"
	demoOld     = "198.51.100.80"
)

func newDemo() *cobra.Command {
	var d demo
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Hold three networks in memory, two of them both 192.168.1.0/24, and let curl into each",
		Long: `Demo builds three networks in memory, without root and without touching this machine's.
Two are both 192.168.1.0/24 with a router, a name server and a web server at the same addresses.
The third is learned: its router advertises a provisioning domain with an identifier, IPv6 only,
and translates to the IPv4 web server behind it (NAT64). One process is in all of them. Each has a
SOCKS5 proxy on loopback, and demo says how to ask there, asks itself, over the proxies and from
Go, and shows what came of it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			// A second signal ends the process the usual way.
			context.AfterFunc(ctx, stop)
			d.out, d.err = cmd.OutOrStdout(), cmd.ErrOrStderr()
			if d.pcap != "" { // rather than to find out at the end
				if err := os.MkdirAll(d.pcap, 0o755); err != nil {
					return failure{err}
				}
			}
			if !pvdtest.Main("demo", d.err, func(tb pvdtest.TB) { d.run(ctx, tb) }) {
				return failure{errors.New("the demo did not come out as it should")}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&d.once, "once", false, "end after asking instead of waiting for Ctrl-C")
	cmd.Flags().StringVar(&d.pcap, "pcap", "", "leave a capture of each link in `DIR` at the end")
	return cmd
}

// run is the demo from its networks to their end, which tb's cleanup is.
func (d *demo) run(ctx context.Context, tb pvdtest.TB) {
	var opts []pvdtest.Option
	if d.pcap != "" {
		opts = append(opts, pvdtest.Artifacts(d.pcap))
	}
	lab := pvdtest.New(tb, opts...)
	h := d.build(lab)
	d.printf("Three networks in this process. Two are both %s, router %s, name server %s,\n"+
		"and at %s a web server that both know as %q:\n\n", demoPrefix, demoRouter, demoDNS, demoWeb, demoName)
	proxies := make(map[string]string)
	for i, n := range demoNetworks {
		if i == 2 {
			d.printf("\nThe third has no IPv4. It was learned from its router, identifier and all, which translates\n"+
				"to the web server %s behind it; there it is %q, too:\n\n", demoOld, demoName)
		}
		proxies[n.name] = d.proxy(tb, h.Await(n.name), n.listen)
		d.printf("  %-11s %-6v SOCKS5 proxy at %s\n", n.name, h.Await(n.name).PvD(), proxies[n.name])
	}
	d.printf("\nTry, of each:\n\n")
	for _, n := range demoNetworks {
		d.printf("  curl --socks5-hostname %s http://%s/\n", proxies[n.name], demoName)
		d.printf("  curl --socks5-hostname %s http://%s/\n", proxies[n.name], n.web)
	}
	d.printf("\nAsking all by itself:\n\n")
	for _, n := range demoNetworks {
		for _, host := range []string{demoName, n.web} {
			d.ask(tb, n.name, "from Go", h.Await(n.name), host)
			d.ask(tb, n.name, "by SOCKS5", d.client(tb, proxies[n.name]), host)
		}
	}
	lab.AssertIsolated()
	if tb.Failed() {
		return
	}
	d.printf("\nNo frame on any link that belongs to another.\n")
	if !d.once {
		d.printf("\nAll stay until Ctrl-C.\n")
		<-ctx.Done()
		lab.AssertIsolated()
	}
}

// build makes the networks, and the host that is in all of them.
func (d *demo) build(lab *pvdtest.Lab) *pvdtest.Host {
	for _, n := range demoNetworks[:2] {
		lan := lab.LAN(n.name, demoPrefix)
		lan.Router(demoRouter)
		lan.DNS(demoDNS, pvdtest.Zone{demoName: demoWeb})
		lan.Web(demoWeb, demoPage(n.name))
	}
	old := lab.LAN("old", "198.51.100.0/24")
	old.Web(demoOld, demoPage(demoNetworks[2].name))
	six := lab.LAN("six", demoPrefix6)
	six.DNS(demoDNS6, pvdtest.Zone{demoName + ".example": demoOld})
	six.DNS64(pvdtest.NAT64{})
	six.Router(demoRouter6, pvdtest.Uplink{LAN: old, Addrs: "198.51.100.6"}, pvdtest.NAT64{}, pvdtest.RA{
		PvD: demoNetworks[2].name, Search: "example",
		Options: []ra.Option{ra.PREF64{Prefix: netip.MustParsePrefix(demoNAT64), Lifetime: time.Hour}},
	})
	h := lab.Host("corp", "home")
	h.Discover("six")
	return h
}

// demoPage is what a network's web server says.
func demoPage(network string) string { return "This is the wiki of " + network + ".\n" }

// proxy starts a proxy into a network and returns its address: listen, or another port if
// somebody has that one.
func (d *demo) proxy(tb pvdtest.TB, network socks5.Network, listen string) string {
	s, err := socks5.New(socks5.Config{Network: network})
	if err != nil {
		tb.Fatalf("%v", err)
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		var second error
		if ln, second = net.Listen("tcp", "127.0.0.1:0"); second != nil {
			tb.Fatalf("proxy: %v; %v", err, second)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(ln); !errors.Is(err, socks5.ErrServerClosed) {
			tb.Errorf("proxy: %v", err)
		}
	}()
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("proxy: %v", err)
		}
		<-done
	})
	return ln.Addr().String()
}

// client returns what dials by the proxy, which is given names as they are.
func (d *demo) client(tb pvdtest.TB, address string) pvd.Dialer {
	c, err := proxy.SOCKS5("tcp", address, nil, &net.Dialer{})
	if err != nil {
		tb.Fatalf("%v", err)
	}
	return c.(proxy.ContextDialer)
}

// ask asks a network for its page and shows the outcome.
func (d *demo) ask(tb pvdtest.TB, name, way string, network pvd.Dialer, host string) {
	url := "http://" + host + "/"
	r := pvdtest.Get(tb, network, url).Is(demoPage(name))
	outcome := strings.TrimSpace(fmt.Sprintf("%.60s", r.Body))
	if r.Err != nil {
		outcome = r.Err.Error()
	}
	d.printf("  %-11s %-10s %-22s %s\n", name, way, url, outcome)
}

// printf says something to whoever watches; if nobody does any more, that is no failure.
func (d *demo) printf(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format, args...) }
