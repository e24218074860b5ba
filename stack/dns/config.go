package dns

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Config says how a [Resolver] is to work. DNS and Dial are required.
type Config struct {
	// DNS returns the PvD's servers and search list as they are now. Each lookup calls it
	// once. What it returns must not be changed afterwards.
	DNS func() pvd.DNS

	// Encrypted returns the PvD's servers that are spoken to by encrypted protocols, as they
	// are now; nil: it has none. Where one can be spoken to, over TLS or HTTPS, the servers
	// of DNS are not asked at all: who could keep us from the encrypted ones would read and
	// forge everything else. What it returns must not be changed afterwards.
	Encrypted func() []pvd.EncryptedServer

	// Dial makes a connection in the PvD, as [pvd.Dialer] does. The network is "udp" or
	// "tcp", the address that of a server, never a name. Each query over UDP is a call, so
	// that its port is new and, if the PvD has them be so, random. A UDP connection must
	// return only what the server has sent.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Link returns the name of the link by which a server is reached, for [Escalation]; nil:
	// the zone of its address.
	Link func(server netip.Addr) string

	// Clock may be nil: pvd.SystemClock().
	Clock pvd.Clock

	// Logger may be nil: discard. What servers do is logged at debug level.
	Logger *slog.Logger

	// Random is where IDs and what else nobody must guess come from, some in advance. Nil:
	// crypto/rand.
	Random io.Reader

	// RootCAs are whom the certificates of encrypted servers may come from; nil: those that
	// the system trusts.
	RootCAs *x509.CertPool

	// Strategy is the order in which servers are asked.
	Strategy Strategy

	// Timeout is what a server has to answer in the first time, by which the schedules of
	// all strategies scale. 0: one second.
	Timeout time.Duration

	// Ndots is how many dots make a name absolute. One with fewer is tried in the domains of
	// the search list first, then as it is. 0: 1.
	Ndots int

	// MixCase has the case of the letters in queries be random, and answers to be in the
	// same (draft-vixie-dnsext-dns0x20), at the price of a second query by TCP to servers
	// that do not keep the case.
	MixCase bool

	// MaxEntries and MaxBytes bound the cache; 0: [DefaultEntries] and [DefaultBytes];
	// negative: no cache.
	MaxEntries, MaxBytes int
}

// A Strategy is the order and the pace in which servers are asked for one name. The times
// are those for a [Config] Timeout of one second.
type Strategy uint8

const (
	// Sequential asks one server after the other, the first one first, in three rounds. A
	// server has 1 s to answer in the first round, 2 s in the second, 4 s in the third. One
	// that answers that it can not help is followed by the next one at once and not asked
	// again; one that was silent for an earlier name comes last for a while.
	Sequential Strategy = iota

	// Escalation asks the first server; after 1 s without an answer the first server of each
	// link; after 2 s more all servers; after 4 s more all again; and gives up after 8 s
	// more, at 15 s (RFC 6419 section 3.2.1.1). Whichever answers first counts.
	Escalation

	// Parallel asks all servers at once, those that are silent again after 1 s and 3 s, and
	// gives up after 7 s. Whichever answers first counts.
	Parallel
)

// String returns the strategy's name in lower case.
func (s Strategy) String() string {
	switch s {
	case Escalation:
		return "escalation"
	case Parallel:
		return "parallel"
	default:
		return "sequential"
	}
}

// ParseStrategy returns the strategy of a name; the empty one is that of Sequential.
func ParseStrategy(name string) (Strategy, error) {
	for _, s := range []Strategy{Sequential, Escalation, Parallel} {
		if name == s.String() {
			return s, nil
		}
	}
	if name == "" {
		return Sequential, nil
	}
	return Sequential, fmt.Errorf("dns: no strategy %q: want sequential, escalation or parallel", name)
}
