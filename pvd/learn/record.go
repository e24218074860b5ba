package learn

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
)

// recordVersion is that of the format below.
const recordVersion = 1

// record is what is leased on a link as a file has it: the record of the DHCPv4 lease, and
// those of DHCPv6, each with the PvD that it is of.
type record struct {
	Version int             `json:"version"`
	DHCPv4  json.RawMessage `json:"dhcp4,omitempty"`
	DHCPv6  []record6       `json:"dhcp6,omitempty"`
}

type record6 struct {
	PvD   string          `json:"pvd"`
	Lease json.RawMessage `json:"lease"`
}

// before is what was leased before, as far as it is not known yet whether it still is.
type before struct {
	dhcp4 json.RawMessage
	dhcp6 []record6
}

// A saved is a lease, or stands for one from before.
type saved struct {
	pvd string // of DHCPv6
	v4  *dhcp4.Lease
	v6  *dhcp6.Lease
}

// readRecord takes in the configured record, without what of it can not be used.
func (m *Machine) readRecord() {
	if len(m.config.Lease) == 0 {
		return
	}
	unusable := func(err error) {
		m.remark("what was leased before is not used: %v", err)
	}
	var r record
	err := json.Unmarshal(m.config.Lease, &r)
	switch {
	case len(m.config.Lease) > maxRecord:
		err = fmt.Errorf("%d octets, at most %d are read", len(m.config.Lease), maxRecord)
	case err == nil && r.Version != recordVersion:
		err = fmt.Errorf("version %d, not %d", r.Version, recordVersion)
	}
	if err != nil {
		unusable(err)
		return
	}
	if len(r.DHCPv4) > 0 && m.config.DHCPv4 {
		if _, err := dhcp4.ParseRecord(r.DHCPv4, m.clock.Now(), m.now()); err != nil {
			unusable(err)
		} else {
			m.before.dhcp4 = r.DHCPv4
		}
	}
	for _, of := range r.DHCPv6 {
		twice := slices.ContainsFunc(m.before.dhcp6, func(o record6) bool { return o.PvD == of.PvD })
		if !m.config.DHCPv6 || twice || len(m.before.dhcp6) == maxLeases6 {
			continue
		}
		if _, err := dhcp6.ParseRecord(of.Lease, m.clock.Now(), m.now()); err != nil {
			unusable(err)
			continue
		}
		m.before.dhcp6 = append(m.before.dhcp6, of)
	}
	m.saved = m.leases()
}

// previous4 returns the DHCPv4 lease from before, nil if there is none.
func (m *Machine) previous4() *dhcp4.Lease {
	if m.before.dhcp4 == nil {
		return nil
	}
	l, err := dhcp4.ParseRecord(m.before.dhcp4, m.clock.Now(), m.now())
	if err != nil {
		m.before.dhcp4 = nil
		return nil
	}
	return l
}

// previous6 returns a PvD's DHCPv6 lease from before, nil if there is none.
func (m *Machine) previous6(of string) *dhcp6.Lease {
	i := slices.IndexFunc(m.before.dhcp6, func(r record6) bool { return r.PvD == of })
	if i < 0 {
		return nil
	}
	l, err := dhcp6.ParseRecord(m.before.dhcp6[i].Lease, m.clock.Now(), m.now())
	if err != nil {
		m.before.dhcp6 = slices.Delete(m.before.dhcp6, i, i+1)
		return nil
	}
	return l
}

// leases returns what is leased and is to be recorded. What the clients have found out of
// leases from before is taken into account first.
func (m *Machine) leases() (all []saved) {
	var lease4 *dhcp4.Lease
	if m.v4 != nil {
		lease4 = m.v4.Lease()
		switch s, _ := m.v4.State(); s {
		case dhcp4.Down, dhcp4.InitReboot, dhcp4.Rebooting, dhcp4.Probing:
			if lease4 != nil {
				m.before.dhcp4 = nil
			}
		default:
			m.before.dhcp4 = nil
		}
	}
	if lease4 != nil || m.before.dhcp4 != nil {
		all = append(all, saved{v4: lease4})
	}
	for _, b := range m.members {
		if b.v6 == nil {
			continue
		}
		lease := b.v6.Lease()
		switch s, _ := b.v6.State(); s {
		case dhcp6.Down, dhcp6.Confirming, dhcp6.Rebinding:
			if lease == nil {
				continue // it is still being verified
			}
		default:
		}
		of := b.key.String()
		m.before.dhcp6 = slices.DeleteFunc(m.before.dhcp6, func(r record6) bool { return r.PvD == of })
		if lease != nil {
			all = append(all, saved{pvd: of, v6: lease})
		}
	}
	for _, r := range m.before.dhcp6 {
		all = append(all, saved{pvd: r.PvD})
	}
	return all
}

// Lease returns a record of what is leased, for [Config.Lease] of the next machine, and
// whether it is another one than the last time. Nil: nothing is.
func (m *Machine) Lease() (b []byte, changed bool) {
	all := m.leases()
	if slices.Equal(all, m.saved) {
		return nil, false
	}
	m.saved = all
	if len(all) == 0 {
		return nil, true
	}
	r := record{Version: recordVersion, DHCPv4: m.before.dhcp4, DHCPv6: slices.Clone(m.before.dhcp6)}
	for _, s := range all {
		var err error
		switch {
		case s.v4 != nil:
			r.DHCPv4, err = s.v4.Record(m.clock.Now(), m.now())
		case s.v6 != nil:
			of := record6{PvD: s.pvd}
			of.Lease, err = s.v6.Record(m.clock.Now(), m.now())
			r.DHCPv6 = append(r.DHCPv6, of)
		}
		if err != nil {
			m.remark("the lease can not be kept: %v", err)
			return nil, true
		}
	}
	b, err := json.Marshal(r)
	if err != nil {
		m.remark("the lease can not be kept: %v", err)
		return nil, true
	}
	return b, true
}
