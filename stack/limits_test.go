package stack

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// outgoing returns a packet from 10.0.0.2 as the stack hands it to a port.
func outgoing(dst string, payload ...[]byte) *gstack.PacketBuffer {
	var b buffer.Buffer
	for _, p := range payload {
		_ = b.Append(buffer.NewViewWithData(p))
	}
	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{ReserveHeaderBytes: header.IPv4MinimumSize, Payload: b})
	h := header.IPv4(pkt.NetworkHeader().Push(header.IPv4MinimumSize))
	h.Encode(&header.IPv4Fields{TotalLength: uint16(pkt.Size()), TTL: 64, Protocol: 253, SrcAddr: toAddr(ip("10.0.0.2")), DstAddr: toAddr(ip(dst))})
	pkt.NetworkProtocolNumber = ipv4.ProtocolNumber
	pkt.EgressRoute.RemoteLinkAddress = anchorMAC
	return pkt
}

func (p *port) writeAndRelease(pkt *gstack.PacketBuffer) tcpip.Error {
	defer pkt.DecRef()
	return p.write(pkt)
}

func (p *port) counted(r reason) uint64 { return p.stats[r].Load() }

// lone is a port with a router that never answers.
func lone(t *testing.T) *port {
	return newWire(t, tun.Ethernet).add(pvd.Config{
		Name: "corp", Addresses: addresses("10.0.0.2/16"),
		Routes: []pvd.Route{{To: prefix("0.0.0.0/0"), Via: ip("10.0.0.1")}},
	})
}

// For one neighbour the latest maxHopQueue packets wait; for maxPendingHops neighbours at
// once; and what nobody answers for is given up and counted.
func TestPacketsWaitForNeighbors(t *testing.T) {
	t.Parallel()
	p := lone(t)
	for range maxHopQueue + 5 {
		if err := p.writeAndRelease(outgoing("8.8.8.8")); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(p.hops.waiting[ip("10.0.0.1")]); n != maxHopQueue || p.counted(dropHopQueue) != 5 {
		t.Errorf("%d wait, %d dropped", n, p.counted(dropHopQueue))
	}
	for i := range maxPendingHops + 3 {
		p.writeAndRelease(outgoing(fmt.Sprintf("10.0.1.%d", i)))
	}
	p.hops.mu.Lock()
	n := len(p.hops.waiting)
	p.hops.mu.Unlock()
	if n != maxPendingHops || p.counted(dropHopQueue) != 5+4 { // one is the router
		t.Errorf("%d neighbours, %d dropped", n, p.counted(dropHopQueue))
	}
	if !eventually(func() bool { return p.counted(dropNoNeighbor) == maxHopQueue+maxPendingHops-1 }) {
		t.Errorf("%d given up", p.counted(dropNoNeighbor))
	}
	if !p.hopless(ip("10.0.0.1")) {
		t.Error("a router that does not answer is not remembered")
	}
	if n := len(p.hops.failed); n > maxFailedHops {
		t.Errorf("%d are remembered", n)
	}
}

// A router that did not answer is passed over while another one leads there, and tried
// again after hopRetry.
func TestUnreachableRoutersArePassedOver(t *testing.T) {
	clock := &steppedClock{Clock: pvd.SystemClock()}
	near, far := tun.Pipe(tun.PipeConfig{})
	defer far.Close()
	h, err := New(Config{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.AddLink("lab", near); err != nil {
		t.Fatal(err)
	}
	p := (&wire{t: t, host: h}).add(pvd.Config{Addresses: addresses("10.0.0.2/24"), Routes: []pvd.Route{
		{To: prefix("0.0.0.0/0"), Via: ip("10.0.0.1")},
		{To: prefix("0.0.0.0/0"), Via: ip("10.0.0.254"), Metric: 10},
	}})
	check := func(when, want string) {
		t.Helper()
		if hop, ok := p.nextHop(ip("10.0.0.2"), ip("8.8.8.8")); !ok || hop != ip(want) {
			t.Errorf("%s: %v, want %v", when, hop, want)
		}
	}
	fail := func(a string) {
		p.hops.mu.Lock()
		defer p.hops.mu.Unlock()
		p.noteFailureLocked(ip(a))
	}
	check("at first", "10.0.0.1")
	fail("10.0.0.1")
	check("when the first does not answer", "10.0.0.254")
	fail("10.0.0.254")
	check("when neither does", "10.0.0.1")
	clock.ahead = hopRetry + time.Second
	check("a minute later", "10.0.0.1")
	if p.hopless(ip("10.0.0.254")) {
		t.Error("the second is still passed over")
	}
}

// steppedClock is ahead of another clock.
type steppedClock struct {
	pvd.Clock
	ahead time.Duration
}

func (c *steppedClock) Monotonic() time.Duration { return c.Clock.Monotonic() + c.ahead }

// A sender waits for a full link, for sendWait at most; what the reader causes does not;
// and closing the port wakes whoever waits.
func TestSendersWaitForRoom(t *testing.T) {
	near, far := tun.Pipe(tun.PipeConfig{Layer: tun.IP, Queue: 1})
	defer far.Close()
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.AddLink("lab", near); err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, host: h}
	p := w.add(pvd.Config{Addresses: addresses("10.0.0.2/24")})
	frame := [][]byte{make([]byte, 100)}
	for near.Send(frame, tun.Meta{}) == nil {
	}
	start := time.Now()
	if why := p.transmit(frame, tun.Meta{}, true); why != dropFull || time.Since(start) > sendWait {
		t.Errorf("urgent: %v after %v", why, time.Since(start))
	}
	start = time.Now()
	if why := p.transmit(frame, tun.Meta{}, false); why != dropFull || time.Since(start) < sendWait {
		t.Errorf("patient: %v after %v", why, time.Since(start))
	}
	buf := make([]byte, 200)
	var m tun.Meta
	why := dropFull
	for try := 0; why != sent && try < 10; try++ { // on a busy machine the timer may be late
		for near.Send(frame, tun.Meta{}) == nil {
		}
		made := make(chan struct{})
		time.AfterFunc(sendWait/5, func() {
			_, _ = far.Recv([][]byte{buf}, &m)
			close(made)
		})
		why = p.transmit(frame, tun.Meta{}, false)
		<-made
	}
	if why != sent {
		t.Errorf("when room is made: %v", why)
	}
	p.hurry.Store(true)
	start = time.Now()
	if why := p.transmit(frame, tun.Meta{}, false); why != dropFull || time.Since(start) > sendWait {
		t.Errorf("during removal: %v after %v", why, time.Since(start))
	}
}

// A packet in more pieces than a frame has room for is put together, and arrives whole.
func TestManyPieces(t *testing.T) {
	near, far := tun.Pipe(tun.PipeConfig{Layer: tun.IP})
	defer far.Close()
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.AddLink("lab", near); err != nil {
		t.Fatal(err)
	}
	p := (&wire{t: t, host: h}).add(pvd.Config{Addresses: addresses("10.0.0.2/24")})
	for _, n := range []int{maxViews - 2, maxViews - 1, maxViews, maxViews + 1, 3 * maxViews} {
		var want []byte
		pieces := make([][]byte, n)
		for i := range pieces {
			pieces[i] = []byte{byte(i), byte(i >> 8)}
			want = append(want, pieces[i]...)
		}
		if err := p.writeAndRelease(outgoing("10.0.0.9", pieces...)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		var m tun.Meta
		k, err := far.Recv([][]byte{buf}, &m)
		if err != nil || string(buf[header.IPv4MinimumSize:k]) != string(want) {
			t.Errorf("%d pieces: %d octets, %v", n, k, err)
		}
	}
}

// A frame is copied up to copyLimit; a longer one takes the reader's memory along. Either
// way its octets arrive.
func TestLongFramesArriveWhole(t *testing.T) {
	w := newWire(t, tun.IP)
	p := w.add(pvd.Config{Addresses: addresses("10.0.0.2/24")})
	r := receiver{link: w.link, body: buffer.NewViewSize(bodyLen)}
	defer func() { r.body.Release() }()
	for _, n := range []int{1, headLen - 1, headLen, headLen + 1, copyLimit, copyLimit + 1, 40_000, 65_535} {
		frame := make([]byte, n)
		for i := range frame {
			frame[i] = byte(i * 7)
		}
		body := r.body
		copy(r.body.AsSlice(), frame[copy(r.head[:], frame):])
		pkt := r.packet(n, verdict{to: p})
		got := pkt.ToView()
		if string(got.AsSlice()) != string(frame) {
			t.Errorf("%d octets arrive differently", n)
		}
		got.Release()
		pkt.DecRef()
		if taken := r.body != body; taken != (n > copyLimit) {
			t.Errorf("%d octets: memory taken along: %v", n, taken)
		}
	}
}

func TestLinksPerHostAreBounded(t *testing.T) {
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	link := func() tun.Link {
		near, far := tun.Pipe(tun.PipeConfig{Queue: 1})
		t.Cleanup(func() { near.Close(); far.Close() })
		return near
	}
	for i := range maxLinks {
		if err := h.AddLink(fmt.Sprint(i), link()); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.AddLink("one more", link()); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("one more: %v", err)
	}
	if err := h.AddLink("0", link()); err == nil {
		t.Error("a name was given twice")
	}
	if err := h.AddLink("", link()); err == nil {
		t.Error("a link without a name")
	}
}

func TestPvDsPerLinkAreBounded(t *testing.T) {
	w := newWire(t, tun.IP)
	for i := range maxPvDsPerLink {
		w.link.plans[&port{nic: tcpip.NICID(i)}] = &portPlan{}
	}
	defer clear(w.link.plans)
	_, err := w.host.Add(t.Context(), pvd.Config{Links: []string{"lab"}, Addresses: addresses("10.0.0.2/24")})
	if err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("one more: %v", err)
	}
}

// A stack whose goroutines do not end is reported after destroyWait, not waited for.
func TestRemovalDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	w := newWire(t, tun.IP)
	p := w.add(pvd.Config{Name: "corp", Addresses: addresses("10.0.0.2/24")})
	stuck := make(chan struct{})
	if err := p.domain.stk.CreateNIC(99, endless{stuck}); err != nil {
		t.Fatal(err.String())
	}
	start := time.Now()
	err := w.host.Remove(t.Context(), p.domain.ref)
	if err == nil || !strings.Contains(err.Error(), "corp") || time.Since(start) > 2*destroyWait {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	close(stuck)
}

// endless is a link endpoint whose goroutines do not end.
type endless struct{ stuck chan struct{} }

func (endless) MTU() uint32                                               { return 1500 }
func (endless) SetMTU(uint32)                                             {}
func (endless) MaxHeaderLength() uint16                                   { return 0 }
func (endless) LinkAddress() tcpip.LinkAddress                            { return "" }
func (endless) SetLinkAddress(tcpip.LinkAddress)                          {}
func (endless) Capabilities() gstack.LinkEndpointCapabilities             { return 0 }
func (endless) Attach(gstack.NetworkDispatcher)                           {}
func (endless) IsAttached() bool                                          { return true }
func (e endless) Wait()                                                   { <-e.stuck }
func (endless) ARPHardwareType() header.ARPHardwareType                   { return header.ARPHardwareNone }
func (endless) AddHeader(*gstack.PacketBuffer)                            {}
func (endless) ParseHeader(*gstack.PacketBuffer) bool                     { return true }
func (endless) Close()                                                    {}
func (endless) SetOnCloseAction(func())                                   {}
func (endless) WritePackets(l gstack.PacketBufferList) (int, tcpip.Error) { return l.Len(), nil }

// A PvD of several links gets all of its ports or none.
func TestPortsOpenTogether(t *testing.T) {
	w := newWire(t, tun.Ethernet)
	near, far := tun.Pipe(tun.PipeConfig{})
	defer far.Close()
	refused := errors.New("no more addresses")
	if err := w.host.AddLink("full", &fullStation{Link: near, err: refused}); err != nil {
		t.Fatal(err)
	}
	p := w.add(pvd.Config{Name: "corp", Addresses: addresses("10.0.0.2/24")})
	c := pvd.Config{Name: "corp", Links: []string{"lab", "full"}, Addresses: addresses("10.0.0.2/24")}
	if err := w.host.Update(t.Context(), p.domain.ref, c); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
	if n := len(*p.domain.nics.Load()); n != 1 {
		t.Errorf("%d ports", n)
	}
	if info, _ := w.host.Info(p.domain.ref); info.Version() > 2 {
		t.Errorf("version %d", info.Version())
	}
	c.Addresses = addresses("10.0.0.3/24")
	if _, err := w.host.Add(t.Context(), c); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
	if n := len(w.link.table.Load().ports); n != 1 {
		t.Errorf("%d ports on the other link", n)
	}
}

// fullStation is an Ethernet link that takes no station.
type fullStation struct {
	tun.Link
	err error
}

func (f *fullStation) AddMAC(net.HardwareAddr) error    { return f.err }
func (f *fullStation) RemoveMAC(net.HardwareAddr) error { return nil }
