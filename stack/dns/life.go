package dns

import (
	"context"
	"sync"
)

// A life is a context with a cause, for what each query needs: one of package context costs
// several times the memory. Its error is the cause.
type life struct {
	context.Context // where values come from

	mu    sync.Mutex
	cause error
	over  chan struct{} // closed at the end; nil until somebody asks
	calls []func()      // to be made at the end, but for those that are nil
	few   [1]func()     // where calls begins: most often there is one
}

// end ends l for a reason that is not nil, if it has not ended.
func (l *life) end(cause error) {
	l.mu.Lock()
	if l.cause != nil {
		l.mu.Unlock()
		return
	}
	l.cause = cause
	if l.over != nil {
		close(l.over)
	}
	calls := l.calls
	l.calls = nil
	l.mu.Unlock()
	for _, f := range calls {
		if f != nil {
			f()
		}
	}
}

// Done is [context.Context]'s.
func (l *life) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over == nil {
		l.over = make(chan struct{})
		if l.cause != nil {
			close(l.over)
		}
	}
	return l.over
}

// Err is [context.Context]'s, and says why.
func (l *life) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// AfterFunc has f called when l ends, unless stop is called before: what [context.AfterFunc]
// does, and what contexts made of l know to use. The call is in the goroutine of whoever
// ends l: f must not wait for anything.
func (l *life) AfterFunc(f func()) (stop func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cause != nil {
		go f() // who calls may hold what f needs
		return func() bool { return false }
	}
	if l.calls == nil {
		l.calls = l.few[:0]
	}
	i := len(l.calls)
	l.calls = append(l.calls, f)
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.cause != nil || l.calls[i] == nil {
			return false
		}
		l.calls[i] = nil
		return true
	}
}

// whenOver is [context.AfterFunc] for an f that does not wait.
func whenOver(ctx context.Context, f func()) (stop func() bool) {
	if l, ok := ctx.(*life); ok {
		return l.AfterFunc(f)
	}
	return context.AfterFunc(ctx, f)
}
