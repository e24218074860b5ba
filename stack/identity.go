package stack

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// stationOf returns the hardware address of a PvD on a link: stable for as long as the
// host's secret is, and telling nothing of the others. The locally administered bit is
// set; attempt tells collisions apart.
func (h *Host) stationOf(pvdName, link string, attempt uint32) net.HardwareAddr {
	sum := h.derive("station", pvdName, link, attempt)
	m := net.HardwareAddr(sum[:6])
	m[0] = m[0]&^1 | 2
	if tcpip.LinkAddress(m) == anchorMAC {
		m[5]++
	}
	return m
}

// linkLocal returns a PvD's link-local address on a link, with an interface identifier by
// RFC 7217 section 5 whose Network_ID is the PvD: PvDs on one link have different ones.
func (h *Host) linkLocal(pvdName, link string, attempt uint32) netip.Prefix {
	a := [16]byte{0: 0xfe, 1: 0x80}
	copy(a[8:], h.derive("fe80::/64", pvdName, link, attempt))
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// derive is the pseudorandom function of RFC 7217.
func (h *Host) derive(what, pvdName, link string, attempt uint32) []byte {
	f := hmac.New(sha256.New, h.secret)
	for _, s := range []string{what, pvdName, link} {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(s)))
		f.Write(n[:])
		f.Write([]byte(s))
	}
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], attempt)
	f.Write(n[:])
	return f.Sum(nil)
}
