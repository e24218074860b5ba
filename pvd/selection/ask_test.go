package selection_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	. "github.com/pvdstack/pvdstack/pvd/selection"
)

// A person answers questions as a test says.
type person struct {
	mu     sync.Mutex
	asked  []Question
	answer func(Question) (pvd.Ref, error)
	slow   time.Duration
}

func (p *person) ask(ctx context.Context, q Question) (pvd.Ref, error) {
	p.mu.Lock()
	p.asked = append(p.asked, q)
	p.mu.Unlock()
	select {
	case <-time.After(p.slow):
		return p.answer(q)
	case <-ctx.Done():
		return pvd.Null, ctx.Err()
	}
}

func (p *person) questions() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked)
}

// P2, P55: the user is asked when nothing else decides, once about each thing.
func TestP2_Ask(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		corp, home := w.add("corp"), w.add("home")
		w.add("unusable", down)
		p := &person{slow: time.Second, answer: func(q Question) (pvd.Ref, error) { return q.Choices[len(q.Choices)-1].Ref(), nil }}
		m := w.manager(Config{
			Ask:        p.ask,
			AnswerTime: time.Hour,
			Rules: []Rule{
				{Apps: []string{"mms"}, Action: chooseNamed("corp")}, // statically
				{Apps: []string{"auto"}, Action: Choose()},           // automatically
				{Action: Ask()},
			},
		})
		call := by("browser", to("wiki.example", 80))
		w.selects(m, by("mms", call), "corp")
		w.selects(m, by("auto", call), "corp")
		if p.questions() != 0 {
			t.Fatalf("%d questions", p.questions())
		}
		var all sync.WaitGroup
		for range 10 { // all wait for the one answer
			all.Go(func() { w.selects(m, call, "home") })
		}
		all.Wait()
		w.selects(m, by("browser", to("WIKI.example.", 443)), "home")
		if p.questions() != 1 {
			t.Fatalf("%d questions", p.questions())
		}
		q := p.asked[0]
		if q.Call != call || len(q.Choices) != 2 || q.Choices[0].Ref() != corp || q.Choices[1].Ref() != home {
			t.Errorf("%+v", q)
		}
		w.selects(m, by("browser", to("192.0.2.1", 80)), "home")
		w.selects(m, by("other", call), "home")
		if p.questions() != 3 {
			t.Errorf("%d questions", p.questions())
		}
		time.Sleep(time.Hour)
		w.selects(m, call, "home")
		if p.questions() != 4 {
			t.Errorf("%d questions: an answer was remembered for too long", p.questions())
		}
		m.Forget()
		w.selects(m, call, "home")
		w.remove(home) // and with it the answer
		w.selects(m, call, "corp")
		if p.questions() != 6 {
			t.Errorf("%d questions", p.questions())
		}
		w.remove(corp)
		if _, err := m.SelectPvD(t.Context(), call); err == nil || p.questions() != 6 {
			t.Errorf("%v: a question without choices", err)
		}
	})
}

// A refusal is an answer; a person who does not answer, or nonsense, is none.
func TestAnswers(t *testing.T) {
	errAway := errors.New("away")
	inTime(t, func(t *testing.T, w *world) {
		w.add("a")
		gone := w.add("gone")
		w.remove(gone)
		var answer pvd.Ref
		var fail error
		p := &person{answer: func(Question) (pvd.Ref, error) { return answer, fail }}
		m := w.manager(Config{Ask: p.ask, Rules: []Rule{{Action: Ask()}}})
		for _, tt := range []struct {
			answer    pvd.Ref
			fail      error
			want      error
			questions int // that two calls lead to
		}{
			{pvd.Null, nil, nil, 1},
			{pvd.SystemDefault, nil, nil, 1},
			{gone, nil, ErrNoAnswer, 2},
			{pvd.All, nil, ErrNoAnswer, 2},
			{pvd.Unspecified, nil, ErrNoAnswer, 2},
			{pvd.Null, errAway, errAway, 2},
		} {
			m.Forget()
			answer, fail = tt.answer, tt.fail
			had := p.questions()
			for range 2 {
				ref, err := m.SelectPvD(t.Context(), pvd.Call{})
				if !errors.Is(err, tt.want) || err == nil && ref != tt.answer {
					t.Errorf("%v, %v: %v, %v", tt.answer, tt.fail, ref, err)
				}
			}
			if n := p.questions() - had; n != tt.questions {
				t.Errorf("%v, %v: %d questions, want %d", tt.answer, tt.fail, n, tt.questions)
			}
		}
	})
}

// Who gives up does not take the question from those who still wait.
func TestAskGivenUp(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		a := w.add("a")
		p := &person{slow: 6 * time.Second, answer: func(Question) (pvd.Ref, error) { return a, nil }}
		m := w.manager(Config{Ask: p.ask, Rules: []Rule{{Action: Ask()}}})
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(4+i*10)*time.Second)
				defer cancel()
				if i > 0 {
					time.Sleep(time.Second) // the first one asks
				}
				ref, err := m.SelectPvD(ctx, pvd.Call{})
				if i == 0 && !errors.Is(err, context.DeadlineExceeded) || i > 0 && (err != nil || ref != a) {
					t.Errorf("%d: %v, %v", i, ref, err)
				}
			})
		}
		all.Wait()
		if p.questions() != 2 {
			t.Errorf("%d questions", p.questions())
		}
	})
}

func TestAskLimits(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		a := w.add("a")
		p := &person{answer: func(Question) (pvd.Ref, error) { return a, nil }}
		m := w.manager(Config{Ask: p.ask, Rules: []Rule{{Action: Ask()}}})
		call := func(i int) pvd.Call { return to(fmt.Sprintf("host%d.example", i), 80) }
		for i := range MaxAnswers + 1 {
			time.Sleep(time.Second)
			w.selects(m, call(i), "a")
		}
		w.selects(m, call(MaxAnswers), "a")
		w.selects(m, call(1), "a")
		if p.questions() != MaxAnswers+1 {
			t.Errorf("%d questions", p.questions())
		}
		w.selects(m, call(0), "a") // the oldest had to make room
		if p.questions() != MaxAnswers+2 {
			t.Errorf("%d questions", p.questions())
		}
		m.Forget()
		p.slow = time.Hour
		var all sync.WaitGroup
		for i := range MaxQuestions {
			all.Go(func() { w.selects(m, call(i), "a") })
		}
		synctest.Wait()
		if _, err := m.SelectPvD(t.Context(), call(MaxQuestions)); !errors.Is(err, ErrBusy) {
			t.Error(err)
		}
		all.Go(func() { w.selects(m, call(0), "a") }) // that is asked already
		all.Wait()
	})
}

// A callback that panics leaves nobody waiting.
func TestAskPanics(t *testing.T) {
	w := newWorld(t)
	w.add("a")
	m := w.manager(Config{
		Ask:   func(context.Context, Question) (pvd.Ref, error) { panic("no") },
		Rules: []Rule{{Action: Ask()}},
	})
	for range 2 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_, _ = m.SelectPvD(t.Context(), pvd.Call{})
		}()
	}
}

// Two rules ask about the same destination at once, each for something else: the answer to one
// question is no answer to the other.
func TestAskForOtherThings(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.add("wired", access(pvd.Wired))
		w.add("wlan", access(pvd.WLAN))
		p := &person{slow: time.Second, answer: func(q Question) (pvd.Ref, error) { return q.Choices[0].Ref(), nil }}
		m := w.manager(Config{Ask: p.ask, Rules: []Rule{
			{Ports: []Ports{{First: 1}}, Action: Ask(Require(Technologies(pvd.Wired)))},
			{Ports: []Ports{{First: 2}}, Action: Ask(Require(Technologies(pvd.WLAN)))},
			{Ports: []Ports{{First: 3}}, Action: Ask(Require(AnyCellular))},
		}})
		var all sync.WaitGroup
		for i, want := range []string{"wired", "wlan"} {
			all.Go(func() { w.selects(m, to("192.0.2.1", uint16(1+i)), want) })
		}
		all.Go(func() {
			time.Sleep(time.Millisecond)
			if ref, err := m.SelectPvD(t.Context(), to("192.0.2.1", 3)); err == nil {
				t.Errorf("%s is cellular", w.name(ref))
			}
		})
		all.Wait()
		if n := p.questions(); n != 2 {
			t.Errorf("%d questions, want 2", n)
		}
	})
}

// Names that are none do not fill the memory: what is asked about them is asked each time.
func TestAskNoLongNames(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.add("wired")
		p := &person{answer: func(q Question) (pvd.Ref, error) { return q.Choices[0].Ref(), nil }}
		m := w.manager(Config{Ask: p.ask, Rules: []Rule{{Action: Ask()}}})
		for range 2 {
			w.selects(m, to(strings.Repeat("a.", 200)+"example", 80), "wired")
		}
		if n := p.questions(); n != 2 {
			t.Errorf("%d questions, want 2", n)
		}
		for range 2 {
			w.selects(m, to(strings.Repeat("a.", 120)+"example", 80), "wired")
		}
		if n := p.questions(); n != 3 {
			t.Errorf("%d questions, want 3", n)
		}
	})
}
