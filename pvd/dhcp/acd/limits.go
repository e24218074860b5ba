package acd

import "time"

// The times and counts of RFC 5227 section 1.1.
const (
	probeWait        = time.Second // before the first probe, at most
	probeNum         = 3
	probeMin         = time.Second // between probes
	probeMax         = 2 * time.Second
	announceWait     = 2 * time.Second // after the last probe
	announceNum      = 2
	announceInterval = 2 * time.Second
	defendInterval   = 10 * time.Second

	// MaxConflicts after which whoever looks for an address slows down, to one attempt
	// per RateLimitInterval.
	MaxConflicts      = 10
	RateLimitInterval = 60 * time.Second
)
