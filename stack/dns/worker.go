package dns

import "github.com/pvdstack/pvdstack/pvd"

// work has f called in another goroutine. One that has just been at work has a stack that is
// large enough for a query already; to make it grow is an eighth of what a query costs.
func (r *Resolver) work(f func()) {
	select {
	case r.tasks <- f:
	default:
		go r.worker(f) // ends when there is no more for a while, or with the resolver
	}
}

func (r *Resolver) worker(f func()) {
	var idle chan struct{} // closed by timer
	var timer pvd.Timer
	for {
		f()
		if timer == nil {
			over := make(chan struct{})
			idle, timer = over, r.conf.Clock.AfterFunc(workerIdle, func() { close(over) })
		} else {
			timer.Reset(workerIdle)
		}
		select {
		case f = <-r.tasks:
			if !timer.Stop() {
				timer = nil // it has just gone off
			}
		case <-idle:
			return
		case <-r.ctx.Done():
			timer.Stop()
			return
		}
	}
}
