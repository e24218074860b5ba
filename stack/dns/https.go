package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const mediaType = "application/dns-message" // RFC 8484 section 6

// errHTTP reports an answer that holds none to the query.
var errHTTP = fmt.Errorf("%w: HTTP", errRcode)

// transport returns what queries over HTTPS go by. All its connections are to the server's
// address, whatever its name would stand for; there is no proxy, and no redirection is
// followed (RFC 8484 section 10 leaves that open).
func (u *upstream) transport() *http.Transport {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.web == nil {
		u.web = &http.Transport{
			DialContext:            u.dialHTTPS,
			TLSClientConfig:        u.tlsConfig(),
			TLSHandshakeTimeout:    connectTimeout,
			ForceAttemptHTTP2:      true,
			HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout},
			DisableCompression:     true,
			MaxConnsPerHost:        maxWebConns,
			MaxIdleConnsPerHost:    maxWebConns, // those above 2 would be closed, and made anew
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
		}
	}
	return u.web
}

// dialHTTPS connects to the server. The transport lets a connection go on being made when
// the query that it was meant for has ended; the resolver's end is its end, too.
func (u *upstream) dialHTTPS(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(u.r.ctx, cancel)()
	defer u.r.conf.Clock.AfterFunc(connectTimeout, cancel).Stop()
	return u.dial(ctx)
}

// overHTTPS sends s by POST, with ID 0 (RFC 8484 section 4.1). A connection that is lost
// before the answer has come is worth another one: who asks twice does no harm.
func (u *upstream) overHTTPS(ctx context.Context, s *sent) (msg []byte, source netip.AddrPort, err error) {
	post := *s
	post.msg = slices.Clone(s.msg) // the transport may read it longer than the query lasts
	post.msg[0], post.msg[1] = 0, 0
	for range maxStreams {
		t := u.transport()
		var connected, lost bool
		source = netip.AddrPort{}
		trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
			connected, source = true, sourceOf(i.Conn)
		}}
		msg, lost, err = u.post(httptrace.WithClientTrace(ctx, trace), t, &post)
		if connected && errors.Is(context.Cause(ctx), errTimeout) {
			u.abandon(t)
		}
		if !lost || !connected || ctx.Err() != nil {
			break
		}
	}
	return msg, source, err
}

// abandon has later queries go by other connections than t's, of which one did not answer: it
// may be dead, and nothing would tell for long. Those end when nobody waits on them.
func (u *upstream) abandon(t *http.Transport) {
	u.mu.Lock()
	if u.web == t {
		u.web = nil
	}
	u.mu.Unlock()
	t.CloseIdleConnections()
}

// post sends a query once. Lost says that no answer came, rather than a bad one.
func (u *upstream) post(ctx context.Context, t *http.Transport, s *sent) (msg []byte, lost bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.url(), bytes.NewReader(s.msg))
	if err != nil {
		return nil, false, err
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("Accept", mediaType)
	req.Header["User-Agent"] = nil // whose it is, is nobody's business
	res, err := t.RoundTrip(req)
	if err != nil {
		return nil, true, err
	}
	defer res.Body.Close()
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); res.StatusCode != http.StatusOK || err != nil || kind != mediaType {
		return nil, false, fmt.Errorf("%w: %s, content type %.40q", errHTTP, res.Status, res.Header.Get("Content-Type"))
	}
	msg, err = io.ReadAll(io.LimitReader(res.Body, maxMessage+1))
	switch {
	case err != nil:
		return nil, true, err
	case len(msg) > maxMessage:
		return nil, false, fmt.Errorf("%w: longer than a message", errHTTP)
	case s.judge(msg) != answers:
		return nil, false, fmt.Errorf("%w: not an answer to the question", errHTTP)
	}
	return aged(slices.Clone(msg), res.Header.Get("Age")), false, nil // without the room that is left over
}

// url returns the server's, by its name.
func (u *upstream) url() string {
	host := u.Name
	if u.Addr.Port() != httpsPort {
		host = net.JoinHostPort(host, strconv.Itoa(int(u.Addr.Port())))
	}
	return (&url.URL{Scheme: "https", Host: host}).String() + u.Path
}

// aged returns msg with its TTLs counted down by the time for which a cache on the way has
// had it (RFC 8484 section 5.1).
func aged(msg []byte, age string) []byte {
	s, err := strconv.ParseUint(strings.TrimSpace(age), 10, 31)
	if err != nil || s == 0 {
		return msg
	}
	a := answer{msg: msg}
	m, err := a.copyOf(time.Duration(s) * time.Second)
	if err != nil {
		return msg // an error that shows elsewhere
	}
	m.Compress = true
	if b, err := m.Pack(); err == nil {
		return b
	}
	return msg
}
