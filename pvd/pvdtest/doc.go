// Package pvdtest is a lab: networks in memory, any of them overlapping, with routers,
// NAT, name servers, web servers and a host under test that has a provisioning domain in
// each. It needs no root and touches nothing of the machine it runs on, so it fits
// inside go test, and a command can run it as well.
//
//	lab := pvdtest.New(t)
//	for _, name := range []string{"corp", "home"} {
//		lan := lab.LAN(name, "192.168.1.0/24")
//		lan.Router("192.168.1.1")
//		lan.DNS("192.168.1.53", pvdtest.Zone{"wiki": "192.168.1.80"})
//		lan.Web("192.168.1.80", name)
//	}
//	h := lab.Host("corp", "home")
//	pvdtest.Get(t, h.Await("corp"), "http://wiki/").Is("corp")
//	pvdtest.Get(t, h.Await("home"), "http://wiki/").Is("home")
//	lab.AssertIsolated()
//
// A router also says to hosts what they need to know, with an [RA], a [DHCPv4] and a
// [DHCPv6], and an [HTTPS] server has additional information of PvDs and the API of captive
// portals. A host learns of all that instead of being told by the lab:
//
//	lan := lab.LAN("corp", "2001:db8:1::/64")
//	lan.Router("2001:db8:1::1", pvdtest.RA{PvD: "corp.example", HTTP: true})
//	lan.HTTPS("2001:db8:1::80", "corp.example").PvD(pvdtest.Info{"noInternet": true})
//	h := lab.Host()
//	h.Discover("corp")
//	pvdtest.Get(t, h.Await("corp.example"), "http://wiki/")
//
// A [BadDNS] is a name server that lies, is late or says nothing.
//
// A router with [NAT64] is the way from there to an internet without IPv6.
//
// A [LAN] is an Ethernet switch. Its [Router] is written by hand, octet by octet, so that
// the stack under test does not talk to itself about forwarding, NAT, neighbour discovery
// and ICMP errors. Servers are machines on a stack of their own, apart from the one under
// test. When a test fails, the lab leaves the last frames of every link, the timeline and
// what each PvD consisted of in the test's artifact directory.
package pvdtest
