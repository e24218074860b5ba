package probe

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/learn"
)

// A Report is what came of listening. Times of day are in RFC 3339, durations in seconds.
type Report struct {
	Link         string     `json:"link"`
	HardwareAddr string     `json:"hardware_address,omitempty"` // that was used to ask
	Seconds      float64    `json:"seconds"`                    // for how long
	Silent       string     `json:"silent,omitempty"`           // why nothing could be heard
	PvDs         []PvD      `json:"pvds"`
	Heard        []Heard    `json:"heard"`
	Rejected     []Rejected `json:"rejected"`
}

// A PvD is one that would be built.
type PvD struct {
	Name      string            `json:"name"`
	ID        string            `json:"id,omitempty"` // empty: implicit
	From      From              `json:"from"`
	Addresses []string          `json:"addresses"`
	Routes    []string          `json:"routes"`
	Servers   []string          `json:"dns_servers"`
	Search    []string          `json:"dns_search"`
	MTU       int               `json:"mtu,omitempty"`
	Elements  map[string]string `json:"elements,omitempty"` // by their keys, for people
}

// From is what a PvD is made of.
type From struct {
	Routers []string `json:"routers,omitempty"`       // by their advertisements
	DHCPv4  string   `json:"dhcpv4_server,omitempty"` // whose lease it has
	Until   string   `json:"dhcpv4_until,omitempty"`  // empty: for ever
	Shared  int      `json:"dhcpv4_shared,omitempty"` // how many PvDs have the lease, if several
	Managed bool     `json:"dhcpv6_addresses,omitempty"`
	Other   bool     `json:"dhcpv6_other,omitempty"`
}

// A Rejected is something that was not used of what the network said.
type Rejected struct {
	From  string `json:"from,omitempty"`
	Why   string `json:"why"`
	Count uint64 `json:"count"`
}

// report tells what came of listening.
func (p *prober) report(took time.Duration) *Report {
	r := &Report{
		Link: p.Name, HardwareAddr: p.mac.String(), Seconds: took.Seconds(),
		PvDs: []PvD{}, Heard: append([]Heard{}, p.heard...), Rejected: []Rejected{},
	}
	if err := p.silent(); err != nil {
		r.Silent = strings.ReplaceAll(err.Error(), "\n", ": ")
	}
	for _, s := range p.machine.Proposals() {
		r.PvDs = append(r.PvDs, describe(s))
	}
	for _, m := range p.machine.Remarks() {
		from := ""
		if m.From.IsValid() {
			from = m.From.String()
		}
		r.Rejected = append(r.Rejected, Rejected{From: from, Why: m.What, Count: m.Count})
	}
	slices.SortStableFunc(r.Rejected, func(a, b Rejected) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Why, b.Why))
	})
	return r
}

// describe returns what a PvD would be.
func describe(s *learn.Proposal) PvD {
	d := PvD{
		Name: s.Name, ID: string(s.Key.ID), MTU: s.MTU,
		Addresses: []string{}, Routes: []string{}, Servers: []string{}, Search: append([]string{}, s.Search...),
	}
	for _, a := range s.Addresses {
		t := a.Prefix.String()
		if a.Temporary {
			t += " temporary"
		}
		if a.Deprecated {
			t += " deprecated"
		}
		d.Addresses = append(d.Addresses, t)
	}
	for _, r := range s.Routes {
		d.Routes = append(d.Routes, routeText(r))
	}
	for _, a := range s.Servers {
		d.Servers = append(d.Servers, a.String())
	}
	for _, e := range s.Elements {
		if os, ok := e.Value().([]learn.Origin); ok && len(os) > 0 {
			d.From = from(os[0]) // there is one link
			continue
		}
		if d.Elements == nil {
			d.Elements = make(map[string]string)
		}
		d.Elements[e.Key().String()] = valueText(e.Value())
	}
	return d
}

func from(o learn.Origin) From {
	f := From{Managed: o.Managed, Other: o.Other}
	for _, r := range o.Routers {
		f.Routers = append(f.Routers, r.String())
	}
	if o.Server4.IsValid() {
		f.DHCPv4 = o.Server4.String()
		if !o.Lease4.IsZero() {
			f.Until = o.Lease4.UTC().Format(time.RFC3339)
		}
		if o.Shared > 1 {
			f.Shared = o.Shared
		}
	}
	return f
}

func routeText(r pvd.Route) string {
	t := r.To.String()
	if r.Via.IsValid() {
		t += " via " + r.Via.WithZone("").String()
	} else {
		t += " on the link"
	}
	if r.From.IsValid() {
		t += " from " + r.From.String()
	}
	if r.Preference != pvd.Medium {
		t += " preference " + r.Preference.String()
	}
	return t
}

// valueText returns an element's value for people. Text from the network is quoted.
func valueText(v any) string {
	switch v := v.(type) {
	case []netip.Prefix:
		return texts(v)
	case string:
		return strconv.Quote(v)
	case pvd.Portal:
		return strconv.Quote(v.API)
	case []string:
		return fmt.Sprintf("%q", v)
	}
	text := strconv.QuoteToGraphic(fmt.Sprint(v))
	return text[1 : len(text)-1]
}

// Write writes a report for people.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	if r.Silent != "" {
		fmt.Fprintf(&b, "nothing could be heard: %s\n", r.Silent)
	}
	for _, p := range r.PvDs {
		p.write(&b)
	}
	if len(r.Heard) > 0 {
		b.WriteString("heard:\n")
	}
	for _, h := range r.Heard {
		fmt.Fprintf(&b, "  %s of %s, %s\n", h.What, h.From, times(uint64(h.Count)))
		for _, s := range h.Says {
			fmt.Fprintf(&b, "    %s\n", s)
		}
	}
	if len(r.Rejected) > 0 {
		b.WriteString("not used:\n")
	}
	for _, j := range r.Rejected {
		from := ""
		if j.From != "" {
			from = j.From + ": "
		}
		fmt.Fprintf(&b, "  %s%s, %s\n", from, strconv.QuoteToGraphic(j.Why), times(j.Count))
	}
	fmt.Fprintf(&b, "%s\n", r.Summary())
	_, err := io.WriteString(w, b.String())
	return err
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func (p *PvD) write(b *strings.Builder) {
	kind := "implicit"
	if p.ID != "" {
		kind = "explicit, id " + p.ID
	}
	fmt.Fprintf(b, "pvd %s: %s\n", p.Name, kind)
	line := func(what string, values ...string) {
		if len(values) > 0 {
			fmt.Fprintf(b, "  %-10s %s\n", what, strings.Join(values, "\n             "))
		}
	}
	line("from", p.From.lines()...)
	line("addresses", p.Addresses...)
	line("routes", p.Routes...)
	line("dns", p.Servers...)
	line("search", p.Search...)
	if p.MTU != 0 {
		line("mtu", strconv.Itoa(p.MTU))
	}
	var elements []string
	for k, v := range p.Elements {
		elements = append(elements, k+": "+v)
	}
	slices.Sort(elements)
	line("elements", elements...)
}

func (f From) lines() (lines []string) {
	for _, r := range f.Routers {
		lines = append(lines, "router "+r)
	}
	if f.DHCPv4 != "" {
		t := "DHCPv4 lease of " + f.DHCPv4
		if f.Until != "" {
			t += " until " + f.Until
		}
		if f.Shared > 1 {
			t += fmt.Sprintf(", shared by %d PvDs", f.Shared)
		}
		lines = append(lines, t)
	}
	if f.Managed {
		lines = append(lines, "DHCPv6, for addresses")
	}
	if f.Other {
		lines = append(lines, "DHCPv6, for other configuration")
	}
	return lines
}
