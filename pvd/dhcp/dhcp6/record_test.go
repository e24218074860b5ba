package dhcp6

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp"
)

var recordWall = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

// moved is a lease as another program has it, whose clock shows so much more.
func moved(l *Lease, by time.Duration) *Lease {
	m := *l
	add := func(d *time.Duration) {
		if *d != dhcp.Never {
			*d += by
		}
	}
	info := *l.Info
	m.Info = &info
	m.Addrs, m.Prefixes = copied(l.Addrs), copied(l.Prefixes)
	for _, items := range [][]Item{m.Addrs, m.Prefixes} {
		for i := range items {
			add(&items[i].Preferred)
			add(&items[i].Valid)
		}
	}
	add(&m.T1)
	add(&m.T2)
	add(&m.Info.Obtained)
	return &m
}

func copied(items []Item) []Item { return append([]Item(nil), items...) }

func TestRecord(t *testing.T) {
	forever := []Option{ia(optIANA, 0xffffffff, 0xffffffff, iaAddr(addr, 0xffffffff, 0xffffffff))}
	resolver := Option{optResolver, append(append([]byte{0, 1, 0, 5, 3, 'd', 'n', 's', 0, 0, 16}, dns.AsSlice()...), 0, 1, 0, 2, 1, 'h')}
	for name, options := range map[string][]Option{
		"all": append(good(), resolver, opt(optSearch, []byte("\x07example\x03org\x00")...),
			opt(optPortal, []byte("https://portal.example/")...)),
		"for ever": forever,
	} {
		w := newWorld(t, addresses, prefixes)
		l := w.bind(options...)
		b, err := l.Record(recordWall, w.now)
		if err != nil {
			t.Fatal(err)
		}
		// Another program, 20 minutes later.
		const now = 5 * time.Minute
		got, err := ParseRecord(b, recordWall.Add(20*time.Minute), now)
		if err != nil {
			t.Fatal(err)
		}
		if want := moved(l, now-20*time.Minute-w.now); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%+v %+v, want\n%+v %+v", name, got, got.Info, want, want.Info)
		}
		again, err := got.Record(recordWall.Add(20*time.Minute), now)
		if err != nil || !bytes.Equal(b, again) {
			t.Errorf("%s: %s became %s, %v", name, b, again, err)
		}
	}
}

func TestRecordPartlyOver(t *testing.T) {
	w := newWorld(t, addresses, prefixes)
	b, err := w.bind(
		ia(optIANA, 10, 20, iaAddr(addr, 100, 200)), ia(optIAPD, 10, 20, iaPrefix(prefix, 3000, 4000)),
	).Record(recordWall, w.now)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ParseRecord(b, recordWall.Add(200*time.Second), 0)
	if err != nil || len(l.Addrs) != 0 || len(l.Prefixes) != 1 {
		t.Errorf("%+v, %v", l, err)
	}
}

// TestRecordMalformed has one fault at a time.
func TestRecordMalformed(t *testing.T) {
	w := newWorld(t, addresses, prefixes)
	b, err := w.bind().Record(recordWall, w.now)
	if err != nil {
		t.Fatal(err)
	}
	with := func(f func(*record)) []byte {
		var r record
		if err := json.Unmarshal(b, &r); err != nil {
			t.Fatal(err)
		}
		f(&r)
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	address := func(f func(*recordItem)) []byte { return with(func(r *record) { f(&r.Addresses[0]) }) }
	if _, err := ParseRecord(with(func(*record) {}), recordWall, 0); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"not JSON":              []byte("{"),
		"empty":                 nil,
		"version":               with(func(r *record) { r.Version = 2 }),
		"future":                with(func(r *record) { r.Obtained = recordWall.Add(time.Second) }),
		"no time":               with(func(r *record) { r.Obtained = time.Time{} }),
		"ages ago":              with(func(r *record) { r.Obtained = recordWall.AddDate(-200, 0, 0) }),
		"no server":             with(func(r *record) { r.Server = nil }),
		"long server":           with(func(r *record) { r.Server = make([]byte, maxDUID+1) }),
		"T1 after T2":           with(func(r *record) { r.T1 = moment{r.T2.Add(1)} }),
		"T1 in ages":            with(func(r *record) { r.T1 = moment{recordWall.AddDate(200, 0, 0)}; r.T2 = r.T1 }),
		"options cut":           with(func(r *record) { r.Options = r.Options[:len(r.Options)-1] }),
		"nothing":               with(func(r *record) { r.Addresses, r.Prefixes = nil, nil }),
		"too many":              with(func(r *record) { r.Prefixes = make([]recordItem, MaxPrefixes+1) }),
		"twice":                 with(func(r *record) { r.Addresses = append(r.Addresses, r.Addresses[0]) }),
		"no address":            address(func(i *recordItem) { i.Prefix = netip.Prefix{} }),
		"IPv4":                  address(func(i *recordItem) { i.Prefix = netip.MustParsePrefix("192.0.2.1/32") }),
		"multicast":             address(func(i *recordItem) { i.Prefix = netip.MustParsePrefix("ff02::1/128") }),
		"link-local":            address(func(i *recordItem) { i.Prefix = netip.MustParsePrefix("fe80::1/128") }),
		"prefix for an address": address(func(i *recordItem) { i.Prefix = netip.MustParsePrefix("2001:db8::/64") }),
		"prefix not masked":     with(func(r *record) { r.Prefixes[0].Prefix = netip.MustParsePrefix("2001:db8::1/64") }),
		"prefix of everything":  with(func(r *record) { r.Prefixes[0].Prefix = netip.MustParsePrefix("::/0") }),
		"preferred for longer":  address(func(i *recordItem) { i.Preferred = moment{i.Valid.Add(1)} }),
		"valid for ages":        address(func(i *recordItem) { i.Valid = moment{recordWall.AddDate(200, 0, 0)} }),
		"expired": with(func(r *record) {
			past := moment{recordWall}
			r.Addresses[0].Valid, r.Prefixes[0].Valid = past, past
			r.Addresses[0].Preferred, r.Prefixes[0].Preferred = past, past
		}),
		"huge": []byte(`{"x":"` + strings.Repeat("a", maxRecord) + `"}`),
	} {
		if l, err := ParseRecord(b, recordWall, 0); err == nil || !strings.HasPrefix(err.Error(), "dhcp6: lease record: ") {
			t.Errorf("%s: %+v, %v", name, l, err)
		}
	}
}

// TestLongestRecord: what a client can have, it can read again.
func TestLongestRecord(t *testing.T) {
	var na, pd []Option
	for i := range byte(MaxAddrs) {
		na = append(na, iaAddr(netip.AddrFrom16([16]byte{0x20, 1, 15: i + 1}), 100, 100))
		pd = append(pd, iaPrefix(netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 5: i + 1}), 48), 100, 100))
	}
	options := []Option{ia(optIANA, 0, 0, na...), ia(optIAPD, 0, 0, pd...), opt(optResolver, make([]byte, maxMessage-2000)...)}
	w := newWorld(t, addresses, prefixes)
	l := w.bind(options...)
	b, err := l.Record(recordWall, w.now)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseRecord(b, recordWall, 0); err != nil || len(got.Addrs) != MaxAddrs || len(got.Prefixes) != MaxPrefixes {
		t.Errorf("%+v, %v", got, err)
	}
}

// restarted is a client that has a lease from before and whose link has come up.
func restarted(t *testing.T, l *Lease, change ...func(*Config)) (*world, sent) {
	t.Helper()
	w := newWorld(t, append(change, func(c *Config) { c.Previous, c.Rand = l, rand.NewPCG(3, 4) })...)
	w.LinkUp(0)
	if w.Lease() != nil || w.Info() != nil {
		t.Error("in use before it is verified")
	}
	return w, w.one()
}

// TestRestart verifies a lease of another program run (RFC 8415 section 18.2.12): an address
// by a Confirm, a prefix by a Rebind. Until then it is not in use.
func TestRestart(t *testing.T) {
	first := newWorld(t, addresses, prefixes)
	b, err := first.bind().Record(recordWall, first.now)
	if err != nil {
		t.Fatal(err)
	}
	read := func() *Lease {
		l, err := ParseRecord(b, recordWall.Add(time.Minute), 0)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}

	w, m := restarted(t, read(), addresses)
	na, _ := get(m.Options, optIANA)
	if _, has := get(m.Options, optServerID); m.Type != Confirm || has || !bytes.Contains(na, addr.AsSlice()) {
		t.Errorf("sent %+v", m)
	}
	w.receive(answer(m.Message, Reply, server2, statusOption(Success)))
	if w.is(Bound); len(w.Lease().Addrs) != 1 || w.Lease().Prefixes != nil || w.Info().DNS[0] != dns {
		t.Errorf("%+v", w.Lease())
	}
	r := w.one()
	if id, _ := get(r.Options, optServerID); r.Type != Renew || r.at != w.Lease().T1 || !bytes.Equal(id, server1) {
		t.Errorf("then %+v, T1 %v", r, w.Lease().T1)
	}

	w, m = restarted(t, read(), addresses)
	w.receive(answer(m.Message, Reply, server2, statusOption(NotOnLink)))
	if w.is(Soliciting); w.Lease() != nil {
		t.Error("a lease of another link is in use")
	}
	w.receive(answer(w.one().Message, Advertise, server2, append(good(), opt(optPreference, 255))...))
	w.receive(answer(w.one().Message, Reply, server2, good()...))
	if w.is(Bound); w.Lease() == nil {
		t.Error("another lease is not in use")
	}

	w, m = restarted(t, read(), addresses)
	w.until(m.at + confirmTime - 1)
	w.is(Confirming)
	if w.Lease() != nil {
		t.Error("in use before it is verified")
	}
	w.until(m.at + confirmTime)
	if w.is(Bound); w.Lease() == nil {
		t.Error("nobody answers, which is no reason not to use it")
	}

	w, m = restarted(t, read(), addresses, prefixes)
	pd, _ := get(m.Options, optIAPD)
	if m.Type != Rebind || !bytes.Contains(pd, prefix.Addr().AsSlice()) {
		t.Errorf("sent %+v for a prefix", m)
	}
	w.LinkDown() // and it is still not verified
	if w.Lease() != nil {
		t.Error("in use before it is verified")
	}
	w.LinkUp(w.now)
	m = w.one()
	w.receive(answer(m.Message, Reply, server2, ia(optIANA, 0, 0, statusOption(NoBinding)), ia(optIAPD, 0, 0, statusOption(NoBinding))))
	if w.is(Requesting); w.Lease() != nil {
		t.Error("in use though the server knows nothing of it")
	}
	w.receive(answer(w.one().Message, Reply, server2, good()...))
	if w.is(Bound); len(w.Lease().Prefixes) != 1 || !bytes.Equal(w.Lease().Server, server2) {
		t.Errorf("%+v", w.Lease())
	}

	// T1 has passed meanwhile: it is renewed as soon as it is verified.
	late, err := ParseRecord(b, recordWall.Add(1500*time.Second), 0)
	if err != nil {
		t.Fatal(err)
	}
	w, m = restarted(t, late, addresses)
	w.receive(answer(m.Message, Reply, server1, statusOption(Success)))
	if r := w.one(); r.Type != Renew || r.at != m.at {
		t.Errorf("sent %+v after %v", r, r.at-m.at)
	}

	// It ends while nobody answers, or before the link is up, or is not wanted any more.
	last, err := ParseRecord(b, recordWall.Add(4000*time.Second-3*time.Second), 0)
	if err != nil {
		t.Fatal(err)
	}
	w, _ = restarted(t, last, addresses)
	w.until(10 * time.Second)
	if w.is(Soliciting); w.Lease() != nil {
		t.Error("outlives its time")
	}
	w = newWorld(t, addresses, func(c *Config) { c.Previous = last })
	w.LinkUp(time.Hour)
	w.is(Soliciting)
	if _, m = restarted(t, read()); m.Type != InformationRequest {
		t.Errorf("a stateless client has sent %+v", m)
	}
	l := read()
	l.Prefixes = nil
	if _, m = restarted(t, l, prefixes); m.Type != Solicit {
		t.Errorf("a client that wants no address has sent %+v", m)
	}
	foreign := func(c *Config) { c.Accept = func(a netip.Addr) bool { return a != addr } }
	if _, m = restarted(t, read(), addresses, prefixes, foreign); m.Type != Solicit {
		t.Errorf("a client that can not use the address has sent %+v", m)
	}
	l = read()
	l.Addrs = append(l.Addrs, Item{netip.PrefixFrom(addr.Next(), 128), time.Hour, time.Hour})
	_, m = restarted(t, l, addresses, foreign)
	if na, _ := get(m.Options, optIANA); m.Type != Confirm || bytes.Contains(na, addr.AsSlice()) || !bytes.Contains(na, addr.Next().AsSlice()) {
		t.Errorf("a client that can not use one of the addresses has sent %+v", m)
	}
	w, _ = restarted(t, read(), addresses)
	w.Release(w.now)
	if r := w.one(); r.Type != Release {
		t.Errorf("given back by %+v", r)
	}
}

func FuzzRecord(f *testing.F) {
	at := dial{recordWall, time.Second}
	l := &Lease{
		Server: server1, T1: 2 * time.Second, T2: dhcp.Never, Info: newInfo(nil, 0),
		Addrs:    []Item{{netip.PrefixFrom(addr, 128), time.Minute, dhcp.Never}},
		Prefixes: []Item{{prefix, 0, time.Hour}},
		options:  recorded(good()),
	}
	b, err := l.Record(at.wall, at.now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseRecord(b, recordWall, time.Hour)
		if err != nil {
			return
		}
		again, err := l.Record(recordWall, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := ParseRecord(again, recordWall, time.Hour); err != nil || !reflect.DeepEqual(m, l) {
			t.Errorf("%+v became %+v, %v", l, m, err)
		}
		w := newWorld(t, addresses, prefixes, func(c *Config) { c.Previous = l })
		w.LinkUp(time.Hour)
		w.until(2 * time.Hour)
	})
}
