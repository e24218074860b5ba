package stack_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/ipv6"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// rawAdvertise sends an advertisement from a link-local address of an interface to all nodes.
func rawAdvertise(t *testing.T, ns *tuntest.NS, dev, src string, a ra.Advertisement) {
	t.Helper()
	b, err := a.Append(nil, mustAddr(src), ra.AllNodes)
	if err != nil {
		t.Fatal(err)
	}
	ns.Do(func() {
		c, err := net.ListenPacket("ip6:ipv6-icmp", src+"%"+dev)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := ipv6.NewPacketConn(c).SetMulticastHopLimit(255); err != nil {
			t.Fatal(err)
		}
		if _, err := c.WriteTo(b, &net.IPAddr{IP: ra.AllNodes.AsSlice(), Zone: dev}); err != nil {
			t.Fatal(err)
		}
	})
}

// onLink is a prefix to make addresses of.
func onLink(prefix string, life time.Duration) ra.PrefixInformation {
	return ra.PrefixInformation{
		Prefix: netip.MustParsePrefix(prefix), OnLink: true, Autonomous: true, Valid: life, Preferred: life,
	}
}

func resolver(life time.Duration, servers ...string) ra.RDNSS {
	o := ra.RDNSS{Lifetime: life}
	for _, s := range servers {
		o.Servers = append(o.Servers, mustAddr(s))
	}
	return o
}

// serveInformation serves the additional information of PvDs by HTTPS at an address of a
// namespace, and returns the trust anchors for its certificate, which is for example.com.
func serveInformation(t *testing.T, ns *tuntest.NS, addr string) *x509.CertPool {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/pvd+json")
		_, _ = fmt.Fprintf(w, `{"identifier": "%s.", "expires": "%s", "prefixes": ["2001:db8:1::/48"],
			"dnsZones": ["corp.example"], "noInternet": true}`, r.Host, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	l, err := kernel{ns}.Listen(t.Context(), "tcp", net.JoinHostPort(addr, "443"))
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Listener.Close()
	s.Listener = l
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return roots
}

// learnsExplicit learns PvDs that routers name: one with the link's lease and additional
// information, one with a header of its own whose information can not be trusted, one that
// ends, and beside them the implicit ones.
func learnsExplicit(t *testing.T) {
	r := anotherRig(t)
	w := r.witnesses(true)
	isp := tuntest.NewNS(t)
	r.wire("wan", kindPacket, isp, "lan", 1500)
	const life = 5 * time.Second // of what ends
	const one, two, three = "2001:db8:1::/64", "2001:db8:2::/64", "2001:db8:3::/64"
	addrs(isp, "lan", "192.168.1.1/24", "2001:db8:1::1/64", "2001:db8:2::1/64", "2001:db8:3::1/64", "fe80::1/64", "fe80::2/64")
	roots := serveInformation(t, isp, "2001:db8:1::1")
	dnsmasq(t, isp, "--interface=lan", "--dhcp-authoritative", "--dhcp-range="+leased+","+leased+",1h",
		"--host-record=example.com,2001:db8:1::1", "--host-record=other.example,2001:db8:1::1").says("started")
	r.discover("wan", stack.Discovery{RA: true, DHCPv4: true, Information: true, Roots: roots}, both[0], one, two, three)
	r.solicited("wan")
	since := time.Now()
	rawAdvertise(t, isp, "lan", "fe80::1", ra.Advertisement{
		Header: ra.Header{Lifetime: 30 * time.Minute, HopLimit: 64},
		Options: []ra.Option{
			// What is outside is the named PvD's, too (RFC 8801 section 3.4).
			ra.RouteInformation{Prefix: netip.MustParsePrefix("2001:db8:1:8000::/49"), Lifetime: time.Hour},
			ra.PvDOption{
				ID: "example.com", HTTP: true, Legacy: true, Sequence: 1,
				Options: []ra.Option{onLink(one, time.Hour), resolver(time.Hour, "2001:db8:1::1")},
			},
		},
	})
	rawAdvertise(t, isp, "lan", "fe80::1", ra.Advertisement{Options: []ra.Option{onLink(two, time.Hour)}})
	other := ra.PvDOption{
		ID: "other.example", HTTP: true, Sequence: 7, Header: &ra.Header{Lifetime: 10 * time.Minute, HopLimit: 61},
		Options: []ra.Option{onLink(one, time.Hour), resolver(time.Hour, "2001:db8:1::1")},
	}
	rawAdvertise(t, isp, "lan", "fe80::2", ra.Advertisement{Options: []ra.Option{other}})
	rawAdvertise(t, isp, "lan", "fe80::2", ra.Advertisement{Options: []ra.Option{ra.PvDOption{
		ID: "short.example", Header: &ra.Header{Lifetime: life},
		Options: []ra.Option{onLink(three, life), resolver(life, "2001:db8:3::1")},
	}}})
	corp := await(t, r.host, "example.com", pvd.HasAddr6, pvd.HasDefault6, pvd.HasDNS)
	second := await(t, r.host, "other.example", pvd.HasAddr6, pvd.HasDefault6, pvd.HasDNS)
	short := await(t, r.host, "short.example", pvd.HasAddr6)
	implicit := awaitOne(t, r.host, "implicit PvD of fe80::1", func(i *pvd.Info) bool {
		return i.ID() == "" && from("wan", "fe80::1")(i)
	}, pvd.HasAddr6)
	t.Run("end", func(t *testing.T) {
		c, _ := join(t, short, kernel{isp}, "2001:db8:3::1")
		_, err := c.Read(make([]byte, 1))
		if took := time.Since(since); (took - life).Abs() > time.Second {
			t.Errorf("the PvD ended after %v, its last lifetime is %v", took, life)
		}
		if !errors.Is(err, pvd.ErrNoPvD) && !errors.Is(err, net.ErrClosed) {
			t.Errorf("the connection ended with %v, want %v", err, pvd.ErrNoPvD)
		}
		if _, err := r.host.Info(short.PvD()); !errors.Is(err, pvd.ErrNoPvD) {
			eventually(t, "the PvD is gone", func() bool { _, err := r.host.Info(short.PvD()); return errors.Is(err, pvd.ErrNoPvD) })
		}
	})
	t.Run("header", func(t *testing.T) {
		if n, _ := pvd.HopLimit.Get(r.info(second)); n != 61 {
			t.Errorf("other.example has hop limit %d, want that of the header inside", n)
		}
		if n, _ := pvd.HopLimit.Get(r.info(corp)); n != 64 {
			t.Errorf("example.com has hop limit %d, want that of the header outside", n)
		}
	})
	t.Run("outside", func(t *testing.T) {
		routes, _ := pvd.Routes.Get(r.info(corp))
		if !slices.ContainsFunc(routes, func(r pvd.Route) bool { return r.To.Bits() == 49 }) {
			t.Errorf("example.com has the routes %v", routes)
		}
		if routes, _ := pvd.Routes.Get(r.info(implicit)); len(routes) > 0 {
			t.Errorf("the implicit PvD has the routes %v", routes)
		}
	})
	t.Run("one prefix", func(t *testing.T) {
		a, b := r.addressIn(corp, one), r.addressIn(second, one)
		if a == b {
			t.Errorf("both have %s", a)
		}
		talk(t, corp, kernel{isp}, a, "2001:db8:1::1")
		talk(t, second, kernel{isp}, b, "2001:db8:1::1")
		talk(t, implicit, kernel{isp}, r.addressIn(implicit, two), "2001:db8:2::1")
	})
	t.Run("lease", func(t *testing.T) {
		await(t, r.host, "example.com", pvd.HasAddr4)
		for _, n := range []*stack.Network{second, implicit} {
			if pvd.HasAddr4.Holds(r.info(n)) {
				t.Errorf("the lease is %q's, too", r.info(n).Name())
			}
		}
		goesBy4(t, corp, isp)
	})
	t.Run("information", func(t *testing.T) {
		status := func(n *stack.Network) addinfo.Report { s, _ := addinfo.Status.Get(r.info(n)); return s }
		eventually(t, "the information has been fetched", func() bool { return status(corp).State == addinfo.Valid })
		zones, _ := addinfo.DNSZones.Get(r.info(corp))
		if no, ok := pvd.NoInternet.Get(r.info(corp)); !no || !ok || !slices.Equal(zones, []string{"corp.example"}) {
			t.Errorf("example.com: no internet %v %v, zones %v", no, ok, zones)
		}
		eventually(t, "the certificate is found not to be the PvD's", func() bool { return status(second).Reason == addinfo.Certificate })
		if _, ok := pvd.NoInternet.Get(r.info(second)); ok {
			t.Error("what other.example's server says is believed")
		}
	})
	w.look()
	before := r.info(implicit)
	since = time.Now()
	other.Header.HopLimit = 33
	rawAdvertise(t, isp, "lan", "fe80::2", ra.Advertisement{Options: []ra.Option{other}})
	r.inForce(t, second, "wan", "another hop limit", since, func(i *pvd.Info) bool { n, _ := pvd.HopLimit.Get(i); return n == 33 })
	if is := r.info(implicit); is != before {
		t.Errorf("the implicit PvD was version %d and is version %d, though its router has said nothing", before.Version(), is.Version())
	}
	w.unchanged()
}

// goesBy4 has a PvD that has been leased an address talk to the server of it.
func goesBy4(t *testing.T, n *stack.Network, ns *tuntest.NS) {
	t.Helper()
	talk(t, n, kernel{ns}, leased, "192.168.1.1")
	pingFrom(t, n, "192.168.1.1")
	ping(t, ns, leased)
}
