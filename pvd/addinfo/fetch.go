package addinfo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

const (
	infoType   = "application/pvd+json"     // RFC 8801 section 8.5
	portalType = "application/captive+json" // RFC 8908 section 8.1
)

// A Fetcher gets additional information and the answers of captive portals' APIs by HTTPS,
// by the network of one PvD and nothing else: RFC 8801 section 4.1 wants the name looked up,
// the source chosen and the packets routed within the PvD. Each fetch has connections of
// its own, which end with it, and tells the server nothing about the host that is not
// needed: no User-Agent, no cookies, no resumed session (RFC 8801 section 7). Certificates
// are checked by what the server sends alone; nothing else is fetched for that, such as
// revocation lists or missing certificates. Its methods may be called concurrently.
type Fetcher struct {
	// Dialer connects within the PvD. It is asked for absolute names with a trailing dot,
	// to which no search list applies. It should prefer temporary addresses as sources
	// (RFC 8801 section 4.1), as RFC 6724 does.
	Dialer pvd.Dialer

	// Roots are the trust anchors. nil: those of the system. Windows and Apple's systems
	// verify in ways that may fetch certificates outside of the PvD, so there nil is an
	// error with the reason NoRoots.
	Roots *x509.CertPool

	// Clock is for timeouts and for the dates of certificates and objects. nil: the
	// system's.
	Clock pvd.Clock
}

// Info returns the additional information of a PvD. The error is a *[Fault]. The server
// has to have a certificate with a DNS-ID that is equal to id: the owner of the name vouches
// for it (RFC 8801 section 4.1). A wildcard is not equal. After redirections it may be one
// for the other server's name, as usual.
func (f *Fetcher) Info(ctx context.Context, id pvd.ID) (*Object, error) {
	name := string(id)
	if !isHostName(name) {
		return nil, faultf(BadName, "", "%s is not the name of a host", quote(name))
	}
	u := &url.URL{Scheme: "https", Host: name, Path: "/.well-known/pvd"}
	body, fault := f.get(ctx, fetch{url: u, accept: infoType, exact: name})
	if fault != nil {
		return nil, fault
	}
	return Parse(body, id, f.clock().Now())
}

// Portal asks the API of a captive portal at an https URL. The error is a *[Fault]. The
// reason BadName stands for a URL that is none of an API, [Unrestricted] among them.
func (f *Fetcher) Portal(ctx context.Context, api string) (*PortalAnswer, error) {
	u, err := url.Parse(api)
	if err != nil || !isText(api) {
		return nil, faultf(BadName, "", "%s is no URL", quote(api))
	}
	if fault := checkURL(u); fault != nil {
		fault.Reason = BadName
		return nil, fault
	}
	body, fault := f.get(ctx, fetch{url: u, accept: portalType})
	if fault != nil {
		return nil, fault
	}
	return ParsePortal(body, api, f.clock().Now())
}

func (f *Fetcher) clock() pvd.Clock {
	if f.Clock == nil {
		return pvd.SystemClock()
	}
	return f.Clock
}

// A fetch is one request with all its redirections.
type fetch struct {
	url    *url.URL
	accept string // the media type
	exact  string // the host whose certificate has to have this very name; may be empty
}

// errTimeout ends a fetch that has taken too long.
var errTimeout = errors.New("no complete answer in " + FetchTimeout.String())

func (f *Fetcher) get(ctx context.Context, what fetch) ([]byte, *Fault) {
	if f.Roots == nil && verifiesElsewhere() {
		return nil, faultf(NoRoots, "", "the system's may be looked for outside of the PvD, give some")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := f.clock().AfterFunc(FetchTimeout, func() { cancel(errTimeout) })
	defer timer.Stop()

	c := &connector{dialer: f.Dialer, ctx: ctx, config: &tls.Config{
		MinVersion:       tls.VersionTLS12, // BCP 195
		NextProtos:       []string{"h2", "http/1.1"},
		RootCAs:          f.Roots,
		Time:             func() time.Time { return f.clock().Now() },
		VerifyConnection: func(s tls.ConnectionState) error { return checkName(s, what.exact) },
	}}
	t := &http.Transport{
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return nil, errPlain },
		DialTLSContext:         c.dial,
		ForceAttemptHTTP2:      true, // else not with a dialer of ours
		DisableCompression:     true,
		MaxResponseHeaderBytes: MaxHeader,
	}
	defer t.CloseIdleConnections()
	body, err := c.follow(t, what)
	if err == nil {
		// A server that sees us go may end its answer in good order before it is complete.
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, c.explain(err)
	}
	return body, nil
}

var errPlain = errors.New("only https is used")

// verifiesElsewhere reports whether package x509 leaves verification to the system where
// there are no roots.
func verifiesElsewhere() bool {
	switch runtime.GOOS {
	case "windows", "darwin", "ios":
		return true
	}
	return false
}

// checkName applies what RFC 8801 section 4.1 wants beyond the usual verification.
func checkName(s tls.ConnectionState, exact string) error {
	if exact == "" || s.ServerName != exact {
		return nil
	}
	names := s.PeerCertificates[0].DNSNames // there is one: it has been verified
	for _, n := range names {
		if strings.EqualFold(strings.TrimSuffix(n, "."), exact) {
			return nil
		}
	}
	if len(names) > 4 {
		names = names[:4]
	}
	return faultf(Certificate, exact, "it is for %s, and the PvD's own name has to be among these", quote(strings.Join(names, ", ")))
}

// A connector makes the connections of one fetch. It outlives no fetch.
type connector struct {
	dialer    pvd.Dialer
	ctx       context.Context // ends with the fetch; a transport's own may last longer
	config    *tls.Config
	connected atomic.Bool // a server has been reached
}

func (c *connector) dial(_ context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	conn, err := c.dialer.DialContext(c.ctx, network, net.JoinHostPort(host+".", port))
	if err != nil {
		reason := Unreachable
		if c.connected.Load() {
			reason = BadRedirect // no transient failure: the first server has been bothered
		} else if _, ok := errors.AsType[*net.DNSError](err); ok {
			reason = Lookup
		}
		return nil, &Fault{Reason: reason, Where: host, Err: err}
	}
	c.connected.Store(true)
	config := c.config.Clone()
	config.ServerName = host
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(c.ctx); err != nil {
		conn.Close()
		return nil, explainTLS(host, err)
	}
	return secure, nil
}

// explainTLS tells a bad certificate from all else that ends a handshake.
func explainTLS(host string, err error) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	if _, ok := errors.AsType[x509.SystemRootsError](err); ok {
		return &Fault{Reason: NoRoots, Where: host, Err: err}
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &Fault{Reason: Certificate, Where: host, Err: err}
	}
	return &Fault{Reason: TLS, Where: host, Err: err}
}

// explain makes a Fault of whatever has ended a fetch.
func (c *connector) explain(err error) *Fault {
	switch cause := context.Cause(c.ctx); {
	case errors.Is(cause, errTimeout) && !c.connected.Load():
		return &Fault{Reason: Unreachable, Err: cause}
	case errors.Is(cause, errTimeout):
		return &Fault{Reason: Timeout, Err: cause}
	case cause != nil:
		return &Fault{Reason: Cancelled, Err: cause}
	}
	return faultOf(err)
}

// follow makes the request and those that it is redirected to. It does so itself since an
// http.Client would name the page before in a Referer.
func (c *connector) follow(t http.RoundTripper, what fetch) ([]byte, error) {
	u := what.url
	for range MaxRedirects + 1 {
		request := (&http.Request{
			Method: http.MethodGet,
			URL:    u,
			Header: http.Header{"Accept": {what.accept}, "User-Agent": {""}}, // empty: it is left out
		}).WithContext(c.ctx)
		response, err := t.RoundTrip(request)
		if err != nil {
			return nil, err
		}
		if s := response.StatusCode; s < 300 || s > 399 {
			return read(response, what.accept)
		}
		response.Body.Close()
		next, err := response.Location()
		if err != nil {
			return nil, faultf(BadRedirect, u.Hostname(), "status %d leads nowhere", response.StatusCode)
		}
		next.Fragment, next.RawFragment = "", ""
		if fault := checkURL(next); fault != nil {
			return nil, fault
		}
		u = next
	}
	return nil, faultf(BadRedirect, what.url.Hostname(), "more than %d redirections", MaxRedirects)
}

// checkURL reports a URL that is not to be asked. The server has to show a certificate for
// its DNS-ID, so an address instead of a name will not do.
func checkURL(u *url.URL) *Fault {
	text := u.String()
	switch {
	case u.Scheme != "https":
		return faultf(BadRedirect, "", "%s is not https", quote(text))
	case u.User != nil:
		return faultf(BadRedirect, "", "%s has a user in it", quote(u.Redacted()))
	case !isHostName(u.Hostname()):
		return faultf(BadRedirect, "", "%s has no host name", quote(text))
	case len(text) > MaxURL:
		return faultf(BadRedirect, "", "%s is longer than %d octets", quote(text), MaxURL)
	}
	return nil
}

// isHostName reports whether s, which may end in a dot, is a name that a server can have:
// what RFC 1035 section 2.3.1 allows, and underscores.
func isHostName(s string) bool {
	id, err := pvd.ParseID(s)
	if err != nil || id == "" {
		return false
	}
	if _, err := netip.ParseAddr(string(id)); err == nil {
		return false
	}
	return !strings.ContainsFunc(string(id), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	})
}

// read returns the body of an answer of the media type that is wanted.
func read(response *http.Response, want string) ([]byte, error) {
	defer response.Body.Close()
	host := response.Request.URL.Hostname()
	if s := response.StatusCode; s < 200 || s > 299 {
		return nil, faultf(BadStatus, host, "status %d", s)
	}
	got := response.Header.Get("Content-Type")
	if media, _, err := mime.ParseMediaType(got); err != nil || media != want {
		return nil, faultf(BadType, host, "%s, want %s", quote(got), want)
	}
	if coding := response.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return nil, faultf(BadType, host, "content coding %s, want none", quote(coding))
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, MaxBody+1))
	if len(body) > MaxBody {
		return nil, faultf(TooLarge, host, "more than %d octets", MaxBody)
	}
	if err != nil {
		return nil, &Fault{Reason: HTTP, Where: host, Err: err}
	}
	return body, nil
}
