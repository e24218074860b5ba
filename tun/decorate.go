package tun

import (
	"net"
	"net/netip"
)

// A decorated link passes on what its decorator does not change, the optional
// interfaces included.
type decorated struct{ Link }

// AddMAC implements [Station]. Where the link inside is none there is nothing to tell.
func (d decorated) AddMAC(a net.HardwareAddr) error {
	if s, ok := d.Link.(Station); ok {
		return s.AddMAC(a)
	}
	return nil
}

// RemoveMAC implements [Station].
func (d decorated) RemoveMAC(a net.HardwareAddr) error {
	if s, ok := d.Link.(Station); ok {
		return s.RemoveMAC(a)
	}
	return nil
}

// CheckAddr implements [AddressChecker]. A link inside that is none objects to nothing.
func (d decorated) CheckAddr(a netip.Addr) error {
	if c, ok := d.Link.(AddressChecker); ok {
		return c.CheckAddr(a)
	}
	return nil
}

// Losses implements [LossCounter]. A link inside that counts none has none.
func (d decorated) Losses() Losses {
	if c, ok := d.Link.(LossCounter); ok {
		return c.Losses()
	}
	return Losses{}
}

// Pending is what Pending says of the link inside.
func (d decorated) Pending() int { return Pending(d.Link) }

// Unwrap returns the link inside.
func (d decorated) Unwrap() Link { return d.Link }
