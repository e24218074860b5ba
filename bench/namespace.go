package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// roleVariable is the variable that tells a process its part.
const (
	roleVariable = "PVDSTACK_BENCH_ROLE"
	roleMeasure  = "measure"
	rolePeer     = "peer"
)

const (
	allowedPath = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
	cubic       = "cubic"
)

// allowCubic lets namespaces choose cubic, which the kernel permits only for algorithms
// that the first namespace allows to everybody. restore undoes that.
func allowCubic() (restore func() error, err error) {
	old, err := os.ReadFile(allowedPath)
	if err != nil {
		return nil, err
	}
	names := strings.Fields(string(old))
	if slices.Contains(names, cubic) {
		return func() error { return nil }, nil
	}
	list := strings.Join(append(names, cubic), " ")
	if err := os.WriteFile(allowedPath, []byte(list), 0o644); err != nil {
		return nil, fmt.Errorf("allow cubic to namespaces: %w", err)
	}
	return func() error {
		if err := os.WriteFile(allowedPath, old, 0o644); err != nil {
			return fmt.Errorf("restore the allowed congestion controls: %w", err)
		}
		return nil
	}, nil
}

// command returns this program in another role, in a network namespace of its own which
// ends with it. Its standard input is the caller's to keep open: both roles end with it,
// however the caller ends.
func command(ctx context.Context, role string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	return cmd
}

// measureInNamespace runs the process that measures.
func measureInNamespace(ctx context.Context, args []string) error {
	cmd := command(context.Background(), roleMeasure, args)
	cmd.Stdout = os.Stdout
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the process that measures: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { in.Close() })
	defer stop()
	return cmd.Wait()
}

// untilEOF returns a context that ends when r does. The goroutine ends with the process.
func untilEOF(ctx context.Context, r io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		io.Copy(io.Discard, r) //nolint:errcheck // an error is an end, too
		cancel(errors.New("interrupted"))
	}()
	return ctx, func() { cancel(nil) }
}

// A namespace is the network namespace that a process is in.
type namespace int // the process

const ownNamespace namespace = 0

// do calls f on a thread that is in the namespace, which ends with the call.
func (ns namespace) do(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		done <- ns.enter(f)
	}()
	return <-done
}

func (ns namespace) enter(f func() error) error {
	if ns != ownNamespace {
		fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", ns), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open the peer's namespace: %w", err)
		}
		defer unix.Close(fd) //nolint:errcheck // read only
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the peer's namespace: %w", err)
		}
	}
	return f()
}

// prepare sets what all measurements have in common.
func (ns namespace) prepare() error {
	return errors.Join(
		ns.ip("link set lo up"),
		ns.sysctl("net/ipv4/tcp_congestion_control", cubic),
		// Nothing but what is measured.
		ns.sysctl("net/ipv6/conf/all/disable_ipv6", "1"),
		ns.sysctl("net/ipv6/conf/default/disable_ipv6", "1"),
		// The kernel as client would run out of ports for a minute.
		ns.sysctl("net/ipv4/tcp_tw_reuse", "1"),
		ns.sysctl("net/ipv4/ip_local_port_range", "16000 65535"),
	)
}

func (ns namespace) sysctl(key, value string) error {
	return ns.do(func() error { return os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0o644) })
}

// ip runs ip(8) in the namespace.
func (ns namespace) ip(format string, args ...any) error {
	line := fmt.Sprintf(format, args...)
	return ns.do(func() error {
		out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, bytes.TrimSpace(out))
		}
		return nil
	})
}
