package dns

import (
	"testing"

	wire "github.com/miekg/dns"
)

// A lookup that the cache answers.
func BenchmarkCached(b *testing.B) {
	s := serve(b, zone(b, "wiki.corp.example. A 10.0.0.1", "wiki.corp.example. AAAA fd00::1"))
	for _, bb := range []struct {
		name, network, host string
		search              []string
	}{
		{"A", "ip4", "wiki.corp.example", nil},
		{"both", "ip", "wiki.corp.example", nil},
		{"search", "ip4", "wiki", []string{"corp.example"}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			r := resolver(bb.search, s)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.LookupNetIP(b.Context(), bb.network, bb.host); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("A/parallel", func(b *testing.B) {
		r := resolver(nil, s)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := r.LookupNetIP(b.Context(), "ip4", "wiki.corp.example"); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("Query", func(b *testing.B) {
		r := resolver(nil, s)
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := r.Query(b.Context(), Question{Name: "wiki.corp.example.", Type: wire.TypeA}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A lookup that a server on this machine answers.
func BenchmarkUncached(b *testing.B) {
	s := serve(b, zone(b, "wiki.corp.example. A 10.0.0.1"))
	r := resolver(nil, s)
	r.conf.MaxEntries = -1
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.LookupNetIP(b.Context(), "ip4", "wiki.corp.example"); err != nil {
			b.Fatal(err)
		}
	}
}

// What is not an answer, which a forger sends as fast as they can.
func BenchmarkJudge(b *testing.B) {
	r := New(Config{})
	s, err := r.pack(&request{q: internet("wiki.corp.example", wire.TypeA)}, packing{})
	if err != nil {
		b.Fatal(err)
	}
	msg := append([]byte(nil), s.msg...)
	msg[2] |= 0x80
	msg[s.asked-1]++
	for b.Loop() {
		if s.judge(msg) != other {
			b.Fatal("taken for an answer")
		}
	}
}
