package main

import (
	"context"
	"errors"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	wgtun "golang.zx2c4.com/wireguard/tun"
)

// wireguardQueue is how many packets wait for the device: as many as for the other way.
const wireguardQueue = 4096

// A wireguardPump moves packets between a device of wireguard/tun, which hands out and
// takes packets of the MTU, in batches, and a channel endpoint.
type wireguardPump struct {
	dev  wgtun.Device
	ep   *channel.Endpoint
	stop context.CancelFunc
	out  chan struct{} // closed when the goroutine that sends has ended
	in   chan struct{} // likewise the one that receives
}

// newWireguardEngine returns a gVisor stack on a device, which it owns even if it fails.
func newWireguardEngine(dev wgtun.Device, a attachment, mtu int) (*bareEngine, error) {
	ep := channel.New(wireguardQueue, uint32(mtu), "")
	s, err := newBareStack(ep, a)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &wireguardPump{dev: dev, ep: ep, stop: cancel, out: make(chan struct{}), in: make(chan struct{})}
	go p.send(ctx)
	go p.receive()
	return &bareEngine{stk: s, end: p.close}, nil
}

func (p *wireguardPump) close() error {
	p.stop()
	err := p.dev.Close()
	<-p.in
	<-p.out
	return err
}

// room is what the device wants before a packet, for the virtio_net_hdr.
const room = 16

// send writes what the stack sends, as many packets at once as there are. It ends when ctx
// does.
func (p *wireguardPump) send(ctx context.Context) {
	defer close(p.out)
	memory := p.memory()
	bufs := make([][]byte, 0, len(memory))
	for {
		pkt := p.ep.ReadContext(ctx)
		if pkt == nil {
			return
		}
		bufs = bufs[:0]
		for ; pkt != nil; pkt = p.next(len(bufs) < len(memory)) {
			b := memory[len(bufs)][:room]
			for _, s := range pkt.AsSlices() {
				b = append(b, s...)
			}
			bufs = append(bufs, b)
			pkt.DecRef()
		}
		p.dev.Write(bufs, room) //nolint:errcheck // what is lost TCP sends again
	}
}

// next returns the next packet if there is one, and room for it.
func (p *wireguardPump) next(roomLeft bool) *gstack.PacketBuffer {
	if !roomLeft {
		return nil
	}
	return p.ep.Read()
}

// receive gives the stack what the device has. It ends when that is closed.
func (p *wireguardPump) receive() {
	defer close(p.in)
	bufs := p.memory()
	sizes := make([]int, len(bufs))
	for {
		n, err := p.dev.Read(bufs, sizes, room)
		if err != nil && !errors.Is(err, wgtun.ErrTooManySegments) {
			return
		}
		for i := range n {
			data := buffer.MakeWithData(bufs[i][room : room+sizes[i]])
			pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: data})
			p.ep.InjectInbound(ipv4.ProtocolNumber, pkt)
			pkt.DecRef()
		}
	}
}

// memory returns room for a batch of packets of any size.
func (p *wireguardPump) memory() [][]byte {
	bufs := make([][]byte, p.dev.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, room+65535)
	}
	return bufs
}
