package addinfo

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// An Object is the additional information of a PvD (RFC 8801 section 4.3). It is not
// changed once it is made and may be shared.
type Object struct {
	// ID is the PvD that it is about.
	ID pvd.ID

	// Expires is the date after which it is no longer valid.
	Expires time.Time

	// Prefixes are the IPv6 prefixes that are valid for the PvD.
	Prefixes []netip.Prefix

	// Zones are the DNS zones that can be searched and reached in the PvD, in lower case,
	// without trailing dots.
	Zones []string

	// NoInternet says that the PvD is restricted; nil: it does not say.
	NoInternet *bool

	// Proxies are those that the PvD offers, and Rules say what those of them that have a
	// name are for.
	Proxies []pvd.Proxy
	Rules   []Rule

	// Notes are about optional parts that have been left out, at most MaxNotes.
	Notes []*Fault
}

// Parse returns the additional information that body is, for the PvD id at the time now.
// The error is a *[Fault]: the object is not I-JSON, or one of the mandatory keys is
// missing or not valid (RFC 8801 section 4.3). Keys that are not known are ignored with
// all that is in them; a known optional key with a bad value is left out and noted.
// Whether the PvD's prefixes are covered is asked later, of [Object.Covers].
func Parse(body []byte, id pvd.ID, now time.Time) (*Object, error) {
	o, fault := parseObject(body, id, now)
	if fault != nil {
		return nil, fault
	}
	return o, nil
}

func parseObject(body []byte, id pvd.ID, now time.Time) (*Object, *Fault) {
	raw, fault := parseJSON(body)
	if fault != nil {
		return nil, fault
	}
	o := &Object{ID: id}
	for _, mandatory := range []struct {
		key   string
		parse func(any) *Fault
	}{
		{"identifier", o.identifier},
		{"expires", func(v any) *Fault { return o.expires(v, now) }},
		{"prefixes", o.prefixes},
	} {
		v, ok := raw[mandatory.key]
		if !ok {
			return nil, faultf(MissingKey, mandatory.key, "it is mandatory and missing")
		}
		if fault := mandatory.parse(v); fault != nil {
			fault.Where = mandatory.key + fault.Where
			return nil, fault
		}
	}
	if v, ok := raw["dnsZones"]; ok {
		o.zones(v)
	}
	if v, ok := raw["noInternet"]; ok {
		if b, ok := v.(bool); ok {
			o.NoInternet = &b
		} else {
			o.note(faultf(BadValue, "noInternet", "%s, want a boolean", kind(v)))
		}
	}
	if v, ok := raw["proxies"]; ok {
		o.proxies(v)
	}
	if v, ok := raw["proxy-match"]; ok {
		o.rules(v)
	}
	return o, nil
}

func (o *Object) note(f *Fault) {
	if len(o.Notes) < MaxNotes {
		o.Notes = append(o.Notes, f)
	}
}

func (o *Object) identifier(v any) *Fault {
	s, ok := v.(string)
	if !ok {
		return faultf(BadValue, "", "%s, want a string", kind(v))
	}
	id, err := pvd.ParseID(s)
	if err != nil || id == "" {
		return faultf(BadValue, "", "%s is no domain name", quote(s))
	}
	if id != o.ID {
		return faultf(OtherID, "", "%s, but the PvD is %s", quote(s), quote(string(o.ID)))
	}
	return nil
}

func (o *Object) expires(v any, now time.Time) *Fault {
	s, ok := v.(string)
	if !ok {
		return faultf(BadValue, "", "%s, want a string", kind(v))
	}
	t, err := parseDate(s)
	if err != nil {
		return faultf(BadValue, "", "%s is no date of RFC 3339 such as 2020-05-23T06:00:00Z", quote(s))
	}
	if !t.After(now) {
		return faultf(Expired, "", "%s is not in the future, now is %s", quote(s), now.UTC().Format(time.RFC3339))
	}
	o.Expires = t
	return nil
}

// parseDate parses a date of RFC 3339 section 5.6. Lower case letters are allowed there,
// and a leap second, which package time does not know.
func parseDate(s string) (t time.Time, err error) {
	if strings.Contains(s, ",") { // package time takes one for a point
		return time.Time{}, fmt.Errorf("%s has a comma", quote(s))
	}
	s = strings.ToUpper(s)
	leap := len(s) > 19 && s[17:19] == "60"
	if leap {
		s = s[:17] + "59" + s[19:]
	}
	if err = t.UnmarshalText([]byte(s)); err != nil {
		return time.Time{}, err
	}
	if leap {
		if u := t.UTC(); u.Hour() != 23 || u.Minute() != 59 {
			return time.Time{}, fmt.Errorf("%s has no leap second", quote(s))
		}
		t = t.Add(time.Second)
	}
	return t, nil
}

func (o *Object) prefixes(v any) *Fault {
	list, ok := v.([]any)
	if !ok {
		return faultf(BadValue, "", "%s, want an array", kind(v))
	}
	if len(list) > MaxPrefixes {
		return faultf(TooMany, "", "%d entries, the limit is %d", len(list), MaxPrefixes)
	}
	for i, v := range list {
		where := fmt.Sprintf("[%d]", i)
		s, ok := v.(string)
		if !ok {
			return faultf(BadValue, where, "%s, want a string", kind(v))
		}
		p, err := netip.ParsePrefix(s)
		if err != nil || !p.Addr().Is6() || p.Addr().Is4In6() {
			return faultf(BadValue, where, "%s is no IPv6 prefix", quote(s))
		}
		if p != p.Masked() {
			o.note(faultf(BadValue, "prefixes"+where, "%s has bits beyond its length, which are ignored", quote(s)))
		}
		o.Prefixes = append(o.Prefixes, p.Masked())
	}
	return nil
}

func (o *Object) zones(v any) {
	for where, s := range o.strings("dnsZones", v, MaxZones) {
		name, err := pvd.ParseID(s)
		switch {
		case err != nil || name == "":
			o.note(faultf(BadValue, where, "%s is no domain name", quote(s)))
		case !slices.Contains(o.Zones, string(name)):
			o.Zones = append(o.Zones, string(name))
		}
	}
}

// strings returns the strings of an array and where each stands, and notes what is none.
func (o *Object) strings(key string, v any, limit int) func(yield func(where, s string) bool) {
	return func(yield func(where, s string) bool) {
		list, ok := v.([]any)
		if !ok {
			o.note(faultf(BadValue, key, "%s, want an array", kind(v)))
			return
		}
		for i, v := range o.atMost(key, list, limit) {
			where := fmt.Sprintf("%s[%d]", key, i)
			s, ok := v.(string)
			if !ok {
				o.note(faultf(BadValue, where, "%s, want a string", kind(v)))
			} else if !yield(where, s) {
				return
			}
		}
	}
}

// atMost returns the first limit entries of a list and notes that there are more.
func (o *Object) atMost(where string, list []any, limit int) []any {
	if len(list) > limit {
		o.note(faultf(TooMany, where, "%d entries, those after %d are left out", len(list), limit))
		return list[:limit]
	}
	return list
}

// Covers reports whether each of the prefixes, those of the PvD's Prefix Information
// options, lies in one of the object's. If not, the object must not be used (RFC 8801
// sections 4.1 and 4.4), and the error is a *[Fault] with the reason NotCovered.
func (o *Object) Covers(prefixes []netip.Prefix) error {
	if f := o.uncovered(prefixes); f != nil {
		return f
	}
	return nil
}

func (o *Object) uncovered(prefixes []netip.Prefix) *Fault {
	for _, p := range prefixes {
		if !slices.ContainsFunc(o.Prefixes, func(of netip.Prefix) bool {
			return of.Bits() <= p.Bits() && of.Contains(p.Addr())
		}) {
			return faultf(NotCovered, "prefixes", "%v of the router advertisement is in none of %v", p, o.Prefixes[:min(len(o.Prefixes), 4)])
		}
	}
	return nil
}
