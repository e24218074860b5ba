package selection_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	. "github.com/pvdstack/pvdstack/pvd/selection"
)

// A policy is one that a test changes.
type policy struct{ atomic.Pointer[pvd.Policy] }

func (p *policy) permits(app string) func(*pvd.Info) bool { return p.Load().Permits(app) }

// keep has some PvDs kept from an application.
func (p *policy) keep(app string, what pvd.Permission, pvds ...string) {
	p.Store(&pvd.Policy{Rules: []pvd.PolicyRule{{Apps: []string{app}, PvDs: pvds, What: what}}})
}

// R23: what is chosen for an application is what it may use, by every kind of rule.
func TestR23_Permit(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		var p policy
		m := w.manager(Config{
			Permit: p.permits,
			Apps:   map[string]Policy{"game": {Order: []pvd.Technology{pvd.WLAN}}},
			Rules: []Rule{
				{Ports: []Ports{{First: 1}}, Action: Choose(Require(Named("corp"))).OrNext()},
				{Ports: []Ports{{First: 2}}, Action: chooseNamed("corp")},
				{Ports: []Ports{{First: 3}}, Action: Choose().By(Policy{Tie: TieSpread})},
				{Ports: []Ports{{First: 4}}, Action: Choose().Opening()},
				{Action: Choose()},
			},
		})
		w.add("corp", access(pvd.Wired), id("corp.example"))
		w.add("home", access(pvd.WLAN))
		w.add("cell", access(pvd.Cellular))
		at := func(app string, port uint16, want string) {
			t.Helper()
			w.selects(m, by(app, to("192.0.2.1", port)), want)
		}
		at("game", 9, "home")
		for _, what := range []pvd.Permission{pvd.Denied, pvd.Hidden} {
			for _, app := range []string{"mail", "ma*"} {
				p.keep(app, what, "corp.example")
				for port, want := range []string{"home", "home", "", "", "home"} {
					if want != "" {
						at("mail", uint16(port), want)
					}
					at("other", uint16(max(1, port%3)), "corp")
				}
				for i := range 50 {
					ref, err := m.SelectPvD(t.Context(), by("mail", to(fmt.Sprint("192.0.2.", i), 3)))
					if name := w.name(ref); err != nil || name == "corp" {
						t.Errorf("%s, %v", name, err)
					}
				}
				_, err := m.SelectPvD(t.Context(), by("mail", to("192.0.2.1", 2)))
				if none, ok := errors.AsType[*NoneError](err); !ok || len(none.Candidates) != 2 || strings.Contains(err.Error(), "; corp") {
					t.Errorf("%v mentions what may be hidden", err)
				}
			}
		}
		p.keep("game", pvd.Denied, "home")
		at("game", 9, "corp") // by its own policy, which knows WLAN only
		p.keep("game", pvd.Denied, "*")
		if ref, err := m.SelectPvD(t.Context(), by("game", to("192.0.2.1", 9))); err == nil {
			t.Errorf("%v, although it may use none", ref)
		}
		p.Store(nil)
		at("game", 9, "home")
	})
}

// R23: nobody is asked about what the application may not use, and an answer counts only as
// long as it may.
func TestR23_PermitAsk(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		var p policy
		who := &person{answer: func(q Question) (pvd.Ref, error) { return q.Choices[0].Ref(), nil }}
		m := w.manager(Config{Permit: p.permits, Ask: who.ask, Rules: []Rule{{Action: Ask()}}})
		w.add("corp")
		w.add("home")
		call := by("game", to("192.0.2.1", 80))
		w.selects(m, call, "corp")
		w.selects(m, call, "corp")
		p.keep("game", pvd.Hidden, "corp")
		w.selects(m, call, "home")
		if n := who.questions(); n != 2 || len(who.asked[0].Choices) != 2 || len(who.asked[1].Choices) != 1 {
			t.Errorf("%d questions: %+v", n, who.asked)
		}
		// What was not among the choices can not be the answer.
		corp := w.reg.List()[0]
		who.answer = func(Question) (pvd.Ref, error) { return corp, nil }
		m.Forget()
		if ref, err := m.SelectPvD(t.Context(), call); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("%v, %v", ref, err)
		}
		p.keep("game", pvd.Hidden, "*")
		if _, err := m.SelectPvD(t.Context(), call); err == nil || strings.Contains(err.Error(), "corp") || who.questions() != 3 {
			t.Errorf("%v, %d questions", err, who.questions())
		}
	})
}

// R23: no network is opened for who may not use it, and no lease is had on one. Who waits
// hears of another policy.
func TestR23_PermitAcquire(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		var p policy
		wlan, modem, fax := w.radio("wlan", pvd.Cost.With(1)), w.radio("modem", pvd.Cost.With(2)), w.radio("fax")
		modem.offer.Resource, fax.offer.Resource = "line", "line"
		m := w.manager(Config{
			Permit: p.permits, Providers: []Provider{wlan, modem, fax},
			Policy: Policy{Criteria: []Criterion{Lowest(pvd.Cost)}},
		})
		p.keep("game", pvd.Hidden, "wlan", "fax")
		l := acquire(t, m, Request{App: "game"})
		if got := w.name(l.Ref()); got != "modem" {
			t.Errorf("the lease is on %s", got)
		}
		wlan.expect(t, 0, 0)
		l.Release()
		time.Sleep(IdleTime)
		modem.expect(t, 1, 1)

		open := acquire(t, m, Request{App: "mail", Requirements: Requirements{Require(Named("fax"))}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := m.Acquire(ctx, Request{App: "game"})
		if !errors.Is(err, ErrBusy) || strings.Contains(err.Error(), "fax") || strings.Contains(err.Error(), "wlan") {
			t.Error(err)
		}
		got := make(chan *Lease)
		go func() {
			l, err := m.Acquire(t.Context(), Request{App: "game"})
			if err != nil {
				t.Error(err)
			}
			got <- l
		}()
		synctest.Wait()
		p.Store(nil)
		time.Sleep(time.Hour)
		select {
		case l := <-got:
			t.Errorf("a lease on %s, of a policy that nobody was told of", w.name(l.Ref()))
		default:
		}
		m.Reconsider()
		if name := w.name((<-got).Ref()); name != "fax" {
			t.Errorf("the lease is on %s", name)
		}
		open.Release()
	})
}
