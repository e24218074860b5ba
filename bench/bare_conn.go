package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A bareConn is the least that reads and writes an endpoint of gVisor's: one reader and
// one writer at a time, no deadlines, no errors that tell more.
type bareConn struct {
	ep        tcpip.Endpoint
	wq        *waiter.Queue
	in, out   waiter.Entry
	inC, outC chan struct{}
	done      chan struct{}
	once      sync.Once
	linger    bool // false: Close resets

	payload  barePayload
	dst      tcpip.SliceWriter
	received int
}

// moderateAfter is how many octets are read between two chances for the receive buffer to
// grow.
const moderateAfter = 64 << 10

func newBareConn(ep tcpip.Endpoint, wq *waiter.Queue) *bareConn {
	c := &bareConn{ep: ep, wq: wq, done: make(chan struct{}), linger: true}
	c.in, c.inC = waiter.NewChannelEntry(waiter.ReadableEvents | waiter.EventRdHUp | waiter.EventHUp | waiter.EventErr)
	c.out, c.outC = waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventHUp | waiter.EventErr)
	wq.EventRegister(&c.in)
	wq.EventRegister(&c.out)
	// As package net does, and our host.
	ep.SocketOptions().SetDelayOption(false)
	ep.SocketOptions().SetKeepAlive(true)
	return c
}

func (c *bareConn) connect(ctx context.Context, to netip.AddrPort) error {
	err := c.ep.Connect(tcpip.FullAddress{NIC: bareNIC, Addr: tcpip.AddrFrom4(to.Addr().As4()), Port: to.Port()})
	if _, started := err.(*tcpip.ErrConnectStarted); !started {
		if err == nil {
			return nil
		}
		return fmt.Errorf("connect to %v: %v", to, err)
	}
	select {
	case <-c.outC:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := c.ep.LastError(); err != nil {
		return fmt.Errorf("connect to %v: %v", to, err)
	}
	return nil
}

func (c *bareConn) Read(b []byte) (int, error) {
	for {
		c.dst = b
		res, err := c.ep.Read(&c.dst, tcpip.ReadOptions{})
		switch err.(type) {
		case nil:
			if c.received += res.Count; c.received >= moderateAfter {
				c.ep.ModerateRecvBuf(c.received)
				c.received = 0
			}
			return res.Count, nil
		case *tcpip.ErrWouldBlock:
			if !c.wait(c.inC) {
				return 0, net.ErrClosed
			}
		case *tcpip.ErrClosedForReceive:
			return 0, io.EOF
		default:
			return 0, errors.New("read: " + err.String())
		}
	}
}

func (c *bareConn) Write(b []byte) (int, error) {
	for sent := 0; ; {
		c.payload = b[sent:]
		n, err := c.ep.Write(&c.payload, tcpip.WriteOptions{})
		sent += int(n)
		switch err.(type) {
		case nil:
			if sent == len(b) {
				return sent, nil
			}
		case *tcpip.ErrWouldBlock:
			if !c.wait(c.outC) {
				return sent, net.ErrClosed
			}
		default:
			return sent, errors.New("write: " + err.String())
		}
	}
}

func (c *bareConn) wait(ready chan struct{}) bool {
	select {
	case <-ready:
		return true
	case <-c.done:
		return false
	}
}

// SetLinger makes Close reset the connection if sec is 0.
func (c *bareConn) SetLinger(sec int) error {
	c.linger = sec != 0
	return nil
}

func (c *bareConn) Close() error {
	c.once.Do(func() {
		close(c.done)
		if c.linger {
			c.ep.Close()
		} else {
			c.ep.Abort()
		}
		c.wq.EventUnregister(&c.in)
		c.wq.EventUnregister(&c.out)
	})
	return nil
}

// A barePayload is what is left of a write.
type barePayload []byte

func (p *barePayload) Len() int { return len(*p) }

func (p *barePayload) Read(b []byte) (int, error) {
	n := copy(b, *p)
	*p = (*p)[n:]
	return n, nil
}
