package selection

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Question is what a person is asked when the rules leave a call to one.
type Question struct {
	Call pvd.Call

	// Choices are the PvDs that fulfil the rule's requirements, the best one first. The
	// answer is one of them, [pvd.Null] to refuse the call, or [pvd.SystemDefault].
	Choices []*pvd.Info
}

// An asker puts questions and remembers answers. There is one question at a time about
// the same application and destination, which all who ask wait for.
type asker struct {
	clock pvd.Clock
	put   func(context.Context, Question) (pvd.Ref, error)
	keep  time.Duration

	mu      sync.Mutex
	answers map[subject]answer
	open    map[subject]*question
}

// A subject is what an answer is about.
type subject struct{ app, destination string }

type answer struct {
	ref   pvd.Ref
	until time.Duration
}

// A question is one that is open. Its fields are set before done is closed.
type question struct {
	done chan struct{}
	ref  pvd.Ref
	err  error
	left bool // the one who asked did not wait for the answer
}

func newAsker(clock pvd.Clock, put func(context.Context, Question) (pvd.Ref, error), keep time.Duration) *asker {
	if keep == 0 {
		keep = AnswerTime
	}
	return &asker{
		clock: clock, put: put, keep: keep,
		answers: make(map[subject]answer), open: make(map[subject]*question),
	}
}

// ask returns what a person has said, or says now.
func (m *Manager) ask(ctx context.Context, q *query, c *call) (pvd.Ref, error) {
	if m.asker.put == nil {
		return pvd.Null, ErrNoAnswer
	}
	about := subject{app: c.App, destination: c.name}
	if c.remote.IsValid() {
		about.destination = c.remote.String()
	}
	valid := func(ref pvd.Ref) bool {
		if !ref.Attached() {
			return ref == pvd.Null || ref == pvd.SystemDefault
		}
		i, err := m.registry.Info(ref)
		return err == nil && q.fulfils(newFacts(i, nil, nil))
	}
	return m.asker.get(ctx, about, valid, func() (pvd.Ref, error) {
		m.catchUp() // a person is not bothered with what is over
		all, _, err := m.await(ctx)
		if err != nil {
			return pvd.Null, err
		}
		ranked := q.rank(all, c.target())
		if len(ranked) == 0 {
			return pvd.Null, q.none(all)
		}
		question := Question{Call: c.Call}
		for _, f := range ranked {
			question.Choices = append(question.Choices, f.info)
		}
		ref, err := m.asker.put(ctx, question)
		if err == nil && !valid(ref) {
			err = fmt.Errorf("%w: %v is not one of the choices", ErrNoAnswer, ref)
		}
		return ref, err
	})
}

// get returns a remembered answer that is valid, or else what put does. A question that
// was given up because its caller's context ended is put again for those who wait.
func (a *asker) get(ctx context.Context, about subject, valid func(pvd.Ref) bool, put func() (pvd.Ref, error)) (pvd.Ref, error) {
	for {
		had, q, mine, err := a.begin(about)
		switch {
		case err != nil:
			return pvd.Null, err
		case q == nil && valid(had):
			return had, nil
		case q == nil:
			a.drop(about, had)
			continue
		}
		if mine {
			a.settle(ctx, about, q, put)
			return q.ref, q.err
		}
		select {
		case <-q.done:
			if q.answers(valid) {
				return q.ref, q.err
			}
		case <-ctx.Done():
			return pvd.Null, context.Cause(ctx)
		}
	}
}

// answers reports whether what came of a question is an answer for one who waited for it. It
// may have been about other choices, by another rule.
func (q *question) answers(valid func(pvd.Ref) bool) bool {
	_, none := errors.AsType[*NoneError](q.err)
	return !q.left && !none && (q.err != nil || valid(q.ref))
}

// begin returns what is remembered about a subject, or else the open question about it,
// and whether that is the caller's to put.
func (a *asker) begin(about subject) (had pvd.Ref, q *question, mine bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if had, ok := a.answers[about]; ok && a.clock.Monotonic() < had.until {
		return had.ref, nil, false, nil
	}
	if q := a.open[about]; q != nil {
		return pvd.Null, q, false, nil
	}
	if len(a.open) >= MaxQuestions {
		return pvd.Null, nil, false, fmt.Errorf("%w: %d questions are open", ErrBusy, len(a.open))
	}
	q = &question{done: make(chan struct{}), err: ErrNoAnswer}
	a.open[about] = q
	return pvd.Null, q, true, nil
}

// drop forgets an answer that is no longer good.
func (a *asker) drop(about subject, had pvd.Ref) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.answers[about].ref == had {
		delete(a.answers, about)
	}
}

// settle puts a question, remembers the answer, and tells all who wait, even when put
// panics.
func (a *asker) settle(ctx context.Context, about subject, q *question, put func() (pvd.Ref, error)) {
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.open, about)
		if q.err == nil && a.keep > 0 {
			a.remember(about, q.ref)
		}
		close(q.done)
	}()
	ref, err := put()
	if err != nil {
		ref = pvd.Null
	}
	q.ref, q.err, q.left = ref, err, err != nil && ctx.Err() != nil
}

func (a *asker) remember(about subject, ref pvd.Ref) {
	if max(len(about.app), len(about.destination)) > maxSelectorBytes {
		return // no name is that long
	}
	if _, had := a.answers[about]; !had && len(a.answers) >= MaxAnswers {
		var first subject
		var until time.Duration = 1<<63 - 1
		for s, answer := range a.answers {
			if answer.until < until {
				first, until = s, answer.until
			}
		}
		delete(a.answers, first)
	}
	a.answers[about] = answer{ref: ref, until: a.clock.Monotonic() + a.keep}
}

// Forget forgets all answers, so that the next call of each kind is asked about anew.
func (m *Manager) Forget() {
	m.asker.mu.Lock()
	defer m.asker.mu.Unlock()
	clear(m.asker.answers)
}
