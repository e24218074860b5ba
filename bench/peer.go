package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// The ports of the peer's services.
const (
	portSink   = 5001 // reads
	portSource = 5002 // writes
	portEcho   = 5003 // answers what it reads with as much
	portOnce   = 5004 // does so once, and closes
)

// patience bounds what takes no time when all is well.
const patience = 5 * time.Second

// chunk is how much is written or read at once in measurements of throughput.
const chunk = 128 << 10

// A peerServer is the peer's side, in its own process.
type peerServer struct {
	sunk   atomic.Uint64 // octets
	active atomic.Int64  // connections
}

// servePeer serves connections from anywhere, and the commands on in, until that ends.
func servePeer(in io.Reader, out io.Writer) error {
	p := &peerServer{}
	for port, serve := range map[int]func(net.Conn){portSink: p.sink, portSource: p.source, portEcho: p.echo, portOnce: p.once} {
		l, err := net.Listen("tcp4", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		go p.accept(l, serve) // until the process ends
	}
	fmt.Fprintln(out, "ready") //nolint:errcheck // whoever started us is gone: in ends
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if lines.Text() == "idle" {
			p.waitIdle()
		}
		fmt.Fprintln(out, p.sunk.Load(), int64(time.Since(start)), int64(cpuTime())) //nolint:errcheck // as above
	}
	return nil
}

var start = time.Now()

func (p *peerServer) accept(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			continue // for want of descriptors, at worst
		}
		p.active.Add(1)
		go func() {
			defer p.active.Add(-1)
			defer c.Close() //nolint:errcheck // nothing more to do with it
			serve(c)
		}()
	}
}

// waitIdle waits until there are no connections. One whose end got lost lives on for
// minutes, and disturbs nobody.
func (p *peerServer) waitIdle() {
	for until := time.Now().Add(patience); p.active.Load() > 0 && time.Now().Before(until); {
		time.Sleep(time.Millisecond)
	}
}

func (p *peerServer) sink(c net.Conn) {
	for b := make([]byte, chunk); ; {
		n, err := c.Read(b)
		p.sunk.Add(uint64(n))
		if err != nil {
			return
		}
	}
}

func (p *peerServer) source(c net.Conn) {
	for b := make([]byte, chunk); ; {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

func (p *peerServer) echo(c net.Conn) {
	for b := make([]byte, 1024); ; {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if _, err := c.Write(b[:n]); err != nil {
			return
		}
	}
}

func (p *peerServer) once(c net.Conn) {
	b := make([]byte, 1)
	if _, err := c.Read(b); err == nil {
		c.Write(b) //nolint:errcheck // the other side sees that
	}
}

// A peer is the peer's process as the one that measures sees it.
type peer struct {
	ns    namespace
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Reader
}

// startPeer starts the peer in a namespace of its own.
func startPeer(ctx context.Context) (*peer, error) {
	p := &peer{cmd: command(ctx, rolePeer, nil)}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the peer: %w", err)
	}
	p.ns = namespace(p.cmd.Process.Pid)
	p.lines = bufio.NewReader(out)
	if line, err := p.lines.ReadString('\n'); err != nil {
		return nil, fmt.Errorf("the peer is not ready: %q, %w", line, errors.Join(err, p.close()))
	}
	return p, p.ns.prepare()
}

func (p *peer) close() error {
	p.in.Close() //nolint:errcheck // the process ends by it
	return p.cmd.Wait()
}

// A reading is how much has arrived somewhere until some time, and how much the process
// has worked until then.
type reading struct {
	octets uint64
	at     time.Duration
	cpu    time.Duration
}

// read returns what the peer has sunk.
func (p *peer) read() (reading, error) { return p.ask("count") }

// idle waits until the peer has no connections, for as long as is reasonable.
func (p *peer) idle() error {
	_, err := p.ask("idle")
	return err
}

func (p *peer) ask(command string) (r reading, err error) {
	if _, err := fmt.Fprintln(p.in, command); err != nil {
		return r, fmt.Errorf("peer: %w", err)
	}
	line, err := p.lines.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscan(line, &r.octets, &r.at, &r.cpu)
	}
	if err != nil {
		return r, fmt.Errorf("peer: %w", err)
	}
	return r, nil
}

// cpuTime returns how long this process has worked, in user and kernel mode.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// service is where a service of the peer is reached.
func service(addr netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(addr, port) }
