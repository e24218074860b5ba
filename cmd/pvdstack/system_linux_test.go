package main_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/proxy"

	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// patience is how long the tests wait for what should come much sooner.
const patience = 30 * time.Second

// linkwatch is how long the kernel may take to tell of a link's state: it does so once a
// second.
const linkwatch = 2 * time.Second

// TestSystemRunPacket runs the daemon on two veth links into two networks that are both
// 192.168.1.0/24. In each the kernel has a web server at the same address, and a name
// server that knows another one of its own by the same name.
func TestSystemRunPacket(t *testing.T) {
	t.Parallel()
	host := tuntest.NewNS(t)
	for i, name := range []string{"corp", "home"} {
		isp := tuntest.NewNS(t)
		tuntest.Veth(host, fmt.Sprintf("wan%d", i), isp, "eth0")
		isp.IP("addr", "add", "192.168.1.1/24", "dev", "eth0")
		www := fmt.Sprintf("192.168.1.%d", 80+i)
		isp.IP("addr", "add", www+"/24", "dev", "eth0")
		serveText(t, isp, ":80", name)
		serveNames(t, isp, "192.168.1.1", "--address=/www.isp.example/"+www)
	}
	d := startDaemon(t, host, `links:
  a: {type: packet, interface: wan0}
  b: {type: packet, interface: wan1}
pvds:
  corp: {links: [a], addresses: [192.168.1.2/24], dns: {servers: [192.168.1.1], search: [isp.example]}}
  home: {links: [b], addresses: [192.168.1.2/24], dns: {servers: [192.168.1.1]}}
default: corp
socks5:
  - {listen: 127.0.0.1:1080, pvd: corp}
  - {listen: 127.0.0.1:1081, pvd: home, users: {alice: secret}}
`)
	d.curl("socks5://127.0.0.1:1080", "http://192.168.1.1/", "corp")
	d.curl("socks5://alice:secret@127.0.0.1:1081", "http://192.168.1.1/", "home")
	d.curl("socks5h://127.0.0.1:1080", "http://www.isp.example/", "corp")
	d.curl("socks5h://127.0.0.1:1080", "http://www/", "corp")
	d.curl("socks5h://alice:secret@127.0.0.1:1081", "http://www.isp.example/", "home")
	// Connections in use keep nothing alive.
	d.connect("127.0.0.1:1080", "192.168.1.1:80")
	d.stop(syscall.SIGTERM)
}

// TestSystemRunFailover runs the daemon on two veth links into two networks. An app's
// requests go where a rule sends their names, else by the default, which is the other
// network when the carrier of the first is lost, and the first again when that is back.
func TestSystemRunFailover(t *testing.T) {
	t.Parallel()
	host := tuntest.NewNS(t)
	isps := make(map[string]*tuntest.NS)
	for i, name := range []string{"corp", "home"} {
		isp := tuntest.NewNS(t)
		isps[name] = isp
		tuntest.Veth(host, fmt.Sprintf("wan%d", i), isp, "eth0")
		isp.IP("addr", "add", "192.168.1.1/24", "dev", "eth0")
		serveText(t, isp, ":80", name)
		serveNames(t, isp, "192.168.1.1", "--address=/isp.example/192.168.1.1")
	}
	d := startDaemon(t, host, `links:
  a: {type: packet, interface: wan0}
  b: {type: packet, interface: wan1}
pvds:
  corp: {links: [a], addresses: [192.168.1.2/24], routes: [{to: default, via: 192.168.1.1}], dns: {servers: [192.168.1.1]}}
  home: {links: [b], addresses: [192.168.1.2/24], routes: [{to: default, via: 192.168.1.1}], dns: {servers: [192.168.1.1]}}
default: [corp, home]
rules:
  - {to: [home.isp.example], pvd: home}
socks5:
  - {listen: 127.0.0.1:1080, app: browser}
`)
	const proxy = "socks5h://127.0.0.1:1080"
	d.curl(proxy, "http://192.168.1.1/", "corp")
	d.curl(proxy, "http://www.isp.example/", "corp")
	d.curl(proxy, "http://home.isp.example/", "home")
	d.curl(proxy, "http://www.home.isp.example/", "home")
	isps["corp"].IP("link", "set", "eth0", "down")
	d.await("msg=\"system default changed\"")
	d.curl(proxy, "http://192.168.1.1/", "home")
	d.curl(proxy, "http://www.isp.example/", "home")
	isps["home"].IP("link", "set", "eth0", "down")
	d.await("msg=\"system default changed\"")
	isps["corp"].IP("link", "set", "eth0", "up")
	d.await("msg=\"system default changed\"")
	d.curl(proxy, "http://192.168.1.1/", "corp")
	isps["home"].IP("link", "set", "eth0", "up")
	d.stop(syscall.SIGTERM)
}

// TestSystemRunKilled holds that a daemon that is killed leaves nothing in the way of the
// next one.
func TestSystemRunKilled(t *testing.T) {
	t.Parallel()
	host := tuntest.NewNS(t)
	const config = `links:
  a: {type: tap, name: pvd0, host: {addresses: [10.9.0.1/24]}}
pvds:
  corp: {links: [a], addresses: [10.9.0.2/24]}
socks5: [{listen: 127.0.0.1:1080, pvd: corp}]
`
	serveText(t, host, ":8080", "host")
	capture := filepath.Join(t.TempDir(), "run.pcapng")
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		d := startDaemon(t, host, config, "--pcap", capture)
		d.curl("socks5://127.0.0.1:1080", "http://10.9.0.1:8080/", "host")
		d.stop(sig)
	}
	recorded, err := os.ReadFile(capture)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a/corp", "GET / HTTP/1.1"} {
		if !bytes.Contains(recorded, []byte(want)) {
			t.Errorf("no %q in the capture", want)
		}
	}
}

// TestSystemRunTAP does the same on TAP devices that the daemon makes and puts into
// bridges, beside a TUN device whose other side is the daemon's own namespace.
func TestSystemRunTAP(t *testing.T) {
	t.Parallel()
	host := tuntest.NewNS(t)
	for i, name := range []string{"corp", "home"} {
		isp := tuntest.NewNS(t)
		port, bridge := fmt.Sprintf("port%d", i), fmt.Sprintf("br%d", i)
		tuntest.Veth(host, port, isp, "eth0")
		host.Bridge(bridge, port)
		// Otherwise it is the lowest of the ports' addresses.
		host.IP("link", "set", bridge, "address", fmt.Sprintf("02:00:00:00:00:%02x", i))
		isp.IP("addr", "add", "192.168.1.1/24", "dev", "eth0")
		serveText(t, isp, "192.168.1.1:80", name)
	}
	serveText(t, host, ":8080", "host")
	d := startDaemon(t, host, `links:
  a: {type: tap, name: pvd0, host: {bridge: br0}}
  b: {type: tap, name: pvd1, host: {bridge: br1}}
  c: {type: tun, name: pvd2, host: {addresses: [10.9.0.1/24, "2001:db8:9::1/64"]}}
pvds:
  corp: {links: [a], addresses: [192.168.1.2/24]}
  home: {links: [b], addresses: [192.168.1.2/24]}
  site: {links: [c], addresses: [10.9.0.2/24, "2001:db8:9::2/64"]}
socks5:
  - {listen: 127.0.0.1:1080, pvd: corp}
  - {listen: 127.0.0.1:1081, pvd: home}
  - {listen: "[::1]:1082", pvd: site}
`)
	d.curl("socks5://127.0.0.1:1080", "http://192.168.1.1/", "corp")
	d.curl("socks5://127.0.0.1:1081", "http://192.168.1.1/", "home")
	d.curl("socks5://[::1]:1082", "http://10.9.0.1:8080/", "host")
	d.curl("socks5://[::1]:1082", "http://[2001:db8:9::1]:8080/", "host")

	// Somebody deletes a device: it comes back with its address, and serves again.
	host.IP("link", "del", "pvd2")
	eventually(t, "pvd2 has its address again", func() bool {
		return strings.Contains(host.Exec("ip", "-o", "addr"), "pvd2    inet 10.9.0.1/24")
	}, 20*time.Millisecond)
	d.curl("socks5://[::1]:1082", "http://10.9.0.1:8080/", "host")
	d.stop(syscall.SIGINT)
}

// TestSystemRunAllOrNothing holds that a start that fails in its last steps undoes the
// first ones, and that a file at fault is not acted on at all.
func TestSystemRunAllOrNothing(t *testing.T) {
	t.Parallel()
	host := tuntest.NewNS(t)
	host.IP("link", "add", "wan0", "type", "veth", "peer", "name", "wan1")
	const config = `links:
  a: {type: tap, name: pvd0, host: {addresses: [10.9.0.1/24]}}
  b: {type: packet, interface: wan0}
pvds:
  corp: {links: [a, b], addresses: [10.9.0.2/24]}
socks5: [{listen: 127.0.0.1:1080, pvd: corp}]
`
	tests := []struct {
		name, old, new string
		code           int
		stderr         string
	}{
		{"no such interface", "interface: wan0", "interface: wan7", 1, "pvdstack: link b: "},
		{"no such bridge", "{addresses: [10.9.0.1/24]}", "{bridge: br7}", 1, "pvdstack: link a: put pvd0 into bridge br7: "},
		{"not a bridge", "{addresses: [10.9.0.1/24]}", "{bridge: wan1}", 1, `pvdstack: link a: put pvd0 into bridge wan1: it is of type "veth"`},
		{"nobody's address to listen on", "127.0.0.1:1080, pvd", "192.0.2.1:1080, force: true, pvd", 1, `pvdstack: socks5 of PvD "corp": `},
		{"at fault", "links: [a, b]", "links: [a, c]", 2, `-:5:21: link "c" is not in the file: want "a" or "b"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := settled(t, host)
			cmd := command(t, host, strings.Replace(config, tt.old, tt.new, 1))
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != tt.code || !strings.Contains(string(out), tt.stderr) {
				t.Errorf("%v, want exit code %d and %q; printed\n%s", err, tt.code, tt.stderr, out)
			}
			checkUnchanged(t, host, before)
		})
	}
}

// A daemon is one that runs in a namespace.
type daemon struct {
	t      *testing.T
	ns     *tuntest.NS
	before string // what the namespace was like
	cmd    *exec.Cmd
	log    chan string // its lines; closed when it ends
}

// command returns the daemon's command line in a namespace.
func command(t *testing.T, ns *tuntest.NS, config string, flags ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := ns.Command(append([]string{path, "run", "-c", "-"}, flags...)...)
	cmd.Stdin = strings.NewReader(config)
	return cmd
}

// startDaemon returns when the daemon says that it is ready.
func startDaemon(t *testing.T, ns *tuntest.NS, config string, flags ...string) *daemon {
	t.Helper()
	d := &daemon{t: t, ns: ns, before: settled(t, ns), log: make(chan string, 1000)}
	d.cmd = command(t, ns, config, flags...)
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(d.log)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			t.Log(s.Text())
			d.log <- s.Text()
		}
	}()
	d.await("msg=ready ")
	return d
}

// await waits until the daemon says something that it has not said before.
func (d *daemon) await(text string) {
	d.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line, ok := <-d.log:
			if !ok {
				d.t.Fatalf("the daemon ended: %v", d.cmd.Wait())
			}
			if strings.Contains(line, text) {
				return
			}
		case <-timeout:
			d.t.Fatalf("the daemon does not say %s", text)
		}
	}
}

// curl asks for a page through a proxy.
func (d *daemon) curl(proxy, url, want string) {
	d.t.Helper()
	if got := d.ns.Exec("curl", "-sS", "--fail", "--max-time", "20", "--proxy", proxy, url); got != want {
		d.t.Errorf("%s through %s is %q, want %q", url, proxy, got, want)
	}
}

// connect makes a connection through a proxy that stays until the test ends.
func (d *daemon) connect(through, to string) {
	d.t.Helper()
	dialer, err := proxy.SOCKS5("tcp", through, nil, proxy.Direct)
	if err != nil {
		d.t.Fatal(err)
	}
	var c net.Conn
	d.ns.Do(func() { c, err = dialer.Dial("tcp", to) })
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Close() })
}

// stop ends the daemon by a signal: it has to exit 0 and leave nothing behind.
func (d *daemon) stop(sig syscall.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Fatal(err)
	}
	timeout := time.After(patience)
	for ended := false; !ended; {
		select {
		case _, ok := <-d.log:
			ended = !ok
		case <-timeout:
			d.t.Fatal("the daemon does not end")
		}
	}
	if err := d.cmd.Wait(); err != nil && sig != syscall.SIGKILL {
		d.t.Errorf("the daemon ended with %v", err)
	}
	checkUnchanged(d.t, d.ns, d.before)
}

// snapshot returns the devices, addresses, routes, listening and packet sockets of a
// namespace, as far as they do not change by themselves.
func snapshot(ns *tuntest.NS) string {
	var b strings.Builder
	for _, args := range [][]string{
		{"ip", "-o", "link"},
		{"ip", "-o", "addr"},
		{"ip", "-4", "route", "show", "table", "all"},
		{"ip", "-6", "route", "show", "table", "all"},
		{"ss", "-Hlntuw"},
		{"ss", "-H0a"},
	} {
		fmt.Fprintf(&b, "%s\n%s", strings.Join(args, " "), ns.Exec(args...))
	}
	return b.String()
}

// settled returns a snapshot of a namespace whose links have found their carriers, and
// their addresses, which the kernel does in its own time.
func settled(t *testing.T, ns *tuntest.NS) (s string) {
	t.Helper()
	eventually(t, "the namespace settles", func() bool {
		before := s
		s = snapshot(ns)
		return s == before && !strings.Contains(s, "tentative")
	}, linkwatch/2)
	return s
}

// checkUnchanged holds that a namespace is, or is about to be, as it was.
func checkUnchanged(t *testing.T, ns *tuntest.NS, before string) {
	t.Helper()
	var after string
	for end := time.Now().Add(linkwatch); ; time.Sleep(20 * time.Millisecond) {
		if after = snapshot(ns); after == before {
			return
		}
		if time.Now().After(end) {
			break
		}
	}
	t.Errorf("before\n%s\nafter\n%s", before, after)
}

// serveText serves a text over HTTP in a namespace, by the kernel's own TCP, until the
// test ends.
func serveText(t *testing.T, ns *tuntest.NS, address, text string) {
	t.Helper()
	var l net.Listener
	var err error
	ns.Do(func() {
		var lc net.ListenConfig
		l, err = lc.Listen(context.Background(), "tcp", address)
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, text)
	})}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// serveNames runs dnsmasq in a namespace until the test ends.
func serveNames(t *testing.T, ns *tuntest.NS, address string, args ...string) {
	t.Helper()
	cmd := ns.Command(append([]string{
		"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts",
		"--bind-interfaces", "--listen-address=" + address,
	}, args...)...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Wait() // it is killed when the test ends
		t.Logf("dnsmasq: %s", &out)
	})
	eventually(t, "dnsmasq listens", func() bool {
		return strings.Contains(ns.Exec("ss", "-Hlnu"), address+":53 ")
	}, 20*time.Millisecond)
}

// eventually waits until a condition holds, and looks every so often.
func eventually(t *testing.T, what string, holds func() bool, every time.Duration) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(every) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
