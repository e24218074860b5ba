package addinfo

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// Unrestricted is what a network without a captive portal gives instead of the URL of an
// API (RFC 8910 section 2).
const Unrestricted = "urn:ietf:params:capport:unrestricted"

// A Session is what a captive portal says of the client's session (RFC 8908 section 5).
type Session struct {
	// Venue is the URL of a page about the place; may be empty, and need not be https.
	Venue string

	// CanExtend says that the session can be made longer at the portal's URL for people.
	CanExtend bool

	// Until is when the client will be captive again; zero: no time is known.
	Until time.Time

	// Bytes is how many octets of packets, both ways and with IP headers, are left at the
	// time of the answer. It counts only if Limited is set.
	Bytes   uint64
	Limited bool
}

// A PortalAnswer is what the API of a captive portal has said. It is not changed once it is
// made and may be shared.
type PortalAnswer struct {
	Portal  pvd.Portal
	Session Session

	// Notes are about optional parts that have been left out.
	Notes []*Fault
}

// ParsePortal returns the answer that body is, of the API at the URL api and at the time
// now. The error is a *[Fault]. Keys that are not known are ignored, and known ones with a
// bad value are left out and noted; only captive is mandatory (RFC 8908 section 5).
func ParsePortal(body []byte, api string, now time.Time) (*PortalAnswer, error) {
	raw, fault := parseJSON(body)
	if fault != nil {
		return nil, fault
	}
	v, ok := raw["captive"]
	if !ok {
		return nil, faultf(MissingKey, "captive", "it is mandatory and missing")
	}
	captive, ok := v.(bool)
	if !ok {
		return nil, faultf(BadValue, "captive", "%s, want a boolean", kind(v))
	}
	a := &PortalAnswer{Portal: pvd.Portal{API: api, Captive: captive}}
	a.Portal.User = a.page(raw, "user-portal-url", "https")
	a.Session.Venue = a.page(raw, "venue-info-url", "https", "http")
	if v, ok := raw["can-extend-session"]; ok {
		if a.Session.CanExtend, ok = v.(bool); !ok {
			a.note("can-extend-session", "%s, want a boolean", kind(v))
		}
	}
	if n, ok := a.count(raw, "seconds-remaining"); ok {
		a.Session.Until = now.Add(time.Duration(min(n, uint64(maxLifetime/time.Second))) * time.Second)
	}
	a.Session.Bytes, a.Session.Limited = a.count(raw, "bytes-remaining")
	return a, nil
}

func (a *PortalAnswer) note(key, format string, args ...any) {
	a.Notes = append(a.Notes, faultf(BadValue, key, format, args...)) // one for each known key at most
}

// page returns the URL of a page for people, empty if there is none that can be used.
func (a *PortalAnswer) page(raw object, key string, schemes ...string) string {
	v, ok := raw[key]
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		a.note(key, "%s, want a string", kind(v))
		return ""
	}
	if u, err := url.Parse(s); err == nil && len(s) <= MaxURL && isText(s) && u.Hostname() != "" && u.User == nil &&
		slices.Contains(schemes, u.Scheme) {
		return s
	}
	a.note(key, "%s is no URL to be used, want %s", quote(s), strings.Join(schemes, " or "))
	return ""
}

// count returns an integer that is not negative, and whether there is one.
func (a *PortalAnswer) count(raw object, key string) (uint64, bool) {
	v, ok := raw[key]
	if !ok {
		return 0, false
	}
	text, ok := v.(number)
	if !ok {
		a.note(key, "%s, want a number", kind(v))
		return 0, false
	}
	if n, err := strconv.ParseUint(string(text), 10, 64); err == nil {
		return n, true
	}
	// JSON may write 5 as 5.0 or 0.5e1. Beyond 2^53 such a number is not exact any more
	// (RFC 7493 section 2.2).
	if f, err := strconv.ParseFloat(string(text), 64); err == nil && f >= 0 && f <= 1<<53 && f == float64(uint64(f)) {
		return uint64(f), true
	}
	a.note(key, "%s is no count", quote(string(text)))
	return 0, false
}
