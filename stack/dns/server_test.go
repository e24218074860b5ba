package dns

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
)

// A server answers queries on a port of this machine's loopback, UDP and TCP, in the way
// of its handler.
type server struct {
	addr   netip.AddrPort
	handle func(*query)

	mu    sync.Mutex
	asked []string // "udp wiki. A", in the order of arrival
	ports map[uint16]bool
	ids   map[uint16]bool
}

// A query is one that a server got, and the way to answer it.
type query struct {
	wire.Msg
	network string
	nth     int // how many queries the server got before
	send    func([]byte)
}

// name and qtype are what the query asks.
func (q *query) name() string  { return q.Question[0].Name }
func (q *query) qtype() uint16 { return q.Question[0].Qtype }

// reply is a good answer with the given records in presentation format.
func (q *query) reply(t testing.TB, records ...string) *wire.Msg {
	t.Helper()
	m := new(wire.Msg).SetReply(&q.Msg)
	m.RecursionAvailable = true
	for _, s := range records {
		rr, err := wire.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	return m
}

// answer sends m.
func (q *query) answer(t testing.TB, m *wire.Msg) {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Error(err)
		return
	}
	q.send(b)
}

// serve starts a server that runs until the test ends.
func serve(t testing.TB, handle func(*query)) *server {
	t.Helper()
	u, l := listen(t)
	s := &server{
		addr: u.LocalAddr().(*net.UDPAddr).AddrPort(), handle: handle,
		ports: make(map[uint16]bool), ids: make(map[uint16]bool),
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.serveUDP(u) })
	wg.Go(func() { s.serveTCP(l) })
	t.Cleanup(func() {
		u.Close()
		l.Close()
		wg.Wait()
	})
	return s
}

// listen returns sockets on one port of this machine's loopback.
func listen(t testing.TB) (u net.PacketConn, l net.Listener) {
	t.Helper()
	// The port that UDP gets may be somebody's TCP port.
	for range 100 {
		u, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if l, err := net.Listen("tcp", u.LocalAddr().String()); err == nil {
			return u, l
		}
		u.Close()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

func (s *server) serveUDP(u net.PacketConn) {
	buf := make([]byte, 4096)
	for {
		n, from, err := u.ReadFrom(buf)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.ports[from.(*net.UDPAddr).AddrPort().Port()] = true
		s.mu.Unlock()
		s.got("udp", buf[:n], func(b []byte) { _, _ = u.WriteTo(b, from) })
	}
}

func (s *server) serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err == nil {
			b := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(c, b); err == nil {
				s.got("tcp", b, func(b []byte) {
					// Octet by octet: a stream has no messages.
					for _, o := range append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) {
						_, _ = c.Write([]byte{o})
					}
				})
			}
		}
		c.Close()
	}
}

func (s *server) got(network string, b []byte, send func([]byte)) {
	q := &query{network: network, send: send}
	if err := q.Unpack(b); err != nil || len(q.Question) != 1 {
		return
	}
	s.mu.Lock()
	q.nth = len(s.asked)
	s.asked = append(s.asked, network+" "+q.name()+" "+wire.TypeToString[q.qtype()])
	s.ids[q.Id] = true
	s.mu.Unlock()
	s.handle(q)
}

// queries returns what the server has been asked.
func (s *server) queries() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

// resolver asks the given servers, by sockets of this machine.
func resolver(search []string, servers ...*server) *Resolver {
	d := pvd.DNS{Search: search}
	for _, s := range servers {
		d.Servers = append(d.Servers, s.addr)
	}
	return New(Config{
		DNS: func() pvd.DNS { return d },
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	})
}
