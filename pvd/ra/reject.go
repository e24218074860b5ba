package ra

import (
	"net/netip"
	"slices"
	"time"
)

// A Rejection is something that a router said and that was not used.
type Rejection struct {
	Router netip.Addr    // who said it
	Why    string        // what, and by which rule it was refused
	Count  uint64        // how often
	Last   time.Duration // when last
}

// rejections are the latest of each kind, the oldest first.
type rejections struct {
	list  []Rejection
	total uint64
}

func (r *rejections) add(now time.Duration, router netip.Addr, why string) {
	r.total++
	same := func(j Rejection) bool { return j.Router == router && j.Why == why }
	entry := Rejection{Router: router, Why: why}
	if i := slices.IndexFunc(r.list, same); i >= 0 {
		entry = r.list[i]
		r.list = slices.Delete(r.list, i, i+1)
	} else if len(r.list) >= MaxRejections {
		r.list = slices.Delete(r.list, 0, 1)
	}
	entry.Count++
	entry.Last = now
	r.list = append(r.list, entry)
}
