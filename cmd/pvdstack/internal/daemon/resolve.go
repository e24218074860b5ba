package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack/dns"
)

// A Lookup is a name to look up as the daemon would.
type Lookup struct {
	Name string
	Type uint16        // of records, of the name as it is; 0: addresses, by the search list too
	PvD  string        // as the configuration names it; empty: the one that is chosen for the name
	Wait time.Duration // for a PvD that is learned to be there and to have a DNS server
}

// A Resolution is how a name was looked up.
type Resolution struct {
	Name    string   `json:"name"`
	PvD     string   `json:"pvd"` // its name; empty: there was none
	Ref     pvd.Ref  `json:"ref"`
	Steps   []Step   `json:"steps"`
	Answers []string `json:"answers"` // addresses, or records as zone files have them
	Error   string   `json:"error,omitempty"`
}

// A Step is a question to one server, or to the cache.
type Step struct {
	Name    string         `json:"name"`
	Type    string         `json:"type,omitempty"` // empty: addresses, which nobody was asked for
	Cache   string         `json:"cache"`
	Server  string         `json:"server,omitempty"`
	Net     string         `json:"net,omitempty"`
	Source  netip.AddrPort `json:"source"`
	Link    string         `json:"link,omitempty"`
	NextHop netip.Addr     `json:"next_hop"`
	Time    time.Duration  `json:"nanoseconds"`
	Rcode   string         `json:"rcode,omitempty"` // empty: there was no answer
	TTL     time.Duration  `json:"ttl_nanoseconds"`
	Error   string         `json:"error,omitempty"`
}

// Resolve builds what of c the lookup needs, without proxies and DNS servers, looks the name
// up, and undoes it all. Nothing is kept, and what is leased is given back: it is as if
// another machine came and went. The error says what could not be built, or why there is no
// answer; where a PvD was asked, the Resolution is not nil.
func Resolve(ctx context.Context, c *config.Config, l Lookup, log *slog.Logger) (r *Resolution, err error) {
	d := &daemon{log: log, system: newKernel(), readyTimeout: readyTimeout}
	return d.resolve(ctx, c, l)
}

// resolve is Resolve.
func (d *daemon) resolve(ctx context.Context, c *config.Config, l Lookup) (r *Resolution, err error) {
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.start(ctx, l.needs(c)); err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- d.serve(serving) }()
	defer func() {
		stop()
		err = errors.Join(err, <-served)
	}()
	ref, err := d.awaitPvD(ctx, l)
	if err != nil {
		return nil, err
	}
	return d.lookUp(ctx, l, ref)
}

// needs returns what of c has to be built.
func (l Lookup) needs(c *config.Config) *config.Config {
	n := *c
	n.Proxies, n.Stubs, n.State = nil, nil, ""
	if l.PvD == "" {
		return &n
	}
	n.Failover, n.Rules, n.Policy, n.Steer, n.Default = nil, nil, nil, config.Steer{}, l.PvD
	on := func(string) bool { return true }
	if c.IsLearned(l.PvD) {
		n.PvDs = nil
		if i := slices.IndexFunc(c.Learned, func(p config.Learned) bool { return p.Name == l.PvD }); i >= 0 && c.Learn[i].Match.Link != "" {
			on = func(link string) bool { return link == c.Learn[i].Match.Link }
		}
	} else {
		i := slices.IndexFunc(c.PvDs, func(p config.PvD) bool { return p.Name == l.PvD })
		n.PvDs = c.PvDs[i : i+1]
		on = func(link string) bool { return slices.Contains(c.PvDs[i].Config.Links, link) }
	}
	n.Links = nil
	for _, link := range c.Links {
		if len(n.PvDs) > 0 {
			link.Discover = config.Discover{}
		} else if link.Discover == (config.Discover{}) {
			continue
		}
		if on(link.Name) {
			n.Links = append(n.Links, link)
		}
	}
	return &n
}

// awaitPvD waits for the PvD of the lookup, and returns it. One that is not learned has
// what it will ever have.
func (d *daemon) awaitPvD(ctx context.Context, l Lookup) (pvd.Ref, error) {
	ctx, cancel := context.WithTimeout(ctx, l.Wait)
	defer cancel()
	static := slices.Collect(maps.Values(d.refs))
	for {
		ref, err := d.pick(ctx, l)
		if err == nil && !slices.Contains(static, ref) {
			err = errors.Join(d.host.WaitReady(ctx, ref, pvd.HasDNS), d.host.WaitReady(ctx, ref))
		}
		if err == nil || len(d.learner.names) == 0 {
			return ref, err
		}
		select {
		case <-ctx.Done():
			return ref, fmt.Errorf("within %v: %w", l.Wait, err)
		case <-time.After(pickPause):
		}
	}
}

// pick returns the PvD that the lookup is in at this moment.
func (d *daemon) pick(ctx context.Context, l Lookup) (ref pvd.Ref, err error) {
	switch {
	case l.PvD != "":
		return d.find(l.PvD)
	case d.selector != nil:
		if ref, err = d.selector.SelectPvD(ctx, pvd.Call{Network: "ip", Host: l.Name}); err != nil {
			return ref, err
		}
	}
	if ref == pvd.Unspecified || ref == pvd.SystemDefault {
		ref = d.host.Default()
	}
	if ref == pvd.Null || ref == absent {
		return ref, fmt.Errorf("no PvD is chosen for %q, and there is no default: %w", l.Name, pvd.ErrNoPvD)
	}
	return ref, nil
}

// lookUp looks the name up in a PvD.
func (d *daemon) lookUp(ctx context.Context, l Lookup, ref pvd.Ref) (*Resolution, error) {
	r := &Resolution{Name: l.Name, Ref: ref, Steps: []Step{}, Answers: []string{}}
	if i, err := d.host.Info(ref); err == nil {
		r.PvD = i.Name()
	}
	n := d.host.In(ref)
	var events []dns.Event
	asking := dns.WithTrace(ctx, func(e dns.Event) { events = append(events, e) })
	var err error
	if l.Type == 0 {
		var addrs []netip.Addr
		addrs, err = n.LookupNetIP(asking, "ip", l.Name)
		for _, a := range addrs {
			r.Answers = append(r.Answers, a.String())
		}
	} else {
		var m *wire.Msg
		if m, _, err = n.Query(asking, dns.Question{Name: l.Name, Type: l.Type}); err == nil {
			var texts []string
			texts, err = records(l, m)
			r.Answers = append(r.Answers, texts...)
		}
	}
	for _, e := range events {
		r.Steps = append(r.Steps, d.step(ctx, ref, e))
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r, err
}

// records returns the records of an answer, and what is wrong if there is none.
func records(l Lookup, m *wire.Msg) (texts []string, err error) {
	for _, rr := range m.Answer {
		texts = append(texts, rr.String())
	}
	switch {
	case m.Rcode == wire.RcodeNameError:
		err = fmt.Errorf("lookup %s: no such host", l.Name)
	case len(texts) == 0:
		err = fmt.Errorf("lookup %s: no record of type %s", l.Name, wire.Type(l.Type))
	}
	return texts, err
}

// step says what an event was, and by which route.
func (d *daemon) step(ctx context.Context, ref pvd.Ref, e dns.Event) Step {
	s := Step{
		Name: e.Question.Name, Cache: e.Cache.String(),
		Net: e.Net, Source: e.Source, Time: e.RTT, TTL: e.TTL,
	}
	if e.Question.Type != 0 {
		s.Type = wire.Type(e.Question.Type).String()
	}
	if e.Server != (dns.Server{}) {
		s.Server = e.Server.String()
	}
	if e.Rcode >= 0 {
		s.Rcode = cmp.Or(wire.RcodeToString[e.Rcode], fmt.Sprintf("RCODE%d", e.Rcode))
	}
	if e.Err != nil {
		s.Error = e.Err.Error()
	}
	if e.Net == "" {
		return s
	}
	if route, err := d.host.In(ref).Route(ctx, e.Server.Addr.Addr()); err == nil {
		s.Link, s.NextHop = route.Link, route.NextHop
	}
	return s
}
