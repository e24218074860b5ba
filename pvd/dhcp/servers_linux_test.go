package dhcp_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp/acd"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

var (
	clientMAC = [6]byte{0x02, 0, 0, 0, 0xdc, 0x01}
	broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	linkLocal = netip.MustParseAddr("fe80::dc:1")
)

const (
	typeIPv4 = 0x0800
	typeARP  = 0x0806
	typeIPv6 = 0x86dd
	protoUDP = 17
	protoND  = 58
)

// A machine is a client, whatever its version.
type machine interface {
	Next() (time.Duration, bool)
	Advance(now time.Duration)
	frames(p *pump) [][]byte
	receive(p *pump, frame []byte)
}

// A pump moves frames between a machine and a link. Its time jumps to when the machine
// wants to be called, once the network has fallen silent.
type pump struct {
	t      *testing.T
	link   tun.Link
	in     chan []byte
	now    time.Duration
	server [6]byte // the hardware address that the last answer came from
	deaf   func(frame []byte) bool
}

const (
	silence  = 150 * time.Millisecond
	patience = 20 * time.Second
)

// newPump joins a client's link to a server's namespace.
func newPump(t *testing.T) (*pump, *tuntest.NS) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds: real servers")
	}
	server, client := tuntest.NewNS(t), tuntest.NewNS(t)
	tuntest.Veth(server, "lan", client, "eth")
	server.IP("address", "add", "192.0.2.1/24", "dev", "lan")
	server.IP("address", "add", "2001:db8::1/64", "dev", "lan")
	p := &pump{t: t, in: make(chan []byte, 64)}
	client.Do(func() {
		var err error
		if p.link, err = tun.OpenPacket(tun.PacketConfig{Interface: "eth"}); err != nil {
			t.Fatal(err)
		}
	})
	if err := p.link.(tun.Station).AddMAC(clientMAC[:]); err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			b := make([]byte, 65536)
			var m tun.Meta
			n, err := p.link.Recv([][]byte{b}, &m)
			if err != nil {
				return
			}
			select {
			case p.in <- b[:n]:
			default: // nobody reads any more
			}
		}
	})
	t.Cleanup(func() {
		p.link.Close()
		done.Wait()
	})
	return p, server
}

// until drives the machine until something is so.
func (p *pump) until(m machine, what string, so func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		for _, f := range m.frames(p) {
			if p.deaf != nil && p.deaf(f) {
				continue
			}
			if err := p.link.Send([][]byte{f}, tun.Meta{}); err != nil {
				p.t.Fatal(err)
			}
		}
		if so() {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("never: %s", what)
		}
		select {
		case f := <-p.in:
			if len(f) >= tun.EthernetHeaderLen {
				m.receive(p, f)
			}
		case <-time.After(silence):
			if at, ok := m.Next(); ok {
				p.now = max(p.now, at)
				m.Advance(p.now)
			}
		}
	}
}

func ether(dst [6]byte, typ uint16, payload []byte) []byte {
	b := append(append([]byte{}, dst[:]...), clientMAC[:]...)
	return append(binary.BigEndian.AppendUint16(b, typ), payload...)
}

// datagram makes an IP packet. Its checksum covers the pseudo header.
func datagram(src, dst netip.Addr, proto byte, checksumAt int, payload []byte) []byte {
	pseudo := append(append(src.AsSlice(), dst.AsSlice()...), 0, 0, byte(len(payload)>>8), byte(len(payload)), 0, 0, 0, proto)
	binary.BigEndian.PutUint16(payload[checksumAt:], checksum(append(pseudo, payload...)))
	if src.Is4() {
		h := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, proto, 0, 0}
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
		h = append(append(h, src.AsSlice()...), dst.AsSlice()...)
		binary.BigEndian.PutUint16(h[10:], checksum(h))
		return append(h, payload...)
	}
	h := []byte{0x60, 0, 0, 0, byte(len(payload) >> 8), byte(len(payload)), proto, 255}
	return append(append(append(h, src.AsSlice()...), dst.AsSlice()...), payload...)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func udp(src, dst uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src), dst)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	return append(append(b, 0, 0), payload...)
}

// A client4 drives dhcp4.
type client4 struct{ *dhcp4.Client }

func (c client4) frames(p *pump) (frames [][]byte) {
	for _, q := range c.Packets() {
		dst := p.server
		if q.Broadcast() {
			dst = broadcast
		}
		d := datagram(q.Src.Addr(), q.Dst.Addr(), protoUDP, 6, udp(q.Src.Port(), q.Dst.Port(), q.Payload))
		frames = append(frames, ether(dst, typeIPv4, d))
	}
	for _, a := range c.ARPs() {
		frames = append(frames, ether(broadcast, typeARP, a.Append(nil)))
	}
	return frames
}

func (c client4) receive(p *pump, f []byte) {
	b := f[tun.EthernetHeaderLen:]
	switch binary.BigEndian.Uint16(f[12:]) {
	case typeARP:
		a, err := acd.Parse(b)
		if err != nil {
			return
		}
		c.ReceiveARP(p.now, a)
		if l := c.Lease(); l != nil && a.Op == acd.Request && a.TargetIP == l.Addr.Addr() {
			r := acd.ARP{Op: acd.Reply, SenderMAC: clientMAC, SenderIP: a.TargetIP, TargetMAC: a.SenderMAC, TargetIP: a.SenderIP}
			p.link.Send([][]byte{ether(a.SenderMAC, typeARP, r.Append(nil))}, tun.Meta{}) // lost like any frame
		}
	case typeIPv4:
		if len(b) < 28 || b[9] != protoUDP || len(b) < int(b[0]&15)*4+8 {
			return
		}
		u := b[int(b[0]&15)*4:]
		if binary.BigEndian.Uint16(u[2:]) != 68 {
			return
		}
		p.server = [6]byte(f[6:])
		src, _ := netip.AddrFromSlice(b[12:16])
		c.Receive(p.now, netip.AddrPortFrom(src, binary.BigEndian.Uint16(u)), u[8:min(len(u), int(binary.BigEndian.Uint16(u[4:])))])
	}
}

// A client6 drives dhcp6.
type client6 struct{ *dhcp6.Client }

func (c client6) frames(*pump) (frames [][]byte) {
	for _, q := range c.Packets() {
		d := datagram(linkLocal, dhcp6.Servers(), protoUDP, 6, udp(dhcp6.ClientPort, dhcp6.ServerPort, q))
		frames = append(frames, ether([6]byte{0x33, 0x33, 0, 1, 0, 2}, typeIPv6, d))
	}
	return frames
}

func (c client6) receive(p *pump, f []byte) {
	b := f[tun.EthernetHeaderLen:]
	if binary.BigEndian.Uint16(f[12:]) != typeIPv6 || len(b) < 48 {
		return
	}
	body := b[40:]
	switch {
	case b[6] == protoUDP && binary.BigEndian.Uint16(body[2:]) == dhcp6.ClientPort:
		c.Receive(p.now, body[8:min(len(body), int(binary.BigEndian.Uint16(body[4:])))])
	case b[6] == protoND && body[0] == 135 && len(body) >= 24 && netip.AddrFrom16([16]byte(body[8:])) == linkLocal:
		// The server looks for the client's hardware address.
		na := append([]byte{136, 0, 0, 0, 0x60, 0, 0, 0}, body[8:24]...)
		na = append(append(na, 2, 1), clientMAC[:]...)
		src := netip.AddrFrom16([16]byte(b[8:]))
		p.link.Send([][]byte{ether([6]byte(f[6:]), typeIPv6, datagram(linkLocal, src, protoND, 2, na))}, tun.Meta{}) // lost like any frame
	}
}

// A buffer may be written while it is read.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// serve runs a server until the end of the test, and waits until it says that it is ready.
func serve(t *testing.T, ready string, cmd *exec.Cmd) {
	t.Helper()
	out := &buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill() // it may have ended by itself
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", cmd.Path, out)
		}
	})
	for deadline := time.Now().Add(patience); !strings.Contains(out.String(), ready); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never said %q", ready)
		}
	}
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func dnsmasq(t *testing.T, ns *tuntest.NS) {
	serve(t, "started, version", ns.Command("dnsmasq", "--no-daemon", "--user=root", "--port=0", "--log-dhcp",
		"--conf-file="+file(t, "dnsmasq.conf", `
interface=lan
dhcp-authoritative
no-ping
dhcp-range=192.0.2.100,192.0.2.200,255.255.255.0,1h
dhcp-range=2001:db8::100,2001:db8::200,64,1h
dhcp-option=option:dns-server,192.0.2.53
dhcp-option=option:domain-search,example.org,corp.example.org
dhcp-option=option:classless-static-route,198.51.100.0/24,192.0.2.9,0.0.0.0/0,192.0.2.1
dhcp-option=option:mtu,1400
dhcp-option=114,https://portal.example.org/api
dhcp-option=option6:dns-server,[2001:db8::53]
dhcp-option=option6:domain-search,example.org
`), "--dhcp-leasefile="+filepath.Join(t.TempDir(), "leases")))
}

func udhcpd(t *testing.T, ns *tuntest.NS) {
	leases := filepath.Join(t.TempDir(), "leases")
	serve(t, "started", ns.Command("udhcpd", "-f", file(t, "udhcpd.conf", fmt.Sprintf(`
interface lan
start 192.0.2.100
end 192.0.2.200
lease_file %s
pidfile %s.pid
option subnet 255.255.255.0
option router 192.0.2.1
option dns 192.0.2.53
option domain example.org
option lease 3600
`, leases, leases))))
}

func kea(t *testing.T, ns *tuntest.NS, version string, subnet string) {
	dir := t.TempDir()
	cmd := ns.Command("kea-dhcp"+version, "-c", file(t, "kea.conf", fmt.Sprintf(`{"Dhcp%s": {
		"interfaces-config": {"interfaces": ["lan"]},
		"lease-database": {"type": "memfile", "persist": false},
		"valid-lifetime": 3600,
		%s,
		"loggers": [{"name": "kea-dhcp%s", "severity": "INFO", "output_options": [{"output": "stdout"}]}]
	}}`, version, subnet, version)))
	cmd.Env = append(os.Environ(), "KEA_PIDFILE_DIR="+dir, "KEA_LOCKFILE_DIR="+dir)
	serve(t, "_STARTED", cmd)
}

func kea4(t *testing.T, ns *tuntest.NS) {
	kea(t, ns, "4", `"subnet4": [{"id": 1, "subnet": "192.0.2.0/24", "pools": [{"pool": "192.0.2.100 - 192.0.2.200"}],
		"option-data": [{"name": "routers", "data": "192.0.2.1"}, {"name": "domain-name-servers", "data": "192.0.2.53"}]}]`)
}

func kea6(t *testing.T, ns *tuntest.NS) {
	kea(t, ns, "6", `"server-id": {"type": "LL", "persist": false}, "preferred-lifetime": 3000, "renew-timer": 1000, "rebind-timer": 2000,
		"subnet6": [{"id": 1, "interface": "lan", "subnet": "2001:db8::/64", "pools": [{"pool": "2001:db8::100-2001:db8::200"}],
		"pd-pools": [{"prefix": "2001:db8:8::", "prefix-len": 48, "delegated-len": 56}],
		"option-data": [{"name": "dns-servers", "data": "2001:db8::53"}, {"name": "domain-search", "data": "example.org"}]}]`)
}

var pool = netip.MustParsePrefix("192.0.2.0/24")

// restart is when a record is written.
var restart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestServers4(t *testing.T) {
	for name, start := range map[string]func(*testing.T, *tuntest.NS){"dnsmasq": dnsmasq, "udhcpd": udhcpd, "kea": kea4} {
		t.Run(name, func(t *testing.T) {
			p, ns := newPump(t)
			start(t, ns)
			cfg := dhcp4.Config{HardwareAddr: clientMAC, ClientID: []byte{255, 0, 0, 0, 1, 0, 4, 1, 2}}
			m, err := dhcp4.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			c := client4{m}
			in := func(s dhcp4.State) func() bool {
				return func() bool { got, _ := c.State(); return got == s }
			}
			c.LinkUp(p.now)
			p.until(c, "bound", in(dhcp4.Bound))
			l := c.Lease()
			if !pool.Contains(l.Addr.Addr()) || l.Addr.Bits() != 24 || l.Server.String() != "192.0.2.1" || l.Expires-l.Obtained != time.Hour ||
				len(l.DNS) != 1 || l.DNS[0].String() != "192.0.2.53" || len(l.Routes) == 0 || len(l.Problems) > 0 {
				t.Errorf("lease %+v", l)
			}
			if name == "dnsmasq" && (l.MTU != 1400 || l.Portal != "https://portal.example.org/api" || len(l.Routes) != 2 ||
				!slices.Equal(l.Search, []string{"example.org", "corp.example.org"})) {
				t.Errorf("lease %+v", l)
			}
			p.until(c, "renewing", in(dhcp4.Renewing))
			p.until(c, "renewed", func() bool { return in(dhcp4.Bound)() && c.Lease() != l })
			if n := c.Lease(); n.Addr != l.Addr || n.Obtained <= l.Obtained {
				t.Errorf("renewed: %+v", n)
			}
			l = c.Lease()
			p.deaf = func(f []byte) bool { return [6]byte(f) == p.server } // unicast is lost
			p.until(c, "rebinding", in(dhcp4.Rebinding))
			p.until(c, "rebound", func() bool { return in(dhcp4.Bound)() && c.Lease() != l })
			p.deaf = nil
			c.LinkDown()
			c.LinkUp(p.now)
			p.until(c, "rebooting", in(dhcp4.Rebooting))
			l = c.Lease()
			p.until(c, "confirmed", in(dhcp4.Bound))
			if n := c.Lease(); n.Addr != l.Addr || n == l {
				t.Errorf("after link up: %+v", n)
			}
			// Another run of the program has only what the first one has written.
			record, err := c.Lease().Record(restart, p.now)
			if err != nil {
				t.Fatal(err)
			}
			if cfg.Previous, err = dhcp4.ParseRecord(record, restart.Add(time.Minute), p.now+time.Minute); err != nil {
				t.Fatal(err)
			}
			p.now += time.Minute
			l = c.Lease()
			if m, err = dhcp4.New(cfg); err != nil {
				t.Fatal(err)
			}
			c = client4{m}
			c.LinkUp(p.now)
			p.until(c, "acknowledged", in(dhcp4.Probing))
			if _, why := c.State(); why != "acknowledged" {
				t.Errorf("after a restart: %s", why)
			}
			p.until(c, "bound again", in(dhcp4.Bound))
			if n := c.Lease(); n.Addr != l.Addr {
				t.Errorf("after a restart: %+v", n)
			}
			c.Release(p.now)
			p.until(c, "released", in(dhcp4.Released))
		})
	}
}

// TestTakenAddress: an address of the pool that a host in the way has already is declined,
// and another one leased.
func TestTakenAddress(t *testing.T) {
	p, ns := newPump(t)
	dnsmasq(t, ns)
	m, err := dhcp4.New(dhcp4.Config{HardwareAddr: clientMAC, ClientID: []byte{255, 0, 0, 0, 1, 0, 4, 1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	c := client4{m}
	c.LinkUp(p.now)
	p.until(c, "probing", func() bool { return c.Tentative() != nil })
	taken := c.Tentative().Addr
	ns.IP("address", "add", taken.String(), "dev", "lan")
	p.until(c, "bound", func() bool { s, _ := c.State(); return s == dhcp4.Bound })
	if a := c.Lease().Addr; a == taken {
		t.Errorf("uses %v, which another host has", a)
	}
}

func TestServers6(t *testing.T) {
	for name, start := range map[string]func(*testing.T, *tuntest.NS){"dnsmasq": dnsmasq, "kea": kea6} {
		t.Run(name, func(t *testing.T) {
			p, ns := newPump(t)
			start(t, ns)
			dns := []netip.Addr{netip.MustParseAddr("2001:db8::53")}
			cfg := dhcp6.Config{DUID: []byte{0, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, IAID: 1}
			stateless, err := dhcp6.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			stateless.LinkUp(p.now)
			p.until(client6{stateless}, "informed", func() bool { return stateless.Info() != nil })
			if i := stateless.Info(); !slices.Equal(i.DNS, dns) || !slices.Equal(i.Search, []string{"example.org"}) {
				t.Errorf("%+v", i)
			}
			cfg.Addresses, cfg.Prefixes = true, name == "kea"
			m, err := dhcp6.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			c := client6{m}
			in := func(s dhcp6.State) func() bool {
				return func() bool { got, _ := c.State(); return got == s }
			}
			c.LinkUp(p.now)
			p.until(c, "bound", in(dhcp6.Bound))
			l := c.Lease()
			if len(l.Addrs) != 1 || !netip.MustParsePrefix("2001:db8::/64").Contains(l.Addrs[0].Prefix.Addr()) ||
				(len(l.Prefixes) == 1) != cfg.Prefixes || !slices.Equal(l.Info.DNS, dns) || len(l.Problems) > 0 {
				t.Errorf("lease %+v", l)
			}
			p.until(c, "renewing", in(dhcp6.Renewing))
			p.until(c, "renewed", in(dhcp6.Bound))
			if n := c.Lease(); n.T1 <= l.T1 || n.Addrs[0].Prefix != l.Addrs[0].Prefix {
				t.Errorf("renewed: %+v", n)
			}
			l = c.Lease()
			p.deaf = func(f []byte) bool { s, _ := c.State(); return s == dhcp6.Renewing }
			p.until(c, "rebinding", in(dhcp6.Rebinding))
			p.deaf = nil
			p.until(c, "rebound", in(dhcp6.Bound))
			if n := c.Lease(); n.T1 <= l.T1 {
				t.Errorf("rebound: %+v", n)
			}
			c.LinkDown()
			c.LinkUp(p.now)
			p.until(c, "confirmed", in(dhcp6.Bound))
			if _, why := c.State(); why != "confirmed" && why != "granted" {
				t.Errorf("after link up: %s", why)
			}
			first := c.Lease().Addrs[0].Prefix.Addr()

			// Another run of the program has only what the first one has written.
			record, err := c.Lease().Record(restart, p.now)
			if err != nil {
				t.Fatal(err)
			}
			if cfg.Previous, err = dhcp6.ParseRecord(record, restart.Add(time.Minute), p.now+time.Minute); err != nil {
				t.Fatal(err)
			}
			p.now += time.Minute
			if m, err = dhcp6.New(cfg); err != nil {
				t.Fatal(err)
			}
			c = client6{m}
			c.LinkUp(p.now)
			if c.Lease() != nil {
				t.Error("in use before it is verified")
			}
			p.until(c, "verified", in(dhcp6.Bound))
			_, why := c.State()
			if l := c.Lease(); len(l.Addrs) != 1 || l.Addrs[0].Prefix.Addr() != first || why != "confirmed" && why != "granted" {
				t.Errorf("after a restart: %+v, %s", l, why)
			}
			c.Decline(p.now, first)
			if len(c.addrs()) != 0 {
				t.Errorf("addresses %v", c.addrs())
			}
			p.until(c, "another address", func() bool { return in(dhcp6.Bound)() && len(c.addrs()) == 1 })
			if a := c.addrs()[0].Prefix.Addr(); a == first {
				t.Errorf("%v has been declined and is there again", a)
			}
			c.Release(p.now)
			p.until(c, "released", in(dhcp6.Released))
		})
	}
}

// addrs returns the addresses of the lease, if any.
func (c client6) addrs() []dhcp6.Item {
	if l := c.Lease(); l != nil {
		return l.Addrs
	}
	return nil
}
