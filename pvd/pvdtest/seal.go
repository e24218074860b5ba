package pvdtest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
)

// ErrSealed is what the host's own ways out return after [SealHost].
var ErrSealed = errors.New("pvdtest: the host is sealed")

// sealing orders those who seal the host, of which there is one at a time.
var sealing sync.Mutex

// SealHost fails the test when anything in the process asks the host's resolver for a name,
// or goes out by the default HTTP client, until the test has ended: what is in a PvD has no
// business there, and a library that does it behind its user's back is a leak. It changes
// net.DefaultResolver and http.DefaultTransport, so that tests which call it do not run at
// the same time: one waits for the other.
//
// A connection to a literal by package net's own functions is not seen, nor is a name that
// stands in the host's own table.
func SealHost(t TB) {
	t.Helper()
	sealing.Lock()
	resolver, transport := net.DefaultResolver, http.DefaultTransport
	var mu sync.Mutex
	over := false
	report := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		if !over { // a test that has ended must not be failed any more
			t.Errorf("pvdtest: the sealed host was touched: %s", what)
		}
	}
	net.DefaultResolver = &net.Resolver{
		PreferGo: true,
		Dial: func(_ context.Context, network, address string) (net.Conn, error) {
			report("its resolver asks " + network + " " + address)
			return nil, ErrSealed
		},
	}
	http.DefaultTransport = sealed(func(r *http.Request) { report("its default HTTP transport goes to " + r.URL.Redacted()) })
	t.Cleanup(func() {
		mu.Lock()
		over = true
		mu.Unlock()
		net.DefaultResolver, http.DefaultTransport = resolver, transport
		sealing.Unlock()
	})
}

// sealed is a transport that leads nowhere.
type sealed func(*http.Request)

func (s sealed) RoundTrip(r *http.Request) (*http.Response, error) {
	s(r)
	return nil, ErrSealed
}
