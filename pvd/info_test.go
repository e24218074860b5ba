package pvd_test

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// The four things that can be asked of any PvD (draft-kline-mif-mpvd-api-reqs-00 section
// 4.2): its identifier, its interfaces, its addresses but for deprecated IPv6 ones, and its
// DNS servers.
func TestR16_Query(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{Observe: func(_ pvd.Ref, b *pvd.Builder) {
		as, _ := pvd.Addresses.Of(b)
		for i, s := range []pvd.AddressState{pvd.Preferred, pvd.Deprecated, pvd.Tentative, pvd.Preferred, pvd.Deprecated} {
			as[i].State = s
		}
		pvd.Addresses.Set(b, as)
	}})
	c := pvd.Config{ID: "corp.example", Links: []string{"lan", "wan"}}
	for _, a := range []string{"192.168.1.2/24", "10.0.0.2/8", "2001:db8::2/64", "2001:db8::3/64", "2001:db8::4/64"} {
		c.Addresses = append(c.Addresses, pvd.Address{Prefix: netip.MustParsePrefix(a)})
	}
	c.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("192.168.1.53:53"), netip.MustParseAddrPort("[2001:db8::53]:53")}
	info, err := r.Info(add(t, r, c))
	if err != nil {
		t.Fatal(err)
	}
	links, _ := pvd.Links.Get(info)
	servers, _ := pvd.DNSServers.Get(info)
	if info.ID() != "corp.example" || !slices.Equal(links, c.Links) || !slices.Equal(servers, c.DNS.Servers) {
		t.Errorf("%q, %q, %v", info.ID(), links, servers)
	}
	var current []string
	for _, a := range info.CurrentAddresses() {
		current = append(current, a.Prefix.String())
	}
	if want := []string{"192.168.1.2/24", "10.0.0.2/8", "2001:db8::2/64", "2001:db8::3/64"}; !slices.Equal(current, want) {
		t.Errorf("addresses %q, want %q", current, want)
	}
	if all, _ := pvd.Addresses.Get(info); len(all) != len(c.Addresses) {
		t.Errorf("%d addresses in all", len(all))
	}
}

// Everything that the slides name as part of a PvD has its place.
func TestS1_Contents(t *testing.T) {
	c := valid()
	c.Elements = []pvd.Element{
		pvd.Access.With(pvd.WLAN), pvd.Metered.With(true), pvd.Cost.With(5), pvd.Speed.With(1e9),
		pvd.Latency.With(5 * time.Millisecond), pvd.CaptivePortal.With(pvd.Portal{API: "https://portal.example/api", Captive: true}),
		pvd.Proxies.With([]pvd.Proxy{{Protocol: "http-connect", Address: "proxy.example:3128", For: []string{"example"}}}),
		pvd.NAT64.With([]netip.Prefix{netip.MustParsePrefix("64:ff9b::/96")}),
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	r := newRegistry(t, pvd.RegistryConfig{})
	info, err := r.Info(add(t, r, c))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"addresses", "captive portal", "cost", "dns search", "dns servers", "latency", "links", "medium",
		"metered", "mtu", "nat64", "neighbors", "proxies", "routes", "speed",
	}
	if got := slices.Collect(info.Keys()); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if p, _ := pvd.CaptivePortal.Get(info); !p.Captive || p.API != "https://portal.example/api" {
		t.Errorf("%+v", p)
	}
	proxies, _ := pvd.Proxies.Get(info)
	proxies[0].For[0] = "changed"
	if again, _ := pvd.Proxies.Get(info); again[0].For[0] != "example" {
		t.Error("an Info can be changed")
	}
}

// hops is what some package of the future has to say of PvDs.
type hops struct {
	Limit uint8
	Names []string
}

var future = pvd.NewKey("hops of the future", func(h hops) hops { h.Names = slices.Clone(h.Names); return h })

// What nobody has thought of yet is set, read, listed, filtered and told of like anything
// else, with and without knowing its type.
func TestR18_FutureElement(t *testing.T) {
	bubble(t, func(t *testing.T, r *pvd.Registry) {
		c := named("a")
		c.Elements = []pvd.Element{future.With(hops{Limit: 5, Names: []string{"x"}})}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		ref := add(t, r, c)
		w := watch(t, r, pvd.Filter{Keys: []pvd.AnyKey{future.Any()}})
		update(t, r, ref, setMTU(1300))
		update(t, r, ref, func(b *pvd.Builder) { future.Set(b, hops{Limit: 6, Names: []string{"y"}}) })
		e := w.event()
		if got := describe(e); got != "changed pvd#16 1→3 [hops of the future mtu]" {
			t.Fatal(got)
		}
		old, _ := future.Get(e.Old)
		now, _ := future.Get(e.Info)
		if old.Limit != 5 || now.Limit != 6 || now.Names[0] != "y" {
			t.Errorf("%v, %v", old, now)
		}
		update(t, r, ref, func(b *pvd.Builder) { future.Set(b, hops{Limit: 6, Names: []string{"y"}}) })
		if info, _ := r.Info(ref); info != e.Info {
			t.Error("an equal value is a change")
		}

		k, ok := pvd.KeyNamed("hops of the future")
		if !ok || k != future.Any() || !slices.Contains(pvd.Keys(), k) || k.String() != future.String() {
			t.Errorf("by its name: %v, %v", k, ok)
		}
		v, ok := k.Get(e.Info)
		if h, is := v.(hops); !ok || !is || h.Limit != 6 {
			t.Errorf("without its type: %v, %v", v, ok)
		}
		v.(hops).Names[0] = "z"
		for k, v := range e.Info.Elements() {
			if k == future.Any() && v.(hops).Names[0] != "y" {
				t.Error("an Info can be changed")
			}
		}
	})
}

func TestKeys(t *testing.T) {
	if !slices.IsSortedFunc(pvd.Keys(), func(a, b pvd.AnyKey) int { return strings.Compare(a.String(), b.String()) }) {
		t.Error("not in the order of their names")
	}
	for _, name := range []string{"links", "mtu", "ends", "metered"} {
		if k, ok := pvd.KeyNamed(name); !ok || k.String() != name {
			t.Errorf("%q: %v, %v", name, k, ok)
		}
	}
	if k, ok := pvd.KeyNamed("no such"); ok || k.String() != "no key" {
		t.Errorf("%v, %v", k, ok)
	}
	var none pvd.Element
	if none.Key() != (pvd.AnyKey{}) || none.Value() != nil {
		t.Error("the zero Element is something")
	}
	r := newRegistry(t, pvd.RegistryConfig{})
	info, _ := r.Info(add(t, r, valid()))
	if v, ok := (pvd.AnyKey{}).Get(info); ok || v != nil {
		t.Errorf("the zero key has %v", v)
	}
	if v, ok := future.Any().Get(info); ok || v != nil {
		t.Errorf("an element that is not there: %v", v)
	}
	e := pvd.Groups.With([]string{"office"})
	e.Value().([]string)[0] = "changed"
	if e.Value().([]string)[0] != "office" || e.Key() != pvd.Groups.Any() {
		t.Error("an Element can be changed")
	}
	got := maps.Collect(info.Elements())
	if len(got) != 9 || got[pvd.MTU.Any()] != 1400 || got[pvd.Metered.Any()] != true {
		t.Errorf("%v", got)
	}
	for range info.Elements() {
		break
	}
	for range info.Keys() {
		break
	}
}

// Keys of one name are two, and keep an order.
func TestKeysOfOneName(t *testing.T) {
	a, b := pvd.NewKey[int]("twin", nil), pvd.NewKey[int]("twin", nil)
	r := newRegistry(t, pvd.RegistryConfig{})
	ref := add(t, r, pvd.Config{})
	update(t, r, ref, func(d *pvd.Builder) { b.Set(d, 2); a.Set(d, 1) })
	update(t, r, ref, func(d *pvd.Builder) { b.Set(d, 3) })
	info, _ := r.Info(ref)
	va, _ := a.Get(info)
	vb, _ := b.Get(info)
	if va != 1 || vb != 3 {
		t.Errorf("%d, %d", va, vb)
	}
}

// What a Config has added goes with it; what others have said stays.
func TestConfigElements(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{})
	c := named("a")
	c.Elements = []pvd.Element{pvd.Metered.With(true), pvd.Cost.With(3), pvd.Groups.With([]string{"office"})}
	ref := add(t, r, c)
	update(t, r, ref, func(b *pvd.Builder) {
		pvd.Speed.Set(b, 1e6) // another source's own
		pvd.Cost.Set(b, 4)    // and what it knows better
	})
	keys := func(want ...string) {
		t.Helper()
		info, err := r.Info(ref)
		if err != nil {
			t.Fatal(err)
		}
		got := slices.DeleteFunc(slices.Collect(info.Keys()), func(k string) bool {
			return slices.Contains([]string{"addresses", "dns search", "dns servers", "links", "neighbors", "routes"}, k)
		})
		if !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	keys("cost", "groups", "metered", "speed")
	c.Elements = []pvd.Element{pvd.Metered.With(true), pvd.Latency.With(time.Second)}
	update(t, r, ref, c.Describe)
	keys("cost", "latency", "metered", "speed")
	info, _ := r.Info(ref)
	if cost, _ := pvd.Cost.Get(info); cost != 4 {
		t.Errorf("cost %d", cost)
	}
	if err := r.Leave(t.Context(), ref, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	c.Elements = nil
	update(t, r, ref, c.Describe)
	keys("cost", "ends", "speed")
}

// A new opinion on an address's use does not send it through detection again.
func TestDeprecatingKeepsTheState(t *testing.T) {
	state := pvd.Preferred
	r := newRegistry(t, pvd.RegistryConfig{})
	c := valid()
	ref := add(t, r, c)
	observe := func(b *pvd.Builder) {
		as, _ := pvd.Addresses.Of(b)
		as[1].State = state
		pvd.Addresses.Set(b, as)
	}
	for _, tt := range []struct {
		was        pvd.AddressState
		deprecated bool
		want       pvd.AddressState
	}{
		{pvd.Preferred, true, pvd.Deprecated},
		{pvd.Deprecated, true, pvd.Deprecated},
		{pvd.Deprecated, false, pvd.Preferred},
		{pvd.Tentative, true, pvd.Tentative},
		{pvd.Duplicate, false, pvd.Duplicate},
		{pvd.Down, true, pvd.Down},
	} {
		state = tt.was
		update(t, r, ref, observe)
		c.Addresses[1].Deprecated = tt.deprecated
		update(t, r, ref, c.Describe)
		info, _ := r.Info(ref)
		as, _ := pvd.Addresses.Get(info)
		if as[1].State != tt.want || as[1].Deprecated != tt.deprecated {
			t.Errorf("%v, then deprecated %v: %v, want %v", tt.was, tt.deprecated, as[1].State, tt.want)
		}
	}
	c.Addresses[1].Link = "lan"
	state = pvd.Preferred
	update(t, r, ref, observe)
	update(t, r, ref, c.Describe)
	info, _ := r.Info(ref)
	if as, _ := pvd.Addresses.Get(info); as[1].State != pvd.Tentative {
		t.Errorf("on another link: %v", as[1].State)
	}
}

// There is a list of all PvDs, explicit and implicit, and always a default.
func TestR14_ListOfBothKinds(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{})
	explicit, implicit := add(t, r, pvd.Config{ID: "corp.example", Links: []string{"lan"}}), add(t, r, named("home"))
	if got := r.List(); !slices.Equal(got, []pvd.Ref{explicit, implicit}) {
		t.Errorf("%v", got)
	}
	for ref, id := range map[pvd.Ref]pvd.ID{explicit: "corp.example", implicit: ""} {
		if info, err := r.Info(ref); err != nil || info.ID() != id {
			t.Errorf("%v: %v", ref, err)
		}
	}
}

// The system default is there from the beginning, is learned, and may be changed.
func TestR9_X1_Default(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{})
	if r.Default() != pvd.Null {
		t.Errorf("at first %v", r.Default())
	}
	a := add(t, r, named("a"))
	if err := r.SetDefault(a); err != nil || r.Default() != a {
		t.Errorf("%v, %v", r.Default(), err)
	}
}

// Two attachments under one ID are two PvDs (RFC 7556 section 7.1), and so is one that
// returns.
func TestX5_SameID(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{})
	lan, wan := pvd.Config{ID: "corp.example", Links: []string{"lan"}}, pvd.Config{ID: "corp.example", Links: []string{"wan"}}
	a, b := add(t, r, lan), add(t, r, wan)
	if a == b {
		t.Fatal("one Ref for two")
	}
	update(t, r, b, setMTU(1300))
	if info, _ := r.Info(a); info.Version() != 1 {
		t.Error("what changes one changes the other")
	}
	remove(t, r, a)
	if c := add(t, r, lan); c == a || c == b {
		t.Error("a Ref is used again")
	}
}

func TestFind(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{})
	corp := add(t, r, pvd.Config{ID: "corp.example", Name: "Corp", Links: []string{"lan"}})
	home := add(t, r, named("home"))
	anon := add(t, r, pvd.Config{Links: []string{"lan"}})
	for _, id := range []pvd.ID{"twice.example", "twice.example"} {
		add(t, r, pvd.Config{ID: id, Links: []string{"lan"}})
	}
	posing := add(t, r, pvd.Config{Name: home.String(), Links: []string{"lan"}})
	gone := add(t, r, named("gone"))
	remove(t, r, gone)
	for name, want := range map[string]pvd.Ref{
		"Corp": corp, "corp.example": corp, "CORP.example.": corp, corp.String(): corp,
		"home": home, home.String(): home, anon.String(): anon, posing.String(): posing,
	} {
		if got, err := r.Find(name); got != want || err != nil {
			t.Errorf("%q: %v, %v; want %v", name, got, err, want)
		}
	}
	for name, want := range map[string]error{
		"": pvd.ErrNoPvD, "corp": pvd.ErrNoPvD, "gone": pvd.ErrNoPvD, gone.String(): pvd.ErrNoPvD, "pvd#": pvd.ErrNoPvD,
		"pvd#016": pvd.ErrNoPvD, "pvd#1": pvd.ErrNoPvD, "null": pvd.ErrNoPvD, "default": pvd.ErrNoPvD, "a b": pvd.ErrNoPvD,
		"twice.example": pvd.ErrAmbiguous, "Twice.Example.": pvd.ErrAmbiguous,
	} {
		got, err := r.Find(name)
		if got != pvd.Unspecified || !errors.Is(err, want) || name != "" && !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v, %v; want %v", name, got, err, want)
		}
	}
}

// Both ways between PvDs and links.
func TestS14_On(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{})
	a := add(t, r, pvd.Config{Links: []string{"lan", "wan"}})
	b := add(t, r, pvd.Config{Links: []string{"wan"}})
	for link, want := range map[string][]pvd.Ref{"lan": {a}, "wan": {a, b}, "none": nil, "": nil} {
		if got := r.On(link); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", link, got, want)
		}
	}
	update(t, r, a, func(d *pvd.Builder) { pvd.Links.Set(d, []string{"lan"}) })
	if got := r.On("wan"); !slices.Equal(got, []pvd.Ref{b}) {
		t.Errorf("after a change: %v", got)
	}
}

// A PvD is removed under a condition only if it holds at that moment.
func TestRemoveIf(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{})
	ref := add(t, r, valid())
	cheap := func(i *pvd.Info) bool { _, ok := pvd.Cost.Get(i); return !ok }
	update(t, r, ref, func(b *pvd.Builder) { pvd.Cost.Set(b, 1) })
	if err := r.RemoveIf(t.Context(), ref, cheap); err != nil || len(r.List()) != 1 {
		t.Errorf("%v, %v", r.List(), err)
	}
	update(t, r, ref, func(b *pvd.Builder) { pvd.Cost.Clear(b) })
	if err := r.RemoveIf(t.Context(), ref, cheap); err != nil || len(r.List()) != 0 {
		t.Errorf("%v, %v", r.List(), err)
	}
}

// A description of what is attached nowhere says what it was told to.
func TestNewInfo(t *testing.T) {
	i := pvd.NewInfo(pvd.Config{ID: "corp.example", Elements: []pvd.Element{pvd.Cost.With(7)}}.Describe)
	if cost, ok := pvd.Cost.Get(i); i.Ref() != pvd.Unspecified || i.Name() != "corp.example" || i.ID() != "corp.example" || cost != 7 || !ok {
		t.Errorf("%v %q %q costs %d, %v", i.Ref(), i.Name(), i.ID(), cost, ok)
	}
	if name := pvd.NewInfo(func(*pvd.Builder) {}).Name(); name == "" {
		t.Error("it has no name at all")
	}
}
