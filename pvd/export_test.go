package pvd

// What tests need to know of Refs and of watchers.
const (
	RefBits   = refBits
	WakeCost  = wakeCost
	WakeBurst = wakeBurst
)

// Watchers returns how many loops there are over what Watch returned, as the dispatcher
// knows them.
func (r *Registry) Watchers() int {
	r.watchers.mu.Lock()
	defer r.watchers.mu.Unlock()
	all := make(map[*watcher]bool)
	for _, ws := range r.watchers.watching {
		for w := range ws {
			all[w] = true
		}
	}
	return max(len(all), int(r.watchers.count.Load()))
}
