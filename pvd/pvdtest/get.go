package pvdtest

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Result is what came of a [Get].
type Result struct {
	Status int    // of the answer, 0 if there was none
	Body   string // of the answer
	Err    error  // why there was none, or not all of it

	tb  TB
	url string
}

// Get asks for url by HTTP in a network. Nothing is kept from one call to the next: no
// connection, no proxy, no cookie.
func Get(tb TB, network pvd.Dialer, url string) *Result {
	tb.Helper()
	r := &Result{tb: tb, url: url}
	ctx, cancel := context.WithTimeout(context.Background(), getTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		r.Err = err
		return r
	}
	t := &http.Transport{DialContext: network.DialContext, DisableKeepAlives: true}
	defer t.CloseIdleConnections()
	resp, err := t.RoundTrip(req)
	if err != nil {
		r.Err = err
		return r
	}
	defer resp.Body.Close()
	r.Status = resp.StatusCode
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("page longer than %d octets", maxBody)
		body = body[:maxBody]
	}
	r.Body, r.Err = string(body), err
	return r
}

// Is fails the test unless the page was had and consists of body. It returns r.
func (r *Result) Is(body string) *Result {
	r.tb.Helper()
	switch {
	case r.Err != nil:
		r.tb.Errorf("GET %s: %v", r.url, r.Err)
	case r.Status != http.StatusOK:
		r.tb.Errorf("GET %s: status %d", r.url, r.Status)
	case r.Body != body:
		r.tb.Errorf("GET %s: got %.200q, want %.200q", r.url, r.Body, body)
	}
	return r
}
