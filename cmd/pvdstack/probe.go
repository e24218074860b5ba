package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/daemon"
	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/probe"
	"github.com/pvdstack/pvdstack/pvd"
)

// maxProbe is how long a probe may take: routers that are configured by the book speak every
// half an hour (RFC 4861 section 6.2.1).
const maxProbe = time.Hour

func newProbe() *cobra.Command {
	var (
		path   string
		asJSON bool
		c      probe.Config
	)
	cmd := &cobra.Command{
		Use:   "probe LINK",
		Short: "Listen on a link and say which PvDs its network would make",
		Long: `Probe listens on LINK, asks routers and DHCP servers as "run" does, and says which PvDs
would be built, from what, and what was not used of what the network says, and why. LINK is
an interface's name or, with -c, a link of the configuration, whose "discover" and "match"
count then.

Nothing is attached, and what was leased is given back, but for an IPv4 address that it is
not known of yet whether somebody else has it, which takes some seconds. The hardware address
and the addresses made from it are used once, so they are not those that "run" would have.

It exits 0 if there is a PvD, 1 if there is none or the link fails, and 2 if it is called
wrongly.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.For <= 0 || c.For > maxProbe {
				return fmt.Errorf("--for is %v: want a time up to %v", c.For, maxProbe)
			}
			l, err := probed(cmd, path, args[0], &c)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			// A second signal ends the process the usual way.
			context.AfterFunc(ctx, stop)
			r, err := probeLink(ctx, l, c)
			if err != nil {
				return failure{fmt.Errorf("link %s: %w", l.Name, err)}
			}
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				err = e.Encode(r)
			} else {
				err = r.Write(cmd.OutOrStdout())
			}
			if len(r.PvDs) == 0 {
				err = errors.Join(err, fmt.Errorf("link %s: there is no PvD", l.Name))
			}
			if err != nil {
				return failure{err}
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", `the configuration's file; "-" is standard input`)
	cmd.Flags().DurationVar(&c.For, "for", 10*time.Second, "how long to listen")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// probed returns the link to listen on, and sets how.
func probed(cmd *cobra.Command, path, name string, c *probe.Config) (config.Link, error) {
	c.Name, c.Clock = name, pvd.SystemClock()
	all := config.Discover{RA: true, DHCP4: true, DHCP6: true}
	if path == "" {
		c.Discover = all
		return config.Link{Name: name, Type: config.Packet, Interface: name}, nil
	}
	file, err := config.Load(path, cmd.InOrStdin())
	if err != nil {
		return config.Link{}, err
	}
	i := slices.IndexFunc(file.Links, func(l config.Link) bool { return l.Name == name })
	if i < 0 {
		return config.Link{}, fmt.Errorf("there is no link %q in %s", name, path)
	}
	l := file.Links[i]
	c.Discover, c.Rules = l.Discover, file.Learn
	if c.Discover == (config.Discover{}) {
		all.DHCP4 = l.Type != config.TUN && l.Layer != config.IP
		c.Discover = all
	}
	return l, nil
}

// probeLink opens a link, listens on it and leaves it as it was.
func probeLink(ctx context.Context, l config.Link, c probe.Config) (r *probe.Report, err error) {
	link, undo, err := daemon.OpenLink(l)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, undo()) }()
	c.Link = link
	return probe.Run(ctx, c)
}
