//go:build !race

package tun_test

import (
	"testing"

	"github.com/pvdstack/pvdstack/tun"
)

func TestFromFDDoesNotAllocate(t *testing.T) {
	p := socketPair(t, tun.FDConfig{Layer: tun.Ethernet, VNetHdr: true})
	defer p.A.Close()
	defer p.B.Close()
	testAllocs(t, p.A, p.B, make([]byte, 60000), tun.Meta{GSO: tun.GSOTCP4, GSOSize: 1400})
}
