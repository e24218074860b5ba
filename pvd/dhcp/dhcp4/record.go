package dhcp4

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// recordVersion is that of the format below.
const recordVersion = 1

// record is a lease as a file has it: the message that gave it, so that what is read back
// goes through the same checks as what arrives.
type record struct {
	Version  int       `json:"version"`
	Obtained time.Time `json:"obtained"`
	Message  []byte    `json:"message"`
}

// Record returns a lease as JSON, for [ParseRecord] after a restart. The time of day is
// wall where the machine's is now.
func (l *Lease) Record(wall time.Time, now time.Duration) ([]byte, error) {
	b, err := json.Marshal(record{recordVersion, wall.Add(l.Obtained - now).UTC(), l.ack})
	if err != nil {
		return nil, fmt.Errorf("dhcp4: lease record: %w", err)
	}
	return b, nil
}

// ParseRecord reads a lease that [Lease.Record] has written. One that is over, or comes
// from the future, is an error.
func ParseRecord(b []byte, wall time.Time, now time.Duration) (*Lease, error) {
	l, err := parseRecord(b, wall, now)
	if err != nil {
		return nil, fmt.Errorf("dhcp4: lease record: %w", err)
	}
	return l, nil
}

func parseRecord(b []byte, wall time.Time, now time.Duration) (*Lease, error) {
	if len(b) > maxRecord {
		return nil, fmt.Errorf("%d octets, at most %d are read", len(b), maxRecord)
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("version %d, not %d", r.Version, recordVersion)
	}
	age := wall.Sub(r.Obtained)
	if age < 0 {
		return nil, errors.New("from the future")
	}
	m, err := Parse(r.Message)
	if err != nil {
		return nil, err
	}
	if m.Op != opReply || m.Type() != Ack {
		return nil, errors.New("not a DHCPACK")
	}
	l, err := newLease(m, now-age)
	if err != nil {
		return nil, err
	}
	if l.Expires <= now {
		return nil, errors.New("expired")
	}
	l.ack = r.Message
	return l, nil
}
