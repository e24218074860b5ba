package pvd

import (
	"context"
	"net"
)

type contextKey struct{}

// NewContext returns a context that carries r as the default PvD for the calls made
// with it. This is the scope that Go has where the draft speaks of threads and fibers.
// [Unspecified] clears what an outer context set.
//
// A context does not reach into connection pools: an [net/http.Transport] hands out a
// connection by scheme and address, whichever PvD it was made in. Package pvdhttp keeps
// one Transport per PvD for that reason.
func NewContext(ctx context.Context, r Ref) context.Context {
	return context.WithValue(ctx, contextKey{}, r)
}

// FromContext returns the Ref that ctx carries, [Unspecified] if none.
func FromContext(ctx context.Context) Ref {
	r, _ := ctx.Value(contextKey{}).(Ref)
	return r
}

// Of returns the PvD that v, a connection, listener, address or network, belongs to.
// It looks through wrappers that have a NetConn method, as tls.Conn does. It is false
// for what belongs to no single PvD.
func Of(v any) (Ref, bool) {
	// A wrapper may, by mistake, return itself.
	for range maxWrappers {
		switch w := v.(type) {
		case interface{ PvD() Ref }:
			r := w.PvD()
			return r, r.Attached()
		case interface{ NetConn() net.Conn }:
			v = w.NetConn()
		default:
			return Unspecified, false
		}
	}
	return Unspecified, false
}

// maxWrappers bounds how many wrappers Of looks through; real stacks have two or three.
const maxWrappers = 16
