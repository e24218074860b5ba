package addinfo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

var quiet = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)

func pvdID(s string) pvd.ID { return pvd.ID(s) }

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

func listen(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// TestCertificates has one fault of a certificate each, and holds that nothing but the
// server is asked on account of it.
func TestCertificates(t *testing.T) {
	ca := newCA(t)
	stranger := newCA(t)
	between := ca.sign(ca.template(authority), ca.self())
	leafBelow := func(change func(*x509.Certificate)) tls.Certificate {
		return ca.sign(ca.template(func(c *x509.Certificate) {
			c.DNSNames = []string{cafe}
			c.IssuingCertificateURL = []string{"http://aia.example.com/ca.der"}
			c.OCSPServer = []string{"http://ocsp.example.com/"}
			c.CRLDistributionPoints = []string{"http://crl.example.com/crl"}
			if change != nil {
				change(c)
			}
		}), &between)
	}
	chained := leafBelow(nil)
	chained.Certificate = append(chained.Certificate, between.Certificate[0])
	narrow := ca.sign(ca.template(func(c *x509.Certificate) {
		authority(c)
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.net"}
	}), ca.self())
	beyond := ca.sign(ca.template(func(c *x509.Certificate) { c.DNSNames = []string{cafe} }), &narrow)
	beyond.Certificate = append(beyond.Certificate, narrow.Certificate[0])
	noCA := ca.issue(nil, "parent.example")
	byLeaf := ca.sign(ca.template(func(c *x509.Certificate) { c.DNSNames = []string{cafe} }), &noCA)
	byLeaf.Certificate = append(byLeaf.Certificate, noCA.Certificate[0])

	tests := []struct {
		name string
		cert tls.Certificate
		want string // "": it is good
	}{
		{"good", ca.issue(nil, cafe), ""},
		{"among others", ca.issue(nil, "a.example", "Cafe.Example.COM", "*.example.com"), ""},
		{"with an intermediate", chained, ""},
		{"for another name", ca.issue(nil, "tea.example.com"), "tea.example.com"},
		{"for the name above", ca.issue(nil, "example.com"), "example.com"},
		{"a wildcard", ca.issue(nil, "*.example.com"), "the PvD's own name has to be among these"},
		{"common name only", ca.issue(func(c *x509.Certificate) { c.Subject.CommonName = cafe }), "Common Name"},
		{"for an address", ca.issue(func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }), "cafe.example.com"},
		{"for nothing", ca.issue(nil), "cafe.example.com"},
		{"expired", ca.issue(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) }, cafe), "expired"},
		{"not valid yet", ca.issue(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Second) }, cafe), "not yet valid"},
		{"of an unknown authority", stranger.issue(nil, cafe), "unknown authority"},
		{"by itself", ca.sign(ca.template(func(c *x509.Certificate) { c.DNSNames = []string{cafe} }), nil), "unknown authority"},
		{"for clients", ca.issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, cafe), "key usage"},
		{"intermediate missing", leafBelow(nil), "unknown authority"},
		{"beyond the authority's constraint", beyond, "not permitted"},
		{"by one that is no authority", byLeaf, "x509"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.f.Roots = ca.roots()
			w.serve(cafe+":443", &tls.Config{Certificates: []tls.Certificate{tt.cert}}, answer(infoType, infoBody))
			_, err := w.f.Info(t.Context(), cafe)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (ReasonOf(err) != Certificate || faultOf(err).Transient() || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, want %q with %q", err, Certificate, tt.want)
			}
			if want := []string{cafe + ".:443"}; !slices.Equal(w.net.dialled, want) {
				t.Errorf("dialled %v, want %v", w.net.dialled, want)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	w := newWorld(t)
	w.serve(cafe+":443", &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10, Certificates: []tls.Certificate{w.ca.issue(nil, cafe)}}, answer(infoType, infoBody))
	if _, err := w.f.Info(t.Context(), cafe); ReasonOf(err) != TLS {
		t.Errorf("TLS 1.1: %v, want %q", err, TLS)
	}
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 100))
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Type: application/pvd+json\r\n\r\n" + infoBody))
			c.Close()
		}
	}()
	w.net.servers[cafe+".:443"] = l.Addr().String()
	if _, err := w.f.Info(t.Context(), cafe); ReasonOf(err) != TLS {
		t.Errorf("no TLS: %v, want %q", err, TLS)
	}
}

func TestSystemRoots(t *testing.T) {
	w := newWorld(t)
	w.f.Roots = nil
	w.at(cafe, answer(infoType, infoBody))
	_, err := w.f.Info(t.Context(), cafe)
	want := []Reason{Certificate, NoRoots} // as the machine has some or none
	if verifiesElsewhere() {
		want = []Reason{NoRoots}
	}
	if !slices.Contains(want, ReasonOf(err)) {
		t.Errorf("on %s: %v, want one of %v", runtime.GOOS, err, want)
	}
}
