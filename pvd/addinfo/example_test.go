package addinfo_test

import (
	"fmt"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
)

// A router advertisement has named a PvD with the H flag set, and the PvD has an address.
func ExampleSchedule() {
	clock := pvd.SystemClock()
	s := addinfo.NewSchedule(clock, nil)
	s.Update("cafe.example.com", addinfo.Advert{HasInfo: true, Sequence: 7})
	s.SetReady("cafe.example.com", true)

	for _, request := range s.Poll() {
		// In earnest this is Fetcher.Info in the PvD, in a goroutine of its own.
		object, err := addinfo.Parse([]byte(`{
			"identifier": "cafe.example.com.",
			"expires":    "2999-05-23T06:00:00Z",
			"prefixes":   ["2001:db8:1::/48"],
			"noInternet": true
		}`), request.ID, clock.Now())
		s.Done(request, object, err)
	}

	for _, id := range s.Changes() {
		report, _ := s.Report(id)
		fmt.Println(id, "is", report)
		for _, e := range s.Object(id).Elements() {
			fmt.Println(e.Key(), e.Value())
		}
	}
	// Output:
	// cafe.example.com is valid
	// no internet true
}
