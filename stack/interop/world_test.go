package interop_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdtest"
	"github.com/pvdstack/pvdstack/stack"
)

// A world is two networks with the same prefixes, in each a server with the same
// addresses and the same name, and a host that is in both.
type world struct {
	host    *stack.Host
	refs    map[string]pvd.Ref
	clients map[string]*stack.Network // of the host
	servers map[string]*stack.Network
	lab     *pvdtest.Lab
}

// names are those of the networks.
var names = []string{"corp", "home"}

const (
	serverName = "wiki"
	server4    = "192.168.1.80"
	server6    = "fd00::80"
)

// newWorld makes a world that ends with the test, and checks then that it was the
// last to use anything, and that nothing has left the network that it belongs to.
func newWorld(t *testing.T) *world {
	t.Helper()
	pvdtest.SealHost(t)
	return newOpenWorld(t)
}

// newOpenWorld is newWorld on a host that is not sealed.
func newOpenWorld(t *testing.T) *world {
	t.Helper()
	checkGoroutines(t)
	lab := pvdtest.New(t)
	w := &world{
		refs:    make(map[string]pvd.Ref),
		clients: make(map[string]*stack.Network), servers: make(map[string]*stack.Network),
		lab: lab,
	}
	for _, name := range names {
		lan := lab.LAN(name, "192.168.1.0/24", "fd00::/64")
		lan.DNS("192.168.1.53 fd00::53", pvdtest.Zone{serverName: server4 + " " + server6})
		w.servers[name] = lan.Machine(server4 + " " + server6).Network()
	}
	h := lab.Host(names...)
	w.host = h.Host
	for _, name := range names {
		w.clients[name] = h.Await(name)
		w.refs[name] = h.Ref(name)
	}
	t.Cleanup(lab.AssertIsolated)
	return w
}

// removeCorp removes one of the host's PvDs.
func (w *world) removeCorp(t *testing.T) {
	t.Helper()
	if err := w.host.Remove(t.Context(), w.refs["corp"]); err != nil {
		t.Fatal(err)
	}
}

func listen(t *testing.T, n *stack.Network, address string) net.Listener {
	t.Helper()
	l, err := n.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func listenPacket(t *testing.T, n *stack.Network, address string) net.PacketConn {
	t.Helper()
	c, err := n.ListenPacket(t.Context(), "udp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// serve runs a server until the test stops it, which has to be registered for cleanup
// afterwards.
func serve(t *testing.T, f func() error) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			t.Error("serve:", err)
		}
	})
	t.Cleanup(wg.Wait)
}

// patience is how long the tests wait for what has to happen. Nothing takes that long
// unless it never happens.
const patience = 30 * time.Second

// patient returns a context for what has to happen.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// until waits for what has to happen.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never happened:", what)
		}
	}
}

// identity is a certificate for the server of both networks, and the pool to check
// it with. The ticket keys are the same in both, too: a session of one network's server
// would be taken by the other's.
var identity = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames:    []string{serverName},
		IPAddresses: []net.IP{net.ParseIP(server4), net.ParseIP(server6)},
		IsCA:        true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
})

func serverTLS(protos ...string) *tls.Config {
	cert, _ := identity()
	c := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: protos}
	c.SetSessionTicketKeys([][32]byte{{1}})
	return c
}

func clientTLS(protos ...string) *tls.Config {
	_, pool := identity()
	return &tls.Config{RootCAs: pool, ServerName: serverName, NextProtos: protos, ClientSessionCache: tls.NewLRUClientSessionCache(0)}
}

// noise returns n octets that do not repeat soon.
func noise(n int) []byte {
	b := make([]byte, 0, n+8)
	x := uint32(1)
	for len(b) < n {
		x = x*1664525 + 1013904223
		b = append(b, byte(x>>24), byte(x>>16))
	}
	return bytes.Clone(b[:n])
}
