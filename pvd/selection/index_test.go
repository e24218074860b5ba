package selection

import (
	"net/netip"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

// The keys of an event are relative to what its watcher knew, which the index may not have
// heard of, or be past.
func TestIndexSkipsVersions(t *testing.T) {
	reg := pvd.NewRegistry(pvd.RegistryConfig{})
	defer reg.Close()
	ref, err := reg.Add(t.Context(), func(*pvd.Builder) {})
	if err != nil {
		t.Fatal(err)
	}
	var infos []*pvd.Info
	for _, edit := range []func(*pvd.Builder){
		func(b *pvd.Builder) { pvd.Metric.Set(b, 1) },
		func(b *pvd.Builder) {
			pvd.Addresses.Set(b, []pvd.AddressInfo{{Address: pvd.Address{Prefix: netip.MustParsePrefix("10.0.0.2/8")}, State: pvd.Preferred}})
		},
		func(b *pvd.Builder) { pvd.Cost.Set(b, 1) },
	} {
		if err := reg.Update(t.Context(), ref, edit); err != nil {
			t.Fatal(err)
		}
		i, err := reg.Info(ref)
		if err != nil {
			t.Fatal(err)
		}
		infos = append(infos, i)
	}
	x := index{by: make(map[pvd.Ref]*facts)}
	x.put(infos[0], nil, nil)
	before := x.snapshot()
	cost := []pvd.AnyKey{pvd.Cost.Any()}
	if !x.put(infos[2], infos[1], cost) || !x.by[ref].traits.has(Available) {
		t.Error("the address is not there")
	}
	if x.put(infos[1], infos[0], cost) || x.by[ref].version != infos[2].Version() {
		t.Error("an old version has taken the place of a newer one")
	}
	if len(before) != 1 || before[0].traits.has(Available) {
		t.Error("a snapshot has changed")
	}
	// What has not changed is not read again.
	x = index{by: make(map[pvd.Ref]*facts)}
	x.put(infos[1], nil, nil)
	reach := x.by[ref].reach
	if !x.put(infos[2], infos[1], cost) || x.by[ref].reach != reach {
		t.Error("addresses and routes were read again")
	}
	if !x.remove(ref) || x.remove(ref) || len(x.all) != 0 {
		t.Errorf("%d are left", len(x.all))
	}
}
