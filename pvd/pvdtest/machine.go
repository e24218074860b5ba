package pvdtest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// A Machine is a computer of the lab's on a LAN, with an address, the LAN's default route,
// and the servers that were started on it.
type Machine struct {
	lan     *LAN
	name    string
	addrs   []netip.Prefix
	ref     pvd.Ref
	network *stack.Network
}

// Machine returns the machine with these addresses on the LAN, which is put there if there
// is none yet.
func (n *LAN) Machine(addrs string) *Machine {
	n.lab.tb.Helper()
	ps := n.parse(addrs)
	n.mu.Lock()
	for _, m := range n.machines {
		if m.addrs[0] == ps[0] {
			n.mu.Unlock()
			return m
		}
	}
	n.mu.Unlock()
	m := &Machine{lan: n, name: n.name + "/" + ps[0].Addr().String(), addrs: ps}
	n.take(ps, m.name)
	if err := m.start(); err != nil {
		n.lab.tb.Fatalf("pvdtest: machine %s: %v", m.name, err)
	}
	n.mu.Lock()
	n.machines = append(n.machines, m)
	n.mu.Unlock()
	n.lab.mu.Lock()
	n.lab.machines = append(n.lab.machines, m)
	n.lab.mu.Unlock()
	n.lab.note("machine made", "lan", n.name, "addrs", ps)
	return m
}

// start puts the machine on its LAN. It has a link of its own, as machines do.
func (m *Machine) start() error {
	host, err := m.lan.lab.machineHost()
	if err != nil {
		return err
	}
	c, err := m.lan.lab.cable(m.lan, m.name, nil)
	if err != nil {
		return err
	}
	if err := host.AddLink(m.name, c.far); err != nil {
		return err
	}
	m.ref, err = host.Add(context.Background(), m.config())
	m.network = host.In(m.ref)
	return err
}

func (m *Machine) config() pvd.Config {
	c := m.lan.config(m.name, m.addrs)
	c.Name = m.name
	return c
}

// refresh tells the LAN's machines of a new router or route.
func (n *LAN) refresh() {
	n.lab.tb.Helper()
	n.mu.Lock()
	machines := n.machines
	n.mu.Unlock()
	for _, m := range machines {
		if err := n.lab.infra.Update(context.Background(), m.ref, m.config()); err != nil {
			n.lab.tb.Fatalf("pvdtest: machine %s: %v", m.name, err)
		}
	}
}

// Network returns the network as the machine has it, for servers and clients of the
// test's own.
func (m *Machine) Network() *stack.Network { return m.network }

// Listen starts listening, as [stack.Network.Listen] does.
func (m *Machine) Listen(network, address string) net.Listener {
	m.lan.lab.tb.Helper()
	ln, err := m.network.Listen(context.Background(), network, address)
	if err != nil {
		m.lan.lab.tb.Fatalf("pvdtest: machine %s: %v", m.name, err)
	}
	return ln
}

// ListenPacket starts listening, as [stack.Network.ListenPacket] does.
func (m *Machine) ListenPacket(network, address string) net.PacketConn {
	m.lan.lab.tb.Helper()
	pc, err := m.network.ListenPacket(context.Background(), network, address)
	if err != nil {
		m.lan.lab.tb.Fatalf("pvdtest: machine %s: %v", m.name, err)
	}
	return pc
}

// serve runs a server until the lab's machines end and its listeners with them.
func (m *Machine) serve(f func() error) {
	l := m.lan.lab
	l.wg.Go(func() {
		err := f()
		if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, pvd.ErrNoPvD) {
			l.note("server ended", "machine", m.name, "err", err)
		}
	})
}

// Handle serves HTTP on port 80 of the machine at addrs.
func (n *LAN) Handle(addrs string, h http.Handler) *Machine {
	n.lab.tb.Helper()
	m := n.Machine(addrs)
	ln := m.Listen("tcp", ":80")
	srv := &http.Server{Handler: h, ReadHeaderTimeout: getTimeout, ErrorLog: nil}
	m.serve(func() error { return srv.Serve(ln) })
	return m
}

// Web serves one page on port 80 of the machine at addrs, whatever is asked for.
func (n *LAN) Web(addrs, body string) *Machine {
	n.lab.tb.Helper()
	return n.Handle(addrs, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(body))
	}))
}

// Echo sends back what it gets on port 7, TCP and UDP, of the machine at addrs.
func (n *LAN) Echo(addrs string) *Machine {
	n.lab.tb.Helper()
	m := n.Machine(addrs)
	ln, pc := m.Listen("tcp", ":7"), m.ListenPacket("udp", ":7")
	m.serve(func() error {
		for {
			c, err := ln.Accept()
			if err != nil {
				return err
			}
			m.serve(func() error {
				defer c.Close()
				_, err := io.Copy(c, c)
				return err
			})
		}
	})
	m.serve(func() error {
		buf := make([]byte, 1<<16)
		for {
			k, from, err := pc.ReadFrom(buf)
			if err != nil {
				return err
			}
			// A datagram that can not be sent back is lost, as datagrams are.
			_, _ = pc.WriteTo(buf[:k], from)
		}
	})
	return m
}
