package stack_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// A daemon is a server that runs in a namespace until the test ends, with a directory for
// its files.
type daemon struct {
	*output
	t    *testing.T
	ns   *tuntest.NS
	dir  string
	args []string
	cmd  *exec.Cmd
}

// serve runs a daemon. Its files have the given contents; in them and in the arguments
// {name} is the path of a file, and {dir} that of their directory.
func serve(t *testing.T, ns *tuntest.NS, files map[string]string, args ...string) *daemon {
	t.Helper()
	d := &daemon{t: t, ns: ns, dir: t.TempDir()}
	for name := range files {
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "{"+name+"}", filepath.Join(d.dir, name))
		}
	}
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "{dir}", d.dir)
	}
	d.args = args
	for name, text := range files {
		d.write(name, text)
	}
	d.start()
	return d
}

// write gives one of the daemon's files other contents.
func (d *daemon) write(name, text string) {
	d.t.Helper()
	text = strings.ReplaceAll(text, "{dir}", d.dir)
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// start starts the daemon, again perhaps.
func (d *daemon) start() {
	d.t.Helper()
	d.cmd = d.ns.Command(d.args...)
	d.cmd.Env = append(os.Environ(), "KEA_PIDFILE_DIR="+d.dir, "KEA_LOCKFILE_DIR="+d.dir)
	d.output = start(d.t, d.cmd)
}

// signal sends the daemon a signal.
func (d *daemon) signal(s syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(s); err != nil {
		d.t.Fatal(err)
	}
}

// stop ends the daemon by a signal and waits until it is gone.
func (d *daemon) stop(s syscall.Signal) {
	d.t.Helper()
	d.signal(s)
	_, _ = d.cmd.Process.Wait() // how it ended does not matter
}

// says waits until the daemon has printed something.
func (d *daemon) says(text string) *daemon {
	d.t.Helper()
	eventually(d.t, d.args[0]+" says "+text, func() bool { return strings.Contains(d.String(), text) })
	return d
}

// radvd runs radvd with a configuration, which it reads again after SIGHUP.
func radvd(t *testing.T, ns *tuntest.NS, conf string) *daemon {
	t.Helper()
	return serve(t, ns, map[string]string{"radvd.conf": conf}, "radvd", "-n", "-m", "stderr", "-d", "1", "-u", "root",
		"-C", "{radvd.conf}", "-p", "{dir}/pid")
}

// dnsmasq runs dnsmasq with further arguments.
func dnsmasq(t *testing.T, ns *tuntest.NS, args ...string) *daemon {
	t.Helper()
	return serve(t, ns, nil, append([]string{
		"dnsmasq", "--no-daemon", "--conf-file=" + os.DevNull, "--no-resolv", "--no-hosts", "--user=root", "--pid-file=",
		"--log-dhcp", "--dhcp-leasefile={dir}/leases", "--no-ping", "--bind-interfaces",
	}, args...)...)
}

// find returns the first PvD of a host that is as holds says, Unspecified if there is none.
func find(h *stack.Host, holds func(*pvd.Info) bool) pvd.Ref {
	for _, r := range h.List() {
		if info, err := h.Info(r); err == nil && holds(info) {
			return r
		}
	}
	return pvd.Unspecified
}

func called(name string) func(*pvd.Info) bool {
	return func(i *pvd.Info) bool { return i.Name() == name || string(i.ID()) == name }
}

// from holds of the PvD that was learned of a router on a link. Without router it is the
// first one of the link.
func from(link, router string) func(*pvd.Info) bool {
	return func(i *pvd.Info) bool {
		o := originOn(i, link)
		return o.Link == link && (router == "" || slices.Contains(o.Routers, mustAddr(router)))
	}
}

// originOn returns how a PvD was learned on a link, the zero Origin if it was not.
func originOn(i *pvd.Info, link string) learn.Origin {
	origins, _ := learn.Learned.Get(i)
	for _, o := range origins {
		if o.Link == link {
			return o
		}
	}
	return learn.Origin{}
}

// await returns the PvD that is called name, once it is there and the conditions hold.
func await(t *testing.T, h *stack.Host, name string, conds ...pvd.Condition) *stack.Network {
	t.Helper()
	return awaitOne(t, h, "PvD "+name, called(name), conds...)
}

// awaitOne returns the PvD that is as which says, once it is there and the conditions hold.
func awaitOne(t *testing.T, h *stack.Host, what string, which func(*pvd.Info) bool, conds ...pvd.Condition) *stack.Network {
	t.Helper()
	var ref pvd.Ref
	ctx, cancel := context.WithTimeout(t.Context(), systemPatience)
	defer cancel()
	for ref = find(h, which); ref == pvd.Unspecified; ref = find(h, which) {
		if ctx.Err() != nil {
			t.Fatalf("no %s\n%s", what, describe(h))
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := h.WaitReady(ctx, ref, conds...); err != nil {
		t.Fatalf("%s: %v\n%s", what, err, describe(h))
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
		fmt.Fprintf(&b, "%v %q %q, version %d\n", r, info.Name(), info.ID(), info.Version())
		for k, v := range info.Elements() {
			fmt.Fprintf(&b, "  %v: %+v\n", k, v)
		}
	}
	for link, counters := range h.Stats().Links {
		fmt.Fprintf(&b, "%s: %v\n", link, counters)
	}
	return b.String()
}

func (r *rig) info(n *stack.Network) *pvd.Info {
	r.t.Helper()
	i, err := r.host.Info(n.PvD())
	if err != nil {
		r.t.Fatal(err)
	}
	return i
}

// addressIn returns the address that a PvD has from a prefix.
func (r *rig) addressIn(n *stack.Network, prefix string) string {
	r.t.Helper()
	addresses, _ := pvd.Addresses.Get(r.info(n))
	for _, a := range addresses {
		if netip.MustParsePrefix(prefix).Contains(a.Prefix.Addr()) {
			return a.Prefix.Addr().String()
		}
	}
	r.t.Fatalf("no address of %s\n%s", prefix, describe(r.host))
	return ""
}

// A version is what a PvD was described as, and when.
type version struct {
	at   time.Time
	ref  pvd.Ref
	info *pvd.Info // nil: it was removed
}

// inForce waits until a PvD is as holds says, and reports how long after the advertisement
// that preceded it that was.
func (r *rig) inForce(t *testing.T, n *stack.Network, link, what string, since time.Time, holds func(*pvd.Info) bool) {
	t.Helper()
	var is version
	for end := time.Now().Add(systemPatience); is.info == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s is not in force\n%s", what, describe(r.host))
		}
		is = r.published(func(v version) bool {
			return v.ref == n.PvD() && !v.at.Before(since) && v.info != nil && holds(v.info)
		})
	}
	took := is.at.Sub(r.watches[link].advert(is.at))
	t.Logf("%s was in force %v after the frame", what, took.Round(10*time.Microsecond))
	if took > time.Second { // 100 ms on a machine that has nothing else to do
		t.Errorf("%s was in force after %v", what, took)
	}
}

// published returns the first version of a PvD that match is true of.
func (r *rig) published(match func(version) bool) version {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range r.versions {
		if match(v) {
			return v
		}
	}
	return version{}
}

// A witness is a network on a link of its own. Whatever is learned on other links, nothing
// of its PvDs changes.
type witness struct {
	r      *rig
	conds  []pvd.Condition
	before map[pvd.Ref]*pvd.Info
}

// witnesses gives the host a link to a network with the addresses, router and names that
// everybody has: one PvD is learned there, and one is configured.
func (r *rig) witnesses(dhcp bool) *witness {
	r.t.Helper()
	ns := tuntest.NewNS(r.t)
	r.wire("witness", kindPacket, ns, "lan", 1500)
	addrs(ns, "lan", "192.168.1.1/24", "2001:db8:1::1/64", "fe80::1/64")
	ns.Sysctl("net.ipv6.conf.all.forwarding", "1")
	radvd(r.t, ns, `interface lan {
		AdvSendAdvert on; MinRtrAdvInterval 600; MaxRtrAdvInterval 1800;
		AdvRASrcAddress { fe80::1; };
		prefix 2001:db8:1::/64 { AdvValidLifetime infinity; AdvPreferredLifetime infinity; };
		RDNSS 2001:db8:1::1 { AdvRDNSSLifetime infinity; };
	};`)
	w := &witness{r: r, conds: []pvd.Condition{pvd.HasAddr6, pvd.HasDNS}}
	if dhcp {
		w.conds = append(w.conds, pvd.HasAddr4)
		dnsmasq(r.t, ns, "--port=0", "--interface=lan", "--dhcp-range=192.168.1.100,192.168.1.100,infinite")
	}
	r.add(pvd.Config{
		Name: "still", Links: []string{"witness"},
		Addresses: []pvd.Address{{Prefix: netip.MustParsePrefix("192.168.1.7/24"), Link: "witness"}},
	})
	r.discover("witness", stack.Discovery{RA: true, DHCPv4: dhcp}, "192.168.1.0/24", "2001:db8:1::/64")
	return w
}

// look takes down what the PvDs are, once all has been learned.
func (w *witness) look() {
	w.r.t.Helper()
	learned := awaitOne(w.r.t, w.r.host, "PvD of the witness", from("witness", "fe80::1"), append(w.conds, pvd.Settled)...)
	w.before = map[pvd.Ref]*pvd.Info{learned.PvD(): w.r.info(learned)}
	still := find(w.r.host, called("still"))
	w.before[still] = w.r.info(w.r.host.In(still))
}

// unchanged fails the test if the PvDs are not what they were.
func (w *witness) unchanged() {
	w.r.t.Helper()
	for ref, was := range w.before {
		if is := w.r.info(w.r.host.In(ref)); is != was {
			w.r.t.Errorf("%s was version %d and is version %d, though nothing has happened on its link\n%s",
				was.Name(), was.Version(), is.Version(), describe(w.r.host))
		}
	}
}
