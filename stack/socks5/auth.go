package socks5

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// accounts are the users and passwords that are good, kept so that comparing takes the
// same time whatever is right about a guess.
type accounts struct {
	key  [sha256.Size]byte
	sums [][sha256.Size]byte
}

func newAccounts(users map[string]string) *accounts {
	a := new(accounts)
	_, _ = rand.Read(a.key[:]) // never fails
	for user, password := range users {
		a.sums = append(a.sums, a.sum(user, password))
	}
	return a
}

// sum is a keyed hash of the two, neither longer than 255 octets.
func (a *accounts) sum(user, password string) (s [sha256.Size]byte) {
	h := hmac.New(sha256.New, a.key[:])
	h.Write([]byte{byte(len(user))})
	h.Write([]byte(user))
	h.Write([]byte(password))
	h.Sum(s[:0])
	return s
}

func (a *accounts) check(user, password string) bool {
	sum := a.sum(user, password)
	found := 0
	for i := range a.sums {
		found |= subtle.ConstantTimeCompare(sum[:], a.sums[i][:])
	}
	return found == 1
}

// clientOf returns what clients are told apart by: an IPv4 address or an IPv6 /64,
// which is as little as one subscriber has. Clients without IP address are all one.
func clientOf(a net.Addr) netip.Prefix {
	ip, ok := a.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.Prefix{}
	}
	addr := ip.AddrPort().Addr().WithZone("").Unmap()
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // the zero Prefix for the zero Addr
	return p
}

// offenders remembers which clients failed to authenticate, and how often.
type offenders struct {
	clock pvd.Clock

	mu sync.Mutex
	// clear is the time at which the client's failures are all forgiven; each one moves
	// it by authInterval.
	clear map[netip.Prefix]time.Duration
}

func newOffenders(clock pvd.Clock) *offenders {
	return &offenders{clock: clock, clear: make(map[netip.Prefix]time.Duration)}
}

// fail counts a failure of client beforehand, so that guesses made side by side count
// too, and reports whether the client may have one more. [offenders.forgive] takes it back.
func (o *offenders) fail(client netip.Prefix) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.clock.Monotonic()
	at := max(o.clear[client], now) + authInterval
	if at-now > authFailures*authInterval {
		return false
	}
	if _, known := o.clear[client]; !known && len(o.clear) >= maxOffenders {
		o.makeRoom(now)
	}
	o.clear[client] = at
	return true
}

// forgive takes back a failure of client that was counted and did not happen.
func (o *offenders) forgive(client netip.Prefix) {
	o.mu.Lock()
	defer o.mu.Unlock()
	at, known := o.clear[client]
	if !known {
		return
	}
	if at -= authInterval; at <= o.clock.Monotonic() {
		delete(o.clear, client)
		return
	}
	o.clear[client] = at
}

// makeRoom forgets the clients whose failures are forgiven, or else any one of them.
func (o *offenders) makeRoom(now time.Duration) {
	before := len(o.clear)
	for client, at := range o.clear {
		if at <= now {
			delete(o.clear, client)
		}
	}
	if len(o.clear) < before {
		return
	}
	for client := range o.clear {
		delete(o.clear, client)
		return
	}
}
