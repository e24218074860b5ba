package stack

import (
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/tun"
)

// tap gives the agent a copy of a frame of n octets that it may learn from, and reports
// whether the frame is for nobody else. Only the link's reader calls it.
func (a *agent) tap(r *receiver, head []byte, n int) (consumed bool) {
	ethernet := a.mac != nil
	kind := learn.KindOf(ethernet, head)
	if !a.learnsFrom(kind) || n > learn.MaxFrame {
		return false
	}
	if ethernet && head[0]&1 == 0 && mac(head[:6]) != mac(a.mac) {
		return false // to another station
	}
	if ethernet && (mac(head[6:12]) == mac(a.mac) || head[6]&1 != 0) {
		return false // from ourselves, or from nobody
	}
	ok := a.give(r, head, n)
	if !kind.Consumed() {
		return false
	}
	if ok {
		r.link.stats.add(learned)
	} else {
		r.link.stats.add(dropLearning)
	}
	return true
}

// learnsFrom reports whether frames of a kind are of use to the agent.
func (a *agent) learnsFrom(kind learn.Kind) bool {
	switch kind {
	case learn.Advertisement, learn.Redirect:
		return a.config.RA
	case learn.DHCPv4, learn.ARP:
		return a.config.DHCPv4
	case learn.DHCPv6:
		return a.config.DHCPv6
	case learn.Other:
	}
	return false
}

func (a *agent) give(r *receiver, head []byte, n int) bool {
	if len(a.frames) == cap(a.frames) {
		return false
	}
	f := append(append(make([]byte, 0, n), head...), r.body.AsSlice()[:n-len(head)]...)
	m := r.meta
	if m.Flags&tun.NeedsCsum != 0 {
		if err := tun.Complete(f, r.link.link.Layer(), &m); err != nil {
			return false
		}
	}
	if c := a.host.capture; c != nil {
		c.Write(a.captureID, tun.In, a.host.clock.Now(), [][]byte{f}, tun.Meta{})
	}
	select {
	case a.frames <- f:
		return true
	default: // run is the only one that takes, so this does not happen
		return false
	}
}

// pokeAgents has the agents look around that may have learned the PvD.
func (d *domain) pokeAgents() {
	for _, p := range *d.nics.Load() {
		p.link.pokeAgent()
	}
}

// pokeAgent has the link's agent look around.
func (l *hostLink) pokeAgent() {
	if a := l.agent.Load(); a != nil {
		a.poke()
	}
}
