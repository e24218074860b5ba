package pvdtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// dialFunc is a network that only dials.
type dialFunc func(ctx context.Context) (net.Conn, error)

func (f dialFunc) DialContext(ctx context.Context, _, _ string) (net.Conn, error) { return f(ctx) }

// answering dials a server that answers with what it is given.
func answering(t *testing.T, answer io.Reader) dialFunc {
	return func(context.Context) (net.Conn, error) {
		c, s := net.Pipe()
		t.Cleanup(func() { _ = s.Close() })
		go func() { // ends with c
			defer s.Close()
			if _, err := http.ReadRequest(bufio.NewReader(s)); err == nil {
				_, _ = io.Copy(s, answer)
			}
		}()
		return c, nil
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestGet(t *testing.T) {
	long := io.MultiReader(
		strings.NewReader(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", maxBody+1)),
		io.LimitReader(zeros{}, maxBody+1))
	for _, tt := range []struct {
		name, want string
		network    dialFunc
	}{
		{"page", "", answering(t, strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage"))},
		{"other", `got "other", want "page"`, answering(t, strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"))},
		{"status", "status 404", answering(t, strings.NewReader("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\npage"))},
		{"cut", "unexpected EOF", answering(t, strings.NewReader("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npage"))},
		{"too long", "page longer than", answering(t, long)},
		{"no connection", "nobody there", func(context.Context) (net.Conn, error) { return nil, errors.New("nobody there") }},
	} {
		fake := &fakeTB{TB: t}
		Get(fake, tt.network, "http://x/").Is("page")
		if got := fake.take(); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if r := Get(t, nil, "http://\x00/"); r.Err == nil {
		t.Error("no error of a malformed URL")
	}
}

func TestGetTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		r := Get(t, dialFunc(func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}), "http://x/")
		if d := time.Since(began); !errors.Is(r.Err, context.DeadlineExceeded) || d != getTimeout {
			t.Errorf("%v after %v, want a deadline after %v", r.Err, d, getTimeout)
		}
	})
}
