package stack_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// learnedHere is what a watch knows of a link on which PvDs are learned. They all speak by
// one station there, and before they have an address they ask for one.
type learnedHere struct {
	link     string
	networks []netip.Prefix // what the link's network gives addresses from, beside link-local ones

	station [6]byte // that the PvDs speak by; zero: none has yet
	owners  map[string]bool
	spans   map[netip.Addr][]*span
	strays  []stray
	wrong   []string
	adverts []advert // the latest that arrived
	deaf    bool     // what arrives is not kept
}

// A span is the time that a PvD has an address for.
type span struct {
	owner       string
	from, until time.Time // until is zero as long as it goes on
}

// A stray is a frame that left when no PvD was known to have its source.
type stray struct {
	f  flow
	at time.Time
}

const (
	// spanGrace is how much sooner or later than the PvD is described to have its source a
	// frame may leave: the description and the frames have ways of their own.
	spanGrace = time.Second

	maxStrays, maxAdverts = 256, 1024
)

func learnedOwner(r pvd.Ref) string { return fmt.Sprintf("learned PvD %v", r) }

// gives reports whether the link's network gives an address.
func (l *learnedHere) gives(a netip.Addr) bool {
	return a.Is6() && a.IsLinkLocalUnicast() || slices.ContainsFunc(l.networks, func(p netip.Prefix) bool { return p.Contains(a) })
}

// asks reports whether a flow without a source is about an address that may be somebody's
// on the link, or about none.
func (l *learnedHere) asks(f flow) bool {
	switch {
	case l == nil:
		return true
	case f.ether == etherARP:
		return l.gives(f.dst)
	case f.icmp6 == icmp6NS:
		return l.gives(f.target)
	}
	return true
}

// note takes note of a frame, and reports whether it is to be kept.
func (l *learnedHere) note(dir tun.Direction, f flow) bool {
	now := time.Now()
	if dir == tun.In {
		if f.icmp6 == icmp6RA {
			if len(l.adverts) == maxAdverts {
				l.adverts = l.adverts[1:]
			}
			l.adverts = append(l.adverts, advert{f.src, now})
		}
		return !l.deaf
	}
	if f.src.IsValid() && !f.src.IsUnspecified() && len(l.strays) < maxStrays && !l.has(f.src) {
		l.strays = append(l.strays, stray{f, now})
	}
	if f.ether != etherARP && l.has(f.dst) && len(l.wrong) < maxStrays {
		l.wrong = append(l.wrong, fmt.Sprintf("a frame to a learned PvD of this host: %v", f))
	}
	return true
}

// has reports whether a learned PvD has an address now.
func (l *learnedHere) has(a netip.Addr) bool {
	return slices.ContainsFunc(l.spans[a], func(s *span) bool { return s.until.IsZero() })
}

// of reports whether an owner of addresses is a PvD that was learned.
func (l *learnedHere) of(owner string) bool { return l != nil && l.owners[owner] }

// speaks reports whether a flow with the given owners of its source is of learned PvDs and
// comes from the station that they have. Who else has the source may speak by another one.
func (l *learnedHere) speaks(f flow, owners []string) bool {
	if l == nil || !slices.ContainsFunc(owners, l.of) {
		return false
	}
	only := !slices.ContainsFunc(owners, func(o string) bool { return !l.of(o) })
	if l.station == ([6]byte{}) && only {
		l.station = f.srcMAC
	}
	if l.station != f.srcMAC && only {
		l.wrong = append(l.wrong, fmt.Sprintf("learned PvDs speak by the stations %v and %v: %v",
			net.HardwareAddr(l.station[:]), net.HardwareAddr(f.srcMAC[:]), f))
	}
	return only || l.station == f.srcMAC
}

// faults returns what is wrong with when frames left, and with what was learned.
func (l *learnedHere) faults() (all []string) {
	if l == nil {
		return nil
	}
	all = slices.Clone(l.wrong)
	for _, s := range l.strays {
		spans, known := l.spans[s.f.src]
		if known && !slices.ContainsFunc(spans, func(p *span) bool {
			return s.at.After(p.from.Add(-spanGrace)) && (p.until.IsZero() || s.at.Before(p.until.Add(spanGrace)))
		}) {
			all = append(all, fmt.Sprintf("a frame left at %v, when no PvD had its source: %v", s.at.Format(time.StampMilli), s.f))
		}
	}
	return all
}

// learn takes note of what addresses a PvD has now that was learned on some links.
func (w *watch) learn(r pvd.Ref, origins []string, addresses []netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	owner, now := learnedOwner(r), time.Now()
	l := w.learned
	if len(addresses) > 0 && (l == nil || !slices.Contains(origins, w.link)) {
		wrong := fmt.Sprintf("%s, which was learned on %s, has %v", owner, origins, addresses)
		if l == nil {
			l = w.learnHere()
		}
		l.wrong = append(l.wrong, wrong)
		return
	}
	if l == nil {
		return
	}
	for a, spans := range l.spans {
		for _, s := range spans {
			if s.owner == owner && s.until.IsZero() && !slices.Contains(addresses, a) {
				s.until = now
			}
		}
	}
	for _, a := range addresses {
		if !l.gives(a) {
			l.wrong = append(l.wrong, fmt.Sprintf("%s has %v, which the link's network does not give", owner, a))
			continue
		}
		if slices.ContainsFunc(l.spans[a], func(s *span) bool { return s.owner == owner && s.until.IsZero() }) {
			continue
		}
		l.spans[a] = append(l.spans[a], &span{owner: owner, from: now})
		l.owners[owner] = true
		if !slices.Contains(w.owners[a], owner) {
			w.owners[a] = append(w.owners[a], owner)
		}
	}
}

// learnHere tells the watch that PvDs are learned on its link.
func (w *watch) learnHere(networks ...netip.Prefix) *learnedHere {
	if w.learned == nil {
		w.learned = &learnedHere{link: w.link, owners: make(map[string]bool), spans: make(map[netip.Addr][]*span)}
	}
	w.learned.networks = append(w.learned.networks, networks...)
	return w.learned
}

// An advert is a router advertisement that arrived.
type advert struct {
	router netip.Addr
	at     time.Time
}

// advert returns when the last advertisement arrived before a moment.
func (w *watch) advert(before time.Time) (at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.learned.adverts {
		if !a.at.After(before) {
			at = a.at
		}
	}
	return at
}

// advertFrom returns when the last advertisement of a router arrived.
func (w *watch) advertFrom(router netip.Addr) (at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.learned.adverts {
		if a.router == router {
			at = a.at
		}
	}
	return at
}

// discover has the host learn on a link, whose network gives addresses from networks beside
// link-local ones. The watches follow what becomes of it.
func (r *rig) discover(link string, d stack.Discovery, networks ...string) {
	r.t.Helper()
	r.expect(link, networks...)
	if err := r.host.Discover(link, d); err != nil {
		r.t.Fatal(err)
	}
}

// expect tells a link's watch what its network gives addresses from, from now on.
func (r *rig) expect(link string, networks ...string) {
	r.t.Helper()
	r.follow.Do(func() {
		follows := make(chan struct{})
		r.followed = make(chan struct{})
		go r.followPvDs(follows)
		<-follows
	})
	w := r.watches[link]
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range networks {
		w.learnHere(netip.MustParsePrefix(n))
	}
}

// followPvDs tells the watches what PvDs are learned, until the host is closed.
func (r *rig) followPvDs(follows chan struct{}) {
	defer close(r.followed)
	for closed := false; !closed; {
		for ev, err := range r.host.Watch(context.Background(), pvd.Filter{}) {
			if err != nil {
				closed = errors.Is(err, stack.ErrClosed) // else it was too slow, and begins again
				break
			}
			if ev.Kind == pvd.Synced && follows != nil {
				close(follows)
				follows = nil
			}
			r.tell(ev)
		}
	}
}

func (r *rig) tell(ev pvd.Event) {
	info := ev.Info
	if info == nil {
		info = ev.Old
	}
	if info == nil || ev.Kind == pvd.DefaultChanged {
		return
	}
	origins, ok := learn.Learned.Get(info)
	if !ok {
		return
	}
	var links []string
	for _, o := range origins {
		links = append(links, o.Link)
	}
	on := make(map[string][]netip.Addr)
	if ev.Kind != pvd.Removed {
		addresses, _ := pvd.Addresses.Get(info)
		for _, a := range addresses {
			on[a.Link] = append(on[a.Link], a.Prefix.Addr())
		}
	}
	r.mu.Lock()
	r.versions = append(r.versions, version{time.Now(), ev.Ref, ev.Info})
	watches := maps.Clone(r.watches)
	r.mu.Unlock()
	for name, w := range watches {
		w.learn(ev.Ref, links, on[name])
	}
}

// timeline tells what became of the learned PvDs.
func (r *rig) timeline() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, v := range r.versions {
		fmt.Fprintf(&b, "%s %v", v.at.Format(time.StampMilli), v.ref)
		if v.info == nil {
			b.WriteString(" is gone\n")
			continue
		}
		fmt.Fprintf(&b, " %q version %d:", v.info.Name(), v.info.Version())
		addresses, _ := pvd.Addresses.Get(v.info)
		for _, a := range addresses {
			fmt.Fprintf(&b, " %v %v,", a.Prefix, a.State)
		}
		routes, _ := pvd.Routes.Get(v.info)
		fmt.Fprintf(&b, " %d routes\n", len(routes))
	}
	return b.String()
}

// checkStations fails the test if PvDs speak by the same station on several links.
func (r *rig) checkStations() {
	r.t.Helper()
	by := make(map[[6]byte]string)
	for name, w := range r.watches {
		if w.learned == nil || w.learned.station == ([6]byte{}) {
			continue
		}
		s := w.learned.station
		if other, taken := by[s]; taken {
			r.t.Errorf("station %v speaks on the links %s and %s", net.HardwareAddr(s[:]), name, other)
		}
		by[s] = name
	}
}

// A watch on a link where PvDs are learned finds what it is for.
func TestSystemWatchLearned(t *testing.T) {
	own, lost, here := mustAddr("192.0.2.1"), mustAddr("192.0.2.9"), netip.MustParsePrefix("192.0.2.0/24")
	other, far := mustAddr("10.0.0.1"), mustAddr("198.51.100.1")
	local, server := mustAddr("fe80::1"), mustAddr("192.0.2.254")
	none, zero4, zero6 := netip.Addr{}, netip.IPv4Unspecified(), netip.IPv6Unspecified()
	all4, all6 := mustAddr("255.255.255.255"), mustAddr("ff02::1:ff00:1")
	mac, mac2, to, all := [6]byte{2, 1}, [6]byte{2, 9}, [6]byte{2, 2}, [6]byte{255, 255}
	discover := flow{mac, all, etherIPv4, protoUDP, 0, zero4, all4, none, true}
	for _, tt := range []struct {
		name  string
		wrong string
		flows []flow
	}{
		{"the lease, and what led to it", "", []flow{
			discover,
			{mac, all, etherARP, 0, 0, zero4, own, none, false},
			{mac, all, etherARP, 0, 0, own, own, none, false},
			{mac, to, etherIPv4, protoTCP, 0, own, far, none, false},
		}},
		{"two PvDs by one station", "", []flow{
			{mac, to, etherIPv4, protoTCP, 0, own, far, none, false},
			{mac, all, etherIPv6, protoICMPv6, icmp6NS, local, all6, local.Next(), false},
		}},
		{"by two stations", "by the stations", []flow{
			{mac, to, etherIPv4, protoTCP, 0, own, far, none, false},
			{mac2, to, etherIPv4, protoTCP, 0, own, far, none, false},
			{mac2, all, etherIPv6, protoICMPv6, icmp6NS, local, all6, local.Next(), false},
		}},
		{"to a PvD of the host", "of this host", []flow{{mac, to, etherIPv4, protoTCP, 0, own, own, none, false}}},
		{"to who has a lost lease now", "", []flow{{mac, to, etherIPv4, protoTCP, 0, own, lost, none, false}}},
		{"another link's", "no PvD has", []flow{{mac, to, etherIPv4, protoTCP, 0, other, far, none, false}}},
		{"a lease that is over", "when no PvD had", []flow{{mac, to, etherIPv4, protoUDP, 0, lost, far, none, false}}},
		{"to a server, without an address", "no source", []flow{{mac, to, etherIPv4, protoUDP, 0, zero4, server, none, false}}},
		{"a probe of another link's", "does not give", []flow{{mac, all, etherARP, 0, 0, zero4, other, none, false}}},
		{"detection of another link's", "does not give", []flow{
			{mac, all, etherIPv6, protoICMPv6, icmp6NS, zero6, all6, mustAddr("2001:db8::1"), false},
		}},
	} {
		w := newWatch("wire", tun.Ethernet)
		l := w.learnHere(here)
		w.learn(1, []string{"wire"}, []netip.Addr{own, lost})
		w.learn(2, []string{"wire"}, []netip.Addr{local})
		w.learn(1, []string{"wire"}, []netip.Addr{own})
		for _, s := range l.spans[lost] {
			s.from, s.until = s.from.Add(-time.Minute), s.until.Add(-30*time.Second)
		}
		for _, f := range tt.flows {
			l.note(tun.Out, f)
			w.flows[f]++
		}
		faults := w.faults()
		if all := strings.Join(faults, "\n"); tt.wrong == "" && all != "" || !strings.Contains(all, tt.wrong) {
			t.Errorf("%s: found %q, want %q", tt.name, faults, tt.wrong)
		}
	}
	w := newWatch("wire", tun.Ethernet)
	if w.flows[discover]++; len(w.faults()) == 0 {
		t.Error("nothing is learned, and DHCPv4 is not found")
	}
	w.learn(1, []string{"elsewhere"}, []netip.Addr{own})
	w.learnHere(here)
	w.learn(2, []string{"wire"}, []netip.Addr{other})
	if len(w.learned.wrong) != 2 {
		t.Errorf("found %q, want a PvD of another link's and an address of another network's", w.learned.wrong)
	}
}
