package dns

import (
	"sync"
	"time"
)

// A cache holds answers, those used last, as many as its bounds allow.
type cache struct {
	maxEntries, maxBytes int

	mu      sync.Mutex
	entries map[question]*entry
	used    entry // head of the ring of entries: next is the one used last
	bytes   int
}

type entry struct {
	q          question
	a          *answer
	next, prev *entry
}

func newCache(maxEntries, maxBytes int) *cache {
	c := &cache{maxEntries: maxEntries, maxBytes: maxBytes, entries: make(map[question]*entry)}
	c.used.next, c.used.prev = &c.used, &c.used
	return c
}

// size is what an entry costs in memory, in octets, near enough.
func (e *entry) size() int {
	return entryCost + len(e.q.name) + len(e.a.name) + len(e.a.msg) + cap(e.a.addrs)*24
}

// get returns the answer to q if it still counts, and how old it is.
func (c *cache) get(q question, now func() time.Time) (a *answer, age time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[q]
	if e == nil {
		return nil, 0
	}
	if age = e.a.age(now()); age >= e.a.ttl {
		c.remove(e)
		return nil, 0
	}
	if c.used.next != e {
		e.unlink()
		c.link(e)
	}
	return e.a, age
}

// age returns how old a is at a time. What has been slept through counts, though clocks that
// never go back stand still then; so does what others have set the time of day forward by.
func (a *answer) age(now time.Time) time.Duration {
	return max(now.Sub(a.at), now.Round(0).Sub(a.at.Round(0)))
}

// put keeps a, if it may be kept.
func (c *cache) put(q question, a *answer) {
	e := &entry{q: q, a: a}
	if a.ttl <= 0 || c.maxEntries <= 0 || e.size() > c.maxBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.entries[q]; old != nil {
		c.remove(old)
	}
	for len(c.entries) >= c.maxEntries || c.bytes+e.size() > c.maxBytes {
		c.remove(c.used.prev)
	}
	c.entries[q] = e
	c.bytes += e.size()
	c.link(e)
}

func (c *cache) remove(e *entry) {
	delete(c.entries, e.q)
	c.bytes -= e.size()
	e.unlink()
}

func (c *cache) link(e *entry) {
	e.next, e.prev = c.used.next, &c.used
	e.next.prev, e.prev.next = e, e
}

func (e *entry) unlink() {
	e.next.prev, e.prev.next = e.prev, e.next
	e.next, e.prev = nil, nil
}

// stats returns how many answers there are and what they cost.
func (c *cache) stats() (entries, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries), c.bytes
}
