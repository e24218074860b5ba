package interop_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// TestSSH logs in to the same address in two PvDs: sessions, much data both ways, and
// ports forwarded from either end.
func TestSSH(t *testing.T) {
	w := newWorld(t)
	keys := make(map[string]ssh.PublicKey)
	for _, name := range names {
		keys[name] = runSSH(t, name, w.servers[name])
		// What the server forwards to.
		inner := listen(t, w.servers[name], "127.0.0.1:8080")
		serve(t, func() error { return greet(inner, "inside "+name) })
		t.Cleanup(func() { _ = inner.Close() })
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			config := &ssh.ClientConfig{User: "anna", HostKeyCallback: ssh.FixedHostKey(keys[name])}
			client, err := dialSSH(patient(t), w.clients[name], "wiki:22", config)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			t.Run("session", func(t *testing.T) { testSession(t, client, name) })
			t.Run("forward", func(t *testing.T) {
				c, err := client.Dial("tcp", "127.0.0.1:8080")
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if b, err := io.ReadAll(c); err != nil || string(b) != "inside "+name {
					t.Errorf("%q, %v", b, err)
				}
			})
			t.Run("remote forward", func(t *testing.T) { testRemoteForward(t, client, w.servers[name]) })
		})
	}
	// The other network's server is another server.
	config := &ssh.ClientConfig{User: "anna", HostKeyCallback: ssh.FixedHostKey(keys["home"])}
	if c, err := dialSSH(patient(t), w.clients["corp"], "wiki:22", config); err == nil {
		_ = c.Close()
		t.Error("home's key was found in corp")
	}
}

// TestSSHGone holds that a session ends with its PvD, and for that reason.
func TestSSHGone(t *testing.T) {
	w := newWorld(t)
	key := runSSH(t, "corp", w.servers["corp"])
	config := &ssh.ClientConfig{User: "anna", HostKeyCallback: ssh.FixedHostKey(key)}
	client, err := dialSSH(patient(t), w.clients["corp"], "192.168.1.80:22", config)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ended := make(chan error, 1)
	go func() { ended <- client.Wait() }()
	w.removeCorp(t)
	if err := <-ended; !errors.Is(err, pvd.ErrNoPvD) {
		t.Error("the connection ended with", err)
	}
	if _, err := dialSSH(patient(t), w.clients["corp"], "192.168.1.80:22", config); !errors.Is(err, pvd.ErrNoPvD) {
		t.Error("a new one:", err)
	}
}

// TestSSHCancelled holds that logging in to a server that says nothing ends with the
// context.
func TestSSHCancelled(t *testing.T) {
	w := newWorld(t)
	l := listen(t, w.servers["corp"], ":22")
	ctx, cancel := context.WithCancel(t.Context())
	serve(t, func() error {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		defer c.Close()
		_, _ = c.Read(make([]byte, 1)) // the client's greeting
		cancel()
		_, _ = io.Copy(io.Discard, c)
		return nil
	})
	config := &ssh.ClientConfig{User: "anna", HostKeyCallback: ssh.InsecureIgnoreHostKey()} //nolint:gosec // nobody is there
	if _, err := dialSSH(ctx, w.clients["corp"], "wiki:22", config); err == nil {
		t.Error("logged in to nobody")
	}
}

func testSession(t *testing.T, client *ssh.Client, name string) {
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if out, err := s.Output("where"); err != nil || string(out) != name {
		t.Errorf("where: %q, %v", out, err)
	}
	s, err = client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sent := noise(1 << 20)
	s.Stdin = bytes.NewReader(sent)
	if got, err := s.Output("cat"); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("cat: %d octets of %d, %v", len(got), len(sent), err)
	}
}

// testRemoteForward has the client listen at the server's end.
func testRemoteForward(t *testing.T, client *ssh.Client, server *stack.Network) {
	l, err := client.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, func() error {
		if err := greet(l, "from the client"); !errors.Is(err, io.EOF) {
			return err
		}
		return nil
	})
	t.Cleanup(func() { _ = l.Close() })
	c, err := server.DialContext(patient(t), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if b, err := io.ReadAll(c); err != nil || string(b) != "from the client" {
		t.Errorf("%q, %v", b, err)
	}
}

// greet says a word to whoever connects, until l is closed.
func greet(l net.Listener, word string) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		_, _ = io.WriteString(c, word)
		_ = c.Close()
	}
}

// An sshServer lets everybody in. Sessions run "where", which says its name, and "cat";
// ports are forwarded within its network.
type sshServer struct {
	name    string
	network *stack.Network
	config  *ssh.ServerConfig
	wg      sync.WaitGroup
}

// runSSH runs an SSH server until the test ends, and returns its key.
func runSSH(t *testing.T, name string, n *stack.Network) ssh.PublicKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	s := &sshServer{name: name, network: n, config: &ssh.ServerConfig{NoClientAuth: true}}
	s.config.AddHostKey(signer)
	l := listen(t, n, ":22")
	t.Cleanup(s.wg.Wait)
	serve(t, func() error {
		for {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			s.wg.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close() })
	return signer.PublicKey()
}

// serve serves one connection, until the client ends it.
func (s *sshServer) serve(raw net.Conn) {
	c, channels, requests, err := ssh.NewServerConn(raw, s.config)
	if err != nil {
		return // the client did not like our key
	}
	defer c.Close()
	s.wg.Go(func() { s.globalRequests(c, requests) })
	for nc := range channels {
		switch nc.ChannelType() {
		case "session":
			s.wg.Go(func() { s.session(nc) })
		case "direct-tcpip":
			s.wg.Go(func() { s.forward(nc) })
		default:
			_ = nc.Reject(ssh.UnknownChannelType, "no such channel")
		}
	}
}

func (s *sshServer) session(nc ssh.NewChannel) {
	ch, requests, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	for r := range requests {
		var exec struct{ Command string }
		if r.Type != "exec" || ssh.Unmarshal(r.Payload, &exec) != nil {
			_ = r.Reply(false, nil)
			continue
		}
		_ = r.Reply(true, nil)
		switch exec.Command {
		case "where":
			_, _ = io.WriteString(ch, s.name)
		case "cat":
			_, _ = io.Copy(ch, ch)
		}
		_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
		return
	}
}

// forward connects a channel with an address in the server's network (RFC 4254 section
// 7.2).
func (s *sshServer) forward(nc ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(nc.ExtraData(), &to); err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	c, err := s.network.DialContext(context.Background(), "tcp", net.JoinHostPort(to.Host, strconv.Itoa(int(to.Port))))
	if err != nil {
		_ = nc.Reject(ssh.ConnectionFailed, err.Error())
		return
	}
	ch, requests, err := nc.Accept()
	if err != nil {
		_ = c.Close()
		return
	}
	s.wg.Go(func() { ssh.DiscardRequests(requests) })
	join(ch, c)
}

// join copies between the two until both have said all, or one breaks.
func join(ch ssh.Channel, c net.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(ch, c)
		_ = ch.CloseWrite()
	})
	wg.Go(func() {
		_, _ = io.Copy(c, ch)
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
	})
	wg.Wait()
	_ = ch.Close()
	_ = c.Close()
}

// globalRequests listens in the server's network for the client (RFC 4254 section 7.1).
func (s *sshServer) globalRequests(c *ssh.ServerConn, requests <-chan *ssh.Request) {
	listeners := make(map[string]net.Listener)
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	for r := range requests {
		var at struct {
			Host string
			Port uint32
		}
		if ssh.Unmarshal(r.Payload, &at) != nil {
			_ = r.Reply(false, nil)
			continue
		}
		switch r.Type {
		case "tcpip-forward":
			l, err := s.network.Listen(context.Background(), "tcp", net.JoinHostPort(at.Host, strconv.Itoa(int(at.Port))))
			if err != nil {
				_ = r.Reply(false, nil)
				continue
			}
			port := uint32(l.Addr().(*net.TCPAddr).Port)
			listeners[fmt.Sprint(at.Host, port)] = l
			s.wg.Go(func() { s.forwarded(c, l, at.Host, port) })
			_ = r.Reply(true, ssh.Marshal(struct{ Port uint32 }{port}))
		case "cancel-tcpip-forward":
			l := listeners[fmt.Sprint(at.Host, at.Port)]
			if l != nil {
				_ = l.Close()
			}
			_ = r.Reply(l != nil, nil)
		default:
			_ = r.Reply(false, nil)
		}
	}
}

// forwarded hands what connects to l over to the client.
func (s *sshServer) forwarded(c *ssh.ServerConn, l net.Listener, host string, port uint32) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		from := in.RemoteAddr().(*net.TCPAddr)
		ch, requests, err := c.OpenChannel("forwarded-tcpip", ssh.Marshal(struct {
			Host       string
			Port       uint32
			OriginHost string
			OriginPort uint32
		}{host, port, from.IP.String(), uint32(from.Port)}))
		if err != nil {
			_ = in.Close()
			return
		}
		s.wg.Go(func() { ssh.DiscardRequests(requests) })
		s.wg.Go(func() { join(ch, in) })
	}
}
