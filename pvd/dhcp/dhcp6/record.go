package dhcp6

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp"
)

// recordVersion is that of the format below.
const recordVersion = 1

// record is a lease as a file has it. It is put together of several messages, each of which
// has said something of some items; so it is what they have come to, and the options that
// go through the same checks again as when they arrived.
type record struct {
	Version   int          `json:"version"`
	Obtained  time.Time    `json:"obtained"`
	Server    []byte       `json:"server"`
	T1        moment       `json:"t1"`
	T2        moment       `json:"t2"`
	Addresses []recordItem `json:"addresses,omitempty"`
	Prefixes  []recordItem `json:"prefixes,omitempty"`
	Options   []byte       `json:"options,omitempty"`
}

type recordItem struct {
	Prefix    netip.Prefix `json:"prefix"`
	Preferred moment       `json:"preferred"`
	Valid     moment       `json:"valid"`
}

// A moment is a time of day; the zero one is never.
type moment struct{ time.Time }

// A dial tells moments and the time of day from each other.
type dial struct {
	wall time.Time
	now  time.Duration
}

func (d dial) date(at time.Duration) moment {
	if at == dhcp.Never {
		return moment{}
	}
	return moment{d.wall.Add(at - d.now).UTC()}
}

// at returns the moment of m, and whether it is one that a message can name.
func (d dial) at(m moment) (time.Duration, bool) {
	if m.IsZero() {
		return dhcp.Never, true
	}
	left := m.Sub(d.wall)
	return d.now + left, left.Abs() <= longestLifetime
}

// Record returns a lease as JSON, for [ParseRecord] after a restart. The time of day is
// wall where the machine's is now.
func (l *Lease) Record(wall time.Time, now time.Duration) ([]byte, error) {
	d := dial{wall, now}
	r := record{
		Version: recordVersion, Obtained: d.date(l.Info.Obtained).Time, Server: l.Server,
		T1: d.date(l.T1), T2: d.date(l.T2), Options: l.options,
	}
	for _, i := range l.Addrs {
		r.Addresses = append(r.Addresses, recordItem{i.Prefix, d.date(i.Preferred), d.date(i.Valid)})
	}
	for _, i := range l.Prefixes {
		r.Prefixes = append(r.Prefixes, recordItem{i.Prefix, d.date(i.Preferred), d.date(i.Valid)})
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("dhcp6: lease record: %w", err)
	}
	return b, nil
}

// ParseRecord reads a lease that [Lease.Record] has written, without what of it is over.
// One that is over as a whole, or comes from the future, is an error.
func ParseRecord(b []byte, wall time.Time, now time.Duration) (*Lease, error) {
	l, err := parseRecord(b, dial{wall, now})
	if err != nil {
		return nil, fmt.Errorf("dhcp6: lease record: %w", err)
	}
	return l, nil
}

func parseRecord(b []byte, d dial) (*Lease, error) {
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
	if n := len(r.Server); n < minDUID || n > maxDUID {
		return nil, fmt.Errorf("server's DUID of %d octets", n)
	}
	obtained, ok := d.at(moment{r.Obtained})
	if r.Obtained.IsZero() || !ok || obtained > d.now {
		return nil, errors.New("from the future, or of no time")
	}
	t1, ok1 := d.at(r.T1)
	t2, ok2 := d.at(r.T2)
	if !ok1 || !ok2 || t1 > t2 {
		return nil, errors.New("no times to renew it")
	}
	options, err := parseOptions(r.Options)
	if err != nil {
		return nil, err
	}
	l := &Lease{Server: r.Server, T1: t1, T2: t2, Info: newInfo(options, obtained), options: r.Options}
	if l.Addrs, err = readRecord(r.Addresses, optIAAddr, MaxAddrs, d); err != nil {
		return nil, err
	}
	if l.Prefixes, err = readRecord(r.Prefixes, optIAPrefix, MaxPrefixes, d); err != nil {
		return nil, err
	}
	if l = l.without(d.now); l == nil {
		return nil, errors.New("expired")
	}
	return l, nil
}

func readRecord(items []recordItem, code uint16, most int, d dial) (read []Item, err error) {
	if len(items) > most {
		return nil, fmt.Errorf("%d items, at most %d are read", len(items), most)
	}
	for _, i := range items {
		preferred, ok1 := d.at(i.Preferred)
		valid, ok2 := d.at(i.Valid)
		twice := slices.ContainsFunc(read, func(r Item) bool { return r.Prefix == i.Prefix })
		switch {
		case !i.Prefix.IsValid() || i.Prefix.Masked() != i.Prefix || !leasable(i.Prefix.Addr()),
			code == optIAAddr && i.Prefix.Bits() != 128, i.Prefix.Bits() == 0, twice:
			return nil, fmt.Errorf("%v: not one that can be leased", i.Prefix)
		case !ok1 || !ok2 || preferred > valid:
			return nil, fmt.Errorf("%v: lifetimes that can not be", i.Prefix)
		}
		read = append(read, Item{i.Prefix, preferred, valid})
	}
	return read, nil
}

// recorded returns those options of a message that a record keeps.
func recorded(options []Option) []byte {
	return appendOptions(nil, slices.DeleteFunc(slices.Clone(options), func(o Option) bool {
		return !slices.Contains([]uint16{optDNS, optSearch, optPortal, optResolver}, o.Code)
	}))
}
