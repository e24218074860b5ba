package main_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDemoOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "captures")
	stdout, stderr, code := pvdstack(t, "", "demo", "--once", "--pcap", dir)
	if code != 0 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	for _, n := range []string{"corp", "home", "six.example"} {
		if got := strings.Count(stdout, "This is the wiki of "+n+".\n"); got != 4 {
			t.Errorf("the page of %s was had %d times, want 4", n, got)
		}
		b, err := os.ReadFile(filepath.Join(dir, strings.TrimSuffix(n, ".example")+"-host1.pcapng"))
		if err != nil || !bytes.Contains(b, []byte("This is the wiki of "+n)) {
			t.Errorf("capture of %s: %d octets, %v", n, len(b), err)
		}
	}
	if t.Failed() {
		t.Logf("it said:\n%s", stdout)
	}
}

// TestDemoWithoutCaptures has nowhere to leave captures, which it says at once.
func TestDemoWithoutCaptures(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := pvdstack(t, "", "demo", "--once", "--pcap", filepath.Join(file, "captures"))
	if want := "pvdstack: mkdir " + file + ": not a directory\n"; code != 1 || stdout != "" || stderr != want {
		t.Errorf("exit code %d, stdout %q, stderr %q, want %q", code, stdout, stderr, want)
	}
}

// TestDemoStays has the demo run, on other ports than its usual ones, and does as it says.
func TestDemoStays(t *testing.T) {
	// Whoever has the port for long, it is not free.
	for range 50 {
		if ln, err := net.Listen("tcp", "127.0.0.1:1080"); err == nil {
			defer ln.Close()
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "demo")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for lines := bufio.NewScanner(io.TeeReader(out, &said)); lines.Scan(); {
		if strings.Contains(lines.Text(), "until Ctrl-C") {
			break
		}
	}
	commands := regexp.MustCompile(`(?m)^ +(curl --socks5-hostname (127\.0\.0\.1:\d+) \S+)$`).FindAllStringSubmatch(said.String(), -1)
	if len(commands) != 6 || commands[0][2] == "127.0.0.1:1080" {
		t.Errorf("it says %q: %s", said.String(), stderr.String())
	}
	if _, err := exec.LookPath("curl"); err == nil {
		for i, c := range commands {
			args := strings.Fields(c[1])
			page, err := exec.CommandContext(t.Context(), args[0], append(args[1:], "-sS", "-m", "10")...).CombinedOutput()
			want := "This is the wiki of " + []string{"corp", "corp", "home", "home", "six.example", "six.example"}[i] + ".\n"
			if err != nil || string(page) != want {
				t.Errorf("%s: %q, %v; want %q", c[1], page, err, want)
			}
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGINT: %v: %s", err, stderr.String())
	}
}
