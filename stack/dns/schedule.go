package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// errTimeout reports a server that did not answer in time.
var errTimeout = fmt.Errorf("no answer: %w", os.ErrDeadlineExceeded)

// ask sends the request by the strategy until a server knows. One that answers but does not
// help is not asked again, one that is silent is. The error is that of the server returned,
// the last one heard of.
func (v *view) ask(ctx context.Context, req *request, note func(Event)) (*answer, Server, error) {
	if v.r.conf.Strategy == Sequential {
		return v.askInTurn(ctx, req, note)
	}
	return v.askBySteps(ctx, req, note)
}

// askInTurn asks one server at a time.
func (v *view) askInTurn(ctx context.Context, req *request, note func(Event)) (a *answer, server Server, err error) {
	servers, timeout := v.ordered(), v.r.conf.Timeout
	var failed [maxServers]bool
	for range maxRounds {
		for i, u := range servers {
			if failed[i] {
				continue
			}
			a, err = u.askFor(ctx, timeout, req, note)
			server = u.Server
			switch {
			case err == nil, errors.Is(err, pvd.ErrNoPvD):
				return a, server, err
			case ctx.Err() != nil:
				return nil, server, context.Cause(ctx)
			}
			failed[i] = !errors.Is(err, errTimeout)
			v.unhelped(u, req, err)
		}
		timeout *= 2
	}
	return nil, server, err
}

func (v *view) unhelped(u *upstream, req *request, err error) {
	v.r.conf.Logger.Debug("dns: server did not help", "op", "lookup", "server", u.Server, "name", req.q.name, "err", err)
}

// A step of a schedule asks servers, those that have not failed so far. What is sent counts
// in later steps, too.
type step struct {
	servers []*upstream
	wait    time.Duration // before the next step, unless all have answered
}

// schedule returns the steps of a strategy.
func (v *view) schedule() []step {
	servers, t := v.ordered(), v.r.conf.Timeout
	if v.r.conf.Strategy == Parallel || len(servers) == 0 {
		return []step{{servers, t}, {servers, 2 * t}, {servers, 4 * t}}
	}
	return []step{{servers[:1], t}, {v.primaries(servers), 2 * t}, {servers, 4 * t}, {servers, 8 * t}}
}

// ordered returns the servers with those last that do not answer at the moment.
func (v *view) ordered() []*upstream {
	if len(v.servers) < 2 {
		return v.servers
	}
	now := v.r.conf.Clock.Monotonic()
	servers := slices.Clone(v.servers)
	slices.SortStableFunc(servers, func(a, b *upstream) int { return cmp.Compare(a.downFor(now), b.downFor(now)) })
	return servers
}

// primaries returns the first server of each link.
func (v *view) primaries(servers []*upstream) (first []*upstream) {
	var seen []string
	for _, u := range servers {
		link := u.Addr.Addr().Zone()
		if v.r.conf.Link != nil {
			link = v.r.conf.Link(u.Addr.Addr())
		}
		if !slices.Contains(seen, link) {
			seen = append(seen, link)
			first = append(first, u)
		}
	}
	return first
}

// A reply is what became of asking one server once.
type reply struct {
	from *upstream
	a    *answer
	err  error
}

// An asking is one request on its way through the steps.
type asking struct {
	v       *view
	req     *request
	note    func(Event)
	replies chan reply
	waiting map[*upstream]int // how many replies are still to come
	failed  map[*upstream]bool
	last    reply
}

// askBySteps asks several servers at once.
func (v *view) askBySteps(ctx context.Context, req *request, note func(Event)) (*answer, Server, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	steps := v.schedule()
	n := 0
	for _, s := range steps {
		n += len(s.servers)
	}
	k := asking{
		v: v, req: req, note: note,
		replies: make(chan reply, n), // whoever is late has to end, too
		waiting: make(map[*upstream]int), failed: make(map[*upstream]bool),
	}
	for _, s := range steps {
		if done := k.take(ctx, s); done {
			return k.last.a, k.last.server(), k.last.err
		}
	}
	cancel(errTimeout)
	for len(k.waiting) > 0 {
		k.got(<-k.replies)
	}
	return nil, k.last.server(), k.last.err
}

// take goes one step and reports whether it was the last one needed.
func (k *asking) take(ctx context.Context, s step) (done bool) {
	for _, u := range s.servers {
		if k.failed[u] {
			continue
		}
		k.waiting[u]++
		go func() { // ends with ctx
			a, err := u.ask(ctx, k.req, k.note)
			k.replies <- reply{u, a, err}
		}()
	}
	next := make(chan struct{})
	defer k.v.r.conf.Clock.AfterFunc(s.wait, func() { close(next) }).Stop()
	for len(k.waiting) > 0 {
		select {
		case <-next:
			for u := range k.waiting {
				u.silent()
			}
			return false
		case <-ctx.Done():
			k.last.err = context.Cause(ctx)
			return true
		case re := <-k.replies:
			k.got(re)
			if ctx.Err() != nil && re.err != nil {
				k.last.err = context.Cause(ctx)
				return true
			}
			if re.err == nil || errors.Is(re.err, pvd.ErrNoPvD) {
				return true
			}
		}
	}
	return false
}

func (k *asking) got(re reply) {
	if k.waiting[re.from]--; k.waiting[re.from] == 0 {
		delete(k.waiting, re.from)
	}
	k.last = re
	if re.err != nil {
		k.failed[re.from] = k.failed[re.from] || !errors.Is(re.err, errTimeout)
		k.v.unhelped(re.from, k.req, re.err)
	}
}

func (re reply) server() Server {
	if re.from == nil {
		return Server{}
	}
	return re.from.Server
}
