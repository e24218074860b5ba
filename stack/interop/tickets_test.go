package interop_test

import (
	"crypto/tls"
	"sync/atomic"
	"testing"
)

// A ticketCache is a session cache that counts what is put in: a session can be resumed
// from then on, which is some time after the handshake.
type ticketCache struct {
	tls.ClientSessionCache
	puts atomic.Int64
}

func (c *ticketCache) Put(key string, s *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, s)
	if s != nil {
		c.puts.Add(1)
	}
}

// notingTickets gives a config such a cache.
func notingTickets(config *tls.Config) *tls.Config {
	config.ClientSessionCache = &ticketCache{ClientSessionCache: tls.NewLRUClientSessionCache(0)}
	return config
}

// awaitTicket waits until there is a session that no earlier call waited for.
func awaitTicket(t *testing.T, config *tls.Config) {
	t.Helper()
	cache := config.ClientSessionCache.(*ticketCache)
	until(t, "a session ticket comes", func() bool { return cache.puts.Load() > 0 })
	cache.puts.Store(0)
}
