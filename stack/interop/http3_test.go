package interop_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// TestHTTP3 has one program ask one URL in two PvDs over HTTP/3: on new connections, on
// kept ones, and on new ones that resume.
func TestHTTP3(t *testing.T) {
	w := newWorld(t)
	transports := make(map[string]*http3.Transport)
	for _, name := range names {
		srv := &http3.Server{TLSConfig: serverTLS(), Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(rw, "%s by %s got %d", name, r.Proto, n)
		})}
		runHTTP3(t, w.servers[name], srv)
		tr := newHTTP3Transport(quicDialerIn(t, w.clients[name]))
		tr.TLSClientConfig = notingTickets(tr.TLSClientConfig)
		tr.TLSClientConfig.RootCAs = clientTLS().RootCAs
		t.Cleanup(func() { _ = tr.Close() })
		transports[name] = tr
	}
	for round := range 4 {
		for _, name := range names {
			tr := transports[name]
			if round == 2 {
				awaitTicket(t, tr.TLSClientConfig)
				tr.CloseIdleConnections()
			}
			a := ask3(t, tr, "https://wiki/")
			want := answer{page: name + " by HTTP/3.0 got 0", reused: round == 1 || round == 3, resumed: round >= 2}
			if a != want {
				t.Errorf("round %d in %s: %+v, want %+v", round, name, a, want)
			}
		}
	}
	client := &http.Client{Transport: transports["home"]}
	resp, err := client.Post("https://wiki/", "", io.LimitReader(zeros{}, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "home by HTTP/3.0 got 1048576" {
		t.Errorf("%s, %v", b, err)
	}
}

// runHTTP3 runs a server at port 443 of n until the test ends.
func runHTTP3(t *testing.T, n *stack.Network, srv *http3.Server) {
	t.Helper()
	l, err := listenQUIC(t.Context(), n, ":443", http3.ConfigureTLSConfig(srv.TLSConfig), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error("closing the listener:", err)
		}
	})
	serve(t, func() error { return srv.ServeListener(l) })
	t.Cleanup(func() { _ = srv.Close() })
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// An answer is what came of a request.
type answer struct {
	page            string
	reused, resumed bool // the connection, the TLS session
}

// ask3 asks for a page. The answer is empty if there is none.
func ask3(t *testing.T, tr *http3.Transport, url string) (a answer) {
	t.Helper()
	ctx := httptrace.WithClientTrace(patient(t), &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) { a.reused = i.Reused },
	})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Error(err)
		return a
	}
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Error(err)
		return a
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	a.page, a.resumed = string(b), resp.TLS.DidResume
	return a
}

// TestServeHTTP3 has one server in all PvDs. It is shut down with a request under way,
// which is answered.
func TestServeHTTP3(t *testing.T) {
	w := newWorld(t)
	began, finish := make(chan struct{}), make(chan struct{})
	srv := &http3.Server{TLSConfig: serverTLS(), Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(began)
			<-finish
		}
		fmt.Fprint(rw, pvd.FromContext(r.Context()))
	})}
	runHTTP3(t, w.host.In(pvd.All), srv)
	transports := make(map[string]*http3.Transport)
	for _, name := range names {
		tr := newHTTP3Transport(quicDialerIn(t, w.servers[name]))
		// The certificate is not for that address.
		tr.TLSClientConfig = clientTLS()
		t.Cleanup(func() { _ = tr.Close() })
		transports[name] = tr
		if a := ask3(t, tr, "https://"+hostAddress(t, w, name)+"/"); a.page != w.refs[name].String() {
			t.Errorf("in %s: %+v", name, a)
		}
	}
	answered, down := make(chan answer, 1), make(chan error, 1)
	go func() { answered <- ask3(t, transports["corp"], "https://"+hostAddress(t, w, "corp")+"/slow") }()
	<-began
	go func() { down <- srv.Shutdown(patient(t)) }()
	close(finish)
	if a := <-answered; a.page != w.refs["corp"].String() {
		t.Errorf("the request under way: %+v", a)
	}
	for _, tr := range transports {
		tr.CloseIdleConnections()
	}
	if err := <-down; err != nil {
		t.Error("Shutdown:", err)
	}
}

// TestHTTP3Gone holds that requests in a PvD that is gone fail for that reason.
func TestHTTP3Gone(t *testing.T) {
	w := newWorld(t)
	began := make(chan struct{})
	srv := &http3.Server{TLSConfig: serverTLS(), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	})}
	runHTTP3(t, w.servers["corp"], srv)
	tr := newHTTP3Transport(quicDialerIn(t, w.clients["corp"]))
	tr.TLSClientConfig = &tls.Config{RootCAs: clientTLS().RootCAs}
	t.Cleanup(func() { _ = tr.Close() })
	client := &http.Client{Transport: tr}
	failed := make(chan error, 1)
	get := func() error {
		resp, err := client.Get("https://wiki/")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	go func() { failed <- get() }()
	<-began
	w.removeCorp(t)
	if err := <-failed; !errors.Is(err, pvd.ErrNoPvD) {
		t.Error("under way:", err)
	}
	if err := get(); !errors.Is(err, pvd.ErrNoPvD) {
		t.Error("a new one:", err)
	}
}
