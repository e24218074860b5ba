package stack

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// A tcpPeer is the other end of one connection, which does as the test says.
type tcpPeer struct {
	w        *wire
	self, to netip.AddrPort
	nxt      uint32 // what it sends next
	acked    uint32 // what of it has arrived
	window   uint32 // octets beyond
	scale    uint8
	got      uint32 // what it has been sent
	segments <-chan []byte
}

// tcpPeer connects to the wire's PvD.
func (w *wire) tcpPeer(self, to string) *tcpPeer {
	w.t.Helper()
	segments := make(chan []byte, 1024)
	w.each(func(frame []byte) {
		if p := header.IPv4(frame); p.IsValid(len(frame)) && p.TransportProtocol() == header.TCPProtocolNumber {
			segments <- slices.Clone(p.Payload())
		}
	})
	p := &tcpPeer{w: w, self: addrPort(self), to: addrPort(to), nxt: 1000, segments: segments}
	p.send(header.TCPFlagSyn, []byte{2, 4, 1400 >> 8, 1400 & 0xff, 1, 3, 3, 0}, nil)
	p.nxt++
	s := p.next()
	p.scale = uint8(header.ParseSynOptions(s.Options(), true).WS)
	p.window, p.got = uint32(s.WindowSize()), s.SequenceNumber()+1
	p.send(header.TCPFlagAck, nil, nil)
	return p
}

// send sends a segment at its place. What it has cost is the caller's to count.
func (p *tcpPeer) send(flags header.TCPFlags, options, data []byte) {
	p.w.t.Helper()
	h := header.TCP(make([]byte, header.TCPMinimumSize+len(options), header.TCPMinimumSize+len(options)+len(data)))
	h.Encode(&header.TCPFields{
		SrcPort: p.self.Port(), DstPort: p.to.Port(), SeqNum: p.nxt, AckNum: p.got,
		DataOffset: uint8(len(h)), Flags: flags, WindowSize: 65535,
	})
	copy(h[header.TCPMinimumSize:], options)
	sum := header.PseudoHeaderChecksum(header.TCPProtocolNumber, toAddr(p.self.Addr()), toAddr(p.to.Addr()), uint16(len(h)+len(data)))
	h.SetChecksum(^h.CalculateChecksum(checksum.Checksum(data, sum)))
	p.w.send(ipPacket(uint8(header.TCPProtocolNumber), p.self.Addr(), p.to.Addr(), append(h, data...)))
}

// next takes what comes next.
func (p *tcpPeer) next() header.TCP {
	p.w.t.Helper()
	select {
	case s := <-p.segments:
		return s
	case <-time.After(10 * time.Second):
		p.w.t.Fatal("nothing comes")
		return nil
	}
}

// hear takes note of what a segment says of the peer's own.
func (p *tcpPeer) hear(s header.TCP) {
	p.acked, p.window = s.AckNumber(), uint32(s.WindowSize())<<p.scale
}

// take takes what a segment brings, if it is its turn.
func (p *tcpPeer) take(s header.TCP) {
	if s.SequenceNumber() == p.got {
		p.got += uint32(len(s.Payload()))
	}
}

// fill sends until the window is zero, but for the last octet that there was room for.
func (p *tcpPeer) fill() {
	data := make([]byte, 1400)
	for p.window > 0 {
		n := min(p.window-1, 1400)
		p.send(header.TCPFlagAck, nil, data[:n])
		for p.nxt += n; p.acked != p.nxt; {
			p.hear(p.next())
		}
	}
}

// stalling returns a connection to a peer that has filled its receive buffer, and has not
// taken anything.
func stalling(t *testing.T) (*TCPConn, *tcpPeer) {
	t.Helper()
	w := newWire(t, tun.IP)
	port := w.add(pvd.Config{Addresses: addresses("10.0.0.2/24")})
	ln, err := w.in(port).Listen(t.Context(), "tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	p := w.tcpPeer("10.0.0.1:5000", "10.0.0.2:7")
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p.fill()
	return c.(*TCPConn), p
}

// TestStallEnds has a peer whose last octet does not fit into what the window of zero leaves,
// and an application that writes before it reads.
func TestStallEnds(t *testing.T) {
	t.Parallel()
	c, p := stalling(t)
	written := make(chan error, 1)
	go func() {
		_, err := c.Write(make([]byte, 4<<20))
		written <- err
	}()
	for len(p.segments) == 0 { // until the writer has begun
		time.Sleep(time.Millisecond)
	}
	over := []byte{1}
	p.send(header.TCPFlagAck, nil, over)
	p.nxt++
	for tick, began := time.NewTicker(50*time.Millisecond), time.Now(); ; {
		select {
		case err := <-written:
			if err != nil || c.stall.grown == 0 {
				t.Errorf("%v, and the buffer has grown %d times", err, c.stall.grown)
			}
			return
		case s := <-p.segments:
			p.take(s)
			p.send(header.TCPFlagAck, nil, nil)
		case <-tick.C: // what was not acknowledged again
			if time.Since(began) > 10*time.Second {
				t.Fatal("nothing more is written")
			}
			p.nxt--
			p.send(header.TCPFlagAck, nil, over)
			p.nxt++
		}
	}
}

// TestMaxStalls has a peer that takes nothing for a reason of its own.
func TestMaxStalls(t *testing.T) {
	t.Parallel()
	c, _ := stalling(t)
	c.stall = &stall{conn: c}
	c.stall.watched.Store(true) // by the test
	if err := c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(make([]byte, 32<<20)); err == nil {
		t.Fatal("there was room for everything")
	}
	before := c.ep.SocketOptions().GetReceiveBufferSize()
	for range 2 * maxStalls {
		c.stall.zeros = c.stall.zeroWindows() + 1 // it has been told again
		c.stall.look()
	}
	if after := c.ep.SocketOptions().GetReceiveBufferSize(); c.stall.grown != maxStalls || after != before+maxStalls*stallRoom {
		t.Errorf("the buffer has grown %d times, from %d to %d octets", c.stall.grown, before, after)
	}
}
