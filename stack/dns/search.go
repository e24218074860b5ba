package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	wire "github.com/miekg/dns"
)

// A task is one question of somebody who asks, and what became of it.
type task struct {
	q    question
	f    *flight // nil when nobody has to be waited for
	a    *answer
	info Info
	err  error
	told bool // whoever wants to know at once has been told
}

// begin takes the answer from the cache, or has the question asked.
func (v *view) begin(q question) task {
	t := task{q: q}
	if a, age := v.cache.get(q, v.r.conf.Clock.Now); a != nil {
		t.a, t.err = a, a.err
		t.info = Info{Cache: Hit, Server: a.server, TTL: a.ttl - age}
		return t
	}
	var joined bool
	if t.f, joined = v.join(q); joined {
		t.info.Cache = Joined
	}
	return t
}

// finish takes the result of a flight that has landed.
func (t *task) finish() {
	t.a, t.err, t.info.Server = t.f.a, t.f.err, t.f.server
	if t.err == nil {
		t.err, t.info.RTT, t.info.TTL = t.a.err, t.a.rtt, t.a.ttl
	}
}

// message returns the answer as a message of the caller's own. The first one to ask gets what
// has been read anyway.
func (t *task) message() (*wire.Msg, error) {
	age := t.a.ttl - t.info.TTL
	if t.f != nil {
		if m := t.f.parsed.Swap(nil); m != nil {
			count(m, age)
			return m, nil
		}
	}
	return t.a.copyOf(age)
}

// wait waits for all tasks, or until there are addresses and the rest has had its time, or
// the name does not exist, or ctx ends. If tell is not nil, it is called with each task that
// has something as it comes.
func (v *view) wait(ctx context.Context, tasks []task, tell func(*task)) {
	defer v.report(ctx, tasks)
	var late chan struct{}
	for {
		var landed [2]<-chan struct{}
		waiting, have := false, false
		for i := range tasks {
			t := &tasks[i]
			if t.f != nil && !t.landed() {
				landed[i], waiting = t.f.done, true
				continue
			}
			if t.err == nil {
				have = true
				if tell != nil && !t.told {
					t.told = true
					tell(t)
				}
			}
		}
		switch {
		case !waiting:
			return
		case !have && slices.ContainsFunc(tasks, task.nameless):
			says := tasks[slices.IndexFunc(tasks, task.nameless)].info.Server
			for _, t := range v.abandon(tasks, errNoName) {
				t.info.Server = says
			}
			return
		}
		if have && late == nil {
			late = make(chan struct{})
			defer v.r.conf.Clock.AfterFunc(v.r.straggler(), func() { close(late) }).Stop()
		}
		select {
		case <-landed[0]:
		case <-landed[1]:
		case <-late:
			v.abandon(tasks, errTimeout)
			return
		case <-ctx.Done():
			if tell != nil && have {
				v.forsake(tasks, ended(ctx))
				return
			}
			v.abandon(tasks, ended(ctx))
			return
		}
	}
}

// straggler is how long the addresses of one family wait for the other's answer: enough for
// one retransmission, as servers that ignore AAAA queries exist. Who dials does not wait, and
// uses late answers (RFC 8305 section 3).
func (r *Resolver) straggler() time.Duration { return r.conf.Timeout + r.conf.Timeout/2 }

// landed reports whether the task's flight is over, and takes its result.
func (t *task) landed() bool {
	select {
	case <-t.f.done:
		t.finish()
		return true
	default:
		return false
	}
}

// abandon ends those of the tasks that wait still, with an error, and returns them.
func (v *view) abandon(tasks []task, err error) (left []*task) {
	for i := range tasks {
		if t := &tasks[i]; t.f != nil && !t.landed() {
			t.err = err
			v.leave(t.q, t.f)
			left = append(left, t)
		}
	}
	return left
}

// forsake is abandon for tasks whose answers somebody may want soon.
func (v *view) forsake(tasks []task, err error) {
	for i := range tasks {
		if t := &tasks[i]; t.f != nil && !t.landed() {
			t.err = err
			q, f := t.q, t.f
			v.r.conf.Clock.AfterFunc(afterlife, func() { v.leave(q, f) })
		}
	}
}

// nameless reports whether the answer says that there is no such name, of whatever type (RFC
// 2308 section 2.1). An answer about AAAA records does not count: there are servers to which
// a name does not exist when it has none (RFC 4074 section 4.2).
func (t task) nameless() bool { return t.q.qtype != wire.TypeAAAA && errors.Is(t.err, errNoName) }

// report tells the one who traces what has happened so far.
func (v *view) report(ctx context.Context, tasks []task) {
	f, _ := ctx.Value(traceKey{}).(func(Event))
	if f == nil {
		return
	}
	for _, t := range tasks {
		if t.f == nil {
			f(Event{
				Question: t.q.public(), Cache: Hit, Server: t.info.Server, Begin: v.r.conf.Clock.Now(),
				Rcode: t.a.rcode, TTL: t.info.TTL, Err: t.err,
			})
			continue
		}
		t.f.mu.Lock()
		events := slices.Clone(t.f.events)
		t.f.mu.Unlock()
		for _, e := range events {
			e.Cache = t.info.Cache
			f(e)
		}
	}
}

// ended returns why ctx has ended: its error, with its cause where that says more.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// search looks for records of any of the types, by the names that host may stand for, until
// one of them has some. All types of a name are asked for at once. The error is nil if a
// task's is, else a *net.DNSError. If tell is not nil, it is called with each task that has
// records, once there are some.
func (r *Resolver) search(ctx context.Context, host string, tell func(*task), types ...uint16) ([]task, error) {
	if err := ctx.Err(); err != nil {
		return nil, dnsError(host, Server{}, ended(ctx))
	}
	conf := r.conf.DNS()
	v, err := r.view(conf)
	if err != nil {
		return nil, dnsError(host, Server{}, err)
	}
	if len(v.servers) == 0 {
		return nil, dnsError(host, Server{}, errNoServer)
	}
	for name := range candidates(host, conf.Search, r.conf.Ndots) {
		tasks := make([]task, len(types))
		for i, t := range types {
			tasks[i] = v.begin(internet(name, t))
		}
		v.wait(ctx, tasks, tell)
		worst := slices.MaxFunc(tasks, func(a, b task) int { return cmp.Compare(telling(a.err), telling(b.err)) })
		if telling(worst.err) == found {
			return tasks, nil
		}
		err = worst.err
		if ctx.Err() != nil {
			err = ended(ctx)
		}
		failed := dnsError(host, worst.info.Server, err)
		// Were it taken for one that does not exist, a name could lead elsewhere whenever its
		// server fails.
		if !failed.IsNotFound {
			return nil, failed
		}
		err = failed
	}
	if err == nil { // there was no candidate
		err = dnsError(host, Server{}, errBadName)
	}
	return nil, err
}

// How much an outcome tells of a name, when there are several.
const (
	noData = iota
	unknown
	noName
	found
)

// telling ranks the outcome of a task: that the name does not exist tells more than that it
// could not be found out.
func telling(err error) int {
	switch {
	case err == nil:
		return found
	case errors.Is(err, errNoName):
		return noName
	case errors.Is(err, errNoData):
		return noData
	}
	return unknown
}
