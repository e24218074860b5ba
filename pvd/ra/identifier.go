package ra

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
)

// An Identifier makes the last 64 bits of the address that a PvD has in a prefix. The
// counter is how many addresses before were found to be somebody else's. What it returns
// should depend on nothing else, and tell nothing of another PvD's.
type Identifier func(prefix netip.Prefix, of Key, counter uint8) [8]byte

// StableIdentifiers returns identifiers as of RFC 7217 section 5, by HMAC-SHA-256 with
// the secret, with the interface's name as Net_Iface and the PvD as Network_ID. The
// secret should have 128 random bits or more and be kept over restarts.
func StableIdentifiers(secret []byte, iface string) Identifier {
	return func(prefix netip.Prefix, of Key, counter uint8) [8]byte {
		mac := hmac.New(sha256.New, secret)
		// Each part has its length before it, so that no two inputs run together.
		part := func(b []byte) {
			mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
			mac.Write(b)
		}
		a := prefix.Masked().Addr().As16()
		part(append(a[:], byte(prefix.Bits())))
		part([]byte(iface))
		part([]byte(of.ID))
		part(of.Router.AsSlice())
		part([]byte{counter})
		return [8]byte(mac.Sum(nil))
	}
}

// reserved reports whether an identifier is one of RFC 5453, which no host may take.
func reserved(id [8]byte) bool {
	n := binary.BigEndian.Uint64(id[:])
	return n == 0 || // the subnet router's anycast address
		n >= 0x0200_5eff_fe00_0000 && n <= 0x0200_5eff_fe00_5213 || // proxy mobile IPv6 and IANA's block
		n >= 0xfdff_ffff_ffff_ff80 && n <= 0xfdff_ffff_ffff_ffff // subnet anycast addresses
}

// join makes an address of a /64 and an identifier.
func join(prefix netip.Prefix, id [8]byte) netip.Addr {
	a := prefix.Addr().As16()
	copy(a[8:], id[:])
	return netip.AddrFrom16(a)
}
