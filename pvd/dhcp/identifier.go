package dhcp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// NewDUID returns an identifier of DHCP clients for one PvD on one link, made from the
// host's secret: it stays the same as long as all three do, and whoever sees those of two
// PvDs can not tell that they are one host's. It is a DUID-UUID (RFC 6355).
func NewDUID(secret []byte, pvd, link string) []byte {
	sum := hash(secret, "duid", pvd, link)
	uuid := sum[:16]
	uuid[6] = uuid[6]&0x0f | 0x80 // RFC 9562 section 5.8: version 8, made by a rule of one's own
	uuid[8] = uuid[8]&0x3f | 0x80
	return append([]byte{0, 4}, uuid...)
}

// NewIAID returns the identifier of an identity association for one PvD on one link, by
// the same rule as [NewDUID].
func NewIAID(secret []byte, pvd, link string) uint32 {
	return binary.BigEndian.Uint32(hash(secret, "iaid", pvd, link))
}

// ClientID4 returns the client identifier of DHCPv4 for a DUID and IAID (RFC 4361
// section 6.1).
func ClientID4(duid []byte, iaid uint32) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{255}, iaid), duid...)
}

func hash(secret []byte, parts ...string) []byte {
	h := hmac.New(sha256.New, secret)
	for _, p := range parts {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		h.Write([]byte(p))
	}
	return h.Sum(nil)
}
