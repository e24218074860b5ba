package dns

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// A Transport is the way in which a server is spoken to.
type Transport uint8

const (
	// Plain is UDP, and TCP where an answer does not fit (RFC 1035 section 4.2).
	Plain Transport = iota
	// TLS is DNS over TLS (RFC 7858).
	TLS
	// HTTPS is DNS over HTTPS (RFC 8484).
	HTTPS
)

// String returns "plain", "tls" or "https".
func (t Transport) String() string {
	switch t {
	case TLS:
		return "tls"
	case HTTPS:
		return "https"
	default:
		return "plain"
	}
}

// A Server is a DNS server as it is spoken to. It is comparable.
type Server struct {
	Transport Transport
	Addr      netip.AddrPort // a link-local address has the link's name as its zone
	Name      string         // what its certificate has to be for; empty for Plain
	Path      string         // of its URL, for HTTPS
}

// String returns the address of a plain server, as in "192.0.2.53:53", and for others their
// name as well, as in "tls://dns.example@192.0.2.53:853".
func (s Server) String() string {
	switch s.Transport {
	case TLS:
		return "tls://" + s.Name + "@" + s.Addr.String()
	case HTTPS:
		return "https://" + s.Name + "@" + s.Addr.String() + s.Path
	default:
		return s.Addr.String()
	}
}

// An upstream is a server with what is known of it.
type upstream struct {
	Server
	r       *Resolver
	addr    string                 // Addr, to be dialled
	tickets tls.ClientSessionCache // nil for Plain

	mu       sync.Mutex
	silences int           // in a row
	upAt     time.Duration // by the monotonic clock; until then it comes after all others
	ednsAt   time.Duration // likewise; until then it is not asked by EDNS
	conns    map[*conn]struct{}
	stream   *stream         // by which TLS queries go
	web      *http.Transport // by which HTTPS queries go
	retired  bool
}

func newUpstream(r *Resolver, s Server) *upstream {
	u := &upstream{Server: s, r: r, addr: s.Addr.String(), conns: make(map[*conn]struct{})}
	if s.Transport != Plain {
		u.tickets = tls.NewLRUClientSessionCache(maxTickets)
	}
	return u
}

// downFor returns for how long from now on the server comes after others.
func (u *upstream) downFor(now time.Duration) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return max(0, u.upAt-now)
}

// silent says that the server did not answer, or could not be reached.
func (u *upstream) silent() {
	now := u.r.conf.Clock.Monotonic()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.upAt = now + min(firstPenalty<<min(u.silences, maxSilences), maxPenalty)
	u.silences++
}

// heard says that the server did answer.
func (u *upstream) heard() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.silences, u.upAt = 0, 0
}

func (u *upstream) knowsEDNS() bool {
	now := u.r.conf.Clock.Monotonic()
	u.mu.Lock()
	defer u.mu.Unlock()
	return now >= u.ednsAt
}

func (u *upstream) withoutEDNS() {
	now := u.r.conf.Clock.Monotonic()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ednsAt = now + ednsRetry
}

// askFor asks for at most so long.
func (u *upstream) askFor(ctx context.Context, timeout time.Duration, req *request, note func(Event)) (*answer, error) {
	l := &life{Context: ctx}
	defer l.end(context.Canceled)
	defer whenOver(ctx, func() { l.end(context.Cause(ctx)) })()
	defer u.r.conf.Clock.AfterFunc(timeout, func() { l.end(errTimeout) }).Stop()
	return u.ask(l, req, note)
}

// ask puts the request to the server until ctx ends: without EDNS if the server turns out
// not to know that, and by TCP if the answer does not fit into a datagram or, perhaps for
// that reason, cannot be read.
func (u *upstream) ask(ctx context.Context, req *request, note func(Event)) (*answer, error) {
	edns, network := u.knowsEDNS(), "udp"
	switch u.Transport {
	case TLS:
		network = "tls"
	case HTTPS:
		network = "https"
	case Plain:
		if len(req.raw) > udpSize {
			network = "tcp"
		}
	}
	knew := edns
	for {
		a, err := u.exchange(ctx, network, req, edns, note)
		switch {
		case errors.Is(err, errNoEDNS) && edns:
			edns = false
			continue
		case network == "udp" && (errors.Is(err, errTruncated) || errors.Is(err, errParse) || errors.Is(err, errCase)):
			network = "tcp"
			continue
		case errors.Is(err, errNoEDNS):
			return nil, errUnread
		case err == nil && knew && !edns:
			u.withoutEDNS()
		}
		return a, u.verdict(ctx, err)
	}
}

// verdict learns from how an exchange has ended, and says why that was.
func (u *upstream) verdict(ctx context.Context, err error) error {
	switch {
	case err == nil, errors.Is(err, errRcode), errors.Is(err, errLame), errors.Is(err, errLoop), errors.Is(err, errParse):
		u.heard()
		return err
	case ctx.Err() == nil:
		u.silent()
		return err
	}
	err = context.Cause(ctx)
	if errors.Is(err, errTimeout) {
		u.silent()
	}
	return err
}

// exchange sends the request once and makes an answer of what comes back.
func (u *upstream) exchange(ctx context.Context, network string, req *request, edns bool, note func(Event)) (*answer, error) {
	clock := u.r.conf.Clock
	e := Event{Question: req.q.public(), Server: u.Server, Net: network, Begin: clock.Now(), Rcode: -1}
	began := clock.Monotonic()
	s, err := u.r.pack(req, packing{
		edns: edns, pad: network == "tls" || network == "https",
		mix: u.r.conf.MixCase && network == "udp" && req.raw == nil,
	})
	var a *answer
	if err == nil {
		var msg []byte
		switch network {
		case "tls":
			msg, e.Source, err = u.overTLS(ctx, &s)
		case "https":
			msg, e.Source, err = u.overHTTPS(ctx, &s)
		default:
			msg, e.Source, err = u.overPlain(ctx, network, &s)
		}
		e.RTT = clock.Monotonic() - began
		if err == nil || len(msg) >= headerLen {
			e.Rcode = int(msg[3] & 0xf)
		}
		if err == nil {
			a, err = req.answer(msg)
		}
	}
	if err == nil {
		a.server, a.rtt, a.at = u.Server, e.RTT, clock.Now()
		e.Rcode, e.TTL, e.Err = a.rcode, a.ttl, a.err
	} else {
		e.Err = err
		if ctx.Err() != nil {
			e.Err = context.Cause(ctx)
		}
	}
	note(e)
	return a, err
}

// A conn is a connection that ends with its upstream.
type conn struct {
	net.Conn
	u *upstream
}

func (c *conn) Close() error {
	c.u.mu.Lock()
	delete(c.u.conns, c)
	c.u.mu.Unlock()
	return c.Conn.Close()
}

// dial connects to the server by TCP, for a connection that outlives the query.
func (u *upstream) dial(ctx context.Context) (net.Conn, error) {
	nc, err := u.r.conf.Dial(ctx, "tcp", u.addr)
	if err != nil {
		return nil, err
	}
	c := &conn{nc, u}
	u.mu.Lock()
	u.conns[c] = struct{}{}
	u.mu.Unlock()
	if u.r.ctx.Err() != nil { // else close has it
		c.Close()
		return nil, net.ErrClosed
	}
	return c, nil
}

// retire closes the connections that nobody waits on, now or when that is so.
func (u *upstream) retire() {
	u.mu.Lock()
	u.retired = true
	s, web := u.stream, u.web
	u.mu.Unlock()
	if s != nil {
		s.retire()
	}
	if web != nil {
		web.CloseIdleConnections()
	}
}

// close closes all connections. The resolver's context has ended.
func (u *upstream) close() {
	u.retire()
	u.mu.Lock()
	var conns []*conn
	for c := range u.conns {
		conns = append(conns, c)
	}
	u.mu.Unlock()
	for _, c := range conns {
		c.Close()
	}
}

func sourceOf(c net.Conn) netip.AddrPort {
	switch a := c.LocalAddr().(type) {
	case *net.UDPAddr:
		return a.AddrPort()
	case *net.TCPAddr:
		return a.AddrPort()
	}
	return netip.AddrPort{}
}
