package learn

import (
	"context"
	"net/netip"

	"github.com/pvdstack/pvdstack/pvd/addinfo"
)

// inform keeps the schedules of additional information and of the captive portal up to
// date with what a member is, and adds to its facts what they have brought.
func (m *Machine) inform(b *member, f *facts) {
	if !m.config.Information {
		return
	}
	if b.key.Explicit() && f.learned != nil && f.learned != b.facts.learned {
		o := f.learned.Option
		a := addinfo.Advert{HasInfo: o.HTTP, Delay: o.Delay, Sequence: o.Sequence}
		for _, p := range f.learned.Prefixes {
			a.Prefixes = append(a.Prefixes, p.Prefix)
		}
		m.info.Update(b.key.ID, a)
	}
	if b.key.Explicit() {
		f.object = m.info.Object(b.key.ID)
		f.report, f.asked = m.info.Report(b.key.ID)
	}
	b.portal.SetAPI(m.portalURI(f))
	f.answer = b.portal.Answer()
	f.portal, _ = b.portal.Report()
}

// portalURI returns the URI of the captive portal's API. What is said inside the PvD's own
// advertisement goes before what is said to all of the link.
func (m *Machine) portalURI(f *facts) string {
	uri := ""
	say := func(which, u string) {
		switch {
		case u == "" || u == uri:
		case uri == "":
			uri = u
		default:
			m.remark(netip.Addr{}, "captive portal: %s names %q, which is not %q (RFC 8910 section 3)", which, u, uri)
		}
	}
	if f.learned != nil {
		say("the advertisement", string(f.learned.Portal))
	}
	if f.info6 != nil {
		say("DHCPv6", f.info6.Portal)
	}
	if f.lease4 != nil {
		say("DHCPv4", f.lease4.Portal)
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
	m.propose() // what was there before may have expired
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
