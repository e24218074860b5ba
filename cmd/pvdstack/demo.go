package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/net/proxy"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdtest"
	"github.com/pvdstack/pvdstack/stack/socks5"
)

// A demo shows two networks that are alike but for their pages, in one process.
type demo struct {
	once bool
	pcap string
	out  io.Writer
	err  io.Writer
}

// demoNetworks are the networks and the ports at which their proxies listen if they can.
var demoNetworks = []struct{ name, listen string }{
	{"corp", "127.0.0.1:1080"},
	{"home", "127.0.0.1:1081"},
}

// What both networks have, at the same addresses.
const (
	demoPrefix = "192.168.1.0/24"
	demoRouter = "192.168.1.1"
	demoDNS    = "192.168.1.53"
	demoWeb    = "192.168.1.80"
	demoName   = "wiki"
)

func newDemo() *cobra.Command {
	var d demo
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Hold two networks that are both 192.168.1.0/24, in memory, and let curl into each",
		Long: `Demo builds two networks in memory, without root and without touching this machine's:
both are 192.168.1.0/24 with a router, a name server and a web server at the same addresses.
One process is in both. Each has a SOCKS5 proxy on loopback, and demo says how to ask there,
asks itself, over the proxies and from Go, and shows what came of it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			// A second signal ends the process the usual way.
			context.AfterFunc(ctx, stop)
			d.out, d.err = cmd.OutOrStdout(), cmd.ErrOrStderr()
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
	for _, n := range demoNetworks {
		lan := lab.LAN(n.name, demoPrefix)
		lan.Router(demoRouter)
		lan.DNS(demoDNS, pvdtest.Zone{demoName: demoWeb})
		lan.Web(demoWeb, demoPage(n.name))
	}
	h := lab.Host("corp", "home")
	d.printf("Two networks in this process, both %s, router %s, name server %s,\n"+
		"and at %s a web server that both know as %q:\n\n", demoPrefix, demoRouter, demoDNS, demoWeb, demoName)
	proxies := make(map[string]string)
	for _, n := range demoNetworks {
		proxies[n.name] = d.proxy(tb, h.Await(n.name), n.listen)
		d.printf("  %-5s %-6v SOCKS5 proxy at %s\n", n.name, h.Ref(n.name), proxies[n.name])
	}
	d.printf("\nTry, of each:\n\n")
	for _, n := range demoNetworks {
		d.printf("  curl --socks5-hostname %s http://%s/\n", proxies[n.name], demoName)
		d.printf("  curl --socks5-hostname %s http://%s/\n", proxies[n.name], demoWeb)
	}
	d.printf("\nAsking both by itself:\n\n")
	for _, n := range demoNetworks {
		for _, host := range []string{demoName, demoWeb} {
			d.ask(tb, n.name, "from Go", h.In(n.name), host)
			d.ask(tb, n.name, "by SOCKS5", d.client(tb, proxies[n.name]), host)
		}
	}
	lab.AssertIsolated()
	if tb.Failed() {
		return
	}
	d.printf("\nNo frame on either link that belongs to the other.\n")
	if !d.once {
		d.printf("\nBoth stay until Ctrl-C.\n")
		<-ctx.Done()
		lab.AssertIsolated()
	}
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
	d.printf("  %-5s %-10s %-21s %s\n", name, way, url, outcome)
}

// printf says something to whoever watches; if nobody does any more, that is no failure.
func (d *demo) printf(format string, args ...any) { _, _ = fmt.Fprintf(d.out, format, args...) }
