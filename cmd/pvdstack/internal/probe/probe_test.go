package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/tun"
)

var (
	routerMAC = []byte{2, 0, 0, 0, 0, 1}
	router    = netip.MustParseAddr("fe80::1")
	other     = netip.MustParseAddr("fe80::2")
)

// advertisementFrame returns the frame of a router advertisement. What change does to its
// ICMPv6 message is summed.
func advertisementFrame(t *testing.T, from netip.Addr, a ra.Advertisement, change func([]byte) []byte) []byte {
	t.Helper()
	m, err := a.Append(nil, from, ra.AllNodes)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		m = change(m)
		ra.PutChecksum(m, from, ra.AllNodes)
	}
	f := append([]byte{0x33, 0x33, 0, 0, 0, 1}, routerMAC...)
	f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0)
	f = append(binary.BigEndian.AppendUint16(f, uint16(len(m))), 58, 255)
	return append(append(append(f, from.AsSlice()...), ra.AllNodes.AsSlice()...), m...)
}

func prefix(s string) ra.PrefixInformation {
	return ra.PrefixInformation{Prefix: netip.MustParsePrefix(s), OnLink: true, Autonomous: true, Valid: time.Hour, Preferred: time.Hour}
}

// probeWith probes one end of a pipe for a minute of virtual time, while at drives the other.
func probeWith(t *testing.T, layer tun.Layer, c Config, at func(far tun.Link)) *Report {
	t.Helper()
	near, far := tun.Pipe(tun.PipeConfig{Layer: layer})
	c.Name, c.Link, c.For, c.Clock = "wan", near, time.Minute, pvd.SystemClock()
	go at(far)
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := far.Close(); err != nil {
		t.Error(err)
	}
	synctest.Wait()
	return r
}

func send(t *testing.T, l tun.Link, f []byte) {
	t.Helper()
	if err := l.Send([][]byte{f}, tun.Meta{}); err != nil {
		t.Error(err)
	}
}

// TestReport holds that a report says what would be built, from what, and what was not used,
// and why.
func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := probeWith(t, tun.Ethernet, Config{
			Discover: config.Discover{RA: true, DHCP4: true},
			Rules:    learn.Rules{{Match: learn.Match{ID: "corp.example.com"}, Name: "corp", Modify: []learn.Modifier{learn.Default(pvd.Metered.With(true))}}},
		}, func(far tun.Link) {
			time.Sleep(time.Second)
			explicit := ra.Advertisement{
				Header: ra.Header{Lifetime: time.Hour, Preference: pvd.High},
				Options: []ra.Option{ra.PvDOption{ID: "corp.example.com", HTTP: true, Sequence: 7, Legacy: true, Options: []ra.Option{
					prefix("2001:db8:1::/64"),
					ra.RDNSS{Servers: []netip.Addr{netip.MustParseAddr("2001:db8:1::53")}, Lifetime: time.Hour},
					ra.PREF64{Prefix: netip.MustParsePrefix("64:ff9b::/96"), Lifetime: time.Hour},
				}}},
			}
			send(t, far, advertisementFrame(t, router, explicit, nil))
			time.Sleep(time.Second)
			implicit := ra.Advertisement{Header: ra.Header{Other: true}, Options: []ra.Option{prefix("2001:db8:2::/64"), ra.MTU(1400), ra.DNSSL{Domains: []string{"lan"}, Lifetime: time.Hour}}}
			malformed := func(m []byte) []byte { return append(m, 25, 1, 0, 0, 0, 0, 0, 0) } // RDNSS without server
			for range 2 {
				send(t, far, advertisementFrame(t, other, implicit, malformed))
				time.Sleep(10 * time.Second)
			}
		})
		if r.Seconds != 60 || r.Silent != "" || len(r.HardwareAddr) != len("02:00:00:00:00:01") || len(r.PvDs) != 2 {
			t.Fatalf("report %+v", r)
		}
		corp, wan := r.PvDs[0], r.PvDs[1]
		if corp.Name != "corp" || corp.ID != "corp.example.com" || !reflect.DeepEqual(corp.From, From{Routers: []string{"fe80::1"}}) ||
			!slices.Equal(corp.Routes, []string{"::/0 via fe80::1 preference high"}) || !slices.Equal(corp.Servers, []string{"[2001:db8:1::53]:53"}) ||
			corp.Elements["nat64"] != "64:ff9b::/96" || corp.Elements["metered"] != "true" ||
			!slices.ContainsFunc(corp.Addresses, func(a string) bool { return strings.HasPrefix(a, "2001:db8:1:") }) {
			t.Errorf("corp is %+v", corp)
		}
		if wan.Name != "wan" || wan.ID != "" || wan.MTU != 1400 || !wan.From.Other || !slices.Equal(wan.Search, []string{"lan"}) {
			t.Errorf("wan is %+v", wan)
		}
		var text bytes.Buffer
		if err := r.Write(&text); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"pvd corp: explicit, id corp.example.com\n  from       router fe80::1\n",
			"pvd wan: implicit\n  from       router fe80::2\n             DHCPv6, for other configuration\n",
			"heard:\n  router advertisement of fe80::1, once\n    default router for 1h0m0s, preference high\n" +
				`    PvD "corp.example.com", additional information, sequence 7, DHCPv4 belongs to it` + "\n" +
				"    corp.example.com: prefix 2001:db8:1::/64 for 1h0m0s, on link, autonomous\n" +
				"    corp.example.com: DNS servers 2001:db8:1::53 for 1h0m0s\n    corp.example.com: NAT64 prefix 64:ff9b::/96 for 1h0m0s\n",
			"  router advertisement of fe80::2, 2 times\n    no default router\n    other configuration by DHCPv6\n" +
				"    prefix 2001:db8:2::/64 for 1h0m0s, on link, autonomous\n    MTU 1400\n    search domains [\"lan\"] for 1h0m0s\n    malformed: ",
			"not used:\n  fe80::2: ", ", 2 times\n2 PvDs learned on wan in 1m0s\n",
		} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("the report has no\n%s\nit says\n%s", want, &text)
			}
		}
		var again Report
		b, err := json.Marshal(r)
		if err == nil {
			err = json.Unmarshal(b, &again)
		}
		if err != nil || !reflect.DeepEqual(&again, r) {
			t.Errorf("%v; JSON gives %+v, want %+v", err, again, r)
		}
	})
}

// TestNothing holds that lists that are empty are such in JSON, and that a link that is down
// is told from a network that says nothing.
func TestNothing(t *testing.T) {
	for layer, d := range map[tun.Layer]config.Discover{
		tun.Ethernet: {RA: true, DHCP4: true, DHCP6: true},
		tun.IP:       {RA: true, DHCP6: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := probeWith(t, layer, Config{Discover: d}, func(tun.Link) {})
			if len(r.PvDs) != 0 || r.Silent != "" || (r.HardwareAddr == "") != (layer == tun.IP) {
				t.Errorf("report %+v", r)
			}
			b, err := json.Marshal(r)
			if err != nil || !strings.Contains(string(b), `"pvds":[],"heard":[],"rejected":[]`) {
				t.Errorf("%s, %v", b, err)
			}
			if want := "0 PvDs learned on wan in 1m0s"; r.Summary() != want {
				t.Errorf("summary %q, want %q", r.Summary(), want)
			}
		})
	}
	p := &prober{down: net.ErrClosed}
	if err := p.silent(); err == nil || !strings.Contains(err.Error(), "the link is down") {
		t.Errorf("a link that is down: %v", err)
	}
}

// TestStop ends a probe before its time.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := tun.Pipe(tun.PipeConfig{})
		defer far.Close()
		c := Config{Name: "wan", Link: near, For: time.Hour, Clock: pvd.SystemClock(), Discover: config.Discover{RA: true}}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if r, err := Run(ctx, c); err != nil || r.Seconds != 5 {
			t.Errorf("report %+v, %v", r, err)
		}
		// A link that is gone ends it too.
		near, far = tun.Pipe(tun.PipeConfig{})
		defer far.Close()
		c.Link = near
		time.AfterFunc(time.Second, func() { _ = near.Close() })
		if r, err := Run(t.Context(), c); err == nil {
			t.Errorf("report %+v on a link that was closed", r)
		}
	})
}

// TestNeighbor holds that the machine's link-local addresses are answered for, and no others.
func TestNeighbor(t *testing.T) {
	near, far := tun.Pipe(tun.PipeConfig{})
	defer near.Close()
	defer far.Close()
	p := &prober{Config: Config{Name: "wan", Link: near, Clock: pvd.SystemClock(), Discover: config.Discover{RA: true}}}
	if err := p.open(); err != nil {
		t.Fatal(err)
	}
	p.machine.LinkUp()
	p.take(advertisementFrame(t, router, ra.Advertisement{Options: []ra.Option{prefix("2001:db8:1::/64")}}, nil))
	var local, global netip.Addr
	for _, a := range p.machine.Proposals()[0].Addresses {
		if a.Prefix.Addr().IsLinkLocalUnicast() {
			local = a.Prefix.Addr()
		} else {
			global = a.Prefix.Addr()
		}
	}
	good := solicitation(local, router)
	far255 := slices.Clone(good)
	far255[etherLen+7] = 64 // from beyond a router
	for _, f := range [][]byte{solicitation(router, other), solicitation(global, router), good[:len(good)-1], far255, nil} {
		p.answer(f)
	}
	buf := make([]byte, 2000)
	for _, tt := range []struct {
		from, to netip.Addr
		mac      []byte
		flags    byte
	}{{router, router, routerMAC, solicited | override}, {netip.IPv6Unspecified(), ra.AllNodes, []byte{0x33, 0x33, 0, 0, 0, 1}, override}} {
		p.answer(solicitation(local, tt.from))
		n, err := far.Recv([][]byte{buf}, new(tun.Meta))
		if err != nil {
			t.Fatal(err)
		}
		f := slices.Clone(buf[:n])
		ip := f[etherLen:]
		m := slices.Clone(ip[ipv6Len:])
		ra.PutChecksum(m, local, tt.to)
		if !bytes.Equal(f[:6], tt.mac) || !bytes.Equal(f[6:12], p.mac) || source(ip) != local || netip.AddrFrom16([16]byte(ip[24:40])) != tt.to || ip[7] != 255 {
			t.Errorf("headers %x", f[:etherLen+ipv6Len])
		}
		if want := append(append([]byte{136, 0, m[2], m[3], tt.flags, 0, 0, 0}, local.AsSlice()...), append([]byte{2, 1}, p.mac...)...); !bytes.Equal(ip[ipv6Len:], want) {
			t.Errorf("message %x, want %x", ip[ipv6Len:], want)
		}
	}
}

// TestDatagram holds that what gives a DHCPv4 lease back goes to whom it came from.
func TestDatagram(t *testing.T) {
	near, far := tun.Pipe(tun.PipeConfig{})
	defer near.Close()
	defer far.Close()
	p := &prober{Config: Config{Link: near}, mac: net.HardwareAddr{2, 0, 0, 0, 0, 9}}
	d := learn.Datagram{Src: netip.MustParseAddrPort("192.168.1.7:68"), Dst: netip.MustParseAddrPort("192.168.1.1:67"), Payload: []byte("bye")}
	p.datagram(d) // nobody has answered yet
	p.server = [6]byte(routerMAC)
	p.datagram(d)
	buf := make([]byte, 2000)
	n, err := far.Recv([][]byte{buf}, new(tun.Meta))
	if err != nil {
		t.Fatal(err)
	}
	const want = "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x09\x08\x00" +
		"\x45\x00\x00\x1f\x00\x00\x00\x00\x40\x11\xf7\x75\xc0\xa8\x01\x07\xc0\xa8\x01\x01" +
		"\x00\x44\x00\x43\x00\x0b\x00\x00bye"
	if got := string(buf[:n]); got != want {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

// TestHeardLimit holds that many senders, or one with much to say, fill no memory.
func TestHeardLimit(t *testing.T) {
	var h heard
	for i := range 2 * maxHeard {
		h.add("x", netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), nil)
		h.add("y", router, []string{string(rune(i + 32))})
	}
	if len(h) != maxHeard || len(h[1].Says) != maxHeard || h[1].Count != 2*maxHeard {
		t.Errorf("%d senders, of whom one says %d things %d times", len(h), len(h[1].Says), h[1].Count)
	}
}

// solicitation returns the frame of a neighbour solicitation.
func solicitation(target, from netip.Addr) []byte {
	m := append([]byte{neighborSolicitation, 0, 0, 0, 0, 0, 0, 0}, target.AsSlice()...)
	ra.PutChecksum(m, from, ra.AllNodes)
	f := append([]byte{0x33, 0x33, 0, 0, 0, 1}, routerMAC...)
	f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(m)), 58, 255)
	return append(append(append(f, from.AsSlice()...), ra.AllNodes.AsSlice()...), m...)
}
