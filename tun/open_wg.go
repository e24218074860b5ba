//go:build darwin || freebsd || windows || openbsd

package tun

import (
	"fmt"
	"runtime"

	wgtun "golang.zx2c4.com/wireguard/tun"
)

func openTUN(c TUNConfig) (Link, error) {
	if c.Name == "" {
		c.Name = "tun"
		if runtime.GOOS == "darwin" {
			c.Name = "utun" // the system adds a number
		}
	}
	dev, err := wgtun.CreateTUN(c.Name, c.MTU)
	if err != nil {
		return nil, fmt.Errorf("tun: open TUN %q: %w", c.Name, err)
	}
	l, err := newWGLink(dev)
	if err != nil {
		dev.Close() // err says more
		return nil, fmt.Errorf("tun: open TUN %q: %w", c.Name, err)
	}
	return l, nil
}
