//go:build !linux

package tun

import (
	"errors"
	"fmt"
)

func openTAP(TAPConfig) (Link, error) { return nil, unsupported("TAP") }

func openPacket(PacketConfig) (Link, error) { return nil, unsupported("AF_PACKET") }

func fromFD(int, FDConfig) (Link, error) { return nil, unsupported("a link from a descriptor") }

// unsupported is the error of a kind of link that the system has not.
func unsupported(what string) error {
	return fmt.Errorf("tun: %s exists on Linux only: %w", what, errors.ErrUnsupported)
}
