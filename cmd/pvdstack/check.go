package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/daemon"
	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addrsel"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/pvd/selection"
)

func newCheck() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Check a configuration and say what it would build, touching nothing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(path, cmd.InOrStdin())
			if err != nil {
				return err
			}
			if err := rehearse(cmd.Context(), c); err != nil {
				return err
			}
			if _, err := io.WriteString(cmd.OutOrStdout(), summary(c)); err != nil {
				return failure{err}
			}
			return nil
		},
	}
	configFlag(cmd, &path)
	return cmd
}

// rehearse returns Faults for a configuration that the stack can not hold.
func rehearse(ctx context.Context, c *config.Config) error {
	err := daemon.Rehearse(ctx, c)
	if _, ok := errors.AsType[config.Faults](err); err == nil || ok {
		return err
	}
	return failure{err}
}

// summary says what a configuration builds, a line for each thing.
func summary(c *config.Config) string {
	var b strings.Builder
	for _, l := range c.Links {
		fmt.Fprintf(&b, "link %s: %s\n", l.Name, describeLink(l))
	}
	for _, p := range c.PvDs {
		fmt.Fprintf(&b, "pvd %s: %s\n", p.Name, describePvD(p))
	}
	for i, p := range c.Learned {
		fmt.Fprintf(&b, "pvd %s: %s\n", p.Name, describeLearned(c.Learn[i]))
	}
	for _, r := range c.Learn[len(c.Learned):] {
		fmt.Fprintf(&b, "what is learned on %s: %s\n", r.Match.Link, strings.Join(describeChanges(r), "; "))
	}
	fmt.Fprintf(&b, "default: %s\n", describeDefault(c))
	for _, r := range c.Rules {
		fmt.Fprintf(&b, "rule %s\n", describeRule(r))
	}
	if c.Policy != nil {
		fmt.Fprintf(&b, "policy: %s\n", describePolicy(c.Policy))
	}
	for _, p := range c.Proxies {
		fmt.Fprintf(&b, "socks5 %s: %s, %s\n", p.Listen, describeProxy(p), count(len(p.Users), "user"))
	}
	for _, e := range c.Steer.Table {
		fmt.Fprintf(&b, "names in %s: in %s\n", e.Suffix, e.PvD)
	}
	if len(c.Steer.Trust) > 0 {
		fmt.Fprintf(&b, "names that PvDs claim: of %s\n", strings.Join(c.Steer.Trust, ", "))
	}
	for _, d := range c.Stubs {
		fmt.Fprintf(&b, "dns %s: %s\n", d.Listen, describeProxy(config.Proxy{App: d.App, PvD: d.PvD}))
	}
	if c.State != "" {
		fmt.Fprintf(&b, "state: kept in %s\n", c.State)
	}
	if c.Roots != "" {
		fmt.Fprintf(&b, "roots: those of %s\n", c.Roots)
	}
	return b.String()
}

func describeDefault(c *config.Config) string {
	if len(c.Failover) > 0 {
		return "the first that can be used of " + strings.Join(c.Failover, ", ")
	}
	return orNone(c.Default)
}

// describeRule says which requests a rule is for and what becomes of them.
func describeRule(r config.Rule) string {
	var parts []string
	add := func(what string, of ...string) {
		if len(of) > 0 {
			parts = append(parts, what+" "+strings.Join(of, " or "))
		}
	}
	add("by", r.Apps...)
	add("to", append(slices.Clone(r.Domains), texts(r.Destinations, netip.Prefix.String)...)...)
	add("port", texts(r.Ports, func(p selection.Ports) string {
		if p.First == p.Last {
			return strconv.Itoa(int(p.First))
		}
		return fmt.Sprintf("%d-%d", p.First, p.Last)
	})...)
	add("over", r.Networks...)
	add("mark", texts(r.Marks, func(m selection.Mark) string { return strconv.Itoa(int(m.Value)) })...)
	add("tos", texts(r.ToS, func(t selection.ToS) string { return strconv.Itoa(int(t.Value)) })...)
	if len(parts) == 0 {
		parts = []string{"for all"}
	}
	return strings.Join(parts, ", ") + ": " + describeAction(r)
}

func describeAction(r config.Rule) string {
	switch {
	case r.PvD == config.SystemDefault:
		return "the default"
	case r.PvD != "":
		return r.PvD
	case r.Refuse:
		return "refused"
	case r.OrNext:
		return r.Choose.String() + ", or the next rule"
	}
	return r.Choose.String()
}

func describePolicy(p *pvd.Policy) string {
	var parts []string
	for _, r := range p.Rules {
		parts = append(parts, fmt.Sprintf("%s %s for %s", strings.Join(r.PvDs, " and "), r.What, strings.Join(r.Apps, " and ")))
	}
	parts = append(parts, "otherwise "+p.Default.String())
	if len(p.NoBridge) > 0 {
		parts = append(parts, "no bridges by "+strings.Join(p.NoBridge, " and "))
	}
	if len(p.SendAcross) > 0 {
		parts = append(parts, "sending across by "+strings.Join(p.SendAcross, " and "))
	}
	return strings.Join(parts, "; ")
}

func describeProxy(p config.Proxy) string {
	switch {
	case p.App != "":
		return "as app " + p.App
	case p.PvD == config.SystemDefault:
		return "to the default"
	}
	return "to " + p.PvD
}

func describeLink(l config.Link) string {
	var parts []string
	switch l.Type {
	case config.TUN, config.TAP:
		parts = append(parts, fmt.Sprintf("%s device %s", l.Type, l.Device))
	case config.Packet:
		parts = append(parts, "packet socket on "+l.Interface)
		if l.InterfaceMAC {
			parts = append(parts, "the interface's hardware address")
		}
	case config.FD:
		parts = append(parts, fmt.Sprintf("descriptor %d", l.FD))
	}
	if l.MTU != 0 {
		parts = append(parts, fmt.Sprintf("MTU %d", l.MTU))
	}
	if len(l.Host.Addresses) > 0 {
		parts = append(parts, "kernel's side "+join(l.Host.Addresses))
	}
	if l.Host.Bridge != "" {
		parts = append(parts, "in bridge "+l.Host.Bridge)
	}
	if d := l.Discover; d != (config.Discover{}) {
		parts = append(parts, "learning by "+strings.Join(chosen(
			option{d.RA, "router advertisements"}, option{d.DHCP4, "DHCPv4"}, option{d.DHCP6, "DHCPv6"}), " and "))
		parts = append(parts, chosen(
			option{d.Temporary, "temporary addresses"}, option{d.Prefixes, "delegated prefixes"},
			option{d.IPv6Only, "without IPv4 where the network wants that"}, option{d.Information, "asking PvDs for more"})...)
	}
	return strings.Join(parts, ", ")
}

// An option is a word for something that may be chosen.
type option struct {
	chosen bool
	word   string
}

// chosen returns the words for what is chosen.
func chosen(options ...option) (words []string) {
	for _, o := range options {
		if o.chosen {
			words = append(words, o.word)
		}
	}
	return words
}

// describeLearned says which PvD a rule is for and what becomes of it.
func describeLearned(r learn.Rule) string {
	m := r.Match
	what := "learned"
	switch {
	case m.ID != "":
		what += ", id " + string(m.ID)
	default:
		what += ", implicit"
	}
	if m.Link != "" {
		what += " on " + m.Link
	}
	if m.Router.IsValid() {
		what += " of router " + m.Router.String()
	}
	if r.Merge {
		what += ", one on all links"
	}
	return strings.Join(append([]string{what}, describeChanges(r)...), "; ")
}

// describeChanges says what becomes of what is learned.
func describeChanges(r learn.Rule) (parts []string) {
	no := chosen(option{r.Refuse.Addresses, "addresses"}, option{r.Refuse.Routes, "routes"}, option{r.Refuse.DNS, "DNS"})
	if len(no) > 0 {
		parts = append(parts, "the network's "+strings.Join(no, " and ")+" not accepted")
	}
	for _, m := range r.Modify {
		parts = append(parts, fmt.Sprintf("%v %v", m.Op(), m.Key()))
	}
	return parts
}

func describePvD(p config.PvD) string {
	c := p.Config
	parts := []string{"on " + strings.Join(c.Links, ", ")}
	if c.ID != "" {
		parts = append(parts, "id "+string(c.ID))
	}
	parts = append(parts,
		"addresses "+orNone(strings.Join(texts(c.Addresses, describeAddress), ", ")),
		count(len(c.Routes), "route"),
		"DNS "+orNone(join(c.DNS.Servers)))
	if len(c.Elements) > 0 {
		parts = append(parts, strings.Join(texts(c.Elements, describeElement), ", "))
	}
	return strings.Join(parts, "; ")
}

func describeAddress(a pvd.Address) string {
	words := []string{a.Prefix.String()}
	for _, flag := range []struct {
		set  bool
		name string
	}{{a.Temporary, "temporary"}, {a.Deprecated, "deprecated"}, {a.Home, "home"}} {
		if flag.set {
			words = append(words, flag.name)
		}
	}
	return strings.Join(words, " ")
}

// describeElement says in a few words what an element is.
func describeElement(e pvd.Element) string {
	key := e.Key().String()
	switch v := e.Value().(type) {
	case bool:
		switch {
		case v:
			return key
		case e.Key() == pvd.NoInternet.Any():
			return "internet"
		}
		return "not " + key
	case uint64: // a speed
		return fmt.Sprintf("%s %d bit/s", key, v)
	case []string:
		return key + " " + strings.Join(v, " and ")
	case []netip.Prefix:
		return key + " " + join(v)
	case pvd.Portal:
		return key + " " + v.API
	case []pvd.Proxy:
		return key + " " + strings.Join(texts(v, func(p pvd.Proxy) string { return p.Protocol + " " + p.Address }), " and ")
	case []pvd.EncryptedServer:
		return key + " " + strings.Join(texts(v, func(s pvd.EncryptedServer) string { return s.Name + " by " + strings.Join(s.ALPN, " or ") }), " and ")
	case pvd.ResolverOptions:
		return key + " " + strings.Join(describeResolving(v), " and ")
	case addrsel.Config:
		return "its own " + key
	default:
		return fmt.Sprintf("%s %v", key, v)
	}
}

// describeResolving says how servers are asked, where it is said.
func describeResolving(o pvd.ResolverOptions) []string {
	parts := []string{cmp.Or(o.Strategy, "sequential")}
	if o.Timeout != 0 {
		parts = append(parts, fmt.Sprintf("timeout %v", o.Timeout))
	}
	if o.Ndots != 0 {
		parts = append(parts, fmt.Sprintf("ndots %d", o.Ndots))
	}
	return append(parts, chosen(option{o.MixCase, "mixed case"})...)
}

func join[T fmt.Stringer](list []T) string { return strings.Join(texts(list, T.String), ", ") }

// texts returns what text makes of each.
func texts[T any](list []T, text func(T) string) []string {
	s := make([]string, len(list))
	for i, v := range list {
		s[i] = text(v)
	}
	return s
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// count returns "no things", "1 thing" or "n things".
func count(n int, thing string) string {
	switch n {
	case 0:
		return "no " + thing + "s"
	case 1:
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
