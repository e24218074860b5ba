package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A fake is a network without sockets, for tests in virtual time: whoever is dialled
// answers in the way of its handler, or never if that is nil.
type fake struct {
	t      *testing.T
	begin  time.Time
	handle map[string]func(*query) // by address of the server

	stream bool // TCP has the length before a message, both ways

	mu     sync.Mutex
	dialed []string // "1s 10.0.0.1", in order
}

// newFake returns a network with a server at 10.0.0.1, 10.0.0.2 and so on for each handler.
func newFake(t *testing.T, handlers ...func(*query)) *fake {
	t.Cleanup(func() { time.Sleep(time.Hour) }) // for servers that are late, and timers
	n := &fake{t: t, begin: time.Now(), handle: make(map[string]func(*query))}
	for i, h := range handlers {
		n.handle[fmt.Sprintf("10.0.0.%d:53", i+1)] = h
	}
	return n
}

// config is for a resolver that asks all servers.
func (n *fake) config() Config {
	var d pvd.DNS
	for i := range n.handle {
		_ = i
		d.Servers = append(d.Servers, netip.MustParseAddrPort(fmt.Sprintf("10.0.0.%d:53", len(d.Servers)+1)))
	}
	return Config{DNS: func() pvd.DNS { return d }, Dial: n.dial}
}

func (n *fake) dial(_ context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dialed = append(n.dialed, fmt.Sprintf("%v %s", time.Since(n.begin), strings.TrimSuffix(address, ":53")))
	nth := len(n.dialed) - 1
	n.mu.Unlock()
	c, peer := net.Pipe()
	go func() {
		defer peer.Close()
		for {
			buf := make([]byte, readSize)
			k, err := peer.Read(buf)
			if err != nil {
				return
			}
			if n.stream && network == "tcp" {
				buf, k = buf[2:], k-2
			}
			h := n.handle[address]
			if h == nil {
				continue
			}
			q := &query{network: network, nth: nth, send: func(b []byte) { _, _ = peer.Write(b) }}
			if err := q.Unpack(buf[:k]); err != nil {
				n.t.Error(err)
				return
			}
			h(q)
		}
	}()
	return c, nil
}

// asked returns what was dialled and forgets it.
func (n *fake) asked() string {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	s := strings.Join(n.dialed, ", ")
	n.dialed = nil
	return s
}

// after answers with an address when some time has gone by.
func after(t *testing.T, d time.Duration, addr string) func(*query) {
	return func(q *query) {
		time.Sleep(d)
		q.answer(t, q.reply(t, q.name()+" 60 IN A "+addr))
	}
}

// splitAsked takes apart what asked returns, and joinAsked puts it together.
func splitAsked(s string) (parts [][2]string) {
	if s == "" {
		return nil
	}
	for one := range strings.SplitSeq(s, ", ") {
		at, server, _ := strings.Cut(one, " ")
		parts = append(parts, [2]string{at, server})
	}
	return parts
}

func joinAsked(parts [][2]string) string {
	var s []string
	for _, p := range parts {
		s = append(s, p[0]+" "+p[1])
	}
	return strings.Join(s, ", ")
}
