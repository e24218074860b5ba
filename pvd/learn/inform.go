package learn

import (
	"cmp"
	"context"

	"github.com/pvdstack/pvdstack/pvd/addinfo"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// inform keeps the schedules of additional information and of the captive portal up to
// date with what a member is, and adds to its facts what they have brought.
func (m *Machine) inform(b *member, f *facts) {
	if !m.config.Information {
		return
	}
	if b.key.Explicit() && f.learned != nil {
		m.advise(b, f.learned)
		f.object = m.info.Object(b.key.ID)
		f.report, f.asked = m.info.Report(b.key.ID)
	}
	said := portals(f)
	b.portal.SetAPI(cmp.Or(said[:]...))
	f.answer = b.portal.Answer()
	f.portal, _ = b.portal.Report()
}

// advise tells the schedule what routers say of additional information, if that is news.
func (m *Machine) advise(b *member, l *ra.PvD) {
	if b.informed == l {
		return
	}
	b.informed = l
	a := addinfo.Advert{HasInfo: l.Option.HTTP, Delay: l.Option.Delay, Sequence: l.Option.Sequence}
	for _, p := range l.Prefixes {
		a.Prefixes = append(a.Prefixes, p.Prefix)
	}
	m.info.Update(b.key.ID, a)
	m.info.SetReady(b.key.ID, b.ready) // which it does not remember across attachments
}

// sayPortal are those who can name a captive portal's API, as portals has them.
var sayPortal = [...]string{"the advertisement", "DHCPv6", "DHCPv6", "DHCPv4"}

// portals returns the URIs of the captive portal's API that sayPortal name, empty where they
// name none. The first one counts: what is said inside the PvD's own advertisement goes
// before what is said to all of the link.
func portals(f *facts) (said [len(sayPortal)]string) {
	if f.learned != nil {
		said[0] = string(f.learned.Portal)
	}
	if f.info6 != nil {
		said[1] = f.info6.Portal
	}
	if f.other6 != nil {
		said[2] = f.other6.Portal
	}
	if f.lease4 != nil {
		said[3] = f.lease4.Portal
	}
	return said
}

// portalURI returns the URI of the captive portal's API, and remarks on others.
func (m *Machine) portalURI(f *facts) string {
	said := portals(f)
	uri := cmp.Or(said[:]...)
	for i, other := range said {
		if other != "" && other != uri {
			m.remark("captive portal: %s names %.100q, which is not %.100q (RFC 8910 section 3)", sayPortal[i], other, uri)
		}
	}
	return uri
}

// A Request is one for additional information, or to the API of a captive portal, that is
// to be made by the network of a PvD.
type Request struct {
	Instance uint64 // of the PvD

	info   *addinfo.Request
	portal *addinfo.PortalRequest
}

// A Result is what has become of a [Request].
type Result struct {
	request Request
	object  *addinfo.Object
	answer  *addinfo.PortalAnswer
	err     error
}

// Do makes the request, by a fetcher for the PvD's network, and waits for the answer. It
// may be called by any goroutine.
func (r Request) Do(ctx context.Context, f *addinfo.Fetcher) Result {
	res := Result{request: r}
	if r.info != nil {
		res.object, res.err = f.Info(ctx, r.info.ID)
	} else {
		res.answer, res.err = f.Portal(ctx, r.portal.URL)
	}
	return res
}

// Requests returns what is to be asked for now. The owner hands each one's outcome to
// [Machine.Done].
func (m *Machine) Requests() (rs []Request) {
	if !m.config.Information {
		return nil
	}
	for _, q := range m.info.Poll() {
		if b := m.named(q); b != nil {
			rs = append(rs, Request{Instance: b.instance, info: &q})
		}
	}
	for _, b := range m.members {
		if q, ok := b.portal.Poll(); ok {
			rs = append(rs, Request{Instance: b.instance, portal: &q})
		}
	}
	if len(m.info.Changes())+len(rs) > 0 { // what was there before may have expired
		m.propose()
	}
	return rs
}

func (m *Machine) named(q addinfo.Request) *member {
	for _, b := range m.members {
		if b.key.ID == q.ID {
			return b
		}
	}
	return nil
}

// Done takes in the outcome of a request.
func (m *Machine) Done(r Result) {
	if r.request.info != nil {
		m.info.Done(*r.request.info, r.object, r.err)
	} else if b := m.member(r.request.Instance); b != nil {
		b.portal.Done(*r.request.portal, r.answer, r.err)
	}
	m.settle()
}
