package tun

import wgtun "golang.zx2c4.com/wireguard/tun"

// NewWGLink lets tests put a device of their own behind the portable path.
func NewWGLink(dev wgtun.Device) (Link, error) { return newWGLink(dev) }
