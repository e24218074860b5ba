package ra_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/pvdstack/pvdstack/pvd/ra"
)

// A link's owner hands the engine what arrives, calls Advance when Next says so, and
// applies what has changed.
func ExampleEngine() {
	e, err := ra.New(ra.Config{
		Link:       "lan",
		Identifier: ra.StableIdentifiers([]byte("128 random bits, kept"), "lan"),
		Random:     rand.Uint64, // crypto/rand in earnest
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	router := netip.MustParseAddr("fe80::1")
	message, err := ra.Advertisement{
		Header: ra.Header{Lifetime: 30 * time.Minute},
		Options: []ra.Option{ra.PvDOption{ID: "corp.example.com", HTTP: true, Options: []ra.Option{
			ra.PrefixInformation{
				Prefix: netip.MustParsePrefix("2001:db8:1::/64"), OnLink: true, Autonomous: true,
				Valid: 2 * time.Hour, Preferred: time.Hour,
			},
		}}},
	}.Append(nil, router, ra.AllNodes)
	if err != nil {
		fmt.Println(err)
		return
	}

	var last *ra.Snapshot
	show := func(now time.Duration) {
		s := e.Snapshot()
		for _, c := range s.Changes(last) {
			switch {
			case c.After == nil:
				fmt.Println(now, c.Before.Key, "has ended")
			case c.Before == nil:
				fmt.Println(now, c.After.Key, "has", len(c.After.Addresses), "addresses and", len(c.After.Routes), "route")
			default:
				fmt.Println(now, c.After.Key, "has changed")
			}
		}
		last = s
	}
	if err := e.Receive(0, ra.Packet{Src: router, Dst: ra.AllNodes, HopLimit: 255, Message: message}); err != nil {
		fmt.Println(err)
	}
	show(0)
	for at, ok := e.Next(); ok; at, ok = e.Next() {
		e.Advance(at)
		show(at)
	}
	// Output:
	// 0s corp.example.com has 2 addresses and 1 route
	// 30m0s corp.example.com has changed
	// 1h0m0s corp.example.com has changed
	// 2h0m0s corp.example.com has ended
}
