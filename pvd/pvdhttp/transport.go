package pvdhttp

import (
	"crypto/tls"
	"net/http"

	"github.com/pvdstack/pvdstack/pvd"
)

// NewTransport returns a transport that makes all its connections by d, the network of
// one PvD. It speaks HTTP/1 and HTTP/2, has a TLS session cache of its own and uses no
// proxy. Names are resolved by d. The transport is the caller's, who may change it
// before using it, and has to close its idle connections when done.
func NewTransport(d pvd.Dialer) *http.Transport {
	return &http.Transport{
		DialContext: d.DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			ClientSessionCache: tls.NewLRUClientSessionCache(0),
		},
		ForceAttemptHTTP2:     true, // else not with a DialContext
		MaxIdleConns:          maxIdleConns,
		IdleConnTimeout:       idleConnTimeout,
		TLSHandshakeTimeout:   tlsHandshakeTimeout,
		ExpectContinueTimeout: expectContinueTimeout,
	}
}

// NewClient returns a client with a transport of its own, as from [NewTransport]: all
// that it does, redirections included, it does by d.
func NewClient(d pvd.Dialer) *http.Client {
	return &http.Client{Transport: NewTransport(d)}
}
