package acd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Operations of ARP.
const (
	Request = 1
	Reply   = 2
)

// Len is the length of an ARP packet for IPv4 over Ethernet, in octets.
const Len = 28

// An ARP is an ARP packet for IPv4 over Ethernet (RFC 826). Those that this package makes
// are to be sent to the broadcast address.
type ARP struct {
	Op                   uint16
	SenderMAC, TargetMAC [6]byte
	SenderIP, TargetIP   netip.Addr // IPv4
}

// Append appends the packet's wire form, without Ethernet header.
func (a ARP) Append(b []byte) []byte {
	b = append(b, 0, 1, 8, 0, 6, 4)
	b = binary.BigEndian.AppendUint16(b, a.Op)
	sender, target := a.SenderIP.As4(), a.TargetIP.As4()
	b = append(b, a.SenderMAC[:]...)
	b = append(b, sender[:]...)
	b = append(b, a.TargetMAC[:]...)
	return append(b, target[:]...)
}

// Parse reads a packet behind its Ethernet header. Octets beyond it are padding.
func Parse(b []byte) (a ARP, err error) {
	if len(b) < Len {
		return a, fmt.Errorf("acd: ARP packet of %d octets", len(b))
	}
	if [6]byte(b) != [6]byte{0, 1, 8, 0, 6, 4} {
		return a, errors.New("acd: not ARP for IPv4 over Ethernet")
	}
	a.Op = binary.BigEndian.Uint16(b[6:])
	if a.Op != Request && a.Op != Reply {
		return a, fmt.Errorf("acd: ARP operation %d", a.Op)
	}
	a.SenderMAC, a.TargetMAC = [6]byte(b[8:]), [6]byte(b[18:])
	a.SenderIP, a.TargetIP = netip.AddrFrom4([4]byte(b[14:])), netip.AddrFrom4([4]byte(b[24:]))
	return a, nil
}
