package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// Rehearse finds out, touching nothing, whether the stack can hold what c says: PvDs with
// equal addresses on one link have to be told apart, and the stack knows how. It also reads
// the trust anchors. The error is config.Faults where something is wrong with these.
func Rehearse(ctx context.Context, c *config.Config) error {
	if _, err := loadRoots(c.Roots); err != nil {
		return config.Faults{{File: c.File, Position: c.RootsAt, Message: err.Error() + ": want a file with certificates in PEM"}}
	}
	crowded := crowdedLinks(c)
	if len(crowded) == 0 {
		return nil
	}
	host, err := stack.New(stack.Config{})
	if err != nil {
		return err
	}
	faults, err := rehearse(ctx, host, c, crowded)
	if err = errors.Join(err, host.Close()); err != nil {
		return err
	}
	if len(faults) > 0 {
		return faults
	}
	return nil
}

// crowdedLinks returns the links on which an address is there twice.
func crowdedLinks(c *config.Config) map[string]bool {
	type place struct {
		link string
		addr netip.Addr
	}
	seen := make(map[place]bool)
	crowded := make(map[string]bool)
	for _, p := range c.PvDs {
		for _, a := range p.Config.Addresses {
			at := place{p.Config.LinkOf(a.Link), a.Prefix.Addr()}
			if seen[at] {
				crowded[at.link] = true
			}
			seen[at] = true
		}
	}
	return crowded
}

// rehearse attaches all PvDs on crowded links to a host whose links lead nowhere.
func rehearse(ctx context.Context, host *stack.Host, c *config.Config, crowded map[string]bool) (config.Faults, error) {
	for _, l := range c.Links {
		layer := tun.Ethernet
		if l.Type == config.TUN || l.Layer == config.IP {
			layer = tun.IP
		}
		near, far := tun.Pipe(tun.PipeConfig{Layer: layer, MTU: l.MTU})
		if err := errors.Join(far.Close(), host.AddLink(l.Name, near)); err != nil {
			return nil, fmt.Errorf("link %s: %w", l.Name, err)
		}
	}
	var faults config.Faults
	for _, p := range c.PvDs {
		on := false
		for _, l := range p.Config.Links {
			on = on || crowded[l]
		}
		if !on {
			continue
		}
		if _, err := host.Add(ctx, p.Config); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			message := strings.TrimPrefix(err.Error(), "stack: ") + `: want another address, another link, or "neighbors" that tell them apart`
			faults = append(faults, &config.Fault{File: c.File, Position: p.At, Message: message})
		}
	}
	return faults, nil
}
