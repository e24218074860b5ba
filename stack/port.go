package stack

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/tun"
)

// A port is where one PvD meets one link: the link endpoint of a NIC in the PvD's stack.
// What it is given to send it checks, resolves and sends in the goroutine of whoever
// sends; what arrives is delivered by the link's reader.
type port struct {
	domain *domain
	link   *hostLink
	nic    tcpip.NICID
	mac    net.HardwareAddr // nil on an IP link
	macStr tcpip.LinkAddress

	dispatcher atomic.Pointer[gstack.NetworkDispatcher]
	egress     atomic.Pointer[egress]
	mtu        atomic.Uint32
	mtuMu      sync.Mutex // held by who changes it
	mtuLimit   int        // what the PvD's configuration allows; 0: what the link has

	// trusted is set by the reader while it delivers a packet whose checksums need not
	// be verified. gVisor asks for the capabilities at every packet.
	trusted atomic.Bool

	// hurry makes senders not wait for a full link: during removal.
	hurry     atomic.Bool
	closed    chan struct{} // closed with the port; wakes those who wait for the link
	closeOnce sync.Once

	// delivering is held while a weak host's port delivers: the readers of several links
	// do, and trusted is about one packet.
	delivering sync.Mutex

	hops      hopTable
	redirects redirectTable
	paths     pathTable
	stats     counters

	hood neighborhood // as the stack has been told; the registry's writer only

	// announcing has, of the addresses that were announced, what ends the wait for the second
	// time: one for each, however often the others come and go. The registry's writer only.
	announcing map[netip.Addr]chan struct{}

	captureID int // the port's interface in the host's capture
}

// egress is what the port needs to judge a packet that leaves. It is replaced as a whole.
type egress struct {
	own        map[netip.Addr]struct{} // the PvD's addresses on this link, tentative ones included
	has4, has6 bool                    // whether there are any of the family
	fib        *fib
	was        *fib // while the PvD changes: for what is on its way out; else nil
	weak       bool // the PvD is a weak host
	shared     bool // other PvDs may have some of the addresses too
}

func newPort(d *domain, l *hostLink, nic tcpip.NICID, mac net.HardwareAddr) *port {
	p := &port{domain: d, link: l, nic: nic, mac: mac, macStr: tcpip.LinkAddress(mac), closed: make(chan struct{})}
	p.egress.Store(&egress{fib: &fib{}})
	p.followMTU()
	return p
}

// capture writes a frame that has crossed the port to the host's capture.
func (p *port) capture(dir tun.Direction, bufs [][]byte, m tun.Meta) {
	if c := p.domain.host.capture; c != nil {
		c.Write(p.captureID, dir, p.domain.host.clock.Now(), bufs, m)
	}
}

// limitMTU sets what the PvD's configuration limits the MTU to; 0: the link alone does.
func (p *port) limitMTU(limit int) {
	p.mtuMu.Lock()
	defer p.mtuMu.Unlock()
	p.mtuLimit = limit
	p.setMTULocked()
}

// followMTU follows the link's MTU.
func (p *port) followMTU() {
	p.mtuMu.Lock()
	defer p.mtuMu.Unlock()
	p.setMTULocked()
}

func (p *port) setMTULocked() {
	mtu := p.link.link.MTU()
	for _, o := range p.outlets() {
		mtu = min(mtu, o.link.link.MTU())
	}
	if p.mtuLimit != 0 {
		mtu = min(mtu, p.mtuLimit)
	}
	p.mtu.Store(uint32(mtu))
}

// close wakes whoever waits for the link and drops what waits for a neighbour. The link
// itself goes on.
func (p *port) close() {
	p.closeOnce.Do(func() {
		p.hurry.Store(true)
		close(p.closed)
		p.hops.close(p)
	})
}

// deliver gives a received packet to the PvD's stack. Only the link's reader calls it,
// and those of a weak host's other links. It takes over pkt.
func (p *port) deliver(proto tcpip.NetworkProtocolNumber, pkt *gstack.PacketBuffer, trusted bool) {
	if p.egress.Load().weak {
		p.delivering.Lock()
		defer p.delivering.Unlock()
	}
	if d := p.dispatcher.Load(); d != nil {
		if p.trusted.Load() != trusted { // senders read what is beside it
			p.trusted.Store(trusted)
		}
		(*d).DeliverNetworkPacket(proto, pkt)
	}
	pkt.DecRef()
}

// The methods below make a port a gstack.LinkEndpoint.

func (p *port) MTU() uint32                           { return p.mtu.Load() }
func (p *port) SetMTU(uint32)                         {}           // it follows the link and the configuration
func (p *port) MaxHeaderLength() uint16               { return 0 } // the Ethernet header travels beside the packet
func (p *port) LinkAddress() tcpip.LinkAddress        { return p.macStr }
func (p *port) SetLinkAddress(tcpip.LinkAddress)      {}
func (p *port) IsAttached() bool                      { return p.dispatcher.Load() != nil }
func (p *port) Wait()                                 {}
func (p *port) AddHeader(*gstack.PacketBuffer)        {}
func (p *port) ParseHeader(*gstack.PacketBuffer) bool { return true }
func (p *port) Close()                                { p.close() }
func (p *port) SetOnCloseAction(func())               {}

func (p *port) Attach(d gstack.NetworkDispatcher) {
	if d == nil {
		p.dispatcher.Store(nil)
		return
	}
	p.dispatcher.Store(&d)
}

func (p *port) ARPHardwareType() header.ARPHardwareType {
	if p.mac == nil {
		return header.ARPHardwareNone
	}
	return header.ARPHardwareEther
}

func (p *port) Capabilities() gstack.LinkEndpointCapabilities {
	var c gstack.LinkEndpointCapabilities
	if p.mac != nil {
		c |= gstack.CapabilityResolutionRequired
	}
	if p.trusted.Load() {
		c |= gstack.CapabilityRXChecksumOffload
	}
	return c
}

// SupportedGSO and GSOMaxSize make the port a gstack.GSOEndpoint: on a link that takes
// large segments whole, TCP makes them as large as an IP packet can be.
func (p *port) SupportedGSO() gstack.SupportedGSO {
	if !p.takesLarge() {
		return gstack.GSONotSupported
	}
	for _, o := range p.outlets() {
		if !o.takesLarge() {
			return gstack.GSONotSupported
		}
	}
	return gstack.HostGSOSupported
}

func (p *port) takesLarge() bool {
	const both = tun.OffloadTCP4 | tun.OffloadTCP6
	return p.link.link.Offload()&both == both
}

func (p *port) GSOMaxSize() uint32 { return gsoMaxSize }

// gsoMaxSize keeps a large segment within an IPv4 packet's 65,535 octets.
const gsoMaxSize = 65535

// waitForRoom waits until a full link can take more and reports whether it can.
func (p *port) waitForRoom(start time.Duration) bool {
	if p.hurry.Load() {
		return false
	}
	left := sendWait - (p.domain.host.clock.Monotonic() - start)
	return left > 0 && p.link.link.WaitSend(left, p.closed)
}
