package stack

import (
	"crypto/x509"

	"github.com/pvdstack/pvdstack/pvd/learn"
)

// A Discovery says how the PvDs of a link are learned. Its zero value learns nothing.
type Discovery struct {
	RA     bool // router advertisements, with SLAAC (RFC 4861, RFC 4862, RFC 8801)
	DHCPv4 bool // RFC 2131; on an Ethernet link only
	DHCPv6 bool // RFC 8415, where router advertisements say so; needs RA

	// Temporary gives each prefix temporary addresses, too (RFC 8981).
	Temporary bool

	// Prefixes asks for a delegated prefix (IA_PD) where addresses come by DHCPv6.
	Prefixes bool

	// IPv6Only says that the PvDs can do without IPv4 where the network wants it
	// (RFC 8925).
	IPv6Only bool

	// Information fetches the additional information of PvDs that have some (RFC 8801
	// section 4), and asks the APIs of captive portals (RFC 8908).
	Information bool

	// Roots are the trust anchors for that. Nil: those of the system.
	Roots *x509.CertPool

	// Rules change what was learned, name PvDs, and say which are the same on several links.
	Rules learn.Rules

	// Leases keeps leases over restarts. Nil: they are not kept.
	Leases Leases
}

// Leases keeps what a link has leased for the next start. Its methods may be called
// concurrently, for links that differ.
type Leases interface {
	// Load returns what was saved last under a name, nil if nothing was.
	Load(name string) ([]byte, error)
	// Save replaces what was saved under a name. Nil: there is nothing any more.
	Save(name string, lease []byte) error
}
