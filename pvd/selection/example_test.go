package selection_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/selection"
)

// attach adds a PvD that can be used to a registry. On a stack.Host this is Add.
func attach(r *pvd.Registry, name string, tech pvd.Technology, metered bool) pvd.Ref {
	ref, err := r.Add(context.Background(), func(b *pvd.Builder) {
		b.SetName(name)
		pvd.Access.Set(b, tech)
		pvd.Metered.Set(b, metered)
		pvd.Addresses.Set(b, []pvd.AddressInfo{{
			Address: pvd.Address{Prefix: netip.MustParsePrefix("192.168.1.2/24")},
			State:   pvd.Preferred,
		}})
		pvd.Routes.Set(b, []pvd.Route{{To: netip.MustParsePrefix("0.0.0.0/0")}})
	})
	if err != nil {
		panic(err)
	}
	return ref
}

// The intermediate API: an application says what it needs, and waits for it.
func Example_waitFor() {
	host := pvd.NewRegistry(pvd.RegistryConfig{}) // or a *stack.Host
	defer host.Close()
	m, err := selection.New(selection.Config{Registry: host})
	if err != nil {
		panic(err)
	}
	defer m.Close()

	attach(host, "operator", pvd.Cellular, true)
	backup := selection.Requirements{
		selection.Require(selection.Internet),
		selection.Prohibit(selection.Metered),
		selection.Prefer(selection.Technologies(pvd.Wired)),
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err = m.WaitFor(ctx, backup)
	fmt.Println(err)

	attach(host, "home", pvd.WLAN, false)
	ref, err := m.WaitFor(context.Background(), backup)
	if err != nil {
		panic(err)
	}
	info, _ := host.Info(ref)
	fmt.Println(info.Name()) // and then host.In(ref).DialContext(…)
	// Output:
	// selection: no PvD fulfils: require a usable address, require the internet, prohibit metered; operator does not: prohibit metered: context deadline exceeded
	// home
}

// A manager decides the calls of programs that know nothing of PvDs.
func ExampleManager() {
	host := pvd.NewRegistry(pvd.RegistryConfig{})
	defer host.Close()
	attach(host, "mms", pvd.Cellular, false)
	attach(host, "operator", pvd.Cellular, true)
	attach(host, "home", pvd.WLAN, false)

	m, err := selection.New(selection.Config{
		Registry: host,
		Rules: []selection.Rule{
			{Apps: []string{"mms"}, Action: selection.Choose(selection.Require(selection.Named("mms")))},
			{Domains: []string{"tracker.example"}, Action: selection.Refuse()},
			{Action: selection.Choose(selection.Prohibit(selection.Named("mms")))}, // all others
		},
	})
	if err != nil {
		panic(err)
	}
	defer m.Close()
	// With a host this is host.SetSelector(m), and the host asks.
	for _, c := range []pvd.Call{
		{App: "mms", Network: "tcp", Host: "gateway.example"},
		{App: "browser", Network: "tcp", Host: "www.example"},
		{App: "browser", Network: "tcp", Host: "www.tracker.example"},
	} {
		ref, err := m.SelectPvD(context.Background(), c)
		if err != nil {
			panic(err)
		}
		name := ref.String()
		if info, err := host.Info(ref); err == nil {
			name = info.Name()
		}
		fmt.Println(c.App, c.Host, name)
	}
	// Output:
	// mms gateway.example mms
	// browser www.example home
	// browser www.tracker.example null
}
