package stack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// TestS14_ZoneIsPvD writes a PvD as the zone of an address, by name, ID and Ref, where
// every other scope says something else.
func TestS14_ZoneIsPvD(t *testing.T) {
	w := newWorld(t, 3, true)
	app := w.host.App("browser")
	if err := errors.Join(w.host.SetDefault(w.ref(0)), app.SetDefault(w.ref(0))); err != nil {
		t.Fatal(err)
	}
	ctx := pvd.NewContext(t.Context(), w.ref(1))
	for _, c := range []caller{app, w.host.In(pvd.Unspecified), w.own[2]} {
		for _, zone := range []string{"net2", "net2.example", "NET2.Example.", w.ref(2).String()} {
			for _, address := range []string{"192.168.1.1%" + zone + ":80", "[fd00::1%" + zone + "]:80", "[fe80::1%" + zone + "]:80"} {
				if ref, err := dialled(t, c, address); err != nil || ref != w.ref(2) {
					t.Errorf("%s: in %v, %v", address, ref, err)
				}
			}
			for _, address := range []string{"192.168.1.2%" + zone, "fd00::2%" + zone, "fe80::2%" + zone, "0.0.0.0%" + zone, "::%" + zone} {
				at := net.JoinHostPort(address, "0")
				l, err := c.Listen(ctx, "tcp", at)
				if ref, err := closed(l, err); err != nil || ref != w.ref(2) {
					t.Errorf("Listen %s: in %v, %v", at, ref, err)
				}
				p, err := c.ListenPacket(ctx, "udp", at)
				if ref, err := closed(p, err); err != nil || ref != w.ref(2) {
					t.Errorf("ListenPacket %s: in %v, %v", at, ref, err)
				}
			}
			conn, err := c.DialFrom(ctx, "udp", "192.168.1.2%"+zone+":0", "192.168.1.1:80")
			if ref, err := closed(conn, err); err != nil || ref != w.ref(2) {
				t.Errorf("DialFrom zone %s: in %v, %v", zone, ref, err)
			}
			if _, err := c.Ping(ctx, netip.MustParseAddr("fe80::1%"+zone)); err != nil {
				t.Errorf("Ping zone %s: %v", zone, err)
			}
			for _, address := range []string{"192.168.1.1", "fe80::1"} {
				for call, got := range lookUp(ctx, c, address+"%"+zone) {
					if want := fmt.Sprint([]string{address}, error(nil)); got != want {
						t.Errorf("%s of %s%%%s: %s, want %s", call, address, zone, got, want)
					}
				}
			}
			names, err := c.LookupAddr(ctx, "192.0.2.1%"+zone)
			if ref, err := told(w, names, err, func(v []string) string { return v[0] }); err != nil || ref != w.ref(2) {
				t.Errorf("LookupAddr zone %s: in %v, %v", zone, ref, err)
			}
		}
	}
	// What comes of it has the link's zone, as ever.
	c := mustDial(t, w.own[2], "tcp", "[fe80::1%net2]:80")
	if got := c.RemoteAddr().String(); got != "[fe80::1%wire2]:80" {
		t.Errorf("connected to %s", got)
	}
}

// lookUp returns, as text, what each of the calls that look a host's addresses up says of one.
func lookUp(ctx context.Context, c caller, host string) map[string]string {
	said := make(map[string]string)
	texts, err := c.LookupHost(ctx, host)
	said["LookupHost"] = fmt.Sprint(texts, err)
	ips, err := c.LookupIP(ctx, "ip", host)
	said["LookupIP"] = fmt.Sprint(ips, err)
	addrs, err := c.LookupNetIP(ctx, "ip", host)
	said["LookupNetIP"] = fmt.Sprint(addrs, err)
	zoned, err := c.LookupIPAddr(ctx, host)
	texts = nil
	for _, a := range zoned {
		texts = append(texts, a.String())
	}
	said["LookupIPAddr"] = fmt.Sprint(texts, err)
	return said
}

// TestS14_LinkOrPvD has zones that may be either.
func TestS14_LinkOrPvD(t *testing.T) {
	w := newWorld(t, 2, false)
	peer := newHost(t)
	pipe(t, "third", w.host, peer)
	c := config("third", "192.168.1.2/24", "fd00::2/64", "fe80::2/64")
	c.Name = "wire0" // as the link of net0 is called
	other := add(t, w.host, c)
	mustListen(t, add(t, peer, config("third", "192.168.1.1/24", "fd00::1/64", "fe80::1/64")), "tcp", ":80")
	app := w.host.App("browser")
	if err := app.SetDefault(w.ref(0)); err != nil {
		t.Fatal(err)
	}
	asked := func(context.Context, pvd.Call) (pvd.Ref, error) { return w.ref(0), nil }
	for what, tt := range map[string]struct {
		d    pvd.Dialer
		addr string
		want pvd.Ref
	}{
		"link-local, a link of the PvD":    {app, "[fe80::1%wire0]:80", w.ref(0)},
		"link-local, no link of the PvD":   {pvdDialer{app, w.ref(1)}, "[fe80::1%wire0]:80", other.PvD()},
		"global":                           {app, "[fd00::1%wire0]:80", other.PvD()},
		"global, a link and no PvD":        {w.own[1], "[fd00::1%wire1]:80", w.ref(1)},
		"IPv4":                             {app, "192.168.1.1%wire0:80", other.PvD()},
		"link-local, no scope":             {w.host.App(""), "[fe80::1%wire0]:80", other.PvD()},
		"link-local, the selector chooses": {selecting{w.host, asked}, "[fe80::1%wire0]:80", w.ref(0)},
	} {
		if ref, err := dialled(t, tt.d, tt.addr); err != nil || ref != tt.want {
			t.Errorf("%s: in %v, %v, want %v", what, ref, err, tt.want)
		}
	}
}

// A pvdDialer dials with a context that carries a PvD.
type pvdDialer struct {
	pvd.Dialer
	ref pvd.Ref
}

func (d pvdDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return d.Dialer.DialContext(pvd.NewContext(ctx, d.ref), network, address)
}

// A selecting dials while the host has a selector.
type selecting struct {
	host *stack.Host
	by   selectorFunc
}

func (s selecting) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	s.host.SetSelector(s.by)
	defer s.host.SetSelector(nil)
	return s.host.App("").DialContext(ctx, network, address)
}

// TestS14_ZoneErrors has zones that stand for no PvD, or for another than the one at hand.
func TestS14_ZoneErrors(t *testing.T) {
	w := newWorld(t, 2, false)
	for i := range 2 {
		add(t, w.host, pvd.Config{Name: "twin", Links: []string{fmt.Sprint("wire", i)}})
	}
	app, own := w.host.App("browser"), w.own[0]
	for _, tt := range []struct {
		d       pvd.Network
		address string
		want    error
	}{
		{own, "192.168.1.1%net1:80", syscall.EINVAL},
		{own, "[fe80::1%net1]:80", syscall.EINVAL},
		{app.In(w.ref(0)), "[fd00::1%net1]:80", syscall.EINVAL},
		{w.host.In(pvd.All), "192.168.1.1%net1:80", syscall.EINVAL},
		{w.host.In(pvd.SystemDefault), "192.168.1.1%net1:80", syscall.EINVAL}, // there is no default
		{w.host.In(pvd.Null), "192.168.1.1%net1:80", syscall.ENETUNREACH},
		{own, "192.168.1.1%nobody:80", pvd.ErrNoPvD},
		{own, "192.168.1.1%wire0:80", pvd.ErrNoPvD}, // a link is no zone of IPv4's
		{own, "192.168.1.1%pvd#1:80", pvd.ErrNoPvD},
		{own, "192.168.1.1%all:80", pvd.ErrNoPvD},
		{app, "[fe80::1%nobody]:80", pvd.ErrNoPvD},
		{app, "[fd00::1%nobody]:80", pvd.ErrNoPvD},
		{app, "192.168.1.1%twin:80", pvd.ErrAmbiguous},
		{app, "[fe80::1%twin]:80", pvd.ErrAmbiguous},
	} {
		wantOpError(t, dialErr(t.Context(), tt.d, "tcp", tt.address), tt.want)
		wantOpError(t, dialErr(t.Context(), tt.d, "udp", tt.address), tt.want)
		wantOpError(t, listenErr(t.Context(), tt.d, "tcp", tt.address), tt.want)
		wantOpError(t, listenErr(t.Context(), tt.d, "udp", tt.address), tt.want)
	}
	_, err := app.DialFrom(t.Context(), "tcp", "192.168.1.2%net0:0", "192.168.1.1%net1:80")
	wantOpError(t, err, syscall.EINVAL)
	c, err := app.DialFrom(t.Context(), "tcp", "192.168.1.2%net1:0", "192.168.1.1%net1:80")
	if ref, err := closed(c, err); err != nil || ref != w.ref(1) {
		t.Errorf("in %v, %v", ref, err)
	}
	if err := w.host.SetDefault(w.ref(1)); err != nil {
		t.Fatal(err)
	}
	if ref, err := dialled(t, w.host.In(pvd.SystemDefault), "192.168.1.1%net1:80"); err != nil || ref != w.ref(1) {
		t.Errorf("in %v, %v", ref, err)
	}
	wantOpError(t, dialErr(t.Context(), app, "tcp", "192.168.1.1%:80")) // a name, which nobody has
	_, err = app.Ping(t.Context(), netip.MustParseAddr("fe80::1%nobody"))
	wantOpError(t, err, pvd.ErrNoPvD, syscall.ENETUNREACH)
	if _, err = app.LookupAddr(t.Context(), "192.0.2.1%nobody"); !errors.Is(err, pvd.ErrNoPvD) {
		t.Errorf("LookupAddr: %v", err)
	}
	if _, err = own.LookupHost(t.Context(), "192.0.2.1%net1"); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("LookupHost: %v", err)
	}
	for call, got := range lookUp(t.Context(), own, "fe80::1%wire0") { // a link, as ever
		if want := fmt.Sprint([]string{"fe80::1%wire0"}, error(nil)); got != want && call != "LookupIP" {
			t.Errorf("%s: %s, want %s", call, got, want)
		}
	}
}

// TestS14_ZoneOfDatagram holds that a zone can not lead a socket's datagrams out of its PvD.
func TestS14_ZoneOfDatagram(t *testing.T) {
	w := newWorld(t, 2, false)
	c := mustListenPacket(t, w.own[0], "udp", ":0")
	heard := mustListenPacket(t, w.peers[0], "udp", ":53000")
	for _, tt := range []struct {
		ip, zone string
		want     error
	}{
		{"192.168.1.1", "net0", nil},
		{"fd00::1", "net0", nil},
		{"fe80::1", "net0", nil},
		{"fe80::1", "wire0", nil},
		{"192.168.1.1", "net1", syscall.EACCES},
		{"fd00::1", "net1", syscall.EACCES},
		{"fe80::1", "net1", syscall.EACCES},
		{"192.168.1.1", "nobody", pvd.ErrNoPvD},
		{"192.168.1.1", "wire0", pvd.ErrNoPvD},
		{"fe80::1", "nobody", pvd.ErrNoPvD},
	} {
		what := tt.ip + "%" + tt.zone
		_, err := c.WriteTo([]byte(what), &net.UDPAddr{IP: net.ParseIP(tt.ip), Zone: tt.zone, Port: 53000})
		if tt.want != nil {
			wantOpError(t, err, tt.want)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got, _ := datagram(t, heard); got != what {
			t.Errorf("%q arrived, want %q", got, what)
		}
	}
	_, err := c.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort("[fe80::1%net1]:53000"))
	wantOpError(t, err, syscall.EACCES)
	noDatagram(t, heard)
}
