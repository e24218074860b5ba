package dns

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// A life is to those who are given it what a context of package context is.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		l := &life{Context: context.WithValue(t.Context(), key{}, 1)}
		if l.Err() != nil || l.Value(key{}) != 1 {
			t.Errorf("a new one: error %v, value %v", l.Err(), l.Value(key{}))
		}
		child, cancel := context.WithCancel(l)
		defer cancel()
		other, cancelOther := context.WithCancel(l)
		cancelOther()
		var called, kept, late bool
		l.AfterFunc(func() { called = true })
		stop := whenOver(l, func() { kept = true })
		if !stop() || stop() {
			t.Error("a call can be stopped other than once")
		}
		done := l.Done()
		l.end(errTimeout)
		l.end(errLoop)
		select {
		case <-done:
		default:
			t.Error("Done is open")
		}
		if !called || kept {
			t.Errorf("called %t, though stopped %t", called, kept)
		}
		for _, c := range []context.Context{l, child} {
			<-c.Done()
			if !errors.Is(context.Cause(c), errTimeout) {
				t.Errorf("cause %v", context.Cause(c))
			}
		}
		if !errors.Is(context.Cause(other), context.Canceled) {
			t.Errorf("a child that had ended before: %v", context.Cause(other))
		}
		stop = l.AfterFunc(func() { late = true })
		synctest.Wait()
		if stop() || !late {
			t.Errorf("after the end: called %t", late)
		}
		ended := &life{Context: t.Context()}
		ended.end(errLoop)
		<-ended.Done()
	})
}
