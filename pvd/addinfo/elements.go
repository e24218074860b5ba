package addinfo

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// What this package can say of a PvD beside pvd.NoInternet, pvd.Proxies and
// pvd.CaptivePortal.
var (
	// DNSZones are the DNS zones that can be searched and reached in the PvD
	// (RFC 8801 section 4.3).
	DNSZones = pvd.NewKey("dns zones", slices.Clone[[]string])

	// ProxyRules say what those of pvd.Proxies that have an ID are for.
	ProxyRules = pvd.NewKey("proxy rules", cloneRules)

	// Status says what has become of the PvD's additional information, a problem with the
	// server's certificate included. A PvD that offers none does not have it.
	Status = pvd.NewKey[Report]("additional information", nil)

	// PortalSession is what is known of a session with a captive portal beyond
	// pvd.CaptivePortal.
	PortalSession = pvd.NewKey[Session]("captive portal session", nil)

	// PortalStatus says what has become of asking the captive portal's API. A PvD without
	// an API does not have it.
	PortalStatus = pvd.NewKey[PortalReport]("captive portal api", nil)
)

func cloneRules(rs []Rule) []Rule {
	rs = slices.Clone(rs)
	for i, r := range rs {
		rs[i].Proxies = slices.Clone(r.Proxies)
		rs[i].Domains = slices.Clone(r.Domains)
		rs[i].Subnets = slices.Clone(r.Subnets)
		rs[i].Ports = slices.Clone(r.Ports)
	}
	return rs
}

// Elements returns what o says of its PvD. What it does not say is not among them.
func (o *Object) Elements() (es []pvd.Element) {
	if len(o.Zones) > 0 {
		es = append(es, DNSZones.With(o.Zones))
	}
	if o.NoInternet != nil {
		es = append(es, pvd.NoInternet.With(*o.NoInternet))
	}
	if len(o.Proxies) > 0 {
		es = append(es, pvd.Proxies.With(o.Proxies))
	}
	if len(o.Rules) > 0 {
		es = append(es, ProxyRules.With(o.Rules))
	}
	return es
}

// A State says what has become of a PvD's additional information.
type State string

// The states of additional information.
const (
	// Waiting: it is to be asked for, once the PvD can be used or the pause is over.
	Waiting State = "waiting"
	// Fetching: it is being asked for.
	Fetching State = "fetching"
	// Valid: there is some and it is in use.
	Valid State = "valid"
	// Refused: there is some, but it does not fit the router advertisement.
	Refused State = "refused"
	// Failed: there is none, and it is not asked for again during this attachment.
	Failed State = "failed"
	// Stopped: there is none, and since too many others have failed it is not asked for
	// during this attachment.
	Stopped State = "stopped"
)

// A Report is what has become of a PvD's additional information.
type Report struct {
	State State

	// Reason and Detail are those of the last failure, or why the information is refused.
	// They are empty when nothing is wrong. Reason is Certificate or NotCovered where
	// somebody might be pretending to be the PvD.
	Reason Reason
	Detail string

	// Failed is when the last failure was.
	Failed time.Time

	// Expires is when what there is ceases to be valid; zero: there is nothing.
	Expires time.Time

	// Sequence is the number that the router advertisement had last.
	Sequence uint16

	// Ignored is how many optional parts of it have been left out.
	Ignored int
}

// String returns the report in a line, such as "failed: certificate: ...".
func (r Report) String() string { return line(string(r.State), r.Reason, r.Detail) }

func line(state string, reason Reason, detail string) string {
	var b strings.Builder
	b.WriteString(state)
	if reason != "" {
		fmt.Fprintf(&b, ": %s: %s", reason, detail)
	}
	return b.String()
}
