package pvdtest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// An HTTPS is a web server on a LAN with a certificate of the lab's authority. Its methods
// may be called concurrently.
type HTTPS struct {
	lan   *LAN
	names []string
	certs map[Fault]*tls.Certificate

	mu       sync.Mutex
	handlers map[string]http.Handler
	fault    Fault
	asked    []string
}

// A Fault is something that is wrong with an [HTTPS] server.
type Fault string

// Faults. The first three are of the certificate.
const (
	NoFault      Fault = ""
	OtherName    Fault = "a certificate for another name"
	WildcardName Fault = "a certificate for all names beside its own"
	Outdated     Fault = "a certificate that is over"
	Stranger     Fault = "a certificate by another authority"
	ServerError  Fault = "status 503"
	WrongType    Fault = "media type text/html"
	Huge         Fault = "a body of many megabytes"
	Stalled      Fault = "no answer"
	CutShort     Fault = "a connection that ends within the answer"
)

const (
	// WellKnownPvD is where the additional information of a PvD is (RFC 8801 section 4.1).
	WellKnownPvD = "/.well-known/pvd"

	infoType   = "application/pvd+json"     // RFC 8801 section 8.5
	portalType = "application/captive+json" // RFC 8908 section 8.1
)

// HTTPS puts a web server with a certificate for the names on port 443 of the machine at
// addrs. The LAN's name servers know the names, which are like those of a [Zone]. It has
// no pages before they are given.
func (n *LAN) HTTPS(addrs string, names ...string) *HTTPS {
	n.lab.tb.Helper()
	s := &HTTPS{lan: n, handlers: make(map[string]http.Handler)}
	zone := make(Zone)
	for _, name := range names {
		zone[name] = addrs
		s.names = append(s.names, strings.TrimSuffix(n.fqdn(name), "."))
	}
	if len(names) == 0 {
		n.lab.tb.Fatalf("pvdtest: LAN %s: a web server without a name", n.name)
	}
	if err := s.certify(); err != nil {
		n.lab.tb.Fatalf("pvdtest: LAN %s: %v", n.name, err)
	}
	n.Names(zone)
	ln := n.Machine(addrs).Listen("tcp", ":443")
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: getTimeout,
		ErrorLog:  slog.NewLogLogger(n.lab.log.Handler(), slog.LevelInfo),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.certificate, Time: n.lab.clock.Now},
	}
	n.Machine(addrs).serve(func() error { return srv.ServeTLS(ln, "", "") })
	return s
}

// certify makes the certificates, good and bad.
func (s *HTTPS) certify() error {
	ca, now := s.lan.lab.authority(), s.lan.lab.clock.Now()
	stranger, err := newAuthority(now)
	if err != nil {
		return err
	}
	var errs []error
	make1 := func(by *authority, change func(*x509.Certificate), names ...string) *tls.Certificate {
		c, err := by.issue(now, change, names...)
		errs = append(errs, err)
		return c
	}
	_, parent, _ := strings.Cut(s.names[0], ".")
	s.certs = map[Fault]*tls.Certificate{
		NoFault:      make1(ca, nil, s.names...),
		OtherName:    make1(ca, nil, "other.example"),
		WildcardName: make1(ca, nil, "*."+parent),
		Outdated:     make1(ca, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Hour) }, s.names...),
		Stranger:     make1(stranger, nil, s.names...),
	}
	return errors.Join(errs...)
}

func (s *HTTPS) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.certs[s.fault]; c != nil {
		return c, nil
	}
	return s.certs[NoFault], nil
}

// Break makes the server faulty from now on, or, with NoFault, good again.
func (s *HTTPS) Break(f Fault) {
	s.lan.lab.note("server broken", "names", s.names, "fault", string(f))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Handle serves a path by h, or by nothing any more if h is nil.
func (s *HTTPS) Handle(path string, h http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h == nil {
		delete(s.handlers, path)
		return
	}
	s.handlers[path] = h
}

// Asked returns what has been asked for, the name and the path of each request, since the
// last call. Beyond [MaxAsked] it keeps no count.
func (s *HTTPS) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// An Info is additional information of a PvD (RFC 8801 section 4.3): the object's keys and
// what they are.
type Info map[string]any

// PvD serves additional information at [WellKnownPvD]. Keys that are missing are made up
// when it is asked for: "identifier" is the name that was asked, "expires" a day ahead,
// and "prefixes" the LAN's. A key that is nil is left out.
func (s *HTTPS) PvD(info Info) {
	info = maps.Clone(info)
	s.Handle(WellKnownPvD, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all := Info{
			"identifier": r.Host,
			"expires":    s.lan.lab.clock.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339),
			"prefixes":   []netip.Prefix{s.lan.prefix(true)},
		}
		if !s.lan.prefix(true).IsValid() {
			all["prefixes"] = []string{}
		}
		maps.Copy(all, info)
		maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
		serveJSON(w, infoType, all)
	}))
}

// Portal serves what the API of a captive portal says at a path (RFC 8908 section 5): the
// object's keys and what they are.
func (s *HTTPS) Portal(path string, says map[string]any) {
	says = maps.Clone(says)
	s.Handle(path, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { serveJSON(w, portalType, says) }))
}

func serveJSON(w http.ResponseWriter, mediaType string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	// Who asked asks again if it gets nothing.
	_, _ = w.Write(b)
}

// ServeHTTP answers a request, as the faults have it.
func (s *HTTPS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if len(s.asked) < MaxAsked {
		s.asked = append(s.asked, r.Host+r.URL.Path)
	}
	h, fault := s.handlers[r.URL.Path], s.fault
	s.mu.Unlock()
	if h == nil {
		h = http.NotFoundHandler()
	}
	switch fault {
	case ServerError:
		http.Error(w, "broken", http.StatusServiceUnavailable)
	case WrongType:
		h.ServeHTTP(retyped{w}, r)
	case Huge:
		w.Header().Set("Content-Type", infoType)
		piece := []byte(`{"filler": "` + strings.Repeat("x", 1<<16) + `"},`)
		for range hugeBody / len(piece) {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	case Stalled:
		<-r.Context().Done() // when the connection ends
	case CutShort:
		w.Header().Set("Content-Type", infoType)
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("{"))
		panic(http.ErrAbortHandler)
	default:
		h.ServeHTTP(w, r)
	}
}

// A retyped answer says that it is a page for people.
type retyped struct{ http.ResponseWriter }

func (w retyped) WriteHeader(status int) {
	w.Header().Set("Content-Type", "text/html")
	w.ResponseWriter.WriteHeader(status)
}

func (w retyped) Write(b []byte) (int, error) {
	w.Header().Set("Content-Type", "text/html")
	return w.ResponseWriter.Write(b)
}
