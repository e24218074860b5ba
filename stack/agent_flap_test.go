package stack

import (
	"testing"
	"time"
)

// TestLinkFlapsUnseen has a link go and come back before its agent looks, or before anybody
// does: the two events are one then, which says that it is up. The link may lead elsewhere now:
// routers are looked for again, although one has been found.
func TestLinkFlapsUnseen(t *testing.T) {
	for what, events := range map[string][]bool{"by the agent": {false, true}, "by anybody": {true}} {
		t.Run(what, func(t *testing.T) {
			p := teach(t, func(*Host) {})
			l, _ := p.link("lan")
			l.agent.Load().asks <- func() { // which it is busy with meanwhile
				for _, up := range events {
					l.up.Store(up)
					p.linkChanged(l)
				}
			}
			select {
			case <-p.solicited:
			case <-time.After(10 * time.Second):
				t.Error("no router is looked for")
			}
		})
	}
}
