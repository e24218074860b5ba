package stack_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// A mouth is where a network speaks to a link that learns.
type mouth struct {
	t    *testing.T
	link tun.Link
}

// learnOn gives a host a link on which it learns from router advertisements.
func learnOn(t *testing.T, h *stack.Host, name string, d stack.Discovery) mouth {
	t.Helper()
	l, r := tun.Pipe(tun.PipeConfig{Layer: tun.Ethernet})
	t.Cleanup(func() { _ = r.Close() })
	if err := h.AddLink(name, l); err != nil {
		t.Fatal(err)
	}
	d.RA = true
	if err := h.Discover(name, d); err != nil {
		t.Fatal(err)
	}
	return mouth{t, r}
}

// advertise says a, from a router's address.
func (m mouth) advertise(from string, a ra.Advertisement) {
	m.t.Helper()
	src := netip.MustParseAddr(from)
	message, err := a.Append(nil, src, ra.AllNodes)
	if err != nil {
		m.t.Fatal(err)
	}
	f := append([]byte{0x33, 0x33, 0, 0, 0, 1}, 2, 0, 0, 0, 1, src.As16()[15])
	f = binary.BigEndian.AppendUint16(f, 0x86dd)
	f = append(f, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(len(message)))
	f = append(append(append(f, 58, 255), src.AsSlice()...), ra.AllNodes.AsSlice()...)
	if err := m.link.Send([][]byte{append(f, message...)}, tun.Meta{}); err != nil {
		m.t.Fatal(err)
	}
}

// bystander gives a host a PvD that nobody has learned. The function that it returns fails the
// test if that is no longer as it was.
func bystander(t *testing.T, h *stack.Host) (unchanged func()) {
	t.Helper()
	pipe(t, "aside", h, nil)
	n := add(t, h, config("aside", "192.168.1.2/24"))
	was, err := h.Info(n.PvD())
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if is, err := h.Info(n.PvD()); err != nil || is != was {
			t.Errorf("a PvD of another link is %+v, %v; it was %+v", is, err, was)
		}
	}
}

// of is an advertisement of an explicit PvD with one prefix.
func of(id pvd.ID, prefix string) ra.Advertisement {
	a := ra.Advertisement{
		Header: ra.Header{Lifetime: time.Hour},
		Options: []ra.Option{ra.PrefixInformation{
			Prefix: netip.MustParsePrefix(prefix), OnLink: true, Autonomous: true, Valid: time.Hour, Preferred: time.Hour,
		}},
	}
	if id != "" {
		a.Options = append(a.Options, ra.PvDOption{ID: id})
	}
	return a
}

// pvdsCalled returns the PvDs that have a name or an ID.
func pvdsCalled(h *stack.Host, name string) (refs []pvd.Ref) {
	for _, ref := range h.List() {
		if i, err := h.Info(ref); err == nil && (i.Name() == name || string(i.ID()) == name) {
			refs = append(refs, ref)
		}
	}
	return refs
}

func linksOf(t *testing.T, h *stack.Host, ref pvd.Ref) []string {
	t.Helper()
	i, err := h.Info(ref)
	if err != nil {
		return nil
	}
	links, _ := pvd.Links.Get(i)
	return links
}

// TestSameIDOnTwoLinks has one ID advertised on two links: two PvDs, or one where the ID is
// trusted (RFC 8801 section 3.4).
func TestSameIDOnTwoLinks(t *testing.T) {
	const id = "corp.example"
	h := newHost(t)
	unchanged := bystander(t, h)
	for _, name := range []string{"a", "b"} {
		learnOn(t, h, name, stack.Discovery{}).advertise("fe80::1", of(id, "2001:db8:1::/64"))
	}
	eventually(t, "two PvDs", func() bool { return len(pvdsCalled(h, id)) == 2 })
	for _, ref := range pvdsCalled(h, id) {
		if l := linksOf(t, h, ref); len(l) != 1 {
			t.Errorf("%v is on %v", ref, l)
		}
	}

	unchanged()

	h = newHost(t)
	unchanged = bystander(t, h)
	trusting := stack.Discovery{Rules: learn.Rules{{Match: learn.Match{ID: id}, Merge: true}}}
	a := learnOn(t, h, "a", trusting)
	a.advertise("fe80::1", of(id, "2001:db8:1::/64"))
	eventually(t, "a PvD", func() bool { return len(pvdsCalled(h, id)) == 1 })
	ref := pvdsCalled(h, id)[0]
	b := learnOn(t, h, "b", trusting)
	b.advertise("fe80::1", of(id, "2001:db8:2::/64"))
	eventually(t, "it is on both links", func() bool { return slices.Equal(linksOf(t, h, ref), []string{"a", "b"}) })
	i, err := h.Info(ref)
	if err != nil {
		t.Fatal(err)
	}
	addrs, _ := pvd.Addresses.Get(i)
	origins, _ := learn.Learned.Get(i)
	if len(addrs) != 4 || len(origins) != 2 || len(pvdsCalled(h, id)) != 1 {
		t.Errorf("addresses %+v, learned %+v, PvDs %v", addrs, origins, pvdsCalled(h, id))
	}
	// One link goes: the PvD is the same, on the other.
	if err := h.RemoveLink("a"); err != nil {
		t.Fatal(err)
	}
	if got := linksOf(t, h, ref); !slices.Equal(got, []string{"b"}) {
		t.Errorf("on %v", got)
	}
	if err := h.Discover("b", stack.Discovery{}); err != nil {
		t.Fatal(err)
	}
	if refs := h.List(); len(refs) != 1 {
		t.Errorf("%v remain, not only the bystander", refs)
	}
	unchanged()
}

// TestLearnedPvDIsRemoved has somebody remove a PvD that is learned: it comes back as another
// attachment only.
func TestLearnedPvDIsRemoved(t *testing.T) {
	h := newHost(t)
	unchanged := bystander(t, h)
	m := learnOn(t, h, "a", stack.Discovery{})
	m.advertise("fe80::1", of("", "2001:db8:1::/64"))
	eventually(t, "a PvD", func() bool { return len(pvdsCalled(h, "a")) == 1 })
	if err := h.Remove(t.Context(), pvdsCalled(h, "a")[0]); err != nil {
		t.Fatal(err)
	}
	m.advertise("fe80::1", of("", "2001:db8:2::/64"))
	m.advertise("fe80::2", of("", "2001:db8:3::/64"))
	eventually(t, "the other router's PvD", func() bool { return len(pvdsCalled(h, "a/fe80::2")) == 1 })
	if refs := h.List(); len(refs) != 2 { // with the bystander
		t.Errorf("%v", refs)
	}
	unchanged()
}

// TestDiscoverRefuses lists what can not be learned.
func TestDiscoverRefuses(t *testing.T) {
	h := newHost(t)
	pipe(t, "ip", h, nil)
	for name, d := range map[string]stack.Discovery{
		"nolink": {RA: true},
		"ip":     {RA: true, DHCPv4: true}, // not on an IP link
	} {
		if err := h.Discover(name, d); err == nil {
			t.Errorf("%s: %+v is taken", name, d)
		}
	}
	if err := h.Discover("ip", stack.Discovery{DHCPv6: true}); err == nil {
		t.Error("DHCPv6 without advertisements is taken")
	}
	if _, err := h.Remarks("ip"); err == nil {
		t.Error("remarks where nothing is learned")
	}
}

// TestRemarks tells what was not used.
func TestRemarks(t *testing.T) {
	h := newHost(t)
	unchanged := bystander(t, h)
	m := learnOn(t, h, "a", stack.Discovery{})
	bad := of("", "2001:db8:1::/64")
	bad.Options = append(bad.Options, ra.MTU(100))
	m.advertise("fe80::1", bad)
	eventually(t, "a remark", func() bool {
		rs, err := h.Remarks("a")
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(rs, func(r learn.Remark) bool { return r.From == netip.MustParseAddr("fe80::1") })
	})
	unchanged()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Remarks("a"); err == nil {
		t.Error("remarks of a host that is closed")
	}
	if err := h.Discover("a", stack.Discovery{RA: true}); err == nil {
		t.Error("a host that is closed learns")
	}
}

// TestR22_LearnedPvDs uses an explicit and an implicit PvD that were learned, from networks
// with the same addresses, in the ways in which configured ones are used.
func TestR22_LearnedPvDs(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	unchanged := bystander(t, h)
	refs := make(map[string]pvd.Ref)
	for link, id := range map[string]pvd.ID{"one": "corp.example", "two": ""} {
		m := learnOn(t, h, link, stack.Discovery{})
		peer := newHost(t)
		if err := peer.AddLink("lan", m.link); err != nil {
			t.Fatal(err)
		}
		mustListen(t, add(t, peer, config("lan", "2001:db8:1::80/64")), "tcp", "[2001:db8:1::80]:80")
		m.advertise("fe80::1", of(id, "2001:db8:1::/64"))
		name := cmp.Or(string(id), link)
		eventually(t, name+" is there", func() bool { return len(pvdsCalled(h, name)) == 1 })
		refs[name] = pvdsCalled(h, name)[0]
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := h.WaitReady(ctx, refs[name], pvd.HasAddr6, pvd.HasDefault6); err != nil {
			t.Fatal(err)
		}
	}
	const web = "[2001:db8:1::80]:80"
	a := h.App("browser")
	in := func(what string, want pvd.Ref, d pvd.Dialer, ctx context.Context, address string) {
		t.Helper()
		c, err := d.DialContext(ctx, "tcp", address)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return
		}
		defer c.Close()
		if got, ok := pvd.Of(c); !ok || got != want {
			t.Errorf("%s: in %v, want %v", what, got, want)
		}
	}
	for name, ref := range refs {
		info, err := a.Info(ref)
		if err != nil || (info.ID() != "") != (name == "corp.example") {
			t.Fatalf("%s: %v, %v", name, info, err)
		}
		in("bound", ref, h.In(ref), t.Context(), web)
		in("context", ref, a, pvd.NewContext(t.Context(), ref), web)
		in("zone", ref, a, t.Context(), "[2001:db8:1::80%"+name+"]:80")
		if err := a.SetDefault(ref); err != nil {
			t.Fatal(err)
		}
		in("default", ref, a, t.Context(), web)
		if err := h.SetDefault(ref); err != nil {
			t.Fatal(err)
		}
		in("system default", ref, h.In(pvd.SystemDefault), t.Context(), web)
		if found, err := a.Find(name); err != nil || found != ref {
			t.Errorf("%s is %v, %v", name, found, err)
		}
	}
	unchanged()
}
