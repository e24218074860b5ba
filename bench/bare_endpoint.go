package main

import (
	"crypto/rand"
	"encoding/binary"
	"net"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/tun"
)

// A bareEndpoint is the least that attaches a gVisor stack to a link: all that arrives is
// the stack's, all that the stack sends leaves, and checksums are taken to be right.
type bareEndpoint struct {
	link       tun.Link
	mac        tcpip.LinkAddress // empty on an IP link
	dispatcher gstack.NetworkDispatcher
	reading    sync.WaitGroup
}

var _ gstack.GSOEndpoint = (*bareEndpoint)(nil)

// newBareEndpoint returns an endpoint on l, which stays the caller's until start.
func newBareEndpoint(l tun.Link) (*bareEndpoint, error) {
	e := &bareEndpoint{link: l}
	if l.Layer() == tun.IP {
		return e, nil
	}
	mac := l.HardwareAddr()
	if mac == nil {
		mac = make(net.HardwareAddr, 6)
		rand.Read(mac) //nolint:errcheck // never fails
		mac[0] = 0x02  // locally administered, of one station
	}
	e.mac = tcpip.LinkAddress(mac)
	if s, ok := l.(tun.Station); ok {
		return e, s.AddMAC(mac)
	}
	return e, nil
}

// start begins to read. The endpoint owns the link from then on.
func (e *bareEndpoint) start() { e.reading.Go(e.read) }

// stop closes the link.
func (e *bareEndpoint) stop() error {
	err := e.link.Close()
	e.reading.Wait()
	return err
}

// copied is the length up to which a frame is copied, so that it does not take 64 KB
// along.
const copied = 8192

// read delivers what arrives, until the link is closed.
func (e *bareEndpoint) read() {
	var head [256]byte
	body := buffer.NewViewSize(65536)
	defer func() { body.Release() }()
	bufs := [][]byte{head[:], nil}
	for {
		bufs[1] = body.AsSlice()
		var m tun.Meta
		n, err := e.link.Recv(bufs, &m)
		if err != nil {
			return
		}
		skip, proto, cast := e.parse(head[:min(n, len(head))])
		if proto == 0 {
			continue
		}
		var b buffer.Buffer
		if n <= copied {
			v := buffer.NewViewSize(n - skip)
			if k := copy(v.AsSlice(), head[skip:min(n, len(head))]); n > len(head) {
				copy(v.AsSlice()[k:], body.AsSlice()[:n-len(head)])
			}
			b = buffer.MakeWithView(v)
		} else {
			b = buffer.MakeWithData(head[skip:])
			body.CapLength(n - len(head))
			if err := b.Append(body); err != nil {
				panic(err) // only a shared view is refused
			}
			body = buffer.NewViewSize(65536)
		}
		pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{Payload: b})
		pkt.PktType = cast
		e.dispatcher.DeliverNetworkPacket(proto, pkt)
		pkt.DecRef()
	}
}

// parse finds out what a frame holds, and where.
func (e *bareEndpoint) parse(head []byte) (skip int, proto tcpip.NetworkProtocolNumber, cast tcpip.PacketType) {
	cast = tcpip.PacketHost
	if e.mac != "" {
		if len(head) < tun.EthernetHeaderLen {
			return 0, 0, cast
		}
		if head[0]&1 != 0 {
			cast = tcpip.PacketBroadcast
		}
		return tun.EthernetHeaderLen, tcpip.NetworkProtocolNumber(binary.BigEndian.Uint16(head[12:])), cast
	}
	switch head[0] >> 4 {
	case 4:
		proto = ipv4.ProtocolNumber
	case 6:
		proto = ipv6.ProtocolNumber
	}
	return 0, proto, cast
}

// A bareFrame is the memory in which a frame is put together.
type bareFrame struct {
	ether [tun.EthernetHeaderLen]byte
	bufs  [][]byte
}

var bareFrames = sync.Pool{New: func() any { return &bareFrame{bufs: make([][]byte, 0, 64)} }}

// WritePackets implements gstack.LinkEndpoint.
func (e *bareEndpoint) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	for _, pkt := range pkts.AsSlice() {
		e.write(pkt)
	}
	return pkts.Len(), nil
}

func (e *bareEndpoint) write(pkt *gstack.PacketBuffer) {
	f := bareFrames.Get().(*bareFrame)
	bufs, link := f.bufs[:0], uint16(0)
	if e.mac != "" {
		link = tun.EthernetHeaderLen
		copy(f.ether[0:6], pkt.EgressRoute.RemoteLinkAddress)
		copy(f.ether[6:12], e.mac)
		binary.BigEndian.PutUint16(f.ether[12:], uint16(pkt.NetworkProtocolNumber))
		bufs = append(bufs, f.ether[:])
	}
	views, skip := pkt.AsViewList()
	for v := views.Front(); v != nil; v = v.Next() {
		b := v.AsSlice()
		k := min(skip, len(b))
		bufs, skip = append(bufs, b[k:]), skip-k
	}
	m := bareMeta(pkt, link)
	// As a host does: a link that stays full for longer loses the packet.
	for e.link.Send(bufs, m) == tun.ErrFull { //nolint:errorlint // never wrapped
		if !e.link.WaitSend(5*time.Millisecond, nil) {
			break
		}
	}
	f.bufs = bufs[:0]
	bareFrames.Put(f)
}

// bareMeta says what is left to the link.
func bareMeta(pkt *gstack.PacketBuffer, link uint16) tun.Meta {
	g := &pkt.GSOOptions
	if g.Type == gstack.GSONone {
		return tun.Meta{}
	}
	m := tun.Meta{HdrLen: link + uint16(pkt.HeaderSize())}
	if g.NeedsCsum {
		m.Flags, m.CsumStart, m.CsumOffset = tun.NeedsCsum, link+g.L3HdrLen, g.CsumOffset
	}
	if pkt.Data().Size() > int(g.MSS) {
		m.GSO, m.GSOSize = tun.GSOTCP4, g.MSS
	}
	return m
}

// The methods below make it a gstack.GSOEndpoint.

func (e *bareEndpoint) Attach(d gstack.NetworkDispatcher)     { e.dispatcher = d }
func (e *bareEndpoint) IsAttached() bool                      { return e.dispatcher != nil }
func (e *bareEndpoint) MTU() uint32                           { return uint32(e.link.MTU()) }
func (e *bareEndpoint) SetMTU(uint32)                         {}
func (e *bareEndpoint) MaxHeaderLength() uint16               { return 0 }
func (e *bareEndpoint) LinkAddress() tcpip.LinkAddress        { return e.mac }
func (e *bareEndpoint) SetLinkAddress(tcpip.LinkAddress)      {}
func (e *bareEndpoint) Wait()                                 {}
func (e *bareEndpoint) AddHeader(*gstack.PacketBuffer)        {}
func (e *bareEndpoint) ParseHeader(*gstack.PacketBuffer) bool { return true }
func (e *bareEndpoint) Close()                                {}
func (e *bareEndpoint) SetOnCloseAction(func())               {}
func (e *bareEndpoint) SupportedGSO() gstack.SupportedGSO     { return gstack.HostGSOSupported }
func (e *bareEndpoint) GSOMaxSize() uint32                    { return 65535 }

func (e *bareEndpoint) ARPHardwareType() header.ARPHardwareType {
	if e.mac == "" {
		return header.ARPHardwareNone
	}
	return header.ARPHardwareEther
}

func (e *bareEndpoint) Capabilities() gstack.LinkEndpointCapabilities {
	c := gstack.CapabilityRXChecksumOffload
	if e.mac != "" {
		c |= gstack.CapabilityResolutionRequired
	}
	return c
}
