package pvdtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// TestKernelOnLAN has a kernel on a lab's LAN, by a TAP device, as the peer of the router
// and its NAT, and of a host under test.
func TestKernelOnLAN(t *testing.T) {
	t.Parallel()
	ns := tuntest.NewNS(t)
	lab := New(t)
	inside, r := uplinked(lab, Uplink{MTU: 1400})
	var tap tun.Link
	var err error
	ns.Do(func() { tap, err = tun.OpenTAP(tun.TAPConfig{Name: "lab0"}) })
	if err != nil {
		t.Fatal(err)
	}
	inside.Reserve("10.0.0.50 2001:db8:1::50")
	inside.Attach(tap)
	ns.IP("addr", "add", "10.0.0.50/8", "dev", "lab0")
	ns.IP("addr", "add", "2001:db8:1::50/64", "dev", "lab0")
	ns.IP("link", "set", "lab0", "up")
	ns.IP("route", "add", "default", "via", "10.0.0.1")
	ns.IP("-6", "route", "add", "default", "via", "2001:db8:1::1")
	h := lab.Host("inside")
	n := h.Await("inside")

	for _, url := range []string{"http://198.51.100.80/", "http://[2001:db8:ff::80]/"} {
		if got := ns.Exec("curl", "-sS", "-m", "10", url); got != "the internet" {
			t.Errorf("curl %s: %q", url, got)
		}
	}
	for _, to := range []string{"10.0.0.1", "2001:db8:1::1", "198.51.100.80", "2001:db8:ff::80", "10.0.0.100"} {
		ns.Exec("ping", "-c", "2", "-i", "0.2", "-W", "5", to)
	}
	// In fragments, which NAT puts together.
	ns.Exec("ping", "-c", "1", "-W", "5", "-s", "4000", "-M", "dont", "198.51.100.80")
	for _, to := range []string{"198.51.100.7:7", "[2001:db8:ff::7]:7"} {
		if err := kernelEcho(ns, to, 4<<20); err != nil {
			t.Errorf("echo at %s: %v", to, err)
		}
	}
	if s := r.Stats(); s[dropTooBig] == 0 || s[dropChecksum]+s[dropMeta] != 0 {
		t.Errorf("router counts %v", s)
	}
	// The other way: the host under test asks a server of the kernel's.
	for _, address := range []string{"10.0.0.50:7", "[2001:db8:1::50]:7"} {
		ln := kernelServe(t, ns, address)
		if err := echoTCP(t, n, address, 4<<20); err != nil {
			t.Errorf("kernel's echo at %s: %v", address, err)
		}
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	}
	for l := range strings.Lines(ns.Exec("nstat", "-asz", "TcpInCsumErrors", "UdpInCsumErrors", "IcmpInCsumErrors", "IpInHdrErrors", "Icmp6InCsumErrors")) {
		if f := strings.Fields(l); len(f) >= 2 && !strings.HasPrefix(l, "#") && f[1] != "0" {
			t.Errorf("the kernel counts %s", l)
		}
	}
	lab.AssertIsolated()
}

// kernelEcho sends size octets from the namespace to an echo server and compares.
func kernelEcho(ns *tuntest.NS, to string, size int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var c net.Conn
	var err error
	// Without a fallback, which would be made by a goroutine outside the namespace.
	d := net.Dialer{FallbackDelay: -1}
	ns.Do(func() { c, err = d.DialContext(ctx, "tcp", to) })
	if err != nil {
		return err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	msg := bytes.Repeat([]byte("pvdstack"), size/8)
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(msg)
		sent <- errors.Join(err, c.(*net.TCPConn).CloseWrite())
	}()
	got, err := io.ReadAll(c)
	if err == nil && !bytes.Equal(got, msg) {
		err = fmt.Errorf("%d octets came back of %d", len(got), len(msg))
	}
	return errors.Join(err, <-sent)
}

// kernelServe echoes in the namespace until the listener is closed.
func kernelServe(t *testing.T, ns *tuntest.NS, address string) net.Listener {
	t.Helper()
	var ln net.Listener
	var err error
	ns.Do(func() { ln, err = net.Listen("tcp", address) })
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return ln
}
