package stack_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/stack/socks5"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// An output is what a program has printed so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start starts a program and has it end with the test.
func start(t *testing.T, cmd *exec.Cmd) *output {
	t.Helper()
	o := &output{}
	cmd.Stdout, cmd.Stderr = o, o
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended with the test's context
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s\n%s", cmd, o)
		}
	})
	return o
}

// A nameServer is dnsmasq.
type nameServer struct{ out *output }

// serveNames runs dnsmasq on addresses of a namespace. Records are as for host-record:
// "name,address,...".
func serveNames(t *testing.T, ns *tuntest.NS, listen []string, records ...string) *nameServer {
	t.Helper()
	args := []string{
		"dnsmasq", "--no-daemon", "--conf-file=" + os.DevNull, "--no-resolv", "--no-hosts", "--user=root",
		"--pid-file=", "--bind-interfaces", "--log-queries", "--log-facility=-", "--cache-size=0",
		"--listen-address=" + strings.Join(listen, ","),
	}
	for _, r := range records {
		args = append(args, "--host-record="+r)
	}
	s := &nameServer{start(t, ns.Command(args...))}
	eventually(t, "dnsmasq has started", func() bool { return strings.Contains(s.out.String(), "started, version") })
	return s
}

var queryLine = regexp.MustCompile(`query\[\w+\] (\S+) from (\S+)`)

// asked returns the names that were asked for.
func (s *nameServer) asked() []string {
	var names []string
	for _, q := range queryLine.FindAllStringSubmatch(s.out.String(), -1) {
		names = append(names, q[1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// A webServer is the kernel's side of HTTP. Its page is its name.
type webServer struct {
	name string

	mu    sync.Mutex
	hosts []string // that requests were for
}

// serveWeb serves a name at addresses of a namespace.
func serveWeb(t *testing.T, ns *tuntest.NS, name string, addresses ...string) *webServer {
	t.Helper()
	w := &webServer{name: name}
	s := &http.Server{Handler: w, ReadHeaderTimeout: systemPatience}
	t.Cleanup(func() { _ = s.Close() })
	for _, a := range addresses {
		l, err := kernel{ns}.Listen(t.Context(), "tcp", net.JoinHostPort(a, "80"))
		if err != nil {
			t.Fatal(err)
		}
		go func() { _ = s.Serve(l) }() // until Close
	}
	return w
}

func (s *webServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.hosts = append(s.hosts, r.Host)
	s.mu.Unlock()
	_, _ = io.WriteString(w, s.name)
}

// asked returns the hosts that requests were for.
func (s *webServer) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	hosts := slices.Clone(s.hosts)
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// get fetches a page from Go.
func get(t *testing.T, n *stack.Network, url string) string {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DialContext: n.DialContext, DisableKeepAlives: true}, Timeout: systemPatience}
	resp, err := c.Get(url)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("get %s: %s, %v", url, resp.Status, err)
	}
	return string(b)
}

// serveSOCKS opens a SOCKS5 port into a network, on the loopback of this process's own
// namespace, and returns its address.
func serveSOCKS(t *testing.T, n *stack.Network) string {
	t.Helper()
	s, err := socks5.New(socks5.Config{Network: n})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l) // until Close
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-served
	})
	return l.Addr().String()
}

// curl fetches a page by curl, through a SOCKS5 port that resolves names too.
func curl(t *testing.T, socks, url string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "curl", "-q", "-sS", "--fail", "--noproxy", "",
		"--max-time", fmt.Sprint(int(systemPatience/time.Second)), "--socks5-hostname", socks, url)
	return command(t, cmd)
}
