package tuntest

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// NS is a network namespace of one test. Its loopback is up, its TCP uses cubic, and
// IPv6 addresses are usable at once (no duplicate address detection), so that tests do
// not depend on the host's defaults nor wait.
type NS struct {
	Name string // as `ip netns` knows it

	t  testing.TB
	fd int // keeps the namespace; what Do enters
}

// netnsDir is where ip netns keeps the names of namespaces.
const netnsDir = "/run/netns"

// NewNS makes a network namespace that ends with the test. It skips the test unless it
// runs as root.
func NewNS(t testing.TB) *NS {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes network namespaces")
	}
	var id [4]byte
	rand.Read(id[:]) // never fails
	ns := &NS{Name: "pvdtest-" + hex.EncodeToString(id[:]), t: t}
	run(t, exec.CommandContext(t.Context(), "ip", "netns", "add", ns.Name))
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", ns.Name).CombinedOutput(); err != nil {
			t.Errorf("tuntest: ip netns del %s: %v: %s", ns.Name, err, out)
		}
	})
	fd, err := unix.Open(filepath.Join(netnsDir, ns.Name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("tuntest: open namespace %s: %v", ns.Name, err)
	}
	ns.fd = fd
	t.Cleanup(func() { unix.Close(fd) }) // read only

	ns.IP("link", "set", "lo", "up")
	for _, dev := range []string{"all", "default"} {
		ns.Sysctl("net.ipv6.conf."+dev+".accept_dad", "0")
	}
	allowCubic(t)
	ns.Sysctl("net.ipv4.tcp_congestion_control", "cubic")
	return ns
}

// allowCubic lets namespaces choose cubic, which the kernel permits only for algorithms
// that the first namespace allows to everybody.
func allowCubic(t testing.TB) {
	t.Helper()
	const allowed = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
	b, err := os.ReadFile(allowed)
	if err != nil {
		t.Fatalf("tuntest: %v", err)
	}
	names := strings.Fields(string(b))
	if slices.Contains(names, "cubic") {
		return
	}
	names = append(names, "cubic")
	if err := os.WriteFile(allowed, []byte(strings.Join(names, " ")), 0o644); err != nil {
		t.Fatalf("tuntest: allow cubic: %v", err)
	}
}

// Do calls f on a thread that is in the namespace: sockets and devices that f opens
// are the namespace's, and stay so after Do. Goroutines that f starts are not in it.
// It may be nested, and f may call t.FailNow.
func (ns *NS) Do(f func()) {
	ns.t.Helper()
	runtime.LockOSThread()
	old, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		ns.t.Fatalf("tuntest: open this thread's namespace: %v", err)
	}
	defer unix.Close(old) // read only
	if err := unix.Setns(ns.fd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		ns.t.Fatalf("tuntest: enter namespace %s: %v", ns.Name, err)
	}
	defer func() {
		// A thread that can not go back stays locked, and ends with its goroutine.
		if err := unix.Setns(old, unix.CLONE_NEWNET); err != nil {
			ns.t.Errorf("tuntest: leave namespace %s: %v", ns.Name, err)
			return
		}
		runtime.UnlockOSThread()
	}()
	f()
}

// Command returns a command that will run in the namespace, and is killed at the end
// of the test. Files in /etc/netns/NAME stand in for those in /etc, as for ip netns exec.
func (ns *NS) Command(args ...string) *exec.Cmd {
	ns.t.Helper()
	return exec.CommandContext(ns.t.Context(), "ip", append([]string{"netns", "exec", ns.Name}, args...)...)
}

// Exec runs a command in the namespace and returns its standard output. The test fails
// if the command does.
func (ns *NS) Exec(args ...string) string {
	ns.t.Helper()
	return run(ns.t, ns.Command(args...))
}

// IP runs ip(8) on the namespace.
func (ns *NS) IP(args ...string) string {
	ns.t.Helper()
	return run(ns.t, exec.CommandContext(ns.t.Context(), "ip", append([]string{"-n", ns.Name}, args...)...))
}

// Sysctl sets a kernel parameter of the namespace, such as net.ipv4.ip_forward. A dot
// within an interface's name is written as a slash, as in sysctl(8).
func (ns *NS) Sysctl(key, value string) {
	ns.t.Helper()
	swap := strings.NewReplacer(".", "/", "/", ".")
	ns.Do(func() {
		ns.t.Helper()
		if err := os.WriteFile("/proc/sys/"+swap.Replace(key), []byte(value), 0o644); err != nil {
			ns.t.Fatalf("tuntest: set %s in %s: %v", key, ns.Name, err)
		}
	})
}

// carrierGrace is how long an interface may take to have its carrier.
const carrierGrace = 5 * time.Second

// Veth joins two namespaces by a cable, whose ends are brought up and have their carrier
// when it returns. It goes when either namespace does.
func Veth(a *NS, nameA string, b *NS, nameB string) {
	a.t.Helper()
	a.IP("link", "add", "name", nameA, "type", "veth", "peer", "name", nameB, "netns", b.Name)
	a.IP("link", "set", "dev", nameA, "up")
	b.IP("link", "set", "dev", nameB, "up")
	a.awaitCarrier(nameA)
	b.awaitCarrier(nameB)
}

// awaitCarrier waits until frames can pass an interface.
func (ns *NS) awaitCarrier(name string) {
	ns.t.Helper()
	for deadline := time.Now().Add(carrierGrace); ; time.Sleep(time.Millisecond) {
		state := ns.IP("link", "show", "dev", name)
		if strings.Contains(state, "state UP") {
			return
		}
		if time.Now().After(deadline) {
			ns.t.Fatalf("tuntest: %s in %s gets no carrier: %s", name, ns.Name, state)
		}
	}
}

// Bridge makes a bridge in the namespace, with interfaces of the namespace as its
// ports, and brings it and them up. It forwards from the first frame on.
func (ns *NS) Bridge(name string, ports ...string) {
	ns.t.Helper()
	ns.IP("link", "add", "name", name, "type", "bridge", "forward_delay", "0", "stp_state", "0", "mcast_snooping", "0")
	ns.IP("link", "set", "dev", name, "up")
	for _, p := range ports {
		ns.IP("link", "set", "dev", p, "master", name)
		ns.IP("link", "set", "dev", p, "up")
	}
}

// run runs a command to its end and returns its standard output.
func run(t testing.TB, cmd *exec.Cmd) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("tuntest: %s: %v: %s", cmd, err, bytes.TrimSpace(append(stderr.Bytes(), stdout.Bytes()...)))
	}
	return stdout.String()
}
